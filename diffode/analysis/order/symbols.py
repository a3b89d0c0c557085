"""Power series over a field of rational functions, for step ratios that stay symbols."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any, Self

from diffode.series import Scalar, Series, rational


@cache
def _field(count: int) -> Any:
    from sympy import QQ

    return QQ.frac_field(*(f"r{k + 1}" for k in range(count)))


def symbols(count: int) -> list[Any]:
    """r_1, r_2, … as elements of the field of their rational functions.

    >>> r1, r2 = symbols(2)
    >>> (r1 * r2 + r2) / r2
    r1 + 1
    """
    return list(_field(count).gens)


def series_over(numbers: Sequence[Any]) -> type[Series]:
    """The type of series whose coefficients are of the kind of some numbers."""
    field = next((n.field.to_domain() for n in numbers if not isinstance(n, (int, Fraction))), None)
    return Series if field is None else _over(field)


@cache
def _over(field: Any) -> type[Series]:
    def element(c: Scalar) -> Any:
        exact = rational(c)
        return field.from_sympy(_sympy(exact)) if isinstance(exact, Fraction) else exact

    class Over(Series):
        """A series over a field."""

        __slots__ = ()

        @classmethod
        def variable(cls, degree: int, at: Scalar = 0, one: Scalar = 1) -> Self:
            return super().variable(degree, element(at), element(one))

        @classmethod
        def constant(cls, value: Scalar, degree: int) -> Self:
            return super().constant(element(value), degree)

        def _literal(self, c: Scalar) -> Scalar:
            return element(c)

        def _inverse(self, c: Scalar) -> Scalar:
            return field.one / c

        def _scalar(self, other: Any) -> bool:
            return isinstance(other, type(field.one)) or super()._scalar(other)

    return Over


def _sympy(c: Fraction) -> Any:
    from sympy import Rational

    return Rational(c.numerator, c.denominator)
