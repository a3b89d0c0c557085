r"""AutoDiffusion's evolutionary search: which of many levels a sampler should visit, by how good its samples are.

A grid is a choice of so many nodes of a fine lattice. Each generation keeps the best k of all that were ever tried,
mutates them, crosses them, and draws the rest anew; no grid is judged twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import DiffodeError
from diffode.fitting.gits import equally
from diffode.fitting.grids import SearchedGrid, Target, steps_within, target_of
from diffode.fitting.keeping import Keeper, Progress
from diffode.grids import TimeGrid
from diffode.solvers import Solver, get_solver

Way = tuple[int, ...]
Fitness = Callable[[np.ndarray], float]

_PATIENCE = 10
"""So many draws in vain for each grid that is looked for, as in the official code."""


def frechet(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    r"""The Wasserstein-2 distance of samples to data where both are taken for Gaussians, the root of Fréchet's.

        W2² = |m_1 − m_2|² + tr(C_1 + C_2 − 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2})

    Parameters
    ----------
    x : ndarray, shape (n, d)
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[-1.0], [1.0]])
    >>> frechet(x, np.zeros(1), np.array([[4.0]]))
    1.0
    """
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x))
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    both = np.linalg.svd(centred @ root, compute_uv=False).sum()
    off = np.sum((x.mean(axis=0) - mean) ** 2)
    return float(np.sqrt(max(off + np.sum(centred**2) + np.trace(covariance) - 2 * both, 0.0)))


class _Population:
    """Ways through a lattice, drawn, mutated and crossed; each once."""

    def __init__(self, nodes: int, steps: int, generator: np.random.Generator) -> None:
        self.nodes, self.steps, self.generator = nodes, steps, generator
        self.judged: dict[Way, float] = {}

    def drawn(self) -> Way:
        """Any nodes, without order."""
        inner = self.generator.choice(np.arange(1, self.nodes), self.steps - 1, replace=False)
        return self.whole(inner)

    def whole(self, inner: Any) -> Way:
        return (0, *sorted({int(k) for k in inner}), self.nodes)

    def mutated(self, way: Way, chance: float) -> Way:
        """Every inner node replaced, with some chance, by one that is not taken."""
        inner = list(way[1:-1])
        free = sorted(set(range(1, self.nodes)) - set(inner))
        for k in range(len(inner)):
            if free and self.generator.random() < chance:
                inner[k] = free.pop(int(self.generator.integers(len(free))))
        return self.whole(inner)

    def crossed(self, one: Way, other: Way) -> Way:
        """Each place from one of two parents; a node that came twice is lost."""
        side = self.generator.random(len(one)) < 0.5
        return self.whole([a if first else b for a, b, first in zip(one, other, side, strict=True)][1:-1])

    def offspring(self, keep: int, chance: float, mutations: int, crossings: int, size: int) -> list[Way]:
        """The next generation."""
        parents = sorted(self.judged, key=self.judged.__getitem__)[:keep]

        def parent() -> Way:
            return parents[int(self.generator.integers(len(parents)))]

        ways = self.new(lambda: self.mutated(parent(), chance), mutations)
        ways += self.new(lambda: self.crossed(parent(), parent()), crossings, ways)
        return ways + self.new(self.drawn, max(size - len(ways), 0), ways)

    def new(self, make: Callable[[], Way], count: int, others: Sequence[Way] = ()) -> list[Way]:
        """So many ways that were not judged and are not among others; fewer where they are not found soon."""
        found: list[Way] = []
        for _ in range(_PATIENCE * count):
            if len(found) == count:
                break
            way = make()
            if len(way) == self.steps + 1 and way not in self.judged and way not in (*others, *found):
                found.append(way)
        return found


@catalogued("fit", "arXiv:2309.10438; code: lilijiangg/AutoDiffusion, EvolutionSearcher (its time steps only)")
def fit_evolution(
    target: Any,
    nfe: int,
    *,
    solver: str | Solver = "ddim",
    fitness: str | Fitness = "error",
    nodes: int = 100,
    lattice: str | TimeGrid = "uniform_lambda",
    generations: int = 10,
    population: int = 30,
    keep: int = 8,
    mutations: int = 15,
    crossings: int = 8,
    chance: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> SearchedGrid:
    r"""AutoDiffusion's search of time steps: top k, mutation, crossover and refill.

    The authors also leave out layers of the network, and judge by FID.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        The largest number of whole steps within it is taken.
    solver : str or Solver
        With "error" a deterministic one.
    fitness : {"error", "w2"} or callable
        What is made least: the rms distance to the end points of the exact flow; `frechet` to the mean and covariance
        of the data; or a function of the last states, shape (batch, d).
    nodes : int
        Steps of the lattice that levels are chosen from.
    lattice : str or TimeGrid
    generations, population, keep, mutations, crossings : int
        Of a population so many are mutants, so many crossings of the best `keep`, the rest drawn.
    chance : float
        That a mutation moves a level.
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
        If a number is none, the lattice has fewer nodes than steps, or there is no such fitness.

    Examples
    --------
    >>> found = fit_evolution("mixture_2d", 5, samples=32, generations=3, population=10)
    >>> found.after < found.before
    True
    """
    sizes = dict(generations=generations, population=population, keep=keep, mutations=mutations, crossings=crossings)
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DiffodeError(f"fit_evolution: {name} must be a whole number of at least 1, not {size!r}")
    if not 0 < chance <= 1:
        raise DiffodeError(f"fit_evolution: chance must lie in (0, 1], not {chance}")
    rule, where = get_solver(solver), target_of(target, seed=seed, **options)
    steps = steps_within(rule, where, nfe)
    even = tuple(equally(nodes, steps))
    lattice = where.grid(lattice, nodes)
    judge = _judge(where, rule, fitness, seed)
    pool = _Population(nodes, steps, np.random.default_rng(seed))
    shown = fitness if isinstance(fitness, str) else getattr(fitness, "__name__", "fitness")
    facts: dict[str, Any] = {"nfe": nfe, "seed": seed, "solver": rule.name, "nodes": nodes, "chance": chance, **sizes}
    key = where.key("evolution", lattice, fitness=shown, **facts)

    def grid(way: Sequence[int]) -> TimeGrid:
        return TimeGrid(where.process, levels=[lattice[k] for k in way])

    with Keeper(key, population * (generations + 1), progress, checkpoint) as keeper:
        ways = [even, *pool.new(pool.drawn, population - 1)]
        for _ in range(generations + 1):
            for way in ways:
                pool.judged[way] = judge(grid(way), False)
                keeper.offer(way, pool.judged[way])
            ways = pool.offspring(keep, chance, mutations, crossings, population)
    return SearchedGrid.of("evolution", where, keeper, judge, grid(even), grid(keeper.best), loss=shown, **facts)


def _judge(target: Target, solver: Solver, fitness: str | Fitness, seed: int) -> Callable[[TimeGrid, bool], float]:
    """The fitness of a grid, on the states of the search or on those held out."""
    if fitness == "error":
        if not solver.plan(target.grid("uniform_lambda", 2)).is_deterministic:
            raise DiffodeError(f"fit_evolution: {solver.name} draws noise and has no end points; use fitness='w2'")
        return lambda grid, held: target.error(solver, grid, held)
    if fitness == "w2":
        law = target.law
        if law is None:
            raise DiffodeError("fit_evolution: the mean and covariance of the data are not known; give a function")
        level = target.last
        mean = level.alpha * law.mean
        covariance = level.alpha**2 * law.covariance + level.sigma**2 * np.eye(law.dimension)
        return lambda grid, held: frechet(_last(target, solver, grid, held, seed), mean, covariance)
    if not callable(fitness):
        raise DiffodeError(f"fit_evolution: fitness must be 'error', 'w2' or a function of the states, not {fitness!r}")
    return lambda grid, held: float(fitness(_last(target, solver, grid, held, seed)))


def _last(target: Target, solver: Solver, grid: TimeGrid, held_out: bool, seed: int) -> np.ndarray:
    noisy = not solver.plan(grid).is_deterministic
    return target.run(solver, grid, held_out, seed if noisy else None)
