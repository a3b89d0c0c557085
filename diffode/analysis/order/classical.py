r"""Rooted trees by the thousand, and the classical order conditions of a Butcher tableau.

Every tree of more than one node is l ∘ r: r grafted to the root of l as its last child. With children in order each
tree arises once, so that trees of n nodes are pairs of smaller ones, and what is multiplicative is had in one pass:

    g(τ) = 1,    g(l ∘ r) = g(l) · (A g(r)),    Φ(t) = Σ b g(t),    γ(l ∘ r) = |t| γ(l) γ(r) / |l|.

The condition of t is Φ(t) = 1/γ(t). Tables of fractions are scaled to integers and nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import lcm
from typing import Any, Protocol

import numpy as np

from diffode.kinds import package_of
from diffode.series import rational


class Table(Protocol):
    """The rows of A, as far as they go, and b."""

    @property
    def a(self) -> Sequence[Sequence[Any]]: ...
    @property
    def b(self) -> Sequence[Any]: ...


@dataclass(frozen=True, eq=False)
class Forest:
    """All rooted trees with at most so many nodes, smaller ones first; tree 0 is τ.

    Attributes
    ----------
    left, right : list of int
        Tree v is left[v] ∘ right[v].
    size, density, symmetry : list of int
        Nodes, γ, and the number σ of the symmetries.
    starts : list of int
        Where the trees of 1, 2, … nodes begin, and the end.
    """

    left: list[int]
    right: list[int]
    size: list[int]
    density: list[int]
    symmetry: list[int]
    starts: list[int]

    def __len__(self) -> int:
        return len(self.size)

    def name(self, v: int) -> str:
        """Bracket notation."""
        return f"[{self._inside(v)}]" if v else "τ"

    def _inside(self, v: int) -> str:
        return self._inside(self.left[v]) + self.name(self.right[v]) if v else ""

    def level_sequence(self, v: int) -> tuple[int, ...]:
        """The depth of each node, in the order of a walk (Beyer and Hedetniemi, 1980)."""
        if not v:
            return (0,)
        return (*self.level_sequence(self.left[v]), *(depth + 1 for depth in self.level_sequence(self.right[v])))


@cache
def rooted_trees(order: int) -> Forest:
    """All rooted trees with at most `order` nodes.

    Examples
    --------
    >>> forest = rooted_trees(4)
    >>> [forest.name(v) for v in range(len(forest))]
    ['τ', '[τ]', '[ττ]', '[[τ]]', '[τττ]', '[[τ]τ]', '[[ττ]]', '[[[τ]]]']
    >>> forest.density
    [1, 2, 3, 6, 4, 8, 12, 24]
    """
    left, right, size, density, symmetry, copies, starts = [0], [0], [1], [1], [1], [0], [0, 1]
    for n in range(2, order + 1):
        for m in range(n - 1, 0, -1):
            first, end = starts[n - m - 1], starts[n - m]
            for v in range(starts[m - 1], starts[m]):
                last = right[v] if v else end
                for r in range(first, min(end, last + 1)):
                    same = copies[v] + 1 if v and r == last else 1
                    left.append(v)
                    right.append(r)
                    size.append(n)
                    density.append(n * density[v] // m * density[r])
                    symmetry.append(symmetry[v] * symmetry[r] * same)
                    copies.append(same)
        starts.append(len(left))
    return Forest(left, right, size, density, symmetry, starts)


@dataclass(frozen=True)
class ClassicalConditions:
    """Whether a tableau meets Φ(t) = 1/γ(t), for all trees to an order.

    Attributes
    ----------
    forest : Forest
    weights : tuple
        Φ(t): fractions, or floats or mpmath numbers where the tableau has numbers that are rounded.
    holds : tuple of bool
    """

    forest: Forest
    weights: tuple[Any, ...]
    holds: tuple[bool, ...]

    @property
    def order(self) -> int:
        """The order of the tableau, or the highest looked at."""
        sizes = [size for size, holds in zip(self.forest.size, self.holds, strict=True) if not holds]
        return min(sizes, default=self.forest.size[-1] + 1) - 1

    def failures(self) -> Iterator[tuple[str, Any, Fraction]]:
        """The trees of the first order that is missed: name, weight, and the weight wanted."""
        for v, holds in enumerate(self.holds):
            if not holds and self.forest.size[v] == self.order + 1:
                yield self.forest.name(v), self.weights[v], Fraction(1, self.forest.density[v])


def classical_conditions(table: Table, order: int) -> ClassicalConditions:
    """The order conditions of a Butcher tableau, explicit or not, for y′ = f(y).

    Parameters
    ----------
    table : Tableau
        Anything with rows `a` (short ones are filled up with zeros) and weights `b`.
    order : int
        The highest order to look at.

    Returns
    -------
    ClassicalConditions

    Examples
    --------
    >>> from diffode.solvers.runge_kutta import RK4
    >>> found = classical_conditions(RK4, 5)
    >>> found.order, next(found.failures())
    (4, ('[ττττ]', Fraction(5, 24), Fraction(1, 5)))
    """
    forest, stages = rooted_trees(order), len(table.b)
    rows = [[rational(c) for c in row] + [Fraction(0)] * (stages - len(row)) for row in table.a]
    weights = [rational(c) for c in table.b]
    if any(package_of(c) == "mpmath" for row in [*rows, weights] for c in row):
        return _in_digits(forest, rows, weights)
    if not all(isinstance(c, Fraction) and c.denominator < 2**40 for row in [*rows, weights] for c in row):
        return _rounded(forest, np.array(rows, dtype=float), np.array(weights, dtype=float))
    scale = lcm(*(c.denominator for row in rows for c in row))
    above = lcm(*(c.denominator for c in weights))
    a = np.array([[int(c * scale) for c in row] for row in rows], dtype=object)
    found = np.array([int(c * above) for c in weights], dtype=object) @ _stage_weights(forest, a)
    unit = [above * scale ** (n - 1) for n in range(order + 1)[1:]]
    units = [unit[size - 1] for size in forest.size]
    holds = tuple(value * g == one for value, g, one in zip(found, forest.density, units, strict=True))
    return ClassicalConditions(forest, tuple(map(Fraction, found, units)), holds)


def _rounded(forest: Forest, a: np.ndarray, b: np.ndarray) -> ClassicalConditions:
    """In float64; a condition holds if it does up to the rounding of its sum."""
    found, size = (w @ _stage_weights(forest, m) for w, m in ((b, a), (abs(b), abs(a))))
    holds = abs(found - 1 / np.array(forest.density)) <= 1e-15 * np.array(forest.size) * (len(b) + size * len(b))
    return ClassicalConditions(forest, tuple(found.tolist()), tuple(holds.tolist()))


def _in_digits(forest: Forest, rows: Sequence[Sequence[Any]], weights: Sequence[Any]) -> ClassicalConditions:
    """In the working precision of mpmath; a condition holds if it does to three quarters of the digits."""
    import mpmath

    a, b = (np.array([[mpmath.mpf(1) * c for c in row] for row in table], dtype=object) for table in (rows, [weights]))
    found = (b @ _stage_weights(forest, a))[0]
    bound = mpmath.mpf(10) ** (-0.75 * mpmath.mp.dps)
    holds = tuple(bool(abs(w * g - 1) < bound) for w, g in zip(found, forest.density, strict=True))
    return ClassicalConditions(forest, tuple(found), holds)


def _stage_weights(forest: Forest, a: np.ndarray) -> np.ndarray:
    """g(t) for every stage (row) and tree (column), the trees of one size at once."""
    g = np.ones((len(a), len(forest)), dtype=a.dtype)
    inner = g.copy()  # A g
    left, right = np.array(forest.left), np.array(forest.right)
    for start, end in zip(forest.starts[:-1], forest.starts[1:], strict=True):
        if start:
            g[:, start:end] = g[:, left[start:end]] * inner[:, right[start:end]]
        if end < len(forest):
            inner[:, start:end] = a @ g[:, start:end]
    return g
