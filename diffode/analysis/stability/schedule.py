r"""Stability along a schedule: what a solver does, step by step, to an error in each direction of Gaussian data.

On Gaussian data every coordinate in the eigenbasis is a linear recursion (`steps`), with or without guidance
(`guided`). With the standard deviation √v_n of the exact marginal at level n as unit,

    gain[i, n] = |∂x_n/∂x_i| √v_i/√v_n,        the rule's memory at i being what it is,

is how an error in state i comes out at state n; i = 0 is the starting noise itself, so that gain[0, N] is by how much
the output is too broad or too narrow. The exact flow has the gain 1 without guidance and exact[i, n] with it.

**What breaks means.** Stable is what follows the flow, also one that expands; so a run *breaks* where it lets an error
grow beyond both exact flows, with guidance and without, by a stated factor (10 unless told otherwise):

    gain[i, n] > factor · max(1, exact[i, n])        for an eigenvalue and a pair of levels i < n.

Every pair counts, not only n = N: on real data an error of ten standard deviations in the middle of a run is where a
network has never been, even if the last steps would damp it. `guidance_limit` is the smallest w at which that happens.
The gains are polynomials in w, all eigenvalues and scales are carried as arrays at once, and the answer is confirmed by
running the plan.

**The amplification of a step** is the spectral radius of its matrix, M_n with a state in units of √v, a data prediction
in units of √v/α and a noise prediction in units of √v/σ: for a one-step rule |gain[n, n + 1]|, for a multistep rule the
largest root of its characteristic polynomial with the coefficients of this step ("frozen").

**The largest stable step** at a level is the root condition for y′ = −κ y, y = x/α, in equal steps of λ, with κ as it
is at that level: there errors do not grow in units of the data. It depends on the rule and on κ alone; rules that are
written in t are taken on the process EDM, where t = ρ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from diffode.analysis.stability.guided import Data, Guidance
from diffode.analysis.stability.longest import largest_step
from diffode.analysis.stability.runs import Run, first_true
from diffode.analysis.stability.steps import step_radii
from diffode.errors import PlanError
from diffode.grids import TimeGrid
from diffode.models import GaussianMixture
from diffode.plan import Level, Plan
from diffode.solvers import Solver, get_solver

_SCALES = np.geomspace(1.0, 1e4, 385)
"""Where a guidance scale is looked for first; it is then enclosed between two neighbours."""


class GuidanceLimit(float):
    """The smallest guidance scale at which a run breaks; a number that knows where it comes from.

    Attributes
    ----------
    eigenvalue : float
        Of the direction that breaks.
    kicked, seen : int
        The levels between which an error grows beyond the bound.
    factor : float
        The bound, as a multiple of what the exact flows allow.
    below, above : float
        The largest multiple found by running the plan at 0.98 and at 1.02 times the limit, with every state kicked.
    """

    eigenvalue: float = np.nan
    kicked: int = -1
    seen: int = -1
    factor: float = np.nan
    below: float = np.nan
    above: float = np.nan

    def __repr__(self) -> str:
        if not np.isfinite(self):
            return f"<guidance limit inf: nothing grows {self.factor:g} times up to w = {_SCALES[-1]:g}>"
        return (
            f"<guidance limit {float(self):.6g}: at variance {self.eigenvalue:.4g} an error in state {self.kicked} "
            f"grows {self.factor:g} times by state {self.seen}>"
        )


def guidance_limit(
    solver: str | Solver | Plan,
    data: Data,
    grid: TimeGrid,
    unconditional: GaussianMixture | None = None,
    *,
    factor: float = 10.0,
) -> GuidanceLimit:
    """The guidance scale at which a solver breaks on a grid; see the module's text for what that means.

    Parameters
    ----------
    solver : str, Solver or Plan
    data : Gaussian, or sequence of float
        The conditional law, or the eigenvalues of its covariance.
    grid : TimeGrid
    unconditional : Gaussian, optional
        Infinitely broad by default, which makes the scale a factor on the Jacobian of the noise prediction.
    factor : float
        How often beyond the exact flows an error may grow.

    Returns
    -------
    GuidanceLimit
        A float, to 1e-6: the smallest w ≥ 1 at which the run breaks, ∞ where none does up to 10⁴. Where it breaks
        already without guidance, the scale down to which it does: less than 1; 0 where it does at all of them.

    Raises
    ------
    PlanError
        If the plan is not linear, the data are not Gaussian, or the covariances do not commute.

    Examples
    --------
    >>> import diffode as de
    >>> process = de.VP()
    >>> grid, data = de.grids.uniform_lambda(process, 20), de.Gaussian([0.0, 0.0], [1.0, 0.01])
    >>> guidance_limit("ddim", data, grid) > guidance_limit("dpmpp_2m", data, grid) > 1
    True
    """
    if not factor > 1:
        raise PlanError(f"guidance_limit: factor must be larger than 1, not {factor}")
    run = Run.of(solver, Guidance.of(data, unconditional).distinct, grid)
    if run.excess(np.ones(1))[0] > factor:
        scale = max(1 - first_true(lambda u: run.excess(1 - u) <= factor, np.linspace(0.0, 1.0, 65), chunk=16), 0.0)
    else:
        scale = first_true(lambda w: run.excess(w) > factor, _SCALES, chunk=16)
    limit = GuidanceLimit(scale)
    limit.factor = factor
    if not np.isfinite(scale):
        return limit
    here = run.ratios(np.array([scale * (1 + 1e-6)]))[:, :, 0]
    limit.kicked, limit.seen, which = (int(k) for k in np.unravel_index(np.argmax(here), here.shape))
    limit.eigenvalue = float(run.guidance.eigenvalues[which])
    limit.below, limit.above = (float(np.max(run.measured(c * scale))) for c in (0.98, 1.02))
    return limit


@dataclass(frozen=True)
class AmplificationMap:
    """The amplification of every step, for every eigenvalue of the data's covariance.

    Attributes
    ----------
    solver : str
    eigenvalues : ndarray, shape (d,)
    levels : tuple of Level
    guidance : float
    values : ndarray, shape (d, steps)
        The spectral radius of each step, in units of √v.
    exact : ndarray, shape (d, steps)
        What the exact guided flow does in the same step.
    gains : ndarray, shape (levels, levels, d)
        ∂x_n/∂x_i in the same units: what an error in any state comes to.
    rates : ndarray, shape (d, steps)
        κ at the beginning of each step.
    """

    solver: str
    eigenvalues: np.ndarray
    levels: tuple[Level, ...]
    guidance: float
    values: np.ndarray
    exact: np.ndarray
    gains: np.ndarray
    rates: np.ndarray
    rule: Solver = field(repr=False)

    @property
    def steps(self) -> np.ndarray:
        """The steps in λ."""
        return np.diff([level.lam for level in self.levels])

    @cached_property
    def largest_stable_step(self) -> np.ndarray:
        """The largest stable step in λ at the level where each step begins, shape (steps,): over all eigenvalues."""
        return np.min([largest_step(self.rule, row) for row in self.rates], axis=0)

    def plot(self) -> Any:
        """The heat map over (step, eigenvalue), and below it the steps beside the largest stable ones.

        Returns
        -------
        matplotlib Figure
        """
        from diffode.analysis.stability.heat import heat_map
        from diffode.analysis.style import look

        with look():
            return heat_map(self)


def amplification_map(
    solver: str | Solver | Plan,
    data: Data,
    grid: TimeGrid,
    guidance: float = 1.0,
    unconditional: GaussianMixture | None = None,
) -> AmplificationMap:
    """Where a solver amplifies: every step, for every covariance eigenvalue.

    Parameters
    ----------
    solver : str, Solver or Plan
    data : Gaussian, or sequence of float
        Or the eigenvalues of its covariance.
    grid : TimeGrid
    guidance : float
        The scale w.
    unconditional : Gaussian, optional
        See `guidance_limit`.

    Returns
    -------
    AmplificationMap

    Examples
    --------
    >>> import diffode as de
    >>> process = de.EDM()
    >>> found = amplification_map("ddim", [1.0, 0.01], de.grids.karras(process, 8), guidance=4.0)
    >>> found.values.shape, bool(found.values.max() > 1 > found.exact.max())
    ((2, 8), True)
    """
    if not np.isfinite(guidance):
        raise PlanError(f"amplification_map: guidance must be a finite number, not {guidance}")
    run = Run.of(solver, Guidance.of(data, unconditional), grid)
    levels, scale = run.plan.levels, float(guidance)
    steps = range(len(levels) - 1)
    exact = run.exact(scale)
    with np.errstate(all="ignore"):
        rates = np.array([run.guidance.rate(levels[n], scale) for n in steps])
    return AmplificationMap(
        run.plan.solver,
        run.guidance.eigenvalues,
        levels,
        scale,
        step_radii(run.plan, run.maps(scale), run.guidance).T,
        np.array([exact[n, n + 1] for n in steps]).T,
        run.gains(scale),
        rates.T,
        get_solver(run.plan.solver if isinstance(solver, Plan) else solver),
    )
