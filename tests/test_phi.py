"""φ-functions, exponential moments and integrals: audited against fifty digits, and alike in every kind of number."""

from __future__ import annotations

from fractions import Fraction
from math import factorial
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffode import phi
from diffode.errors import BranchError
from diffode.series import Series
from tests.audit import DIGITS, ULP, Audit, exact
from tests.strategies import powers, rates, signed, step_sizes

BOUNDARIES = (1.0, 8.0, 9.0, 10.5, 12.0, 700.0)
"""Where the regions of the float64 algorithm meet, for k up to 8."""


def arguments() -> st.SearchStrategy[float]:
    """z of every size from 1e-300 to 700, and crowds of them around the boundaries of the regions."""
    near = st.builds(
        lambda edge, away: min(edge * (1 + away), 700.0), st.sampled_from(BOUNDARIES), st.floats(-0.1, 0.1)
    )
    touching = st.builds(
        lambda edge, ulps: min(edge * (1 + ulps * ULP), 700.0), st.sampled_from(BOUNDARIES), st.integers(-4, 4)
    )
    return signed(st.one_of(powers(1e-300, 700.0), st.floats(0.5, 60.0), near, touching))


def true_phi(k: int, z: Any) -> Any:
    """φ_k by its confluent hypergeometric function, at the working precision of mpmath."""
    return mpmath.hyp1f1(1, k + 1, z) / mpmath.factorial(k)


def true_moment(k: int, c: Any, h: Any) -> Any:
    """∫_0^h e^{cu} u^k du."""
    return h ** (k + 1) / (k + 1) * mpmath.hyp1f1(k + 1, k + 2, c * h)


# --- the audit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(9))
def test_phi_is_right_to_eight_ulp(k: int, record_property: Any) -> None:
    """φ_k for k ≤ 8 and |z| from 1e-300 to 700, in ulps of the result."""
    audit = Audit(f"phi_{k}, ulp", 8.0, record_property)

    @settings(max_examples=60)
    @given(st.lists(arguments(), min_size=20, max_size=20))
    def check(points: list[float]) -> None:
        with mpmath.workdps(DIGITS):
            for z in points:
                true = true_phi(k, exact(z))
                audit.note(abs(exact(phi.phi(k, z)) - true) / exact(np.spacing(float(true))), f"z = {z!r}")

    check()
    audit.close()


@pytest.mark.parametrize("k", range(1, 9))
def test_phi_has_no_worse_place_between_the_drawn_ones(k: int, record_property: Any) -> None:
    """A sweep through all regions and 2,000 points around their boundaries, against the recurrence in 50 digits."""
    audit = Audit(f"phi_{k} swept, ulp", 8.0, record_property)
    edges = np.concatenate([edge * (1 + np.linspace(-0.02, 0.02, 160)) for edge in BOUNDARIES])
    sweep = np.concatenate([np.geomspace(1e-3, 699, 240), edges, np.linspace(7, 14, 400)])
    points = np.concatenate([sweep, -sweep])
    points = points[abs(points) <= 700]
    with mpmath.workdps(DIGITS):
        for z, ours in zip(points, phi.phi(k, points), strict=True):
            true = mpmath.exp(exact(z))
            for j in range(k):
                true = (true - 1 / mpmath.factorial(j)) / exact(z)
            audit.note(abs(exact(ours) - true) / exact(np.spacing(float(true))), f"z = {z!r}")
    audit.close()


def test_moments_are_right_to_eight_ulp(record_property: Any) -> None:
    """∫ e^{cu} u^k du of any rate and length, where rounding c·h itself would already cost |c·h| ulps."""
    audit = Audit("moments, ulp", 8.0, record_property)

    @settings(max_examples=300)
    @given(st.integers(0, 8), rates(), signed(powers(1e-8, 300.0)))
    def check(k: int, c: float, h: float) -> None:
        assume(abs(c * h) < 690)
        with mpmath.workdps(DIGITS):
            true = true_moment(k, exact(c), exact(h))
            audit.note(abs(exact(phi.moment(k, c, h)) / true - 1) / ULP, f"k = {k}, c = {c!r}, h = {h!r}")

    check()
    audit.close()


@st.composite
def stencils(draw: Any) -> tuple[list[float], float, float]:
    """Nodes of a multistep method (rough or crowded, the end of the step among them or not), a rate, a length."""
    h = draw(signed(step_sizes(1e-6, 40.0)))
    gaps = draw(st.lists(powers(0.02, 30.0), min_size=0, max_size=6))
    nodes = [0.0, *(-h * np.cumsum(gaps)).tolist()]
    if draw(st.booleans()):
        nodes.insert(0, h)
    c = draw(rates())
    return nodes, c if abs(c * h) < 690 else 600.0 / h, h


def test_lagrange_moments_are_right_to_eight_ulp_of_their_terms(record_property: Any) -> None:
    """∫ e^{cu} ℓ_j du errs by 8 ulp of the sum of the absolute values of its terms at most, on any nodes."""
    audit = Audit("Lagrange moments, ulp of the sum of absolute terms", 8.0, record_property)

    @settings(max_examples=300)
    @given(stencils())
    def check(case: tuple[list[float], float, float]) -> None:
        nodes, c, h = case
        with mpmath.workdps(DIGITS):
            moments = [true_moment(k, exact(c), exact(h)) for k in range(len(nodes))]
            for j, ours in enumerate(phi.lagrange(nodes, c, h)):
                others = [exact(node) for m, node in enumerate(nodes) if m != j]
                scale = mpmath.fprod(exact(nodes[j]) - other for other in others)
                coefficients = [mpmath.mpf(1)]
                for root in others:
                    up, down = [mpmath.mpf(0), *coefficients], [*coefficients, mpmath.mpf(0)]
                    coefficients = [a - root * b for a, b in zip(up, down, strict=True)]
                terms = [a * m / scale for a, m in zip(coefficients, moments, strict=True)]
                error = abs(exact(ours) - mpmath.fsum(terms)) / mpmath.fsum(abs(t) for t in terms)
                audit.note(error / ULP, f"node {j} of {nodes}, c = {c!r}, h = {h!r}")

    check()
    audit.close()


# --- limits and identities --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(9))
@pytest.mark.parametrize("kind", [float, exact, lambda z: np.array([z])], ids=["float", "mpmath", "array"])
def test_limits_are_exact(k: int, kind: Any) -> None:
    """φ_k(0) = 1/k!, φ_k(−∞) = 0, φ_k(∞) = ∞, without a warning; and not a number stays that."""
    limits = {0.0: 1 / factorial(k), -np.inf: 0.0, np.inf: np.inf}
    for z, limit in limits.items():
        assert float(np.ravel(phi.phi(k, kind(z)))[0]) == limit
    assert np.isnan(float(np.ravel(phi.phi(k, kind(np.nan)))[0]))


@given(st.integers(1, 8), st.floats(-1e308, 1e308))
def test_no_argument_warns_or_loses_the_sign(k: int, z: float) -> None:
    """Every finite z gives a φ_k that is positive (or rounds to 0 or ∞) and increases with z, silently."""
    value, above = phi.phi(k, z), phi.phi(k, z + abs(z) * 1e-9 + 1e-300)
    assert 0 <= value <= above * (1 + 16 * ULP)


@given(st.integers(1, 8), st.floats(690.0, 800.0))
def test_phi_overflows_no_earlier_than_its_value(k: int, z: float) -> None:
    """Beyond z = 709, where e^z overflows, φ_k is still right as long as it is a float."""
    with mpmath.workdps(30):
        true = float(true_phi(k, exact(z)))
    assert phi.phi(k, z) == pytest.approx(true, rel=1e-13)


@given(st.integers(1, 8), st.lists(st.one_of(arguments(), st.floats()), min_size=1, max_size=8))
def test_phi_of_an_array_is_phi_of_its_entries_bit_for_bit(k: int, points: list[float]) -> None:
    """Whatever the shape, and also where regions mix."""
    together = phi.phi(k, np.array(points)[:, None])
    alone = np.array([phi.phi(k, z) for z in points])
    assert together.shape == (len(points), 1)
    assert np.array_equal(together[:, 0], alone, equal_nan=True)


@given(stencils(), st.integers(1, 3))
def test_weights_of_arrays_are_weights_of_their_entries_bit_for_bit(
    case: tuple[list[float], float, float], size: int
) -> None:
    """Moments and Lagrange weights of arrays (levels per sample) are those of the scalars."""
    nodes, c, h = case
    factors = 1.0 / (1.0 + np.arange(size))
    together = phi.lagrange([node * factors for node in nodes], c, h * factors)
    for i, factor in enumerate(factors.tolist()):
        alone = phi.lagrange([node * factor for node in nodes], c, h * factor)
        assert [weight[i] for weight in together] == alone
        assert phi.moment(2, c, h * factors)[i] == phi.moment(2, c, h * factor)


@given(stencils())
def test_lagrange_weights_add_up_and_integrate_polynomials(case: tuple[list[float], float, float]) -> None:
    """Σ_j W_j u_j^m = ∫ e^{cu} u^m du for every m below the number of nodes."""
    nodes, c, h = case
    weights = phi.lagrange(nodes, c, h)
    for m in range(len(nodes)):
        terms = [w * node**m for w, node in zip(weights, nodes, strict=True)]
        largest = max(abs(w) for w in weights) * max(abs(node) for node in [*nodes, h]) ** m
        assert abs(sum(terms) - phi.moment(m, c, h)) <= 1e-9 * largest * len(nodes) ** 4


def test_adams_weights_are_the_classical_ones() -> None:
    """c = 0 on equal steps: Adams–Bashforth 4 and Adams–Moulton 4, as in every textbook."""
    bashforth = phi.lagrange([0.0, -1.0, -2.0, -3.0], 0.0, 1.0)
    assert np.allclose(bashforth, np.array([55, -59, 37, -9]) / 24, rtol=1e-14)
    moulton = phi.lagrange([1.0, 0.0, -1.0, -2.0], 0.0, 1.0)
    assert np.allclose(moulton, np.array([9, 19, -5, 1]) / 24, rtol=1e-14)


# --- the kinds agree ----------------------------------------------------------------------------------------------


@given(st.integers(0, 8), st.integers(-40, 40).map(lambda n: Fraction(n, 8)))
def test_symbols_mean_what_floats_compute(k: int, z: Fraction) -> None:
    """SymPy's Phi is unevaluated, equals 1/k! at 0, and rewrites and evaluates to the same number as mpmath."""
    x = sp.Symbol("x", real=True)
    with mpmath.workdps(30):
        true = true_phi(k, mpmath.mpf(z.numerator) / z.denominator)
        symbolic = phi.phi(k, x).subs(x, sp.Rational(z))
        assert abs(symbolic.evalf(30) - true) < 1e-27 * abs(true)
        if z != 0:
            rewritten = phi.phi(k, x).rewrite(sp.exp).subs(x, sp.Rational(z))
            assert abs(rewritten.evalf(30) - true) < 1e-20 * abs(true)
        ours = phi.phi(k, mpmath.mpf(z.numerator) / z.denominator)
        assert abs(ours - true) < 1e-27 * abs(true)


@pytest.mark.parametrize("k", range(1, 6))
def test_symbolic_derivative_and_limit(k: int) -> None:
    r"""φ_k′ = (φ_{k−1} − k φ_k)/z, whose value is the derivative of φ_k; at 0 it is a number; LaTeX is \varphi_k."""
    x = sp.Symbol("x", real=True)
    f = phi.phi(k, x)
    with mpmath.workdps(30):
        slope = mpmath.diff(lambda u: true_phi(k, u), mpmath.mpf("0.7"))
        assert abs(f.diff(x).subs(x, sp.Rational(7, 10)).evalf(25) - slope) < 1e-20
    assert phi.phi(k, sp.Integer(0)) == sp.Rational(1, factorial(k))
    assert sp.latex(f) == rf"\varphi_{{{k}}}\left(x\right)"
    assert sp.simplify(f.diff(x).rewrite(sp.exp) - f.rewrite(sp.exp).diff(x)) == 0


@given(st.integers(0, 8), st.lists(st.integers(-9, 9), min_size=3, max_size=5))
def test_series_are_the_taylor_expansion(k: int, numbers: list[int]) -> None:
    """φ_k of a power series without constant term: Σ s^j/(j+k)!, exactly."""
    s = Series([0, *(Fraction(n, 7) for n in numbers)])
    total, power = Series([Fraction(1, factorial(k)), *[0] * (s.degree - 1)]), s
    for j in range(1, s.degree + 1):
        total, power = total + power * Fraction(1, factorial(j + k)), power * s
    assert (phi.phi(k, s) - total).coefficients == ()
    assert phi.phi(k, s).degree >= len(numbers)


@settings(max_examples=30)
@given(stencils())
def test_weights_agree_between_floats_and_mpmath(case: tuple[list[float], float, float]) -> None:
    """The same call with mpmath numbers gives the weights in as many digits as asked."""
    nodes, c, h = case
    with mpmath.workdps(DIGITS):
        fine = phi.lagrange([exact(node) for node in nodes], exact(c), exact(h))
        coarse = phi.lagrange(nodes, c, h)
        size = max(abs(w) for w in fine) * len(nodes) ** 4
        assert all(abs(exact(a) - b) < 1e-9 * size for a, b in zip(coarse, fine, strict=True))
        again = phi.lagrange([mpmath.mpf(node) for node in nodes], mpmath.mpf(c), mpmath.mpf(h))
    assert fine == again


def test_weights_in_symbols_and_series_are_the_same_functions() -> None:
    """Two-node weights in SymPy and in series, at the same rational step."""
    h, c = sp.Rational(1, 8), sp.Integer(-1)
    symbolic = phi.lagrange([sp.Integer(0), -2 * h], c, h)
    floats = phi.lagrange([0.0, -0.25], -1.0, 0.125)
    s = Series.variable(14)
    series = phi.lagrange([s * 0, s * -2], -1, s)
    for a, b, w in zip(floats, symbolic, series, strict=True):
        assert float(b) == pytest.approx(a, rel=1e-14)
        assert float(sum(w[n] * Fraction(1, 8) ** n for n in range(w.degree))) == pytest.approx(a, rel=1e-14)


def test_elementary_functions_are_found_in_every_kind() -> None:
    """exp, log, … of a float, an array, mpmath, SymPy and a series are that package's own."""
    names = ("exp", "expm1", "sqrt", "sin", "cos", "tan", "atan", "log", "log1p", "log1mexp", "softplus", "arsinh")
    series = Series([0.7, 1.0, 0.0])
    for name in names:
        function = getattr(phi, name)
        true = float(function(exact(0.7)))
        assert function(0.7) == pytest.approx(true, rel=1e-15)
        assert function(np.array([0.7]))[0] == function(0.7)
        assert type(function(0.7)) is float
        assert float(function(sp.Rational(7, 10)).evalf(20)) == pytest.approx(true, rel=1e-14)
        assert function(series)[0] == pytest.approx(true, rel=1e-14)
        step = 1e-6
        assert function(series)[1] == pytest.approx(
            (function(0.7 + step) - function(0.7 - step)) / (2 * step), rel=1e-8
        )


@given(powers(1e-300, 700.0))
def test_logarithms_of_exponentials_keep_their_digits(x: float) -> None:
    """log(1 − e^{−x}), log(1 + e^{±x}) and arsinh x to 4 ulp at both ends."""
    with mpmath.workdps(400 if x < 1e-10 else DIGITS + 310):
        cases = {
            "log1mexp": (phi.log1mexp(x), mpmath.log(-mpmath.expm1(-exact(x)))),
            "softplus": (phi.softplus(x), mpmath.log1p(mpmath.exp(exact(x)))),
            "softplus of −x": (phi.softplus(-x), mpmath.log1p(mpmath.exp(-exact(x)))),
        }
        for name, (ours, true) in cases.items():
            assert abs(exact(ours) - true) <= 4 * ULP * abs(true) + 1e-320, name
    with mpmath.workdps(DIGITS):
        assert abs(exact(phi.arsinh(x)) - mpmath.asinh(exact(x))) <= 4 * ULP * mpmath.asinh(exact(x))


# --- bad input --------------------------------------------------------------------------------------------


def test_what_has_no_meaning_is_refused() -> None:
    """Negative k; a Riemann sum of symbols; branching on a series."""
    with pytest.raises(ValueError, match="k must be at least 0, not -1"):
        phi.phi(-1, 0.5)
    with pytest.raises(TypeError, match="floats only"):
        phi.riemann(lambda u: [u], sp.Integer(0), sp.Integer(1), 10)
    with pytest.raises(BranchError, match="compares a coefficient"):
        _ = Series.variable(3) > 0
