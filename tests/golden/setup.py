"""What an adapter makes of a case: which solver runs on which levels, with which model, state and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import diffode as de
from diffode.adaptive import Controller
from diffode.plan import Normal

if TYPE_CHECKING:
    from tests.golden.backwards import Undone


class Missing(Exception):
    """The package has no solver for this case."""


class PublishedGrid(de.TimeGrid):
    """Levels as a source stepped through them: a repeated one, which `TimeGrid` refuses, is a step of length zero."""

    def __init__(self, process: de.Process, levels: Iterable[de.Level]) -> None:
        self.process, self.levels = process, tuple(levels)


@dataclass(frozen=True)
class Segment:
    """One run of one solver.

    Attributes
    ----------
    solver : Solver
    grid : TimeGrid
    model : Model
    noise : sequence of arrays
        What the plan's noise rows get, in order.
    """

    solver: de.Solver
    grid: de.TimeGrid
    model: de.Model
    noise: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Flow:
    """The exact probability flow from one level to another, where a source has no solver but the truth."""

    grid: de.TimeGrid
    model: de.Model


@dataclass(frozen=True)
class Adaptive:
    """One run of one solver whose steps a controller chooses."""

    solver: de.Solver
    grid: de.TimeGrid
    model: de.Model
    controller: Controller
    rtol: float
    atol: float


@dataclass(frozen=True)
class Rebuilt:
    """A stored grid, and the same from diffode's own builder; entries below `floor` are compared as if of that size."""

    name: str
    stored: Any
    built: Any
    floor: float = 0.0


@dataclass(frozen=True)
class Setup:
    """All that the comparison needs to run a case.

    Attributes
    ----------
    segments : tuple of Segment, Adaptive, Flow or Undone
        Run one after the other, each from the state that the one before leaves.
    start : array
        The state at the first level.
    label : callable
        What the source calls a level in `eval_labels`.
    floor : float
        Labels below this are compared as if of this size: 1 for times, whose sources find them from λ to no more.
    mu : array, optional
        The anchor, for an anchored process.
    free : int
        First evaluations that the source replaces by a formula and does not count.
    unrecorded : float
        Size, relative to σ, of noise that the source may have added in each step without recording it. A run that is
        off by no more than such noise makes cannot be repeated.
    rebuilt : tuple of Rebuilt
        Grids to compare.
    flat : bool
        The source keeps the components of a system side by side on the last axis.
    """

    segments: tuple[Segment | Adaptive | Flow | Undone, ...]
    start: np.ndarray
    label: Callable[[de.Level], float] = field(default=lambda level: level.t)
    floor: float = 0.0
    mu: np.ndarray | None = None
    free: int = 0
    unrecorded: float = 0.0
    rebuilt: tuple[Rebuilt, ...] = ()
    flat: bool = False


def solver(name: str, **options: Any) -> de.Solver:
    """A registered solver with options; `Missing` where the package does not have it."""
    try:
        found = de.get_solver(name)
    except de.DiffodeError as problem:
        raise Missing(str(problem)) from problem
    return found.configure(**options) if options else found


def churned(
    base: de.Solver, grid: de.TimeGrid, draws: Sequence[np.ndarray], late: bool = False, **options: float
) -> tuple[de.Solver, list[np.ndarray]]:
    """EDM's stochastic sampler on a base, and what its plan needs of the draws that a source makes in every step."""
    found = solver("edm_stochastic", base=base, tau=0.0, late=late, **options)
    drawing = [row.key.partition(":")[0] for row in found.plan(grid).rows if isinstance(row, Normal)]
    return found, [draws[int(step)] for step in drawing]


def to_zero(process: de.Process, level: de.Level, model: de.Model) -> Segment:
    """Denoising to zero: one more step, to σ = 0, that takes the data prediction."""
    return Segment(solver("ddim"), PublishedGrid(process, [level, process.level(lam=float("inf"))]), model)
