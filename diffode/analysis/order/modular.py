r"""Series over the integers modulo the prime 2^61 − 1, one at a time and many at once.

Every rational literal has an image there; an identity that holds for random values modulo a large prime holds for
rationals, up to a chance that `diffode.analysis.order.proof` states. A `Block` is a vector of such series held in one
array: what a plan does to all unknowns of the test systems is then a few array operations. A product of two residues is
formed from halves of 31 bits, and reduced by 2^61 ≡ 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import Any, Self, overload

import numpy as np

from diffode.series import Scalar, Series, rational

PRIME = 2**61 - 1
DUST = 64 * 2.0**-52
"""What rounding leaves of a coefficient that a rule made of simple fractions, which lie 1e-8 apart."""
_PRIME = np.uint64(PRIME)
_61, _31, _30 = np.uint64(61), np.uint64(31), np.uint64(30)
_LOW31, _LOW30 = np.uint64(2**31 - 1), np.uint64(2**30 - 1)


class ModularSeries(Series):
    """A power series over the integers modulo the prime 2^61 − 1: identities between rationals, tested fast.

    >>> h = ModularSeries.variable(3)
    >>> (h / 3 * 3).coefficients
    (1, 0)
    """

    __slots__ = ()

    @classmethod
    def variable(cls, degree: int, at: Scalar = 0, one: Scalar = 1) -> Self:
        return super().variable(degree, residue(at), residue(one))

    @classmethod
    def constant(cls, value: Scalar, degree: int) -> Self:
        return super().constant(residue(value), degree)

    def _reduce(self, c: Scalar) -> Scalar:
        return c % PRIME

    def _inverse(self, c: Scalar) -> Scalar:
        if c == 0:
            raise ZeroDivisionError("division of a series by 0")
        return pow(c, -1, PRIME)

    def _literal(self, c: Scalar) -> Scalar:
        return residue(c)


class RoundedLiteral(ArithmeticError):
    """A literal is a long binary fraction: 2^{−n} and 2^{61−n} are one residue, so it cannot be read back."""


class ReadableSeries(ModularSeries):
    """The same, for numbers that are to be read as fractions afterwards: literals that were rounded are refused."""

    __slots__ = ()

    def _literal(self, c: Scalar) -> Scalar:
        return readable(c)


def readable(c: Scalar) -> int:
    """The image of a literal that is no long binary fraction."""
    n = Fraction(rational(c)).denominator
    if n > 2**20 and n & (n - 1) == 0:
        raise RoundedLiteral(f"{c} is a rounded number")
    return residue(c)


def residue(c: Scalar) -> int:
    """The image of a rational literal modulo `PRIME`.

    A float a few roundings from a simple fraction, as 1 − 1/0.6 is from −2/3, is read as that fraction. Its dust would
    not stay small: modulo this prime 2^{−54} is 2^7.
    """
    value = rational(c)
    if isinstance(value, Fraction) and value.denominator > 10_000:
        simple = value.limit_denominator(10_000)
        value = simple if abs(simple - value) <= DUST * max(1, abs(value)) else value
    if not isinstance(value, Fraction):
        raise TypeError(f"{type(c).__name__} has no image modulo a prime; the coefficients of a rule must be rational")
    return value.numerator * _reciprocal(value.denominator) % PRIME


@lru_cache(maxsize=65536)
def _reciprocal(n: int) -> int:
    return pow(n, -1, PRIME)


def reconstructed(c: int) -> Fraction | None:
    """The fraction with small numerator and denominator (product below 2^40) that has this image, if there is one.

    >>> reconstructed(residue(Fraction(-473, 12)))
    Fraction(-473, 12)
    """
    a, b, u, v = PRIME, c % PRIME, 0, 1
    while b > isqrt(PRIME):
        q = a // b
        a, b, u, v = b, a - q * b, v, u - q * v
    return Fraction(b, v) if b * abs(v) < 2**40 else None


# --- many at once -------------------------------------------------------------------------------------------


class Block(Sequence[ModularSeries]):
    """A vector of series with one valuation and one degree: row v is h^valuation Σ_i values[v, i] h^i + O(h^degree).

    >>> h = ModularSeries.variable(3)
    >>> [entry[1] for entry in Block.of([h, h * 2]).times(1 + h) + Block.of([h, h])]
    [2, 3]
    """

    __slots__ = ("valuation", "values")

    def __init__(self, values: np.ndarray, valuation: int = 0) -> None:
        while valuation < 0 and values.shape[1] and not values[:, 0].any():
            values, valuation = values[:, 1:], valuation + 1
        self.values, self.valuation = values, valuation

    @classmethod
    def of(cls, entries: Iterable[Series]) -> Block:
        """The block of some series; the least known of them says how far all are known."""
        if isinstance(entries, Block):
            return entries
        known = list(entries)
        low = min(0, *(entry.valuation for entry in known))
        high = min(entry.degree for entry in known)
        rows = [[entry[n] for n in range(low, high)] for entry in known]
        return cls(np.array(rows, dtype=np.uint64).reshape(len(known), max(high - low, 0)), low)

    @property
    def degree(self) -> int:
        """The first power that is not known."""
        return self.valuation + self.values.shape[1]

    @overload
    def __getitem__(self, index: int) -> ModularSeries: ...
    @overload
    def __getitem__(self, index: slice) -> Block: ...
    def __getitem__(self, index: int | slice) -> ModularSeries | Block:
        if isinstance(index, slice):
            return Block(self.values[index], self.valuation)
        return ModularSeries(self.values[index].tolist(), self.valuation)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[ModularSeries]:
        return (ModularSeries(row, self.valuation) for row in self.values.tolist())

    def coefficient(self, power: int) -> np.ndarray:
        """The coefficients of h^power, of all entries."""
        i = power - self.valuation
        return self.values[:, i] if i >= 0 else np.zeros(len(self), dtype=np.uint64)

    def __add__(self, other: Block) -> Block:
        low, high = min(self.valuation, other.valuation), min(self.degree, other.degree)
        return Block(_reduced(self._from(low, high) + other._from(low, high)), low)

    def __sub__(self, other: Block) -> Block:
        low, high = min(self.valuation, other.valuation), min(self.degree, other.degree)
        return Block(_reduced(self._from(low, high) + (_PRIME - other._from(low, high))), low)

    def _from(self, low: int, high: int) -> np.ndarray:
        out = np.zeros((len(self), high - low), dtype=np.uint64)
        width = max(high - self.valuation, 0)
        out[:, self.valuation - low : self.valuation - low + width] = self.values[:, :width]
        return out

    def times(self, c: Any) -> Block:
        """Every entry times one series, or a literal."""
        if not isinstance(c, Series):
            return Block(_products(self.values, np.uint64(residue(c))), self.valuation)
        if not c.coefficients:
            return Block(np.zeros((len(self), max(c.degree + self.valuation, 0)), dtype=np.uint64))
        row = np.array([c.coefficients], dtype=np.uint64)
        return self * Block(row, c.valuation)

    def __mul__(self, other: Block) -> Block:
        """Entry by entry; a block of one entry multiplies all."""
        a, b = self.values, other.values
        n = min(a.shape[1], b.shape[1])
        out = np.zeros((max(len(a), len(b)), n), dtype=np.uint64)
        for i in range(n):
            if b[:, i].any():
                out[:, i:] = _reduced(out[:, i:] + _products(a[:, : n - i], b[:, i : i + 1]))
        return Block(out, self.valuation + other.valuation)

    def at(self, u: ModularSeries) -> Block:
        """Every entry, a series in another variable, composed with u = O(h)."""
        power = ModularSeries.constant(1, u.degree)
        total = np.zeros((len(self), u.degree), dtype=np.uint64)
        for column in self.values.T[: u.degree]:
            row = np.array([power[n] for n in range(u.degree)], dtype=np.uint64)
            total = _reduced(total + _products(column[:, None], row))
            power = power * u
        return Block(total[:, : self.degree])

    def integral(self) -> Block:
        """∫_0^h of every entry, to the same degree."""
        out = np.zeros_like(self.values)
        scale = np.array([_reciprocal(n) for n in range(1, self.degree)], dtype=np.uint64)
        out[:, 1:] = _products(self.values[:, :-1], scale)
        return Block(out)

    def stacked(self, other: Block) -> Block:
        """The entries of both."""
        low, high = min(self.valuation, other.valuation), min(self.degree, other.degree)
        return Block(np.concatenate([self._from(low, high), other._from(low, high)]), low)


def _reduced(x: np.ndarray) -> np.ndarray:
    """Residues of numbers below 2^63."""
    x = (x & _PRIME) + (x >> _61)
    return np.where(x >= _PRIME, x - _PRIME, x)


def _products(a: np.ndarray, b: Any) -> np.ndarray:
    """a·b modulo the prime, for residues."""
    a1, a0, b1, b0 = a >> _31, a & _LOW31, b >> _31, b & _LOW31
    middle = a1 * b0 + a0 * b1
    total = np.uint64(2) * a1 * b1 + (middle >> _30) + ((middle & _LOW30) << _31) + a0 * b0
    return _reduced((total & _PRIME) + (total >> _61))
