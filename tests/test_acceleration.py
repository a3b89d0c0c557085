"""Wrappers that save passes: laws of guidance, first steps and reuse, and the count of passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.fitting.guidance import fit_linear_guidance
from diffode.models import (
    AdaptiveGuidance,
    AnalyticalFirstStep,
    LinearGuidance,
    ProjectedGuidance,
    ReusedOutputs,
)  # fmt: skip
from tests.strategies import mixtures, processes

CHEAP = settings(max_examples=25, deadline=None)
SOLVERS = st.sampled_from(["ddim", "dpmpp_2m", "heun", "unipc_2", "singlestep_2"])
PROCESSES = processes(tame=True).filter(lambda process: not process.anchored)


def inside(process: de.Process, steps: int) -> de.TimeGrid:
    """Equal steps in λ, away from both ends."""
    length = process.t_max - process.t_min
    lam = [float(process.lam(process.t_max - share * length)) for share in (0.02, 0.9)]
    return de.TimeGrid(process, lam=np.linspace(lam[0], lam[1], steps + 1))


def states(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension))


def close(one: np.ndarray, two: np.ndarray, digits: float = 1e-11) -> bool:
    return bool(np.max(np.abs(one - two)) <= digits * max(1.0, np.max(np.abs(two))))


# --- guidance ---------------------------------------------------------------------------------------------


def branches(process: de.Process, one: de.GaussianMixture, other: de.GaussianMixture) -> tuple[de.Model, de.Model]:
    return one.denoiser(process), other.denoiser(process)


@CHEAP
@given(PROCESSES, mixtures(2), mixtures(2), st.floats(-2, 10), SOLVERS)
def test_limits_of_guidance_are_classifier_free_guidance(
    process: de.Process, one: de.GaussianMixture, other: de.GaussianMixture, w: float, solver: str
) -> None:
    """APG at η = 1, r = ∞, β = 0; adaptive guidance at γ̄ = 1; LinearAG without weights. All cost the same."""
    pair, grid, x = branches(process, one, other), inside(process, 6), states(3, one.dimension)
    right = de.sample(de.Guided(*pair, w), solver, grid, x)
    for model in (
        ProjectedGuidance(*pair, w, eta=1.0),
        AdaptiveGuidance(*pair, w, threshold=1.0),
        LinearGuidance(*pair, w, {}),
    ):
        out = de.sample(model, solver, grid, x)
        assert out.passes == right.passes
        assert close(out.x, right.x, 1e-9), type(model).__name__


@CHEAP
@given(PROCESSES, mixtures(2), mixtures(2), st.floats(2, 10), SOLVERS)
def test_adaptive_guidance_that_stops_at_once_is_the_conditional_model_after_one_evaluation(
    process: de.Process, one: de.GaussianMixture, other: de.GaussianMixture, w: float, solver: str
) -> None:
    pair, grid, x = branches(process, one, other), inside(process, 6), states(3, one.dimension)
    out = de.sample(AdaptiveGuidance(*pair, w, threshold=-1.0), solver, grid, x)
    assert out.passes == out.nfe + 1
    after = de.TimeGrid(process, levels=grid.levels[1:])
    if solver == "ddim":
        assert close(out.x, de.sample(pair[0], solver, after, out.trajectory[1]).x)


def test_a_sample_decides_for_itself_when_guidance_stops() -> None:
    """Alone or in a batch a sample is the same; the batch pays for the last to stop."""
    process = de.VP()
    pair = branches(process, de.Gaussian([0.6, 0.0], 0.4), de.Gaussian([-0.2, 0.4], 1.2))
    model = AdaptiveGuidance(*pair, 4.0, threshold=0.97, guided=8)
    grid, x = de.grids.uniform_lambda(process, 20), states(8, 2)
    whole = de.sample(model, "dpmpp_2m", grid, x)
    alone = [de.sample(model, "dpmpp_2m", grid, x[i : i + 1]) for i in range(len(x))]
    assert close(np.concatenate([out.x for out in alone]), whole.x, 1e-13)
    assert whole.passes == max(out.passes for out in alone)
    assert len({out.passes for out in alone}) > 1
    assert de.sample(model, "dpmpp_2m", grid, x).passes == whole.passes  # a run leaves nothing behind


@CHEAP
@given(PROCESSES, mixtures(2), mixtures(2), st.floats(1.5, 10), st.floats(0, 1), st.floats(0.1, 5))
def test_projected_guidance_moves_as_it_says(
    process: de.Process, one: de.GaussianMixture, other: de.GaussianMixture, w: float, eta: float, radius: float
) -> None:
    """Across D_c at η = 0, at most (w − 1) r away, and η shares the part along D_c."""
    pair, level = branches(process, one, other), inside(process, 2)[1]
    x = states(4, one.dimension)
    d = pair[0].predict(x, level, "x0")

    def moved(**options: float) -> np.ndarray:
        return ProjectedGuidance(*pair, w, **options).predict(x, level, "x0") - d

    across, whole, between = moved(), moved(eta=1.0), moved(eta=eta)
    size = 1 + np.abs(whole).max() * (1 + np.abs(d).max())
    assert np.abs((across * d).sum(1)).max() < 1e-11 * size
    assert close(between, across + eta * (whole - across), 1e-11 * size)
    assert np.all(np.linalg.norm(moved(eta=1.0, radius=radius), axis=1) <= (w - 1) * radius * (1 + 1e-12))
    assert close(whole, (w - 1) * (d - pair[1].predict(x, level, "x0")), 1e-11 * size)


def test_momentum_of_guidance_adds_the_directions_before() -> None:
    process = de.VP()
    pair = branches(process, de.Gaussian([0.6, 0.0], 0.4), de.Gaussian([-0.2, 0.4], 1.2))
    model, levels, x = ProjectedGuidance(*pair, 3.0, eta=1.0, momentum=-0.5), [0.8, 0.5, 0.2], states(4, 2)
    total = np.zeros_like(x)
    for t in levels:
        level = process.level(t)
        one, other = (branch.predict(x, level, "x0") for branch in pair)
        total = (one - other) - 0.5 * total
        assert close(model.predict(x, level, "x0"), one + 2.0 * total, 1e-13)


@CHEAP
@given(PROCESSES, st.floats(0.05, 2.0), st.floats(0.05, 2.0), st.floats(-1, 8), SOLVERS)
def test_linear_guidance_is_exact_where_branches_are_multiples(
    process: de.Process, one: float, other: float, w: float, solver: str
) -> None:
    """Centred isotropic Gaussians: what was seen tells the other branch, for states that the fit has not met."""
    pair = branches(process, de.Gaussian([0.0, 0.0], one), de.Gaussian([0.0, 0.0], other))
    grid = inside(process, 6)
    weights = fit_linear_guidance(*pair, w, solver, grid, states(6, 2))
    x = states(5, 2, seed=1)
    right, out = (de.sample(m, solver, grid, x) for m in (de.Guided(*pair, w), LinearGuidance(*pair, w, weights)))
    assert close(out.x, right.x, 1e-6)
    assert right.passes - out.passes == len(weights) > 0


def test_linear_guidance_fitted_along_its_own_run_comes_near() -> None:
    """On a mixture, held out: far nearer to true guidance than with the noise held; fitted as published it diverges."""
    process = de.VP()
    both = de.GaussianMixture([1, 1], [[0.6, 0.0], [-0.8, 0.4]], [0.3, 0.4])
    pair = branches(process, de.Gaussian([0.6, 0.0], 0.1), both)
    grid, x = de.grids.uniform_lambda(process, 20), states(200, 2, seed=1)
    right = de.sample(de.Guided(*pair, 3.0), "dpmpp_2m", grid, x).x

    def distance(weights: Any) -> float:
        return float(np.abs(de.sample(LinearGuidance(*pair, 3.0, weights), "dpmpp_2m", grid, x).x - right).mean())

    near, published = (
        fit_linear_guidance(*pair, 3.0, "dpmpp_2m", grid, states(1000, 2), published=p) for p in (False, True)
    )
    held = {i: ([0.0] * (i + 1), [0.0] * (i - 1) + [1.0]) for i in near}
    assert distance(near) < 0.05 * distance(held)
    assert distance(published) > distance(held)


# --- the first step ---------------------------------------------------------------------------------------


@CHEAP
@given(PROCESSES, st.integers(1, 3), SOLVERS, st.sampled_from(["unit", "model"]))
def test_the_first_step_costs_nothing_and_is_exact_where_the_formula_is_the_data(
    process: de.Process, dimension: int, solver: str, formula: str
) -> None:
    data = de.Gaussian(np.zeros(dimension), 1.0) if formula == "unit" else de.Gaussian(np.ones(dimension), 0.3)
    model = data.denoiser(process)
    grid, x = inside(process, 5), states(4, dimension)
    first = AnalyticalFirstStep(model, "unit" if formula == "unit" else model, t=grid[0].t)
    right, out = (de.sample(m, solver, grid, x) for m in (model, first))
    assert close(out.x, right.x)
    assert (right.nfe, right.passes, out.nfe, out.passes) == (out.nfe, right.nfe, right.nfe, right.nfe - 1)


@CHEAP
@given(PROCESSES, st.sampled_from(["unit", "published", "zero", "mean"]))
def test_formulas_are_what_they_say(process: de.Process, formula: str) -> None:
    level, x = inside(process, 3)[0], states(4, 2)
    m = np.array([0.3, -0.5])
    first = AnalyticalFirstStep(
        de.Gaussian([0.0, 0.0], 1.0).denoiser(process), m if formula == "mean" else formula, level.t
    )
    d, e = (first.predict(x, level, name) for name in ("x0", "eps"))
    a, s = level.alpha, level.sigma
    right = {
        "unit": a * x / (a * a + s * s),
        "published": (x - s * x / np.hypot(a, s)) / a,
        "zero": 0 * x,
        "mean": 0 * x + m,
    }[formula]
    assert close(d, right, 1e-8)  # the definition of "published" loses digits at small α
    assert close(e, (x - a * d) / s)


def test_levels_of_their_own_are_told_apart() -> None:
    """With one level per sample, the formula is for those that are noisy enough."""
    process = de.EDM()
    model = de.Gaussian(0.3, 0.5).denoiser(process)
    first, x = AnalyticalFirstStep(model, "zero", t=2.0), states(3, 1)
    level = process.level(np.array([[1.0], [2.0], [3.0]]))
    assert close(first.predict(x, level, "x0"), np.array([[1.0], [0.0], [0.0]]) * model.predict(x, level, "x0"))


# --- outputs used again -----------------------------------------------------------------------------------


@CHEAP
@given(PROCESSES, mixtures(2), st.integers(1, 4), st.integers(1, 4))
def test_ddim_that_holds_its_noise_is_ddim_of_larger_steps(
    process: de.Process, data: de.GaussianMixture, every: int, times: int
) -> None:
    model, grid, x = data.denoiser(process), inside(process, every * times), states(3, data.dimension)
    out = de.sample(ReusedOutputs(model, every), "ddim", grid, x)
    coarse = de.TimeGrid(process, levels=grid.levels[::every])
    assert close(out.x, de.sample(model, "ddim", coarse, x).x, 1e-10)
    assert (out.nfe, out.passes) == (every * times, times)


@CHEAP
@given(PROCESSES, st.integers(1, 4), st.sampled_from(["eps", "x0"]), st.sampled_from(["lam", "t", "rho"]))
def test_polynomials_of_lower_degree_are_met(process: de.Process, order: int, of: str, variable: str) -> None:
    """A network whose output is a polynomial of degree order − 1 is as good as asked at each evaluation."""
    grid, x = inside(process, 8), states(3, 1)
    centre, scale = (getattr(grid[i], variable) for i in (4, 0))

    def output(x: Any, t: Any) -> Any:
        return 0 * x + ((getattr(process.level(t), variable) - centre) / (scale - centre)) ** (order - 1)

    model = de.Denoiser(output, process, prediction=of)
    reused = ReusedOutputs(model, skip=range(order, 8, 2), order=order, of=of, variable=variable)
    right, out = (de.sample(m, "dpmpp_2m", grid, x) for m in (model, reused))
    assert close(out.x, right.x, 1e-8)
    assert out.passes == 8 - len(range(order, 8, 2))


@pytest.mark.parametrize("of", ["eps", "x0"])
@pytest.mark.parametrize(("solver", "least"), [("dpmpp_2m", 2), ("unipc_3", 3), ("ddim", 1)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_is_the_smaller_of_solver_and_reuse(order: int, solver: str, least: int, of: str) -> None:
    """The slope on a nonlinear problem; with what is asked for in the first evaluations."""
    process = de.VP()
    model = de.problems.get_problem("mixture_1d").model
    x = np.linspace(-1.5, 1.5, 9)[:, None]
    ends = [process.lam(t) for t in (0.7, 0.15)]
    counts = (64, 128, 256)
    grids = [de.TimeGrid(process, lam=np.linspace(ends[0], ends[1], n + 1)) for n in counts]
    right = de.reference(model, x, grids[0], 1e-12).x
    errors = [
        np.abs(
            de.sample(ReusedOutputs(model, skip=range(4, n, 3), order=order, of=of), solver, grid, x).x - right
        ).max()
        for n, grid in zip(counts, grids, strict=True)
    ]
    slopes = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(slopes[-1] - min(order, least)) < 0.35, (slopes, errors)


def test_torch_runs_the_same_wrappers() -> None:
    torch = pytest.importorskip("torch")
    process = de.VP()
    pair = branches(process, de.Gaussian([0.6, 0.0], 0.4), de.Gaussian([-0.2, 0.4], 1.2))
    grid, x = de.grids.uniform_lambda(process, 12), states(4, 2)
    for model in (
        AdaptiveGuidance(*pair, 4.0, threshold=0.9),
        ProjectedGuidance(*pair, 4.0, eta=0.2, radius=0.7, momentum=-0.5),
        LinearGuidance(*pair, 4.0, {3: ([0.0, 0.0, 0.2, 0.3], [0.0, 0.1, 0.4])}),
        AnalyticalFirstStep(pair[0], np.array([0.1, 0.2])),
        AnalyticalFirstStep(pair[0], pair[1]),
        ReusedOutputs(pair[0], 3, order=2),
    ):
        one = de.sample(model, "dpmpp_2m", grid, x)
        two = de.sample(model, "dpmpp_2m", grid, torch.as_tensor(x), backend="torch")
        assert one.passes == two.passes
        assert close(two.x.numpy(), one.x)


def test_models_that_remember_are_not_asked_by_several_runs_at_once() -> None:
    process, x = de.VP(), states(3, 2)
    pair = branches(process, de.Gaussian([0.6, 0.0], 0.4), de.Gaussian([-0.2, 0.4], 1.2))
    for model in (
        ReusedOutputs(pair[0]),
        AdaptiveGuidance(*pair, 2.0),
        LinearGuidance(*pair, 2.0, {}),
        ProjectedGuidance(*pair, 2.0, momentum=0.5),
        de.Guided(ReusedOutputs(pair[0]), pair[1], 2.0),
        de.DynamicThreshold(ReusedOutputs(pair[0])),
    ):
        with pytest.raises(de.ModelError, match="one by one"):
            de.sample_adaptive(model, "dpm_solver_3", x, per_sample=True)
    for model in (ProjectedGuidance(*pair, 2.0), AnalyticalFirstStep(pair[0]), de.Guided(*pair, 2.0)):
        assert not model.remembers()
        assert de.sample_adaptive(model, "dpm_solver_3", x, per_sample=True).x.shape == (3, 2)


@pytest.mark.parametrize("wrap", [ReusedOutputs, lambda m: AnalyticalFirstStep(m, "zero", t=0.8)])
def test_wrappers_act_on_the_state_without_its_anchor(wrap: Any) -> None:
    """A run with an anchor is the run without, moved by the anchor's part."""
    process = de.MeanReverting.from_schedule("cosine")
    data, mu, x = de.Gaussian([0.4, -0.2], 0.5), np.array([0.7, -1.3]), states(3, 2)
    grid = inside(process, 6)
    shifted = x + process.anchor(grid[0].t) * mu
    one = de.sample(wrap(data.denoiser(process, mu)), "dpmpp_2m", grid, shifted, mu=mu)
    two = de.sample(wrap(data.denoiser(process, 0 * mu)), "dpmpp_2m", grid, x, mu=0 * mu)
    assert close(one.x - process.anchor(grid[-1].t) * mu, two.x)
    assert one.passes == two.passes


# --- misuse -----------------------------------------------------------------------------------------------

MODEL = de.Gaussian(0.0, 1.0).denoiser(de.VP())
MOVED = de.Gaussian(0.0, 1.0).denoiser(de.MeanReverting.from_schedule("cosine"), np.ones(1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdaptiveGuidance(MODEL, MODEL, 2.0, threshold=1.5), "threshold is a cosine"),
        (lambda: AdaptiveGuidance(MODEL, MODEL, 2.0, guided=0), "guided must be a whole number"),
        (lambda: ProjectedGuidance(MODEL, MODEL, 2.0, radius=0.0), "radius must be positive"),
        (lambda: LinearGuidance(MODEL, MODEL, 2.0, {2: ([0.0], [])}), "3 conditional and 2 unconditional"),
        (lambda: LinearGuidance(MODEL, MODEL, 2.0, [1.0]), "weights must be those"),  # type: ignore[arg-type]
        (lambda: LinearGuidance(MODEL, MODEL, "2", {}), "scale must be a finite number"),  # type: ignore[arg-type]
        (lambda: AnalyticalFirstStep(MODEL, "gauss"), "no formula named 'gauss'"),
        (lambda: AnalyticalFirstStep(MODEL, de.Gaussian(0.0, 1.0).denoiser(de.EDM())), "the formula is a model of"),
        (
            lambda: fit_linear_guidance(MODEL, MODEL, 2.0, "ddim", inside(de.VP(), 3), states(2, 1), [3]),
            "not one of the 3",
        ),
        (lambda: AnalyticalFirstStep(MOVED, MOVED), "without its anchor"),
        (lambda: ReusedOutputs(MODEL, 0), "every must be a whole number"),
        (lambda: ReusedOutputs(MODEL, order=True), "order must be a whole number"),
        (lambda: ReusedOutputs(MODEL, of="epsilon"), "did you mean 'eps'"),
        (lambda: ReusedOutputs(MODEL, variable="x"), "no variable 'x'"),
    ],
)
def test_misuse_is_told_before_any_work(make: Any, words: str) -> None:
    with pytest.raises(de.DiffodeError, match=words):
        make()
