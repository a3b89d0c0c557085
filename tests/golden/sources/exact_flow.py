"""Exact end points of the probability flow: closed forms and DOP853, beside diffode's own reference."""

from __future__ import annotations

from math import inf

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Flow, Missing, Rebuilt, Setup


def setup(case: Case) -> Setup:
    """A case of the file `exact_flow`."""
    if case.solver != "exact":
        raise Missing(f"no solver for {case.solver}")
    forward = process(case.process)
    ends = zip(case.grid["alpha"], case.grid["sigma"], strict=True)
    levels = [forward.level(rho=sigma / alpha) if alpha else forward.level(lam=-inf) for alpha, sigma in ends]
    grid = de.TimeGrid(forward, levels=levels)
    # a table has labels for times; there only the levels count
    rebuilt = () if case.process in ("vp_sd", "vp_ddpm") else (Rebuilt("times", case.grid["t"], grid.t, floor=1.0),)
    return Setup((Flow(grid, case.data.denoiser(forward)),), case.x_init, rebuilt=rebuilt)
