r"""The exact law of a system's plan on Gaussian data: position and velocity, in each eigendirection of the data.

With Ψ₀ the first column of Ψ(t, 0) and e an eigenvalue, u has the mean Ψ₀ m and the covariance V = e Ψ₀ Ψ₀ᵀ + Σ; the
score is −V^{−1} (u − Ψ₀ m): affine, so that one pass over the rows gives the law of what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from diffode.analysis.moments import Column, Law, Spectrum, columns
from diffode.analysis.slopes import Slope, fit
from diffode.backends import execute, get_backend
from diffode.errors import PlanError
from diffode.expressions import Matrix
from diffode.grids import TimeGrid, quadratic
from diffode.models import Gaussian, GaussianMixture
from diffode.plan import Evaluate, Level, Plan, defines, reads
from diffode.prediction import change_of_system
from diffode.process import CLD, LinearSystem
from diffode.solvers import Solver, get_solver

MIXTURE = GaussianMixture([0.5, 0.3, 0.2], [[1.5, 0.0], [-1.0, 1.2], [0.0, -1.6]], [0.3, 0.5, 0.2])
"""The nonlinear test problem of measured orders."""

_GAUSSIAN = Gaussian([0.3, -1.0], [0.25, 0.01])
_SPAN = (0.5, 0.25)
"""First and last time of the test."""
_COUNTS = (24, 32, 48, 64, 96, 128)
_STATES = 4
"""How many states of the mixture are followed."""


@dataclass(frozen=True)
class SystemLaw:
    """A Gaussian law of all components, in the eigenbasis of the data.

    Attributes
    ----------
    spectrum : Spectrum
        Of the data.
    mean : ndarray, shape (components, d)
    covariance : ndarray, shape (components, components, d)
        In each eigendirection; different ones are independent.
    level : Level
        Where the plan ends.
    """

    spectrum: Spectrum
    mean: np.ndarray
    covariance: np.ndarray
    level: Level

    @property
    def position(self) -> Law:
        """The law of the positions alone, with its distances to the data."""
        return Law(self.spectrum, self.mean[0], self.covariance[0, 0], self.level)

    @property
    def exact(self) -> SystemLaw:
        """The law that the output should have: the marginal of the process at the last level."""
        return marginal(self.spectrum, self.level)


def marginal(spectrum: Spectrum, level: Level) -> SystemLaw:
    """The law of u at a level: Ψ₀ m and e Ψ₀ Ψ₀ᵀ + Σ."""
    first, spread = _moments(spectrum, level)
    shape = (len(first.rows), len(first.rows), len(spectrum.mean))
    covariance = np.array(spread.entries).reshape(shape)
    return SystemLaw(spectrum, np.array([row[0] * spectrum.mean for row in first.rows]), covariance, level)


def law(plan: Plan, data: GaussianMixture, start: str = "marginal") -> SystemLaw:
    """The exact output law of a system's plan on Gaussian data.

    Parameters
    ----------
    plan : Plan
        Of a system, linear, of a whole run.
    data : Gaussian
        The law of the positions.
    start : {"marginal", "prior"}
        The law of u_T: the marginal of the process at the first level; or N(0, Σ_T), which forgets the data.

    Returns
    -------
    SystemLaw

    Raises
    ------
    PlanError
        If the plan is of one state, has `Dynamic` rows or continues an earlier run; if the data are not Gaussian.

    Examples
    --------
    >>> import diffode as de
    >>> process, data = de.CLD(), de.Gaussian(0.3, 0.25)
    >>> plan = de.compile("gddim_2", process, de.grids.uniform_lambda(process, 20))
    >>> out = law(plan, data)
    >>> bool(out.position.variance[0] < out.exact.position.variance[0])
    True
    """
    if not plan.beside:
        raise PlanError(f"law: {plan.solver or 'the plan'} moves one state; diffode.law has its exact law")
    if start not in ("marginal", "prior"):
        raise PlanError(f"law: start must be 'marginal' or 'prior', not {start!r}")
    if not plan.is_linear or tuple(plan.inputs) != plan.state(0):
        raise PlanError("law: the plan has Dynamic rows or continues an earlier run; compile the whole of a linear one")
    spectrum = Spectrum.of(data)
    known = columns(plan, spectrum, _evaluated)
    n = len(plan.inputs)
    out = np.array([known[name] for name in plan.state(-1)])
    first = marginal(spectrum, plan.levels[0])
    mean, covariance = first.mean, first.covariance
    if start == "prior":
        sigma = plan.levels[0].process.covariance(plan.levels[0].t)
        mean, covariance = 0 * mean, np.array(sigma.entries).reshape(n, n, 1) + 0 * covariance
    gain, offset, weights = out[:, :n], out[:, n], out[:, n + 1 :]
    spread = np.einsum("aid,ijd,cjd->acd", gain, covariance, gain) + np.einsum("akd,ckd->acd", weights, weights)
    return SystemLaw(spectrum, np.einsum("aid,id->ad", gain, mean) + offset, spread, plan.levels[-1])


def _moments(spectrum: Spectrum, level: Level) -> tuple[Matrix, Matrix]:
    """Ψ₀, and V with an array of eigenvalues in each entry."""
    process = level.process
    first = Matrix(tuple((row[0],) for row in process.transition(0.0, level.t).rows))
    return first, process.covariance(level.t) + (first @ first.T) * spectrum.eigenvalues


def _evaluated(row: Evaluate, known: dict[str, Column], constant: int, spectrum: Spectrum) -> dict[str, Column]:
    """The prediction A u + B score, with the score −V^{−1} (u − Ψ₀ m)."""
    first, spread = _moments(spectrum, row.at or row.level)
    a, b = change_of_system("score", row.prediction, row.level)
    pull = b @ spread.inverse()
    slope, offset = a - pull, pull @ first
    found: dict[str, Column] = {}
    for name, weights, shift in zip(defines(row), slope.rows, offset.rows, strict=True):
        value = sum(c * known[x] for c, x in zip(weights, reads(row), strict=True)) + np.zeros_like(known[row.x])
        value[constant] = value[constant] + shift[0] * spectrum.mean
        found[name] = value
    return found


# --- measured order ---------------------------------------------------------------------------------------


def measured_order(solver: str | Solver, process: LinearSystem | None = None) -> Slope:
    """The order of a rule for systems, as a slope.

    Without noise: of the error of states of a Gaussian mixture, given an exact past, against the probability flow
    integrated to 12 digits. With noise: of the error of the exact law on Gaussian data, which is the weak order.

    Parameters
    ----------
    solver : str or Solver
    process : LinearSystem, optional
        CLD with its defaults where none is given.

    Returns
    -------
    Slope
        Its `judge(claim)` says PASS, FAIL or INCONCLUSIVE.

    Raises
    ------
    SolverError
        If the rule is not made for systems.

    Examples
    --------
    >>> slope = measured_order("gddim_2")
    >>> round(slope.value), slope.judge(2)
    (2, 'PASS')
    """
    chosen, where = get_solver(solver), process or CLD()
    steps, errors = list[float](), list[float]()
    for n in _COUNTS:
        times = quadratic(where, n + chosen.history, start=_SPAN[0], end=_SPAN[1])
        plan = chosen.plan(times, exact_past=chosen.history)
        steps.append(float(times.t[chosen.history] - times.t[-1]) / n)
        errors.append(_state_error(plan, where, times) if plan.is_deterministic else _law_error(plan))
    return fit(steps, errors, 1e-11)


def _law_error(plan: Plan) -> float:
    out = law(plan, _GAUSSIAN)
    return float(max(np.abs(out.mean - out.exact.mean).max(), np.abs(out.covariance - out.exact.covariance).max()))


def _state_error(plan: Plan, process: LinearSystem, times: TimeGrid) -> float:
    flow = _flow(process)
    past = len(plan.inputs) // process.components
    inputs = [u[:, k] for u in map(flow, times.t[:past]) for k in range(process.components)]
    out = execute(get_backend("numpy"), plan, MIXTURE.denoiser(process), inputs)
    found = np.stack([out[name] for name in plan.state(-1)], axis=1)
    return float(np.abs(found - flow(times.t[-1])).max())


@lru_cache(maxsize=8)
def _flow(process: LinearSystem) -> Any:
    """The probability flow u′ = F u − ½ G Gᵀ score of a few states of the mixture, as a function of time."""
    from scipy.integrate import solve_ivp

    model, shape = MIXTURE.denoiser(process), (_STATES, process.components, MIXTURE.dimension)
    start = np.random.default_rng(0).standard_normal(shape) * 0.7

    def velocity(t: float, y: np.ndarray) -> np.ndarray:
        u = y.reshape(shape)
        drift, noise = (np.array(m.rows, dtype=float) for m in (process.drift(t), process.diffusion(t)))
        return (drift @ u - 0.5 * (noise @ model(u, t))).ravel()

    found = solve_ivp(velocity, _SPAN, start.ravel(), method="DOP853", rtol=1e-12, atol=1e-13, dense_output=True).sol
    return lambda t: found(t).reshape(shape)
