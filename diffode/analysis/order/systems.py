"""Running a plan on the test systems: registers are vectors of series, the network is a product of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffode.analysis.order.trees import Tree
from diffode.plan import Combine, Evaluate, Plan
from diffode.prediction import basis

Vector = list[Any]
"""One series per unknown; the last entry is y_0, the unknown with D = 0."""


def run(plan: Plan, forest: Sequence[Tree], inputs: Sequence[Vector]) -> dict[str, Vector]:
    """Every register of a plan on the test systems, as vectors of series."""
    registers = dict(zip(plan.inputs, inputs, strict=True))
    for row in plan.rows:
        if isinstance(row, Combine):
            registers[row.out] = combine(row, registers)
        elif isinstance(row, Evaluate):
            registers[row.out] = evaluate(row, forest, registers[row.x])
    return registers


def combine(row: Combine, registers: dict[str, Vector]) -> Vector:
    """Σ c · register, entry by entry."""
    size = len(next(iter(registers.values())))
    parts = [(c, registers[name]) for c, name in row.terms]
    return [sum((x[v] * c for c, x in parts[1:]), parts[0][1][v] * parts[0][0]) for v in range(size)]


def evaluate(row: Evaluate, forest: Sequence[Tree], x: Vector) -> Vector:
    """The network of the test systems: D_v = u^k (y_0 − 1)^m ∏ y_c, in the prediction that the row asks for."""
    level = row.level
    told = row.at or level
    u, shift = told.lam, x[-1] / level.sigma - 1
    y = [entry / level.sigma for entry in x[:-1]]
    data: Vector = []
    for tree in forest:
        d = level.alpha * 0 + 1
        for factor in [u] * tree.times + [shift] * tree.shifts + [y[c] for c in tree.children]:
            d = d * factor
        data.append(d)
    data.append(level.alpha * 0)
    if row.prediction == "x0":
        return data
    q1, q2 = basis(row.prediction, level)
    return [q1 * d + q2 * ((entry - level.alpha * d) / level.sigma) for d, entry in zip(data, x, strict=True)]
