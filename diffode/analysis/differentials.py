"""Trees in symbols: the elementary differential F(τ) of y′ = e^λ D(y, λ), its factor e^{nλ}, its symmetries."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import factorial

from diffode.analysis.order.trees import Tree

LINEAR = Tree(0, 1, (), 1, "δ")
"""The state itself: what a rule does to x/σ where D = 0."""


def symmetry(tree: Tree, forest: Sequence[Tree]) -> int:
    """The number of a tree's symmetries: those of its λ-leaves, of equal branches, and of the branches themselves."""
    total = factorial(tree.times) * factorial(tree.shifts)
    for child in set(tree.children):
        count = tree.children.count(child)
        total *= factorial(count) * symmetry(forest[child], forest) ** count
    return total


def differential(tree: Tree) -> str:
    """F(τ) in symbols, read off the tree's name: D_λ…y… is a derivative of D, in brackets what it is applied to.

    A δ-leaf is the state y.

    >>> from diffode.analysis.order.trees import trees
    >>> [differential(tree) for tree in trees(3, shifts=False)][:5]
    ['D', 'D_y(D)', 'D_λ', 'D_y(D_λ)', 'D_y(D_y(D))']
    """
    text, _ = _read(tree.name, 0)
    return text


def _read(name: str, at: int) -> tuple[str, int]:
    if name[at] in "τδ":
        return {"τ": "D", "δ": "y"}[name[at]], at + 1
    leaves, branches, at = "", list[str](), at + 1
    while name[at] != "]":
        if name[at] == "λ":
            leaves, at = leaves + name[at], at + 1
        else:
            branch, at = _read(name, at)
            branches.append(branch)
    applied = f"({', '.join(branches)})" if branches else ""
    return f"D_{leaves}{'y' * len(branches)}{applied}", at + 1


def signed(value: Fraction) -> str:
    """A fraction with a minus sign of its own; a decimal where it is no small one."""
    size = abs(value)
    return f"{'−' if value < 0 else ''}{size if size.denominator < 10**6 else f'{float(size):.6g}'}"


def evaluations(tree: Tree) -> int:
    """How many nodes of a tree are D itself: each carries e^λ, so that F(τ) comes with e^{nλ} at the step's start.

    >>> from diffode.analysis.order.trees import trees
    >>> [(tree.name, evaluations(tree)) for tree in trees(2, shifts=False)]
    [('τ', 1), ('[τ]', 2), ('[λ]', 1)]
    """
    return tree.name.count("[") + tree.name.count("τ")
