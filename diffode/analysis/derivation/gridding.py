r"""`optimize_grid`: the levels at which the exact Gaussian error of a solver is least.

On Gaussian data with covariance eigenvalues e a plan gives in each coordinate a normal law, exactly. From the exact
marginal at the first level, the law at the last has the variances V(λ), where it should have v = α² e + σ², and

    W2² = Σ_e (√V − √v)²        (or KL = ½ Σ_e (V/v − 1 − log V/v))

is a smooth function of the levels between. Its gradient is that of a difference formula of fourth order, all shifted
grids carried through one trace as arrays of levels. Steps stay ordered, since each is a positive share of the range:
λ_k − λ_0 = H Σ_{j ≤ k} s_j, s = softmax(u); where an end of the grid is itself free (a singular start, a step to σ = 0)
one more share lies beyond it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffode.analysis.derivation.spectra import SpectrumLike, eigenvalues
from diffode.analysis.moments import Spectrum, gaussian_prediction
from diffode.analysis.stability.steps import step_maps
from diffode.errors import DiffodeError, GridError, SolverError, placed
from diffode.grids import NAMES, TimeGrid, uniform_t
from diffode.grids.grid import level_of
from diffode.grids.stored import dumps
from diffode.plan import Level
from diffode.process import VP, Process, named
from diffode.solvers import Solver, get_solver

LOSSES = ("w2", "kl")

_SHIFTS = ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0))
"""Multiples of a small shift, and twelve times their weights in a derivative of fourth order."""

_SMALL = 1e-4
"""The shift, as a share of the shorter step beside a level."""

_SLACK = 1e-3
"""The share that lies beyond a free end at first."""


@dataclass(frozen=True)
class GridLoss(ABC):
    """A loss of a solver on a grid as a function of the grid's inner levels.

    Attributes
    ----------
    solver : Solver
    ends : (Level, Level)
    """

    solver: Solver
    ends: tuple[Level, Level]

    @property
    def process(self) -> Process:
        return self.ends[0].process

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which λ the inner levels lie."""
        first, last = self.ends
        process = self.process
        low = float(process.lam(process.t_far)) if first.lam == -np.inf else float(first.lam)
        return low, float(process.lam(process.t_min)) if last.lam == np.inf else float(last.lam)

    @abstractmethod
    def of_levels(self, levels: Sequence[Level]) -> np.ndarray:
        """The loss of one grid, or of as many as the levels have entries."""

    def levels(self, inner: np.ndarray) -> list[Level]:
        """The levels of grids with inner λ of shape (inner levels, …)."""
        shape = inner.shape[1:]
        first, last = (end if not shape else self.process.level(np.full(shape, end.t)) for end in self.ends)
        return [first, *(level_of(self.process, "lam", row) for row in inner), last]

    def value(self, inner: np.ndarray) -> float:
        """The loss."""
        return float(self.of_levels(self.levels(np.asarray(inner)[:, None]))[0])

    def value_and_gradient(self, inner: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its derivative by every inner λ, from one trace."""
        lam, (low, high) = np.asarray(inner, dtype=float), self.bounds
        steps = np.diff([low, *lam, high])
        inside = np.where(steps > 0, steps, np.inf)  # a free end may lie on its bound
        small = _SMALL * np.minimum(inside[:-1], inside[1:])
        which = np.arange(len(lam))
        shifted = [lam, *(lam + c * small * (which == k) for k in which for c, _ in _SHIFTS)]
        found = self.of_levels(self.levels(np.stack(shifted, axis=1)))
        weights = np.array([weight for _, weight in _SHIFTS])
        return float(found[0]), found[1:].reshape(len(lam), len(_SHIFTS)) @ weights / (12 * small)


@dataclass(frozen=True)
class GaussianError(GridLoss):
    """The exact error of a solver as a function of the inner levels of a grid.

    Attributes
    ----------
    solver : Solver
    ends : (Level, Level)
    values, counts : ndarray, shape (d,)
        Distinct eigenvalues of the covariance, and how often each occurs.
    loss : {"w2", "kl"}
    """

    values: np.ndarray
    counts: np.ndarray
    loss: str = "w2"

    def of_levels(self, levels: Sequence[Level]) -> np.ndarray:
        plan = self.solver.plan(TimeGrid(self.process, levels=levels))
        e = self.values[:, None]
        spectrum = Spectrum(e, 0 * e, np.eye(1))
        maps = step_maps(plan, lambda prediction, level, _: gaussian_prediction(prediction, level, spectrum)[0])
        covariance = (spectrum.marginal(levels[0])[1] + 0 * e)[..., None, None]
        for m in maps:
            covariance = m.matrix @ covariance @ np.swapaxes(m.matrix, -1, -2) + m.noise @ np.swapaxes(m.noise, -1, -2)
        found, wanted = covariance[..., 0, 0], spectrum.marginal(levels[-1])[1]
        if self.loss == "w2":
            return np.sqrt(self.counts @ (np.sqrt(found) - np.sqrt(wanted)) ** 2)
        ratio = found / wanted
        return 0.5 * self.counts @ (ratio - 1 - np.log(ratio))


@dataclass(frozen=True)
class GridOptimum:
    """A grid of least Gaussian error.

    Attributes
    ----------
    solver : str
    grid : TimeGrid
    nfe, spent : int
        The budget, and the evaluations used.
    loss : str
    spectrum : str
    before, after : float
        The error on the best grid that is shipped, and on this one.
    start : str
        That grid.
    shipped : mapping
        Name → error, of all grids with the same ends.
    gradient : float
        The largest |∂ log error/∂ log step share| here.
    tried : int
        Traces, each with a gradient.

    Examples
    --------
    >>> import diffode as de
    >>> best = optimize_grid("dpmpp_2m", de.EDM(), 6, spectrum="power:2", dimension=8)
    >>> best.after < best.before == min(best.shipped.values()), best.grid.steps
    (True, 6)
    """

    solver: str
    grid: TimeGrid
    nfe: int
    spent: int
    loss: str
    spectrum: str
    before: float
    after: float
    start: str
    shipped: Mapping[str, float]
    gradient: float
    tried: int

    def as_dict(self) -> dict[str, Any]:
        """What `diffode derive optimize --grid --json` writes."""
        return {
            "solver": self.solver, "process": repr(self.grid.process), "nfe": self.nfe, "spent": self.spent,
            "loss": self.loss, "spectrum": self.spectrum, "before": self.before, "after": self.after,
            "start": self.start, "shipped": dict(self.shipped), "gradient": self.gradient, "tried": self.tried,
            "lam": self.grid.lam.tolist(), "t": self.grid.t.tolist(),
        }  # fmt: skip

    def to_json(self) -> str:
        """The grid file: what `de.grids.load` and `--grid FILE.json` read."""
        return dumps(
            self.grid, solver=self.solver, nfe=self.nfe, loss=self.loss, spectrum=self.spectrum, error=self.after
        )

    def save(self, path: str | Path) -> None:
        """Write the grid file."""
        placed(path).write_text(self.to_json(), encoding="utf-8")

    def __str__(self) -> str:
        lam = ", ".join(f"{level.lam:.4g}" for level in self.grid)
        return "\n".join([
            f"{self.solver}: minimised the exact {self.loss.upper()} error on Gaussian data by the grid",
            f"  spectrum {self.spectrum}",
            f"  {self.before:.6g} on {self.start}, the best of {len(self.shipped)} shipped grids",
            f"  {self.after:.6g} with {self.spent} evaluations, {self.grid.steps} steps, λ = {lam}",
            f"  {self.tried} gradients, the largest slope at the end {self.gradient:.1e}",
        ])  # fmt: skip


def optimize_grid(
    solver: str | Solver,
    process: Process | str | None = None,
    nfe: int = 10,
    spectrum: SpectrumLike = "power:2",
    *,
    dimension: int = 64,
    loss: str = "w2",
    final: str = "min",
    starts: int = 3,
) -> GridOptimum:
    """The grid on which the exact error of a solver on Gaussian data is least, at a budget of evaluations.

    Parameters
    ----------
    solver : str or Solver
        Deterministic or with noise.
    process : Process or str, optional
        VP by default.
    nfe : int
        The largest number of whole steps within it is taken.
    spectrum : str, array_like or Path
        "power:2" (k^{−2}, of which `dimension`), eigenvalues, data of shape (n, d), or a file; see `spectra`.
    dimension : int
    loss : {"w2", "kl"}
        W2 weighs errors of standard deviations as they are, KL relative to the variance that should be there.
    final : {"min", "zero"}
        Where the grid ends, as for the grids that are shipped.
    starts : int
        From how many of the best shipped grids a descent is made; nothing is drawn, so the outcome is always the same.

    Returns
    -------
    GridOptimum

    Raises
    ------
    DiffodeError
        If the budget is too small, the spectrum is none, or the plan is not linear.
    """
    rule = get_solver(solver)
    where = named(process) if isinstance(process, str) else process or VP()
    values = eigenvalues(spectrum, dimension)
    if loss not in LOSSES:
        raise SolverError(f"optimize_grid: loss must be {' or '.join(LOSSES)}, not {loss!r}")
    for name, count in (("nfe", nfe), ("starts", starts)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SolverError(f"optimize_grid: {name} must be a whole number of at least 1, not {count!r}")
    if loss == "kl" and final == "zero" and values.min() == 0:
        raise SolverError("optimize_grid: KL is infinite where an eigenvalue is 0 and the grid ends at σ = 0; use w2")
    steps, spent = _within(rule, where, nfe, final)
    pattern = uniform_t(where, steps, final=final)  # type: ignore[arg-type]
    distinct, counts = np.unique(values, return_counts=True)
    error = GaussianError(rule, (pattern[0], pattern[-1]), distinct, counts.astype(float), loss)
    shipped = {name: grid for name, grid in _shipped(where, steps, final).items() if _same_ends(grid, pattern)}
    found = {name: error.value(grid.lam[1:-1]) for name, grid in shipped.items()}
    found = {name: value for name, value in sorted(found.items(), key=lambda item: item[1]) if np.isfinite(value)}
    start = next(iter(found))
    best, after, slope, tried = shipped[start].lam[1:-1], found[start], np.nan, 0
    different = {round(float(np.log(value or 1e-300)), 9): name for name, value in reversed(found.items())}
    for name in [name for name in found if name in different.values()][:starts] if steps > 1 else ():
        inner, value, gradient, count = _descend(error, shipped[name].lam[1:-1])
        tried += count
        if value < after:
            best, after, slope = inner, value, gradient
    grid = shipped[start] if after == found[start] else TimeGrid(where, levels=error.levels(best))
    shown = spectrum if isinstance(spectrum, (str, Path)) else f"{len(values)} eigenvalues"
    return GridOptimum(
        rule.name, grid, nfe, spent, loss, str(shown), found[start], after, start, found, float(slope), tried
    )


def _within(solver: Solver, process: Process, nfe: int, final: str) -> tuple[int, int]:
    """The largest number of steps within a budget, and what it spends."""
    least = 0
    for steps in range(nfe, 0, -1):
        try:
            plan = solver.plan(uniform_t(process, steps, final=final))  # type: ignore[arg-type]
        except DiffodeError:
            if steps > 1:
                continue
            raise
        plan.require_linear("optimize_grid")
        least = plan.nfe
        if plan.nfe <= nfe:
            return steps, plan.nfe
    raise SolverError(
        f"optimize_grid: one step of {solver.name} takes {least} evaluations, more than nfe={nfe}; raise it"
    )


def _shipped(process: Process, steps: int, final: str) -> dict[str, TimeGrid]:
    """All grids of the package with that many steps."""
    found: dict[str, TimeGrid] = {}
    for name, build in NAMES.items():
        try:
            found[name] = build(process, steps, final=final)
        except DiffodeError:
            continue
    return found


def _same_ends(grid: TimeGrid, pattern: TimeGrid) -> bool:
    """Whether two grids begin and end alike, with finite levels between."""
    ends = all(abs(float(grid[k].t) - float(pattern[k].t)) < 1e-12 for k in (0, -1))
    return ends and grid.steps == pattern.steps and bool(np.all(np.isfinite(grid.lam[1:-1])))


def _descend(error: GaussianError, inner: np.ndarray) -> tuple[np.ndarray, float, float, int]:
    """From a grid down to a stationary one: inner λ, error, largest slope, gradients taken."""
    from scipy.optimize import minimize

    low, high = error.bounds
    steps = np.diff([low, *inner, high]) / (high - low)
    shares = np.where(steps > _SLACK * 1e-3, steps, _SLACK)
    scale = error.value(inner) or 1.0

    def place(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = np.exp(u - u.max())
        s = s / s.sum()
        return low + (high - low) * np.cumsum(s)[:-1], s

    def both(u: np.ndarray) -> tuple[float, np.ndarray]:
        lam, s = place(u)
        with np.errstate(all="ignore"):
            try:
                value, slope = error.value_and_gradient(lam)
            except GridError:  # two levels have come too near
                return 1e3, np.zeros(len(u))
        if not np.isfinite(value) or value <= 0 or not np.all(np.isfinite(slope)):
            return 1e3 if value else -745.0, np.zeros(len(u))
        later = np.append(np.cumsum(slope[::-1])[::-1], 0.0)  # Σ_{k ≥ j} ∂/∂λ_k
        return np.log(value / scale), (high - low) * s * (later - later @ s) / value

    found: Any = minimize(
        both, np.log(shares), jac=True, method="L-BFGS-B", bounds=[(-14.0, 2.0)] * len(shares),
        options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 200, "maxfun": 250, "maxcor": 20},
    )  # fmt: skip
    lam, _ = place(found.x)
    return lam, error.value(lam), float(np.max(abs(found.jac))), int(found.nfev)
