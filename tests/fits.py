"""Coefficients and grids fitted in little time, and what a plan's run may be off by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.analysis.moments import amplification
from diffode.backends import execute, get_backend
from diffode.fitting.fit import fit
from diffode.fitting.grids import SearchedGrid, flat
from diffode.fitting.outcome import Fit
from diffode.plan import Plan

QUICK_COEFFICIENTS: dict[str, dict[str, Any]] = {
    "olss": dict(substeps=4),
    "bns": dict(iterations=2),
    "s4s": dict(iterations=2, alternate=1),
    "bespoke": dict(iterations=2),
    "amed": dict(iterations=2, substeps=4),
    "usf": dict(runs=8, first=6, batch=2, children=8),
    "dc": dict(substeps=8),
}
"""Options with which each method for coefficients takes little time."""

QUICK_GRIDS: dict[str, dict[str, Any]] = {
    "gits": dict(nodes=16),
    "ays": dict(nodes=24),
    "ld3": dict(rounds=4),
    "nonuniform": dict(rounds=20),
    "olss": dict(nodes=16, rounds=12),
    "evolution": dict(nodes=16, generations=2, population=8, mutations=3, crossings=2),
}
"""Options with which each method for grids takes little time."""

some_processes = pytest.mark.parametrize("name", ["vp", "edm", "flow", "vp_zero_snr", "mean_reverting"])

PROBE = de.grids.uniform_lambda(de.EDM(), 3)


def fitted(method: str, target: Any = "mixture_2d", nfe: int = 4, **options: Any) -> Fit:
    return fit(
        target, nfe, "coefficients", **{"method": method, "samples": 24, **QUICK_COEFFICIENTS[method], **options}
    )


def searched(method: str, target: Any = "mixture_2d", nfe: int = 5, **options: Any) -> SearchedGrid:
    return fit(target, nfe, "grid", **{"method": method, "samples": 12, **QUICK_GRIDS[method], **options})


def final(plan: Plan, model: Any, x: np.ndarray, backend: str = "numpy") -> np.ndarray:
    arrays = get_backend(backend)
    run = execute(arrays, plan, model, [arrays.array(x)], 5, plan.states)
    return flat(run[plan.states[-1]])


def bound(plan: Plan, model: Any, x: np.ndarray) -> float:
    """What rounding may do: 1e-12 of the largest register, amplified."""
    run = execute(get_backend("numpy"), plan, model, [x], 5, [row.out for row in plan.rows])
    return 1e-12 * amplification(plan) * max(float(np.max(np.abs(value))) for value in run.registers.values())
