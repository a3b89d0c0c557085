"""TS-DPM (sampler/pnm_solver.py): labels of a table that is not interpolated; a step goes to the shifted time."""

from __future__ import annotations

from functools import cache

import numpy as np

import diffode as de
from diffode.adaptive.time_shift import time_shift
from tests.golden.cases import Case, process
from tests.golden.processes import Tabulated
from tests.golden.setup import Missing, Segment, Setup, solver

INDEX = 1 / 1000
"""One entry of the table, in t; label k has entry k, which is t = (k + 1)/1000."""

SOLVERS = {
    "ts_euler": "ddim",
    "ts_improved_euler_solver": "pie",
    "ts_runge_kutta": "prk",
    "ts_s_pndm": "s_pndm",
    "ts_f_pndm": "f_pndm",
}


@cache
def _table(name: str) -> de.Process:
    return Tabulated(process(name).knots)


def setup(case: Case) -> Setup:
    """A case of `PNMSolver.sample`: the decisions are found by a run, and are then options of the solver."""
    if case.solver not in SOLVERS:
        raise Missing(f"no solver for {case.solver}")
    chosen, forward, options = solver(SOLVERS[case.solver]), _table(case.process), case.options
    skip = 1000 // options["S"]
    labels = [*reversed(range(1, 1001, skip)), 0]
    grid = de.TimeGrid(forward, t=[(label + 1) * INDEX for label in labels])
    model = case.data.denoiser(forward)
    if options["shift_time_step"]:
        chosen = time_shift(
            model, chosen, grid, case.x_init, window=options["window_size"] * INDEX, spacing=INDEX,
            cutoff=(options["cut_off_value"] + 1.5) * INDEX, shift="target", drop_first=True,
        ).solver  # fmt: skip
    return Setup(
        (Segment(chosen, de.TimeGrid(forward, levels=grid.levels[1:]), model),),
        case.x_init,
        label=lambda level: round(1000 * float(np.ravel(level.t)[0]) - 1, 6),
    )
