"""Truncated power series in one small step h, over any field of coefficients.

A step rule traced with these numbers yields its coefficients as exact expansions in h, from which
`diffode.analysis` reads the order. Over `fractions.Fraction` nothing is rounded. A series may start at a
negative power (a divided difference does), so it carries its own valuation and its own precision:

    s = h^v (c_0 + c_1 h + … + c_{n−1} h^{n−1}) + O(h^{v+n}),    c_0 ≠ 0.

Comparisons raise `BranchError`: a rule that branches on the value of a coefficient has no expansion.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from math import factorial, isqrt
from numbers import Number
from operator import mul
from typing import Any, NoReturn, Self

import numpy as np

from diffode import kinds
from diffode.errors import BranchError

Scalar = Any


def rational(c: Scalar) -> Scalar:
    """The exact value of a literal: integers as they are, floats as the simplest fraction that rounds to them.

    A rule that says `r1=1/3` means a third, not the nearest float; 0.1 and 2/3 come back as what was typed.

    >>> rational(1 / 3), rational(0.5)
    (Fraction(1, 3), Fraction(1, 2))
    """
    if isinstance(c, (float, np.floating)):
        return _simplest(float(c))
    if isinstance(c, (int, np.integer)):
        return Fraction(int(c))
    return c


@lru_cache(maxsize=4096)
def _simplest(c: float) -> Fraction:
    exact = Fraction(c)
    simple = exact.limit_denominator(10_000)
    return simple if float(simple) == c else exact


class Series:
    """A Laurent series in h, truncated: h^valuation · Σ coefficients[i] h^i + O(h^degree).

    Parameters
    ----------
    coefficients : iterable
        Lowest power first; leading zeros are moved into the valuation.
    valuation : int
        The power that the first coefficient belongs to.

    Examples
    --------
    >>> h = Series.variable(4)
    >>> h.exp()
    1 + h + 1/2 h^2 + 1/6 h^3 + O(h^4)
    >>> (h.exp() - 1) / h
    1 + 1/2 h + 1/6 h^2 + O(h^3)
    """

    __slots__ = ("coefficients", "valuation")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, coefficients: Iterable[Scalar], valuation: int = 0) -> None:
        kept = list(coefficients)
        drop = 0
        while drop < len(kept) and kept[drop] == 0:
            drop += 1
        self.coefficients = tuple(kept[drop:])
        self.valuation = valuation + drop

    @classmethod
    def variable(cls, degree: int, at: Scalar = 0, one: Scalar = 1) -> Self:
        """The series at + h, known to O(h^degree)."""
        return cls([at, one, *[0 * one] * (degree - 2)][:degree])

    @classmethod
    def constant(cls, value: Scalar, degree: int) -> Self:
        """value + O(h^degree)."""
        return cls([value, *[0 * value] * (degree - 1)])

    @property
    def degree(self) -> int:
        """The first power that is not known."""
        return self.valuation + len(self.coefficients)

    def __getitem__(self, power: int) -> Scalar:
        """The coefficient of h^power."""
        i = power - self.valuation
        if i >= len(self.coefficients):
            raise IndexError(f"the series is known to O(h^{self.degree}) only; asked for h^{power}")
        return self.coefficients[i] if i >= 0 else 0

    def __repr__(self) -> str:
        def power(n: int) -> str:
            return "" if n == 0 else "h" if n == 1 else f"h^{n}"

        terms: list[str] = []
        for i, c in enumerate(self.coefficients):
            if c != 0:
                name = power(self.valuation + i)
                factor = "" if c == 1 and name else str(c)
                terms.append(f"{factor} {name}".strip())
        return " + ".join([*terms, f"O({power(self.degree) or '1'})"])

    # arithmetic

    def _reduce(self, c: Scalar) -> Scalar:
        """The canonical form of a coefficient."""
        return c

    def _inverse(self, c: Scalar) -> Scalar:
        return 1 / c if not isinstance(c, int) else Fraction(1, c)

    def _literal(self, c: Scalar) -> Scalar:
        """A number of a formula in the field of the coefficients: exact, except among floats."""
        a = next((a for a in self.coefficients if not isinstance(a, (int, Fraction))), 0)
        if isinstance(a, (float, np.floating)):
            return c
        exact = rational(c)
        if kinds.package_of(a) == "mpmath" and isinstance(exact, Fraction):
            return type(a)(exact.numerator) / exact.denominator
        return exact

    def _scalar(self, other: Any) -> bool:
        return isinstance(other, Number) or any(type(other) is type(c) for c in self.coefficients)

    def __add__(self, other: Any) -> Self:
        if not isinstance(other, Series):
            if not self._scalar(other):
                return NotImplemented
            other = self._literal(other)
            if self.degree <= 0 or other == 0:
                return self
            other = self.constant(other, self.degree)
        low = min(self.valuation, other.valuation)
        high = min(self.degree, other.degree)
        return type(self)([self._reduce(self[n] + other[n]) for n in range(low, high)], low)

    def __neg__(self) -> Self:
        return type(self)([self._reduce(-c) for c in self.coefficients], self.valuation)

    def __sub__(self, other: Any) -> Self:
        return self + (-other)

    def __rsub__(self, other: Any) -> Self:
        return -self + other

    def __mul__(self, other: Any) -> Self:
        if not isinstance(other, Series):
            if not self._scalar(other):
                return NotImplemented
            c = self._literal(other)
            return type(self)([self._reduce(a * c) for a in self.coefficients], self.valuation)
        a, b = self.coefficients, other.coefficients
        n = min(len(a), len(b))
        back = b[:n][::-1]
        product = [self._reduce(sum(map(mul, a[1 : m + 1], back[n - m :]), a[0] * b[m])) for m in range(n)]
        return type(self)(product, self.valuation + other.valuation)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Self:
        if not isinstance(other, Series):
            if not self._scalar(other):
                return NotImplemented
            c = self._inverse(self._literal(other))
            return type(self)([self._reduce(a * c) for a in self.coefficients], self.valuation)
        if not other.coefficients:
            raise ZeroDivisionError(f"division by a series that is 0 to O(h^{other.degree})")
        a, b = self.coefficients, other.coefficients
        lead, quotient = self._inverse(b[0]), list[Scalar]()
        for m in range(min(len(a), len(b))):
            rest = sum(map(mul, quotient, b[m:0:-1]), 0)
            quotient.append(self._reduce((a[m] - rest) * lead))
        return type(self)(quotient, self.valuation - other.valuation)

    def __rtruediv__(self, other: Any) -> Self:
        if not self._scalar(other):
            return NotImplemented
        return self.constant(self._literal(other), max(len(self.coefficients), 1)) / self

    def __pow__(self, n: int | float | Fraction) -> Self:
        if not isinstance(n, int):
            return self.sqrt() if n == 0.5 else (n * self.log()).exp()
        if n < 0:
            return 1 / self**-n
        result: Self | None = None
        for _ in range(n):
            result = self if result is None else result * self
        return result if result is not None else self.constant(1, max(self.degree, 1))

    def __rpow__(self, base: Scalar) -> Self:
        return (self * kinds.log(_inexact(base, "a power with the exponent"))).exp()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Any:
        """NumPy's functions are the methods of the same name; its scalars count as plain numbers."""
        if method != "__call__" or any(np.ndim(x) for x in inputs if isinstance(x, np.ndarray)):
            return NotImplemented
        name = ufunc.__name__
        plain = [x.item() if isinstance(x, (np.generic, np.ndarray)) else x for x in inputs]
        if name in _OPERATORS:
            return _OPERATORS[name](*plain)
        function = getattr(self, "atan" if name == "arctan" else name, None)
        return function() if function is not None else NotImplemented

    # analytic functions

    def _split(self, name: str) -> tuple[Scalar, Self]:
        """The constant term and the rest, which vanishes with h."""
        if self.valuation < 0:
            raise ZeroDivisionError(f"{name} of a series with a negative power of h")
        constant = self[0] if self.degree > 0 else 0
        return constant, self - constant if constant != 0 else self

    def _sum(self, term: Callable[[int], Scalar], small: Self) -> Self:
        """Σ_j term(j) small^j, by Horner from the last power that can matter."""
        if small.degree <= 0:  # nothing is known of what is summed
            return type(self)([])
        last = (small.degree - 1) // max(small.valuation, 1)
        total = self.constant(self._literal(term(last)), small.degree)
        for j in reversed(range(last)):
            total = total * small + term(j)
        return total

    def exp(self) -> Self:
        """e^s; the constant term must have an exponential in the field of coefficients."""
        constant, small = self._split("exp")
        value = self._sum(lambda j: Fraction(1, factorial(j)), small)
        return value if constant == 0 else value * kinds.exp(_inexact(constant, "exp"))

    def expm1(self) -> Self:
        """e^s − 1, to the full precision of s."""
        return self.phi(1) * self if self._split("expm1")[0] == 0 else self.exp() - 1

    def log(self) -> Self:
        """log s, for a constant term other than 0."""
        constant, small = self._split("log")
        if constant == 0:
            raise ZeroDivisionError("log of a series that vanishes with h")
        value = (small / constant).log1p()
        return value if constant == 1 else value + kinds.log(_inexact(constant, "log"))

    def log1p(self) -> Self:
        """log(1 + s)."""
        if self._split("log1p")[0] != 0:
            return (self + 1).log()
        if not self.coefficients:
            return self
        return self * self._sum(lambda j: Fraction((-1) ** j, j + 1), self)

    def sqrt(self) -> Self:
        """√s, for an even valuation and a first coefficient with a root in the field."""
        if not self.coefficients or self.valuation % 2:
            raise ZeroDivisionError(f"√ of {self} is not a power series in h")
        first = self.coefficients[0]
        small = type(self)(self.coefficients) / first - 1
        binomial = [Fraction(1)]
        for j in range(len(self.coefficients)):
            binomial.append(binomial[-1] * (Fraction(1, 2) - j) / (j + 1))
        unit = type(self)(self.coefficients)._sum(lambda j: binomial[j], small)
        return type(self)((unit * _root(first)).coefficients, self.valuation // 2)

    def _circular(self, name: str) -> tuple[Self, Self]:
        """Sine and cosine."""
        constant, small = self._split(name)
        square = small * small
        sine = small * self._sum(lambda j: Fraction((-1) ** j, factorial(2 * j + 1)), square)
        cosine = self._sum(lambda j: Fraction((-1) ** j, factorial(2 * j)), square)
        if constant == 0:
            return sine, cosine
        s, c = kinds.sin(_inexact(constant, name)), kinds.cos(constant)
        return cosine * s + sine * c, cosine * c - sine * s

    def sin(self) -> Self:
        """sin s."""
        return self._circular("sin")[0]

    def cos(self) -> Self:
        """cos s."""
        return self._circular("cos")[1]

    def tan(self) -> Self:
        """tan s."""
        sine, cosine = self._circular("tan")
        return sine / cosine

    def atan(self) -> Self:
        """atan s = atan s_0 + atan (s − s_0)/(1 + s_0 s)."""
        constant, small = self._split("atan")
        small = small / (1 + constant * self) if constant != 0 else small
        value = small * self._sum(lambda j: Fraction((-1) ** j, 2 * j + 1), small * small)
        return value if constant == 0 else value + kinds.atan(_inexact(constant, "atan"))

    def phi(self, k: int) -> Self:
        """φ_k(s) = Σ_j s^j/(j+k)! where s vanishes with h, by the recurrence where it does not."""
        constant, small = self._split("phi")
        if constant == 0:
            return self._sum(lambda j: Fraction(1, factorial(j + k)), small)
        value = self.exp()
        for j in range(k):
            value = (value - Fraction(1, factorial(j))) / self
        return value

    # what a series has not

    def _branch(self, other: Any = None) -> NoReturn:
        raise BranchError(
            "the rule compares a coefficient with another, so its order cannot be expanded in h; "
            "write the step without a branch on values (a branch on step.starting or step.index is fine)"
        )

    __lt__ = __le__ = __gt__ = __ge__ = _branch

    __bool__ = __abs__ = _branch

    def __float__(self) -> NoReturn:
        raise BranchError(
            "the rule makes a float of a coefficient, so its order cannot be expanded in h; "
            "use the functions of diffode.phi (not those of math) on coefficients"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Series):
            return (self.coefficients, self.valuation) == (other.coefficients, other.valuation)
        return self._branch(other)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "negative": operator.neg, "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "power": operator.pow, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "equal": operator.eq, "not_equal": operator.ne,
}  # fmt: skip
"""What NumPy calls the operators, when one of its scalars stands on the left."""


def _inexact(c: Scalar, name: str) -> Scalar:
    if isinstance(c, (int, Fraction)):
        raise ZeroDivisionError(f"{name} of a series with the constant term {c} is not rational")
    return c


def _root(c: Scalar) -> Scalar:
    if not isinstance(c, (int, Fraction)):
        return kinds.sqrt(c)
    c = Fraction(c)
    n, d = isqrt(abs(c.numerator)), isqrt(c.denominator)
    if c < 0 or n * n != c.numerator or d * d != c.denominator:
        raise ZeroDivisionError(f"√ of a series with the first coefficient {c} is not rational")
    return Fraction(n, d)
