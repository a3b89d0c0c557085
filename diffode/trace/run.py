"""`trace`: a rule over a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffode.errors import DiffodeError, SolverError
from diffode.kinds import package_of, shown
from diffode.plan import Combine, Linear, Plan, Row, reads
from diffode.trace.recorder import Grid, Memory, Rule, Tracer
from diffode.trace.step import Step, one_step_limit


def trace(rule: Rule, grid: Grid, *, exact_past: int = 0, memory: Memory | None = None, open_end: bool = False) -> Plan:
    """Run a rule over a grid and return the plan.

    Parameters
    ----------
    rule : Rule
        A solver.
    grid : Grid
        Its levels give the kind of number of all coefficients.
    exact_past : int
        The first so many steps are teacher-forced: their state is an input of its own, given from the exact
        solution, and what the rule stores there becomes its past. The plan's inputs are then exact_past + 1 states.
    memory : Memory, optional
        What an earlier plan left behind (`plan.memory`); its registers become inputs after the state.
    open_end : bool
        More steps will follow, so that no step is the last.

    Returns
    -------
    Plan

    Raises
    ------
    SolverError
        If the rule returns something that is not an expression, uses a past that it did not declare, or has a
        coefficient that is not finite.
    """
    inputs = [f"e{i}" for i in range(exact_past)] + ["x0"]
    tracer = Tracer(rule, grid, inputs, open_end)
    tracer.counts["x"] = 1
    if memory is not None:
        _continue(tracer, memory)
    states = ["x0"]
    for i in range(len(grid.levels) - 1):
        forced = i < exact_past
        x = inputs[i] if forced else states[-1]
        result = _one_step(tracer, Linear({x: 1}), i)
        if not forced:
            states.append(tracer.register(result, name=tracer.fresh("x")))
    left = tracer.memory()
    rows = _alive(tracer.rows, {*states, *left.registers()})
    return Plan(rows, tuple(tracer.inputs), tuple(states), grid.levels[exact_past:], left, rule.name)


def _one_step(tracer: Tracer, x: Linear, i: int) -> Linear:
    tracer.index = i
    step = Step(tracer, x, tracer.grid.levels[i], tracer.grid.levels[i + 1], i)
    if not (step.now.singular or step.next.singular):
        try:
            return _returned(tracer, tracer.rule(step))
        except ZeroDivisionError as problem:
            if package_of(step.now.lam) != "float":
                raise
            raise SolverError(
                f"{tracer.rule.name}: the formula divides by zero at step {i} (t={shown(step.now.t)} → "
                f"{shown(step.next.t)}); the values of its options may be excluded"
            ) from problem
    saved = tracer.snapshot()
    result: Any = None
    problem: Exception | None = None
    with np.errstate(all="ignore"):
        try:
            result = tracer.rule(step)
        except (ArithmeticError, DiffodeError, ValueError) as error:
            problem = error
    if not step.read_singular:
        tracer.restore(saved)
        result = one_step_limit(Step(tracer, x, step.now, step.next, i))
    elif problem is not None:
        raise problem
    if not step.kept:
        tracer.past.clear()
        tracer.named.clear()
    return _returned(tracer, result)


def _returned(tracer: Tracer, result: Any) -> Linear:
    if not isinstance(result, Linear):
        raise SolverError(
            f"{tracer.rule.name}: the rule must return the new state, an expression made from step.x and "
            f"step.model(…), but it returned {type(result).__name__}"
        )
    return result


def _continue(tracer: Tracer, memory: Memory) -> None:
    for k, (_, level) in enumerate(memory.past):
        tracer.past.append((Linear({f"p{k + 1}": 1}), level))
        tracer.inputs.append(f"p{k + 1}")
    for name, _ in memory.named:
        tracer.named[name] = Linear({f"q_{name}": 1})
        tracer.inputs.append(f"q_{name}")


def _alive(rows: Sequence[Row], wanted: set[str]) -> tuple[Row, ...]:
    """Without the combinations that nobody reads; evaluations and noise stay as the author wrote them."""
    needed = set(wanted)
    kept: list[Row] = []
    for row in reversed(rows):
        if row.out in needed or not isinstance(row, Combine):
            kept.append(row)
            needed.update(reads(row))
    return tuple(reversed(kept))
