"""Mean-square stability: the recurrence of second moments is that of laws, of samples and of formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.stability.mean_square import mean_square, second_moments, settled_step
from diffode.errors import PlanError
from diffode.solvers import Solver, registry
from tests.strategies import grids, powers, processes

STOCHASTIC = [s for s in registry().values() if not s.plan(de.grids.uniform_lambda(de.EDM(), 4)).is_deterministic]
every_stochastic = pytest.mark.parametrize("solver", STOCHASTIC, ids=lambda s: s.name)

STEPS, RATES = np.array([0.05, 0.3, 1.0]), np.array([0.8, 1.0, 2.0, 6.0, 40.0])


@every_stochastic
@settings(max_examples=5)
@given(st.data())
def test_second_moments_are_the_variances_of_the_law_at_every_level(solver: Solver, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    gaussian = de.Gaussian(np.zeros(2), np.array([data.draw(powers(1e-3, 3.0)), 0.5]))
    plan = solver.plan(grid)
    found = second_moments(plan, gaussian)
    for n in range(1, grid.steps + 1):
        wanted = de.law(plan.head(n), gaussian).variance
        assert np.allclose(found[n], wanted, rtol=1e-9, atol=1e-14 * np.max(found))


@every_stochastic
def test_second_moments_are_those_of_samples(solver: Solver) -> None:
    """Within five standard errors √(2/n) of the sample variance, at every level."""
    process, count = de.EDM(), 40_000
    grid = de.grids.karras(process, 5)
    data = de.Gaussian(0.0, 0.25)
    start = np.random.default_rng(7).standard_normal((count, 1)) * np.hypot(0.5, grid.sigma[0])
    out = de.sample(data.denoiser(process), solver, grid, start, noise=8)
    wanted = second_moments(out.plan, data)[:, 0]
    assert np.all(abs(np.array([np.mean(x**2) for x in out.trajectory]) / wanted - 1) < 5 * np.sqrt(2 / count))


def test_the_first_order_solver_has_its_formulas() -> None:
    """u' = R u + q z: R = e^{−h} + e^h (1 − e^{−2h})(1 − κ), q² = 1 − e^{−2h}."""
    h = STEPS[:, None]
    r = np.exp(-h) + np.exp(h) * -np.expm1(-2 * h) * (1 - RATES)
    q2 = -np.expm1(-2 * h)
    additive = mean_square("sde_dpmpp_1", steps=STEPS, rates=RATES)
    assert np.allclose(additive.radius, r**2, rtol=1e-9)
    with np.errstate(divide="ignore"):
        assert np.allclose(additive.variance, np.where(r**2 < 1, q2 / (1 - r**2), np.inf), rtol=1e-9)
    multiplicative = mean_square("sde_dpmpp_1", "multiplicative", steps=STEPS, rates=RATES, noise=0.7)
    assert np.allclose(multiplicative.radius, r**2 + 0.49 * q2, rtol=1e-9)


@every_stochastic
def test_small_steps_are_stable_where_the_equation_is(solver: Solver) -> None:
    """And the stationary variance is the exact one there, to the first order in h at least."""
    rates = np.array([0.3, 0.45, 0.9, 1.0, 2.0])
    for test, noise in (("additive", 0.0), ("multiplicative", 0.5)):
        found = mean_square(solver, test, steps=[2e-3], rates=rates, noise=noise)
        assert np.array_equal(found.stable[0], found.exact)
        if test == "additive":
            assert np.allclose(found.variance[0][found.exact], found.exact_variance[found.exact], rtol=0.02)


@every_stochastic
@pytest.mark.parametrize("test", ["additive", "multiplicative"])
def test_the_region_is_where_the_recurrence_of_samples_stays_bounded(solver: Solver, test: str) -> None:
    """Iterate the matrices of one step themselves: S grows or settles as the radius says, to the variance it says."""
    mu, h = 0.8, 0.2
    found = mean_square(solver, test, steps=[h], rates=RATES, noise=mu)  # type: ignore[arg-type]
    matrix, noise = settled_step(solver, h, RATES)
    second = np.zeros_like(matrix)
    second[:, 0, 0] = 1.0
    sizes = []
    for _ in range(4000):
        held = mu**2 * second[:, :1, :1] if test == "multiplicative" else 1.0
        second = matrix @ second @ np.swapaxes(matrix, 1, 2) + held * (noise @ np.swapaxes(noise, 1, 2))
        sizes.append(np.max(abs(second), axis=(1, 2)))
        second = np.where(sizes[-1][:, None, None] > 1e100, np.inf, second)
        if not np.isfinite(second).all():
            second = np.nan_to_num(second, posinf=1e100, neginf=-1e100)
            second = np.clip(second, -1e100, 1e100)
    decided = abs(found.radius[0] - 1) > 0.02
    bounded = sizes[-1] < 1e6
    assert np.array_equal(bounded[decided], found.stable[0][decided])
    if test == "additive":
        settled = decided & bounded
        assert np.allclose(second[settled, 0, 0], found.variance[0][settled], rtol=1e-8)


def test_the_multiplicative_test_without_noise_is_the_stability_of_the_mean() -> None:
    for name in ("dpmpp_2m_sde", "dpmpp_sde"):
        zero = mean_square(name, "multiplicative", steps=STEPS, rates=RATES, noise=0.0)
        assert np.allclose(zero.radius, mean_square(name, steps=STEPS, rates=RATES).radius, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_square("dpmpp_2m"), "draws no noise"),
        (lambda: mean_square("ddpm", "cubic"), "must be 'additive' or 'multiplicative'"),  # type: ignore[arg-type]
        (lambda: mean_square("ddpm", steps=[-1.0]), "steps must be positive"),
    ],
)
def test_bad_input_says_what_and_how(call, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        call()


@pytest.mark.parametrize("test", ["additive", "multiplicative"])
def test_the_region_can_be_drawn(test: str) -> None:
    found = mean_square("dpmpp_2m_sde", test, steps=np.geomspace(0.05, 2, 6), rates=np.linspace(0, 8, 9))  # type: ignore[arg-type]
    assert found.plot().axes[0].get_xlabel() == "step h in λ"
