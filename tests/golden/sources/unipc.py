"""UniPC (example/score_sde_pytorch/uni_pc.py): the three variants, with and without the corrector."""

from __future__ import annotations

from tests.golden.cases import Case
from tests.golden.setup import Missing, Setup, solver
from tests.golden.sources.dpm_solver import PREDICTIONS, in_continuous_time


def setup(case: Case) -> Setup:
    """A case of `UniPC.sample`."""
    options = case.options
    if options["method"] != "multistep":
        raise Missing(f"UniPC, method {options['method']!r}")
    chosen = solver(
        "unipc",
        order=options["order"],
        prediction=PREDICTIONS[options["algorithm_type"]],
        variant=options["variant"],
        corrector=options["corrector"],
        lower_order_final=options["lower_order_final"],
    )
    return in_continuous_time(case, chosen, (1,) * options["steps"])
