r"""The grid of Restart: down, and on the way several times up again to a noisier level and down once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import GridError
from diffode.grids.grid import TimeGrid, check_steps, level_of
from diffode.grids.spaced import karras
from diffode.plan import Level


class Interval(NamedTuple):
    """One entry of the authors' `restart_info`, in their order.

    Attributes
    ----------
    points : int
        Levels of each way down, both ends included.
    times : int
        How often it goes up, K.
    low, high : float
        σ/α where it turns up, moved to the nearest level of the main grid; and where it goes up to.
    """

    points: int
    times: int
    low: float
    high: float


class RestartGrid(TimeGrid):
    """Levels that go down, and up again in the steps `rises`; made by `restart`.

    Attributes
    ----------
    rises : frozenset of int
        The steps that go up. The solver `restart` adds noise there; any other takes them as it takes all steps.
    """

    def __init__(self, ways: Sequence[TimeGrid]) -> None:
        self.process = ways[0].process
        self.levels = tuple(level for way in ways for level in way.levels)
        ends = np.cumsum([len(way) for way in ways])
        self.rises = frozenset((ends[:-1] - 1).tolist())

    def reversed(self) -> TimeGrid:
        raise GridError("restart: a grid with restarts cannot be reversed, as its steps up add noise; reverse the main")


@catalogued("grid", "arXiv:2306.14878, Algorithm 1; official code generate_restart.py")
def restart(main: TimeGrid, intervals: Sequence[Sequence[float]], *, rho: float = 7.0) -> RestartGrid:
    r"""The main grid, with intervals of noise that are gone through several times.

    Where the main grid reaches `low`, the levels go up to `high` and down to `low` again on a Karras grid of `points`
    levels, K times. With Heun's method, N steps and a last one to σ = 0 that costs

        NFE = (2N − 1) + Σ 2 K (points − 1)

    Parameters
    ----------
    main : TimeGrid
        From noise to data.
    intervals : sequence of (points, times, low, high)
        In any order; see `Interval`.
    rho : float
        The exponent of the ways down.

    Returns
    -------
    RestartGrid

    Raises
    ------
    GridError
        If an interval has fewer than two points, is empty, leaves the process, or turns at the level of another one.

    Examples
    --------
    >>> import diffode as de
    >>> main = de.grids.karras(de.EDM(), 3, start=10.0, end=0.1, final="zero")
    >>> grid = restart(main, [(3, 2, 1.5, 4.0)])
    >>> [round(float(sigma), 2) for sigma in grid.sigma]
    [10.0, 1.45, 4.0, 2.45, 1.45, 4.0, 2.45, 1.45, 0.1, 0.0]
    >>> sorted(grid.rises)
    [1, 4]
    """
    if not isinstance(main, TimeGrid) or isinstance(main, RestartGrid):
        raise GridError(f"restart: main must be a grid without restarts (de.grids.karras(process, n)), not {main!r}")
    if np.ndim(main[0].lam) or main.lam[0] > main.lam[-1]:
        raise GridError("restart: the main grid must go from noise to data, with one level for all samples")
    turns: dict[int, Interval] = {}
    for given in intervals:
        if len(given) != 4:
            raise GridError(f"restart: an interval is (points, times, low, high), not {given!r}")
        interval = Interval(int(given[0]), int(given[1]), float(given[2]), float(given[3]))
        where = _turn(main, interval)
        if where in turns:
            remedy = "move one of them, or let one repeat more often"
            raise GridError(f"restart: {turns[where]} and {interval} turn at the same level of the main grid; {remedy}")
        turns[where] = interval
    ways: list[list[Level]] = [[main[0]]]
    for i, level in enumerate(main.levels[1:], 1):
        ways[-1].append(level)
        if i in turns:
            ways += [_down(main, i, turns[i], rho) for _ in range(turns[i].times)]
    return RestartGrid([TimeGrid(main.process, levels=way) for way in ways])


def _turn(main: TimeGrid, interval: Interval) -> int:
    """The index of the level that is nearest to `low`."""
    check_steps(interval.points - 1, "min")
    check_steps(interval.times, "min")
    if not 0 < interval.low < interval.high < np.inf:
        raise GridError(f"restart: {interval} needs 0 < low < high, as σ/α")
    inside = np.where((main.rho > 0) & np.isfinite(main.rho), main.rho, np.inf)
    where = int(np.argmin(abs(inside - interval.low)))
    if where == 0 or inside[where] >= interval.high:
        raise GridError(
            f"restart: the level of the main grid nearest to low={interval.low} is {main.rho[where]:.4g}, where "
            f"there is nothing to go up to below high={interval.high}; take a finer grid or a longer interval"
        )
    return where


def _down(main: TimeGrid, where: int, interval: Interval, rho: float) -> list[Level]:
    """From `high` to a level of the main grid."""
    high = level_of(main.process, "rho", interval.high)
    way = karras(main.process, interval.points - 1, rho=rho, start=float(high.t), end=float(main[where].t))
    return [*way.levels[:-1], main[where]]
