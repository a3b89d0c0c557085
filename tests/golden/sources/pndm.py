"""PNDM (runner/method.py): only its DDIM; ᾱ is taken one index after the label."""

from __future__ import annotations

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, Segment, Setup, solver


def setup(case: Case) -> Setup:
    """A case of `gen_order_1`."""
    if case.solver != "ddim":
        raise Missing(f"no solver for {case.solver}")
    forward = process(case.process)
    levels = [forward.level(rho=((1 - a) / a) ** 0.5) for a in case.grid["alphas_cumprod"]]
    grid = de.TimeGrid(forward, levels=levels)
    # the label t has the table's entry t + 1, which is the continuous time (t + 2)/1000
    return Setup(
        (Segment(solver("ddim"), grid, case.data.denoiser(forward)),),
        case.x_init,
        label=lambda level: round(1000 * level.t - 2, 6),
    )
