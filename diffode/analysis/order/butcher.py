r"""The tableau of a Runge–Kutta rule, read off its plan, and the order that its conditions prove.

In the variable c of a rule the probability-flow ODE is dy/dc = k, with y = x/α in ρ and in λ, y = x in t and in σ. One
step is traced with numbers of many digits, on two processes, and told in y and k:

    Y_i = y + Δc Σ_j a_ij k_j,    y′ = y + Δc Σ_i b_i k_i,    c_i = Σ_j a_ij.

Where the numbers are the same both times the rule is the Runge–Kutta method with this tableau, on every process, and
Butcher's conditions are all that there is to prove. Some hundred rooted trees stand for the tens of thousands of test
problems that `proof` needs at order 8, and irrational nodes cost no more than rational ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath

from diffode import phi
from diffode.analysis.order.classical import ClassicalConditions, classical_conditions
from diffode.analysis.order.fixed_point import Levels, probe
from diffode.analysis.order.proof import Failure, OrderProof
from diffode.analysis.order.trees import Tree
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.process import EDM, VP, Process
from diffode.solvers import Solver
from diffode.trace import trace

DIGITS = 60
_SAME = 10.0**-45
_QUICK = 7
_RATIONAL = 10**12
"""Entries that are fractions with smaller denominators are taken for these."""

_POSITIONS: dict[str, Callable[[Level], Any]] = {
    "rho": lambda level: level.rho,
    "lambda": lambda level: level.lam,
    "t": lambda level: level.t,
    "sigma": lambda level: level.sigma,
}
_SLOPES: dict[str, tuple[str, Callable[[Level], Any]]] = {
    "rho": ("eps", lambda level: 1),
    "lambda": ("eps", lambda level: -phi.exp(-level.lam)),
    "t": ("velocity", lambda level: 1),
    "sigma": ("velocity", lambda level: 1 / level.dsigma),
}
"""What k is made of, and with which factor."""


@dataclass(frozen=True)
class ButcherTable:
    """A tableau as a plan has it: square A and b; fractions where all entries are, else numbers of many digits.

    Attributes
    ----------
    a, b : tuples
    variable : str
    rational : bool
    """

    a: tuple[tuple[Any, ...], ...]
    b: tuple[Any, ...]
    variable: str
    rational: bool


@dataclass(frozen=True)
class TableauProof(OrderProof):
    """An order by Butcher's conditions for the tableau of a rule; see `OrderProof`.

    Attributes
    ----------
    table : ButcherTable
    """

    table: ButcherTable = field(kw_only=True, compare=False, repr=False)

    @property
    def grounds(self) -> str:
        how = "exactly" if self.table.rational else f"to {DIGITS} digits"
        return f"{self.conditions} conditions of the tableau in {self.table.variable} that was read off the plan, {how}"


@lru_cache(maxsize=256)
def butcher_table(solver: Solver) -> ButcherTable | None:
    """The tableau of a rule in its variable; None where it is no Runge–Kutta method there.

    Parameters
    ----------
    solver : Solver
        With an option `variable`.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> table = butcher_table(get_solver("heun_lambda"))
    >>> [str(x) for x in table.b], table.rational
    (['1/2', '1/2'], True)
    """
    variable = solver.options.get("variable")
    if variable not in _SLOPES or solver.prediction != _SLOPES[variable][0] or solver.history:
        return None
    plan = probe(solver)
    if not (plan.is_deterministic and plan.is_linear and plan.is_homogeneous) or plan.memory.named:
        return None
    with mpmath.workdps(DIGITS):
        found = [_read(solver, variable, process, at) for process, at in ((VP(), 0.2), (EDM(), -0.3))]
        one, other = (None if table is None else [x for row in table for x in row] for table in found)
        if one is None or other is None or max(abs(x - y) for x, y in zip(one, other, strict=True)) > _SAME:
            return None
        simple = [_simplest(x) for x in one]
        if rational := all(isinstance(x, Fraction) for x in simple):
            one = simple
    stages = len(found[0] or ()) - 1
    *a, b = [tuple(one[i * stages : (i + 1) * stages]) for i in range(stages + 1)]
    return ButcherTable(tuple(a), b, variable, rational)


def _simplest(x: Any) -> Any:
    exact = Fraction(int(mpmath.nint(x * 2**200)), 2**200)
    simple = exact.limit_denominator(_RATIONAL)
    return simple if abs(simple - exact) < Fraction(1, 10**45) else x


def _read(solver: Solver, variable: str, process: Process, at: float) -> list[list[Any]] | None:
    """A and, as the last row, b on one step; None where a register is no stage of a Runge–Kutta method."""
    levels = tuple(process.level(lam=mpmath.mpf(lam)) for lam in (at, at + 0.35))
    plan = trace(solver, Levels(process, levels), open_end=True)
    start, end = (_POSITIONS[variable](level) for level in levels)
    evaluations = [row for row in plan.rows if isinstance(row, Evaluate)]
    names = {row.out: j for j, row in enumerate(evaluations)}
    held = _expansions(plan)
    rows: list[list[Any]] = []
    for out, level in [*((row.x, row.level) for row in evaluations), (plan.states[-1], levels[-1])]:
        state, weights = held[out]
        scale = level.alpha if variable in ("rho", "lambda") else mpmath.mpf(1)
        whole = scale / (levels[0].alpha if variable in ("rho", "lambda") else 1)
        row = [mpmath.mpf(0)] * len(evaluations)
        for name, c in weights.items():
            factor = _SLOPES[variable][1](evaluations[names[name]].level)
            row[names[name]] = c / (scale * (end - start) * factor)
        node = (_POSITIONS[variable](level) - start) / (end - start)
        if abs(state - whole) > _SAME * abs(whole) or abs(mpmath.fsum(row) - node) > _SAME:
            return None
        rows.append(row)
    return rows


def _expansions(plan: Plan) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every register that is a state, as its weight of the first state and of the evaluations."""
    held: dict[str, tuple[Any, dict[str, Any]]] = {plan.inputs[0]: (mpmath.mpf(1), {})}
    for row in plan.rows:
        if isinstance(row, Evaluate):
            held[row.out] = (mpmath.mpf(0), {row.out: mpmath.mpf(1)})
        elif isinstance(row, Combine):
            state, weights = mpmath.mpf(0), dict[str, Any]()
            for c, name in row.terms:
                state = state + c * held[name][0]
                for evaluation, w in held[name][1].items():
                    weights[evaluation] = weights.get(evaluation, 0) + c * w
            held[row.out] = (state, weights)
    return held


def tableau_for(solver: Solver, highest: int) -> ButcherTable | None:
    """The tableau by whose conditions a rule is proved to an order, where the test problems of `proof` are not quick.

    Of such a proof no file is written.
    """
    if solver.options.get("variable") is None or solver.history:
        return None
    table = butcher_table(solver)
    return None if table is None or (table.rational and highest <= _QUICK) else table


def prove_by_tableau(
    solver: Solver, highest: int, spacing: str, variable: str, always: bool = False
) -> TableauProof | None:
    """The order of a Runge–Kutta rule by the conditions of its tableau; None for any other rule.

    None also where the test problems of `proof` are quick: with fractions for entries, up to order 6.

    Parameters
    ----------
    solver : Solver
    highest : int
        The highest order to look at.
    spacing, variable : str
        Handed on: a method of one step has the same order on every grid.
    always : bool
        Whether rules are taken for which the test problems are quick.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> proof = prove_by_tableau(get_solver("gauss_2"), 5, "rough", "lam")
    >>> print(proof.order, proof.failures[0])
    4 fails the tree [ττττ] at h^5: its weight is 7/36, should be 1/5
    """
    table = butcher_table(solver) if always else tableau_for(solver, highest)
    if table is None:
        return None
    with mpmath.workdps(DIGITS):
        found = classical_conditions(table, highest)
    complete = found.order < highest
    failures = tuple(_failures(found)) if complete else ()
    count = len(found.forest)
    return TableauProof(found.order, complete, failures, spacing, variable, count, 0.0, None, table=table)


def _failures(found: ClassicalConditions) -> list[Failure]:
    """The conditions that are missed, the bushiest trees first."""
    forest, size = found.forest, found.order + 1
    missed = [v for v, holds in enumerate(found.holds) if not holds and forest.size[v] == size]
    return [
        Failure(
            Tree(0, 0, tuple(range(1, forest.level_sequence(v).count(1) + 1)), size, forest.name(v)),
            size,
            _fraction(found.weights[v]),
            Fraction(1, forest.density[v]),
        )
        for v in missed[:3]
    ]


def _fraction(x: Any) -> Fraction:
    return x if isinstance(x, Fraction) else Fraction(str(mpmath.nstr(x, 30))).limit_denominator(_RATIONAL)
