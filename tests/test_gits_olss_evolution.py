"""Grids searched among given nodes: GITS, OLSS's times and evolution, against brute force and their formulas."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.fitting import evolution, gits, timesearch
from diffode.fitting.grids import target_of
from tests.fits import searched

# --- GITS -------------------------------------------------------------------------------------------------


@st.composite
def cost_matrices(draw: Any) -> tuple[np.ndarray, int, float]:
    nodes = draw(st.integers(2, 8))
    values = draw(st.lists(st.floats(-1.0, 4.0), min_size=nodes**2 + 2 * nodes + 1, max_size=nodes**2 + 2 * nodes + 1))
    cost = np.where(np.triu(np.ones((nodes + 1, nodes + 1)), 1) > 0, np.reshape(values, (nodes + 1, nodes + 1)), np.inf)
    return cost, draw(st.integers(1, nodes)), draw(st.floats(0.7, 1.5))


@given(cost_matrices())
def test_the_programme_finds_what_brute_force_finds(case: tuple[np.ndarray, int, float]) -> None:
    """The cheapest of all ways, with the cost that it says."""
    cost, steps, gamma = case
    way, least = gits.cheapest(cost, steps, gamma)
    last = len(cost) - 1
    ways = [[0, *inner, last] for inner in combinations(range(1, last), steps - 1)]
    assert least == pytest.approx(min(gits.cost_of(cost, other, gamma) for other in ways), abs=1e-12)
    assert gits.cost_of(cost, way, gamma) == pytest.approx(least, abs=1e-12)
    assert way in ways


@given(st.integers(0, 2**32 - 1), st.sampled_from(gits.METRICS))
@settings(max_examples=20)
def test_costs_are_those_of_the_official_formula(seed: int, metric: str) -> None:
    """Written out with loops; along a straight trajectory nothing costs."""
    generator = np.random.default_rng(seed)
    rho = np.sort(generator.uniform(0.1, 5.0, 5))[::-1]
    y, d = generator.standard_normal((5, 3, 2)), generator.standard_normal((4, 3, 2))
    found = gits.costs(y, d, rho, metric)

    def deviation(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        ac, bc = c - a, c - b
        unit = bc / np.linalg.norm(bc)
        return float(np.linalg.norm(ac - (ac @ unit) * unit))

    for i, j in combinations(range(5), 2):
        each: list[float] = []
        for sample in range(3):
            jump = y[i, sample] + (rho[j] - rho[i]) * (y[i, sample] - d[i, sample]) / rho[i]
            ends = y[0, sample], y[-1, sample]
            if metric == "dev":
                each.append(deviation(jump, *ends) - (deviation(y[j, sample], *ends) if j < 4 else 0.0))
            else:
                each.append(float(np.linalg.norm(jump - y[j, sample], ord=1 if metric == "l1" else 2)))
        assert found[i, j] == pytest.approx(np.mean(each), abs=1e-12)
    straight = np.stack([(1.0 + r) * y[0] for r in rho])
    slopes = np.broadcast_to(y[0], (4, 3, 2))
    assert np.allclose(gits.costs(straight, slopes, rho, metric)[np.triu_indices(5, 1)], 0.0, atol=1e-12)


# --- OLSS's times -----------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=20)
def test_the_greedy_way_with_the_least_bound_is_the_best_of_all_ways(seed: int, steps: int) -> None:
    """On trajectories whose fits err more the farther they go, halving finds the optimum of brute force."""
    generator = np.random.default_rng(seed)
    y, d = generator.standard_normal((8, 6, 2)), generator.standard_normal((7, 6, 2))
    fits = timesearch.Fits(y, d)
    lengths = np.cumsum(generator.uniform(0.1, 2.0, 8))

    def error(way: list[int], goals: int) -> float:
        return float(lengths[goals] - lengths[way[-1]])

    fits.error = error  # type: ignore[method-assign]
    best = min(fits.worst([0, *inner, 7]) for inner in combinations(range(1, 7), steps - 1))
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits.greedy(steps, middle) is None else (low, middle)
    assert high == pytest.approx(best, rel=1e-9)
    way = fits.greedy(steps, high)
    assert way is not None
    full = timesearch.filled(way, steps)
    assert len(full) == steps + 1
    assert set(way) <= set(full)
    assert fits.worst(full) <= best * (1 + 1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_errors_are_those_of_least_squares(seed: int) -> None:
    generator = np.random.default_rng(seed)
    y, d = generator.standard_normal((6, 5, 2)), generator.standard_normal((5, 5, 2))
    fits, way = timesearch.Fits(y, d), [0, 2, 3]
    known = np.stack([y[3].ravel(), *(d[k].ravel() for k in way)], axis=1)
    left = y[5].ravel() - known @ np.linalg.lstsq(known, y[5].ravel(), rcond=None)[0]
    assert float(fits.error(way, 5)) == pytest.approx(float(np.mean(left**2)), rel=1e-9)


# --- evolution --------------------------------------------------------------------------------------------


def test_evolution_finds_the_best_of_few_grids_and_judges_none_twice() -> None:
    """With ten possible grids all are tried; with generations enough the best is brute force's."""
    target = target_of("mixture_2d", samples=12, seed=0)
    lattice = target.grid("uniform_lambda", 6)
    errors = {
        inner: target.error(
            de.get_solver("ddim"), de.TimeGrid(target.process, levels=[lattice[k] for k in (0, *inner, 6)])
        )
        for inner in combinations(range(1, 6), 2)
    }
    seen: list[float] = []

    def fitness(x: np.ndarray) -> float:
        seen.append(float(np.sum(x)))
        return float(np.sqrt(np.mean((x - target.ends[0]) ** 2))) if len(x) == 12 else 0.0

    found = searched("evolution", nfe=3, nodes=6, fitness=fitness, generations=12)
    assert found.provenance["train"]["after"] == pytest.approx(min(errors.values()), rel=1e-9)
    assert found.provenance["tried"] == len(errors)
    inside = [int(np.argmin(np.abs(lattice.lam - lam))) for lam in found.grid.lam[1:-1]]
    assert tuple(inside) == min(errors, key=errors.__getitem__)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=30)
def test_mutants_and_crossings_are_ways(seed: int, steps: int) -> None:
    pool = evolution._Population(12, steps, np.random.default_rng(seed))
    one, other = pool.drawn(), pool.drawn()
    assert pool.mutated(one, 1e-12) == one
    for way in (one, other, pool.mutated(one, 0.5), pool.mutated(one, 1.0)):
        assert len(way) == steps + 1
    crossed = pool.crossed(one, other)
    assert set(crossed) <= set(one) | set(other)
    for way in (one, other, crossed, pool.mutated(one, 0.9)):
        assert way == tuple(sorted(set(way)))
        assert way[0] == 0
        assert way[-1] == 12
    assert not set(pool.mutated(one, 1.0)[1:-1]) & set(one[1:-1]) or steps > 6


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=20)
def test_frechet_is_the_distance_of_gaussian_laws(seed: int, dimension: int) -> None:
    """Against the exact distance of two normal laws, one with the samples' own mean and covariance."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((30, dimension)) * generator.uniform(0.2, 2.0, dimension)
    mean, spread = generator.standard_normal(dimension), generator.uniform(0.1, 2.0, dimension)
    own = evolution.frechet(x, x.mean(axis=0), np.atleast_2d(np.cov(x.T, bias=True)))
    assert own == pytest.approx(0.0, abs=1e-6)
    found = evolution.frechet(x, mean, np.diag(spread))
    if dimension == 1:
        assert found**2 == pytest.approx((x.mean() - mean[0]) ** 2 + (x.std() - np.sqrt(spread[0])) ** 2, rel=1e-9)
    moved = evolution.frechet(x + 3.0, mean + 3.0, np.diag(spread))
    assert moved == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler_ancestral"])
def test_evolution_judges_by_the_law_of_the_samples(solver: str) -> None:
    found = searched("evolution", solver=solver, fitness="w2")
    assert found.provenance["loss"] == "w2"
    assert found.provenance["train"]["after"] < found.provenance["train"]["before"]
