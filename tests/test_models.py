"""Models: exact denoisers against posterior means in many digits, derivatives, both libraries, wrappers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import permutations
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.models import (
    Anchored,
    Denoiser,
    DynamicThreshold,
    ExactDenoiser,
    Guided,
    integer_time,
    scaled_time,
)  # fmt: skip
from diffode.plan import Level
from diffode.prediction import NAMES, change
from diffode.process import Process
from tests.audit import ULP, Audit, exact
from tests.posterior import (
    FAR,
    UNITS,
    alike,
    averaged,
    components,
    covariances,
    derivatives,
    exactly,
    moved,
    network,
    seen,
)
from tests.strategies import EXAMPLES, at_knot, mixtures, powers, timed

# --- posterior means -----------------------------------------------------------------------------------------


def test_exact_denoisers_are_the_posterior_means(record_property: Any) -> None:
    """D, ε, v, s, dx/dt and log p of every kind of mixture in 1–3 dimensions, wherever x is; never NaN."""
    audit = Audit("exact denoisers, shares of what rounding of the inputs does", 1.0, record_property)

    @settings(max_examples=60)
    @given(seen())
    def verify(case: tuple[de.GaussianMixture, Level, np.ndarray]) -> None:
        data, level, x = case
        model, d = data.denoiser(level.process), len(x)
        with mpmath.workdps(FAR):
            alpha, sigma = exact(level.alpha), exact(level.sigma)
            true, slack = moved(data, exactly(x), alpha, sigma)
            told = {"x0": (1, 0), "score": (0, 1), "eps": (0, -sigma), "v": (-sigma, -alpha * sigma)}
            if not at_knot(level.process, level.t):
                told["velocity"] = exact(level.dalpha), -sigma * exact(level.dsigma)
            for name, (a, b) in told.items():
                ours = model.predict(x[None], level, name)[0]
                value = a * true[:d] + b * true[d:-1]
                bound = abs(a) * slack[:d] + abs(b) * slack[d:-1] + UNITS * ULP * abs(value)
                for i in range(d):
                    audit.note(abs(exact(ours[i]) - value[i]) / bound[i] if bound[i] else ours[i], f"{name} of {case}")
            ours = model.log_density(x[None], level.t)[0]
            audit.note(abs(exact(ours) - true[-1]) / slack[-1], f"log density of {case}")

    verify()
    audit.close()


every_kind = pytest.mark.parametrize("kind", ["cloud", "isotropic", "diagonal", "full"])


@every_kind
@given(st.integers(0, 2**32 - 1), powers(1e3, 1e100), powers(1e-8, 1e8))
def test_far_away_the_nearest_of_equal_components_wins(kind: str, seed: int, far: float, sigma: float) -> None:
    """Where all Σ r²/v are alike to the last digit, differences decide still: the mean farthest along P x."""
    generator = np.random.default_rng(seed)
    data, process = alike(kind, generator, 3, 2.0, 0.0), de.EDM()
    x = far * (1 + 10 * sigma) * generator.standard_normal((1, 2))
    gains = data.means @ np.linalg.solve(covariances(data)[0] + sigma**2 * np.eye(2), x[0])
    *_, second, best = np.argsort(gains)
    if gains[best] - gains[second] < 100 * (1 + 1 / sigma) * (1 + 4 / sigma):  # |m|² may outweigh it
        return
    alone = de.GaussianMixture([1.0], data.means[[best]], covariances(data)[[best]])
    for name in NAMES:
        ours, theirs = (law.denoiser(process).predict(x, process.level(sigma), name) for law in (data, alone))
        assert np.allclose(ours, theirs, rtol=0, atol=1e-13 * np.max(np.abs(theirs)))


@every_kind
@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), powers(3.0, 1e6), powers(1e-3, 1e3))
def test_far_from_components_that_are_almost_equal(kind: str, seed: int, far: float, sigma: float) -> None:
    """So little apart that both stay probable: no digit is lost to Σ r²/v, only to the numbers themselves."""
    generator = np.random.default_rng(seed)
    data = alike(kind, generator, 2, 1 / far, 1 / far**2)
    level = de.EDM().level(sigma)
    x = far * (sigma + (kind != "cloud")) * generator.standard_normal(2)
    with mpmath.workdps(FAR):
        true, slack = moved(data, exactly(x), exact(1.0), exact(sigma))
        for name, part in (("x0", slice(0, 2)), ("score", slice(2, 4))):
            ours = exactly(data.denoiser(de.EDM()).predict(x[None], level, name)[0])
            assert np.all(abs(ours - true[part]) <= slack[part]), name
        assert abs(exact(data.denoiser(de.EDM()).log_density(x[None], sigma)[0]) - true[-1]) <= slack[-1]


@given(mixtures(), powers(1e-8, 1e8), st.sampled_from([1e10, 1e40, 1e130]), st.sampled_from(["float64", "float32"]))
def test_nothing_is_ever_not_a_number(data: de.GaussianMixture, sigma: float, far: float, dtype: str) -> None:
    """However far the state, however small or large the noise, in double and in single precision."""
    far = far if dtype == "float64" else min(far, 1e15) * min(sigma, 1.0)
    x = np.full((2, data.dimension), [[far], [-far]]).astype(dtype)
    for name in NAMES:
        value = data.denoiser(de.EDM()).predict(x, de.EDM().level(sigma), name)
        assert value.dtype == x.dtype
        assert np.isfinite(value).all()


@pytest.mark.parametrize(("x", "sigma"), [(-1.3, 0.02), (0.05, 0.5), (2.0, 30.0)])
def test_the_definition_is_an_integral(x: float, sigma: float) -> None:
    """E[x_0 | x] = ∫ x_0 p(x_0) N(x; α x_0, σ²) dx_0 / p(x), integrated."""
    law = [(0.3, -1.0, 0.4), (0.7, 0.6, 0.2)]
    model = de.GaussianMixture(*zip(*law, strict=True)).denoiser(de.VP())

    def density(y: Any) -> Any:
        return sum(w * mpmath.npdf(y, m, s) for w, m, s in law) * mpmath.npdf(x, 0.8 * y, sigma)

    edges = [-6, *np.sort([-1, 0.6, *(x + np.arange(-8, 9, 4) * min(sigma, 0.3)) / 0.8]).tolist(), 6]
    mass, first = (mpmath.quad(f, edges) for f in (density, lambda y: y * density(y)))
    ours = model.predict(np.array([[x]]), de.Level(0.5, 0.8, sigma, 0.0, de.VP()), "x0")[0, 0]
    assert ours == pytest.approx(float(first / mass), rel=1e-12)


@pytest.mark.parametrize(("process", "end"), [(p, t) for p in EXAMPLES.values() for t in (0.0, 1.0)])
def test_pure_noise_and_pure_data_are_limits(process: Process, end: float) -> None:
    """At λ = ±∞ every prediction is its limit from inside: D is the mean there, or x itself."""
    if process.domain[0] > end or not process.level(end).singular:
        return
    data, x = de.GaussianMixture([1, 2], [0.3, -1.0], [0.5, 0.2]), np.array([0.7])
    with mpmath.workdps(FAR):
        near = process.level(end + (1 - 2 * end) * mpmath.mpf(10) ** -60)
        args = [exactly(a) for a in (data.weights, data.means, covariances(data))]
        d, s, _ = averaged(components(exactly(x), near.alpha, near.sigma, *args))
        true = {"x0": d, "score": s, "eps": -near.sigma * s, "v": -near.sigma * (near.alpha * s + d)}
        for name, value in {**true, "velocity": near.dalpha * d - near.sigma * near.dsigma * s}.items():
            ours = data.denoiser(process).predict(x[None], process.level(end), name)[0, 0]
            assert ours == pytest.approx(float(value), rel=1e-13, abs=1e-25), name


# --- derivatives -----------------------------------------------------------------------------------------------


def test_derivatives_are_those_of_the_density(record_property: Any) -> None:
    """Score, Hessian and its trace, the trace's gradient, (∂D/∂x) u and ∂_t of log p and s, by differences."""
    audit = Audit("derivatives of the log-density, shares of their bounds", 1.0, record_property)

    @settings(max_examples=30)
    @given(seen(far=3.0).filter(lambda case: case[1].sigma > 1e-3 and case[1].alpha > 1e-3), st.integers(0, 2**32 - 1))
    def verify(case: tuple[de.GaussianMixture, Level, np.ndarray], seed: int) -> None:
        data, level, x = case
        model, u = data.denoiser(level.process), np.random.default_rng(seed).uniform(-1, 1, len(x))
        with mpmath.workdps(FAR):
            for name, (value, bound) in derivatives(data, level, x, u).items():
                ours = np.ravel(getattr(model, name)(x[None], level.t, *([u[None]] if "jvp" in name else [])))
                audit.note(np.max(abs(exactly(ours) - value)) / bound, f"{name} of {case}")

    verify()
    audit.close()


# --- NumPy and torch, double and single ----------------------------------------------------------------------

METHODS = {name for name in vars(ExactDenoiser) if not name.startswith("_")} - {"native", "predict", "prediction"}


@settings(max_examples=60)
@given(mixtures(), timed(st.sampled_from(list(EXAMPLES.values()))), st.sampled_from([1e-2, 1.0, 1e4]))
def test_both_libraries_and_precisions_agree(data: de.GaussianMixture, case: tuple[Process, float], far: float) -> None:
    """NumPy and torch compute alike; float32 in is float32 out, right to its own precision; levels may be arrays."""
    torch = pytest.importorskip("torch")
    process, t = case
    level, together = process.level(t), process.level(np.full((3, 1), t))
    if not 1e-4 < level.alpha / level.sigma < 1e4:
        return
    model, noise = data.denoiser(process), np.random.default_rng(5).standard_normal((3, data.dimension))
    x = level.alpha * data.sample(3, 1) + far * level.sigma * noise
    # what x − α m is rounded by, in standard deviations, times how many of them it is
    lost = (np.max(np.abs(x)) + level.alpha * np.max(np.abs(data.means))) / level.sigma * (1 + far) + 100 * len(x[0])
    for name in NAMES:
        ours = model.predict(x, level, name)
        assert np.array_equal(ours, model.predict(x, together, name))
        assert np.allclose(ours[:1], model.predict(x[:1], level, name), rtol=1e-13, atol=0)
        a, b = change("eps", name, level)
        scale = np.max(np.abs(a * x)) + np.max(np.abs(b * model.predict(x, level, "eps"))) + np.max(np.abs(ours))
        for kind, unit in (torch.float64, 2.0**-52), (torch.float32, 2.0**-23):
            tensor = torch.as_tensor(x).to(kind)
            for state in (tensor, tensor.numpy()):
                theirs = model.predict(state, level, name)
                assert type(theirs) is type(state)
                assert theirs.dtype == state.dtype
                assert np.max(np.abs(np.asarray(theirs) - ours)) <= UNITS * unit * lost * scale
    for name in sorted(METHODS):
        for state in (x, x.astype(np.float32)):
            tensor = torch.as_tensor(state)
            one, two = (getattr(model, name)(s, t, *([s] if "jvp" in name else [])) for s in (state, tensor))
            assert one.dtype == state.dtype
            assert two.dtype == tensor.dtype
            if state is x and far < 2:
                assert np.allclose(one, two, rtol=1e-9, atol=1e-9 * np.max(np.abs(one)))


@settings(max_examples=30)
@given(mixtures())
def test_samples_have_the_moments(data: de.GaussianMixture) -> None:
    """Mean and covariance of 20,000 draws, to five standard errors; the same draws from the same seed."""
    count = 20_000
    x = data.sample(count, 0)
    assert np.array_equal(x, data.sample(count, np.random.default_rng(0)))
    spread = np.sqrt(np.diag(data.covariance)) + 1e-9
    assert np.max(np.abs(x.mean(0) - data.mean) / spread) <= 5 / count**0.5
    centred = (x - data.mean) / spread
    errors = np.std(centred[:, :, None] * centred[:, None, :], axis=0) / count**0.5
    gap = np.abs(centred.T @ centred / count - data.covariance / np.outer(spread, spread))
    assert np.all(gap <= 5 * errors + 1e-12)


def test_full_covariances_are_drawn_component_by_component() -> None:
    """n draws of d dimensions take a few arrays of shape (n, d), none of shape (n, d, d)."""
    count, d, generator = 20_000, 20, np.random.default_rng(0)
    factors = generator.standard_normal((3, d, d))
    data = de.GaussianMixture([1, 2, 3], generator.standard_normal((3, d)), factors @ np.swapaxes(factors, 1, 2))
    tracemalloc.start()
    data.sample(count, 1)
    assert tracemalloc.get_traced_memory()[1] < 6 * count * d * 8
    tracemalloc.stop()


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "weights": (lambda: de.GaussianMixture([1, -1], [0, 1], [1, 1]), "weights must be 2 positive numbers"),
    "one weight": (lambda: de.GaussianMixture([np.inf], [0, 1], [1, 1]), "one per mean, not [inf]"),
    "means": (lambda: de.GaussianMixture([1], ONES[None], [1]), "means must have shape (K, d) or (K,), not (1, 2, 1)"),
    "endless means": (lambda: de.GaussianMixture([1], [np.nan], [1]), "means must be finite, but one is nan"),
    "stds": (lambda: de.GaussianMixture([1, 1], [0, 1], [1, 1, 1]), "stds must have shape (2,), (2, 1) or (2, 1, 1),"),
    "a negative std": (lambda: de.GaussianMixture([1], [0], [-2]), "stds must not be negative, but one is -2.0"),
    "endless stds": (lambda: de.GaussianMixture([1], [0], [np.inf]), "stds must be finite, but one is inf"),
    "no covariance": (
        lambda: de.Gaussian([0, 0], [[1, 2], [2, 1]]),
        "not positive semidefinite; it has the eigenv",
    ),
    "half a covariance": (lambda: de.Gaussian([0, 0], [[1, 0.5], [0, 1]]), "not symmetric; give (C + C.T)/2"),
    "a negative variance": (lambda: de.Gaussian(0, -1), "variances must not be negative, got -1.0"),
    "shapes": (lambda: de.Gaussian([0, 0], [1, 1, 1]), "covariance (d, d), (d,) or (), not (2,) and (3,)"),
    "points": (lambda: de.PointCloud([0, 1]), "points must have shape (K, d), not (2,)"),
    "prediction": (lambda: GAUSS.predict(ONES, EDM.level(1.0), "noise"), "no prediction named 'noise'; there are eps,"),
    "no density": (lambda: de.PointCloud([[0.0]]).denoiser(EDM)(ONES, 0.0), "end at a positive noise level"),
    "fn": (lambda: Denoiser(3, EDM), "fn must be callable as fn(x, t), not int"),
    "a function": (lambda: DynamicThreshold(lambda x, t: x), "needs a model (data.denoiser(process), Denoiser(fn"),
    "quantile": (lambda: DynamicThreshold(GAUSS, quantile=0.0), "quantile must lie in (0, 1], not 0.0"),
    "floor": (lambda: DynamicThreshold(GAUSS, floor=-1.0), "floor must be a positive number, not -1.0"),
    "two processes": (lambda: Guided(GAUSS, OTHER, 2.0), "must be one of EDM(sigma_min=0.002, sigma_max=80.0)"),
    "scale": (lambda: Guided(GAUSS, GAUSS, np.nan), "scale must be a finite number, not nan"),
}
EDM, ONES = de.EDM(), np.ones((2, 1))
GAUSS, OTHER = (de.Gaussian(0.0, 1.0).denoiser(process) for process in (EDM, de.VP()))


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str) -> None:
    """A `ModelError` that names the argument, its value and what to do."""
    act, says = BAD[case]
    with pytest.raises(de.ModelError) as caught:
        act()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# --- wrappers --------------------------------------------------------------------------------------------------


every_process = pytest.mark.parametrize("process", EXAMPLES.values(), ids=list(EXAMPLES))


@every_process
def test_networks_of_every_kind_tell_every_prediction(process: Process) -> None:
    """A callable that returns p tells q as the exact model does, as well as the change from p to q allows."""
    law, x = de.Gaussian([0.3, -1.0], [0.5, 2.0]).denoiser(process), np.array([[0.4, -2.0], [1.0, 0.2]])
    level = process.level(0.4 * process.t_min + 0.6 * process.t_far)
    for source, target in [*permutations(NAMES, 2), *((name, name) for name in NAMES)]:
        told, wanted = (law.predict(x, level, name) for name in (source, target))
        a, b = change(source, target, level)
        ours = network(law, source).predict(x, level, target)
        scale = np.abs(a * x) + np.abs(b * told) + np.abs(x * change("eps", target, level)[1])
        assert np.all(np.abs(ours - wanted) <= 64 * ULP * scale), (source, target)
    assert np.array_equal(network(law, "v")(x, level.t), law.predict(x, level, "v"))


def test_what_a_network_is_told() -> None:
    """Its time as a number or a vector, another measure of it, another level; branches and targets where there are."""
    process, seen = de.VP.scaled_linear(), list[Any]()
    law, x = de.Gaussian(0.0, 1.0).denoiser(process), np.zeros((3, 1))
    level, other = process.level(0.25), process.level(0.75)

    def told(at: Level | None = None, place: Level = level, **options: Any) -> Any:
        model = Denoiser(lambda x, t, **named: seen.append((t, named)) or x, process, prediction="x0", **options)
        model.predict(x, place, "eps", at=at)
        return seen[-1][0]

    assert told() == 0.25
    assert told(at=other) == 0.75
    assert told(time=integer_time(1000)) == 249
    assert [integer_time(1000)(process.level(i / 1000)) for i in (1, 2, 999, 1000)] == [0, 1, 998, 999]
    assert integer_time(10)(process.level(0.0)) == 0
    for name in ("t", "sigma", "lam", "rho"):
        assert told(time=scaled_time(3.0, of=name)) == 3 * getattr(level, name)
    assert np.array_equal(told(batched=True), [0.25] * 3)
    assert np.array_equal(told(batched=True, time=integer_time()), [249.0] * 3)
    each = process.level(np.array([[0.1], [0.2], [0.3]]))
    assert np.array_equal(told(place=each), each.t)
    assert np.array_equal(told(place=each, batched=True), [0.1, 0.2, 0.3])
    model = network(law, "eps", seen)
    with pytest.raises(de.ModelError, match="output"):
        Denoiser(lambda x, t: x, process).predict(x, level, "eps", output="unconditional")
    for named in ({}, {"output": "unconditional"}, {"to": other}, {"output": "conditional", "to": other}):
        model.predict(x, level, "x0", **named)
        assert seen[-1] == (0.25, named)


@every_process
def test_guidance_is_linear_in_its_scale(process: Process) -> None:
    """0 is the unconditional model, 1 the conditional one; in between and beyond on the line through both."""
    generator, level = np.random.default_rng(2), process.level(0.5 * (process.t_min + process.t_far))
    one, two = (de.PointCloud(generator.uniform(-1, 1, (4, 3))).denoiser(process) for _ in range(2))
    x = 2 * generator.standard_normal((5, 3))
    for name in NAMES:
        first, second = (model.predict(x, level, name) for model in (one, two))
        for scale in (0.0, 1.0, 0.3, 7.5, -2.0):
            guided = Guided(network(one, "eps"), network(two, "v"), scale)
            ours = guided.predict(x, level, name)
            size = np.abs(x * change("eps", name, level)[1]).max() + np.abs(first).max() + np.abs(second).max()
            assert np.max(np.abs(ours - (second + scale * (first - second)))) <= 1e-12 * (1 + abs(scale)) * size
    for name in NAMES:  # told another level too
        ours, alone = (m.predict(x, level, name, at=process.level(0.8 * level.t)) for m in (Guided(one, two, 1.0), one))
        assert np.max(np.abs(ours - alone)) <= 1e-12 * np.abs(alone).max()
    guided = Guided(one, two, 3.0)
    for branch, model in (("conditional", one), ("unconditional", two)):
        assert np.array_equal(guided.predict(x, level, "x0", output=branch), model.predict(x, level, "x0"))


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), powers(0.1, 3.0), st.sampled_from(["float64", "float32"]))
def test_dynamic_thresholding_clips_at_its_quantile(seed: int, quantile: float, floor: float, dtype: str) -> None:
    """D, clipped at s = max(floor, its quantile) and scaled by floor/s, each sample by itself, in both libraries."""
    torch = pytest.importorskip("torch")
    d = (3 * np.random.default_rng(seed).standard_normal((4, 2, 3, 3))).astype(dtype)
    d[0] *= 0.01 * floor
    model = DynamicThreshold(Denoiser(lambda x, t: x, EDM, prediction="x0"), quantile, floor)
    ours = model(d, 1.0)
    assert ours.dtype == d.dtype
    assert np.array_equal(ours[0], d[0])  # inside: nothing changes
    rtol = 1e-5 if dtype == "float32" else 1e-12
    for one, found in zip(d, ours, strict=True):
        ranked = np.sort(np.abs(one.ravel()).astype(float))
        s = max(floor, np.interp(quantile * (len(ranked) - 1), np.arange(len(ranked)), ranked))
        assert np.allclose(found, np.clip(one, -s, s) / s * floor, rtol=rtol)
    assert np.allclose(ours, model(torch.as_tensor(d), 1.0).numpy(), rtol=rtol)
    whole = DynamicThreshold(Denoiser(lambda x, t: x, EDM, prediction="x0"), 1.0, float(np.max(np.abs(d))))
    assert np.array_equal(whole(d, 1.0), d)


@pytest.mark.parametrize("name", NAMES)
def test_an_anchored_model_is_one_of_the_process_without_anchor(name: str) -> None:
    """Networks of x = y + b μ tell of y what the exact model does, guided too, with or without another level told."""
    process, mu = EXAMPLES["mean_reverting"], np.array([0.7, -0.3])
    data, y = de.GaussianMixture([1, 2], [[0.2, 0.4], [-0.5, 0.1]], [0.3, 0.1]), np.array([[0.5, 0.1], [-1.0, 0.6]])
    level = process.level(0.37)
    plain, law = data.denoiser(process), data.denoiser(process, mu)
    x = y + process.anchor(level.t) * mu
    shift = process.danchor(level.t) * mu if name == "velocity" else 0.0
    assert np.allclose(law.predict(x, level, name), plain.predict(y, level, name) + shift, rtol=1e-12, atol=1e-13)
    models = {
        "exact": Anchored(law, mu),
        "network": Anchored(network(law, name), mu),
        "guided": Anchored(Guided(network(law, name), network(law, name), 3.0), mu),
        "thresholded": Anchored(DynamicThreshold(network(law, name), 1.0, floor=100.0), mu),
    }
    for kind, model in models.items():
        for target in NAMES:
            wanted = plain.predict(y, level, target)
            size = 1e-11 * (np.max(np.abs(wanted)) + abs(change("eps", target, level)[1]))
            assert np.max(np.abs(model.predict(y, level, target) - wanted)) <= size, (kind, target)
    for kind in ("guided", "thresholded"):  # the network hears of another level, and is read at this one
        ours, alone = (models[k].predict(y, level, "x0", at=process.level(0.5)) for k in (kind, "network"))
        assert np.allclose(ours, alone, rtol=1e-12, atol=1e-12)
    for method, moving in (("log_density", "dt_log_density"), ("score", "dt_score")):  # the law moves with b μ too
        slope = (getattr(law, method)(x, 0.405 + 1e-6) - getattr(law, method)(x, 0.405 - 1e-6)) / 2e-6
        assert np.allclose(getattr(law, moving)(x, 0.405), slope, rtol=1e-6)
