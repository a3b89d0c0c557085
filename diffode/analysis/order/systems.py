"""Running a plan on the test systems: registers are vectors of series, the network is a product of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from diffode.analysis.order.modular import Block, ModularSeries
from diffode.analysis.order.trees import Tree
from diffode.plan import Combine, Constant, Evaluate, Plan
from diffode.prediction import basis

Vector = Sequence[Any]
"""One series per unknown; the last entry is y_0, the unknown with D = 0. Modulo a prime it is a `Block`."""


def run(plan: Plan, forest: Sequence[Tree], inputs: Sequence[Vector]) -> dict[str, Vector]:
    """Every register of a plan on the test systems, as vectors of series."""
    if any(isinstance(x, Block) for x in inputs):
        inputs = [Block.of(x) for x in inputs]
    registers = dict(zip(plan.inputs, inputs, strict=True))
    for row in plan.rows:
        if isinstance(row, Constant):
            registers[row.out] = constant(inputs[0])
        elif isinstance(row, Combine):
            registers[row.out] = combine(row, registers)
        elif isinstance(row, Evaluate):
            registers[row.out] = evaluate(row, forest, registers[row.x])
    return registers


def constant(x: Vector) -> Vector:
    """The constant that a rule adds, as a vector like x: it is seen by y_0, which D = 0 leaves where it is.

    A number that no rule knows of stands for 1, so that it does not make up for what the rule does to y_0 itself.
    """
    *others, last = scaled(x, 0)
    entries = [*others, last + _UNIT]
    return Block.of(entries) if isinstance(x, Block) else entries


_UNIT = 1009


def exact_block(forest: Sequence[Tree], degree: int) -> Block:
    """The exact solution y′ = e^u D(y, u) modulo a prime, by Picard iteration: each turn settles one size of trees."""
    u, growth = ModularSeries.variable(degree), ModularSeries.variable(degree).exp()
    start = np.zeros((len(forest) + 1, degree), dtype=np.uint64)
    start[-1, 0] = 1
    y = Block(start)
    for _ in range(max((tree.size for tree in forest), default=0)):
        values = _data_block(forest, y, u).times(growth).integral().values
        values[-1] = start[-1]
        y = Block(values)
    return y


def scaled(x: Vector, c: Any) -> Vector:
    """Every entry times c."""
    return x.times(c) if isinstance(x, Block) else [entry * c for entry in x]


def plus(a: Vector, b: Vector) -> Vector:
    """The sum, entry by entry."""
    return a + b if isinstance(a, Block) and isinstance(b, Block) else [p + q for p, q in zip(a, b, strict=True)]


def minus(a: Vector, b: Vector) -> Vector:
    """The difference, entry by entry."""
    return a - b if isinstance(a, Block) and isinstance(b, Block) else [p - q for p, q in zip(a, b, strict=True)]


def combine(row: Combine, registers: Mapping[str, Vector]) -> Vector:
    """Σ c · register, entry by entry."""
    total: Vector | None = None
    for c, name in row.terms:
        part = scaled(registers[name], c)
        total = part if total is None else plus(total, part)
    return total if total is not None else scaled(next(iter(registers.values())), 0)


def evaluate(row: Evaluate, forest: Sequence[Tree], x: Vector) -> Vector:
    """The network of the test systems: D_v = u^k (y_0 − 1)^m ∏ y_c, in the prediction that the row asks for."""
    level = row.level
    data = _data(forest, scaled(x, 1 / level.sigma), (row.at or level).lam)
    if row.prediction == "x0":
        return data
    q1, q2 = basis(row.prediction, level)
    noise = scaled(minus(x, scaled(data, level.alpha)), 1 / level.sigma)
    return plus(scaled(data, q1), scaled(noise, q2))


def _data(forest: Sequence[Tree], y: Vector, u: Any) -> Vector:
    """The data prediction on every unknown."""
    if isinstance(y, Block) and y.valuation >= 0:
        return _data_block(forest, y, u)
    zero, shift = u * 0, y[-1] - 1
    data: list[Any] = []
    for tree in forest:
        d = zero + 1
        for factor in [u] * tree.times + [shift] * tree.shifts + [y[c] for c in tree.children]:
            d = d * factor
        data.append(d)
    return Block.of([*data, zero]) if isinstance(y, Block) else [*data, zero]


def _data_block(forest: Sequence[Tree], y: Block, u: ModularSeries) -> Block:
    one = np.zeros((1, y.degree), dtype=np.uint64)
    one[0, 0] = 1
    shift = y[-1:] - Block(one)
    factors = y.stacked(shift).stacked(Block.of([u])).stacked(Block(one)).values
    table = _factors(tuple(forest))
    data = np.zeros((len(table), factors.shape[1]), dtype=np.uint64)
    data[: len(forest)] = factors[table[:-1, 0]]
    for column in table[:-1].T[1:]:
        more = np.flatnonzero(column < len(forest) + 3)  # where there is another factor
        data[more] = (Block(data[more]) * Block(factors[column[more]])).values
    return Block(data)


@lru_cache(maxsize=64)
def _factors(forest: tuple[Tree, ...]) -> np.ndarray:
    """The rows of (y_v …, y_0, y_0 − 1, u, 1) whose product is D, for each unknown; filled up with ones."""
    shift, time, one = (len(forest) + k for k in range(1, 4))
    rows = [[*tree.children, *[shift] * tree.shifts, *[time] * tree.times] or [one] for tree in forest] + [[one]]
    width = max(len(row) for row in rows)
    return np.array([row + [one] * (width - len(row)) for row in rows])
