"""Runs that are decided as they go: SADA and TS-DPM. What they leave, what they cost, and of what order they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.adaptive.skipping import EXTRAPOLATIONS, sada, skipping
from diffode.adaptive.time_shift import time_shift
from diffode.analysis.stability.guided import Guidance
from diffode.analysis.stability.runs import Run
from diffode.models.shift import TimeShifted, matched
from diffode.models.wrappers import Wrapped
from tests.strategies import mixtures, processes
from tests.test_acceleration import close, inside, states

CHEAP = settings(max_examples=15, deadline=None)
PROCESSES = processes(tame=True).filter(lambda process: not process.anchored)
BASES = st.sampled_from(["ddim", "dpmpp_2m", "dpmpp_3m_corrected", "heun", "euler_t"])
PROBLEM = de.problems.get_problem("mixture_1d", de.VP())


class Asked(Wrapped):
    """Counts what it is asked."""

    def __init__(self, model: de.Model) -> None:
        super().__init__(model)
        self.calls: list[float] = []

    def predict(self, x: Any, level: de.Level, prediction: str, *more: Any, **named: Any) -> Any:
        self.calls.append(level.t)
        return self.model.predict(x, level, prediction, *more, **named)


# --- SADA -------------------------------------------------------------------------------------------------


@CHEAP
@given(PROCESSES, mixtures(2), BASES, st.sampled_from(EXTRAPOLATIONS), st.integers(1, 4))
def test_what_sada_leaves_is_what_it_did(
    process: de.Process, data: de.GaussianMixture, base: str, extrapolation: str, longest: int
) -> None:
    """The rule with the decisions has the realised plan and runs to the same bits; the count is of what was asked."""
    model, grid, x = Asked(data.denoiser(process)), inside(process, 14), states(3, 2)
    run = sada(model, base, grid, x, extrapolation=extrapolation, longest=longest)
    assert len(model.calls) == run.sample.nfe == run.sample.passes == run.sample.plan.nfe
    again = de.sample(model, run.solver, grid, x)
    assert np.array_equal(again.x, run.sample.x)
    assert again.plan == run.sample.plan
    full = de.sample(model, base, grid, x)
    assert full.nfe - run.sample.nfe == len(run.skip)
    assert all(4 <= i <= grid.steps - 3 for i in run.skip)
    assert not any(set(range(i, i + longest + 1)) <= set(run.skip) for i in run.skip)


@CHEAP
@given(PROCESSES, mixtures(2), BASES, st.sampled_from(EXTRAPOLATIONS))
def test_sada_that_may_leave_out_nothing_is_its_base(
    process: de.Process, data: de.GaussianMixture, base: str, extrapolation: str
) -> None:
    model, grid, x = data.denoiser(process), inside(process, 9), states(3, 2)
    run = sada(model, base, grid, x, extrapolation=extrapolation, within=(9, 0))
    assert run.skip == ()
    assert np.array_equal(run.sample.x, de.sample(model, base, grid, x).x)


def test_the_criterion_is_the_published_one() -> None:
    """Recomputed from the trajectory of a run with DDIM that evaluates everywhere but at the next step."""
    model, process = PROBLEM.model, PROBLEM.process
    grid, x = de.grids.uniform_lambda(process, 24), PROBLEM.initial(30, seed=3)
    run = sada(model, "ddim", grid, x, longest=1)
    path = run.sample.trajectory
    slopes: list[np.ndarray] = []
    noise = None
    for i, level in enumerate(grid.levels[:-1]):
        if i >= 3:
            ahead = path[i - 1] + (level.t - grid[i - 1].t) * (
                0.625 * slopes[-1] + 0.75 * slopes[-2] - 0.375 * slopes[-3]
            )
            bend = (slopes[-1] - slopes[-2]) - (slopes[-2] - slopes[-3])
            wanted = ((path[i] - ahead) * bend).mean() <= 0 and 4 <= i <= grid.steps - 3 and i - 1 not in run.skip
            assert wanted == (i in run.skip)
        if i not in run.skip:
            noise = model.predict(path[i], level, "eps")
        a, b = de.prediction.change("eps", "velocity", level)
        slopes.append(a * path[i] + b * noise)
    assert len(run.skip) > 3


@pytest.mark.parametrize(("extrapolation", "order"), [("published", 1), ("code", 1), ("adams", 2)])
def test_order_with_a_share_of_the_steps_left_out(extrapolation: str, order: int) -> None:
    """The published extrapolation leaves first order; with the consistent one the base keeps its second."""
    process, x = PROBLEM.process, np.linspace(-1.5, 1.5, 9)[:, None]
    ends = [process.lam(t) for t in (0.7, 0.15)]
    errors = []
    for n in (128, 256, 512):
        grid = de.TimeGrid(process, lam=np.linspace(ends[0], ends[1], n + 1))
        rule = skipping.configure(base="dpmpp_2m", skip=tuple(range(6, n, 3)), extrapolation=extrapolation)
        right = de.reference(PROBLEM.model, x, grid, 1e-12).x
        errors.append(np.abs(de.sample(PROBLEM.model, rule, grid, x).x - right).max())
    slopes = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(slopes[-1] - order) < 0.35, (slopes, errors)


@pytest.mark.parametrize(("extrapolation", "order"), [("published", 1), ("code", 1), ("adams", 0)])
def test_what_it_claims_and_what_can_be_known_of_it(extrapolation: str, order: int) -> None:
    """It claims no more than it reaches; law and gains are those of the run; its order has no proof."""
    grid, x = de.grids.uniform_lambda(PROBLEM.process, 30), PROBLEM.initial(50, seed=0)
    run = sada(PROBLEM.model, "dpmpp_2m", grid, x, extrapolation=extrapolation)
    assert run.skip
    assert (run.solver.order, run.solver.reaches) == (order, None)
    assert skipping.configure(base="dpmpp_2m", extrapolation=extrapolation).order == 2
    data = de.Gaussian(0.5, 0.25)
    laws = [de.law(plan, data) for plan in (run.sample.plan, de.compile(run.solver, PROBLEM.process, grid))]
    assert np.array_equal(laws[0].variance, laws[1].variance)
    again = Run.of(run.solver, Guidance(np.array([0.25]), None), grid)
    gains = abs(again.gains(0.0)) / np.maximum(1.0, again.exact(0.0))
    assert np.all(abs(again.measured(0.0) - np.nan_to_num(gains)) <= 1e-8 * np.nanmax(gains, axis=(0, 1)))
    with pytest.raises(de.DiffodeError):
        de.prove(run.solver)


@CHEAP
@given(PROCESSES, st.sampled_from(["dpmpp_2m", "euler_ancestral(eta=0.0)", "dpmpp_3m_corrected"]))
def test_the_consistent_extrapolation_meets_what_is_quadratic_in_lambda(process: de.Process, base: str) -> None:
    """Left out or not, the network would have said the same: third order in what it says."""
    grid, x = inside(process, 9), states(3, 1)
    middle, width = grid[4].lam, grid[9].lam - grid[0].lam

    def output(x: Any, t: Any) -> Any:
        u = (process.lam(t) - middle) / width
        return 0 * x + 0.3 + u - 2 * u * u

    model = de.Denoiser(output, process, prediction="x0")
    rule = skipping.configure(base=de.get_solver(base), skip=(4, 6, 7), extrapolation="adams")
    one, two = (de.sample(model, s, grid, x) for s in (rule, base))
    assert close(one.x, two.x, 1e-9)
    assert two.nfe - one.nfe == 3


@CHEAP
@given(PROCESSES, mixtures(2), BASES)
def test_a_rule_that_leaves_out_nothing_is_its_base(process: de.Process, data: de.GaussianMixture, base: str) -> None:
    model, grid, x = data.denoiser(process), inside(process, 7), states(3, 2)
    one, two = (de.sample(model, s, grid, x) for s in (skipping.configure(base=base), base))
    assert np.array_equal(one.x, two.x)
    assert one.nfe == two.nfe


# --- TS-DPM -----------------------------------------------------------------------------------------------


@CHEAP
@given(PROCESSES, st.floats(0.0, 2.0), st.integers(0, 2**32 - 1))
def test_the_matched_time_is_that_of_the_variance(process: de.Process, spread: float, seed: int) -> None:
    """Samples with exactly the variance of a level are taken for it, wherever in the window; others for its edge."""
    low, high = process.t_min, process.t_max
    middle = process.level(low + 0.5 * (high - low))
    width = 0.2 * (high - low)
    step = width / 40
    x = np.random.default_rng(seed).standard_normal((3, 50))
    x = (x - x.mean(1)[:, None]) / x.std(1, ddof=1)[:, None]
    times = middle.t + step * np.array([-7.0, 0.0, 12.0])
    variances = [process.sigma(t) ** 2 + spread * process.alpha(t) ** 2 for t in times]
    gaps = np.diff(
        [process.sigma(t) ** 2 + spread * process.alpha(t) ** 2 for t in middle.t + step * np.arange(-21, 22)]
    )
    if not (np.all(gaps > 1e-9) or np.all(gaps < -1e-9)):
        return  # the variance does not tell the time
    found = matched(process, middle, x * np.sqrt(variances)[:, None], width, step, spread)
    assert close(found.t[:, 0], times, 1e-9 * (1 + abs(high)))
    edge = matched(process, middle, 1e-6 * x, width, step, spread).t[:, 0]
    assert np.allclose(np.abs(edge - middle.t), 20 * step)


@CHEAP
@given(PROCESSES, mixtures(2), BASES, st.sampled_from(["start", "target"]))
def test_what_a_time_shift_leaves_is_what_it_did(
    process: de.Process, data: de.GaussianMixture, base: str, shift: str
) -> None:
    model, grid, x = Asked(data.denoiser(process)), inside(process, 6), states(3, 2)
    gap = float(np.abs(np.diff(grid.t)).min())
    run = time_shift(
        model, base, grid, x, window=0.8 * gap, spacing=0.1 * gap, cutoff=float(grid.t[3]), shift=shift, spread=0.5
    )
    assert len(model.calls) == run.sample.nfe == run.sample.passes == run.sample.plan.nfe
    again = de.sample(model, run.solver, grid, x)
    assert np.array_equal(again.x, run.sample.x)
    assert again.plan == run.sample.plan
    moved = run.starts if shift == "start" else run.ends
    kept = [i for i, level in enumerate(moved) if level is None]
    middles = range(6) if shift == "start" else range(1, 7)
    assert kept == [i for i, k in enumerate(middles) if i == 0 or grid[k].t <= grid.t[3]]


@CHEAP
@given(PROCESSES, mixtures(2), BASES)
def test_a_window_without_width_or_before_the_cutoff_is_the_base(
    process: de.Process, data: de.GaussianMixture, base: str
) -> None:
    model, grid, x = data.denoiser(process), inside(process, 5), states(3, 2)
    right = de.sample(model, base, grid, x).x
    each: list[dict[str, Any]] = [
        dict(window=1e-9, spacing=1.0, cutoff=0.0), dict(window=0.1, cutoff=float(grid.t.max())),
    ]  # fmt: skip
    for options in each:
        for shift in ("start", "target"):
            assert close(time_shift(model, base, grid, x, shift=shift, **options).sample.x, right, 1e-12)
    assert close(de.sample(TimeShifted(model, 1e-9, 1.0, cutoff=-1.0), base, grid, x).x, right, 1e-12)


def test_the_first_level_can_be_left_out_as_published() -> None:
    process, x = de.VP(), states(3, 2)
    model = de.Gaussian([0.1, 0.2], 0.5).denoiser(process)
    grid = inside(process, 5)
    after = de.TimeGrid(process, levels=grid.levels[1:])
    one = time_shift(model, "ddim", grid, x, window=0.02, drop_first=True)
    assert np.array_equal(one.sample.x, time_shift(model, "ddim", after, x, window=0.02).sample.x)


def test_a_network_is_told_the_shifted_time_above_the_cutoff() -> None:
    process, told = de.VP(), list[Any]()

    def network(x: Any, t: Any) -> Any:
        told.append(t)
        return x

    model = TimeShifted(de.Denoiser(network, process), window=0.1, spacing=0.01, cutoff=0.5)
    x = states(2, 40)
    de.sample(model, "ddim", de.TimeGrid(process, t=[0.8, 0.6, 0.4, 0.2]), x)
    assert [np.ndim(t) for t in told] == [2, 2, 0]
    assert np.array_equal(told[0], matched(process, process.level(0.8), x, 0.1, 0.01).t)


def test_torch_decides_the_same() -> None:
    torch = pytest.importorskip("torch")
    data = de.GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [0.8, -0.5]], [0.3, 0.4])
    process = de.VP()
    model, grid, x = data.denoiser(process), de.grids.uniform_lambda(process, 16), states(5, 2)
    one, two = (sada(model, "dpmpp_2m", grid, y, backend=b) for y, b in ((x, "numpy"), (torch.as_tensor(x), "torch")))
    assert one.skip == two.skip != ()
    assert close(two.sample.x.numpy(), one.sample.x)
    one, two = (
        time_shift(model, "dpmpp_2m", grid, y, window=0.04, backend=b)
        for y, b in ((x, "numpy"), (torch.as_tensor(x), "torch"))
    )
    assert close(two.sample.x.numpy(), one.sample.x)


def test_an_anchor_moves_the_run_and_changes_no_decision() -> None:
    process = de.MeanReverting.from_schedule("cosine")
    data, mu, x = (
        de.GaussianMixture([1, 2], [[0.4, -0.2], [-0.9, 0.5]], [0.5, 0.3]),
        np.array([0.7, -1.3]),
        states(3, 2),
    )
    grid = inside(process, 16)
    start, end = (process.anchor(level.t) * mu for level in (grid[0], grid[-1]))
    there, here = data.denoiser(process, mu), data.denoiser(process, 0 * mu)
    one, two = (sada(model, "dpmpp_2m", grid, y, mu=m) for model, y, m in ((there, x + start, mu), (here, x, 0 * mu)))
    assert close(one.sample.x - end, two.sample.x)
    assert one.skip == two.skip
    options: dict[str, Any] = dict(window=1e-3, spacing=1e-4, cutoff=0.4)
    one = time_shift(there, "ddim", grid, x + start, mu=mu, **options)
    two = time_shift(here, "ddim", grid, x, mu=0 * mu, **options)
    assert close(one.sample.x - end, two.sample.x)


# --- misuse -----------------------------------------------------------------------------------------------

GRID = de.grids.uniform_lambda(PROBLEM.process, 6)
X = states(3, 1)
SYSTEM = de.Gaussian(0.0, 1.0).denoiser(de.CLD())
PAIRS = de.grids.power(SYSTEM.process, 6)


def test_runs_print_as_one_line() -> None:
    runs = (
        sada(PROBLEM.model, "ddim", GRID, X),
        time_shift(de.Gaussian([0.0, 0.0], 1.0).denoiser(PROBLEM.process), "ddim", GRID, states(3, 2), window=0.01),
    )
    says = [f"<SADA: {repr(runs[0].sample)[1:-1]}, 0 evaluations left out>"]
    says.append(f"<time shift: {repr(runs[1].sample)[1:-1]}, {sum(level is not None for level in runs[1].starts)} ")
    assert repr(runs[0]) == says[0]
    assert repr(runs[1]) == says[1] + "levels shifted>"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sada(PROBLEM.model, "ddpm", GRID, X), "draws noise"),
        (lambda: sada(PROBLEM.model, "ddim", GRID, X, extrapolation="adam"), "did you mean 'adams'"),
        (lambda: sada(PROBLEM.model, "ddim", GRID, X, longest=0), "longest must be a whole number"),
        (lambda: sada(de.Gaussian(0.0, 1.0).denoiser(de.EDM()), "ddim", GRID, X), "the model is of EDM"),
        (lambda: sada("ddim", "ddim", GRID, X), "needs a model"),  # pyright: ignore[reportArgumentType]
        (lambda: sada(PROBLEM.model, "ddim", GRID, X * np.nan), "NaN"),
        (lambda: de.sample(PROBLEM.model, skipping.configure(extrapolation="x"), GRID, X), "no extrapolation"),
        (lambda: time_shift(PROBLEM.model, "ddim", GRID, X, window=0.1), "a sample needs two entries"),
        (lambda: time_shift(PROBLEM.model, "ddim", GRID, X, window=0.0), "window must be a positive number"),
        (lambda: time_shift(PROBLEM.model, "ddim", GRID, X, window=0.9), "reaches the next level"),
        (lambda: time_shift(PROBLEM.model, "ddim", GRID, X, window=0.1, shift="end"), "no shift named 'end'"),
        (lambda: TimeShifted(PROBLEM.model, window=0.1, spacing=-1.0), "spacing must be a positive number"),
        (lambda: TimeShifted(PROBLEM.model, window=0.1, spread=-1.0), "spread is the variance of the data"),
        (lambda: time_shift(PROBLEM.model, "ddim", GRID, X, window=0.1, spread=-1.0), "spread is .* not -1"),
        (lambda: sada(PROBLEM.model, "ddim", GRID, X[:0]), "x_T holds no state"),
        (lambda: sada(SYSTEM, "gddim_2", PAIRS, np.ones((3, 2, 1))), "is a system, and this is for one state"),
        (lambda: time_shift(SYSTEM, "gddim_2", PAIRS, np.ones((3, 2, 1)), window=0.01), "is a system, and this is for"),
        (lambda: sada(PROBLEM.model, "gddim_2", GRID, X), "gddim_2 is made for systems"),
    ],
)  # fmt: skip
def test_misuse_is_told_before_any_work(make: Any, words: str) -> None:
    with pytest.raises(de.DiffodeError, match=words):
        make()
