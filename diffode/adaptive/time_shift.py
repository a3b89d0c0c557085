r"""TS-DPM: after a step, the next one starts from the time whose marginal variance is that of the sample.

The decisions, one time per sample and step, are the options of a rule, so that a run leaves a plan as any other does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffode.adaptive.walking import Read, walk
from diffode.catalogue import catalogued
from diffode.errors import SolverError, unknown
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.models.shift import check_window, matched
from diffode.plan import Level, Linear
from diffode.sampling import Sample
from diffode.solvers import Solver
from diffode.solvers.base import solver
from diffode.solvers.transforms import resolved
from diffode.trace import Step

Array = Any

SHIFTS = ("start", "target")


@solver(
    order=lambda base: resolved(base).order,
    prediction=lambda base: resolved(base).prediction,
    history=lambda base: resolved(base).history,
    source="arXiv:2305.15583, Algorithm 3",
)
def shifted(
    step: Step, base: Any = "ddim", starts: Sequence[Level | None] = (), ends: Sequence[Level | None] = ()
) -> Linear:
    """Any solver, whose steps start and end at other levels than those of the grid, where such are given.

    Parameters
    ----------
    base : str or Solver
    starts, ends : sequence of Level or None
        By the index of the step; None is the grid's own.
    """
    now, after = (_other(levels, step.index) or own for levels, own in ((starts, step.now), (ends, step.next)))
    inner = replace(step, now=now, next=after)
    result = resolved(base)(inner)
    step.stored, step.kept = inner.stored, inner.kept
    step.read_singular = step.read_singular or inner.read_singular
    return result


def _other(levels: Sequence[Level | None], index: int) -> Level | None:
    return levels[index] if index < len(levels) else None


@dataclass(frozen=True)
class Shifted:
    """A run of TS-DPM.

    Attributes
    ----------
    sample : Sample
        Its plan is the one realised.
    starts, ends : tuple of Level or None
        The levels with one time per sample that a step started from or went to; None where it kept to the grid.
    solver : Solver
        The rule with these decisions, which gives the run again.
    """

    sample: Sample
    starts: tuple[Level | None, ...]
    ends: tuple[Level | None, ...]
    solver: Solver

    def __repr__(self) -> str:
        moved = sum(level is not None for level in (*self.starts, *self.ends))
        return f"<time shift: {repr(self.sample)[1:-1]}, {moved} levels shifted>"


@catalogued("controller", "arXiv:2305.15583 (TS-DPM), Algorithm 3; official code, sampler/pnm_solver.py")
def time_shift(
    model: Model,
    base: str | Solver,
    grid: TimeGrid,
    x_T: Array,
    *,
    window: float,
    spacing: float = 1e-3,
    cutoff: float = 0.3,
    spread: float = 0.0,
    shift: str = "start",
    drop_first: bool = False,
    mu: Array | None = None,
    backend: str = "numpy",
) -> Shifted:
    r"""The time-shift sampler on any solver without noise.

        t_s = argmin_{|τ − t| ≤ w/2} |Var(x) − (σ_τ² + v α_τ²)|   for every sample, while t > cutoff

    Var is over the entries of a sample. As published v = 0, which takes the data for a point: samples of data with
    variance v look noisier than they are, and are shifted back.

    Parameters
    ----------
    model : Model
    base : str or Solver
    grid : TimeGrid
    x_T : array, shape (batch, …)
    window : float
        w, in t.
    spacing : float
        Of the times that are tried.
    cutoff : float
        Up to this time nothing is shifted.
    spread : float
        v.
    shift : {"start", "target"}
        "start", the paper: a step starts from the t_s of its state, and ends on the grid. "target", the official code
        of the pseudo-numerical methods: a step starts on the grid, and ends at the t_s around its end of the state that
        it *starts* from; the next one starts on the grid again, as if nothing had been shifted.
    drop_first : bool
        Leave out the first level of the grid and take x_T for a state at the second, as the official code does.
    mu : array, optional
        The anchor, where the process has one.
    backend : {"numpy", "torch"}

    Returns
    -------
    Shifted

    Raises
    ------
    SolverError
        If the base draws noise, `shift` is none of its words, or the window reaches from one level to the next.
    ModelError
        If the window or the spacing is not positive, the spread negative, a sample has one entry, or the model does not
        fit the grid.

    Examples
    --------
    >>> import diffode as de
    >>> problem = de.problems.get_problem("mixture_2d", de.VP())
    >>> grid = de.grids.power(problem.process, 10, exponent=1)
    >>> run = time_shift(problem.model, "ddim", grid, problem.initial(4, seed=0), window=0.04)
    >>> run.sample.nfe, run.starts[0] is None, run.starts[1].t.shape
    (10, True, (4, 1))
    """
    if shift not in SHIFTS:
        raise SolverError(f"time_shift: {unknown('shift', shift, SHIFTS)}")
    check_window(window, spacing, spread)
    if drop_first:
        grid = TimeGrid(grid.process, levels=grid.levels[1:])
    _check_apart(grid, window, cutoff)
    chosen = resolved(base)
    rule = shifted.configure(f"ts_dpm on {chosen.name}", base=chosen)
    decided: list[Level | None] = []

    def choose(step: Step, read: Read) -> Linear:
        middle = step.now if shift == "start" else step.next
        moved = None
        if step.index and bool(np.all(np.asarray(middle.t) > cutoff)):
            moved = matched(grid.process, middle, read(step.x), window, spacing, spread)
        decided.append(moved)
        return shifted.rule(step, chosen, *_sides(shift, decided))

    found = walk(model, rule, grid, x_T, choose, mu, backend)
    starts, ends = _sides(shift, decided)
    return Shifted(found, starts, ends, rule.configure(rule.name, starts=starts, ends=ends))


def _check_apart(grid: TimeGrid, window: float, cutoff: float) -> None:
    """Raise SolverError where a level that is shifted can meet the one beside it."""
    t = grid.t.reshape(len(grid), -1)
    gaps = np.abs(np.diff(t, axis=0))[np.maximum(t[1:], t[:-1]) > cutoff]
    if gaps.size and window >= 2 * gaps.min():
        raise SolverError(
            f"time_shift: half the window, {window / 2:g}, reaches the next level of the grid, {gaps.min():g} away; "
            "take a smaller window, fewer steps, or a larger cutoff"
        )


def _sides(shift: str, decided: Sequence[Level | None]) -> tuple[tuple[Level | None, ...], tuple[Level | None, ...]]:
    """Starts and ends."""
    return (tuple(decided), ()) if shift == "start" else ((), tuple(decided))
