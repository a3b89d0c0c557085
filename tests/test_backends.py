"""Backends: any plan, any shape and precision, the same on NumPy and torch; nothing kept, and nothing changed."""

from __future__ import annotations

import re
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.backends import execute, get_backend
from diffode.backends.base import seeded
from diffode.plan import Combine, Constant, Dynamic, Evaluate, Level, Plan, Scaled
from diffode.solvers import Solver, registry
from tests.strategies import plans, quieter

SOLVERS = list(registry().values())
EDM = de.EDM()
GRID = de.grids.karras(EDM, 6)
ARRAYS = de.TimeGrid(EDM, sigma=np.geomspace([[5.0], [4.0], [3.0]], [[0.5], [0.4], [0.6]], 5))
MANY = [Combine("y", ((mpmath.mpf(1) / 3, "x1"), (np.linspace(0, 1, 3)[:, None], "x0"), (np.float64(2), "x0")))]
NUMPY = get_backend("numpy")

every = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
both = pytest.mark.parametrize("backend", ["numpy", "torch"])


def torch() -> Any:
    return pytest.importorskip("torch")


def affine(x: Any, t: Any, output: str | None = None) -> Any:
    """A network without rounding of its own: each entry alone."""
    return 0.5 * x + (0.25 if output else -0.125)


def affine_model(prediction: str = "eps") -> de.Denoiser:
    return de.Denoiser(affine, EDM, prediction=prediction)


def starts(plan: Plan, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((len(plan.inputs), *shape)))


def by_hand(plan: Plan, inputs: list[np.ndarray], seed: int, size: bool = False) -> dict[str, Any]:
    """Every register, with no backend and nothing freed; with `size` the sum of absolute terms instead."""
    at = (lambda v: abs(v)) if size else (lambda v: v)
    values: dict[str, Any] = {name: at(x) for name, x in zip(plan.inputs, inputs, strict=True)}
    drawn = iter(range(len(plan.noises)))
    for row in plan.rows:
        if isinstance(row, Evaluate):
            offset = 0.25 if row.output else -0.125
            values[row.out] = 0.5 * values[row.x] + at(offset)
        elif isinstance(row, Constant):
            values[row.out] = np.ones(inputs[0].shape)
        elif isinstance(row, Combine):
            total: Any = np.zeros(inputs[0].shape)
            for k, (c, name) in enumerate(row.terms):
                number = c.factor * values[c.dynamic] if isinstance(c, Scaled) else c
                total = at(number) * values[name] + (total if k else 0.0)
            values[row.out] = total
        elif isinstance(row, Dynamic):
            values[row.out] = 1.0 if size else quieter(*(values[name] for name in row.inputs))
        else:
            values[row.out] = at(seeded(seed, next(drawn)).standard_normal(inputs[0].shape))
    return values


# --- the same everywhere ----------------------------------------------------------------------------------


@given(plans(), st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 2**32))
def test_any_plan_on_any_shape(plan: Plan, shape: list[int], seed: int) -> None:
    """NumPy gives the bits of the rows written out, torch differs by rounding: a few ulp of the absolute terms."""
    inputs, names = starts(plan, tuple(shape)), [row.out for row in plan.rows]
    expected, size = (by_hand(plan, inputs, seed, size) for size in (False, True))
    run = execute(NUMPY, plan, affine_model(), inputs, seed, names)
    kept = plan.kept | set(names)
    assert run.registers.keys() == kept
    for name in kept:
        assert np.array_equal(run[name], expected[name]), name
        assert np.shape(run[name]) in (tuple(shape), ())
    tensors = [torch().as_tensor(x) for x in inputs]
    other = execute(get_backend("torch"), plan, affine_model(), tensors, seed, names)
    for name in kept:
        assert np.all(abs(np.asarray(other[name]) - run[name]) <= 2.0**-50 * len(plan) * size[name]), name


@given(plans(), st.permutations([2, 3, 4]), st.integers(0, 2**32))
def test_entries_are_independent_of_their_arrangement(plan: Plan, shape: list[int], seed: int) -> None:
    """The same numbers in another shape give the same numbers, noise included."""
    inputs = starts(plan, (24,))
    flat = execute(NUMPY, plan, affine_model(), inputs, seed)
    shaped = execute(NUMPY, plan, affine_model(), [x.reshape(shape) for x in inputs], seed)
    for name in plan.kept:
        assert np.array_equal(shaped[name].ravel(), flat[name])


@every
@both
def test_a_batch_is_its_rows(solver: Solver, backend: str) -> None:
    """A batch of one is the row of the larger batch; the first one with its noise, the others when it is handed on."""
    if backend == "torch":
        torch()
    arrays, plan = get_backend(backend), de.compile(solver, EDM, GRID)
    model, x = affine_model(solver.prediction), np.linspace(-80, 80, 12).reshape(4, 3)
    names = [row.out for row in plan.noises]
    run = execute(arrays, plan, model, [arrays.array(x)], 7, names)
    tolerance = 0.0 if backend == "numpy" else 1e-12  # torch fuses what fills its vector registers
    for k in range(4):
        noise = [run[name][k : k + 1] for name in names] if k else 7
        alone = execute(arrays, plan, model, [arrays.array(x[k : k + 1])], noise)
        gap = abs(alone[plan.states[-1]] - run[plan.states[-1]][k : k + 1])
        assert float(gap.max()) <= tolerance * max(1.0, float(abs(run[plan.states[-1]]).max()))


@every
@both
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_precision_and_device_are_those_of_the_state(solver: Solver, backend: str, dtype: str) -> None:
    """Of every register; coefficients that are arrays or have many digits included, and on any device."""
    arrays = get_backend(backend) if backend == "numpy" or torch() else NUMPY
    plan = de.compile(solver, EDM, ARRAYS)
    plan = replace(plan, rows=(*plan.rows, *(replace(row, out="y") for row in MANY)))
    x = np.ones((3, 2), dtype)
    for place in ("cpu", "meta") if backend == "torch" else ("cpu",):
        start = x if backend == "numpy" else torch().as_tensor(x, device=place)
        run = execute(arrays, plan, affine_model(solver.prediction), [start], 1, [row.out for row in plan.rows])
        for name, value in run.registers.items():
            assert value.dtype == start.dtype, name
            assert value.shape == start.shape, name
            assert value.device == start.device, name


def test_single_precision_is_double_precision_rounded() -> None:
    """Coefficients are computed in float64, whatever the state is in: half the digits cost half the digits."""
    for solver in SOLVERS[::4]:
        plan = de.compile(solver, EDM, GRID)
        x = np.linspace(-80, 80, 12).reshape(4, 3)
        single, double = (
            execute(NUMPY, plan, affine_model(solver.prediction), [x.astype(kind)], 2, plan.states)
            for kind in (np.float32, np.float64)
        )
        largest = max(float(abs(value).max()) for value in double.registers.values())
        assert abs(single[plan.states[-1]] - double[plan.states[-1]]).max() <= 2.0**-23 * len(plan) * largest * 4


# --- noise ------------------------------------------------------------------------------------------------


@both
def test_a_seed_is_the_same_noise_everywhere(backend: str) -> None:
    """Row by row NumPy's normals of (seed, row): on each backend, in each precision, whatever was drawn before."""
    arrays = get_backend(backend) if backend == "numpy" or torch() else NUMPY
    plan = de.compile("ddpm", EDM, GRID)
    names = [row.out for row in plan.noises]
    for kind in (np.float64, np.float32):
        start = arrays.array(np.ones((2, 3), kind))
        run = execute(arrays, plan, affine_model(), [start], np.int64(42), names)
        for k, name in enumerate(names):
            assert np.array_equal(run[name], seeded(42, k).standard_normal((2, 3)).astype(kind))
            assert np.array_equal(run[name], arrays.normal(42, k, start))
    other = execute(arrays, plan, affine_model(), [start], 43, names)
    assert all(not np.array_equal(run[name], other[name]) for name in names)
    assert all(not np.array_equal(run[a], run[b]) for a, b in pairwise(names))


@both
def test_a_generator_is_drawn_from_in_order(backend: str) -> None:
    """And goes on where it was: two runs with one generator differ, two with two alike do not."""
    arrays = get_backend(backend) if backend == "numpy" or torch() else NUMPY
    plan = de.compile("ddpm", EDM, GRID)
    names = [row.out for row in plan.noises]
    start = arrays.array(np.ones((2, 3)))

    def fresh() -> Any:
        return np.random.default_rng(5) if backend == "numpy" else torch().Generator().manual_seed(5)

    own = fresh()
    first, second = (execute(arrays, plan, affine_model(), [start], own, names) for _ in range(2))
    again, draws = execute(arrays, plan, affine_model(), [start], fresh(), names), fresh()
    for name in names:
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], second[name])
        assert np.array_equal(first[name], arrays.normal(draws, 0, start))


@every
def test_noise_handed_back_is_the_run_again(solver: Solver) -> None:
    plan = de.compile(solver, EDM, GRID)
    names, x = [row.out for row in plan.noises], np.linspace(-80, 80, 6).reshape(2, 3)
    model = affine_model(solver.prediction)
    run = execute(NUMPY, plan, model, [x], 3, names)
    for noise in ([run[name] for name in names], np.array([run[name] for name in names])):
        assert np.array_equal(execute(NUMPY, plan, model, [x], noise)[plan.states[-1]], run[plan.states[-1]])


Z = np.zeros((2, 3))
NOISE: dict[str, tuple[Callable[[], Any], str]] = {
    "none": (lambda: None, "ddpm draws noise 6 times; give noise=seed, a generator, or a sequence of arrays"),
    "a word": (lambda: "0", "noise= takes a seed (a whole number, not negative), a generator of numpy, or"),
    "a fraction": (lambda: 1.5, "or a sequence of arrays, not 1.5"),
    "a truth": (lambda: True, "or a sequence of arrays, not True"),
    "negative": (lambda: -1, "or a sequence of arrays, not -1"),
    "of torch": (lambda: torch().Generator(), "a generator of numpy, or a sequence of arrays, not <torch"),
    "too few": (lambda: [Z] * 5, "ddpm draws noise 6 times, but noise= holds 5 arrays"),
    "shape": (lambda: [Z, Z[:, :1], *[Z] * 4], "noise[1] has shape (2, 1), but x_T has shape (2, 3)"),
    "dtype": (lambda: [*[Z] * 5, Z.astype("f4")], "noise[5] has dtype float32, but x_T has dtype float64"),
    "kind": (lambda: [torch().zeros(2, 3)] * 6, "noise[0] is a Tensor, but x_T is a ndarray"),
}


@pytest.mark.parametrize("case", NOISE)
def test_noise_that_does_not_fit_is_one_line(case: str) -> None:
    make, message = NOISE[case]
    with pytest.raises(de.PlanError, match=re.escape(message)) as raised:
        execute(NUMPY, de.compile("ddpm", EDM, GRID), affine_model(), [Z + 1], make())
    assert "\n" not in str(raised.value)


# --- memory, and nothing changed --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddim", "rk4", "dpmpp_3m", "unipc_3", "deis_tab_3", "dpmpp_2m_sde", "ghvb_2.5"])
def test_memory_is_what_the_plan_says_however_long_it_is(name: str) -> None:
    """Registers go after their last use: at most `peak_live` arrays, x_T beside them, and two while one is combined."""
    size, peaks = 2_000_000, []
    for steps in (8, 24):
        plan = de.compile(name, EDM, de.grids.karras(EDM, steps))
        model, x = affine_model(de.get_solver(name).prediction), np.ones((size // 8, 1))
        execute(NUMPY, plan, model, [x[:1]], 0)
        tracemalloc.start()
        execute(NUMPY, plan, model, [x], 0)
        peaks.append(tracemalloc.get_traced_memory()[1] / size)
        tracemalloc.stop()
        assert peaks[-1] <= plan.peak_live + 2.1
    assert abs(peaks[1] - peaks[0]) < 0.1


class Watched:
    """The NumPy backend, with a count of the arrays alive that it or the model has made."""

    def __init__(self) -> None:
        self.real, self.alive, self.peak, self.calls = get_backend("numpy"), 0, 0, 0
        self.name, self.generator = self.real.name, self.real.generator
        self.check_state, self.finite, self.lent = self.real.check_state, self.real.finite, self.real.lent

    def note(self, array: np.ndarray) -> np.ndarray:
        self.alive += 1
        self.peak = max(self.peak, self.alive)
        weakref.finalize(array, self.forget)
        return array

    def forget(self) -> None:
        self.alive -= 1

    def combine(self, terms: Any) -> np.ndarray:
        return self.note(self.real.combine(terms))

    def normal(self, *arguments: Any) -> np.ndarray:
        return self.note(self.real.normal(*arguments))

    def one(self, x: np.ndarray) -> np.ndarray:
        return self.note(self.real.one(x))

    def model(self, x: np.ndarray, t: float, output: str | None = None) -> np.ndarray:
        self.calls += 1
        return self.note((0.25 if output else 0.5) * x)


@every
@pytest.mark.parametrize("open_end", [False, True])
def test_a_run_takes_what_the_plan_says(solver: Solver, open_end: bool) -> None:
    """Evaluations, and arrays alive at once; x_T belongs to the caller, and correlated noise keeps its normals."""
    plan = de.compile(solver, EDM, de.grids.karras(EDM, 7), open_end=open_end)
    watched = Watched()
    model = de.Denoiser(watched.model, EDM, prediction=solver.prediction)
    run = execute(watched, plan, model, [np.ones((2, 1))], 3)  # type: ignore[arg-type]
    assert watched.calls == plan.nfe
    assert watched.alive == len(run.registers) == len(plan.kept)
    mixed = max((len(row.covariances) for row in plan.noises if hasattr(row, "covariances")), default=0)
    made = {row.out: i for i, row in enumerate(plan.rows)}
    peak = max(sum(made[n] <= i <= plan.last_use[n] for n in made) for i in range(len(plan)))
    assert peak <= watched.peak <= peak + 2 * mixed


@every
@both
def test_nothing_that_is_handed_in_is_changed(solver: Solver, backend: str) -> None:
    """Neither x_T nor noise nor what the network returned, which it may return again."""
    arrays = get_backend(backend) if backend == "numpy" or torch() else NUMPY
    plan, seen = de.compile(solver, EDM, GRID), []

    def guarded(x: Any) -> Any:
        seen.append((x, x._version if backend == "torch" else None))
        if backend == "numpy":
            x.flags.writeable = False  # to write to it is an error then
        return x

    start = guarded(arrays.array(np.linspace(-80, 80, 6).reshape(2, 3)))
    noise = [guarded(arrays.normal(1, k, start)) for k in range(len(plan.noises))]
    model = de.Denoiser(lambda x, t, output=None: guarded(affine(x, t, output)), EDM, prediction=solver.prediction)
    execute(arrays, plan, model, [start], noise, plan.states)
    assert len(seen) == 1 + plan.nfe + len(noise)
    assert all(version is None or x._version == version for x, version in seen)


def test_gradients_flow_through() -> None:
    """torch differentiates the run: in x_T, which may be a parameter, and in what the network is made of."""
    plan = de.compile("dpmpp_2m", EDM, GRID)
    weight = torch().tensor(0.5, dtype=torch().float64, requires_grad=True)
    x = torch().nn.Parameter(torch().full((2, 1), 3.0, dtype=torch().float64))

    def final(start: Any, w: Any) -> Any:
        model = de.Denoiser(lambda x, t: w * x, EDM, prediction="x0")
        return execute(get_backend("torch"), plan, model, [start])[plan.states[-1]].sum()

    final(x, weight).backward()
    with torch().no_grad():
        slope = (final(x, weight + 1e-6) - final(x, weight - 1e-6)) / 2e-6
        gain = final(torch().ones(1, 1, dtype=torch().float64), weight)
    assert abs(slope - weight.grad) <= 1e-8 * abs(slope)
    assert abs(x.grad - gain).max() <= 1e-14 * abs(gain)


# --- models that err --------------------------------------------------------------------------------------


class Erring(de.Model):
    """A network of one's own, which is well until it is at a noise level below 1."""

    def __init__(self, wrong: Callable[[np.ndarray], Any]) -> None:
        self.wrong, self.process, self.prediction = wrong, EDM, "x0"

    def native(self, x: Any, level: Level, output: str | None = None, to: Level | None = None) -> Any:
        return 0.5 * x if np.all(level.sigma > 1) else self.wrong(x)


ERRORS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "shape": (lambda x: x[:, :1], ", step 2: the model returned shape (3, 1) at t={t}, but its input has shape (3, 2)"),
    "dtype": (lambda x: x.astype("f4"), ", step 2: the model returned dtype float32 at t={t}, but its input has dtype"),
    "kind": (lambda x: x.tolist(), ", step 2: the model returned a list at t={t}, not a ndarray like its input"),
    "nothing": (lambda x: None, ", step 2: the model returned a NoneType at t={t}, not a ndarray"),
    "nan": (lambda x: x * np.nan, ": the model returned NaN or ∞ at step 2, t={t}"),
    "infinite": (lambda x: x + np.inf, ": the model returned NaN or ∞ at step 2, t={t}"),
}


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("guided", [False, True])
def test_a_model_that_errs_is_told_where(case: str, guided: bool) -> None:
    """The step and its t on one line, levels that are arrays too; for a model of any class, and behind a wrapper."""
    wrong, message = ERRORS[case]
    model: de.Model = Erring(wrong)
    model = de.Guided(model, Erring(lambda x: 0 * x), 2.0) if guided else model
    for t in (0.8, np.array([[0.5], [0.8], [0.9]])):
        grid = de.TimeGrid(EDM, t=np.array([80 + 0 * t, 5 + 0 * t, t, 0.1 + 0 * t]))
        with pytest.raises(de.ModelError) as raised:
            execute(NUMPY, de.compile("dpmpp_2m", EDM, grid), model, [np.ones((3, 2))])
        told = message.format(t="0.8" if np.ndim(t) == 0 else "[0.5 … 0.9]")
        assert f"dpmpp_2m{told}" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_state_that_diverged_is_no_fault_of_the_model() -> None:
    """Seen at the first evaluation of a state that is not finite."""
    plan = de.compile("euler", EDM, de.TimeGrid(EDM, t=[8.0, 7.0, 5.0, 4.0]))
    model = de.Denoiser(lambda x, t: 1e308 + 0 * x, EDM, prediction="eps")
    with np.errstate(all="ignore"), pytest.raises(de.ModelError, match="the state itself is not finite at step 2, t=5"):
        execute(NUMPY, plan, model, [np.ones((1, 1))])


@settings(max_examples=20)
@given(plans(dynamic=False))
def test_what_is_not_there_is_said(plan: Plan) -> None:
    inputs = starts(plan, (2,))
    with pytest.raises(de.PlanError, match=r"drawn: the plan has \d inputs \(x0.*\), got \d"):
        execute(NUMPY, plan, affine_model(), [*inputs, inputs[0]], 0)
    with pytest.raises(de.PlanError, match="drawn: keep= asks for register x7, which the plan does not define"):
        execute(NUMPY, plan, affine_model(), inputs, 0, ["x7"])
    with pytest.raises(de.ModelError, match="x_T must be a NumPy array for backend='numpy', not list"):
        execute(NUMPY, plan, affine_model(), [x.tolist() for x in inputs], 0)
