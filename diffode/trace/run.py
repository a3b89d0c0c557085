"""`trace`: a rule over a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from diffode.errors import DiffodeError, SolverError
from diffode.expressions import Vector
from diffode.kinds import package_of, shown
from diffode.plan import Combine, Linear, Plan, Row, reads
from diffode.trace.recorder import Grid, Memory, Rule, Tracer, beside, state_of
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
        solution, and what the rule stores there becomes its past. The plan's inputs are then exact_past + 1 states
        (of a system, each as its components one after the other).
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
        coefficient that is not finite; or if the process is a system, and the rule is not made for one.
    """
    system = getattr(grid.process, "components", 1) > 1
    given = [beside(name) if system else (name,) for name in (*[f"e{i}" for i in range(exact_past)], "x0")]
    tracer = Tracer(rule, grid, [name for names in given for name in names], open_end)
    tracer.counts["x"] = 1
    if memory is not None:
        _continue(tracer, memory)
    advance = _system_step if system else one_step
    states: list[tuple[str, ...]] = [given[-1]]
    for i in range(len(grid.levels) - 1):
        forced = i < exact_past
        result = advance(tracer, state_of(given[i] if forced else states[-1]), i)
        if not forced:
            states.append(tracer.registers(result, name=tracer.fresh("x")))
    left = tracer.memory()
    rows = alive(tracer.rows, {name for names in states for name in names} | set(left.registers()))
    others = tuple(names[1:] for names in states) if system else ()
    firsts = tuple(names[0] for names in states)
    return Plan(rows, tuple(tracer.inputs), firsts, grid.levels[exact_past:], left, rule.name, others)


def one_step(tracer: Tracer, x: Linear, i: int) -> Linear:
    """What a rule makes of the state x in step i of the tracer's grid; at an infinite h, the limit formula."""
    tracer.index, tracer.embedded = i, []
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


def _system_step(tracer: Tracer, u: Vector, i: int) -> Vector:
    """One step of a system, by a rule that asks for `step.system`; there is no formula for an infinite step."""
    tracer.index = i
    step = Step(tracer, cast(Any, u), tracer.grid.levels[i], tracer.grid.levels[i + 1], i)
    for level in (step.now, step.next):
        if level.singular:
            raise SolverError(
                f"{tracer.rule.name}: step {i} touches t={shown(level.t)}, where λ is infinite, and a system has no "
                "formula there; start and end the grid inside"
            )
    problem: Exception | None = None
    result: Any = None
    try:
        result = tracer.rule(step)
    except (TypeError, AttributeError) as error:
        problem = error
    if not step.read_system:
        raise SolverError(
            f"{tracer.rule.name} is a rule for one state, but {tracer.grid.process!r} is a system; take one that is "
            "made for systems, as gddim is"
        ) from problem
    if problem is not None:
        raise SolverError(
            f"{tracer.rule.name}: {problem}; on a system step.x is a vector of expressions, and this rule computes, at "
            "one place or more, as with a single one"
        ) from problem
    if not isinstance(result, Vector):
        raise SolverError(
            f"{tracer.rule.name}: on a system the rule must return the new state, a vector made from step.x and "
            f"step.model(…), but it returned {type(result).__name__}"
        )
    return result


def _returned(tracer: Tracer, result: Any) -> Linear:
    if not isinstance(result, Linear):
        raise SolverError(
            f"{tracer.rule.name}: the rule must return the new state, an expression made from step.x and "
            f"step.model(…), but it returned {type(result).__name__}"
        )
    return result


def _continue(tracer: Tracer, memory: Memory) -> None:
    for k, (_, level) in enumerate(memory.past):
        names = beside(f"p{k + 1}") if memory.beside else (f"p{k + 1}",)
        tracer.past.append((state_of(names), level))
        tracer.inputs.extend(names)
    for name, _ in memory.named:
        tracer.named[name] = Linear({f"q_{name}": 1})
        tracer.inputs.append(f"q_{name}")


def alive(rows: Sequence[Row], wanted: set[str]) -> tuple[Row, ...]:
    """Without the combinations that nobody reads; evaluations and noise stay as the author wrote them."""
    needed = set(wanted)
    kept: list[Row] = []
    for row in reversed(rows):
        if row.out in needed or not isinstance(row, Combine):
            kept.append(row)
            needed.update(reads(row))
    return tuple(reversed(kept))
