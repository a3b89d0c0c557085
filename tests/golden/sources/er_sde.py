"""ER-SDE (er_sde_solver.py): three orders, in σ with a data prediction and in VP with a noise prediction."""

from __future__ import annotations

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Segment, Setup, solver

SCALES: dict[int, float | str] = {
    1: 1.0,
    2: 2.0,
    3: "exp(-1/x)",
    4: 1.5,
    5: 2.5,
    6: "log(x^1.5)",
    7: "exp(x^0.3)",
}
"""The noise scales by their number in `customized_func`."""


def setup(case: Case) -> Setup:
    """A case of one of the six functions."""
    options, forward = case.options, process(case.process)
    chosen = solver(
        "er_sde",
        order=int(case.solver.split("_")[3]),
        scale=SCALES[options["func_type"]],
        slope="published",
        terms=options["nums_integrate"],
        clip=1e-6,
    )
    grid = de.TimeGrid(forward, **({"sigma": case.grid["sigma"]} if case.process == "ve" else {"t": case.grid["t"]}))
    drawn = len(chosen.plan(grid).noises)  # the source draws in every step, also where it adds nothing
    return Setup((Segment(chosen, grid, case.data.denoiser(forward), case.noise[:drawn]),), case.x_init, floor=1.0)
