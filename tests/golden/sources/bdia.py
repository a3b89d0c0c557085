"""BDIA's own code (BDIAddim.py): BDIA-DDIM; the last step goes to the first entry of the table."""

from __future__ import annotations

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, Segment, Setup, solver


def setup(case: Case) -> Setup:
    """A case of `bdiaddim_sampling`."""
    if case.solver != "bdia_ddim":
        raise Missing(f"no solver for {case.solver}")
    forward = process(case.process)
    squares = [*case.grid["alphas"], case.grid["alphas_prev"][-1]]
    grid = de.TimeGrid(forward, levels=[forward.level(rho=((1 - a) / a) ** 0.5) for a in squares])
    return Setup(
        (Segment(solver("bdia", gamma=case.options["gamma"]), grid, case.data.denoiser(forward)),),
        case.x_init,
        label=lambda level: round(1000 * level.t - 1, 6),
    )
