"""Fitted coefficients: tables that are plans, fits that go back to their start, files, interrupts, misuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.convergence import quantile_flow
from diffode.analysis.moments import amplification
from diffode.analysis.order.proof import prove_order
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError, PlanError, SolverError
from diffode.fitting import outcome
from diffode.fitting.bespoke import bespoke_steps
from diffode.fitting.canonical import Canonical
from diffode.fitting.coefficients import refined
from diffode.fitting.fit import fit
from diffode.fitting.grids import flat, target_of
from diffode.fitting.keeping import Keeper
from diffode.fitting.outcome import Fit
from diffode.fitting.schedules import CHOICES, forecast
from diffode.plan import Evaluate, Plan
from diffode.process import Process
from diffode.solvers import Solver, register, registry
from diffode.solvers.tables import CoefficientTable
from tests.strategies import EXAMPLES, grids, mixtures, processes

QUICK: dict[str, dict[str, Any]] = {
    "olss": dict(substeps=4),
    "bns": dict(iterations=2),
    "s4s": dict(iterations=2, alternate=1),
    "bespoke": dict(iterations=2),
    "amed": dict(iterations=2, substeps=4),
    "usf": dict(runs=8, first=6, batch=2, children=8),
    "dc": dict(substeps=8),
}
"""Options with which each method takes little time."""

each_method = pytest.mark.parametrize("method", QUICK)
some_processes = pytest.mark.parametrize("name", ["vp", "edm", "flow", "vp_zero_snr", "mean_reverting"])


def fitted(method: str, target: Any = "mixture_2d", nfe: int = 4, **options: Any) -> Fit:
    return fit(target, nfe, "coefficients", **{"method": method, "samples": 24, **QUICK[method], **options})


def final(plan: Plan, model: Any, x: np.ndarray, backend: str = "numpy") -> np.ndarray:
    arrays = get_backend(backend)
    run = execute(arrays, plan, model, [arrays.array(x)], 5, plan.states)
    return flat(run[plan.states[-1]])


def bound(plan: Plan, model: Any, x: np.ndarray) -> float:
    """What rounding may do: 1e-12 of the largest register, amplified."""
    run = execute(get_backend("numpy"), plan, model, [x], 5, [row.out for row in plan.rows])
    return 1e-12 * amplification(plan) * max(float(np.max(np.abs(value))) for value in run.registers.values())


def read(table: CoefficientTable) -> CoefficientTable:
    return CoefficientTable.from_dict(json.loads(json.dumps(table.as_dict(), allow_nan=False)))


# --- tables ---------------------------------------------------------------------------------------------------


PROBE = de.grids.uniform_lambda(de.EDM(), 3)


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


# --- what all fits share --------------------------------------------------------------------------------------


@each_method
@some_processes
def test_fits_are_no_worse_than_their_start_where_they_were_made(method: str, name: str) -> None:
    """On every kind of process, singular starts and anchors among them; the held-out error is what a run measures."""
    process = EXAMPLES[name]
    mu = np.array([0.3, -0.2]) if process.anchored else None
    problem = de.problems.get_problem("mixture_2d", process, mu=mu)
    found = fitted(method, problem)
    train, held_out = found.provenance["train"], found.provenance["held_out"]
    assert train["after"] <= train["before"]
    assert found.solver.plan(found.grid).nfe == 4
    target = target_of(problem, samples=24)
    assert held_out["after"] == target.error(found.solver, found.grid, held_out=True) == found.after
    assert train["after"] == target.error(found.solver, found.grid)
    start = de.get_solver(found.provenance["start"])
    assert train["before"] == pytest.approx(
        target.error(start, target.grid("uniform_lambda", 2 if method in ("amed", "bespoke") else 4))
    )


@each_method
def test_fits_bring_the_error_down_on_states_held_out(method: str) -> None:
    enough = {"s4s": dict(iterations=6), "bns": dict(iterations=6), "usf": dict(runs=32), "bespoke": dict(iterations=5)}
    found = fitted(method, nfe=6, samples=64, **enough.get(method, {}))
    assert found.after < 0.9 * found.before


@each_method
def test_files_bring_back_the_solver_and_the_grid(method: str, tmp_path: Path) -> None:
    found, path = fitted(method), tmp_path / "fit.json"
    found.save(path)
    process = found.grid.process
    again = outcome.load(path, process)
    assert again.to_json() == found.to_json()
    assert again.solver.plan(again.grid) == found.solver.plan(found.grid)
    by_name = de.get_solver(str(path))
    assert by_name.plan(de.grids.load(path, process)) == found.solver.plan(found.grid)
    assert de.get_solver(by_name) is by_name
    facts = json.loads(path.read_text())["provenance"]
    assert {"method", "problem", "process", "nfe", "seed", "version", "train", "held_out", "start"} <= set(facts)


@each_method
def test_the_same_seed_gives_the_same_fit(method: str) -> None:
    one, two, other = (fitted(method, seed=seed).to_json() for seed in (3, 3, 4))
    assert one == two != other


def test_a_fit_is_a_name_of_the_registry_once_it_is_registered() -> None:
    found = fitted("olss", name="mine_4")
    try:
        made = register(found)
        assert de.get_solver("mine_4") is made
        assert "mine_4" in de.list_solvers()
        model, x = de.problems.get_problem("mixture_2d").model, 20.0 * np.ones((1, 2))
        assert de.sample(model, "mine_4", found.grid, x).nfe == 4
        with pytest.raises(SolverError, match="the name 'mine_4' is taken"):
            register(found)
    finally:
        registry().pop("mine_4", None)
    with pytest.raises(SolverError, match="the name 'ddim' is taken"):
        register(found, "ddim")
    with pytest.raises(SolverError, match="needs a solver or a fit"):
        register(3)


@pytest.mark.parametrize("method", ["bns", "s4s", "bespoke", "amed", "usf"])
def test_an_interrupted_fit_keeps_its_best_and_goes_on_from_it(method: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    losses: list[float] = []

    def stop(done: int, total: int, loss: float) -> None:
        assert 0 < done <= total
        losses.append(loss)
        if len(losses) == 7:
            raise KeyboardInterrupt

    broken = fitted(method, progress=stop, checkpoint=path)
    assert broken.provenance["interrupted"]
    assert broken.provenance["train"]["after"] <= broken.provenance["train"]["before"]
    kept = json.loads(path.read_text())["loss"]
    assert kept == min(losses)
    losses.clear()
    resumed = fitted(method, progress=lambda done, total, loss: losses.append(loss), checkpoint=path)
    assert losses[0] <= kept
    assert resumed.provenance["train"]["after"] <= broken.provenance["train"]["after"]
    with pytest.raises(DiffodeError, match="is not a checkpoint of this fit"):
        fitted(method, seed=1, checkpoint=path)


def test_a_keeper_without_a_candidate_lets_the_interrupt_through() -> None:
    with pytest.raises(KeyboardInterrupt), Keeper({}, 1):
        raise KeyboardInterrupt


def test_a_network_of_torch_is_fitted() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchdiffeq")
    problem = de.problems.get_problem("mixture_1d")
    model = de.Denoiser(lambda x, t: problem.model(x, t), problem.process, prediction="x0")
    assert problem.model.prediction == "x0"
    x_T = torch.as_tensor(problem.initial(32, 0))
    found = fitted("olss", model, x_T=x_T, forcing="student")
    assert found.after < found.before
    assert tuple(de.sample(model, found.solver, found.grid, x_T, backend="torch").x.shape) == (32, 1)


def test_a_spectrum_is_fitted() -> None:
    found = fitted("bns", "power:2", process=de.EDM(0.02, 20.0), iterations=6)
    assert found.provenance["train"]["after"] < found.provenance["train"]["before"] / 2


# --- the canonical form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("forcing", ["teacher", "student"])
@pytest.mark.parametrize("teacher", ["dpmpp_2m", "dpmpp_3m_corrected", "dpm_solver_2m"])
def test_olss_finds_a_teacher_of_as_many_steps(teacher: str, forcing: str) -> None:
    """Its states at every level, from states that it has not seen too; teacher and start are not alike."""
    found = fitted("olss", nfe=6, start="ddim", teacher=teacher, substeps=1, forcing=forcing, samples=64)
    assert not found.provenance["start_kept"]
    target = target_of("mixture_2d", samples=64)
    x = np.asarray(target.held_out)
    mine, theirs = (
        de.sample(target.model, rule, found.grid, x).trajectory for rule in (found.solver, de.get_solver(teacher))
    )
    for one, two in zip(mine, theirs, strict=True):
        assert np.max(np.abs(one - two)) < 1e-6 * np.max(np.abs(two))


def test_a_ridge_draws_to_the_start() -> None:
    target = target_of("mixture_2d", samples=24)
    grid = target.grid("uniform_lambda", 4)
    start = Canonical.of(de.get_solver("dpmpp_2m"), grid).table()
    far, near = (fitted("olss", ridge=ridge) for ridge in (0.0, 1e9))

    def gap(found: Fit) -> float:
        plans = [rule.plan(grid) for rule in (found.solver, start.solver("start"))]
        ends = [final(plan, target.model, np.asarray(target.train)) for plan in plans]
        return float(np.max(np.abs(ends[0] - ends[1])))

    assert gap(near) < 1e-6 < gap(far)


@given(st.data())
def test_the_canonical_form_of_a_solver_is_the_solver(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    solver = de.get_solver(data.draw(st.sampled_from(["ddim", "dpmpp_2m", "unipc_2", "unipc_3", "dpm_solver_3m"])))
    plan, form = solver.plan(grid), Canonical.of(solver, grid)
    assert form.corrected == solver.name.startswith("unipc")
    again = form.table().solver("again").plan(grid)
    assert np.max(np.abs(final(plan, model, x) - final(again, model, x))) <= bound(plan, model, x)


def test_a_start_that_evaluates_between_levels_is_refused() -> None:
    with pytest.raises(SolverError, match="dpm_solver_2 does not evaluate once at each level; begin at one that does"):
        Canonical.of(de.get_solver("dpm_solver_2"), PROBE)


# --- Bespoke --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stages", "parent"), [(1, "euler_t"), (2, "runge_kutta(tableau='midpoint', variable='t')")])
@given(st.data())
def test_bespoke_steps_begin_at_their_parent(stages: int, parent: str, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(1, 5)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    fine = in_t(grid) if stages == 2 else grid
    mine = bespoke_steps(fine, stages, np.zeros((3, stages * grid.steps))).plan(grid)
    plan = de.get_solver(parent).plan(grid)
    assert np.max(np.abs(final(plan, model, x) - final(mine, model, x))) <= bound(plan, model, x)


def in_t(grid: de.TimeGrid) -> de.TimeGrid:
    middles = [grid.process.level(t=(a.t + b.t) / 2) for a, b in zip(grid.levels[:-1], grid.levels[1:], strict=True)]
    inner = [level for pair in zip(grid.levels[:-1], middles, strict=True) for level in pair]
    return de.TimeGrid(grid.process, levels=[*inner, grid[-1]])


@pytest.mark.parametrize("stages", [1, 2])
def test_smooth_scale_and_time_keep_the_order_of_the_parent(stages: int) -> None:
    """s(r) = e^{0.4 sin 3r}, t(r) with a rate that varies fourfold: neither more nor less than the parent's order."""
    problem = de.problems.get_problem("mixture_1d")
    process: Process = problem.process
    begin, end = (process.level(lam=lam).t for lam in (-1.5, 1.5))
    quantiles = (np.arange(16) + 0.5) / 16
    errors: list[float] = []
    for steps in (40, 80, 160):
        r = np.arange(steps * stages + 1) / (steps * stages)
        shape, rate = r + 0.3 * np.sin(np.pi * r) * 2 / np.pi, 1 + 0.6 * np.cos(np.pi * r)
        fine = de.TimeGrid(process, t=(begin + shape * (end - begin)).tolist())
        s, growth = 0.4 * np.sin(3 * r), 1.2 * np.cos(3 * r)
        tau = rate * (end - begin) / steps
        outer = fine.t[::stages]
        parent = (
            np.diff(outer) if stages == 1 else np.stack([2 * (fine.t[1::2] - outer[:-1]), np.diff(outer)], 1).ravel()
        )
        numbers = np.stack([np.log(tau[:-1] / parent), np.diff(s), growth[:-1] / steps])
        grid = de.TimeGrid(process, levels=fine.levels[::stages])
        exact = quantile_flow(process, [grid[0], grid[-1]], quantiles)
        x = final(bespoke_steps(fine, stages, numbers).plan(grid), problem.model, exact[0])
        errors.append(float(np.sqrt(np.mean((x - exact[1]) ** 2))))
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(slopes - stages) < 0.25), slopes


# --- AMED -----------------------------------------------------------------------------------------------------


@given(st.data())
def test_the_plugin_is_its_base_on_the_split_grid(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(1, 4)))
    share = data.draw(st.floats(0.1, 0.9))
    base = de.get_solver(data.draw(st.sampled_from(["ddim", "dpmpp_2m", "unipc_2", "ipndm_v_3", "heunpp2", "ddpm"])))
    levels = [
        level
        for a, b in zip(grid.levels[:-1], grid.levels[1:], strict=True)
        for level in (a, process.level(lam=a.lam + share * (b.lam - a.lam)))
    ]
    split = base.plan(de.TimeGrid(process, levels=[*levels, grid[-1]]))
    plugin = de.get_solver("amed_plugin").configure(base=base, r=share).plan(grid)
    each = de.get_solver("amed_plugin").configure(base=base, r=(share,) * grid.steps).plan(grid)
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 2))
    assert plugin.nfe == split.nfe
    for plan in (plugin, each):
        assert np.max(np.abs(final(plan, model, x) - final(split, model, x))) <= bound(split, model, x)


@given(st.floats(0.1, 0.9), st.floats(0.8, 1.2), st.floats(0.8, 1.2), mixtures(dimension=2))
def test_amed_is_what_the_official_code_does(r: float, c: float, a: float, data: de.GaussianMixture) -> None:
    """solvers_amed.py, line by line, in σ."""
    process = de.EDM()
    model, sigmas = data.denoiser(process), [40.0, 3.0, 0.2]
    x = start = 40.0 * np.random.default_rng(3).standard_normal((4, 2))
    for t_cur, t_next in pairwise(sigmas):
        t_mid = t_next**r * t_cur ** (1 - r)
        x_mid = x + (t_mid - t_cur) * (x - model(x, t_cur)) / t_cur
        x = x + c * (t_next - t_cur) * (x_mid - model(x_mid, a * t_mid)) / t_mid
    rule = de.get_solver("amed").configure(r=r, c=c, a=a)
    found = de.sample(model, rule, de.TimeGrid(process, sigma=sigmas), start).x
    assert np.max(np.abs(found - x)) < 1e-9


def test_numbers_of_amed_belong_to_steps() -> None:
    amed = de.get_solver("amed")
    fit_to_three = amed.configure(r=(0.4, 0.5, 0.6), c=(1.0, 1.1, 0.9), a=0.95)
    plan = fit_to_three.plan(PROBE)
    assert fit_to_three.order == 0
    told = [row.at.rho / row.level.rho for row in plan.rows if isinstance(row, Evaluate) and row.at is not None]
    assert told == pytest.approx([0.95] * 3)
    with pytest.raises(SolverError, match="r holds 3 numbers, one for each step, but the grid has 4 steps; fit it"):
        fit_to_three.plan(de.grids.uniform_lambda(de.EDM(), 4))
    for name, value in (("r", 1.5), ("r", 0.0), ("c", -1.0), ("a", "x")):
        with pytest.raises(SolverError, match=f"{name} must be a positive number"):
            amed.configure(**{name: value}).plan(PROBE)


# --- USF ------------------------------------------------------------------------------------------------------


def choices() -> Any:
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()})


@settings(max_examples=12)
@given(choices())
def test_the_order_of_a_choice_is_proved(choice: dict[str, Any]) -> None:
    rule = de.get_solver("usf").configure(schedule=(choice,))
    proof = prove_order(rule)
    assert proof.order == rule.order, choice


@given(st.data())
def test_a_first_step_of_order_one_has_no_prediction(data: st.DataObject) -> None:
    """Values that were taken in one prediction serve steps of the other."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    later = {
        "prediction": "eps",
        "order": data.draw(st.integers(1, 4)),
        "corrector": data.draw(st.sampled_from([None, "pec"])),
    }
    usf = de.get_solver("usf")
    plans = [usf.configure(schedule=({"order": 1, "prediction": p}, later)).plan(grid) for p in ("x0", "eps")]
    mixed, plain = (final(plan, model, x) for plan in plans)
    assert np.max(np.abs(mixed - plain)) <= sum(bound(plan, model, x) for plan in plans)
    assert len({row.prediction for row in plans[0].rows if isinstance(row, Evaluate)}) == 1


RELAXED: dict[str | float, Callable[[float], float]] = {
    "bh1": lambda h: h * h / 2 / (np.expm1(h) - h),
    "bh2": lambda h: h * np.expm1(h) / 2 / (np.expm1(h) - h),
    "plus": lambda h: 1 + np.expm1(h) / 2,
    "minus": lambda h: 1 - np.expm1(h) / 2,
    1 / 6: lambda h: 1 + h / 6,
}
"""What the official code multiplies f′ by, with −h in place of h for data prediction."""


@pytest.mark.parametrize("prediction", ["eps", "x0"])
@pytest.mark.parametrize("relaxation", RELAXED)
@given(st.floats(0.05, 2.0), st.floats(0.05, 2.0))
def test_relaxations_are_those_of_the_official_code(
    relaxation: str | float, prediction: str, before: float, h: float
) -> None:
    """The older value has no other weight than that of the first derivative."""
    grid = de.TimeGrid(de.EDM(), lam=[-1.0 - before, -1.0, -1.0 + h])
    steps = [({"prediction": prediction, "relaxation": w},) for w in (relaxation, None)]
    tables = [CoefficientTable.of(de.get_solver("usf").configure(schedule=s).plan(grid)) for s in steps]
    first = [dict(table.steps[0].weights) for table in tables]
    last = [dict(table.steps[1].weights) for table in tables]
    ratio = last[0]["x_T"] / first[0]["x_T"]
    relaxed, plain = (row["d0"] - ratio * one["d0"] for row, one in zip(last, first, strict=True))
    z = h if prediction == "eps" else -h
    assert relaxed == pytest.approx(RELAXED[relaxation](z) * plain, rel=1e-8)


@pytest.mark.parametrize("corrector", [None, "pec", "pece"])
def test_correctors_cost_what_they_say(corrector: str | None) -> None:
    plan = de.get_solver("usf").configure(schedule=({"order": 2, "corrector": corrector},)).plan(PROBE)
    assert plan.nfe == {None: 3, "pec": 3, "pece": 5}[corrector]


@given(st.integers(0, 2**32 - 1))
def test_a_forecast_of_what_is_known_is_what_is_known(seed: int) -> None:
    generator = np.random.default_rng(seed)
    known = np.unique(generator.integers(0, 4, (12, 6)), axis=0)
    values = generator.standard_normal(len(known))
    assert np.allclose(forecast(known, values, known, length=2.0, noise=0.0), values, atol=1e-9)


# --- misuse ---------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "method": (lambda: fit("mixture_2d", 4, method="ols"), "no method named 'ols'; did you mean 'olss'?"),
    "nfe": (lambda: fit("mixture_2d", 0), "nfe must be a whole number of at least 1, not 0"),
    "odd": (lambda: fitted("amed", nfe=5), "each step takes 2 evaluations, so nfe must be a multiple, not 5"),
    "noise": (lambda: fitted("olss", start="ddpm"), "ddpm draws noise; begin at a deterministic solver"),
    "forcing": (lambda: fitted("olss", forcing="both"), "forcing is 'teacher' or 'student', not 'both'"),
    "ridge": (lambda: fitted("olss", ridge=-1.0), "ridge must not be negative, as -1.0 is"),
    "substeps": (lambda: fitted("olss", substeps=0), "substeps must be a whole number of at least 1, not 0"),
    "history": (lambda: fitted("s4s", history=0), "history must be a whole number of at least 1, not 0"),
    "prediction": (lambda: fitted("s4s", prediction="v"), "prediction must be 'x0' or 'eps', not 'v'"),
    "stages": (lambda: fitted("bespoke", stages=3), "stages is 1 or 2, not 3"),
    "base": (lambda: fitted("amed", base="heun"), "heun evaluates more than once a step"),
    "first": (lambda: fitted("usf", first=1), "first must be a whole number of at least 4, not 1"),
    "file": (lambda: de.get_solver("none.json"), "none.json: no such file"),
    "schedule": (lambda: de.get_solver("usf(schedule=())"), "a sequence with a mapping for each step"),
    "choice": (lambda: de.get_solver("usf(schedule=({'orders': 2},))"), "a mapping of prediction, order, difference"),
    "order": (
        lambda: de.get_solver("usf(schedule=({'order': 7},))"),
        "order must be a whole number from 1 to 6, not 7",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what: str) -> None:
    call, words = WRONG[what]
    with pytest.raises(DiffodeError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "diffode-fit/1"}', '{"format": "diffode-grid/1", "lam": [0, 1]}']
)
def test_files_that_hold_no_fit_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(SolverError, match=r"holds no fit; write one with fit\.save"):
        de.get_solver(str(path))


def test_a_damaged_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    content = json.loads(fitted("olss").to_json())
    for damage in ({"table": {"lam": [0.0]}}, {"table": 3}):
        path.write_text(json.dumps({**content, **damage}))
        with pytest.raises(SolverError, match="the fit is damaged"):
            de.get_solver(str(path))


def test_levels_between_levels_are_equally_far_apart() -> None:
    fine = refined(PROBE, 4)
    assert np.allclose(np.diff(fine.lam), np.diff(PROBE.lam).repeat(4) / 4)
    assert np.array_equal(fine.lam[::4], PROBE.lam)


def test_a_plugin_on_a_base_comes_back_from_its_file(tmp_path: Path) -> None:
    found, path = fitted("amed", base="dpmpp_2m"), tmp_path / "plugin.json"
    found.save(path)
    again = de.get_solver(str(path))
    assert again.options["base"] == "dpmpp_2m"
    assert again.plan(found.grid) == found.solver.plan(found.grid)
    assert found.provenance["start"] == "amed_plugin(base='dpmpp_2m')"
