"""Single processes: tables, zero terminal SNR, mean reversion, shifts and affine copies, against what is published."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.process import Affine, CosineVP, Process
from tests.audit import DIGITS, exact
from tests.strategies import OF_TIME, betas, powers


@settings(max_examples=40)
@given(betas(min_size=2))
def test_discrete_tables_are_the_cumulative_product(table: list[float]) -> None:
    """α²(i/N) = ∏_{j≤i} (1 − β_j), and log α is linear in between."""
    process = de.VP.discrete(table)
    n = len(table)
    with mpmath.workdps(DIGITS):
        bars = [mpmath.mpf(1)]
        for i, rate in enumerate(table):
            bars.append(bars[-1] * (1 - exact(rate)))
            halves = [mpmath.log(bar) / 2 for bar in bars[-2:]]
            for share in (0.5, 1.0):
                between = halves[0] + share * (halves[1] - halves[0])
                assert abs(exact(process.log_alpha((i + share) / n)) - between) <= 1e-14 * n * abs(between)


def lin_et_al(table: list[float]) -> np.ndarray:
    """Algorithm 1 of arXiv:2305.08891: the rescaled betas, as its listing computes them."""
    with mpmath.workdps(DIGITS):
        bar = np.cumprod([1 - exact(rate) for rate in table])
        root = np.array([mpmath.sqrt(b) for b in bar])
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        bar = root**2
        return np.array([1 - bar[0], *(1 - bar[1:] / bar[:-1])], dtype=float)


@settings(max_examples=40)
@given(betas(min_size=2))
def test_zero_terminal_snr_is_the_published_algorithm(table: list[float]) -> None:
    """The rescaled table has the betas of Lin et al.: the first stays, α ends at 0; once more changes nothing."""
    process = de.VP.discrete(table).zero_terminal_snr()
    ours = -np.expm1(-np.diff(process.knots))
    assert np.allclose(ours, lin_et_al(table), rtol=1e-10, atol=1e-14)
    assert process.alpha(1.0) == 0.0
    assert process.zero_terminal_snr() == process


def test_stable_diffusion_schedule_has_its_known_numbers() -> None:
    """√ᾱ_T = 0.0682649, kept √ᾱ_0 = 0.9995749, SNR_T = 0.0046819 (formula sheet, from Lin et al., table 1)."""
    process = de.VP.scaled_linear()
    assert process.alpha(1.0) == pytest.approx(0.0682649, abs=5e-8)
    assert process.alpha(0.001) == pytest.approx(0.9995749, abs=5e-8)
    assert np.exp(2 * process.lam(1.0)) == pytest.approx(0.0046819, abs=5e-8)
    assert process.zero_terminal_snr().alpha(0.001) == pytest.approx(process.alpha(0.001), rel=1e-14)


@settings(max_examples=40)
@given(st.sampled_from(["cosine", "linear", "constant"]), st.integers(2, 150), powers(0.05, 2.0), st.floats(0, 1))
def test_mean_reverting_keeps_its_stationary_variance(schedule: str, steps: int, sigma_inf: float, t: float) -> None:
    """σ² = σ_∞² (1 − a²), b = 1 − a, g² = −2 σ_∞² f: IR-SDE's constraint."""
    process = de.MeanReverting.from_schedule(schedule, steps=steps, sigma_inf=sigma_inf)
    with mpmath.workdps(DIGITS):
        x = exact(t)
        a, tiny = process.alpha(x), mpmath.mpf(10) ** (10 - DIGITS)
        assert abs(process.sigma(x) ** 2 - exact(sigma_inf) ** 2 * (1 - a * a)) <= tiny
        assert abs(process.anchor(x) - (1 - a)) <= tiny
        assert abs(process.g2(x) + 2 * exact(sigma_inf) ** 2 * process.f(x)) <= tiny * (1 + abs(process.f(x)))


def test_mean_reverting_has_the_numbers_of_the_official_code() -> None:
    """The cosine table of IR-SDE at T = 100: its θ, summed and scaled so that a_T = 0.005, as in sde_utils.py."""
    x = np.linspace(0, 102, 103)
    bar = np.cos((x / 102 + 0.008) / 1.008 * np.pi / 2) ** 2
    theta = 1 - (bar / bar[0])[1:-1]
    step = -np.log(0.005) / np.sum(theta)
    a = np.exp(-(np.cumsum(theta) - theta[0]) * step)
    process = de.MeanReverting.from_schedule("cosine")
    assert np.allclose(process.alpha(np.arange(101) / 100), a, rtol=1e-13)
    assert step == pytest.approx(0.1040926, abs=5e-8)
    assert process.lam(1.0) == pytest.approx(-3.66906, abs=1e-4)


@given(st.floats(0, 1))
def test_subvp_and_vp_share_alpha(t: float) -> None:
    """Sub-VP has VP's α, and σ_sub = σ_VP² = 1 − α²."""
    vp, sub = de.VP(0.2, 9.0), de.SubVP(0.2, 9.0)
    assert sub.alpha(t) == vp.alpha(t)
    assert sub.sigma(t) == pytest.approx(vp.sigma(t) ** 2, rel=1e-14)


@given(powers(0.1, 20.0), st.floats(0, 1))
def test_the_shift_of_a_flow_is_a_change_of_time(shift: float, t: float) -> None:
    """σ_s(t) = s t/(1 + (s − 1) t): the plain flow at another time."""
    assert de.Flow(shift).sigma(t) == pytest.approx(shift * t / (1 + (shift - 1) * t), rel=1e-15)
    assert de.Flow(shift).alpha(t) + de.Flow(shift).sigma(t) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize(
    ("copy", "original"),
    [
        (Affine(lambda t: 1 - t, lambda t: t, 0.0, 1.0), de.Flow()),
        (Affine(lambda t: 1.0 + 0 * t, lambda t: t, 0.002, 80.0), de.EDM()),
        (Affine(lambda t: np.exp(-0.25 * t), lambda t: np.sqrt(-np.expm1(-0.5 * t)), 1e-3, 1.0), de.VP(0.5, 0.5)),
        (Affine(lambda t: np.cos(t), lambda t: np.sin(t), 0.01, 1.5), None),
        (Affine(lambda t: 1.0 + 0 * t, lambda t: 0.01 * 5000.0**t, 0.0, 1.0), de.VE()),
    ],
    ids=["flow", "edm", "vp", "angle", "ve"],
)
def test_affine_is_the_process_that_its_functions_spell(copy: Process, original: Process | None) -> None:
    """Written as a user writes them, with arithmetic and NumPy; derivatives come by themselves."""
    for t in np.linspace(copy.t_min, copy.t_far, 7):
        if original is not None:
            for name in OF_TIME:
                assert getattr(copy, name)(t) == pytest.approx(getattr(original, name)(t), rel=1e-12, abs=1e-15), name
        else:
            assert copy.f(t) == pytest.approx(-np.tan(t), rel=1e-14)
            assert copy.g2(t) == pytest.approx(2 * np.tan(t), rel=1e-14)
        assert copy.t_of_lam(copy.lam(t)) == pytest.approx(t, rel=1e-13)


def test_affine_takes_derivatives_that_are_given() -> None:
    """Functions that no series passes through need their derivatives, and say so."""
    alpha, sigma = (lambda t: np.interp(t, [0, 1], [1.0, 0.2])), (lambda t: np.interp(t, [0, 1], [0.1, 1.0]))
    silent = Affine(alpha, sigma, 0.0, 1.0)
    with pytest.raises(de.ProcessError, match="pass dalpha_of= and dsigma_of="):
        silent.f(0.5)
    told = Affine(alpha, sigma, 0.0, 1.0, lambda t: -0.8 + 0 * t, lambda t: 0.9 + 0 * t)
    assert told.f(0.5) == pytest.approx(-0.8 / 0.6)
    assert told.dlam(np.array([0.5]))[0] == told.dlam(0.5)


@given(powers(1e-3, 0.1))
def test_cosine_schedule_is_the_published_one(s: float) -> None:
    """ᾱ = cos²((t + s)/(1 + s) π/2) over its value at 0 (Nichol and Dhariwal, eq. 17)."""
    for t in (0.1, 0.4, 0.7, 0.99):
        bar = [np.cos((u + s) / (1 + s) * np.pi / 2) ** 2 for u in (t, 0.0)]
        assert CosineVP(s).alpha(t) ** 2 == pytest.approx(bar[0] / bar[1], rel=1e-12)
