"""The largest product of guidance and step: exact, attained, and not beaten by any method that a search finds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

import diffode as de
from diffode import solver
from diffode.analysis.stability.barrier import enumerated, family, guidance_barrier
from diffode.analysis.stability.longest import largest_rate
from diffode.errors import PlanError
from diffode.plan import Linear

SMALL = [(k, p) for p in range(1, 5) for k in range(p, min(p + 3, 6))]
each = pytest.mark.parametrize(("k", "p"), SMALL)


def length(weights: np.ndarray, reach: float, count: int = 1500) -> float:
    """The interval of a method by eigenvalues on a fine grid, blind to all algebra."""
    k = len(weights)
    t = np.linspace(0.0, reach, count + 1)[1:]
    companion = np.zeros((count, k, k))
    companion[:, 0] = -t[:, None] * weights
    companion[:, 0, 0] += 1
    companion[:, range(1, k), range(k - 1)] = 1
    bad = np.flatnonzero(np.max(abs(np.linalg.eigvals(companion)), axis=1) > 1 + 1e-7)
    return float(t[bad[0] - 1]) if len(bad) and bad[0] else (0.0 if len(bad) else reach)


@each
def test_the_bound_is_attained_by_exact_algebra(k: int, p: int) -> None:
    found = guidance_barrier(k, p)
    assert found.certified == pytest.approx(found.length, rel=1e-9)
    for q in range(p):
        assert sum(b * (-j) ** q for j, b in enumerate(found.weights)) == Fraction(1, q + 1)


@each
def test_no_search_finds_a_method_that_bears_more(k: int, p: int) -> None:
    """From many starts, over all free weights; and the search comes near, so that it looks in the right place."""
    bound = guidance_barrier(k, p).length
    known, free = (np.array(part, dtype=float) for part in family(k, p))
    if not len(free):
        assert length(known, 2 * bound) == pytest.approx(bound, rel=2e-3)
        return
    generator, best = np.random.default_rng(k + 10 * p), 0.0
    for _ in range(8):
        start = generator.standard_normal(len(free)) * 0.5
        found = minimize(
            lambda a: -length(known + a @ free, 1.5 * bound, 300), start, method="Nelder-Mead", options={"maxiter": 80}
        )
        best = max(best, length(known + found.x @ free, 1.5 * bound))
    assert 0.9 * bound < best < bound * (1 + 2e-3)


@pytest.mark.parametrize("k", [2, 3, 4, pytest.param(5, marks=pytest.mark.slow)])
def test_with_one_free_weight_the_bound_is_that_of_all_methods(k: int) -> None:
    found = guidance_barrier(k, k - 1)
    assert found.proved
    assert found.length * (1 - 1e-6) < enumerated(k) < found.length * (1 + 1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_first_order_bound_is_its_formula(k: int) -> None:
    found = guidance_barrier(k, 1)
    assert found.length == 2 * k
    assert found.weights == tuple(Fraction(2 * (k - j) - 1, k * k) for j in range(k))


def test_bounds_that_have_a_closed_form_are_those() -> None:
    assert guidance_barrier(4, 2).length == pytest.approx(1.5 + np.sqrt(2), rel=1e-15)
    assert guidance_barrier(5, 2).length == pytest.approx(2 + 0.8 * np.sqrt(5), rel=1e-15)


@pytest.mark.parametrize(
    ("name", "k"), [("ddim", 1), ("dpmpp_2m", 2), ("dpmpp_3m_corrected", 3), ("deis_lambdaab_3", 4)]
)
def test_methods_of_the_registry_bear_their_bound_in_small_steps(name: str, k: int) -> None:
    """w h → ℓ as h → 0: exponential Adams methods have no weight free."""
    h = 0.002
    assert h * largest_rate(de.get_solver(name), h) == pytest.approx(guidance_barrier(k, k).length, rel=5 * h)


def test_the_best_method_is_a_solver_that_bears_it() -> None:
    """As a rule: the weights of (4, 2) as exponentially fitted increments; it bears 2.9 where 2M bears 1."""
    weights = [float(b) for b in guidance_barrier(4, 2).weights]

    @solver(order=2, prediction="x0", history=3)
    def best(step) -> Linear:
        from diffode import phi

        d = step.model(step.x, step.now)
        values = [d, *(step.past(k) for k in range(1, 4))] if step.depth >= 3 else [d]
        mean = sum((b * v for b, v in zip(weights, values, strict=True)), Linear({})) if step.depth >= 3 else d
        return step.next.sigma / step.now.sigma * step.x - step.next.alpha * phi.expm1(-step.h) * mean

    h = 0.002
    assert h * largest_rate(best, h) == pytest.approx(guidance_barrier(4, 2).length, rel=2e-2)


@pytest.mark.parametrize(
    ("k", "p", "message"), [(1, 2, "needs at least 2 steps"), (9, 2, "at most three more"), (3, 0, "at least 1")]
)
def test_bad_input_says_what_and_how(k: int, p: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        guidance_barrier(k, p)
