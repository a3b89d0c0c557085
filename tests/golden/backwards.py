"""Sources that run a reversible rule backwards: the inverted plan, from two states at the clean end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import diffode as de
from diffode.analysis.inversion import invert
from diffode.backends import execute, get_backend
from diffode.plan import Evaluate
from diffode.trace import Memory
from tests.golden.setup import PublishedGrid, solver


@dataclass(frozen=True)
class Undone:
    """A run undone.

    Attributes
    ----------
    solver : Solver
    grid : TimeGrid
        Of the run that is undone, to the clean end.
    model : Model
    first : Model, optional
        What DDIM's inversion sees as it makes the second state of the first; the two are equal where it is left out.
    stream : str, optional
        A second stream that the run began with, by its name in the rule's memory.
    """

    solver: de.Solver
    grid: de.TimeGrid
    model: de.Model
    first: de.Model | None = None
    stream: str | None = None

    def run(self, x: np.ndarray) -> tuple[np.ndarray, list[Evaluate]]:
        """The state at the noisy end, and the evaluations on the way."""
        second, asked = x, list[Evaluate]()
        if self.first is not None:
            ahead = PublishedGrid(self.grid.process, self.grid.levels[:-3:-1])
            out = de.sample(self.first, solver("ddim_inversion", told="now"), ahead, x)
            second, asked = out.x, [row for row in out.plan if isinstance(row, Evaluate)]
        begun = None if self.stream is None else Memory(named=((self.stream, self.stream),))
        plan = invert(self.solver.plan(self.grid, memory=begun))
        run = execute(get_backend("numpy"), plan, self.model, [x, second])
        return run[plan.states[-1]], asked + [row for row in plan if isinstance(row, Evaluate)]
