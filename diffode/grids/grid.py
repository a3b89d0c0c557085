"""`TimeGrid`: the levels that a solver steps through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from diffode.errors import GridError, ProcessError
from diffode.kinds import Number, package_of, shown
from diffode.plan import Level
from diffode.process import Process
from diffode.process.base import require_numbers, require_process

Final = Literal["min", "zero"]


class TimeGrid:
    """The levels that a solver steps through, in either direction, strictly monotone.

    Parameters
    ----------
    process : Process
    t, sigma, lam, rho : sequence of number, optional
        Exactly one of them. A sequence of arrays (or an array of shape (steps + 1, …)) gives one time per
        sample, frame or element.
    levels : sequence of Level, optional
        Ready-made levels instead (tables of a published run).

    Attributes
    ----------
    t, lam, sigma, alpha, rho : ndarray, shape (steps + 1, …)

    Raises
    ------
    GridError
        With fewer than two levels, a repeated level, or a change of direction.

    Examples
    --------
    >>> import diffode as de
    >>> grid = TimeGrid(de.Flow(), t=[1.0, 0.5, 0.1])
    >>> grid.steps, grid.sigma
    (2, array([1. , 0.5, 0.1]))
    """

    def __init__(
        self,
        process: Process,
        t: Sequence[Number] | np.ndarray | None = None,
        *,
        sigma: Sequence[Number] | np.ndarray | None = None,
        lam: Sequence[Number] | np.ndarray | None = None,
        rho: Sequence[Number] | np.ndarray | None = None,
        levels: Sequence[Level] | None = None,
    ) -> None:
        given = {
            name: value
            for name, value in dict(t=t, sigma=sigma, lam=lam, rho=rho, levels=levels).items()
            if value is not None
        }
        if len(given) != 1:
            raise GridError(
                f"TimeGrid: give exactly one of t, sigma, lam, rho, levels (got {', '.join(given) or 'none'})"
            )
        require_process(process, "TimeGrid")
        self.process = process
        if levels is not None:
            self.levels = tuple(levels)
            for level in self.levels:
                if not isinstance(level, Level):
                    raise GridError(f"TimeGrid: levels holds {level!r}, not a level; make one with process.level(t=…)")
        else:
            name, values = given.popitem()
            if isinstance(values, str) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
                raise GridError(f"TimeGrid: {name} must list the levels, at least two, not {values!r}")
            self.levels = tuple(level_of(process, name, value) for value in values)
        _check_levels(self.levels)

    @property
    def steps(self) -> int:
        return len(self.levels) - 1

    def _column(self, name: str) -> np.ndarray:
        return np.array([np.asarray(getattr(level, name), dtype=float) for level in self.levels])

    @cached_property
    def t(self) -> np.ndarray:
        return self._column("t")

    @cached_property
    def lam(self) -> np.ndarray:
        return self._column("lam")

    @cached_property
    def sigma(self) -> np.ndarray:
        return self._column("sigma")

    @cached_property
    def alpha(self) -> np.ndarray:
        return self._column("alpha")

    @cached_property
    def rho(self) -> np.ndarray:
        return self._column("rho")

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __getitem__(self, i: int) -> Level:
        return self.levels[i]

    def __repr__(self) -> str:
        first, last = self.levels[0], self.levels[-1]
        return f"TimeGrid({self.process!r}, {self.steps} steps, t from {shown(first.t)} to {shown(last.t)})"

    def reversed(self) -> TimeGrid:
        """The same levels the other way: inversion, from data to noise."""
        return TimeGrid(self.process, levels=self.levels[::-1])


def level_of(process: Process, name: str, value: Any) -> Level:
    """A level of the process by one of its names; what the process refuses is an error of the grid."""
    if isinstance(value, (list, tuple)):
        try:
            value = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            raise GridError(f"grid: {name} holds {value!r}; each level is a number or an array of numbers") from None
    if isinstance(value, (int, np.integer, np.floating)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = float(value)
    try:
        require_numbers("level", **{name: value})
        return process.level(**{name: value})
    except ProcessError as problem:
        raise GridError(f"grid: {problem}") from None


def check_steps(n: Any, final: str, least: int = 1) -> None:
    """Raise GridError unless n is a number of steps, and `final` one of its two words."""
    if final not in get_args(Final):
        raise GridError(f"grid: final must be 'min' or 'zero', not {final!r}")
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least:
        raise GridError(f"grid: the number of steps must be a whole number of at least {least}, not n={n!r}")


def noiseless(process: Process) -> Level:
    """The level at σ = 0, where `final="zero"` ends."""
    try:
        return process.level(lam=float("inf"))
    except ProcessError as problem:
        raise GridError(f"grid: final='zero' needs a level with σ = 0; {problem}") from None


def _lost(a: Number, b: Number) -> Any:
    """Whether two different λ are so near that their difference has no digits left."""
    near = np.abs(np.subtract(b, a)) <= 16 * np.finfo(float).eps * np.maximum(1.0, np.abs(b))
    return near & np.not_equal(a, b) & np.isfinite(b)


def _check_levels(levels: tuple[Level, ...]) -> None:
    if len(levels) < 2:
        raise GridError(f"grid: needs at least two levels, got {len(levels)}; list the start and the end")
    directions: list[bool] = []
    for i, (a, b) in enumerate(pairwise(levels)):
        forward, back = a.lam < b.lam, a.lam > b.lam
        for name, value in (("t", b.t), ("lam", b.lam)):
            if np.any(np.isnan(np.asarray(value, dtype=float))):
                raise GridError(f"grid: level {i + 1} is not a number ({name}={value})")
        if package_of(b.lam) in ("float", "array") and np.any(_lost(a.lam, b.lam)):
            raise GridError(
                f"grid: t goes from {a.t} to {b.t} at step {i}, so little that the step is lost in rounding; "
                "remove one of the two levels"
            )
        if np.all(forward) or np.all(back):
            directions.append(bool(np.all(forward)))
            if directions[0] == directions[-1]:
                continue
        raise GridError(
            f"grid: levels must be strictly monotone, but t goes from {shown(a.t)} to {shown(b.t)} at step {i} "
            "(remove the repeated level, or sort the times)"
        )
