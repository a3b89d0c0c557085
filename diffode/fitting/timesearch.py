r"""OLSS's search of times: the levels between which no step of the best linear combination errs by more than a bound.

From node i of a trajectory the state at node j is fitted by least squares in the state at i and all evaluations at the
nodes taken so far. Greedily each step goes as far as its error stays below a bound; the bound is halved in between
until it is the least with which so many steps reach the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.fitting.gits import equally, trajectory
from diffode.fitting.grids import SearchedGrid, check_nfe, target_of
from diffode.fitting.keeping import Keeper, Progress
from diffode.grids import TimeGrid


class Fits:
    """Errors of the best linear combinations along a trajectory.

    Parameters
    ----------
    y : ndarray, shape (nodes + 1, batch, d)
        States.
    d : ndarray, shape (nodes, batch, d)
        Evaluations.
    """

    def __init__(self, y: np.ndarray, d: np.ndarray) -> None:
        self.y, self.d = y.reshape(len(y), -1), d.reshape(len(d), -1)

    def error(self, way: list[int], goals: Any) -> Any:
        """The mean square of what is left of the states at some nodes beyond a way, over the state at its last node."""
        known = np.stack([self.y[way[-1]], *(self.d[k] for k in way)], axis=1)
        frame = np.linalg.qr(known)[0]
        wanted = self.y[goals]
        left = wanted - (wanted @ frame) @ frame.T
        return np.mean(left**2, axis=-1)

    def worst(self, way: list[int]) -> float:
        """The largest error of the steps of a whole way."""
        return max(float(self.error(way[: k + 1], way[k + 1])) for k in range(len(way) - 1))

    def greedy(self, steps: int, bound: float) -> list[int] | None:
        """The way that goes as far as it may in every step; None where so many steps do not reach the end."""
        last, way = len(self.y) - 1, [0]
        for _ in range(steps):
            low, high = way[-1] + 1, last
            while high > low:
                middle = (low + high + 1) // 2
                low, high = (low, middle - 1) if self.error(way, middle) > bound else (middle, high)
            way.append(low)
            if low == last:
                return way
        return None


def filled(way: list[int], steps: int) -> list[int]:
    """A way with its longest jumps cut in two until it has so many."""
    way = list(way)
    while len(way) <= steps:
        k = int(np.argmax(np.diff(way)))
        way.insert(k + 1, (way[k] + way[k + 1]) // 2)
    return way


@catalogued("fit", "arXiv:2305.14677; code: alibaba/EasyNLP, OLSSSolver")
def fit_olss_times(
    target: Any,
    nfe: int,
    *,
    teacher: str = "ipndm_4",
    nodes: int = 60,
    lattice: str | TimeGrid = "karras",
    rounds: int = 30,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> SearchedGrid:
    r"""OLSS's grid: the least bound on every step's least-squares error for which n steps reach the end.

        min max_k  min_{w} E |y_{k+1} − w y_k − Σ_{j ≤ k} w_j D_j|²,    y = x/α

    The error is taken to grow with the length of a step, so that the farthest admissible node is found by halving.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        Steps, one evaluation each.
    teacher : str
        A deterministic solver.
    nodes : int
        Its steps.
    lattice : str or TimeGrid
        Where it steps.
    rounds : int
        Halvings of the bound.
    seed : int
    progress, checkpoint : optional
        See `diffode.fitting.keeping.Keeper`.
    **options
        `process`, `x_T`, `held_out`, `samples` of `target_of`.

    Returns
    -------
    SearchedGrid

    Raises
    ------
    DiffodeError
        If the teacher draws noise, or the lattice has fewer nodes than steps.

    Examples
    --------
    >>> found = fit_olss_times("mixture_2d", 5, samples=16, nodes=24)
    >>> found.after < found.before
    True
    """
    where = target_of(target, seed=seed, **options)
    steps = check_nfe(nfe)
    even = equally(nodes, steps)
    lattice = where.grid(lattice, nodes)
    seen, unseen = (Fits(*trajectory(where, teacher, lattice, held)) for held in (False, True))

    facts: dict[str, Any] = {"nfe": nfe, "seed": seed, "teacher": teacher, "nodes": nodes}
    with Keeper(where.key("olss", lattice, **facts), rounds, progress, checkpoint) as keeper:
        low, high = 0.0, seen.worst(even)
        keeper.offer(even, high)
        for _ in range(rounds):
            middle = (low + high) / 2
            way = seen.greedy(steps, middle)
            low, high = (middle, high) if way is None else (low, middle)
            if way is not None:
                keeper.offer(filled(way, steps), seen.worst(filled(way, steps)))

    def loss(grid: TimeGrid, held_out: bool) -> float:
        return (unseen if held_out else seen).worst([lattice.levels.index(level) for level in grid])

    start, found = (TimeGrid(where.process, levels=[lattice[k] for k in way]) for way in (even, keeper.best))
    return SearchedGrid.of("olss", where, keeper, loss, start, found, loss="largest mean square of a step", **facts)
