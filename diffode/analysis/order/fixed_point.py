r"""What a rule remembers: the linear map of its memory at h = 0, its stability, and the memory of an endless past.

At h = 0 the network's output no longer moves the state, and one step acts on (state, memory) by a constant matrix: the
companion matrix of the rule. Its powers must stay bounded (zero-stability). The block that acts on the memory alone
tells how long the past is remembered: a list of past values is forgotten in finitely many steps (all rates 0), a
velocity v ← (1 − β) v + β ε fades at the rate 1 − β and, on equal steps, has one smooth solution, which is found here
exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

from diffode.analysis.order.jets import JetGrid, JetProcess, jet_grid
from diffode.analysis.order.systems import Vector, minus, plus, run, scaled
from diffode.analysis.order.trees import Tree
from diffode.errors import PlanError
from diffode.plan import Combine, Level, Plan
from diffode.process import CLD, EDM
from diffode.series import Series
from diffode.solvers import Solver
from diffode.solvers.registry import SYSTEMS
from diffode.trace import Memory, trace


@dataclass(frozen=True)
class Levels:
    """Levels of any kind of number."""

    process: Any
    levels: tuple[Level, ...]


@lru_cache(maxsize=512)
def probe(solver: Solver) -> Plan:
    """A short plan of equal steps after enough forced ones, to look at what the rule keeps, not at its numbers."""
    levels = _of_a_system(solver) if solver.family in SYSTEMS else _equal(solver, 0.1)
    return trace(solver, levels, exact_past=solver.history + 2, open_end=True)


def _equal(solver: Solver, h: float) -> Levels:
    process = EDM()
    count = solver.history + 5
    return Levels(process, tuple(process.level(lam=h * k) for k in range(count)))


def _of_a_system(solver: Solver) -> Levels:
    process = CLD()
    return Levels(process, tuple(process.level(0.5 - 0.02 * k) for k in range(solver.history + 5)))


def _tiny(solver: Solver) -> Levels:
    return _equal(solver, 1e-9)


def one_step(solver: Solver, grid: Any, n: int, shape: Memory) -> Plan:
    """The plan of step n with the memory of the steps before as inputs."""
    names, levels = [name for name, _ in shape.past], grid.levels[n - len(shape.past) : n][::-1]
    if not all(level in probe(solver).levels for _, level in shape.past):  # a rule that divides its steps
        before = trace(solver, Levels(grid.process, grid.levels[: n + 1]), open_end=True).memory
        levels = tuple(level for _, level in before.past)
    past = tuple(zip(names, levels, strict=True))
    step = Levels(grid.process, grid.levels[n : n + 2])
    return trace(solver, step, memory=replace(shape, past=past), open_end=True)


def companion_matrix(solver: Solver) -> np.ndarray:
    """The matrix by which one step acts on (state, memory) at h = 0, with equal steps; the state comes first.

    Parameters
    ----------
    solver : Solver

    Returns
    -------
    ndarray of float
        To about 1e-8, from a step of that size.
    """
    shape = probe(solver).memory
    plan = one_step(solver, _tiny(solver), solver.history + 2, shape)
    return _action(plan, lambda c: float(np.mean(c))).astype(float)


def _action(plan: Plan, at_zero: Callable[[Any], Any]) -> np.ndarray:
    """The linear map from the inputs of a plan to its state and memory, the network's output left out."""
    plan.require_linear("the companion matrix")
    registers: dict[str, dict[str, Any]] = {name: {name: Fraction(1)} for name in plan.inputs}
    for row in plan.rows:
        total: dict[str, Any] = {}
        if isinstance(row, Combine):
            for c, name in row.terms:
                for held, a in registers.get(name, {}).items():
                    total[held] = total.get(held, 0) + at_zero(c) * a
        registers[row.out] = total
    outputs = [plan.states[-1], *plan.memory.registers()]
    rows = [[registers[out].get(name, Fraction(0)) for name in plan.inputs] for out in outputs]
    return np.array(rows, dtype=object)


def _constant_term(c: Any) -> Fraction:
    if not isinstance(c, Series):
        return Fraction(c)
    if c.valuation < 0 and c.coefficients:
        raise PlanError("the rule keeps a value that grows without bound as h → 0 (a divided difference)")
    return Fraction(c[0]) if c.degree > 0 else Fraction(0)


@lru_cache(maxsize=512)
def rates(solver: Solver) -> tuple[complex, ...]:
    """The eigenvalues at h = 0 that are not 0, of state and memory together, without the 1 of the state."""
    matrix = companion_matrix(solver)
    # what is nilpotent has computed eigenvalues of size ε^{1/n}: its power says better how many there are
    count = int(np.linalg.matrix_rank(np.linalg.matrix_power(matrix, len(matrix)), tol=1e-7))
    found = sorted((complex(v) for v in np.linalg.eigvals(matrix)), key=abs)[-count:]
    found.remove(min(found, key=lambda v: abs(v - 1)))
    return tuple(found)


def fading_rates(solver: Solver) -> tuple[float, ...]:
    """Magnitudes of the eigenvalues of the memory's own map at h = 0, largest first; all 0 for a finite memory.

    None for a reversible rule: its second stream is made where the run starts, and nothing of it is forgotten.
    """
    if solver.reversible:
        return ()
    block = companion_matrix(solver)[1:, 1:]
    if not block.size:
        return ()
    # a nilpotent block has computed eigenvalues of size ε^{1/n}: its power says it better
    if np.max(abs(np.linalg.matrix_power(block, len(block)))) < 1e-6:
        return (0.0,) * len(block)
    return tuple(sorted((float(v) for v in np.abs(np.linalg.eigvals(block))), reverse=True))


def settled_memory(
    solver: Solver,
    grid: JetGrid,
    base: int,
    forest: Sequence[Tree],
    state: Callable[[Level], Vector],
) -> tuple[Memory, list[Vector]]:
    r"""The memory that an endless exact past leaves at level `base` of a grid with smoothly varying steps.

    With G_n the step at level n and A its memory map at h = 0, the smooth solution of M_n = G_n(M_{n−1}) is the limit
    of

        M_n ← (I − A)^{−1} (G_n(M_{n−1}) − A M_n),

    which gains one power of h a turn, since M_n − M_{n−1} = O(h).

    Parameters
    ----------
    solver : Solver
    grid : JetGrid
        With at least as many levels before `base` as powers of h are wanted.
    base : int
        Index of the level where the free steps begin.
    forest : sequence of Tree
        The test systems.
    state : callable
        The exact state at a level.

    Returns
    -------
    (Memory, list of vectors)
        The registers, and their values in order.
    """
    shape = probe(solver).memory
    plain = jet_grid(JetProcess.plain(4), solver.history + 3, 1, "uniform", "lam", Random(0))
    matrix = _action(one_step(solver, plain, solver.history + 2, shape), _constant_term)[1:, 1:]
    inverse = _inverse(np.eye(len(matrix), dtype=int) - matrix)
    first = solver.history + 1
    zero = [grid.process.constant(0) for _ in range(len(forest) + 1)]
    plans = {n: one_step(solver, grid, n, shape) for n in range(first, base)}

    def advance(n: int, memory: Sequence[Vector]) -> list[Vector]:
        registers = run(plans[n], forest, [state(grid.levels[n]), *memory])
        return [registers[name] for name in plans[n].memory.registers()]

    held = {n: _apply(inverse, advance(n, [zero] * len(matrix))) for n in range(first, base)}
    for turn in range(1, base - first):
        held = {
            n: _apply(inverse, _minus(advance(n, held[n - 1]), _apply(matrix, held[n])))
            for n in range(first + turn, base)
        }
    past = tuple((f"p{k + 1}", grid.levels[base - 1 - k]) for k in range(len(shape.past)))
    return replace(shape, past=past), held[base - 1]


def _apply(matrix: np.ndarray, vectors: Sequence[Vector]) -> list[Vector]:
    out: list[Vector] = []
    for row in matrix:
        total = scaled(vectors[0], 0)
        for a, vector in zip(row, vectors, strict=True):
            if a != 0:
                total = plus(total, scaled(vector, Fraction(a)))
        out.append(total)
    return out


def _minus(a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
    return [minus(x, y) for x, y in zip(a, b, strict=True)]


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The exact inverse of a small rational matrix."""
    from sympy import Matrix, Rational

    rational: Any = Matrix([[Rational(Fraction(a).numerator, Fraction(a).denominator) for a in row] for row in matrix])
    if rational.det() == 0:
        raise PlanError("the rule's memory has no fixed point: one of its rates is 1")
    inverse = rational.inv()
    size = len(matrix)
    return np.array(
        [[Fraction(int(inverse[i, j].p), int(inverse[i, j].q)) for j in range(size)] for i in range(size)],
        dtype=object,
    )
