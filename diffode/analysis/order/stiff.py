r"""Stiff order: what is left of the order when the linear part is not expanded in h.

In λ the probability-flow ODE is x′ = L x + g(x, λ), with L = −1 and g = D for data prediction on α = 1, and with
L = 1 and g = −ε for noise prediction on σ = 1. A rule that is exponential in the linear part has coefficients that are
functions of z = h L, and those same functions make it a method for any operator L. Its stiff order is the order that it
keeps whatever the size of L (Hochbruck and Ostermann, SIAM J. Numer. Anal. 43, 2005; Luan and Ostermann, 2014).

With nodes c_i (past values are nodes too, c_i < 0), weights b_i(z), a_ij(z) and the defects of the stages

    ψ_{k,i}(z) = Σ_j a_ij(z) c_j^{k−1}/(k−1)! − c_i^k φ_k(c_i z)

the conditions of order p are Σ_i b_i c_i^{p−1}/(p−1)! = φ_p(z), and one for each nesting of defects, such as

    Σ_i b_i(z) c_i ψ_{2,i}(w) = 0,    Σ_i b_i(z) Σ_j a_ij(w) ψ_{2,j}(v) = 0.

Between two factors stands a derivative of g, which does not commute with L; so every factor has its own argument.
In the *weakened* form the conditions of the last order ask for b_i(0) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations_with_replacement
from math import factorial
from random import Random
from typing import Any

import mpmath

from diffode import phi
from diffode.analysis.order.exponents import TOLERANCE, StiffTable
from diffode.analysis.order.fixed_point import probe
from diffode.errors import PlanError
from diffode.plan import Evaluate
from diffode.solvers import Solver

_DIGITS = 50


@dataclass(frozen=True)
class Nested:
    """A factor under a condition's sum over nodes: a defect ψ_k, or another sum over nodes with the weights a_ij.

    Attributes
    ----------
    defect : int
        k of ψ_k; 0 for a sum.
    power : int
        m in c_j^m under the sum.
    factors : tuple of Nested
        What stands beside it.
    """

    defect: int = 0
    power: int = 0
    factors: tuple[Nested, ...] = ()

    @property
    def size(self) -> int:
        """How many arguments it has, its own and those inside."""
        return 1 + sum(factor.size for factor in self.factors)

    def __str__(self) -> str:
        return f"ψ_{self.defect}" if self.defect else f"Σ a {_product(self.power, self.factors)}"


@dataclass(frozen=True)
class StiffCondition:
    """One stiff order condition, and whether a rule meets it.

    Attributes
    ----------
    order : int
    name : str
        "Σ b c^2/2 = φ_3", or what must vanish.
    strong, weakened : bool
        Whether it holds for every z, and with b_i(0) for b_i(z).
    residual : float
        The largest found, at random arguments.
    """

    order: int
    name: str
    strong: bool
    weakened: bool
    residual: float

    def __str__(self) -> str:
        holds = "holds" if self.strong else "holds with b(0) only" if self.weakened else f"off by {self.residual:.2g}"
        return f"order {self.order}: {self.name}: {holds}"


@dataclass(frozen=True)
class StiffOrder:
    """The stiff order of a rule.

    Attributes
    ----------
    strong : int
        All conditions through this order hold for every z.
    weakened : int
        One more where those of the next order hold with b_i(0); then the full order is seen wherever the solution is
        smooth enough.
    conditions : tuple of StiffCondition
        All that were looked at.
    """

    strong: int
    weakened: int
    conditions: tuple[StiffCondition, ...]

    @property
    def failures(self) -> tuple[StiffCondition, ...]:
        """The conditions that are missed at the first order where any is."""
        missed = [c for c in self.conditions if not c.strong]
        return tuple(c for c in missed if c.order == missed[0].order)

    def __str__(self) -> str:
        text = f"stiff order {self.strong}"
        if self.weakened > self.strong:
            text += f" ({self.weakened} in the weakened form)"
        return text + (f"; fails {self.failures[0].name} at order {self.failures[0].order}" if self.failures else "")


@lru_cache(maxsize=256)
def stiff_order(solver: Solver, highest: int | None = None, seed: int = 0) -> StiffOrder:
    """The stiff order of an exponential solver, on steps of irregular ratio.

    Parameters
    ----------
    solver : Solver
        Deterministic, exponential, with data or noise prediction, told the level of the state, and with no memory but
        evaluations.
    highest : int, optional
        The highest order to look at; one more than the claim by default.
    seed : int
        Where the random arguments come from.

    Returns
    -------
    StiffOrder

    Raises
    ------
    PlanError
        If the rule has no coefficients of that form.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> print(stiff_order(get_solver("dpmpp_2m")))
    stiff order 1 (2 in the weakened form); fails Σ b c = φ_2 at order 2
    >>> print(stiff_order(get_solver("deis_lambdaab_2")), "|", stiff_order(get_solver("deis_rhoab_2")).strong)
    stiff order 3; fails Σ b c^3/6 = φ_4 at order 4 | 1
    """
    _require_exponential(solver)
    highest = highest or int(solver.order) + 1
    random = Random(seed)
    with mpmath.workdps(_DIGITS):
        sign = -1 if solver.prediction == "x0" else 1
        gaps = [random.uniform(0.6, 1.7) for _ in range(solver.history + 2)]
        straight, bent = (StiffTable.of(solver, mpmath.mpf(sign), gaps, 2, bend).moments for bend in (0.0, 0.3))
        if max(abs(a - b) for a, b in zip(straight, bent, strict=True)) > TOLERANCE:
            raise PlanError(f"{solver.name} reads t, so its stiff order depends on the process")
        exponents = [sign * random.uniform(0.4, 3.0) for _ in range(highest + 1)]
        tables = [StiffTable.of(solver, mpmath.mpf(z), gaps, highest) for z in exponents]
        zero = StiffTable.of(solver, sign * mpmath.mpf(10) ** -20, gaps, highest)
        found = tuple(_conditions(tables, zero, highest))
    strong = _reached([c.order for c in found if not c.strong], highest)
    weakened = _reached([c.order for c in found if not c.weakened], highest)
    return StiffOrder(strong, min(strong + 1, weakened), found)


def _reached(missed: list[int], highest: int) -> int:
    return min(missed) - 1 if missed else highest


def _require_exponential(solver: Solver) -> None:
    plan = probe(solver)
    plan.require_linear("the stiff order", homogeneous=True)
    reasons = {
        "draws noise": not plan.is_deterministic,
        "is not declared exponential": not solver.exponential and solver.stiff_order is None,
        f"has the prediction {solver.prediction!r}, not 'x0' or 'eps'": solver.prediction not in ("x0", "eps"),
        "keeps more than evaluations from step to step": bool(plan.memory.named),
        "tells the network another level than that of the state": any(
            isinstance(row, Evaluate) and row.at is not None for row in plan.rows
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise PlanError(f"{solver.name} {reason}, so the stiff conditions do not apply to it")


# --- the conditions -------------------------------------------------------------------------------------------

Under = tuple[int, tuple[Nested, ...]]
"""A power of c and the factors beside it, under a sum over nodes."""


@cache
def shapes(order: int) -> tuple[Under, ...]:
    """The conditions of an order: c^{p−1} alone, whose sum is φ_p, and all that must vanish.

    >>> [len(shapes(p)) for p in range(1, 7)]     # as many as rooted trees with p nodes
    [1, 1, 2, 4, 9, 20]
    """
    return ((order - 1, ()), *_under(order - 1))


@cache
def _under(order: int) -> tuple[Under, ...]:
    return tuple((m, factors) for m in range(order) for factors in _products(order - m, 2))


@cache
def _products(order: int, least: int) -> tuple[tuple[Nested, ...], ...]:
    """Multisets of factors that carry so many powers of h together, each at least so many."""
    single = tuple((factor,) for factor in _factors(order)) if order >= least else ()
    several: list[tuple[Nested, ...]] = []
    for size in range(least, order // 2 + 1):
        for count in range(1, order // size + 1):
            rest = order - count * size
            others = _products(rest, size + 1) if rest else ((),)
            same = combinations_with_replacement(_factors(size), count)
            several.extend((*chosen, *other) for chosen in same for other in others)
    return single + tuple(product for product in several if len(product) > 1)


@cache
def _factors(order: int) -> tuple[Nested, ...]:
    """ψ_order, and every sum over a_ij that carries as many powers of h."""
    return (Nested(defect=order), *(Nested(0, m, factors) for m, factors in _under(order - 1)))


def _conditions(tables: list[StiffTable], zero: StiffTable, highest: int) -> Iterator[StiffCondition]:
    worst = max((abs(defect[0]) for table in tables for defect in table.defects.values()), default=mpmath.mpf(0))
    for order in range(1, highest + 1):
        if order == 2:
            yield _judged(2, "Σ a = c φ_1(c z)", worst, worst)
        for power, factors in shapes(order):
            if factors:
                gaps = [_weight(first.weights, first.nodes, power, factors, tables[1:]) for first in (tables[0], zero)]
                name = f"Σ b {_product(power, factors)} = 0"
            else:
                gaps = [first.moments[power] - phi.phi(order, first.z) for first in (tables[0], zero)]
                over = f"/{factorial(power)}" if power > 1 else ""
                name = f"{' '.join(['Σ b', *_power(power)])}{over} = φ_{order}"
            yield _judged(order, name, *map(abs, gaps))


def _judged(order: int, name: str, strong: Any, weak: Any) -> StiffCondition:
    return StiffCondition(order, name, bool(strong < TOLERANCE), bool(weak < TOLERANCE), float(strong))


def _power(m: int) -> list[str]:
    return [] if not m else ["c"] if m == 1 else [f"c^{m}"]


def _product(power: int, factors: tuple[Nested, ...]) -> str:
    return " ".join([*_power(power), *(str(f) if f.defect else f"({f})" for f in factors)])


def _weight(
    weights: Mapping[str, Any],
    nodes: Mapping[str, Any],
    power: int,
    factors: tuple[Nested, ...],
    tables: Sequence[StiffTable],
) -> Any:
    """Σ_i w_i c_i^m ∏ factor_i, with a table, so an argument, for each factor."""
    total = mpmath.mpf(0)
    for i, w in weights.items():
        term, rest = w * nodes[i] ** power, tables
        for factor in factors:
            at = rest[0]
            if factor.defect:
                term = term * at.defects[i][factor.defect - 1]
            else:
                term = term * _weight(at.stages[i], nodes, factor.power, factor.factors, rest[1:])
            rest = rest[factor.size :]
        total = total + term
    return total
