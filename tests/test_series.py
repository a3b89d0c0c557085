"""Power series: the laws of a field, functions and their inverses, and no digit claimed that is not known."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import factorial
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from diffode import phi
from diffode.analysis.order.modular import PRIME, ModularSeries, residue
from diffode.errors import BranchError
from diffode.series import Series, rational

fractions = st.builds(Fraction, st.integers(-9, 9), st.integers(1, 9))


@st.composite
def series(draw: Any, low: int = -2, high: int = 3, constant: Fraction | None = None) -> Series:
    """A Laurent series of rationals with one to six known terms; with a constant term, a power series."""
    if constant is not None:
        return Series([constant, *draw(st.lists(fractions, min_size=0, max_size=5))])
    return Series(draw(st.lists(fractions, min_size=1, max_size=6)), draw(st.integers(low, high)))


def agree(a: Series, b: Series) -> bool:
    """Whether two series are the same as far as both are known."""
    low, high = min(a.valuation, b.valuation), min(a.degree, b.degree)
    return all(a[n] == b[n] for n in range(low, high))


# --- a field -----------------------------------------------------------------------------------------------


@given(series(), series(), series())
def test_sums_and_products_obey_the_laws_of_a_field(a: Series, b: Series, c: Series) -> None:
    """Associative, commutative, distributive, with 0, 1 and negatives."""
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert agree((a * b) * c, a * (b * c))
    assert agree(a * (b + c), a * b + a * c)
    assert a + 0 == a * 1 == -1 * (-a) == a
    assert (a - a).coefficients == ()
    assert a - b == -(b - a)


@given(series(), series())
def test_division_undoes_multiplication(a: Series, b: Series) -> None:
    """(a b)/b = a and b · (1/b) = 1, to the precision of the shorter."""
    assume(b.coefficients)
    assert agree(a * b / b, a)
    assert agree(b * (1 / b), Series([1, *[0] * 20]))


@given(series(), st.integers(-3, 4))
def test_integer_powers_are_repeated_products(a: Series, n: int) -> None:
    """a^n, for negative n the reciprocal."""
    assume(a.coefficients)
    product = Series([1, *[0] * 30])
    for _ in range(abs(n)):
        product = product * a if n > 0 else product / a
    assert agree(a**n, product)


@given(series(), fractions)
def test_numbers_act_as_constant_series(a: Series, c: Fraction) -> None:
    """c + a, c − a, c a, a/c and c/a are what the constant series gives."""
    constant = Series([c, *[0] * 30])
    assert agree(c + a, constant + a)
    assert agree(c - a, constant - a)
    assert agree(c * a, constant * a)
    if c:
        assert agree(a / c, a / constant)
    if a.coefficients:
        assert agree(c / a, constant / a)


# --- precision ---------------------------------------------------------------------------------------------

UNARY: dict[str, Callable[[Series], Series]] = {
    "reciprocal": lambda a: 1 / a,
    "square": lambda a: a * a,
    "cube": lambda a: a**3,
    "inverse square": lambda a: a**-2,
    "exp": phi.exp,
    "expm1": phi.expm1,
    "log": phi.log,
    "log1p": phi.log1p,
    "sqrt": phi.sqrt,
    "cube root": lambda a: a ** Fraction(1, 3),
    "sin": phi.sin,
    "cos": phi.cos,
    "tan": phi.tan,
    "atan": phi.atan,
    "phi_1": lambda a: phi.phi(1, a),
    "phi_3": lambda a: phi.phi(3, a),
    "softplus minus log 2": lambda a: phi.log((1 + phi.exp(a)) / 2),
    "shifted": lambda a: a + 1,
    "scaled": lambda a: a * Fraction(2, 3),
}
BINARY: dict[str, Callable[[Series, Series], Series]] = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / b,
    "divided difference": lambda a, b: (phi.exp(a) - phi.exp(b)) / (a - b),
}


@given(
    st.lists(fractions, min_size=8, max_size=8), st.lists(fractions, min_size=8, max_size=8),
    st.integers(1, 5), st.integers(1, 5), st.integers(-2, 2), st.integers(-2, 2),
    st.lists(st.sampled_from([*UNARY, *BINARY]), min_size=1, max_size=4),
)  # fmt: skip
def test_no_digit_is_claimed_that_is_not_known(
    one: list[Fraction], two: list[Fraction], m: int, n: int, v: int, w: int, names: list[str]
) -> None:
    """What a calculation with few terms says, the same calculation with more terms says too.

    Every chain of operations is done twice: on truncated series and on their continuations. The truncated result
    may know less; what it claims to know must be right.
    """
    short, long = (Series(one[:m], v), Series(two[:n], w)), (Series(one, v), Series(two, w))
    try:
        results = [_chain(names, *pair) for pair in (short, long)]
    except ZeroDivisionError:  # a reciprocal of nothing known, a logarithm of an irrational constant
        return
    known, true = results
    assert known.degree <= true.degree
    assert agree(known, true)


def _chain(names: list[str], a: Series, b: Series) -> Series:
    for name in names:
        a, b = (UNARY[name](a), b) if name in UNARY else (BINARY[name](a, b), a)
    return a


def test_functions_of_something_unknown_are_unknown() -> None:
    """e^{O(1)}, φ_2(O(1)) and their like are O(1), not 1 + O(h)."""
    nothing = Series([])
    for name in ("exp", "sin", "cos", "phi_1", "phi_3", "expm1"):
        assert UNARY[name](nothing).degree <= 0, name
    assert phi.exp(Series([], 3)) == Series([1, 0, 0])
    assert (Series.variable(4) / Series.variable(4)).degree == 3


@given(st.integers(1, 8))
def test_a_variable_and_a_constant_are_known_as_far_as_they_say(degree: int) -> None:
    """h + O(h^degree) and c + O(h^degree)."""
    assert Series.variable(degree, at=2).degree == degree
    assert Series.constant(Fraction(1, 3), degree).degree == degree
    with pytest.raises(IndexError, match=rf"known to O\(h\^{degree}\) only"):
        _ = Series.constant(1, degree)[degree]


# --- functions ---------------------------------------------------------------------------------------------


@given(series(constant=Fraction(0)), series(constant=Fraction(0)))
def test_exponentials_turn_sums_into_products(a: Series, b: Series) -> None:
    """e^{a+b} = e^a e^b and log((1 + a)(1 + b)) = log(1 + a) + log(1 + b)."""
    assert agree(phi.exp(a + b), phi.exp(a) * phi.exp(b))
    assert agree(phi.log((1 + a) * (1 + b)), phi.log1p(a) + phi.log1p(b))


@given(series(constant=Fraction(0)))
def test_functions_have_their_inverses(a: Series) -> None:
    """exp and log, expm1 and log1p, tan and atan, squares and roots undo each other."""
    assert agree(phi.log(phi.exp(a)), a)
    assert agree(phi.exp(phi.log1p(a)), 1 + a)
    assert agree(phi.log1p(phi.expm1(a)), a)
    assert agree(phi.expm1(phi.log1p(a)), a)
    assert agree(phi.atan(phi.tan(a)), a)
    assert agree(phi.tan(phi.atan(a)), a)
    assert agree(phi.sqrt((2 + a) ** 2), 2 + a)
    assert agree((phi.sqrt(1 + a)) ** 2, 1 + a)
    assert agree(((1 + a) ** Fraction(1, 3)) ** 3, 1 + a)
    assert agree((4 * (1 + a)) ** 0.5, phi.sqrt(1 + a) * 2)


@given(series(constant=Fraction(0)), series(constant=Fraction(0)))
def test_sines_and_cosines_obey_the_addition_theorem(a: Series, b: Series) -> None:
    """sin(a + b), cos(a + b), and sin² + cos² = 1."""
    assert agree(phi.sin(a + b), phi.sin(a) * phi.cos(b) + phi.cos(a) * phi.sin(b))
    assert agree(phi.cos(a + b), phi.cos(a) * phi.cos(b) - phi.sin(a) * phi.sin(b))
    assert agree(phi.sin(a) ** 2 + phi.cos(a) ** 2, Series([1, *[0] * 20]))


@given(st.integers(0, 6), series(constant=Fraction(0)))
def test_phi_functions_obey_their_recurrence(k: int, a: Series) -> None:
    """φ_{k+1}(a) a = φ_k(a) − 1/k!, and φ_k(a) = Σ a^j/(j + k)!."""
    assert agree(phi.phi(k + 1, a) * a, phi.phi(k, a) - Fraction(1, factorial(k)))
    total = sum(
        (a**j * Fraction(1, factorial(j + k)) for j in range(1, 12)), Series([0] * 12) + Fraction(1, factorial(k))
    )
    assert agree(phi.phi(k, a), total)


@pytest.mark.parametrize(
    "name", ["exp", "log", "sqrt", "sin", "cos", "tan", "atan", "expm1", "log1p", "phi_1", "phi_3"]
)
@given(st.floats(0.2, 2.0), st.floats(-1, 1))
def test_floats_and_mpmath_may_be_the_coefficients(name: str, at: float, second: float) -> None:
    """Functions at an irrational constant term: the derivatives that mpmath finds, in its field and in floats."""
    function = UNARY[name]
    with mpmath.workdps(40):
        fine = function(Series([mpmath.mpf(at), mpmath.mpf(1), mpmath.mpf(second), mpmath.mpf(0)]))
        path = [function(Series([at + u + second * u * u]))[0] for u in (mpmath.mpf(0),)]
        taylor = mpmath.taylor(lambda u: function(Series([at + u + second * u * u]))[0], 0, 3)
        assert all(abs(fine[n] - taylor[n]) < mpmath.mpf(10) ** -15 for n in range(4)), (fine, taylor)
        assert fine[0] == path[0]
    coarse = function(Series([at, 1.0, second, 0.0]))
    assert all(float(fine[n]) == np.float64(coarse[n]) or abs(fine[n] - coarse[n]) < 1e-9 for n in range(4))


def test_rational_exponents_and_numpy_are_understood() -> None:
    """Processes are written by users: t**1.5, 5.0**t, np.exp(t), NumPy scalars on the left."""
    t = Series([0.5, 1.0, 0.0])
    assert (t**1.5)[1] == pytest.approx(1.5 * 0.5**0.5)
    assert (5.0**t)[1] == pytest.approx(5**0.5 * np.log(5))
    for function in (np.exp, np.log, np.sqrt, np.sin, np.cos, np.tan, np.arctan, np.expm1, np.log1p):
        step = 1e-6
        slope = (function(0.5 + step) - function(0.5 - step)) / (2 * step)
        assert function(t)[1] == pytest.approx(slope, rel=1e-8)
    two = np.float64(2.0)
    for found in (two * t, t * two, two + t - two + t, t / (1 / two), -(-t * two)):
        assert found[0] == 1.0
        assert found[1] == 2.0
    with pytest.raises(TypeError):
        np.array([1.0, 2.0]) * t
    with pytest.raises(TypeError):
        t / "2"


# --- literals ----------------------------------------------------------------------------------------------


@given(st.integers(-500, 500), st.integers(1, 500))
def test_a_float_literal_is_the_fraction_that_was_meant(p: int, q: int) -> None:
    """1/3 typed in Python is a third, 0.1 a tenth; a float that is no simple fraction keeps its value."""
    assert rational(p / q) == Fraction(p, q)
    assert rational(np.float64(p / q)) == Fraction(p, q)
    assert rational(p) == p


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_literals_never_change_the_float(c: float) -> None:
    """The fraction rounds to the float that was given."""
    assert float(rational(c)) == c


def test_literals_in_a_field_of_floats_stay_floats() -> None:
    """Beside floats nothing is made rational; beside mpmath a literal has all its digits."""
    assert (Series([1.0, 1.0]) * 0.1)[0] == 0.1
    with mpmath.workdps(50):
        assert (Series([mpmath.mpf(1), mpmath.mpf(0)]) * (1 / 3))[0] == mpmath.mpf(1) / 3
        assert (Series([mpmath.mpf(1), mpmath.mpf(0)]) + (1 / 3))[0] == mpmath.mpf(4) / 3


# --- modular ------------------------------------------------------------------------------------------------


def _image(a: Series) -> ModularSeries:
    return ModularSeries([residue(c) for c in a.coefficients], a.valuation)


@given(series(constant=Fraction(0)), series(constant=Fraction(1)), st.sampled_from([*UNARY, *BINARY]))
def test_modular_series_are_the_residues_of_series(a: Series, b: Series, name: str) -> None:
    """Every operation commutes with the map from rationals to residues modulo 2^61 − 1."""
    try:
        true = UNARY[name](a) if name in UNARY else BINARY[name](a, b)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            _ = UNARY[name](_image(a)) if name in UNARY else BINARY[name](_image(a), _image(b))
        return
    ours = UNARY[name](_image(a)) if name in UNARY else BINARY[name](_image(a), _image(b))
    assert ours == _image(true)
    assert all(0 <= c < PRIME for c in ours.coefficients)


@given(fractions, fractions)
def test_residues_are_a_homomorphism(a: Fraction, b: Fraction) -> None:
    """Sums, products and quotients of rationals go to those of their residues."""
    assert residue(a + b) == (residue(a) + residue(b)) % PRIME
    assert residue(a * b) == residue(a) * residue(b) % PRIME
    if b:
        assert residue(a / b) * residue(b) % PRIME == residue(a)


def test_residues_have_one_form() -> None:
    """−h and h·(−1) are the same series; a variable is taken modulo the prime; symbols have no residue."""
    h = ModularSeries.variable(3)
    assert -h == h * -1 == 0 - h
    assert ModularSeries.variable(3, at=Fraction(1, 2)) * 2 == 1 + 2 * h
    with pytest.raises(TypeError, match="no image modulo a prime"):
        residue(mpmath.mpf(1))
    with pytest.raises(ZeroDivisionError):
        _ = h / 0


# --- what series have not -----------------------------------------------------------------------------------

COMPARISONS: dict[str, Callable[[Series], Any]] = {
    "less": lambda h: h < 1,
    "greater": lambda h: h > h,
    "reflected": lambda h: h <= 1,
    "numpy": lambda h: np.float64(1) < h,
    "equal to a number": lambda h: h == 1,
    "truth": bool,
    "absolute value": abs,
    "maximum": lambda h: max(h, 0),
}


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("kind", [Series, ModularSeries])
def test_comparisons_are_branches(name: str, kind: type[Series]) -> None:
    """A rule that asks which of two coefficients is larger has no expansion in h, and is told so."""
    with pytest.raises(BranchError, match="compares a coefficient"):
        COMPARISONS[name](kind.variable(3))


def test_floats_of_series_are_refused() -> None:
    """math.exp and float() would lose the expansion; the message names diffode.phi."""
    with pytest.raises(BranchError, match=r"diffode\.phi"):
        float(Series.variable(3))


@pytest.mark.parametrize(
    ("calculate", "says"),
    [
        (lambda h: phi.exp(1 / h), "negative power"),
        (lambda h: phi.log(h), "vanishes"),
        (lambda h: phi.exp(1 + h), "not rational"),
        (lambda h: phi.log(2 + h), "not rational"),
        (lambda h: phi.sqrt(2 + h), "not rational"),
        (lambda h: phi.sqrt(h), "not a power series"),
        (lambda h: phi.sqrt(h - 1), "not rational"),
        (lambda h: 1 / (h - h), "division by a series that is 0"),
        (lambda h: phi.sin(1 + h), "not rational"),
        (lambda h: 2**h, "not rational"),
    ],
)
def test_what_has_no_rational_series_is_refused(calculate: Callable[[Series], Any], says: str) -> None:
    """Poles, irrational constants and odd roots raise ZeroDivisionError with the reason."""
    with pytest.raises(ZeroDivisionError, match=says):
        calculate(Series.variable(4))


def test_series_print_as_they_are_written() -> None:
    """Powers, fractions and the order of what is not known."""
    h = Series.variable(3)
    assert str(h) == "h + O(h^3)"
    assert str(1 / h) == "h^-1 + O(h)"
    assert str(h * Fraction(2, 3) + 1) == "1 + 2/3 h + O(h^3)"
    assert str(Series([])) == "O(1)"
