"""`fit_coefficients`: what fitted coefficients share: what they are fitted to, what is kept, how they are judged.

A fit begins at the coefficients of a registered solver, and is kept only where it comes nearer to the end points of the
exact flow on the states that it was fitted on. What it is worth stands in `provenance["held_out"]`: the same distance
from states that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from diffode.backends import execute
from diffode.errors import DiffodeError, SolverError
from diffode.fitting.fit import function_of
from diffode.fitting.grids import Target, backend_of, flat, target_of
from diffode.fitting.keeping import Keeper, Progress
from diffode.fitting.outcome import Fit
from diffode.grids import TimeGrid
from diffode.plan import Level
from diffode.solvers import Solver, get_solver
from diffode.solvers.tables import CoefficientTable

METHODS: dict[str, str] = {
    "olss": "diffode.fitting.canonical:fit_olss",
    "bns": "diffode.fitting.canonical:fit_bns",
    "s4s": "diffode.fitting.canonical:fit_s4s",
    "bespoke": "diffode.fitting.bespoke:fit_bespoke",
    "amed": "diffode.fitting.directions:fit_amed",
    "usf": "diffode.fitting.schedules:fit_usf",
    "dc": "diffode.fitting.compensation:fit_compensation",
}
"""Name of a method → module:function, called as function(target, nfe, **options)."""

_LOST = 1e6
"""What a run that overflows is off by."""


def fit_coefficients(target: Any, nfe: int, *, method: str = "olss", **options: Any) -> Fit:
    """Coefficients fitted to a model.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
    method : {"olss", "bns", "s4s", "bespoke", "amed", "usf", "dc"}
    **options
        Of the method's function, and those that all have:

        - start : str or Solver. Where the fit begins, and what it is compared with; "dpmpp_2m" by default.
        - grid : str or TimeGrid. "uniform_lambda" by default.
        - seed : int. Of the states that are drawn, and of what a search draws.
        - name : str. Of the solver; the method and the budget by default.
        - progress : callable. Called with (runs done, runs expected, least loss), where a fit takes many runs;
          first with 0 runs done, before the teacher's end points are found.
        - checkpoint : str or Path. A JSON file with the best so far: an interrupted fit goes on from it.
        - process, x_T, held_out, samples. See `diffode.fitting.grids.target_of`.

    Returns
    -------
    Fit

    Raises
    ------
    DiffodeError
        If there is no such method, the budget is too small, or the target is none.

    Examples
    --------
    >>> found = fit_coefficients("mixture_1d", 5, method="olss", samples=32)
    >>> found.solver.prediction, found.grid.steps
    ('x0', 5)
    """
    return function_of(method, METHODS, "method")(target, nfe, **options)


@dataclass(frozen=True)
class Course:
    """A target with the grid and the solver that a fit begins with.

    Attributes
    ----------
    target : Target
    grid : TimeGrid
    start : Solver
    nfe, seed : int
    name : str or None
    progress : callable or None
    checkpoint : str, Path or None
    """

    target: Target
    grid: TimeGrid
    start: Solver
    nfe: int
    seed: int
    name: str | None
    progress: Progress | None
    checkpoint: str | Path | None

    @staticmethod
    def of(
        target: Any,
        nfe: int,
        *,
        per_step: int = 1,
        start: str | Solver = "dpmpp_2m",
        grid: str | TimeGrid = "uniform_lambda",
        seed: int = 0,
        name: str | None = None,
        progress: Progress | None = None,
        checkpoint: str | Path | None = None,
        **options: Any,
    ) -> Course:
        """The course of a budget, for a method that evaluates `per_step` times a step; see `fit_coefficients`.

        Raises
        ------
        DiffodeError
            If the budget is no multiple of that, the grid does not fit, or the start draws noise.
        """
        if nfe % per_step:
            raise DiffodeError(f"fit: each step takes {per_step} evaluations, so nfe must be a multiple, not {nfe}")
        rule, where = get_solver(start), target_of(target, seed=seed, **options)
        placed = where.grid(grid, nfe // per_step)
        if not rule.plan(placed).is_deterministic:
            raise SolverError(f"fit: {rule.name} draws noise; begin at a deterministic solver, start='dpmpp_2m'")
        return Course(where, placed, rule, nfe, seed, name, progress, checkpoint)

    def states(self, solver: Solver, grid: TimeGrid, held_out: bool = False) -> list[np.ndarray]:
        """The states of a run at every level, each of shape (batch, d)."""
        x, plan = self.target.held_out if held_out else self.target.train, solver.plan(grid)
        run = execute(backend_of(x), plan, self.target.model, [x], None, plan.states)
        return [flat(run[name]) for name in plan.states]

    def off(self, made: Callable[[], tuple[Solver, TimeGrid]]) -> np.ndarray:
        """How far the run of what is made ends from the end points of the exact flow, one entry after the other."""
        lost = np.full(self.target.ends[0].size, _LOST)
        with np.errstate(all="ignore"):
            try:
                found = (self.target.run(*made()) - self.target.ends[0]).ravel()
            except DiffodeError:  # the run overflows, or a level lies outside the process
                return lost
        return np.where(np.isfinite(found), found, lost)

    def keeper(self, method: str, total: int, **options: Any) -> Keeper:
        """The keeper of a search of so many runs; `options` in plain values tell it from others."""
        key = self.target.key(method, self.grid, nfe=self.nfe, seed=self.seed, start=self.start.name, **options)
        return Keeper(key, total, self.progress, self.checkpoint)

    def concluded(
        self, method: str, content: Mapping[str, Any], facts: Mapping[str, Any], grid: TimeGrid | None = None
    ) -> Fit:
        """The fit of a content (`table`, or `rule` with `options`); the start itself where that is no worse.

        Parameters
        ----------
        method : str
        content : mapping
        facts : mapping
            Further provenance.
        grid : TimeGrid, optional
            Where the fit has a grid of its own.
        """
        name, fitted_on = self.name or f"{method}_{self.nfe}", grid or self.grid
        told = {
            "method": method, "problem": self.target.name, "nfe": self.nfe, "seed": self.seed, "start": self.start.name,
            **facts,
        }  # fmt: skip
        made = Fit.of(name, content, fitted_on, told)
        errors = [
            [self.target.error(*run, held_out) for run in ((self.start, self.grid), (made.solver, made.grid))]
            for held_out in (False, True)
        ]
        kept = errors[0][1] <= errors[0][0]
        if not kept:
            content = {"table": CoefficientTable.of(self.start.plan(self.grid)).as_dict()}
            made = Fit.of(name, content, self.grid, told)
            errors = [2 * [self.target.error(made.solver, made.grid, held_out)] for held_out in (False, True)]
        counts = len(self.target.train), len(self.target.held_out)
        told["start_kept"] = not kept
        for part, (before, after), count in zip(("train", "held_out"), errors, counts, strict=True):
            told[part] = {"before": before, "after": after, "count": count}
        return Fit.of(name, content, made.grid, told)


def refined(grid: TimeGrid, substeps: int) -> TimeGrid:
    """A grid with further levels between those of another, equally far apart in λ.

    >>> import diffode as de
    >>> refined(de.TimeGrid(de.EDM(), sigma=[4.0, 1.0]), 2).sigma
    array([4., 2., 1.])
    """
    if isinstance(substeps, bool) or not isinstance(substeps, int) or substeps < 1:
        raise DiffodeError(f"fit: substeps must be a whole number of at least 1, not {substeps!r}")
    levels: list[Level] = [grid[0]]
    for a, b in pairwise(grid):
        gap = (b.lam - a.lam) / substeps
        levels += [*(grid.process.level(lam=a.lam + k * gap) for k in range(1, substeps)), b]
    return TimeGrid(grid.process, levels=levels)
