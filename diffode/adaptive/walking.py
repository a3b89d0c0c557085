"""A run on a given grid whose steps are decided as it goes: each is traced when the state before it is known.

The trace stays one, so that what is left is the plan that was realised, with every register where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from diffode.backends import Arrays, execute
from diffode.errors import ModelError, SolverError
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.plan import Linear, Plan, Row, reads
from diffode.sampling import Remembered, Sample, checked, entered, one_state
from diffode.solvers import Solver
from diffode.trace import Step, trace

Array = Any
Read = Callable[[Linear], Array]
"""The array that an expression stands for, of what was computed before the step."""


class _Registers:
    """What was computed so far; all of it is kept, as a later step may read what the trace did not foresee."""

    def __init__(self, arrays: Arrays, model: Model, x: Array, name: str) -> None:
        self.arrays, self.model, self.name = arrays, model, name
        self.values: dict[str, Array] = {"x0": x}
        self.done = 0

    def compute(self, rows: Sequence[Row]) -> None:
        """The rows that are new."""
        fresh = tuple(rows[self.done :])
        self.done = len(rows)
        if not fresh:
            return
        made = {row.out for row in fresh}
        needed = dict.fromkeys(["x0", *(name for row in fresh for name in reads(row) if name not in made)])
        part = Plan(fresh, tuple(needed), ("x0",), (), None, self.name)
        run = execute(self.arrays, part, self.model, [self.values[name] for name in needed], None, sorted(made))
        self.values.update({name: run[name] for name in made})

    def read(self, value: Linear) -> Array:
        return self.arrays.combine([(c, self.values[name]) for name, c in value.terms.items()])


def walk(
    model: Model,
    solver: Solver,
    grid: TimeGrid,
    x_T: Array,
    choose: Callable[[Step, Read], Linear],
    mu: Array | None,
    backend: str,
) -> Sample:
    """Run a rule step by step; `choose` makes the step, and may look at all that was computed before it.

    Parameters
    ----------
    model : Model
    solver : Solver
        Whose claims and name the plan has.
    grid : TimeGrid
    x_T : array
    choose : callable
        (step, read) → new state, in place of the solver's rule. `read` gives the array of an expression.
    mu : array or None
        The anchor, where the process has one.
    backend : str

    Returns
    -------
    Sample
        Its plan is the one realised.

    Raises
    ------
    SolverError
        If the solver draws noise: what a step saw of it could not be drawn again.
    ModelError
        If the model is none, moves a system or belongs to another process, an anchor is missing, or x_T is no state.
    """
    arrays = checked(solver.name, model, x_T, backend)
    one_state(solver.name, model.process, x_T)
    if model.process != grid.process:
        raise ModelError(f"{solver.name}: the model is of {model.process!r}, the grid of {grid.process!r}")
    if not solver.plan(grid).is_deterministic:
        raise SolverError(f"{solver.name} draws noise; a run that is decided as it goes needs a deterministic solver")
    running = entered(arrays, model, x_T, mu, grid[0])
    registers = _Registers(arrays, running.model, running.x, solver.name)
    rows: list[list[Row]] = []

    def rule(step: Step, **options: Any) -> Linear:
        rows[:] = [step.tracer.rows]
        registers.compute(step.tracer.rows)
        return choose(step, registers.read)

    plan = trace(replace(solver, rule=rule), grid)
    registers.compute(rows[0])
    states = tuple(
        running.whole(registers.values[name], level) for name, level in zip(plan.states, plan.levels, strict=True)
    )
    left = Remembered(plan.memory, tuple(registers.values[name] for name in plan.memory.registers()))
    return Sample(states[-1], plan.nfe, running.tally.passes, states, plan, left)
