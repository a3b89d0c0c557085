r"""Bespoke solvers: Runge–Kutta steps in a rescaled state and a new time, both fitted.

With s_i = 1 at the beginning of a step, τ = h ṫ and b = h ṡ/s, one step from t_i over t_m to t_{i+1} reads

    RK1    x_{i+1} = ((1 + b_i) x_i + τ_i u_i)/s_{i+1}
    RK2    z = (1 + b_i/2) x_i + τ_i u_i/2,        x_{i+1} = (x_i + b_m z + s_m τ_m u(t_m, z/s_m))/s_{i+1}

s = 1 and t linear is the parent, Euler's method or the midpoint rule in t. For smooth s and t the order is that of the
parent (`diffode.solvers.bespoke`); fitted to few steps they are 4 numbers for each evaluation, and claim none.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import DiffodeError
from diffode.fitting.coefficients import Course
from diffode.fitting.grids import of_shares, shares
from diffode.fitting.keeping import descend
from diffode.fitting.outcome import Fit
from diffode.grids import TimeGrid
from diffode.plan import Linear
from diffode.solvers import Solver
from diffode.solvers.tables import CoefficientTable
from diffode.trace import Step

_PARENTS = {1: "euler_t", 2: "runge_kutta(tableau='midpoint', variable='t')"}


def bespoke_steps(fine: TimeGrid, stages: int, numbers: np.ndarray) -> Solver:
    r"""The steps of a bespoke solver, whose numbers belong to its levels; see the module.

    Parameters
    ----------
    fine : TimeGrid
        The levels, for RK2 those in the middle among them.
    stages : {1, 2}
    numbers : ndarray, shape (3, levels − 1)
        For every level but the last log(τ/τ of the parent), log(s of the next level/s) and b.

    Returns
    -------
    Solver
        On `fine.levels[::stages]`.
    """

    def rule(step: Step) -> Linear:
        at = stages * step.index
        (tempo, growth, drift), t = numbers[:, at : at + stages], fine.t[at : at + stages + 1]
        tau = np.exp(tempo) * (t[-1] - t[0] if stages == 1 else np.array([2 * (t[1] - t[0]), t[2] - t[0]]))
        scale = [float(value) for value in np.exp(np.cumsum(growth))]
        u = step.model(step.x, step.now)
        if stages == 1:
            return ((1 + float(drift[0])) * step.x + float(tau[0]) * u) / scale[0]
        z = (1 + float(drift[0]) / 2) * step.x + (float(tau[0]) / 2) * u
        middle = step.model(z / scale[0], fine[at + 1])
        return (step.x + float(drift[1]) * z + scale[0] * float(tau[1]) * middle) / scale[1]

    claims = MappingProxyType({"order": 0, "prediction": "velocity"})
    return Solver(f"bespoke_rk{stages}_steps", rule, claims, "arXiv:2310.19075, eqs. (18) and (20)")


@catalogued("fit", "arXiv:2310.19075, section 3")
def fit_bespoke(
    target: Any,
    nfe: int,
    *,
    stages: int = 2,
    iterations: int = 20,
    **options: Any,
) -> Fit:
    r"""A bespoke solver: s, ṡ, t and ṫ at every evaluation, to the end points of the exact flow.

    The authors minimise a bound of the error, the sum of its steps' errors times Lipschitz constants; here it is the
    error itself.

    Parameters
    ----------
    target, nfe
        See `de.fit`; a multiple of `stages`; there are 4 numbers for each evaluation.
    stages : {1, 2}
        RK1 or RK2.
    iterations : int
        Gauss–Newton steps at most, the derivatives by differences.
    **options
        Those that all fits of coefficients take; see `diffode.fitting.coefficients.fit_coefficients`.

    Returns
    -------
    Fit
        With a grid of its own.

    Raises
    ------
    DiffodeError
        If `stages` is neither 1 nor 2, or the budget is no multiple of it.

    Examples
    --------
    >>> found = fit_bespoke("mixture_1d", 4, samples=64, iterations=5)
    >>> found.grid.steps, found.provenance["train"]["after"] < found.provenance["train"]["before"] / 2
    (2, True)
    """
    if stages not in _PARENTS:
        raise DiffodeError(f"fit_bespoke: stages is 1 or 2, not {stages!r}")
    course = Course.of(target, nfe, per_step=stages, start=_PARENTS[stages], **options)
    first = shares(_with_middles(course.grid) if stages == 2 else course.grid, "t")

    def made(u: np.ndarray) -> tuple[CoefficientTable, TimeGrid]:
        moved = u.reshape(4, nfe)
        fine = of_shares(course.target, first + moved[0], "t")
        outer = TimeGrid(fine.process, levels=fine.levels[::stages])
        return CoefficientTable.of(bespoke_steps(fine, stages, moved[1:]).plan(outer)), outer

    def run(u: np.ndarray) -> tuple[Solver, TimeGrid]:
        table, outer = made(u)
        return table.solver("bespoke"), outer

    def off(u: np.ndarray) -> np.ndarray:
        return course.off(lambda: run(u))

    keeper = course.keeper("bespoke", iterations * (4 * nfe + 1), stages=stages)
    table, outer = made(descend(off, keeper, iterations, np.zeros(4 * nfe)))
    facts = {"stages": stages, "iterations": iterations, "runs": keeper.tried, "interrupted": keeper.interrupted}
    return course.concluded("bespoke", {"table": table.as_dict()}, facts, outer)


def _with_middles(grid: TimeGrid) -> TimeGrid:
    """The grid with the middle of every step in t."""
    t = np.sort(np.append(grid.t, (grid.t[1:] + grid.t[:-1]) / 2))
    return TimeGrid(grid.process, t=(t[::-1] if grid.t[0] > grid.t[-1] else t).tolist())
