"""Langevin steps between the steps of a solver: their law, the published step size, and what nobody may analyse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.soundness import consistency, zero_stability
from diffode.analysis.stochastic import noise_level, weak_order, weak_order_mixture
from diffode.errors import PlanError, SolverError
from diffode.plan import Dynamic, Evaluate, Plan
from diffode.solvers.langevin import batch_ratio, sample_ratio

EDM = de.EDM()
GRID = de.grids.karras(EDM, 6, start=20.0, end=0.05)
RULE = de.get_solver("predictor_corrector")
FIXED = RULE.configure(tau=0.0, snr=0.16)

norms = pytest.mark.parametrize("norms", ["batch", "sample"])
first = pytest.mark.parametrize("first", ["corrector", "predictor"])


# --- the linear surrogate ---------------------------------------------------------------------------------


@first
@given(st.floats(0.05, 0.4), st.floats(0.1, 4.0), st.floats(0.3, 5.0))
def test_corrections_approach_the_stationary_law_of_their_step_size(
    first: str, snr: float, variance: float, sigma: float
) -> None:
    """x ← (1 − e/v) x + √(2e) z has the stationary variance v/(1 − e/2v), with v that of the level and e = 2 r² σ²."""
    grid = de.TimeGrid(EDM, sigma=[sigma, sigma * (1 - 1e-7)])
    rule = FIXED.configure(base="ddim", snr=snr, corrections=9, first=first)
    law = de.law(rule.plan(grid), de.Gaussian(0.4, variance), start="prior")
    v, e = variance + sigma**2, 2 * snr**2 * sigma**2
    left = (1 - e / v) ** 18
    assert law.variance[0] == pytest.approx((1 - left) * v / (1 - e / (2 * v)) + left * sigma**2, rel=1e-5)
    assert law.mean[0] == pytest.approx(0.4 * (1 - left**0.5), rel=1e-5)


def test_steps_in_proportion_to_h_raise_the_noise_level() -> None:
    for base, tau in (("ddim", 0.0), ("reverse_diffusion", 1.0)):
        assert noise_level(RULE.configure(base=base, tau=0.7), de.VP()) == pytest.approx(np.hypot(tau, 0.7), abs=2e-3)


@first
@pytest.mark.parametrize("base", ["ddim", "ancestral_sampling", "dpmpp_2m", "heun"])
def test_any_base_is_corrected_to_first_order(base: str, first: str) -> None:
    rule = RULE.configure(base=base, first=first)
    assert weak_order(rule, de.VP()).value == pytest.approx(1.0, abs=0.1)
    if base == "ddim":  # a past or more normals make the quadrature dear
        assert weak_order_mixture(rule, de.VP()).value == pytest.approx(1.0, abs=0.1)


def test_the_published_step_size_does_not_converge() -> None:
    """With ever more levels, what is left is the stationary error of Langevin steps at the last; r alone tells it."""
    rule, v, e = FIXED.configure(snr=0.5), 1.09, 2 * 0.25 * 0.09

    def miss(rule: de.Solver, steps: int) -> float:
        plan = rule.plan(de.grids.uniform_lambda(EDM, steps, start=20.0, end=0.3))
        return de.law(plan, de.Gaussian(0.3, 1.0)).w2()

    assert rule.reaches == 0
    assert miss(rule, 800) == pytest.approx(np.sqrt(v / (1 - e / (2 * v))) - np.sqrt(v), rel=0.2)
    assert miss(RULE, 400) / miss(RULE, 800) == pytest.approx(2.0, rel=0.1)


def test_the_code_corrects_where_a_step_begins_and_the_paper_where_it_ends() -> None:
    def levels(first: str, grid: de.TimeGrid) -> list[float]:
        plan = FIXED.configure(first=first, corrections=2).plan(grid)
        return [float(row.level.sigma) for row in plan if isinstance(row, Evaluate)]

    a, b, c = (float(sigma) for sigma in GRID.sigma[:3])
    short = de.TimeGrid(EDM, sigma=[a, b, c])
    assert levels("corrector", short) == [a, a, a, b, b, b]
    assert levels("predictor", short) == [a, b, b, b, c, c]
    to_zero = de.TimeGrid(EDM, sigma=[a, b, 0.0])
    assert levels("corrector", to_zero) == [a, a, a, b, b, b]
    assert levels("predictor", to_zero) == [a, b, b, b]


# --- norms that are seen ------------------------------------------------------------------------------------


def step_by_hand(x: np.ndarray, z: np.ndarray, snr: float, scale: float, per_sample: bool) -> np.ndarray:
    """The corrector of the official code, on data at 0 at σ = 2."""
    score = -x / 4
    of_score, of_noise = (np.linalg.norm(u.reshape(len(u), -1), axis=-1) for u in (score, z))
    ratio = of_noise / of_score if per_sample else of_noise.mean() / of_score.mean()
    size = np.reshape((snr * ratio) ** 2 * 2 * scale, (-1, *(1,) * (x.ndim - 1)))
    return x + size * score + np.sqrt(2 * size) * z


@norms
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_corrector_step_is_that_of_the_official_code(norms: str, backend: str) -> None:
    """On VE, α = 1; on VP α_i = 1 − β_i is the square of the step's ratio of α."""
    grid = de.TimeGrid(EDM, sigma=[2.0, 1.0])
    generator = np.random.default_rng(0)
    x, z = (generator.standard_normal((5, 2, 3)) for _ in range(2))
    inputs: list[Any] = [x, z, np.zeros_like(x)]
    if backend == "torch":
        torch = pytest.importorskip("torch")
        inputs = [torch.as_tensor(value) for value in inputs]
    model = de.Denoiser(lambda x, t: 0 * x, EDM, prediction="x0")
    rule = FIXED.configure(norms=norms)
    out = de.sample(model, rule, grid, inputs[0], noise=inputs[1:], backend=backend)
    corrected = step_by_hand(x, z, 0.16, 1.0, norms == "sample")
    assert np.asarray(out.x) == pytest.approx(corrected - corrected * 3 / 4, rel=1e-12)  # σ² − 1 times the score
    one = de.sample(model, rule, grid, inputs[0][:1], noise=[value[:1] for value in inputs[1:]], backend=backend)
    alone = np.allclose(np.asarray(one.x), np.asarray(out.x)[:1], rtol=1e-12)
    assert alone == (norms == "sample")


def test_the_step_of_a_vp_process_has_its_own_ratio_of_alphas() -> None:
    grid = de.TimeGrid(de.VP(), t=[0.5, 0.4])
    (dynamic, *_) = [row for row in FIXED.configure(norms="batch").plan(grid).rows if isinstance(row, Dynamic)]
    assert dynamic.function is batch_ratio
    plain, seen = (FIXED.configure(norms=norms).plan(grid) for norms in ("expected", "batch"))
    x = np.full((4000, 50), 1.0)
    model, z = de.Denoiser(lambda x, t: 0 * x, de.VP(), prediction="x0"), np.random.default_rng(0)
    start = float(grid.sigma[0]) * z.standard_normal(x.shape)
    noise = [z.standard_normal(x.shape), 0 * x]
    backend = de.backends.get_backend("numpy")
    one, two = (de.backends.execute(backend, plan, model, [start], noise)[plan.states[-1]] for plan in (plain, seen))
    assert one == pytest.approx(two, rel=0, abs=5e-4)


@norms
def test_the_surrogate_is_what_the_norms_come_to_in_many_dimensions(norms: str) -> None:
    """‖z‖/‖s‖ tends to σ, as the inverse root of the number of entries."""

    def off(dimension: int) -> float:
        z = np.random.default_rng(0)
        x, noise = 2.0 * z.standard_normal((1000, dimension)), z.standard_normal((1000, dimension))
        ratio = (batch_ratio if norms == "batch" else sample_ratio)(-x / 4, noise)
        return float(np.sqrt(np.mean((ratio / 2.0 - 1) ** 2)))

    size = 1000 if norms == "batch" else 1
    for dimension in (16, 256):
        assert off(dimension) < 4 / np.sqrt(dimension * size)
    assert norms == "batch" or off(16) > 3 * off(256)


@norms
def test_analyses_that_need_linearity_name_the_row_and_stop(norms: str) -> None:
    rule = FIXED.configure(norms=norms)
    plan, process = rule.plan(GRID), de.VP()
    calls: list[Callable[[], Any]] = [
        lambda: de.law(plan, de.Gaussian(0.0, 1.0)),
        lambda: de.verify(rule),
        lambda: de.stability(rule),
        lambda: de.invert(plan),
        lambda: weak_order(rule, process),
        lambda: weak_order_mixture(rule, process),
        lambda: consistency(rule, process),
        lambda: zero_stability(rule, process),
    ]
    for call in calls:
        with pytest.raises(
            PlanError, match=f"needs a linear plan, but row c0 of .* is the Dynamic row '{norms}_ratio'"
        ):
            call()


@norms
def test_plans_with_seen_norms_come_back_from_json(norms: str) -> None:
    plan = FIXED.configure(norms=norms).plan(GRID)
    assert Plan.from_json(plan.to_json()) == plan
    assert not plan.is_linear
    assert plan.nfe == 2 * GRID.steps


def test_other_norms_and_orders_are_named_in_the_error() -> None:
    with pytest.raises(SolverError, match="no norms='mean'; there are 'expected', 'batch', 'sample'"):
        RULE.configure(norms="mean").plan(GRID)
    with pytest.raises(SolverError, match="no first='both'; there are 'corrector', 'predictor'"):
        RULE.configure(first="both").plan(GRID)
