"""Critically damped Langevin diffusion: its flow, roots and reverse flow, and the exact model on a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import diffode as de
from diffode import phi
from diffode.expressions import Matrix
from tests.strategies import mixtures
from tests.systems import MIXTURE, OTHERS, dense, langevin, spans, states

# --- the process ------------------------------------------------------------------------------------------


@given(langevin(), spans())
def test_the_flow_of_the_drift(process: de.CLD, span: tuple[float, float]) -> None:
    s, t = span
    b = process.integrated_beta(t) - process.integrated_beta(s)
    exact = expm(dense(process.drift(0.0)) / process.beta * b)
    np.testing.assert_allclose(dense(process.transition(s, t)), exact, rtol=1e-11, atol=1e-12 * np.abs(exact).max())


@given(langevin(), spans())
def test_covariance_grows_by_the_noise_of_the_path(process: de.CLD, span: tuple[float, float]) -> None:
    """Σ_s = Ψ Σ_t Ψᵀ + ∫ Ψ G Gᵀ Ψᵀ from t to the later s."""
    s, t = span

    def fresh(at: np.ndarray) -> list[Any]:
        flow = process.transition(at, s)
        return (flow @ process.diffusion(at) @ flow.T).entries

    flow = process.transition(t, s)
    grown = flow @ process.covariance(t) @ flow.T + Matrix.of(phi.integral(fresh, t, s))
    np.testing.assert_allclose(dense(grown), dense(process.covariance(s)), rtol=1e-12, atol=1e-13)


@given(langevin(), st.floats(1e-4, 1.0))
def test_r_and_the_cholesky_factor_are_roots(process: de.CLD, t: float) -> None:
    sigma = dense(process.covariance(t))
    for root in (dense(process.factor(t)), dense(process.cholesky(t))):
        np.testing.assert_allclose(root @ root.T, sigma, rtol=1e-11, atol=1e-12 * np.abs(sigma).max())
    assert dense(process.cholesky(t))[0, 1] == 0 != dense(process.factor(t))[0, 1]


@pytest.mark.parametrize("span", [(1.0, 1e-3), (0.5, 0.02)])
@pytest.mark.parametrize("process", OTHERS, ids=["default", "other", "jitter"])
def test_r_solves_its_equation(process: de.CLD, span: tuple[float, float]) -> None:
    """R′ = F R + ½ G Gᵀ R^{−T}, from the earlier time to the later one in an independent code."""
    s, t = span

    def slope(at: float, r: np.ndarray) -> np.ndarray:
        root = r.reshape(2, 2)
        return (dense(process.drift(at)) @ root + 0.5 * dense(process.diffusion(at)) @ np.linalg.inv(root).T).ravel()

    start = dense(process.factor(t)).ravel()
    found = solve_ivp(slope, (t, s), start, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(found, dense(process.factor(s)).ravel(), atol=1e-8)


@settings(max_examples=30)
@given(langevin(), st.floats(1e-4, 1.0))
def test_a_level_is_the_same_by_all_its_names(process: de.CLD, t: float) -> None:
    level = process.level(t)
    assert level.alpha == pytest.approx(process.transition(0.0, t).rows[0][0], rel=1e-13)
    assert level.sigma**2 == pytest.approx(process.covariance(t).rows[0][0], rel=1e-13)
    for name in ("lam", "sigma", "rho"):
        assert process.level(**{name: getattr(level, name)}).t == pytest.approx(t, rel=1e-8)
    h = 1e-6 * t
    inside = t + h <= 1.0
    if inside:
        slope = (process.lam(t + h) - process.lam(t - h)) / (2 * h)
        assert process.dlam(t) == pytest.approx(slope, rel=1e-5)


@settings(max_examples=30)
@given(langevin(), spans(0.1))
def test_the_reverse_flow_without_noise_and_with_all_of_it(process: de.CLD, span: tuple[float, float]) -> None:
    s, t = span
    still, none = (dense(m) for m in process.reverse(s, t, 0.0))
    np.testing.assert_allclose(still, dense(process.factor(t) @ process.factor(s).inverse()), atol=1e-12)
    np.testing.assert_allclose(none, 0.0, atol=1e-14)
    full, spread = (dense(m) for m in process.reverse(s, t, 1.0))
    back = process.covariance(t) @ process.transition(t, s).T @ process.covariance(s).inverse()
    np.testing.assert_allclose(full, dense(back), rtol=1e-9, atol=1e-11)
    left = process.covariance(t) - back @ process.covariance(s) @ back.T
    np.testing.assert_allclose(spread, dense(left), atol=1e-12)


@pytest.mark.parametrize("lam", [0.3, 0.7, 1.6])
@pytest.mark.parametrize("process", OTHERS, ids=["default", "other", "jitter"])
def test_the_reverse_flow_solves_its_equations(process: de.CLD, lam: float) -> None:
    """Those of Ψ̂ and P, in an independent code."""
    s, t = 0.9, 0.15

    def slope(at: float, y: np.ndarray) -> np.ndarray:
        flow, p = y[:4].reshape(2, 2), y[4:].reshape(2, 2)
        noise = dense(process.diffusion(at))
        f = dense(process.drift(at)) + 0.5 * (1 + lam**2) * noise @ np.linalg.inv(dense(process.covariance(at)))
        return np.concatenate([(f @ flow).ravel(), (f @ p + p @ f.T - lam**2 * noise).ravel()])

    start = np.concatenate([np.eye(2).ravel(), np.zeros(4)])
    found = solve_ivp(slope, (s, t), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1].reshape(2, 2, 2)
    for made, exact in zip(process.reverse(s, t, lam), found, strict=True):
        np.testing.assert_allclose(dense(made), exact, atol=1e-8)


# --- the exact model --------------------------------------------------------------------------------------


def independent_score(data: de.GaussianMixture, process: de.CLD, u: np.ndarray, t: float) -> np.ndarray:
    """The score of the mixture of joint Gaussians of (x, v), one dense matrix per component."""
    d, first, sigma = data.dimension, dense(process.transition(0.0, t))[:, 0], dense(process.covariance(t))
    logs, scores = [], []
    for k, mean in enumerate(data.means):
        basis = np.eye(d) if data.bases is None else data.bases[k]
        own = basis @ np.diag(np.broadcast_to(data.eigenvalues[k], (d,))) @ basis.T
        spread = np.kron(np.outer(first, first), own) + np.kron(sigma, np.eye(d))
        away = u.reshape(len(u), -1) - np.kron(first, mean)
        pulled = np.linalg.solve(spread, away.T).T
        logs.append(np.log(data.weights[k]) - 0.5 * (np.sum(away * pulled, 1) + np.linalg.slogdet(spread)[1]))
        scores.append(-pulled)
    weights = np.exp(np.array(logs) - np.max(logs, axis=0))
    return np.einsum("kn,kni->ni", weights / weights.sum(0), np.array(scores)).reshape(u.shape)


@settings(max_examples=30)
@given(st.data(), langevin(), st.floats(0.02, 1.0))
def test_the_exact_score(data: Any, process: de.CLD, t: float) -> None:
    mixture = data.draw(mixtures())
    u = states(4, mixture.dimension)
    found = mixture.denoiser(process)(u, t)
    np.testing.assert_allclose(found, independent_score(mixture, process, u, t), rtol=1e-6, atol=1e-6)


@settings(max_examples=30)
@given(
    langevin(), st.floats(0.02, 1.0), st.sampled_from(["eps", "x0", "score"]), st.sampled_from(["eps", "x0", "score"])
)
def test_predictions_tell_the_same(process: de.CLD, t: float, source: str, target: str) -> None:
    exact, level, u = MIXTURE.denoiser(process), process.level(t), states(3, 2)
    network = de.Denoiser(lambda x, time: exact.predict(x, process.level(float(time)), source), process, source)
    wanted = exact.predict(u, level, target)
    root = max(np.linalg.cond(dense(process.factor(t))), np.linalg.cond(dense(process.transition(0.0, t))))
    np.testing.assert_allclose(network.predict(u, level, target), wanted, atol=1e-12 * root**2 * np.abs(wanted).max())


@given(langevin(), st.floats(0.02, 1.0))
def test_the_data_prediction_has_no_velocity(process: de.CLD, t: float) -> None:
    d = MIXTURE.denoiser(process).predict(states(3, 2), process.level(t), "x0")
    flow = dense(process.transition(0.0, t))
    assert np.abs(d[:, 1]).max() <= 1e-12 * np.linalg.cond(flow) * np.abs(np.linalg.inv(flow)).max() * 10
    assert np.abs(d[:, 0]).max() > 0.01
