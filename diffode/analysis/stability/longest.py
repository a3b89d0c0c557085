r"""The largest stable step of a rule at a rate κ, and the largest rate at a step.

The test is y′ = −κ y in λ, y = x/α, in equal steps: data at a point with guidance scale κ against an infinitely broad
law, on the process EDM. Every rule that knows of a level no more than its λ is then the same at every step.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np

from diffode.analysis.stability.guided import Guidance
from diffode.analysis.stability.runs import first_true
from diffode.analysis.stability.steps import step_maps, step_radii
from diffode.grids import TimeGrid
from diffode.process import EDM
from diffode.solvers import Solver

_RATES = np.geomspace(1e-2, 1e5, 321)
_LENGTHS = np.geomspace(0.01, 12.0, 96)
"""Rates κ and steps in λ of the table behind `largest_step`."""


def largest_step(solver: Solver, rates: np.ndarray) -> np.ndarray:
    """The largest h such that all equal steps in λ up to h are stable on y′ = −κ y; ∞ where any is, or κ ≤ 0.

    Parameters
    ----------
    solver : Solver
    rates : ndarray
        κ.

    Returns
    -------
    ndarray
        Interpolated in a table, to about 1 part in 1000; between 0.01 and 12.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> h = largest_step(get_solver("ddim"), np.array([4.0, 1.0]))     # 2/(1 − e^{−h}) = κ
    >>> bool(abs(h[0] - np.log(2)) < 1e-3), h[1]
    (True, np.float64(inf))
    """
    bounds = np.maximum(np.minimum.accumulate(_table(solver)), 1e-300)
    rates = np.asarray(rates, dtype=float)
    inside = np.exp(np.interp(-np.log(np.maximum(rates, 1e-300)), -np.log(bounds), np.log(_LENGTHS)))
    return np.where(rates <= bounds[-1], inf, np.where(rates > bounds[0], 0.0, inside))


@lru_cache(maxsize=64)
def _table(solver: Solver) -> np.ndarray:
    """The largest stable κ at each length."""
    return np.array([largest_rate(solver, h) for h in _LENGTHS])


def largest_rate(solver: Solver, h: float) -> float:
    """The largest κ such that equal steps h in λ are stable on y′ = −κ′ y for all κ′ up to it: guidance, at one step.

    Parameters
    ----------
    solver : Solver
    h : float
        In λ.
    """
    count = solver.history + 6
    process = EDM()
    plan = solver.plan(TimeGrid(process, lam=[h * (k - count / 2) for k in range(count + 1)]), open_end=True)
    point = Guidance(np.zeros(1))

    def grows(rates: np.ndarray) -> np.ndarray:
        maps = step_maps(plan, lambda prediction, level, _: point.slope(prediction, level, rates[:, None]))
        radius = step_radii(plan, maps, point)[-2, :, 0]
        return radius * np.exp(-h) > 1 + 1e-9

    return first_true(grows, _RATES, chunk=len(_RATES), width=1e-10)
