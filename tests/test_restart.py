"""Restart: the grid that goes up again, what it costs, the law it keeps, and what each pass takes off an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.moments import Spectrum, affine
from diffode.errors import GridError
from diffode.plan import Normal, Plan

IMAGENET = [(4, 1, 19.35, 40.79), (4, 1, 1.09, 1.92), (4, 5, 0.59, 1.09), (4, 5, 0.30, 0.59), (6, 6, 0.06, 0.30)]
"""The authors' README, class-conditional ImageNet 64."""

EDM = de.EDM()


def main(steps: int) -> de.TimeGrid:
    return de.grids.karras(EDM, steps, final="zero")


def gain(plan: Plan, variance: float) -> float:
    """By how much a deviation of the first state from its mean reaches the last."""
    return float(affine(plan, Spectrum.of(de.Gaussian(0.0, variance)))[plan.states[-1]][0, 0])


# --- the grid ---------------------------------------------------------------------------------------------


def test_the_published_setting_costs_what_is_published() -> None:
    plan = de.compile("restart", EDM, de.grids.restart(main(36), IMAGENET))
    assert plan.nfe == (2 * 36 - 1) + 132 == 203
    assert len(plan.noises) == 18


@given(
    st.integers(6, 20),
    st.lists(st.tuples(st.integers(2, 6), st.integers(1, 4), st.floats(0.05, 30.0), st.floats(2.0, 4.0)), max_size=3),
)
def test_evaluations_are_counted_by_the_formula(steps: int, drawn: list[tuple[int, int, float, float]]) -> None:
    intervals = [(points, times, low, low * ratio) for points, times, low, ratio in drawn]
    try:
        grid = de.grids.restart(main(steps), intervals)
    except GridError:  # two that turn at one level, or one that is shorter than a step
        return
    plan = de.compile("restart", EDM, grid)
    assert plan.nfe == 2 * steps - 1 + sum(2 * times * (points - 1) for points, times, *_ in intervals)
    assert grid.rises == {i for i in range(grid.steps) if grid.lam[i + 1] < grid.lam[i]}
    assert [int(row.key.partition(":")[0]) for row in plan.rows if isinstance(row, Normal)] == sorted(grid.rises)


def test_the_way_down_ends_at_a_level_of_the_main_grid() -> None:
    grid = de.grids.restart(main(10), [(4, 2, 0.5, 5.0)])
    for i in sorted(grid.rises):
        assert grid.sigma[i] in main(10).sigma
        assert grid.sigma[i + 1] == pytest.approx(5.0, rel=1e-14)
        assert grid[i + 4] == grid[i]


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ([(4, 1, 0.5)], "points, times, low, high"),
        ([(1, 1, 0.5, 2.0)], "number of steps"),
        ([(4, 0, 0.5, 2.0)], "number of steps"),
        ([(4, 1, 2.0, 0.5)], "0 < low < high"),
        ([(4, 1, 75.0, 79.0)], "nothing to go up to"),
        ([(4, 1, 0.5, 2.0), (3, 2, 0.51, 3.0)], "turn at the same level"),
    ],
)
def test_intervals_that_cannot_be_are_named(intervals: list[tuple[float, ...]], message: str) -> None:
    with pytest.raises(GridError, match=message):
        de.grids.restart(main(10), intervals)


def test_a_grid_with_restarts_is_no_main_grid_and_has_no_reverse() -> None:
    grid = de.grids.restart(main(10), [(4, 1, 0.5, 2.0)])
    with pytest.raises(GridError, match="without restarts"):
        de.grids.restart(grid, [])
    with pytest.raises(GridError, match="from noise to data"):
        de.grids.restart(main(10).reversed(), [])
    with pytest.raises(GridError, match="cannot be reversed"):
        grid.reversed()
    with pytest.raises(GridError, match="save its main grid"):
        de.grids.save(grid, "never_written.json")


# --- the law ----------------------------------------------------------------------------------------------


@given(st.sampled_from(["heun", "euler", "dpmpp_2s", "dpmpp_2m", "unipc_2"]), st.floats(0.05, 3.0))
def test_without_restarts_it_is_the_base_and_with_exact_steps_it_keeps_the_law(base: str, variance: float) -> None:
    """Data at a point are integrated exactly by exponential bases, and the forward noise is exact: so is the law."""
    rule = de.get_solver("restart").configure(base=base)
    plain = de.grids.restart(main(8), [])
    assert rule.plan(plain).rows == de.get_solver(base).plan(main(8)).rows
    if rule.exponential:
        process = de.VP()
        grid = de.grids.restart(de.grids.uniform_lambda(process, 9), [(3, 2, 0.3, 1.1)])
        law = de.law(rule.plan(grid), de.Gaussian(0.3, 0.0))
        assert law.variance == pytest.approx(law.exact.variance, rel=1e-9)
        assert law.mean == pytest.approx(law.exact.mean, rel=1e-9)


def test_the_law_is_wrong_by_the_discretisation_alone() -> None:
    """W2 falls by four as all steps are halved, and with another S_noise it stays."""

    def miss(n: int, **options: float) -> float:
        steps = de.grids.karras(EDM, 10 * n, end=0.05)
        grid = de.grids.restart(steps, [(4 * n + 1, 3, float(steps.sigma[7 * n]), 3.0)])
        return de.law(de.get_solver("restart").configure(**options).plan(grid), de.Gaussian(0.0, 1.0)).w2()

    assert miss(4) / miss(8) == pytest.approx(4.0, rel=0.15)
    assert miss(8, s_noise=1.003) > 0.8 * miss(16, s_noise=1.003) > 10 * miss(16)
    assert miss(8, s_noise=0.0) > 0.1


def test_executed_samples_have_the_exact_law() -> None:
    grid, data = de.grids.restart(main(9), [(4, 2, 0.3, 2.0)]), de.Gaussian(0.2, 0.6)
    exact = de.law(de.get_solver("restart").plan(grid), data, start="prior")
    x = 80.0 * np.random.default_rng(0).standard_normal((40_000, 1))
    out = de.sample(data.denoiser(EDM), "restart", grid, x, noise=1, trajectory=False)
    assert out.nfe == 17 + 12
    assert abs(out.x.var() / exact.variance[0] - 1) < 4 * np.sqrt(2 / 40_000)
    assert abs(out.x.mean() - exact.mean[0]) < 4 * np.sqrt(exact.variance[0] / 40_000)


@pytest.mark.parametrize("variance", [0.04, 1.0])
def test_every_time_through_contracts_an_earlier_error_by_the_same_factor(variance: float) -> None:
    """The factor is the flow's own, √((v + low²)/(v + high²)), but for the error of the way down."""

    def passed(times: int) -> float:
        intervals = [(17, times, float(main(12).sigma[8]), 2.0)] if times else []
        return gain(de.compile("restart", EDM, de.grids.restart(main(12), intervals)), variance)

    gains = [passed(times) for times in range(5)]
    factors = np.divide(gains[1:], gains[:-1])
    low = float(main(12).sigma[8])
    assert factors == pytest.approx(factors[0], rel=1e-12)
    assert factors[0] == pytest.approx(np.sqrt((variance + low**2) / (variance + 4.0)), rel=1e-2)


def test_a_base_with_a_past_starts_anew_behind_a_rise() -> None:
    """The first step down is the one that a run from there begins with."""
    rule = de.get_solver("restart(base='dpmpp_2m')")
    grid = de.grids.restart(main(9), [(4, 1, 0.5, 3.0)])
    (rise,) = grid.rises
    down = de.TimeGrid(EDM, levels=grid.levels[rise + 1 :])
    plan, anew = rule.plan(grid), de.get_solver("dpmpp_2m").plan(down)
    x = np.array([[0.7]])
    states = de.backends.execute(
        de.backends.get_backend("numpy"), plan, de.Gaussian(0.0, 1.0).denoiser(EDM), [x], [x], plan.states
    )
    begun = states[plan.states[rise + 1]]
    run = de.sample(de.Gaussian(0.0, 1.0).denoiser(EDM), "dpmpp_2m", down, begun)
    assert anew.nfe == down.steps
    assert run.x == pytest.approx(states[plan.states[-1]], rel=1e-14)
