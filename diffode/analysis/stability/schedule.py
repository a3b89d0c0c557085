r"""Stability along a schedule: what a solver does, step by step, to an error in each direction of Gaussian data.

On Gaussian data every coordinate in the eigenbasis is a linear recursion (`diffode.analysis.stability.steps`), with or without
guidance (`diffode.analysis.stability.guided`). With the standard deviation √v_n of the exact marginal at level n as unit,

    gain[i, n] = |∂x_n/∂x_i| √v_i/√v_n,        the rule's memory at i being what it is,

is how an error in state i comes out at state n; i = 0 is the starting noise itself, so that gain[0, N] is by how much the output is
too broad or too narrow. The exact flow has the gain 1 without guidance and exact[i, n] with it.

**What breaks means.** Stable is what follows the flow, also one that expands; so a run *breaks* where it lets an error grow beyond
both exact flows, with guidance and without, by a stated factor (10 unless told otherwise):

    gain[i, n] > factor · max(1, exact[i, n])        for an eigenvalue and a pair of levels i < n.

Every pair counts, not only n = N: on real data an error of ten standard deviations in the middle of a run is where a network has
never been, even if the last steps would damp it. `guidance_limit` is the smallest w at which that happens. The gains are
polynomials in w, all eigenvalues and scales are carried as arrays at once, and the answer is confirmed by running the plan.

**The amplification of a step** is the spectral radius of its matrix, M_n with a state in units of √v, a data prediction in
units of √v/α and a noise prediction in units of √v/σ: for a one-step rule |gain[n, n + 1]|, for a multistep rule the largest root of its
characteristic polynomial with the coefficients of this step ("frozen").

**The largest stable step** at a level is the root condition for y′ = −κ y, y = x/α, in equal steps of λ, with κ as it is at that
level: there errors do not grow in units of the data. It depends on the rule and on κ alone; rules that are written in t are taken
on the process EDM, where t = ρ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import inf
from typing import Any

import numpy as np

from diffode.analysis.stability.guided import Data, Guidance
from diffode.analysis.stability.steps import StepMap, step_maps
from diffode.analysis.stochastic import noise_level
from diffode.backends import execute, get_backend
from diffode.errors import PlanError
from diffode.grids import TimeGrid
from diffode.models import GaussianMixture
from diffode.kinds import divide
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.prediction import basis
from diffode.process import EDM
from diffode.sampling import compile
from diffode.solvers import Solver, get_solver

_SCALES = np.geomspace(1.0, 1e4, 385)
"""Where a guidance scale is looked for first; it is then enclosed between two neighbours."""

_RATES = np.geomspace(1e-2, 1e5, 321)
_LENGTHS = np.geomspace(0.01, 12.0, 96)
"""Rates κ and steps in λ of the table behind `largest_step`."""


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
        That multiple as found by running the plan at 0.98 and at 1.02 times the limit.
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
            f"<guidance limit {float(self):.6g}: at variance {self.eigenvalue:.4g} an error in state {self.kicked} grows "
            f"{self.factor:g} times by state {self.seen}>"
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
        A float, to 1e-6: the smallest w ≥ 1 at which the run breaks, ∞ where none does up to 10⁴. Where it breaks already
        without guidance, the scale down to which it does, less than 1.

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
        scale = 1 - first_true(lambda u: run.excess(1 - u) <= factor, np.linspace(0.0, 1.0, 65), chunk=16)
    else:
        scale = first_true(lambda w: run.excess(w) > factor, _SCALES, chunk=16)
    limit = GuidanceLimit(max(scale, 0.0))
    limit.factor = factor
    if not np.isfinite(scale):
        return limit
    here = run.ratios(np.array([scale * (1 + 1e-6)]))[:, :, 0]
    limit.kicked, limit.seen, which = (int(k) for k in np.unravel_index(np.argmax(here), here.shape))
    limit.eigenvalue = float(run.guidance.eigenvalues[which])
    limit.below, limit.above = (float(run.measured(limit.kicked, limit.seen, c * scale)[which]) for c in (0.98, 1.02))
    return limit


@dataclass(frozen=True)
class Run:
    """A plan on guided Gaussian data.

    Attributes
    ----------
    plan : Plan
    guidance : Guidance
    tau : float
        Noise level of the rule.
    """

    plan: Plan
    guidance: Guidance
    tau: float = 0.0

    @staticmethod
    def of(solver: str | Solver | Plan, guidance: Guidance, grid: TimeGrid) -> Run:
        """Compile, and look how noisy the rule is."""
        plan = solver if isinstance(solver, Plan) else compile(solver, grid.process, grid)
        if len(plan.inputs) != 1:
            raise PlanError(
                f"stability: the plan continues an earlier run ({len(plan.inputs)} inputs); compile the whole"
            )
        if plan.levels != grid.levels:
            raise PlanError("stability: the plan belongs to another grid; give the one it was compiled on")
        if any(np.ndim(level.lam) for level in grid.levels):
            raise PlanError("stability needs one level for all entries, not an array of levels")
        tau = 0.0
        if not plan.is_deterministic:
            tau = noise_level(get_solver(plan.solver if isinstance(solver, Plan) else solver), EDM())
        return Run(plan, guidance, tau)

    def maps(self, scale: Any) -> list[StepMap]:
        """The matrices of all steps at scales that broadcast against the eigenvalues."""
        return step_maps(self.plan, lambda prediction, level: self.guidance.slope(prediction, level, scale))

    @cached_property
    def units(self) -> np.ndarray:
        """√v at every level, shape (levels, d)."""
        return self.guidance.deviations(self.plan.levels)

    def gains(self, scale: Any) -> np.ndarray:
        """∂x_n/∂x_i in units of √v, shape (levels, levels, …, d); 0 for i > n, NaN where it is not judged."""
        maps = self.maps(scale)
        count, batch = len(maps) + 1, np.broadcast_shapes(*(m.matrix.shape[:-2] for m in maps))
        out = np.zeros((count, count, *batch))
        response = np.zeros((*batch, 1, count))
        with np.errstate(over="ignore", invalid="ignore"):
            for n in range(count):
                response[..., 0, n] = 1.0
                out[:, n] = np.moveaxis(response[..., 0, :], -1, 0)
                if n < len(maps):
                    response = maps[n].matrix @ response
            return out * self._scaled(len(batch))

    def _scaled(self, dimensions: int) -> np.ndarray:
        """√v_i/√v_n; NaN for a start without signal, and for an end without noise in a direction without variance."""
        units = np.where(self.units > 0, self.units, np.nan)
        if not self.plan.levels[0].alpha and self.guidance.unconditional is None:
            units[0] = np.nan
        ratio = units[:, None] / units[None]
        return ratio.reshape(*ratio.shape[:2], *(1,) * (dimensions - 1), ratio.shape[-1])

    def exact(self, scale: Any) -> np.ndarray:
        """The same of the exact guided flow."""
        flow = self.guidance.flow(self.plan.levels, scale, self.tau)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.exp(flow[None] - flow[:, None])

    def ratios(self, scales: np.ndarray) -> np.ndarray:
        """|gain|/max(1, exact), shape (levels, levels, scales, d); 0 where it is not judged, ∞ where it is not finite."""
        w = np.asarray(scales, dtype=float)[:, None]
        allowed = self.exact(w)
        found = abs(self.gains(w)) / np.where(allowed > 1, allowed, 1.0)
        return np.where(np.isnan(self._scaled(2)), 0.0, np.where(np.isnan(found), inf, found))

    def excess(self, scales: np.ndarray) -> np.ndarray:
        """The largest ratio at each scale."""
        return np.max(self.ratios(scales), axis=(0, 1, 3))

    def measured(self, kicked: int, seen: int, scale: float) -> np.ndarray:
        """One ratio, found by running the plan with a kick in a state; shape (d,)."""
        plan = kicked_plan(self.plan, kicked)
        unit = self.units[kicked]
        inputs = [np.zeros((1, len(unit))), unit[None]]
        model, quiet = self.guidance.model(plan.levels[0].process, scale), [np.zeros((1, len(unit)))] * len(plan.noises)
        state = plan.states[seen]
        with np.errstate(over="ignore"):
            out = execute(get_backend("numpy"), plan, model, inputs, quiet, keep=[state])[state][0]
        return abs(out) / self.units[seen] / np.maximum(1.0, self.exact(scale)[kicked, seen])


def kicked_plan(plan: Plan, i: int) -> Plan:
    """The plan with one more input, which is added to state i as soon as it is there."""
    state = plan.states[i]
    inner = f"{state}~"
    add = Combine(state, ((1.0, inner), (1.0, "kick")))
    if state in plan.inputs:
        inputs, rows = (*(inner if name == state else name for name in plan.inputs), "kick"), [add, *plan.rows]
    else:
        inputs, rows = (*plan.inputs, "kick"), []
        for row in plan.rows:
            rows += [Combine(inner, row.terms), add] if row.out == state and isinstance(row, Combine) else [row]
    return Plan(tuple(rows), inputs, plan.states, plan.levels, plan.memory, plan.solver)


def first_true(holds: Callable[[np.ndarray], np.ndarray], points: np.ndarray, chunk: int, width: float = 1e-7) -> float:
    """The smallest number at which something holds: between two points, then enclosed; ∞ where at none."""
    low = 0.0
    for k in range(0, len(points), chunk):
        part = points[k : k + chunk]
        found = holds(part)
        if found.any():
            j = int(np.argmax(found))
            low, high = (part[j - 1] if j else low), part[j]
            break
        low = part[-1]
    else:
        return inf
    while high - low > width * high:
        inner = np.linspace(low, high, 10)[1:-1]
        found = np.append(holds(inner), True)
        j = int(np.argmax(found))
        low, high = (inner[j - 1] if j else low), (inner[j] if j < len(inner) else high)
    return float(high)


# --- steps ---------------------------------------------------------------------------------------------------


def step_radii(plan: Plan, maps: Sequence[StepMap], guidance: Guidance) -> np.ndarray:
    """The spectral radius of every step, each register in its unit; shape (steps, …, d).

    Parameters
    ----------
    plan : Plan
    maps : sequence of StepMap
        Its steps. NaN comes out where a state has no variance.
    guidance : Guidance
    """
    size = max(len(names) for m in maps for names in (m.before, m.after))
    units = _units(plan, guidance)
    out: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        for m in maps:
            before, after = (np.stack([units[name] for name in names], axis=-1) for names in (m.before, m.after))
            scaled = np.zeros((*m.matrix.shape[:-2], size, size))
            scaled[..., : len(m.after), : len(m.before)] = m.matrix * before[..., None, :] / after[..., :, None]
            radius = np.max(abs(np.linalg.eigvals(np.where(np.isfinite(scaled), scaled, 0.0))), axis=-1)
            out.append(np.where(np.isfinite(scaled[..., 0, 0]), radius, np.nan))
    return np.array(out)


def _units(plan: Plan, guidance: Guidance) -> dict[str, np.ndarray]:
    """√v for a state, as much for what predicts it, and the sum of its terms for what is combined of them."""
    states = dict(zip(plan.states, guidance.deviations(plan.levels), strict=True))
    units = {plan.inputs[0]: states[plan.states[0]]}
    for row in plan.rows:
        if row.out in states:
            units[row.out] = states[row.out]
        elif isinstance(row, Evaluate):
            level = row.at or row.level
            parts = zip(basis(row.prediction, level), (level.alpha, level.sigma), strict=True)
            weight = sum(divide(abs(q), own) for q, own in parts if q)
            units[row.out] = weight * guidance.deviations([level])[0]
        elif isinstance(row, Combine):
            units[row.out] = np.sum([abs(c) * units[name] for c, name in row.terms], axis=0)
        else:
            units[row.out] = np.zeros_like(guidance.eigenvalues)
    return units


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


# --- the largest stable step -------------------------------------------------------------------------------


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
        maps = step_maps(plan, lambda prediction, level: point.slope(prediction, level, rates[:, None]))
        radius = step_radii(plan, maps, point)[-2, :, 0]
        return radius * np.exp(-h) > 1 + 1e-9

    return first_true(grows, _RATES, chunk=len(_RATES), width=1e-10)
