"""DPM-Solver-v3 (codebases/edm/samplers/dpm_solver_v3.py): levels are moved to the knots of the statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import diffode as de
from diffode.statistics import GaussianStatistics, ModelStatistics
from tests.golden.cases import Case, process
from tests.golden.setup import Rebuilt, Segment, Setup, solver
from tests.golden.sources.dpm_solver import BUILDERS

VARIANCE = 0.25
TIMES: dict[str, Callable[..., de.TimeGrid]] = {**BUILDERS, "edm": de.grids.karras}


def setup(case: Case) -> Setup:
    """A case of `DPM_Solver_v3.sample`."""
    options, forward = case.options, process(case.process)
    raised = options["c_pseudo"]
    known = statistics(case)
    chosen = solver(
        "dpm_v3",
        order=options["order"],
        statistics=known,
        corrector=("raised" if raised else "same") if options["use_corrector"] else None,
        pseudo=options["p_pseudo"],
        pseudo_corrector=raised,
        lower_order_final=options["lower_order_final"],
    )
    grid = de.TimeGrid(forward, t=case.grid["t"])
    built = TIMES[options["skip_type"]](forward, options["steps"], start=grid.t[0], end=grid.t[-1])
    moved = de.TimeGrid(forward, lam=known.snapped(built.lam))
    rebuilt = Rebuilt("times", case.grid["t"], moved.t, floor=1.0), Rebuilt("lambdas", case.grid["lambda"], moved.lam)
    return Setup((Segment(chosen, grid, case.data.denoiser(forward)),), case.x_init, floor=1.0, rebuilt=rebuilt)


def statistics(case: Case) -> ModelStatistics:
    """The statistics of a case: stored in the first of each kind, by formula in the others."""
    stored: dict[str, Any] = case.extra
    lam = np.linspace(case.grid["lambda"][0], case.grid["lambda"][-1], case.options["statistics_steps"] + 1)
    if "l" in stored:
        return ModelStatistics(lam, stored["l"], stored["s"], stored["b"], "published")
    kind = case.options["statistics"]
    line = np.ones_like(lam) if kind == "degenerate" else GaussianStatistics(VARIANCE).linear(lam)
    slope, bias = -0.3 * np.exp(-(lam**2) / 8), 0.2 * np.tanh(lam / 2)
    share = float(kind == "smooth")
    return ModelStatistics(lam, line, share * slope, share * bias, "published")
