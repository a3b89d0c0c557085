r"""Implicit Runge–Kutta methods, solved by fixed-point iteration: Gauss, Radau IA and IIA, Lobatto IIIA, IIIB and IIIC.

Their nodes are the zeros of (d/dx)^k x^n (x − 1)^m, and with the Lagrange basis ℓ_j on them and b_j = ∫_0^1 ℓ_j,

    a_ij = ∫_0^{c_i} ℓ_j               Gauss, Radau IIA, Lobatto IIIA     (collocation, C(s))
    a_ij = (b_j/b_i) ∫_{c_j}^1 ℓ_i     Radau IA, Lobatto IIIB             (D(s))
    a_i1 = b_1 and C(s − 1)            Lobatto IIIC

A sweep evaluates all stages with the slopes of the sweep before, the first with f(y_n) for all of them. So m sweeps are
an explicit method of 1 + s m stages, and nothing but its tableau is needed. Each sweep is exact for one more node of a
tall tree, and the order is min(p, m + 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise

from diffode.errors import SolverError
from diffode.plan import Linear
from diffode.quadrature import monic
from diffode.solvers.base import Solver, limit, solver
from diffode.solvers.runge_kutta import VARIABLES, through_tableau
from diffode.solvers.tableaux import BITS, Tableau, near
from diffode.trace import Step

Rows = tuple[tuple[Fraction, ...], ...]
Poly = Sequence[Fraction]
"""Coefficients, the constant one first."""


@dataclass(frozen=True)
class _Family:
    """How the nodes and the matrix of a family are made.

    Attributes
    ----------
    left, right : int
        1 where 0, or 1, is a node.
    matrix : callable
        (nodes, weights) → A.
    least : int
        The fewest stages with Σ_j a_ij = c_i.
    """

    left: int
    right: int
    matrix: Callable[[Poly, Poly], Rows]
    least: int

    def order(self, stages: int) -> int:
        return 2 * stages - self.left - self.right


def _lagrange(nodes: Poly) -> list[list[Fraction]]:
    """The Lagrange basis on the nodes, as polynomials."""
    basis: list[list[Fraction]] = []
    for j, node in enumerate(nodes):
        others = [other for m, other in enumerate(nodes) if m != j]
        scale = Fraction(1)
        for other in others:
            scale *= node - other
        basis.append([Fraction(c) / scale for c in monic(others)])
    return basis


def _value(p: Poly, x: Fraction) -> Fraction:
    total = Fraction(0)
    for c in reversed(p):
        total = total * x + c
    return total


def _integral(p: Poly, a: Fraction, b: Fraction) -> Fraction:
    primitive = [Fraction(0), *(c / (k + 1) for k, c in enumerate(p))]
    return _value(primitive, b) - _value(primitive, a)


def _collocation(nodes: Poly, weights: Poly) -> Rows:
    basis = _lagrange(nodes)
    return tuple(tuple(_integral(p, Fraction(0), c) for p in basis) for c in nodes)


def _adjoint(nodes: Poly, weights: Poly) -> Rows:
    ones = Fraction(1)
    return tuple(
        tuple(b / weights[i] * _integral(p, c, ones) for b, c in zip(weights, nodes, strict=True))
        for i, p in enumerate(_lagrange(nodes))
    )


def _first_column(nodes: Poly, weights: Poly) -> Rows:
    basis, zero = _lagrange(nodes[1:]), Fraction(0)
    return tuple((weights[0], *(_integral(p, zero, c) - weights[0] * _value(p, zero) for p in basis)) for c in nodes)


FAMILIES = {
    "gauss": _Family(0, 0, _collocation, 1),
    "radau_ia": _Family(1, 0, _adjoint, 2),
    "radau_iia": _Family(0, 1, _collocation, 1),
    "lobatto_iiia": _Family(1, 1, _collocation, 2),
    "lobatto_iiib": _Family(1, 1, _adjoint, 3),
    "lobatto_iiic": _Family(1, 1, _first_column, 2),
}
"""The implicit families by name."""


def _nodes(family: _Family, stages: int) -> tuple[Fraction, ...]:
    """The zeros in [0, 1] of the derivative that leaves s of them: (d/dx)^k x^n (x − 1)^m with n + m − k = s."""
    n, m = stages - family.right, stages - family.left
    p = [Fraction(c) for c in monic([0] * n + [1] * m)]
    for _ in range(n + m - stages):
        p = [k * c for k, c in enumerate(p)][1:]
    grid = [Fraction(i, 64) for i in range(65)]
    found = [x for x in grid if _value(p, x) == 0]
    found += [_zero(p, a, b) for a, b in pairwise(grid) if _value(p, a) * _value(p, b) < 0]
    return tuple(sorted(map(near, found)))


def _zero(p: Poly, a: Fraction, b: Fraction) -> Fraction:
    """The zero between, by Newton's method, which doubles the digits in each turn."""
    slope, x = [k * c for k, c in enumerate(p)][1:], (a + b) / 2
    for _ in range(8):
        x = Fraction(round((x - _value(p, x) / _value(slope, x)) * 2 ** (BITS + 8)), 2 ** (BITS + 8))
    return x


def _family(method: str, stages: int) -> _Family:
    if method not in FAMILIES:
        raise SolverError(f"implicit_runge_kutta: no method named {method!r}; there are {', '.join(FAMILIES)}")
    family = FAMILIES[method]
    if not family.least <= stages <= 6:
        raise SolverError(f"implicit_runge_kutta: {method} has {family.least} to 6 stages here, not {stages}")
    return family


@cache
def implicit_tableau(method: str, stages: int) -> tuple[Rows, tuple[Fraction, ...], int]:
    """A, b and the order of an implicit method.

    Parameters
    ----------
    method : str
        A name in `FAMILIES`.
    stages : int

    Raises
    ------
    SolverError
        If there is no such method.

    Examples
    --------
    >>> a, b, order = implicit_tableau("radau_iia", 2)
    >>> [str(x) for row in a for x in row], order
    (['5/12', '-1/12', '3/4', '1/4'], 3)
    """
    family = _family(method, stages)
    nodes = _nodes(family, stages)
    weights = [near(_integral(p, Fraction(0), Fraction(1))) for p in _lagrange(nodes)]
    a = tuple(tuple(map(near, row)) for row in family.matrix(nodes, weights))
    return a, tuple(weights), family.order(stages)


def claimed(method: str, stages: int, iterations: int | None) -> int:
    """The order of an implicit method after so many sweeps; all that are needed by default."""
    order = _family(method, stages).order(stages)
    return order if iterations is None else min(order, iterations + 1)


@cache
def iterated(method: str, stages: int, iterations: int | None = None) -> Tableau:
    """The explicit tableau that some sweeps of fixed-point iteration are.

    Parameters
    ----------
    method, stages : str, int
        See `implicit_tableau`.
    iterations : int, optional
        Sweeps; order − 1 by default, which keeps the order.

    Examples
    --------
    >>> heun = iterated("lobatto_iiia", 2, 1)
    >>> [str(x) for x in (*heun.a[1], *heun.b)]
    ['1', '1/2', '1/2']
    """
    a, b, order = implicit_tableau(method, stages)
    sweeps = max(order - 1, 1) if iterations is None else iterations
    rows: list[dict[int, Fraction]] = [{}]
    before = [0] * stages
    for _ in range(sweeps):
        after: list[int] = []
        for row in a:
            entries: dict[int, Fraction] = {}
            for j, c in zip(before, row, strict=True):
                entries[j] = entries.get(j, Fraction(0)) + c
            entries = {j: near(c) for j, c in entries.items() if near(c)}
            after.append(len(rows) if entries else 0)  # a stage without slopes is the first one
            rows += [entries] if entries else []
        before = after
    weights: dict[int, Fraction] = {}
    for j, c in zip(before, b, strict=True):
        weights[j] = weights.get(j, Fraction(0)) + c
    return _pruned(rows, weights, claimed(method, stages, iterations), f"{method}_{stages}")


def _pruned(rows: Sequence[dict[int, Fraction]], weights: dict[int, Fraction], order: int, name: str) -> Tableau:
    """The tableau without the stages that nothing depends on."""
    needed = {0, *weights}
    for i in range(len(rows) - 1, -1, -1):
        needed |= set(rows[i]) if i in needed else set()
    kept = sorted(needed)
    a = tuple(tuple(rows[i].get(j, Fraction(0)) for j in kept[:n]) for n, i in enumerate(kept))
    return Tableau(a, tuple(weights.get(j, Fraction(0)) for j in kept), order, name)


_HW = "Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.5"


@solver(
    order=claimed,
    prediction=lambda variable: VARIABLES.get(variable, "eps"),
    source=f"{_HW}; fixed-point iteration: IV.8",
    ranges={"stages": (1, 6)},
    limits=[
        limit("deis_rho_midpoint", method="gauss", stages=1, iterations=1, variable="rho"),
        limit("heun", method="lobatto_iiia", stages=2, iterations=1, variable="rho"),
        limit("heun_t", method="lobatto_iiia", stages=2, iterations=1, variable="t"),
    ],
)
def implicit_runge_kutta(
    step: Step,
    method: str = "gauss",
    stages: int = 2,
    iterations: int | None = None,
    variable: str = "rho",
    final: str = "limit",
) -> Linear:
    r"""An implicit Runge–Kutta method by fixed-point iteration, in a chosen variable.

        k_i^{(0)} = f(y),    k_i^{(m)} = f(y + Δc Σ_j a_ij k_j^{(m−1)}),    y′ = y + Δc Σ_i b_i k_i^{(m)}

    It costs 1 + s m evaluations at most. A stage that no slope enters (the first of Lobatto IIIA) is evaluated once.

    Parameters
    ----------
    method : {"gauss", "radau_ia", "radau_iia", "lobatto_iiia", "lobatto_iiib", "lobatto_iiic"}
    stages : int
        s; the order p is 2s, 2s − 1 or 2s − 2.
    iterations : int, optional
        m, with which the order is min(p, m + 1); p − 1 by default.
    variable, final : str
        See `runge_kutta`.
    """
    if iterations is not None and iterations < 1:
        raise SolverError(f"implicit_runge_kutta: iterations must be at least 1, not {iterations}")
    return through_tableau(step, iterated(method, stages, iterations), variable, final)


def _named(method: str, stages: int) -> Solver:
    return implicit_runge_kutta.configure(f"{method}_{stages}", method=method, stages=stages)


gauss_2, gauss_3, gauss_4 = (_named("gauss", s) for s in (2, 3, 4))
radau_ia_2 = _named("radau_ia", 2)
radau_iia_2, radau_iia_3 = (_named("radau_iia", s) for s in (2, 3))
lobatto_iiia_3, lobatto_iiia_4 = (_named("lobatto_iiia", s) for s in (3, 4))
lobatto_iiib_3, lobatto_iiic_3 = (_named(f"lobatto_{kind}", 3) for kind in ("iiib", "iiic"))
