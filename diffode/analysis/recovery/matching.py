"""Naming a recovered table: which registered solver has these coefficients on these levels.

Tables are compared step by step, each input of the network as a multiple of the one before and new terms, so that a
start or an end that differs does not hide that everything between is the same. Noise is compared in law: normals may be
mixed by any rotation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffode.analysis.recovery.table import Table
from diffode.errors import DiffodeError
from diffode.grids import TimeGrid
from diffode.plan import Level
from diffode.process import Process
from diffode.solvers import Solver, get_solver, registry

if TYPE_CHECKING:
    from diffode.analysis.recovery.blackbox import Recovered

SAME = 1e-8
"""Relative gap of coefficients up to which two tables are one."""

_STAGES = (1, 2, 3, 4)
"""Evaluations in a step, for grids that the caller has not told."""

_LOWERED = "(lower_order_final="


@dataclass(frozen=True)
class Match:
    """A registered solver beside a recovered table.

    Attributes
    ----------
    solver : str
    gaps : tuple of float
        For what each evaluation sees, and last for the final state: the largest difference of a coefficient, relative
        to the largest of its row, or the difference of the levels in λ if that is larger.
    same : float
        The gap up to which rows count as equal.
    """

    solver: str
    gaps: tuple[float, ...]
    same: float

    @property
    def gap(self) -> float:
        """The largest of all."""
        return max(self.gaps)

    @property
    def differs(self) -> tuple[int, ...]:
        """Which evaluations see something else, from 0; their number is that of the final state."""
        return tuple(i for i, gap in enumerate(self.gaps) if not gap <= self.same)

    @property
    def exact(self) -> bool:
        """Whether every row agrees."""
        return not self.differs

    def __str__(self) -> str:
        kept = [gap for gap in self.gaps[1:] if gap <= self.same]  # the first row is x_T, whatever the method
        if self.exact:
            return f"{self.solver} to {self.gap:.0e}"
        if not kept:
            return f"no registered solver; the nearest, {self.solver}, differs in every step (by up to {self.gap:.1g})"
        where = [i for i in self.differs if i < len(self.gaps) - 1]
        parts = ["the final state"] * (len(where) < len(self.differs))
        if where:
            many = len(where) > 1
            parts.insert(0, f"what evaluation{'s' * many} {_ranges(where)} see{'s' * (not many)}")
        return f"{self.solver} to {max(kept):.0e}, but for {' and '.join(parts)} (by up to {self.gap:.1g})"


def matches(
    found: Recovered, among: Sequence[str | Solver] | None = None, grid: TimeGrid | None = None
) -> tuple[Match, ...]:
    """Solvers with the recovered number of evaluations, the nearest first.

    Parameters
    ----------
    found : Recovered
    among : sequence of str or Solver, optional
        By default the registry, each solver with every way that it has to lower its order at the end.
    grid : TimeGrid, optional
        What they step through: by default what `recover` was told, or whatever fits the levels of the evaluations.

    Returns
    -------
    tuple of Match
        Sorted by the number of rows that differ, then by the largest gap.
    """
    solvers = [get_solver(one) for one in among] if among is not None else list(_everyone())
    mine, same = found.table.started[1], max(SAME, 10 * found.precision, 0.1 * found.tolerance)
    best: dict[str, Match] = {}
    told = grid if grid is not None else found.grid
    for one in [told] if told is not None else candidate_grids(found.process, mine.levels):
        for solver in solvers:
            theirs = _table(solver, one, mine)
            if theirs is None:
                continue
            match = Match(solver.name, tuple(_gaps(mine, theirs).tolist()), same)
            if solver.name not in best or _rank(match) < _rank(best[solver.name]):
                best[solver.name] = match
    exact = {name for name, match in best.items() if match.exact}
    kept = [match for name, match in best.items() if name.partition(_LOWERED)[0] not in exact - {name}]
    return tuple(sorted(kept, key=_rank))


def _rank(match: Match) -> tuple[int, float]:
    """Rows that differ, then the gap; where these are equal to round-off, the registry's order decides."""
    return len(match.differs), 0.0 if match.exact else float(f"{match.gap:.4e}")


def _everyone() -> Iterator[Solver]:
    for solver in registry().values():
        yield solver
        lowered = solver.options.get("lower_order_final")
        for other in (True, "last", False) if lowered is not None else ():
            if other != lowered:
                yield solver.configure(f"{solver.name}{_LOWERED}{other!r})", lower_order_final=other)


def candidate_grids(process: Process, levels: Sequence[Level]) -> Iterator[TimeGrid]:
    """Grids that a sampler may have stepped through, given where it evaluates and ends.

    All distinct levels; and every second, third and fourth evaluation, for rules with stages (of which the last step,
    to σ = 0, may have fewer); and every s-th, where s divides their number, with or without that step's one; and every
    fourth of the first twelve and all others, for rules that warm up by three Runge–Kutta steps.
    """
    *seen, final = levels
    more = [s for s in range(5, len(seen) // 2 + 1) if 0 in (len(seen) % s, (len(seen) - 1) % s)]
    tried: set[tuple[float, ...]] = set()
    strided = [[*seen[::stages], final] for stages in (*_STAGES, *more)]
    warmed = [*seen[:12:4], *seen[12:], final]
    for chosen in (list({float(v.lam): v for v in levels}.values()), *strided, warmed):
        key = tuple(float(v.lam) for v in chosen)
        if key in tried:
            continue
        tried.add(key)
        try:
            yield TimeGrid(process, levels=chosen)
        except DiffodeError:
            continue


def _table(solver: Solver, grid: TimeGrid, mine: Table) -> Table | None:
    """The table of a solver on a grid, where it has as many evaluations."""
    try:
        plan = solver.plan(grid)
        return Table.of(plan, mine.prediction).started[1] if plan.nfe == mine.nfe and plan.is_linear else None
    except DiffodeError:
        return None


def _gaps(mine: Table, theirs: Table) -> np.ndarray:
    """The gap of each row."""
    outputs = 1 + mine.nfe
    one, two = mine.increments, theirs.increments
    noise, other = _alike(one[:, outputs:], two[:, outputs:])
    first, second = np.hstack([one[:, :outputs], noise]), np.hstack([two[:, :outputs], other])
    weight = np.ones_like(first)
    states = [float(np.hypot(level.alpha, level.sigma)) for level in mine.levels[:-1]]
    weight[:, 0] = [states[0], *states]  # the size of the state before
    size = np.max(np.maximum(np.abs(first), np.abs(second)) * weight, axis=1)
    gap = np.max(np.abs(first - second) * weight, axis=1) / np.maximum(size, 1e-300)
    return np.maximum(gap, [_apart(a, b) for a, b in zip(mine.levels, theirs.levels, strict=True)])


def _alike(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of noise weights, the second rotated as near to the first as it gets (Procrustes)."""
    width = max(one.shape[1], two.shape[1])
    one, two = (np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (one, two))
    if not (one.any() and two.any()):
        return one, two
    left, _, right = np.linalg.svd(two.T @ one)
    return one, two @ (left @ right)


def _apart(a: Level, b: Level) -> float:
    """The distance of two levels in λ; what round-off in a time makes of it is none."""
    if a.lam == b.lam:
        return 0.0
    gap = abs(float(a.lam) - float(b.lam))
    return gap if gap > 1e-9 else 0.0


def _ranges(rows: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1–3, 7"."""
    parts: list[str] = []
    start = rows[0]
    for row, after in zip(rows, [*rows[1:], rows[-1] + 2], strict=True):
        if after != row + 1:
            parts.append(f"{start}" if start == row else f"{start}–{row}")
            start = after
    return ", ".join(parts)
