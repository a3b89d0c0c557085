r"""The table of a linear sampler: what it shows to the network, as combinations of what it was given.

With d_j the j-th output of the network and z_m the m-th normal, every input of the network and the final state are

    u_i = a_i x_T + Σ_{j<i} b_ij d_j + Σ_m c_im z_m,        i = 0 … K,    u_K the final state.

That is all that can be seen of a sampler from outside, and all that matters of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffode import prediction as predictions
from diffode.brownian import factors
from diffode.plan import Combine, Evaluate, Level, Normal, Plan, Row


@dataclass(frozen=True)
class Table:
    """The table of a linear sampler.

    Attributes
    ----------
    levels : tuple of Level
        What the network is told at each evaluation, and last that of the final state.
    prediction : str
        What the outputs are.
    rows : ndarray, shape (K + 1, 1 + K + M)
        The coefficients of x_T, of the K outputs and of the M normals in each u_i.
    """

    levels: tuple[Level, ...]
    prediction: str
    rows: np.ndarray

    @property
    def nfe(self) -> int:
        return len(self.levels) - 1

    @staticmethod
    def of(plan: Plan, prediction: str) -> Table:
        """The table of a plan, for a network that gives `prediction`.

        Raises
        ------
        PlanError
            If the plan has `Dynamic` rows or constants.
        """
        plan.require_linear("the table of coefficients", homogeneous=True)
        width, start = 1 + plan.nfe + len(plan.noises), 1 + plan.nfe
        held = {name: np.eye(1, width, 0)[0] for name in plan.inputs}
        mixes = factors(plan)
        seen: list[np.ndarray] = []
        levels: list[Level] = []
        for row in plan.rows:
            if isinstance(row, Combine):
                held[row.out] = sum((float(c) * held[name] for c, name in row.terms), np.zeros(width))
            elif isinstance(row, Evaluate):
                a, b = predictions.change(prediction, row.prediction, row.level)
                seen.append(held[row.x])
                levels.append(row.at or row.level)
                held[row.out] = a * held[row.x] + b * np.eye(1, width, len(seen))[0]
            else:
                held[row.out] = np.zeros(width)
                for k, weight in mixes[row.out].items():
                    held[row.out][start + k] = weight
        return Table((*levels, plan.levels[-1]), prediction, np.array([*seen, held[plan.states[-1]]]))

    @cached_property
    def started(self) -> tuple[float, Table]:
        """The scale c of u_0 = c x_T, and the table with u_0 in place of x_T; 1 and itself where u_0 is more."""
        scale = float(self.rows[0, 0])
        if not scale or np.any(self.rows[0, 1:]):
            return 1.0, self
        rows = self.rows.copy()
        rows[:, 0] /= scale
        return scale, Table(self.levels, self.prediction, rows)

    @cached_property
    def increments(self) -> np.ndarray:
        """Each u_i as ratio · u_{i−1} and new terms, the ratio in the first column; u_0 as it is.

        The same step has the same row here wherever it stands, whatever was done before it.
        """
        rows = self.rows
        ratio = np.divide(rows[1:, 0], rows[:-1, 0], out=np.zeros(len(rows) - 1), where=rows[:-1, 0] != 0)
        steps = rows.copy()
        steps[1:] -= ratio[:, None] * rows[:-1]
        steps[1:, 0] = ratio
        return steps

    @cached_property
    def compact(self) -> Table:
        """The same law with no more normals than states, where a sampler makes its noise of many (a Brownian tree)."""
        first = 1 + self.nfe
        weights = self.increments[:, first:]
        drawing = np.flatnonzero(np.any(weights != 0, axis=1))
        if weights.shape[1] <= len(drawing):
            return self
        fewer = np.asarray(
            np.linalg.qr(weights[drawing].T, mode="r")
        ).T  # lower triangular: each state needs one more at most
        fewer = fewer * np.where(np.diag(fewer) < 0, -1.0, 1.0)
        size = np.max(np.abs(fewer), axis=1, keepdims=True)
        noise = np.zeros((len(weights), fewer.shape[1]))
        noise[drawing] = np.where(np.abs(fewer) > 1e-13 * size, fewer, 0.0)
        for i, ratio in enumerate(self.increments[1:, 0], 1):
            noise[i] += ratio * noise[i - 1]
        noise = noise[:, np.any(noise != 0, axis=0)]
        return Table(self.levels, self.prediction, np.hstack([self.rows[:, :first], noise]))


def plan_of(table: Table, start: Level, solver: str, negligible: float) -> Plan:
    """A plan with this table, each row as short as it can be.

    Parameters
    ----------
    table : Table
    start : Level
        Where x_T is.
    solver : str
        The plan's title.
    negligible : float
        Coefficients of this relative size are round-off, and left out.
    """
    count, width = table.nfe, table.rows.shape[1]
    symbols = ["x0", *(f"d{j}" for j in range(count)), *(f"z{m}" for m in range(width - count - 1))]
    known: list[tuple[str, np.ndarray]] = [("x0", np.eye(1, width)[0])]
    rows: list[Row] = []
    drawn: set[str] = set()
    states: dict[float, tuple[str, Level]] = {float(start.lam): ("x0", start)}
    for i, (level, wanted) in enumerate(zip(table.levels, table.rows, strict=True)):
        ratio, parent, rest = _shortest(wanted, known, negligible)
        new = [symbols[j] for j in np.flatnonzero(rest)]
        if new or abs(ratio - 1) > negligible or i == count:
            fresh = [name for name in new if name[0] == "z" and name not in drawn]
            drawn.update(fresh)
            terms = [(ratio, parent)] * bool(ratio) + [(float(c), symbols[j]) for j, c in enumerate(rest) if c]
            parent = f"x{len(known)}"
            known.append((parent, wanted))
            rows += [*(Normal(name, name[1:]) for name in fresh), Combine(parent, tuple(terms))]
        if i < count:
            rows.append(Evaluate(f"d{i}", parent, level, table.prediction, i))
        else:
            states.pop(float(level.lam), None)
        states[float(level.lam)] = (parent, level)
    names, levels = zip(*states.values(), strict=True)
    return Plan(tuple(rows), ("x0",), names, levels, None, solver)


def _shortest(
    wanted: np.ndarray, known: Sequence[tuple[str, np.ndarray]], negligible: float
) -> tuple[float, str, np.ndarray]:
    """A row as a multiple of an earlier state and as few outputs and normals as can be: ratio, state, the rest."""
    found: list[tuple[int, float, str, np.ndarray]] = []
    for name, row in reversed(known):
        ratio = float(wanted[0] / row[0]) if row[0] else 0.0
        size = max(float(np.max(np.abs(wanted))), abs(ratio) * float(np.max(np.abs(row))))
        if abs(wanted[0]) <= negligible * size:
            ratio = 0.0
        rest = wanted - ratio * row
        if row[0]:
            rest[0] = 0.0  # what is left of x_T is round-off
        rest[np.abs(rest) <= negligible * size] = 0.0
        found.append((int(np.count_nonzero(rest)), ratio, name, rest))
    _, ratio, name, rest = min(found, key=lambda one: one[0])
    return ratio, name, rest
