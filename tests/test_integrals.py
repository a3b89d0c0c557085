"""Integrals: right to round-off in every kind of number, over kinks, and quiet at singular ends."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from diffode import phi
from diffode.analysis.order.modular import ModularSeries
from diffode.series import Series

INTEGRANDS: dict[str, tuple[Any, Any, tuple[float, ...]]] = {
    "polynomial": (lambda u: 3 * u * u, lambda a, b: b**3 - a**3, ()),
    "exponential": (lambda u: phi.exp(-2 * u), lambda a, b: (np.exp(-2 * a) - np.exp(-2 * b)) / 2, ()),
    "oscillating": (lambda u: phi.cos(300 * u), lambda a, b: (np.sin(300 * b) - np.sin(300 * a)) / 300, ()),
    "narrow": (
        lambda u: 1 / (1 + (1000 * (u - 0.37)) ** 2),
        lambda a, b: (np.arctan(1000 * (b - 0.37)) - np.arctan(1000 * (a - 0.37))) / 1000,
        (),
    ),
    "kinked": (
        lambda u: abs(u - 0.3) + abs(u - 0.6),
        lambda a, b: sum(abs(b - k) * (b - k) - abs(a - k) * (a - k) for k in (0.3, 0.6)) / 2,
        (0.6, 0.3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGRANDS)
@settings(max_examples=30)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_integrals_of_floats_are_right_to_round_off(name: str, a: float, b: float) -> None:
    """Smooth, oscillating, narrow and kinked weights, in both directions; 1e-12 of the largest they could be."""
    f, true, kinks = INTEGRANDS[name]
    assert phi.integral(f, a, b, kinks) == pytest.approx(true(a, b), abs=1e-13 * max(1.0, abs(f(a)), abs(f(b))))


def test_an_undeclared_kink_costs_accuracy_but_not_sense() -> None:
    """Where nobody says that a weight is not smooth, bisection still finds its corner, and a jump."""
    assert phi.integral(lambda u: abs(u - 1 / 3), 0.0, 1.0) == pytest.approx(5 / 18, abs=1e-10)
    assert phi.integral(lambda u: (u > 1 / 3) * 1.0, 0.0, 1.0) == pytest.approx(2 / 3, abs=1e-7)
    noisy = np.random.default_rng(0)
    rough = phi.integral(lambda u: np.exp(u) * (1 + 1e-8 * noisy.standard_normal(np.shape(u))), 0.0, 1.0)
    assert rough == pytest.approx(np.expm1(1), rel=1e-8)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_integrals_of_arrays_are_those_of_their_entries(starts: list[float], ends: list[float]) -> None:
    """Entry by entry, list-valued weights and kinks included; to the bit where the bisections are the same."""
    a, b = np.array(starts), np.array(ends[: len(starts)])

    def f(u: Any) -> list[Any]:
        return [abs(u - 0.5), u * u]

    together = phi.integral(f, a, b, [0.5])
    for i in range(len(a)):
        alone = phi.integral(f, float(a[i]), float(b[i]), [0.5])
        assert isinstance(alone[0], float)
        assert [value[i] for value in together] == pytest.approx(alone, rel=1e-14, abs=1e-16)


def test_integrals_in_every_kind_agree() -> None:
    """∫_{1/4}^{1/2} of u e^{−u} and of e^{−u}, as a list: floats, mpmath with a kink, SymPy, series."""

    def f(u: Any) -> list[Any]:
        return [u * phi.exp(-u), phi.exp(-u)]

    with mpmath.workdps(30):
        a, b = mpmath.mpf(1) / 4, mpmath.mpf(1) / 2
        true = [(a + 1) * mpmath.exp(-a) - (b + 1) * mpmath.exp(-b), mpmath.exp(-a) - mpmath.exp(-b)]
        fine = phi.integral(f, a, b, [0.3])
        assert all(abs(x - y) < 1e-27 for x, y in zip(fine, true, strict=True))
        symbolic = phi.integral(f, sp.Rational(1, 4), sp.Rational(1, 2))
        assert all(isinstance(value, sp.Integral) for value in symbolic)
        assert all(abs(value.doit().evalf(25) - x) < 1e-22 for value, x in zip(symbolic, true, strict=True))
    assert phi.integral(f, 0.25, 0.5) == pytest.approx([float(x) for x in true], rel=1e-14)
    h = Series.variable(9)
    for order, value in enumerate(phi.integral(f, h, h * 2)):
        antiderivative = [lambda u: -(u + 1) * phi.exp(-u), lambda u: -phi.exp(-u)][order]
        difference = value - (antiderivative(h * 2) - antiderivative(h))
        assert difference.coefficients == ()
        assert difference.degree >= 9
    p = ModularSeries.variable(5)
    assert phi.integral(lambda u: u * u, p, p * 2) == p * p * p * Fraction(7, 3)


def test_integrals_keep_singular_ends_quiet() -> None:
    """An integrable singularity at an end is never evaluated, so nothing warns."""
    assert phi.integral(lambda u: np.log(u), 0.0, 1.0) == pytest.approx(-1.0, abs=1e-9)
