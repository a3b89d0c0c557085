r"""Measured order of deterministic rules: on a nonlinear mixture, and exactly on Gaussian data.

The claim is the order *given an exact past*, so a rule is first stepped over earlier levels with its state reset to
the exact solution. In one dimension that solution needs no solver: the probability-flow ODE keeps every quantile where
it is, so x(λ) is the quantile of the marginal at λ. `order_started` measures the rule as it is shipped, from its own
start to its own end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Any

import numpy as np

from diffode.analysis.moments import Spectrum, affine, amplification, standard_gaussian
from diffode.analysis.order.fixed_point import fading_rates, probe
from diffode.analysis.slopes import Slope, fit
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError, PlanError
from diffode.grids import TimeGrid
from diffode.models import GaussianMixture
from diffode.plan import Level, Plan
from diffode.problems.named import MIXTURE_1D as MIXTURE
from diffode.process import Process
from diffode.solvers import Solver

EIGENVALUES = (1e-4, 1e-2, 0.25, 1.0, 4.0)
"""Covariance eigenvalues of the Gaussian test problem."""

SPACINGS = ("uniform", "smooth", "rough")

_RANGE = {"lam": (-1.5, 1.5), "rho": (-0.5, 1.0), "t": (-1.0, 1.5), "sigma": (-1.0, 1.0)}
"""First and last λ of the test, by the variable in which steps are spaced."""

_ROUGH = (1.0, 1.7, 0.6, 1.2, 0.5)
_COUNTS = (5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240)
"""Multiples of the rough pattern, so that halving the step keeps its shape."""
_FINER = (320, 480, 640, 960)
"""Further numbers of steps, for a slope that has not yet reached its claim."""


@dataclass(frozen=True)
class Course:
    """A grid of the test with its exact past: `past` levels before the first."""

    grid: TimeGrid
    past: int

    @property
    def h(self) -> float:
        """The mean step in λ."""
        lam = self.grid.lam[self.past :]
        return float((lam[-1] - lam[0]) / (len(lam) - 1))


def course(process: Process, steps: int, past: int, spacing: str, variable: str = "lam") -> Course:
    """Levels of the convergence test: `steps` steps, and `past` more before them, spaced alike.

    Parameters
    ----------
    process : Process
    steps, past : int
    spacing : {"uniform", "smooth", "rough"}
        Equal steps; steps that vary smoothly; ratios between 0.4 and 2 in a pattern that repeats.
    variable : {"lam", "rho", "t", "sigma"}
        The variable in which they are spaced so.

    Raises
    ------
    DiffodeError
        If the process does not reach back far enough for the past.
    """
    first, last = (process.level(lam=bound) for bound in _RANGE[variable])
    a, b = (float(getattr(level, variable)) for level in (first, last))
    index = np.arange(-past, steps + 1)
    if spacing == "rough":
        widths = np.array([_ROUGH[i % len(_ROUGH)] for i in range(-past, steps)])
        position = np.concatenate([[0.0], np.cumsum(widths)])
        u = (position - position[past]) / (position[-1] - position[past])
    else:
        u = index / steps
        if spacing == "smooth":
            u = u + 0.5 * np.sin(2 * np.pi * u) / (2 * np.pi)
    return Course(TimeGrid(process, **{variable: (a + u * (b - a)).tolist()}), past)


def past_needed(solver: Solver) -> int:
    """How many exact steps must come first, for what the rule stores to be that of an endless past."""
    rates = [rate for rate in fading_rates(solver) if 1e-9 < rate < 1 - 1e-9]
    if rates:
        return ceil(log(1e-17) / log(max(rates))) + solver.history
    keeps = bool(probe(solver).memory.named)
    return (ceil(solver.order) + 1 if keeps else 1) * solver.history + (1 if keeps else 0)


def quantile_flow(
    process: Process, levels: Sequence[Level], quantiles: np.ndarray, data: GaussianMixture = MIXTURE
) -> list[np.ndarray]:
    """The exact solution of the probability-flow ODE at each level, one row per quantile, for data on the line.

    The flow keeps F_λ(x(λ)) constant, F_λ the distribution function of the marginal; the root is found by bracketing
    and Newton's method, to rounding.
    """
    from scipy.special import ndtr

    w, m, s = data.weights, data.means[:, 0], np.sqrt(data.eigenvalues[:, 0])
    out: list[np.ndarray] = []
    for level in levels:
        centre, spread = level.alpha * m, np.sqrt((level.alpha * s) ** 2 + level.sigma**2)
        low = np.full_like(quantiles, (centre - 10 * spread).min())
        high = np.full_like(quantiles, (centre + 10 * spread).max())
        x = 0.5 * (low + high)
        for turn in range(90):
            x = 0.5 * (low + high) if turn <= 45 else x  # Newton's method goes on from itself: one end stays far away
            if turn >= 45:
                z = (x[:, None] - centre) / spread
                slope = (w * np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * spread)).sum(axis=1)
                x = np.clip(x - ((w * ndtr(z)).sum(axis=1) - quantiles) / slope, low, high)
            above = (w * ndtr((x[:, None] - centre) / spread)).sum(axis=1) >= quantiles
            low, high = np.where(above, low, x), np.where(above, x, high)
        out.append(x[:, None])
    return out


def order_mixture(
    solver: Solver, process: Process, spacing: str = "rough", variable: str = "lam", counts: Sequence[int] = _COUNTS
) -> Slope:
    """The order on a nonlinear mixture from an exact past.

    Parameters
    ----------
    solver : Solver
        Deterministic.
    process : Process
    spacing : {"uniform", "smooth", "rough"}
    variable : {"lam", "rho", "t", "sigma"}
        Where the steps are spaced so.
    counts : sequence of int
        Numbers of steps, increasing; measured until rounding shows.

    Returns
    -------
    Slope
        Of the root-mean-square error over 16 quantiles, against the exact quantile flow.
    """
    quantiles = (np.arange(16) + 0.5) / 16
    past = past_needed(solver)

    def error(steps: int) -> tuple[float, float, float]:
        run = course(process, steps, past, spacing, variable)
        plan = solver.plan(run.grid, exact_past=past, open_end=True)
        exact = quantile_flow(process, [*run.grid.levels[: past + 1], run.grid[-1]], quantiles)
        final = _execute(plan, process, exact[:-1])
        scale = float(np.max(np.abs(exact[-1])))
        return run.h, float(np.sqrt(np.mean((final - exact[-1]) ** 2))), _rounding(plan) * scale

    return _slope(error, counts, solver.order)


def order_started(solver: Solver, process: Process, counts: Sequence[int] = _COUNTS, lowered: bool = True) -> Slope:
    """The order of the rule as shipped: its own start, and its lowered end if it has one, on equal steps in λ.

    Parameters
    ----------
    solver : Solver
        Deterministic.
    process : Process
    counts : sequence of int
    lowered : bool
        Whether to lower the end where the rule's options leave it full.

    Returns
    -------
    Slope
    """
    if lowered and solver.options.get("lower_order_final") is False:
        solver = solver.configure(solver.name, lower_order_final=True)
    variable = solver.uniform or "lam"
    quantiles = (np.arange(16) + 0.5) / 16

    def error(steps: int) -> tuple[float, float, float]:
        run = course(process, steps, 0, "uniform", variable)
        plan = solver.plan(run.grid)
        exact = quantile_flow(process, [run.grid[0], run.grid[-1]], quantiles)
        final = _execute(plan, process, exact[:1])
        scale = float(np.max(np.abs(exact[-1])))
        return run.h, float(np.sqrt(np.mean((final - exact[-1]) ** 2))), _rounding(plan) * scale

    return _slope(error, counts, 0.0)


def order_gaussian(
    solver: Solver,
    process: Process,
    variable: str = "lam",
    counts: Sequence[int] = _COUNTS,
    eigenvalues: Sequence[float] = EIGENVALUES,
) -> Slope:
    """The order on Gaussian data, exactly: the largest error over covariance eigenvalues, without one sample.

    The plan is an affine map of x; its error is that map minus the exact flow m + √(V_t/V_s) (x − m), in the
    root-mean-square over x. Where float64 does not show the claim, 40 digits are used: two terms of the error that
    cancel at one step size bend the slope, and further down there may be no room above rounding.

    Parameters
    ----------
    solver : Solver
        Deterministic.
    process : Process
    variable : {"lam", "rho", "t", "sigma"}
        Where steps are equal.
    counts : sequence of int
    eigenvalues : sequence of float

    Returns
    -------
    Slope
        A slope above the claim is common here, since the problem is linear.
    """
    past = past_needed(solver)

    def error(steps: int) -> tuple[float, float, float]:
        run = course(process, steps, past, "uniform", variable)
        plan = solver.plan(run.grid, exact_past=past, open_end=True)
        worst = gaussian_error(plan, run.grid.levels[: past + 1], eigenvalues)
        return run.h, float(worst), _rounding(plan)

    measured = _slope(error, counts, solver.order)
    if measured.judge(solver.order) == "PASS":
        return measured
    return _with_digits(solver, process, variable, past, eigenvalues)


def _with_digits(
    solver: Solver, process: Process, variable: str, past: int, eigenvalues: Sequence[float], digits: int = 40
) -> Slope:
    import mpmath

    def error(steps: int) -> tuple[float, float, float]:
        run = course(process, steps, past, "uniform", variable)
        levels = tuple(process.level(lam=mpmath.mpf(float(lam))) for lam in run.grid.lam)
        plan = solver.plan(_Levels(process, levels), exact_past=past, open_end=True)
        return run.h, float(gaussian_error(plan, levels[: past + 1], eigenvalues)), 10.0 ** (5 - digits)

    with mpmath.workdps(digits):
        return _slope(error, (120, 160, 240, 320, 480), 0.0)


@dataclass(frozen=True)
class _Levels:
    """A grid of ready-made levels of any kind of number."""

    process: Process
    levels: tuple[Level, ...]


def gaussian_error(plan: Plan, past: Sequence[Level], eigenvalues: Sequence[float]) -> Any:
    """The largest root-mean-square error of a plan over Gaussian data, its inputs being exact states at past levels."""
    data = Spectrum.of(standard_gaussian(eigenvalues))
    column = affine(plan, data)[plan.states[-1]]
    m0, v0 = data.marginal(past[-1])
    gain, offset = 0 * column[0], column[len(past)]
    for a, level in zip(column, past, strict=False):
        mean, variance = data.marginal(level)
        ratio = (variance / v0) ** 0.5
        gain, offset = gain + a * ratio, offset + a * (mean - ratio * m0)
    m1, v1 = data.marginal(plan.levels[-1])
    spread = (gain - (v1 / v0) ** 0.5) ** 2 * v0
    return max((spread + (gain * m0 + offset - m1) ** 2) ** 0.5)


def _execute(plan: Plan, process: Process, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return execute(get_backend("numpy"), plan, MIXTURE.denoiser(process), inputs)[plan.states[-1]]


def _rounding(plan: Plan) -> float:
    """The error that rounding alone leaves in a run, in units of the state."""
    return 1.1e-16 * amplification(plan) ** 0.5


def _slope(error: Callable[[int], tuple[float, float, float]], counts: Sequence[int], claim: float) -> Slope:
    """Errors for growing numbers of steps, until two have met the floor or the slope has met its claim."""
    steps: list[float] = []
    errors: list[float] = []
    floor, met = 0.0, 0
    for count in (*counts, *_FINER):
        if count > counts[-1] and fit(steps, errors, floor).judge(claim) == "PASS":
            break
        try:
            with np.errstate(all="ignore"):
                h, value, rounding = error(count)
        except PlanError:
            raise
        except DiffodeError:  # a diverged run has no error to show; finer steps may have
            continue
        steps.append(h)
        errors.append(value)
        floor = max(floor, rounding)
        met += value < 5 * floor
        if met >= 2:
            break
    return fit(steps, errors, floor)
