r"""Coloured trees and their products: the test problems of weak order, and their exact expectations.

A node is an unknown y_v with D_v = u^k ∏ y_c ∏ w_j, started at 0; w_j are unknowns with D = 0 that noise alone moves.
A node and a λ-leaf (u) weigh 1, a noise leaf (w_j) ½, and each w_j occurs twice in a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, permutations
from typing import Any

import mpmath

_TERMS = 10
"""Terms of the exact series."""


@dataclass(frozen=True, order=True)
class Coloured:
    """A tree with noise leaves.

    Attributes
    ----------
    times : int
        λ-leaves at the root.
    children : tuple of Coloured
    noise : tuple of int
        Labels of the noise leaves at the root; a label occurs twice in a forest.
    """

    times: int = 0
    children: tuple[Coloured, ...] = ()
    noise: tuple[int, ...] = ()

    @property
    def weight(self) -> int:
        """Twice the weight, a whole number."""
        return 2 + 2 * self.times + len(self.noise) + sum(child.weight for child in self.children)

    def labelled(self, names: Sequence[int]) -> Coloured:
        """With other labels: names[j] for j."""
        children = tuple(sorted(child.labelled(names) for child in self.children))
        return Coloured(self.times, children, tuple(sorted(names[j] for j in self.noise)))

    def __str__(self) -> str:
        leaves = "λ" * self.times + "".join("ξηζωκ"[j] for j in self.noise)
        inside = leaves + "".join(map(str, self.children))
        return f"[{inside}]" if inside else "τ"


@dataclass(frozen=True, order=True)
class Forest:
    """A product of roots, and of noise unknowns themselves, whose expectation is looked at."""

    roots: tuple[Coloured, ...] = ()
    noise: tuple[int, ...] = ()

    @property
    def order(self) -> int:
        """Its weight, the power of h with which its expectation begins."""
        return (len(self.noise) + sum(root.weight for root in self.roots)) // 2

    def labelled(self, names: Sequence[int]) -> Forest:
        """With other labels."""
        return Forest(tuple(sorted(r.labelled(names) for r in self.roots)), tuple(sorted(names[j] for j in self.noise)))

    def __str__(self) -> str:
        return "E " + " ".join([*map(str, self.roots), *("ξηζωκ"[j] for j in self.noise)])


def unknowns(forest: Forest) -> list[Coloured | int]:
    """Every tree inside a forest, and every noise unknown."""
    trees: list[Coloured | int] = []

    def visit(tree: Coloured) -> None:
        for child in tree.children:
            visit(child)
        trees.extend(item for item in (*tree.noise, tree) if item not in trees)

    for root in forest.roots:
        visit(root)
    return [*trees, *(j for j in dict.fromkeys(forest.noise) if j not in trees)]


# --- exact expectations --------------------------------------------------------------------------------------


def expectation(forest: Forest, tau: float, h: Any) -> Any:
    """The exact expectation of a forest at u = h, at noise level τ."""
    return mpmath.fsum(c * h**k for k, c in enumerate(series(forest, tau)))


@cache
def series(forest: Forest, tau: float) -> tuple[Any, ...]:
    r"""Taylor coefficients in u of the exact expectation G, from the generator: with m roots and noise unknowns

    G′ = −m τ² G + (1 + τ²) e^u Σ_roots u^k G(root → its children and leaves) + 2τ² Σ_pairs G(without the pair)
    """
    if not forest.roots and not forest.noise:
        return (mpmath.mpf(1), *[mpmath.mpf(0)] * (_TERMS - 1))
    count = len(forest.roots) + len(forest.noise)
    source = [mpmath.mpf(0)] * _TERMS
    for n, root in enumerate(forest.roots):
        others = forest.roots[:n] + forest.roots[n + 1 :]
        inner = series(_canonical(Forest(others + root.children, forest.noise + root.noise)), tau)
        growth = [(1 + mpmath.mpf(tau) ** 2) / mpmath.factorial(k) for k in range(_TERMS)]
        product = _times(growth, inner)
        source = [a + b for a, b in zip(source, [mpmath.mpf(0)] * root.times + product, strict=False)]
    for j in set(forest.noise):
        if forest.noise.count(j) == 2:
            rest = Forest(forest.roots, tuple(k for k in forest.noise if k != j))
            inner = series(_canonical(rest), tau)
            source = [a + 2 * mpmath.mpf(tau) ** 2 * b for a, b in zip(source, inner, strict=True)]
    out = [mpmath.mpf(0)]
    for k in range(_TERMS - 1):
        out.append((source[k] - count * mpmath.mpf(tau) ** 2 * out[k]) / (k + 1))
    return tuple(out)


def _times(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    return [mpmath.fsum(a[i] * b[n - i] for i in range(n + 1)) for n in range(_TERMS)]


# --- all products of a weight -------------------------------------------------------------------------------


@cache
def forests(order: int) -> tuple[Forest, ...]:
    """All products of roots of a weight, their noise leaves paired in every way.

    >>> [str(forest) for forest in forests(1)]
    ['E ξ ξ', 'E τ']
    """
    plain: set[Forest] = set()
    for bare in range(2 * order + 1):
        for roots in _multisets(2 * order - bare, 2 * order):
            leaves = bare + sum(_leaves(root) for root in roots)
            plain.update(_canonical(_paired(roots, bare, pairing)) for pairing in _pairings(tuple(range(leaves))))
    return tuple(sorted(plain))


@cache
def _trees(weight: int) -> tuple[Coloured, ...]:
    """Trees of twice a weight, their noise leaves not yet told apart (all labelled 0)."""
    out: list[Coloured] = []
    for times in range(weight // 2):
        for noise in range(weight - 2 - 2 * times + 1):
            rest = weight - 2 - 2 * times - noise
            out.extend(Coloured(times, tuple(sorted(children)), (0,) * noise) for children in _multisets(rest, rest))
    return tuple(out)


def _multisets(weight: int, largest: int) -> Iterator[tuple[Coloured, ...]]:
    """Multisets of trees with twice a weight in all."""
    if weight == 0:
        yield ()
        return
    for size in range(min(weight, largest), 1, -1):
        for count in range(1, weight // size + 1):
            for chosen in combinations_with_replacement(_trees(size), count):
                for rest in _multisets(weight - count * size, size - 1):
                    yield (*chosen, *rest)


def _leaves(tree: Coloured) -> int:
    return len(tree.noise) + sum(map(_leaves, tree.children))


def _pairings(leaves: tuple[int, ...]) -> Iterator[dict[int, int]]:
    """All ways to give the leaves labels, each to two of them."""
    if not leaves:
        yield {}
    elif len(leaves) % 2 == 0:
        for partner in leaves[1:]:
            rest = tuple(leaf for leaf in leaves[1:] if leaf != partner)
            for others in _pairings(rest):
                label = len(leaves) // 2 - 1
                yield {leaves[0]: label, partner: label, **others}


def _paired(roots: Sequence[Coloured], bare: int, pairing: dict[int, int]) -> Forest:
    """The forest with labels: leaves are counted in the order of a walk."""
    count = iter(range(len(pairing)))

    def walk(tree: Coloured) -> Coloured:
        noise = tuple(pairing[next(count)] for _ in tree.noise)
        return Coloured(tree.times, tuple(walk(child) for child in tree.children), noise)

    walked = tuple(walk(root) for root in roots)
    return Forest(walked, tuple(pairing[next(count)] for _ in range(bare)))


@cache
def _canonical(forest: Forest) -> Forest:
    """One forest for all that differ by the names of labels."""
    labels: set[int] = set(forest.noise)
    for tree in unknowns(Forest(forest.roots)):
        labels |= set(tree.noise) if isinstance(tree, Coloured) else {tree}
    known = sorted(labels)
    names = [dict(zip(known, order, strict=True)) for order in permutations(range(len(known)))]
    return min(forest.labelled([name.get(j, 0) for j in range(max(known, default=-1) + 1)]) for name in names)
