"""Proofs as files: all that `checker.py`, which knows nothing of this package, needs to find the order again.

Every evaluation is written as the data prediction D (a prediction q_1 D + q_2 ε is a combination of D and x), every
coefficient as residues of its powers of h, as far as they can matter, and nothing that no state depends on. A register
that holds a divided difference is written times a power of h.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffode.analysis.order.laboratory import Laboratory
from diffode.analysis.order.modular import Block
from diffode.analysis.order.systems import evaluate
from diffode.errors import PlanError
from diffode.plan import Combine, Constant, Evaluate, Level
from diffode.prediction import basis
from diffode.series import Series

if TYPE_CHECKING:
    from diffode.analysis.order.proof import OrderProof

_Terms = list[tuple[Series, str]]


def written(proof: OrderProof) -> str:
    """A proof as JSON text.

    Raises
    ------
    PlanError
        If the proof cannot stand in a file.
    """
    lab = proof.evidence
    if lab is None:
        raise PlanError(
            "this order was proved by the order conditions of a tableau, for which no proof file is written; "
            "the tableau is the solver's own"
        )
    name, least = lab.solver.name, proof.order if proof.complete else proof.order + 1
    first = next((k for k in range(least) if any(entry[k] for step in lab.errors for entry in step)), None)
    if first is not None:
        raise PlanError(
            f"{name}: its coefficients are rounded, so its conditions hold to rounding only (the first misses at "
            f"h^{first}); write them as fractions (Fraction(1, 3)) or formulas, and the proof can stand in a file"
        )
    whole = {"format": 2, "solver": name, "order": proof.order, "complete": proof.complete, "highest": lab.highest}
    return json.dumps({**whole, "run": _Run(lab).written()}, ensure_ascii=False) + "\n"


class _Run:
    """The run of a proof, row by row."""

    def __init__(self, lab: Laboratory) -> None:
        self.lab, self.degree = lab, lab.highest + 2
        self.levels: list[Level] = list(lab.grid.levels)
        self.registers = {name: Block.of(vector) for name, vector in lab.registers.items()}
        self.sizes = np.array([tree.size for tree in lab.forest] + [0])
        # how many powers of h matter in a register: of y_0, and of the unknowns of trees of 1, 2, … nodes
        self.needed = {name: np.full(lab.highest + 1, self.degree) for name in lab.plan.states[1:]}
        self.shift: dict[str, int] = {}  # the register is written times this power of h

    def written(self) -> dict[str, Any]:
        """The run as the checker reads it."""
        lab = self.lab
        rows = [row for row in map(self._trimmed, reversed(list(self._rows()))) if row]
        constants = [row.out for row in lab.plan.rows if isinstance(row, Constant)]
        given = enumerate([*lab.plan.inputs, *constants])
        inputs = [self._input(k, name) for k, name in given if self._matters(name)]
        return {
            "seed": lab.seed, "spacing": lab.spacing, "variable": lab.variable, "past": lab.past, "period": lab.period,
            "alpha": list(lab.process.alpha_jet), "time": list(lab.process.time_jet), "ratios": list(lab.grid.ratios),
            "trees": [[tree.times, tree.shifts, list(tree.children)] for tree in lab.forest],
            "levels": [_cut(level.lam, self.degree) for level in self.levels],
            "inputs": inputs, "rows": rows[::-1], "states": list(lab.plan.states[1:]),
            "residuals": [[_cut(entry, self.degree, pad=True) for entry in step] for step in lab.errors],
        }  # fmt: skip

    def _rows(self) -> Iterator[tuple[str, Any]]:
        """The rows of the plan: combinations with series for coefficients, and data predictions."""
        for row in self.lab.plan.rows:
            if isinstance(row, Combine) and not isinstance(row, Constant):
                yield row.out, self._scaled(row.out, [(self._series(c), name) for c, name in row.terms])
            elif isinstance(row, Evaluate):
                data = row.out if row.prediction == "x0" else f"{row.out}_data"
                if data not in self.registers:
                    vector = evaluate(replace(row, prediction="x0"), self.lab.forest, self.registers[row.x])
                    self.registers[data] = Block.of(vector)
                yield data, row
                if row.prediction != "x0":
                    q1, q2 = (self._series(q) for q in basis(row.prediction, row.level))
                    noise = q2 / row.level.sigma
                    yield row.out, self._scaled(row.out, [(q1 - noise * row.level.alpha, data), (noise, row.x)])

    def _series(self, c: Any) -> Series:
        return c if isinstance(c, Series) else self.lab.process.constant(c)

    def _scaled(self, out: str, terms: _Terms) -> _Terms:
        """The terms without negative powers of h, the register being written times one."""
        terms = [(_times_power(c, -self.shift.get(name, 0)), name) for c, name in terms]
        shift = max(0, *(-c.valuation for c, _ in terms if c.coefficients), 0)
        if shift and out in self.needed:
            raise PlanError(f"{self.lab.solver.name}: its state loses powers of h, so the proof cannot stand in a file")
        self.shift[out] = shift
        return [(_times_power(c, shift), name) for c, name in terms]

    def _trimmed(self, row: tuple[str, Any]) -> list[Any] | None:
        """A row as it is written, cut where it stops to matter; None if it does not matter."""
        out, what = row
        if not self._matters(out):
            return None
        needed = self.needed[out]
        if isinstance(what, Evaluate):
            if self.shift.get(what.x):
                raise PlanError(f"{self.lab.solver.name}: it evaluates the network at a divided difference")
            # a tree is fed by smaller ones; and without δ-leaves y_0 must be right wherever the network looks
            smaller = np.append(np.maximum.accumulate(needed[::-1])[::-1][1:], 0)
            smaller[0] = smaller[0] if any(tree.shifts for tree in self.lab.forest) else self.degree
            self._need(what.x, smaller)
            told = [] if what.at is None else [self._level(what.at)]
            return [out, "data", what.x, self._level(what.level), *told]
        terms: list[Any] = []
        for c, name in what:
            reach = int(np.max(needed - self._lowest(name)))
            if c.valuation < reach:
                self._need(name, needed - c.valuation)
                terms.append([_cut(c, reach), name])
        if not terms:
            self._need(what[0][1], needed * 0 + 1)
            terms.append([[], what[0][1]])
        return [out, "combine", terms]

    def _matters(self, name: str) -> bool:
        return name in self.needed and self.needed[name].max() > 0

    def _need(self, name: str, powers: np.ndarray) -> None:
        self.needed[name] = np.maximum(self.needed.get(name, 0), powers)

    def _lowest(self, name: str) -> np.ndarray:
        """The lowest powers of h in a register as it is written, of y_0 and of trees by size."""
        block = self.registers[name]
        lowest = np.full(self.lab.highest + 1, 10**6)
        for row, size in zip(block.values, self.sizes, strict=True):
            powers = np.flatnonzero(row)
            if powers.size:
                lowest[size] = min(lowest[size], powers[0] + block.valuation + self.shift.get(name, 0))
        return lowest

    def _level(self, level: Level) -> int:
        if not any(known is level for known in self.levels):
            self.levels.append(level)
        return next(k for k, known in enumerate(self.levels) if known is level)

    def _input(self, k: int, name: str) -> list[Any]:
        """An exact state, the memory that an endless past leaves, or a constant."""
        if name in self.lab.plan.inputs and not name.startswith(("p", "q_")):
            return [name, "exact", self.lab.past if name == "x0" else k]
        needed: list[int] = self.needed[name][self.sizes].tolist()
        return [name, "given", list(map(_cut, self.registers[name], needed))]


def _times_power(c: Series, power: int) -> Series:
    return type(c)(c.coefficients, c.valuation + power)


def _cut(c: Series, degree: int, pad: bool = False) -> list[int]:
    """The coefficients of h^0, h^1, … below a degree, zeros at the end left out."""
    values = [int(c[n]) for n in range(min(degree, c.degree) if not pad else degree)]
    while values and not pad and not values[-1]:
        values.pop()
    return values
