"""What a step rule computes with: linear expressions over registers, and for systems vectors of them and matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffode.errors import PlanError
from diffode.kinds import Number


@dataclass(frozen=True)
class Scaled:
    """factor · (the value of a `Dynamic` row): the only coefficient that is not a number."""

    __array_ufunc__ = None  # so that an array times this is asked of this

    dynamic: str
    factor: Number = 1.0

    def __mul__(self, other: Number) -> Scaled:
        if isinstance(other, Linear):  # its own product keeps the terms
            return NotImplemented
        if isinstance(other, Scaled):
            raise PlanError(
                f"a product of the dynamic coefficients {self.dynamic} and {other.dynamic} is not linear in either; "
                "multiply them in the function of one Dynamic row"
            )
        return Scaled(self.dynamic, self.factor * other)

    def __truediv__(self, other: Number) -> Scaled:
        return Scaled(self.dynamic, self.factor / other)

    def __neg__(self) -> Scaled:
        return Scaled(self.dynamic, -self.factor)

    __rmul__ = __mul__


class Linear:
    """A linear expression over registers, the only thing a step rule can compute.

        2 * x - d / 3

    Sums and differences of expressions, and products and quotients by coefficients; anything else
    (a product of two expressions, a sum with a number) is not linear and raises TypeError.
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None

    def __init__(self, terms: Mapping[str, Number]) -> None:
        self.terms = dict(terms)

    def __add__(self, other: Linear) -> Linear:
        if not isinstance(other, Linear):
            if isinstance(other, (int, float)) and other == 0:  # so that sum() works
                return self
            return NotImplemented
        terms = dict(self.terms)
        for name, c in other.terms.items():
            if name not in terms:
                terms[name] = c
            elif isinstance(terms[name], Scaled) or isinstance(c, Scaled):
                raise PlanError(
                    f"register {name} gets two coefficients, one of them dynamic; "
                    "add them up in the function of the Dynamic row"
                )
            else:
                terms[name] = terms[name] + c
        return Linear(terms)

    __radd__ = __add__

    def __neg__(self) -> Linear:
        return Linear({name: -c for name, c in self.terms.items()})

    def __sub__(self, other: Linear) -> Linear:
        return self + (-other) if isinstance(other, Linear) else NotImplemented

    def __mul__(self, c: Number) -> Linear:
        if isinstance(c, Linear):
            return NotImplemented
        plain = isinstance(c, float)
        return Linear({name: c * a if plain else _times(c, a) for name, a in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, c: Number) -> Linear:
        if isinstance(c, Linear):
            return NotImplemented
        return Linear({name: a / c for name, a in self.terms.items()})

    def __repr__(self) -> str:
        return " + ".join(f"{c} {name}" for name, c in self.terms.items()) or "0"


class Vector:
    """The state of a system, or what the network says of it: one linear expression for each component.

        2 * u - d / 3,    matrix @ u,    position, velocity = u

    Parameters
    ----------
    parts : iterable of Linear
    """

    __slots__ = ("parts",)
    __array_ufunc__ = None

    def __init__(self, parts: Iterable[Linear]) -> None:
        self.parts = tuple(parts)

    def each(self, change: Callable[[Linear], Linear]) -> Vector:
        """The vector with every component changed."""
        return Vector(change(part) for part in self.parts)

    def __iter__(self) -> Iterator[Linear]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, i: int) -> Linear:
        return self.parts[i]

    def __add__(self, other: Vector) -> Vector:
        if not isinstance(other, Vector):
            return self if isinstance(other, (int, float)) and other == 0 else NotImplemented
        return Vector(a + b for a, b in zip(self.parts, other.parts, strict=True))

    __radd__ = __add__

    def __neg__(self) -> Vector:
        return self.each(lambda part: -part)

    def __sub__(self, other: Vector) -> Vector:
        return self + (-other) if isinstance(other, Vector) else NotImplemented

    def __mul__(self, c: Number) -> Vector:
        return NotImplemented if isinstance(c, (Vector, Linear)) else self.each(lambda part: c * part)

    __rmul__ = __mul__

    def __truediv__(self, c: Number) -> Vector:
        return NotImplemented if isinstance(c, (Vector, Linear)) else self.each(lambda part: part / c)

    def __repr__(self) -> str:
        return f"({', '.join(map(repr, self.parts))})"


@dataclass(frozen=True)
class Matrix:
    """A matrix of a system's process, as small as the system: entries are numbers of any kind, arrays too.

    >>> Matrix(((2.0, 0.0), (1.0, 4.0))).inverse() @ Matrix(((2.0,), (5.0,)))
    Matrix(rows=((1.0,), (1.0,)))
    """

    rows: tuple[tuple[Number, ...], ...]
    __array_ufunc__ = None

    @staticmethod
    def of(entries: Sequence[Number]) -> Matrix:
        """The square matrix of a list of entries, row after row."""
        n = round(len(entries) ** 0.5)
        return Matrix(tuple(tuple(entries[i * n : (i + 1) * n]) for i in range(n)))

    @property
    def entries(self) -> list[Number]:
        """All entries, row after row."""
        return [c for row in self.rows for c in row]

    @property
    def T(self) -> Matrix:
        """The transpose."""
        return Matrix(tuple(zip(*self.rows, strict=True)))

    def __matmul__(self, other: Matrix | Vector) -> Any:
        if isinstance(other, Vector):
            return Vector(_dot(row, other) for row in self.rows)
        columns = other.T.rows
        return Matrix(tuple([tuple([_dot(row, column) for column in columns]) for row in self.rows]))

    def __add__(self, other: Matrix) -> Matrix:
        pairs = (zip(a, b, strict=True) for a, b in zip(self.rows, other.rows, strict=True))
        return Matrix(tuple([tuple([a + b for a, b in row]) for row in pairs]))

    def __sub__(self, other: Matrix) -> Matrix:
        return self + other * -1.0

    def __mul__(self, c: Number) -> Matrix:
        return Matrix(tuple([tuple([c * a for a in row]) for row in self.rows]))

    __rmul__ = __mul__

    def determinant(self) -> Number:
        """Of two rows and columns; PlanError for others."""
        if [len(row) for row in self.rows] != [2, 2]:
            raise PlanError(f"a system has two components, but this matrix has rows of {[len(r) for r in self.rows]}")
        a, b, c, d = self.entries
        return a * d - b * c

    def inverse(self) -> Matrix:
        """The inverse, of two rows and columns."""
        determinant = self.determinant()
        a, b, c, d = self.entries
        return Matrix(((d, -b), (-c, a))) * (1.0 / determinant)


def _dot(row: Iterable[Number], column: Iterable[Any]) -> Any:
    total: Any = 0  # no generator, here and above, which would be resumed for every entry of every matrix
    for c, a in zip(row, column, strict=True):
        total = total + c * a
    return total


def _times(c: Number, a: Number) -> Number:
    """c·a, where NumPy would otherwise make an array of objects from a fraction."""
    if isinstance(a, np.ndarray) and isinstance(c, Fraction):
        return float(c) * a
    return c * float(a) if isinstance(c, np.ndarray) and isinstance(a, Fraction) else c * a
