"""Reversible rules: exact round trips within what rounding allows, and what is not reversible is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis import condition
from diffode.backends import execute, get_backend
from diffode.plan import Combine, Evaluate
from diffode.solvers import Solver, registry
from tests.strategies import grids, mixtures, processes

U = float(np.finfo(float).eps) / 2
SOLVERS = list(registry().values())
PLANS = {s.name: s.plan(de.grids.uniform_lambda(de.EDM(), 4)) for s in SOLVERS}
REVERSIBLE = [s for s in SOLVERS if s.reversible]
OTHERS = [s for s in SOLVERS if not s.reversible and PLANS[s.name].is_deterministic]

every_reversible = pytest.mark.parametrize("solver", REVERSIBLE, ids=lambda s: s.name)


def with_options(solver: Solver, data: st.DataObject) -> Solver:
    """The solver with its own options, or with drawn ones."""
    drawn: dict[str, Any] = {
        name: data.draw(st.floats(max(low, 0.2), high)) for name, (low, high) in solver.ranges.items()
    }
    return solver.configure(**drawn) if drawn and data.draw(st.booleans()) else solver


def round_trip(solver: Solver, grid: de.TimeGrid, model: de.Model) -> tuple[float, float]:
    """The largest error of a state in a round trip, in units of the largest register of the run; and u κ."""
    plan, backend = solver.plan(grid), get_backend("numpy")
    undone = de.invert(plan)
    x = float(grid.sigma[0]) * np.random.default_rng(0).standard_normal((5, model.data.means.shape[1]))
    made = [row.out for row in plan.rows if isinstance(row, Combine)]
    ahead = execute(backend, plan, model, [x], None, (*plan.inputs, *made, *undone.inputs))
    back = execute(backend, undone, model, [ahead[name] for name in undone.inputs], None, undone.states)
    largest = max(float(np.max(np.abs(ahead[name]))) for name in (*plan.inputs, *made))
    error = max(float(np.max(np.abs(ahead[name] - back[name]))) for name in plan.states)
    return error / largest, U * condition(undone)


# --- the law ------------------------------------------------------------------------------------------------


@every_reversible
@settings(max_examples=settings().max_examples // 3)
@given(st.data())
def test_a_round_trip_errs_by_rounding_times_the_condition(solver: Solver, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 12)))
    model = data.draw(mixtures()).denoiser(process)
    error, bound = round_trip(with_options(solver, data), grid, model)
    assert error <= 100 * bound


@every_reversible
def test_over_a_hundred_steps(solver: Solver) -> None:
    process = de.VP()
    model = de.GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, 1.0]], [0.3, 0.5]).denoiser(process)
    error, bound = round_trip(solver, de.grids.uniform_lambda(process, 100), model)
    assert error <= 100 * bound
    assert (error < 1e-11) == (solver.name != "bdia_half")


def test_a_rule_that_is_not_reversible_would_fail_the_law() -> None:
    """DDIM there and back again, judged like a round trip through two states."""
    process = de.VP()
    grid, model = de.grids.uniform_lambda(process, 10), de.Gaussian(0.3, 0.5).denoiser(process)
    x = np.ones((1, 1))
    clean = de.sample(model, "ddim", grid, x).x
    error = float(np.max(np.abs(de.sample(model, "ddim_inversion", grid.reversed(), clean).x - x)))
    assert error > 1e6 * round_trip(de.get_solver("o_belm"), grid, model)[1]


def test_bdia_at_one_half_loses_everything() -> None:
    """Its inverse step weighs by 1/γ = 2: after 100 of them rounding is 10^13 times as large as the states."""
    process = de.VP()
    model = de.Gaussian(0.3, 0.5).denoiser(process)
    error, bound = round_trip(de.get_solver("bdia_half"), de.grids.uniform_lambda(process, 100), model)
    assert 1e12 < error < 100 * bound


@pytest.mark.parametrize("gamma", [0.3, 0.5, 0.9])
def test_the_condition_of_bdia_grows_as_its_parasitic_root(gamma: float) -> None:
    """On small steps one more step back multiplies κ by 1/γ."""
    process = de.EDM()

    def kappa(steps: int) -> float:
        grid = de.TimeGrid(process, lam=[1e-6 * k for k in range(steps + 1)])
        return condition(de.invert(de.compile("bdia", process, grid, gamma=gamma)))

    assert kappa(61) / kappa(60) == pytest.approx(1 / gamma, rel=1e-3)


# --- the inverted plan --------------------------------------------------------------------------------------


def test_what_does_not_claim_it_is_not_reversible() -> None:
    for solver in OTHERS:
        with pytest.raises(de.PlanError, match=r"cannot be undone: register .* is lost"):
            de.invert(PLANS[solver.name])


def test_refusals_name_the_register() -> None:
    with pytest.raises(de.PlanError, match=r"ddim cannot be undone: register x3 is lost .x4 holds it together with d3"):
        de.invert(PLANS["ddim"])
    with pytest.raises(de.PlanError, match="ddpm draws noise"):
        de.invert(PLANS["ddpm"])
    with pytest.raises(de.PlanError, match=r"bdia.gamma=0.0. cannot be undone"):
        de.invert(de.get_solver("bdia(gamma=0.0)").plan(de.grids.uniform_lambda(de.EDM(), 3)))


@given(st.data())
def test_o_belm_is_undone_by_o_belm_on_the_reversed_grid(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 8)))
    undone = de.invert(de.compile("o_belm", process, grid))
    again = de.compile("o_belm", process, grid.reversed())
    rows = [{row.out: row for row in plan.rows if isinstance(row, Combine)} for plan in (undone, again)]
    for back, on in zip(undone.states[2:], again.states[2:], strict=True):
        one, two = (sorted(c for c, _ in rows[k][name].terms) for k, name in enumerate((back, on)))
        assert one == pytest.approx(two, rel=1e-9)


@every_reversible
def test_undoing_asks_no_more_often_than_the_run(solver: Solver) -> None:
    plan = PLANS[solver.name]
    undone = de.invert(plan)
    asked = [{row.out for row in p.rows if isinstance(row, Evaluate)} for p in (undone, plan)]
    assert asked[0] <= asked[1]
    assert undone.states == plan.states[::-1]
    assert undone.levels == plan.levels[::-1]


@pytest.mark.parametrize("name", ["edict", "bdia", "bdia_edm", "o_belm"])
def test_runs_that_end_without_noise_are_undone(name: str) -> None:
    process = de.VP()
    grid = de.grids.uniform_lambda(process, 6, final="zero")
    model = de.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.4, 0.4]).denoiser(process)
    x = np.array([[0.7], [-1.2]])
    back = de.undo(model, de.sample(model, name, grid, x))
    assert np.max(np.abs(back.x - x)) <= 100 * U * condition(back.plan)


def test_on_torch() -> None:
    torch = pytest.importorskip("torch")
    process = de.VP()
    model, grid = de.Gaussian(0.2, 0.7).denoiser(process), de.grids.uniform_lambda(process, 8)
    x = torch.ones((2, 1), dtype=torch.float64)
    back = de.undo(model, de.sample(model, "reversible_heun", grid, x, backend="torch"), backend="torch")
    assert float((back.x - x).abs().max()) < 1e-12


def test_a_run_with_two_given_streams_gives_both_back() -> None:
    """An image has one state; inverted from it twice, the two streams that led to it are told apart."""
    process = de.EDM()
    grid, model = de.grids.karras(process, 5, end=0.1, start=5.0), de.Gaussian(0.0, 1.0).denoiser(process)
    first = de.sample(model, "edict", grid, np.ones((1, 1)), open_end=True)
    more = de.TimeGrid(process, rho=[0.1, 0.05])
    plan = de.invert(de.compile("edict", process, more, memory=first.memory))
    left = [np.full((1, 1), value) for value in (0.4, 0.5)]
    run = execute(get_backend("numpy"), plan, model, left)
    x, y = run[plan.states[-1]], run[plan.memory.registers()[0]]
    memory = type(first.memory)(first.memory.memory, (y,))
    out = de.sample(model, "edict", more, x, memory=memory)
    assert np.allclose([out.x, *out.memory.values], left, rtol=1e-13)
