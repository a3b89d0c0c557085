"""Align your steps: the tangent grid and KLUB's optimum on Gaussian data, the bound measured on other data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.fitting import ays
from diffode.fitting.grids import target_of
from tests.fits import searched
from tests.strategies import powers


@given(powers(0.05, 10.0), st.integers(1, 12))
@settings(max_examples=25)
def test_ays_finds_the_tangent_grid_on_gaussian_data(c: float, n: int) -> None:
    """Theorem 3.1: equal steps of arctan(ρ/c), after which DDIM's standard deviation is cosⁿ of one of them."""
    process = de.EDM()
    found = ays.fit_ays(de.Gaussian(0.0, c * c), n, flow="ode", process=process)
    angle = np.arctan(found.grid.rho / c)
    step = (angle[0] - angle[-1]) / n
    assert np.allclose(-np.diff(angle), step, rtol=1e-4, atol=0)
    assert np.exp(-found.after) == pytest.approx(np.cos(step) ** n, rel=1e-9)
    law = de.law(de.compile("ddim", process, found.grid), de.Gaussian(0.0, c * c))
    exact = np.sqrt(c * c + process.level(process.t_min).rho ** 2)
    assert np.sqrt(law.variance[0]) / exact == pytest.approx(np.cos(step) ** n, rel=1e-9)


def test_the_formula_sheets_numbers_of_ays() -> None:
    """c = 0.5, ρ from 80 to 0.002 in ten steps: 0.88492; on Karras's grid 0.75278."""
    found = ays.fit_ays(de.Gaussian(0.0, 0.25), 10, flow="ode", process=de.EDM())
    assert np.exp(-found.after) == pytest.approx(0.88492, abs=5e-6)
    assert np.exp(-found.before) == pytest.approx(0.75278, abs=5e-6)


@given(powers(0.1, 5.0), st.integers(2, 12))
@settings(max_examples=25)
def test_klub_is_stationary_where_its_derivative_says(c: float, n: int) -> None:
    """t²(t² − p²)/(p²(c² + t²)) = (q² − t²)/(c² + q²) at every inner level t between p < t < q."""
    rho = ays.fit_ays(de.Gaussian(0.0, c * c), n, process=de.EDM()).grid.rho[::-1]
    p, t, q = rho[:-2], rho[1:-1], rho[2:]
    left, right = t**2 * (t**2 - p**2) / (p**2 * (c**2 + t**2)), (q**2 - t**2) / (c**2 + q**2)
    assert np.allclose(left, right, rtol=1e-3, atol=0)


def test_klub_and_the_tangent_grid_are_not_the_same_optimum() -> None:
    """The best grid with noise has its levels as 1/(ρ (c² + ρ²)) in the limit, that of DDIM as 1/(c² + ρ²)."""
    c, n = 1.0, 160
    data, process = de.Gaussian(0.0, c * c), de.EDM(0.05, 20.0)
    rho = ays.fit_ays(data, n, process=process).grid.rho[::-1]
    middle = np.sqrt(rho[1:] * rho[:-1])
    density = 1 / np.diff(rho)
    fine = middle < 2.0  # where steps are short
    flat = density * middle * (c * c + middle**2)
    assert np.ptp(np.log(flat[fine])) < 0.03
    assert np.ptp(np.log((density * (c * c + middle**2))[fine])) > 3


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_the_bound_is_the_mean_square_along_the_process(seed: int) -> None:
    """∫ ρ^{−3} E|D(y_ρ) − D(y_b)|² with both states on one path, against what only denoising errors are asked for."""
    problem = de.problems.get_problem("mixture_2d")
    target = target_of(problem, samples=4000, seed=seed)
    klub = ays.measured_klub(target, problem.data.sample(4000, seed), 60, seed)
    generator = np.random.default_rng(seed)
    a, b = 0.3, 2.5
    x_0 = problem.data.sample(4000, generator)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    rho = np.exp(np.log(a) + (nodes + 1) / 2 * np.log(b / a))
    path, y, before = [], x_0, 0.0
    for level in (*rho, b):
        y = y + np.sqrt(level**2 - before**2) * generator.standard_normal(y.shape)
        path.append(problem.model.predict(y, problem.process.level(sigma=float(level)), "x0"))
        before = level
    squares = np.array([np.mean(np.sum((here - path[-1]) ** 2, axis=1)) for here in path[:-1]])
    direct = np.log(b / a) / 2 * np.sum(weights * rho**-2 * squares)
    assert klub(np.array([a]), np.array([b]))[0] == pytest.approx(direct, rel=0.08)
    assert klub(np.array([a]), np.array([a]))[0] == 0


def test_the_measured_bound_comes_to_the_closed_one() -> None:
    data, process = de.Gaussian(np.zeros(2), np.array([1.0, 0.04])), de.EDM(0.02, 20.0)
    target = target_of(data, process=process, samples=2)
    exact = ays.gaussian_klub(np.array([1.0, 0.04]))
    measured = ays.measured_klub(target, data.sample(200_000, 0), 60, 1)
    rho = np.geomspace(0.02, 20.0, 9)
    assert np.allclose(measured(rho[:-1], rho[1:]), exact(rho[:-1], rho[1:]), rtol=0.1)
    assert np.all(exact(rho[:-1], rho[1:]) > 0)


def test_one_data_law_examples_serve_a_network() -> None:
    """Where the data are a file of examples, AYS asks for them, and holds half of them out."""
    problem = de.problems.get_problem("digits")
    found = searched("ays", problem, data=problem.law.sample(40, 0).reshape(40, -1))
    assert found.provenance["held_out"]["after"] < found.provenance["held_out"]["before"]


@pytest.mark.parametrize("seed", [0, 7])
def test_noise_is_not_that_of_examples_drawn_with_the_same_seed(seed: int) -> None:
    """Examples of one's own come from the same generator as often as not."""
    process, examples = de.EDM(), np.random.default_rng(seed).standard_normal((4000, 4))
    target = target_of(de.Gaussian(np.zeros(4), np.ones(4)), process=process, samples=2)
    measured, exact = ays.measured_klub(target, examples, 20, seed), ays.gaussian_klub(np.ones(4))
    rho = np.array([0.1, 1.0, 10.0])
    assert measured.error(rho) == pytest.approx(exact.error(rho), rel=0.1)
