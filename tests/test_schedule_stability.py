"""Stability along a schedule: gains are those of executed plans, and a solver breaks where it is said to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.stability.guided import Guidance
from diffode.analysis.stability.longest import largest_rate, largest_step
from diffode.analysis.stability.runs import Run, first_true
from diffode.analysis.stability.schedule import amplification_map, guidance_limit
from diffode.analysis.stability.steps import step_maps
from diffode.backends import execute, get_backend
from diffode.errors import PlanError
from diffode.plan import Plan
from diffode.solvers import Solver, registry
from tests.strategies import grids, powers, processes

SOLVERS = list(registry().values())
every = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
EIGENVALUES = [2.0, 0.1, 1e-3]


def quiet(plan: Plan, width: int) -> list[np.ndarray]:
    return [np.zeros((1, width))] * len(plan.noises)


# --- gains ----------------------------------------------------------------------------------------------------


@every
@settings(max_examples=4)
@given(st.data())
def test_gains_are_differences_of_executed_plans(solver: Solver, data: st.DataObject) -> None:
    """Kick a state, run on, and look at every state after it: with the model itself, guided in one of two ways."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    e = np.array(data.draw(st.lists(powers(1e-3, 3.0), min_size=1, max_size=3)))
    broad = data.draw(st.booleans())
    guidance = Guidance(e, None if broad else e * data.draw(st.floats(1.0, 9.0)))
    scale = data.draw(st.floats(0.0, 8.0))
    run = Run.of(solver, guidance, grid)
    gains = abs(run.gains(scale)) / np.maximum(1.0, run.exact(scale))
    assert np.all(abs(run.measured(scale) - np.nan_to_num(gains)) <= 1e-8 * np.nanmax(gains, axis=(0, 1)))


@pytest.mark.parametrize("unconditional", [None, np.array([2.0])])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_model_told_another_level_has_the_slope_of_that_level(unconditional: Any, prediction: str) -> None:
    process, x = de.VP(), np.ones((1, 1))
    here, there = process.level(lam=0.3), process.level(lam=-0.5)
    guidance = Guidance(np.array([0.2]), unconditional)
    found = guidance.model(process, 3.0).predict(x, here, prediction, at=there)
    assert found[0] == pytest.approx(guidance.slope(prediction, there, 3.0) * x[0], rel=1e-12)


@every
def test_a_chain_of_steps_is_the_law(solver: Solver) -> None:
    """What the start comes to after all steps, from the matrices, is the gain of the exact law."""
    process, data = de.VP(), de.Gaussian([0.0, 0.0], [1.0, 0.02])
    grid = de.grids.uniform_lambda(process, 7)
    run = Run.of(solver, Guidance.of(data, data), grid)  # branches that are one, for a rule that asks for both
    noise = run.plan.noises
    out = de.law(run.plan, data)
    start = run.units[0] ** 2 * (run.gains(1.0)[0, -1] * run.units[-1] / run.units[0]) ** 2
    if noise:
        assert np.all(start < out.variance)
    else:
        assert np.allclose(start, out.variance, rtol=1e-10)


@settings(max_examples=8)
@given(st.data())
def test_the_exact_guided_flow_is_what_fine_steps_do(data: st.DataObject) -> None:
    e = np.array([data.draw(powers(1e-2, 3.0))])
    broad = data.draw(st.booleans())
    guidance = Guidance(e, None if broad else e * data.draw(st.floats(0.2, 9.0)))
    scale = data.draw(st.floats(0.0, 3.0))
    process = data.draw(st.sampled_from([de.VP(), de.EDM()]))
    grid = de.TimeGrid(process, lam=np.linspace(-1.0, 2.0, 81))
    for name, tau, order in (("rk4_lambda", 0.0, 4), ("dpmpp_sde", 1.0, 2)):
        run = Run.of(name, guidance, grid)
        assert run.tau == tau
        rate = max(1.0, *(abs((1 + tau) * guidance.rate(level, scale)).max() for level in grid))
        found, exact = run.gains(scale)[0, -1], run.exact(scale)[0, -1]
        assert np.allclose(found, exact, rtol=grid.steps * (rate * 3.0 / grid.steps) ** (order + 1))


def test_without_guidance_the_exact_flow_keeps_standard_deviations() -> None:
    run = Run.of("ddim", Guidance(np.array(EIGENVALUES)), de.grids.karras(de.EDM(), 9))
    assert np.allclose(run.exact(1.0), 1.0, rtol=1e-12)


# --- the amplification of a step -------------------------------------------------------------------------------


@every
def test_a_step_of_a_one_step_rule_amplifies_by_its_gain(solver: Solver) -> None:
    grid = de.grids.karras(de.EDM(), 6)
    found = amplification_map(solver, EIGENVALUES, grid, guidance=3.0)
    run = Run.of(solver, Guidance(np.array(EIGENVALUES)), grid)
    assert found.values.shape == found.exact.shape == found.rates.shape == (3, 6)
    if any(len(m.after) > 1 for m in run.maps(3.0)):
        return
    wanted = np.array([abs(found.gains[n, n + 1]) for n in range(6)]).T
    assert np.allclose(found.values, wanted, rtol=1e-12)


def test_a_step_of_a_multistep_rule_amplifies_by_its_largest_root() -> None:
    """2M at e = 0 and equal steps: x/α = y has y_{n+1} = r y_n + (1 − r)(1 − w)(3/2 y_n − 1/2 y_{n−1})."""
    h, w = 0.3, 5.0
    grid = de.TimeGrid(de.EDM(), lam=h * np.arange(-6, 7))
    found = amplification_map("dpmpp_2m", [0.0], grid, guidance=w).values[0]
    r = np.exp(-h)
    b = (1 - r) * (1 - w)
    largest = np.max(abs(np.roots([1.0, -(r + 1.5 * b), 0.5 * b])))
    assert np.allclose(found[2:-1], largest / r, rtol=1e-10)  # in units of σ


@pytest.mark.parametrize(
    "name", ["ddim", "dpmpp_2m", "dpmpp_3m_corrected", "deis_lambdaab_2", "dpm_solver_3", "unipc_2"]
)
def test_the_radius_is_that_of_the_semilinear_recursion(name: str) -> None:
    """At e = 0, in equal steps of λ, a step is the semilinear test of the stability regions."""
    from diffode.analysis.stability.reading import recursion

    h, w = 0.4, 3.0
    solver = de.get_solver(name)
    grid = de.TimeGrid(de.EDM(), lam=h * np.arange(-8, 9))
    found = amplification_map(solver, [0.0], grid, guidance=w).values[0, -3]
    if solver.prediction == "x0":  # u = x/α, D = (1 − w) u
        wanted = abs(recursion(solver, h).roots((1 - w) * h)[0]) * np.exp(h)
    else:  # u = x/σ, −ε = −w u
        wanted = abs(recursion(solver, -h).roots(-w * h)[0])
    assert found == pytest.approx(wanted, rel=1e-8)


# --- the largest stable step -----------------------------------------------------------------------------------


def test_the_largest_stable_step_of_ddim_is_its_formula() -> None:
    solver = de.get_solver("ddim")
    for h in (0.1, 0.7, 2.0):
        assert largest_rate(solver, h) == pytest.approx(2 / (1 - np.exp(-h)), rel=1e-8)
    kappa = np.array([2.5, 4.0, 30.0])
    assert np.allclose(largest_step(solver, kappa), -np.log(1 - 2 / kappa), rtol=1e-3)
    assert largest_step(solver, np.array([1.9]))[0] == np.inf


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc_2", "ghvb_2.5", "heun", "dpmpp_2m_sde"])
def test_steps_below_the_largest_are_stable_and_steps_above_are_not(name: str) -> None:
    """By running many equal steps on data at a point, where κ is the guidance scale at every level."""
    w = 4.0
    h = float(largest_step(de.get_solver(name), np.array([w]))[0])
    for factor, bounded in ((0.97, True), (1.03, False)):
        grid = de.TimeGrid(de.EDM(), lam=factor * h * np.arange(-60, 61))
        plan = de.get_solver(name).plan(grid, open_end=True)
        model = Guidance(np.zeros(1)).model(de.EDM(), w)
        start = np.array([[grid[0].sigma]])
        done = execute(get_backend("numpy"), plan, model, [start], quiet(plan, 1), keep=plan.states)
        sizes = np.array([abs(done[state][0, 0]) for state in plan.states])
        assert (sizes[-4:].max() < sizes[40:44].max()) == bounded


# --- the limit of guidance -------------------------------------------------------------------------------------


@every
def test_the_limit_is_where_a_run_breaks(solver: Solver) -> None:
    """Bounded just below, exceeded just above, by running the plan."""
    process = de.VP()
    grid = de.grids.uniform_lambda(process, 24)
    data = de.Gaussian(np.zeros(3), np.array(EIGENVALUES))
    for unconditional in (None, de.Gaussian(np.zeros(3), 4 * np.array(EIGENVALUES))):
        limit = guidance_limit(solver, data, grid, unconditional)
        if not np.isfinite(limit):
            continue
        assert limit.factor < limit.above
        assert limit.below < limit.factor or limit == 0
        run = Run.of(solver, Guidance.of(data, unconditional), grid)
        for scale in np.linspace(1.0, 0.98 * limit, 5) if limit > 1 else ():
            assert np.max(run.measured(scale)) < limit.factor


def test_the_limit_of_one_step_is_solved_by_hand() -> None:
    """DDIM at e = 0, one step: |1 − w (1 − r)| = factor · r, in units of σ."""
    grid = de.TimeGrid(de.EDM(), sigma=[1.0, 0.4])
    limit = guidance_limit("ddim", [0.0], grid, factor=3.0)
    assert limit == pytest.approx((1 + 3 * 0.4) / 0.6, abs=1e-6)
    assert (limit.kicked, limit.seen, limit.eigenvalue) == (0, 1, 0.0)


def test_finer_grids_bear_more_guidance() -> None:
    process = de.VP()
    limits = [guidance_limit("dpmpp_2m", EIGENVALUES, de.grids.uniform_lambda(process, n)) for n in (10, 20, 40, 80)]
    assert np.all(np.diff(limits) > 0)


def test_guidance_between_equal_laws_changes_nothing() -> None:
    data = de.Gaussian(np.zeros(2), [1.0, 0.1])
    limit = guidance_limit("dpmpp_2m", data, de.grids.uniform_lambda(de.VP(), 20), data)
    assert limit == np.inf
    assert "inf" in repr(limit)


def test_turned_data_have_the_limit_of_their_eigenvalues() -> None:
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    grid = de.grids.uniform_lambda(de.VP(), 12)
    e, other = np.array(EIGENVALUES), np.array([3.0, 1.0, 0.5])
    turned = [de.Gaussian(np.ones(3), turn @ np.diag(v) @ turn.T) for v in (e, other)]
    plain = [de.Gaussian(np.zeros(3), np.diag(v)) for v in (e, other)]
    assert guidance_limit("ddim", turned[0], grid, turned[1]) == pytest.approx(
        guidance_limit("ddim", plain[0], grid, plain[1]), rel=1e-5
    )


def test_starts_from_pure_noise_and_ends_without_noise_are_judged_where_they_can_be() -> None:
    flow = de.Flow()
    for final in ("min", "zero"):
        grid = de.grids.uniform_t(flow, 12, final=final)
        for e in ([0.0], [1.0, 0.0]):
            limit = guidance_limit("dpmpp_2m", e, grid)
            assert 1 < limit < np.inf
            assert limit.below < 10 < limit.above


def test_first_true_finds_the_first() -> None:
    found = first_true(lambda u: (u > 2.5) & (u < 4.0), np.arange(1.0, 9.0), chunk=3)
    assert found == pytest.approx(2.5, rel=1e-6)
    assert first_true(lambda u: u > 99, np.arange(3.0), chunk=2) == np.inf


# --- bad input -------------------------------------------------------------------------------------------------

GRID = de.grids.uniform_lambda(de.VP(), 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: guidance_limit("ddim", [1.0, -0.1], GRID), "not negative"),
        (lambda: guidance_limit("ddim", [1.0], GRID, factor=1.0), "factor must be larger than 1"),
        (lambda: guidance_limit("ddim", [1.0], GRID, de.Gaussian([0.0, 0.0], [1.0, 1.0])), "must live in one space"),
        (lambda: guidance_limit("ddim", de.GaussianMixture([1, 1], [0, 1], [1, 1]), GRID), "not a mixture of 2"),
        (
            lambda: guidance_limit(
                "ddim", de.Gaussian([0, 0], [1.0, 2.0]), GRID, de.Gaussian([0, 0], [[2.0, 1.0], [1.0, 2.0]])
            ),
            "different eigenvectors",
        ),
        (lambda: amplification_map("ddim", [1.0], GRID, guidance=np.inf), "must be a finite number"),
        (
            lambda: amplification_map(de.compile("ddim", de.VP(), GRID), [1.0], de.grids.uniform_t(de.VP(), 4)),
            "belongs to another grid",
        ),
    ],
)
def test_bad_input_says_what_and_how(call, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        call()


def test_step_maps_carry_the_noise_of_a_step_once() -> None:
    """Two stages that share noise within a step: as many normals as the step draws, none from before."""
    plan = de.compile("dpmpp_sde", de.EDM(), de.grids.karras(de.EDM(), 3))
    guidance = Guidance(np.array([0.3]))
    for step in step_maps(plan, lambda prediction, level, _: guidance.slope(prediction, level, 1.0)):
        assert step.noise.shape == (1, 1, 2)


def test_the_map_can_be_drawn() -> None:
    drawing = amplification_map("unipc_2", [1.0, 0.1, 0.01], de.grids.karras(de.EDM(), 6), guidance=4.0).plot()
    assert [axes.get_ylabel() for axes in drawing.axes[:2]] == ["eigenvalue", "in λ"]
