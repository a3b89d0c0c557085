"""ParaDiGMS: sweeps end at the steps one after the other, and cost what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.runners.picard import sample_picard
from tests.strategies import grids, mixtures, processes

ONE_STEP = ("ddim", "dpm_solver_3", "dpmpp_2s", "heun", "euler_ancestral", "dpmpp_sde")
NOISY = ("euler_ancestral", "dpmpp_sde")
few = settings(max_examples=settings().max_examples // 2)

PROCESS = de.VP()
MODEL = de.GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.3, 0.4]).denoiser(PROCESS)
GRID = de.grids.uniform_lambda(PROCESS, 24)
X = np.random.default_rng(0).standard_normal((4, 2))


@pytest.mark.parametrize("name", ONE_STEP)
@pytest.mark.filterwarnings("ignore::diffode.errors.UnusedNoise")  # one step may be the limit, without noise
@given(st.data())
@few
def test_without_tolerance_the_result_is_that_of_the_steps_one_after_the_other(name: str, data: st.DataObject) -> None:
    """Bit for bit, whatever process, grid (singular ends included), window and carry, in as many sweeps as steps."""
    process = data.draw(processes(tame=True))
    mu = np.full((1, 1), 0.3) if process.anchored else None
    grid = data.draw(grids(process, steps=st.integers(1, 9), singular=True))
    model = data.draw(mixtures(dimension=2, kind="isotropic")).denoiser(process, mu)
    x = float(grid.sigma[0]) * np.random.default_rng(1).standard_normal((3, 2))
    window, carry = data.draw(st.integers(1, 12)), data.draw(st.sampled_from(["scale", "one"]))
    noise = 7 if name in NOISY else None
    out = sample_picard(model, name, grid, x, window=window, carry=carry, noise=noise, mu=mu)
    assert np.array_equal(out.x, de.sample(model, name, grid, x, noise=noise, mu=mu).x)
    assert out.finished
    assert -(-grid.steps // window) <= out.sweeps <= grid.steps


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2s"])
def test_after_k_sweeps_the_first_k_steps_are_exact(name: str) -> None:
    states = de.sample(MODEL, name, GRID, X).trajectory
    for k in (1, 2, 5, 11):
        settled = sample_picard(MODEL, name, GRID, X, max_sweeps=k).settled
        assert settled >= k
        head = de.TimeGrid(PROCESS, levels=GRID.levels[: k + 1])
        out = sample_picard(MODEL, name, head, X, max_sweeps=k)
        assert np.array_equal(out.x, states[k])
    assert not np.array_equal(sample_picard(MODEL, name, GRID, X, max_sweeps=5).x, states[-1])


class Counting(de.Model):
    """A model that counts its calls and the states in them."""

    def __init__(self, model: de.Model) -> None:
        self.model, self.process, self.prediction = model, model.process, model.prediction
        self.calls, self.states = 0, 0

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        self.calls += 1
        self.states += len(x)
        return self.model.native(x, level, output, to)


@pytest.mark.parametrize("name", ["ddim", "dpm_solver_3", "euler_ancestral"])
@pytest.mark.parametrize("window", [1, 5, None])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_what_it_costs_is_what_was_asked(name: str, window: int | None, tolerance: float) -> None:
    counting = Counting(MODEL)
    out = sample_picard(counting, name, GRID, X, window=window, tolerance=tolerance, noise=1 if name in NOISY else None)
    stages = out.plan.nfe // GRID.steps
    assert (out.calls, out.nfe, out.passes) == (counting.calls, counting.states // len(X), counting.calls)
    assert out.calls == stages * out.sweeps
    assert out.nfe >= out.plan.nfe
    if window == 1:
        assert (out.sweeps, out.nfe) == (GRID.steps, out.plan.nfe)
    else:
        assert out.calls <= out.plan.nfe < out.nfe
        assert tolerance == 0 or out.calls < out.plan.nfe


def test_a_tolerance_saves_sweeps_and_costs_an_error_that_it_bounds() -> None:
    exact = de.sample(MODEL, "ddim", GRID, X).x
    outs = [sample_picard(MODEL, "ddim", GRID, X, tolerance=tolerance) for tolerance in (0.0, 1e-6, 1e-3, 0.1)]
    errors = [float(np.max(np.abs(out.x - exact))) for out in outs]
    sweeps = [out.sweeps for out in outs]
    assert errors == sorted(errors)
    assert 0.0 == errors[0] < errors[1] < 1e-6
    assert sweeps == sorted(sweeps, reverse=True)
    assert sweeps[0] > sweeps[-1]


def test_with_the_scale_carried_sweeps_are_those_of_any_process_that_differs_by_a_scale() -> None:
    """In x/√(α² + σ²) the two processes are one; the published sum is that of the variance-preserving one."""
    lam = np.linspace(-3, 3, 41).tolist()
    mixture = de.GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.3, 0.4])
    runs: dict[tuple[str, str], Any] = {}
    for name, process in (("vp", de.VP()), ("ve", de.EDM())):
        grid = de.TimeGrid(process, lam=lam)
        x = np.hypot(grid.alpha[0], grid.sigma[0]) * X
        for carry in ("scale", "one"):
            out = sample_picard(mixture.denoiser(process), "ddim", grid, x, tolerance=1e-3, carry=carry)
            runs[name, carry] = out
    assert runs["vp", "scale"].sweeps == runs["vp", "one"].sweeps == runs["ve", "scale"].sweeps
    assert runs["ve", "one"].sweeps > 1.5 * runs["ve", "scale"].sweeps
    ends = [runs[name, "scale"].x / np.hypot(*end) for name, end in (("vp", _end(de.VP())), ("ve", _end(de.EDM())))]
    assert np.max(np.abs(ends[0] - ends[1])) < 1e-10


def _end(process: de.Process) -> tuple[float, float]:
    level = process.level(lam=3.0)
    return float(level.alpha), float(level.sigma)


def test_torch_sweeps_as_numpy_does() -> None:
    torch = pytest.importorskip("torch")
    ours = sample_picard(MODEL, "ddim", GRID, X, tolerance=0.01)
    theirs = sample_picard(MODEL, "ddim", GRID, torch.as_tensor(X), tolerance=0.01, backend="torch")
    assert np.max(np.abs(theirs.x.numpy() - ours.x)) < 1e-12
    assert theirs.sweeps == ours.sweeps


def test_a_callback_sees_every_sweep_and_stops_the_run() -> None:
    seen: list[tuple[int, int]] = []
    whole = sample_picard(MODEL, "ddim", GRID, X, window=6, on_sweep=lambda *done: seen.append(done))
    assert len(seen) == whole.sweeps
    assert seen[-1] == (GRID.steps, GRID.steps)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    out = sample_picard(MODEL, "ddim", GRID, X, window=6, on_sweep=lambda done, of: done > 10)
    assert (out.finished, out.settled) == (False, next(done for done, _ in seen if done > 10))
    assert "stopped at step" in repr(out)
    assert out.x.shape == X.shape


class Broken(Counting):
    """NaN at small noise levels."""

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        value = super().native(x, level, output, to)
        return np.where(np.asarray(level.t) < 0.2, np.nan, value)


def test_errors_say_what_and_where() -> None:
    def fails(kind: type, match: str, solver: Any = "ddim", x: Any = X, model: Any = MODEL, **options: Any) -> None:
        with pytest.raises(kind, match=match):
            sample_picard(model, solver, GRID, x, **options)

    fails(de.SolverError, "step 1 of dpmpp_2m reads d0, which an earlier step left.*one-step rule", solver="dpmpp_2m")
    fails(de.SolverError, "window must be a whole number of at least 1, not 0", window=0)
    fails(de.SolverError, "there is no tol=; give tolerance=0.001", tol=1e-3)
    fails(de.ModelError, r"x_T holds no state \(its shape is \(0, 2\)\)", x=X[:0, :1].repeat(2, 1))
    system = de.Gaussian(0.0, 1.0).denoiser(de.CLD())
    fails(de.ModelError, "is a system, and this is for one state", "gddim_2", np.ones((3, 2, 1)), system)
    fails(de.SolverError, "max_sweeps must be a whole number of at least 1, not 1.5", max_sweeps=1.5)
    fails(de.SolverError, "tolerance must be a number, 0 or more, not -1", tolerance=-1)
    fails(de.SolverError, "carry must be 'scale' or 'one', not 'rule'", carry="rule")
    fails(de.PlanError, "draws noise 24 times; give noise=", solver="ddpm")
    fails(de.ModelError, "needs a model, not int", model=3)
    fails(de.ModelError, "x_T holds NaN", x=X * np.inf)
    broken = next(i for i, t in enumerate(GRID.t) if t < 0.2)
    fails(de.ModelError, rf"ddim: the model returned NaN or ∞ at step {broken}, t=0\.1", model=Broken(MODEL))
