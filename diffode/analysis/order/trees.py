r"""Test systems for order: one unknown for each rooted tree.

With y = x/σ the probability-flow ODE in λ is y′ = e^λ D(y, λ). For each rooted tree whose nodes may carry leaves of two
other kinds there is one unknown, started at 0:

    D_v = u^k · (y_0 − 1)^m · ∏_{c child of v} y_c,        u = λ − λ_0

A λ-leaf (u) makes time count; a δ-leaf (y_0 − 1) makes the linear part count: y_0 is an unknown with D = 0 and the
exact value 1, so a rule that does not carry the state along exactly shows it there. Every leaf counts as one node.
Elementary differentials are independent on these systems; a method has order p if and only if every unknown with at
most p nodes is right through h^p.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import factorial


@dataclass(frozen=True)
class Tree:
    """One unknown of the test system.

    Attributes
    ----------
    times, shifts : int
        Numbers of λ-leaves and of δ-leaves at the root.
    children : tuple of int
        Indices of the unknowns that it is fed by, sorted.
    size : int
        Nodes of the whole tree, leaves included.
    name : str
        Bracket notation: τ is a node without children, λ and δ are leaves.
    """

    times: int
    shifts: int
    children: tuple[int, ...]
    size: int
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


@cache
def trees(order: int, shifts: bool = True) -> tuple[Tree, ...]:
    """All trees with at most `order` nodes, smaller ones first, so that children come before their parents.

    Parameters
    ----------
    order : int
    shifts : bool
        Whether δ-leaves occur. Without them there are 1, 2, 5, 13, … trees of 1, 2, 3, 4, … nodes.

    Examples
    --------
    >>> [tree.name for tree in trees(2, shifts=False)]
    ['τ', '[τ]', '[λ]']
    >>> [len(trees(p, shifts=False)) for p in (1, 2, 3, 4)]
    [1, 3, 8, 21]
    """
    found: list[Tree] = []
    for size in range(1, order + 1):
        grown: list[Tree] = []
        for k in range(size):
            for m in range(size - k if shifts else 1):
                grown.extend(
                    Tree(k, m, children, size, _name(found, k, m, children))
                    for children in _forests(found, size - 1 - k - m, len(found) - 1)
                )
        found.extend(grown)
    return tuple(found)


def _forests(known: Sequence[Tree], nodes: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Multisets of known trees with so many nodes in all, as sorted tuples of indices."""
    if nodes == 0:
        yield ()
        return
    for i in range(largest, -1, -1):
        if known[i].size <= nodes:
            for rest in _forests(known, nodes - known[i].size, i):
                yield (*rest, i)


def _name(known: Sequence[Tree], times: int, shifts: int, children: tuple[int, ...]) -> str:
    inside = "λ" * times + "δ" * shifts + "".join(known[c].name for c in children)
    return f"[{inside}]" if inside else "τ"


def needed(forest: Sequence[Tree], wanted: Sequence[Tree]) -> tuple[Tree, ...]:
    """The part of a forest that some of its trees depend on, with indices of its own."""
    keep = {v for v, tree in enumerate(forest) if tree in wanted}
    for v in range(len(forest) - 1, -1, -1):
        if v in keep:
            keep.update(forest[v].children)
    index = {v: i for i, v in enumerate(sorted(keep))}
    return tuple(replace(forest[v], children=tuple(index[c] for c in forest[v].children)) for v in sorted(keep))


def exact(forest: Sequence[Tree], degree: int) -> list[list[Fraction]]:
    """Taylor coefficients in u of every exact unknown, through u^{degree−1}.

    y_v(u) = ∫_0^u e^s s^k ∏ y_c(s) ds, integrated term by term; 0 where a δ-leaf occurs.
    """
    solutions: list[list[Fraction]] = []
    exponential = [Fraction(1, factorial(n)) for n in range(degree)]
    for tree in forest:
        integrand = [Fraction(0)] * tree.times + exponential[: degree - tree.times]
        for child in tree.children:
            integrand = _product(integrand, solutions[child], degree)
        if tree.shifts:
            integrand = [Fraction(0)] * degree
        solutions.append([Fraction(0)] + [integrand[n] / (n + 1) for n in range(degree - 1)])
    return solutions


def density(forest: Sequence[Tree], v: int) -> Fraction:
    """The weight that the unknown must have at its lowest power: 1/γ of the tree, 0 where a δ-leaf occurs."""
    return exact(forest[: v + 1], forest[v].size + 1)[v][forest[v].size]


def _product(a: Sequence[Fraction], b: Sequence[Fraction], degree: int) -> list[Fraction]:
    return [sum((a[i] * b[n - i] for i in range(n + 1)), Fraction(0)) for n in range(degree)]
