"""Coefficient tables: those of plans run like the plans, come back from files, and belong to one grid."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.errors import PlanError, SolverError
from diffode.plan import Evaluate
from diffode.solvers import Solver, registry
from diffode.solvers.tables import CoefficientTable
from tests.fits import PROBE, bound, final
from tests.strategies import grids, mixtures, processes


def read(table: CoefficientTable) -> CoefficientTable:
    return CoefficientTable.from_dict(json.loads(json.dumps(table.as_dict(), allow_nan=False)))


@cache
def linear() -> list[Solver]:
    """The registered solvers whose plans are linear."""
    return [solver for solver in registry().values() if solver.plan(PROBE).is_linear]


@settings(max_examples=60)
@given(st.data())
def test_the_table_of_a_plan_runs_like_the_plan(data: st.DataObject) -> None:
    """Every solver, noise drawn from a seed included, on every process, singular ends included."""
    solver = data.draw(st.sampled_from(linear()))
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6), singular=True))
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 2))
    plan = solver.plan(grid)
    if any(isinstance(row, Evaluate) and (row.output or row.to) for row in plan.rows):
        return  # branches and maps are refused; see below
    table = CoefficientTable.of(plan)
    again = table.solver("again").plan(grid)
    assert (again.nfe, len(again.noises)) == (plan.nfe, len(plan.noises))
    assert np.max(np.abs(final(plan, model, x) - final(again, model, x))) <= bound(plan, model, x)
    assert read(table) == table


@given(st.data())
def test_tables_come_back_bit_for_bit_and_run_on_both_backends(data: st.DataObject) -> None:
    pytest.importorskip("torch")
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 2))
    names = ["dpmpp_2m", "unipc_3", "dpm_solver_3", "heun"]
    table = CoefficientTable.of(de.get_solver(data.draw(st.sampled_from(names))).plan(grid))
    plan, back = table.solver("one").plan(grid), read(table).solver("one").plan(grid)
    assert plan == back
    assert np.array_equal(final(plan, model, x), final(back, model, x))
    assert np.max(np.abs(final(plan, model, x) - final(plan, model, x, "torch"))) <= bound(plan, model, x)


@given(st.data())
def test_a_table_in_another_prediction_is_the_same_solver(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 5)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    plan = de.get_solver(data.draw(st.sampled_from(["dpmpp_2m", "unipc_2"]))).plan(grid)
    other = CoefficientTable.of(plan, "eps").solver("other").plan(grid)
    assert {row.prediction for row in other.rows if isinstance(row, Evaluate)} == {"eps"}
    assert np.max(np.abs(final(plan, model, x) - final(other, model, x))) <= bound(plan, model, x) + bound(
        other, model, x
    )


@pytest.mark.parametrize("steps", [3, 5])
def test_a_table_is_refused_on_another_grid(steps: int) -> None:
    grid = de.grids.uniform_lambda(de.EDM(), 4)
    rule = CoefficientTable.of(de.compile("ddim", de.EDM(), grid)).solver("mine")
    remedy = r"mine: the table belongs to a grid of 4 steps, .* \(fit\.grid, or"
    with pytest.raises(SolverError, match=remedy):
        rule.plan(de.grids.uniform_lambda(de.EDM(), steps))
    with pytest.raises(SolverError, match=remedy):
        rule.plan(de.grids.karras(de.EDM(), 4))
    with pytest.raises(SolverError, match=remedy):
        rule.plan(de.TimeGrid(de.EDM(), t=np.stack([grid.t, grid.t], axis=1)[:, :, None]))
    assert rule.plan(de.TimeGrid(de.EDM(), sigma=grid.sigma.tolist())).nfe == 4


def test_what_a_table_cannot_hold_is_named() -> None:
    grid = de.grids.uniform_lambda(de.EDM(), 3)
    with pytest.raises(PlanError, match=r"needs one state to start from \(3 are given\)"):
        CoefficientTable.of(de.get_solver("dpmpp_2m").plan(grid, exact_past=2))
    many = de.TimeGrid(de.EDM(), t=np.stack([grid.t, grid.t], axis=1)[:, :, None])
    with pytest.raises(PlanError, match="levels that are single numbers"):
        CoefficientTable.of(de.get_solver("ddim").plan(many))


def test_a_table_claims_no_order_and_verify_says_so() -> None:
    rule = CoefficientTable.of(de.compile("ddim", de.EDM(), PROBE)).solver("mine")
    assert rule.order == 0
    assert "claims no order" in repr(rule)
    with pytest.raises(SolverError, match=r"mine claims no order.*nothing to verify"):
        de.verify(rule)
    with pytest.raises(SolverError, match="order must be a positive number, not 0"):
        de.solver(order=0, prediction="x0")(lambda step: step.x)
