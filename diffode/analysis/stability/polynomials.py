r"""Exact algebra of polynomials over the rationals and over Q(i): where roots lie, and nothing rounded.

A polynomial is a list of coefficients, lowest power first. What a root must do is asked in two ways: real roots are
isolated by Sturm sequences, and roots of a complex polynomial p of degree k are counted against the unit circle by

    Schur–Cohn    p has all roots in |w| < 1  ⟺  |p_0| < |p_k| and (p̄_k p − p_0 p*)/w has, p*(w) = w^k p̄(1/w)
    Hermite form  … ⟺  H_ij = Σ_{m=1}^{min(i,j)} (p_{k−i+m} p̄_{k−j+m} − p̄_{i−m} p_{j−m}) is positive definite
    Cohn          p = c p* with |c| = 1 has all roots simple and on |w| = 1  ⟺  p′ has all roots in |w| < 1

The determinant of H vanishes exactly where p shares a root with p*: on the unit circle, or in a pair w, 1/w̄.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from math import gcd, lcm
from typing import Any

Scalar = Any
"""int, Fraction or Gaussian."""
Polynomial = list[Scalar]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A number a + b i with rational a and b.

    >>> Gaussian(1, 2) * Gaussian(1, -2) / 5
    Gaussian(real=Fraction(1, 1), imag=Fraction(0, 1))
    """

    real: Any
    imag: Any = 0

    def conjugate(self) -> Gaussian:
        return Gaussian(self.real, -self.imag)

    def __add__(self, other: Scalar) -> Gaussian:
        return Gaussian(self.real + other.real, self.imag + other.imag)

    def __neg__(self) -> Gaussian:
        return Gaussian(-self.real, -self.imag)

    def __sub__(self, other: Scalar) -> Gaussian:
        return Gaussian(self.real - other.real, self.imag - other.imag)

    def __rsub__(self, other: Scalar) -> Gaussian:
        return -self + other

    def __mul__(self, other: Scalar) -> Gaussian:
        a, b, c, d = self.real, self.imag, other.real, other.imag
        return Gaussian(a * c - b * d, a * d + b * c)

    def __truediv__(self, other: Scalar) -> Gaussian:
        size = Fraction(norm(other))
        return self * Gaussian(other.real / size, -other.imag / size)

    def __rtruediv__(self, other: Scalar) -> Gaussian:
        return Gaussian(other) / self

    def __eq__(self, other: object) -> bool:
        wanted: Any = other
        return self.real == wanted.real and self.imag == wanted.imag

    __hash__ = None  # type: ignore[assignment]
    __radd__, __rmul__ = __add__, __mul__


def norm(c: Scalar) -> Any:
    """|c|²."""
    return c.real * c.real + c.imag * c.imag


# --- arithmetic ---------------------------------------------------------------------------------------------


def trim(p: Sequence[Scalar]) -> Polynomial:
    """Without leading zeros.

    >>> trim([1, 2, 0])
    [1, 2]
    """
    kept = list(p)
    while kept and kept[-1] == 0:
        kept.pop()
    return kept


def add(p: Sequence[Scalar], q: Sequence[Scalar]) -> Polynomial:
    """p + q."""
    long, short = (p, q) if len(p) >= len(q) else (q, p)
    return [a + b for a, b in zip(long, short, strict=False)] + list(long[len(short) :])


def scale(p: Sequence[Scalar], c: Scalar) -> Polynomial:
    """c·p."""
    return [c * a for a in p]


def multiply(p: Sequence[Scalar], q: Sequence[Scalar]) -> Polynomial:
    """p·q."""
    if not p or not q:
        return []
    out: Polynomial = [0] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            out[i + j] = out[i + j] + a * b
    return out


def evaluate(p: Sequence[Scalar], x: Scalar) -> Scalar:
    """p(x), by Horner.

    >>> evaluate([1, 2, 3], 2)
    17
    """
    value: Scalar = 0
    for a in reversed(p):
        value = value * x + a
    return value


def derivative(p: Sequence[Scalar]) -> Polynomial:
    """p′."""
    return [a * j for j, a in enumerate(p)][1:]


def divide(p: Sequence[Scalar], q: Sequence[Scalar]) -> tuple[Polynomial, Polynomial]:
    """Quotient and remainder over a field."""
    rest, lead = trim(p), q[-1]
    quotient: Polynomial = [0] * max(len(rest) - len(q) + 1, 0)
    while len(rest) >= len(q):
        c = Fraction(1) * rest[-1] / lead
        shift = len(rest) - len(q)
        quotient[shift] = c
        rest = trim([*rest[:shift], *(a - c * b for a, b in zip(rest[shift:-1], q[:-1], strict=True))])
    return quotient, rest


def common(p: Sequence[Scalar], q: Sequence[Scalar]) -> Polynomial:
    """The monic greatest common divisor, by Euclid."""
    p, q = trim(p), trim(q)
    while q:
        p, q = q, divide(p, q)[1]
        q = scale(q, Fraction(1) / q[-1]) if q else q
    return scale(p, Fraction(1) / p[-1])


def primitive(p: Sequence[Any]) -> list[int]:
    """The integers in the same proportion, without a common factor and with the same sign (rational p)."""
    below = reduce(lcm, (Fraction(a).denominator for a in p), 1)
    whole = [int(Fraction(a) * below) for a in p]
    shared = reduce(gcd, whole, 0)
    return [a // shared for a in whole] if shared else whole


def interpolated(values: Sequence[Any]) -> list[Fraction]:
    """The polynomial with given values at 0, 1, 2, …, by Newton's forward differences, without leading zeros.

    >>> interpolated([1, 2, 5, 10])
    [Fraction(1, 1), Fraction(0, 1), Fraction(1, 1)]
    """
    row, out, basis = [Fraction(v) for v in values], list[Any](), [Fraction(1)]
    for j in range(len(values)):
        out = add(out, scale(basis, row[0]))
        row = [b - a for a, b in pairwise(row)]
        basis = scale(multiply(basis, [Fraction(-j), Fraction(1)]), Fraction(1, j + 1))
    return trim(out)


# --- real roots ---------------------------------------------------------------------------------------------


def squarefree(p: Sequence[Any]) -> list[int]:
    """The polynomial with the same roots, each simple; integers."""
    p = primitive(trim(p))
    if len(p) < 3:
        return p
    shared = common(p, derivative(p))
    return primitive(divide(p, shared)[0]) if len(shared) > 1 else p


def sturm(p: Sequence[int]) -> list[list[int]]:
    """The Sturm sequence of a squarefree polynomial, scaled by positive factors to small integers."""
    chain = [primitive(p), primitive(derivative(p))]
    while len(chain[-1]) > 1:
        a, b = chain[-2], chain[-1]
        rest, lead = list(a), abs(b[-1])
        sign = 1 if b[-1] > 0 else -1
        while len(rest) >= len(b):  # pseudo-remainder, multiplied by positive numbers only
            c, shift = sign * rest[-1], len(rest) - len(b)
            rest = [lead * a for a in rest]
            rest = trim([*rest[:shift], *(a - c * q for a, q in zip(rest[shift:], b, strict=True))])
        if not rest:
            break
        chain.append(primitive([-a for a in rest]))
    return chain


def _changes(chain: Sequence[Sequence[int]], x: Fraction) -> int:
    """Changes of sign along the sequence at x."""
    signs = [s for s in (_sign(p, x) for p in chain) if s]
    return sum(a != b for a, b in pairwise(signs))


def _sign(p: Sequence[int], x: Fraction) -> int:
    """The sign of p(x), in integers."""
    value, power, n, d = 0, 1, x.numerator, x.denominator
    for a in reversed(p):
        value = value * n + a * power
        power *= d
    return (value > 0) - (value < 0)


def root_bound(p: Sequence[Any]) -> Fraction:
    """A number larger than the modulus of every root (Cauchy)."""
    lead = abs(Fraction(p[-1]))
    return 1 + max((abs(Fraction(a)) / lead for a in p[:-1]), default=Fraction(0))


def real_roots(p: Sequence[Any], low: Fraction, width: Fraction) -> list[Fraction]:
    """The real roots above a number, isolated by a Sturm sequence and enclosed; the middles of the enclosures.

    Parameters
    ----------
    p : sequence of rational
    low : Fraction
        Only roots larger than this.
    width : Fraction
        The enclosures are at most so wide.

    Examples
    --------
    >>> [round(float(x), 12) for x in real_roots([-2, 0, 1], Fraction(0), Fraction(1, 10**14))]
    [1.414213562373]
    """
    p = squarefree(p)
    if len(p) < 2:
        return []
    chain = sturm(p)
    pending = [(low, max(root_bound(p), low + 1))]
    found: list[Fraction] = []
    while pending:
        a, b = pending.pop()
        count = _changes(chain, a) - _changes(chain, b)  # roots in (a, b]
        if count > 1:
            middle = (a + b) / 2
            pending += [(middle, b), (a, middle)]
        elif count == 1:
            found.append(_refined(p, chain, a, b, width))
    return sorted(found)


def _refined(p: Sequence[int], chain: Sequence[Sequence[int]], a: Fraction, b: Fraction, width: Fraction) -> Fraction:
    """The one root in (a, b], by bisection."""
    if _sign(p, b) == 0:
        return b
    while _sign(p, a) == 0:  # a root at the open end: leave it behind
        middle = (a + b) / 2
        a, b = (middle, b) if _changes(chain, middle) - _changes(chain, b) else (a, middle)
    below = _sign(p, a)
    while b - a > width:
        middle = (a + b) / 2
        sign = _sign(p, middle)
        if sign == 0:
            return middle
        a, b = (middle, b) if sign == below else (a, middle)
    return (a + b) / 2


# --- the unit circle ----------------------------------------------------------------------------------------


def reversed_conjugate(p: Sequence[Scalar]) -> Polynomial:
    """p*(w) = w^k p̄(1/w)."""
    return [a.conjugate() for a in reversed(p)]


def inside(p: Sequence[Scalar]) -> bool:
    """Whether all roots lie in |w| < 1, by the reduction of Schur and Cohn.

    >>> inside([1, 0, 2]), inside([1, 0, 1])
    (True, False)
    """
    p = trim(p)
    while len(p) > 1:
        c = p[0] / (Fraction(1) * p[-1].conjugate())
        if norm(c) >= 1:
            return False
        p = [a - c * b for a, b in zip(p[1:], reversed_conjugate(p)[1:], strict=True)]
    return True


def root_condition(p: Sequence[Scalar]) -> bool:
    """Whether all roots lie in |w| ≤ 1 and those with |w| = 1 are simple: the powers of a companion matrix are bounded.

    >>> root_condition([-1, 0, 1]), root_condition([1, -2, 1])
    (True, False)
    """
    p = trim(p)
    while len(p) > 1 and p[0] == 0:
        p = p[1:]
    if len(p) < 2:
        return True
    circle = common(p, reversed_conjugate(p))
    if len(circle) == 1:
        return inside(p)
    rest = divide(p, circle)[0]
    return inside(rest) and (len(circle) == 2 or inside(derivative(circle))) and len(common(rest, circle)) == 1


def hermite_form(p: Sequence[Scalar]) -> list[list[Scalar]]:
    """The Hermitian matrix of the module's text, positive definite exactly where `inside(p)`."""
    k = len(p) - 1
    bar = [a.conjugate() for a in p]

    def entry(i: int, j: int) -> Scalar:
        pairs = range(1, min(i, j) + 1)
        return sum((p[k - i + m] * bar[k - j + m] - bar[i - m] * p[j - m] for m in pairs), 0)

    return [[entry(i, j) for j in range(1, k + 1)] for i in range(1, k + 1)]


def characteristic(
    matrix: Sequence[Sequence[Any]],
    plus: Callable[[Any, Any], Any] = lambda a, b: a + b,
    times: Callable[[Any, Any], Any] = lambda a, b: a * b,
    over: Callable[[Any, int], Any] = lambda a, j: a / Fraction(j),
    one: Any = 1,
) -> list[Any]:
    """det(w − A) in powers of w, by Faddeev and LeVerrier, over any ring that can be divided by 1 … k.

    >>> characteristic([[0, 1], [-2, 3]])
    [Fraction(2, 1), Fraction(-3, 1), 1]
    """
    k = len(matrix)
    out, power = [one], [list(row) for row in matrix]
    for j in range(1, k + 1):
        c = over(reduce(plus, (power[i][i] for i in range(k))), -j)
        out.append(c)
        if j < k:
            shifted = [[plus(a, c) if m == i else a for m, a in enumerate(row)] for i, row in enumerate(power)]
            power = [
                [reduce(plus, (times(row[m], shifted[m][n]) for m in range(k))) for n in range(k)] for row in matrix
            ]
    return out[::-1]
