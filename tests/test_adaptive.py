"""Controllers: laws of the realised plan, of errors and tolerances, and of what a step that is taken back leaves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.adaptive import (
    FILTERS,
    Controller,
    digital_filter,
    dpm_solver_adaptive,
    fixed_steps,
    k_diffusion_adaptive,
    pairs,
    sample_adaptive,
)
from diffode.analysis.moments import amplification
from diffode.backends import execute, get_backend
from diffode.errors import UnusedNoise
from diffode.plan import BrownianIncrement, Evaluate, Linear, Normal
from diffode.trace import Step
from tests.strategies import grids, mixtures, processes

ONE_STEP = ("dpm_solver_2", "dpm_solver_3", "dpmpp_2s", "res_3s", "heun", "bogacki_shampine3", "dormand_prince5")
NOISY = ("dpm2_ancestral", "dpmpp_2s_ancestral")
few = settings(max_examples=settings().max_examples // 2)

PROCESS = de.VP()
MIXTURE = de.GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.3, 0.4])
MODEL = MIXTURE.denoiser(PROCESS)
X = np.random.default_rng(0).standard_normal((6, 2))


def controllers() -> Any:
    named = st.sampled_from([digital_filter(name) for name in FILTERS])
    return st.one_of(named, st.sampled_from([dpm_solver_adaptive(), k_diffusion_adaptive(0.2, 0.6, 0.1)]))


class Counting(de.Model):
    """A model that notes the shape and the levels of every call."""

    def __init__(self, model: de.Model) -> None:
        self.model, self.process, self.prediction = model, model.process, model.prediction
        self.calls: list[tuple[tuple[int, ...], Any]] = []

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        self.calls.append((x.shape, level.t))
        return self.model.native(x, level, output, to)


# --- the realised plan ------------------------------------------------------------------------------------


@few
@given(st.data())
def test_the_realised_plan_gives_the_run_again_bit_for_bit(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    mu = np.full((1, 1), 0.3) if process.anchored else None
    model = data.draw(mixtures(dimension=2)).denoiser(process, mu)
    name = data.draw(st.sampled_from(ONE_STEP + NOISY))
    control, tolerance = data.draw(controllers()), data.draw(st.sampled_from([0.1, 0.01]))
    x = float(process.sigma(process.t_far)) * np.random.default_rng(1).standard_normal((3, 2))
    noise = 5 if name in NOISY else None
    tries: list[Any] = []
    out = sample_adaptive(
        model, name, x, rtol=tolerance, atol=tolerance, controller=control, noise=noise, mu=mu,
        on_step=lambda attempt: tries.append(attempt) or len(tries) >= 60,
    )  # fmt: skip
    run = out.runs[0]
    if mu is None:
        assert np.array_equal(run.replay(model, x), out.x)
    assert de.Plan.from_json(out.plan.to_json()) == out.plan
    assert run.grid.steps + run.rejected == len(run.attempts)
    assert out.calls == out.nfe == sum(isinstance(row, Evaluate) for row in out.plan)


@pytest.mark.parametrize("name", ["dpm_solver_3", "dpmpp_2s", "heun", "bogacki_shampine3", "dormand_prince5"])
@given(st.data())
@few
def test_fixed_steps_are_the_run_on_the_grid(name: str, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True).filter(lambda p: not p.anchored))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.linspace(-2, 2, 3)[:, None]
    out = sample_adaptive(model, name, x, start=grid[0], end=grid[-1], controller=fixed_steps(grid))
    assert np.array_equal(out.x, de.sample(model, name, grid, x).x)
    assert out.runs[0].rejected == 0
    further = name in ("bogacki_shampine3", "dormand_prince5")  # one evaluation, at the end, for the embedded result
    assert out.nfe == de.compile(name, process, grid).nfe - further * (grid.steps - 1) + further * grid.steps


@pytest.mark.parametrize("name", ONE_STEP)
def test_what_is_rejected_counts_and_is_read_by_nothing(name: str) -> None:
    counting = Counting(MODEL)
    out = sample_adaptive(counting, name, X, rtol=1e-3, atol=1e-3, controller=replace(digital_filter("I"), first=3.0))
    assert out.runs[0].rejected > 0
    assert len(counting.calls) == out.nfe == sum(a.evaluations for a in out.runs[0].attempts)
    flagged = {row.out for row in out.plan if isinstance(row, Evaluate) and row.rejected}
    assert flagged
    spoiled = Spoiled(MODEL, flagged)
    inputs = execute(get_backend("numpy"), out.plan, spoiled.started(out.plan), [X])
    assert np.array_equal(inputs[out.plan.states[-1]], out.x)
    assert "rejected" in str(out.plan)


class Spoiled(de.Model):
    """Answers 7 where a plan asks for one of some registers."""

    def __init__(self, model: de.Model, registers: set[str]) -> None:
        self.model, self.registers = model, registers
        self.process, self.prediction = model.process, model.prediction

    def started(self, plan: de.Plan) -> Spoiled:
        self.asked = iter([row.out for row in plan if isinstance(row, Evaluate)])
        return self

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        value = self.model.native(x, level, output, to)
        return 0 * value + 7 if next(self.asked) in self.registers else value


@pytest.mark.parametrize("name", ONE_STEP)
def test_what_is_known_is_not_asked_again_and_nothing_else_changes(name: str) -> None:
    control = replace(digital_filter("PI3040"), first=4.0)
    once, again = (
        sample_adaptive(MODEL, name, X, rtol=1e-3, atol=1e-3, controller=replace(control, reuse=reuse))
        for reuse in (True, False)
    )
    assert np.array_equal(once.x, again.x)
    run = again.runs[0]
    first_same = (len(run.attempts) - 1) if name in ("bogacki_shampine3", "dormand_prince5") else run.rejected
    assert 0 < again.nfe - once.nfe == first_same


def test_the_published_code_asks_as_often_as_its_order_says() -> None:
    for order in (2, 3):
        out = sample_adaptive(MODEL, f"dpm_solver_{order}", X, controller=dpm_solver_adaptive())
        assert out.nfe == order * len(out.runs[0].attempts)


# --- errors and tolerances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_STEP)
def test_the_error_is_proportional_to_the_tolerance(name: str) -> None:
    exact = de.reference(MODEL, X, de.TimeGrid(PROCESS, t=[1.0, 1e-3])).x
    tolerances = np.array([1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
    outs = [sample_adaptive(MODEL, name, X, rtol=tol, atol=tol) for tol in tolerances]
    errors = [np.max(np.abs(out.x - exact)) for out in outs]
    assert 0.75 < np.polyfit(np.log(tolerances), np.log(errors), 1)[0] < 1.25
    assert all(a.nfe < b.nfe for a, b in pairwise(outs))


@pytest.mark.parametrize("name", [name for name in pairs() if de.get_solver(name).family not in ("corrected", "churn")])
def test_the_embedded_error_goes_with_the_order(name: str) -> None:
    """E = O(h^k), k being the order of the solver: the embedded result is one order lower, neither more nor less."""

    def error(h: float) -> float:
        start, end = PROCESS.level(lam=-0.5), PROCESS.level(lam=-0.5 + h)
        once = fixed_steps([start, end])
        noise = None if de.get_solver(name).plan(de.TimeGrid(PROCESS, levels=[start, end])).is_deterministic else 1
        run = sample_adaptive(MODEL, name, X, start=start, end=end, controller=once, noise=noise).runs[0]
        return run.attempts[0].error

    slope = np.log2(error(0.1) / error(0.05))
    assert abs(slope - de.get_solver(name).order) < 0.35


# --- samples with steps of their own ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dpm_solver_3", "dormand_prince5"])
def test_a_sample_of_its_own_is_the_sample_alone(name: str) -> None:
    counting = Counting(MODEL)
    out = sample_adaptive(counting, name, X, rtol=1e-4, atol=1e-4, per_sample=True)
    assert len({run.nfe for run in out.runs}) > 1
    assert {shape for shape, _ in counting.calls} == {X.shape}
    assert out.calls == len(counting.calls) == out.nfe
    for i, run in enumerate(out.runs):
        alone = sample_adaptive(MODEL, name, X[i : i + 1], rtol=1e-4, atol=1e-4)
        assert np.max(np.abs(alone.x - out.x[i])) < 1e-10
        assert alone.nfe == run.nfe
        assert np.max(np.abs(run.replay(MODEL, X[i : i + 1]) - out.x[i])) <= 1e-13 * amplification(run.plan)
    with pytest.raises(de.DiffodeError, match="each of the 6 samples has a plan of its own"):
        _ = out.plan


def test_one_hard_sample_costs_all_only_where_they_share_steps() -> None:
    far = np.concatenate([X, [[40.0, -40.0]]])
    shared, own = (
        sample_adaptive(MODEL, "dpm_solver_3", far, rtol=1e-4, atol=1e-5, per_sample=own) for own in (False, True)
    )
    assert all(run.nfe < shared.nfe for run in own.runs[:-1])


# --- noise ------------------------------------------------------------------------------------------------------


def test_a_step_that_is_taken_back_leaves_what_it_saw_of_the_path() -> None:
    control = replace(digital_filter("I"), first=4.0)
    out = sample_adaptive(MODEL, "dpmpp_2s_ancestral", X, controller=control, noise=3)
    increments = [row for row in out.plan if isinstance(row, BrownianIncrement)]
    assert out.runs[0].rejected
    assert len(increments) == len(out.runs[0].attempts)
    taken_back, kept = increments[:2]
    assert (taken_back.out, pytest.approx(abs(_overlap(taken_back, kept)))) == (
        kept.covariances[0][0], kept.covariances[0][1],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["edm_stochastic", "edm_stochastic_dpm2"])
def test_a_step_that_is_taken_back_finds_its_normal_again(name: str) -> None:
    """Noise that is not of the path is of the step: tried anew, it is the same, from a seed and from arrays."""
    control = replace(digital_filter("I"), first=2.0)
    out = sample_adaptive(MODEL, name, X, controller=control, noise=3)
    run, drawn = out.runs[0], [row for row in out.plan if isinstance(row, Normal)]
    assert run.rejected
    assert len({row.key for row in drawn}) == len(drawn) <= run.grid.steps < len(run.attempts)
    assert np.array_equal(run.replay(MODEL, X), out.x)
    values = [get_backend("numpy").normal(3, k, X) for k in range(len(drawn))]
    assert np.array_equal(sample_adaptive(MODEL, name, X, controller=control, noise=values).x, out.x)


def _overlap(a: BrownianIncrement, b: BrownianIncrement) -> float:
    """The covariance of unit increments in the clock e^{2λ} from one level on."""
    clock = [np.exp(2 * level.lam) for level in (a.a, a.b, b.b)]
    return float(np.sqrt((min(clock[1:]) - clock[0]) / (max(clock[1:]) - clock[0])))


def test_seeds_are_explicit() -> None:
    def end(**options: Any) -> Any:
        return sample_adaptive(MODEL, "dpmpp_2s_ancestral", X, **options).x

    assert np.array_equal(end(noise=1), end(noise=1))
    assert not np.array_equal(end(noise=1), end(noise=2))
    each = end(noise=1, per_sample=True)
    assert len(np.unique(np.round(each, 12))) == each.size
    with pytest.raises(de.PlanError, match="draws noise; give noise=seed"):
        end()
    with pytest.warns(UnusedNoise):
        sample_adaptive(MODEL, "heun", X, noise=1)
    with pytest.raises(de.PlanError, match="more noise than the 1 arrays"):
        end(noise=[X])


# --- torch, stops, errors -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "run",
    [
        lambda model, grid, x: de.sample_adaptive(model, "dpm_solver_3", x, backend="torch"),
        lambda model, grid, x: de.sample_picard(model, "ddim", grid, x, backend="torch"),
        lambda model, grid, x: de.sada(model, "ddim", grid, x, backend="torch"),
        lambda model, grid, x: de.reference(model, x, grid, 1e-4),
        lambda model, grid, x: de.compare(["ddim"], model, x_T=x, nfe=[4]),
    ],
    ids=["adaptive", "picard", "sada", "reference", "compare"],
)
def test_numbers_are_read_apart_from_the_graph(run: Any) -> None:
    """A network whose parameters have gradients: no warning wherever a number is read from its outputs."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(1, 1).double()
    model = de.Denoiser(lambda x, t: 0.1 * net(x), PROCESS, prediction="eps")
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        run(model, de.grids.uniform_lambda(PROCESS, 9), torch.ones((2, 1), dtype=torch.float64))
    finally:
        torch.set_warn_always(before)


def test_torch_takes_the_same_steps() -> None:
    torch = pytest.importorskip("torch")
    ours = sample_adaptive(MODEL, "dpm_solver_3", X)
    theirs = sample_adaptive(MODEL, "dpm_solver_3", torch.as_tensor(X), backend="torch", per_sample=False)
    assert np.max(np.abs(theirs.x.numpy() - ours.x)) < 1e-12
    assert theirs.nfe == ours.nfe


def test_from_data_to_noise_and_back() -> None:
    there = sample_adaptive(MODEL, "dormand_prince5", X, start=1e-2, end=1.0, rtol=1e-8, atol=1e-8)
    back = sample_adaptive(MODEL, "dormand_prince5", there.x, start=1.0, end=1e-2, rtol=1e-8, atol=1e-8)
    assert 1e-12 < np.max(np.abs(back.x - X)) < 1e-5


def test_a_callback_sees_every_attempt_and_stops_the_run() -> None:
    seen: list[Any] = []
    whole = sample_adaptive(MODEL, "dpm_solver_3", X, on_step=seen.append)
    assert tuple(seen) == whole.runs[0].attempts
    assert seen[-1].done == 1.0
    out = sample_adaptive(MODEL, "dpm_solver_3", X, on_step=lambda attempt: attempt.done > 0.3)
    run = out.runs[0]
    assert not run.finished
    assert run.attempts == whole.runs[0].attempts[: len(run.attempts)]
    assert np.array_equal(run.replay(MODEL, X), out.x)
    assert "stopped" in repr(run)


class Broken(Counting):
    """Returns NaN from the fifth call on."""

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        value = super().native(x, level, output, to)
        return value * np.nan if len(self.calls) > 4 else value


def test_errors_say_what_and_where() -> None:
    def fails(
        kind: type, match: str, solver: Any = "dpm_solver_3", x: Any = X, model: Any = MODEL, **options: Any
    ) -> None:
        with pytest.raises(kind, match=match):
            sample_adaptive(model, solver, x, **options)

    fails(de.SolverError, "rtol must be a number, 0 or more, not -1", rtol=-1)
    fails(de.SolverError, "atol must be a number, 0 or more, not '1e-3'", atol="1e-3")
    fails(de.SolverError, "rtol and atol are both 0", rtol=0, atol=0)
    fails(de.SolverError, r"dpmpp_2m has no embedded results.*step\.embed\(lower\)", solver="dpmpp_2m")
    fails(de.SolverError, "no filter named 'PI304'; did you mean 'PI3040'", controller="PI304")
    fails(de.SolverError, "controller is the name of a filter or a Controller, not 3", controller=3)
    fails(de.SolverError, r"max_evaluations=40 are spent after \d+ steps, at t=", rtol=1e-6, max_evaluations=40)
    fails(de.SolverError, "max_evaluations must be a whole number", max_evaluations=0)
    fails(de.SolverError, "error_order must be a positive number", error_order=-1.0)
    for alone in (False, True):
        fails(de.ModelError, r"x_T holds no state \(its shape is \(0, 2\)\)", x=np.ones((0, 2)), per_sample=alone)
    system = de.Gaussian(0.0, 1.0).denoiser(de.CLD())
    fails(de.ModelError, "is a system, and this is for one state", "gddim_2", np.ones((3, 2, 1)), system)
    fails(de.SolverError, "start and end are the same level", start=0.5, end=0.5)
    fails(
        de.SolverError, "end t=0.0 has λ=inf.*take a time inside, as end=", model=MIXTURE.denoiser(de.Flow()), end=0.0
    )
    fails(de.SolverError, "fell to .* ask for more than rounding leaves", rtol=0, atol=1e-300)
    fails(de.SolverError, "fixed_steps: the run is at t=1", controller=fixed_steps(de.TimeGrid(PROCESS, t=[0.9, 1e-3])))
    fails(de.SolverError, "noise is a seed or a generator", solver="dpm2_ancestral", noise=[X], per_sample=True)
    fails(de.ModelError, "x_T holds NaN", x=X * np.nan)
    fails(de.ModelError, "needs a model, not int", model=3)
    fails(de.ModelError, r"dpm_solver_3: the model returned NaN or ∞ at step 1, t=0\.\d+", model=Broken(MODEL))
    with pytest.raises(de.SolverError, match="safety must be a positive number"):
        Controller("mine", safety=0.0)
    with pytest.raises(de.SolverError, match="no scale named 'sums'"):
        digital_filter("I", scale="sums")


def test_a_rule_of_ones_own_names_what_tells_its_error() -> None:
    @de.solver(order=2, prediction="eps")
    def mine(step: Step) -> Linear:
        d = step.model(step.x, step.now)
        euler = (step.next.alpha / step.now.alpha) * step.x + (step.next.rho - step.now.rho) * step.next.alpha * d
        step.embed(euler)
        return euler + (step.next.rho - step.now.rho) / 2 * step.next.alpha * (step.model(euler, step.next) - d)

    heun = sample_adaptive(MODEL, "heun", X)
    own = sample_adaptive(MODEL, mine, X)
    assert np.max(np.abs(own.x - heun.x)) < 1e-12

    @de.solver(order=2, prediction="eps")
    def twice(step: Step) -> Linear:
        step.embed(step.x)
        return mine.rule(step)

    with pytest.raises(de.SolverError, match="twice has 2 embedded results in a step"):
        sample_adaptive(MODEL, twice, X)
