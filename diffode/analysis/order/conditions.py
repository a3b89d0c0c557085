r"""The order conditions of a solver as a table, with step ratios as numbers or as symbols.

A tree of n nodes has one condition of its own: what one step from an exact past gives its unknown at h^n must be h^n/γ,
for every process. These come first. What a tree gets at higher powers of h depends on the process, and is an
identity in its jets; `OrderProof` tests all of them, this table counts them. The residuals at order p + 1 are the
principal error constants.

Step ratios: the step is h, the one before it r_1 h, then r_2 h, …, and h before those that the rule names. As symbols
they are elements of the field Q(r_1, r_2, …), so that a weight is a rational function, exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import sympy

from diffode.analysis.order.laboratory import Laboratory, remembers
from diffode.analysis.order.symbols import symbols
from diffode.analysis.order.trees import Tree, density
from diffode.errors import PlanError, placed
from diffode.series import rational
from diffode.solvers import Solver, get_solver


@dataclass(frozen=True)
class Condition:
    """One order condition.

    Attributes
    ----------
    tree : Tree
    density : Fraction or None
        γ, None where a δ-leaf occurs: the weight must be 0.
    found : Fraction or SymPy expression
        The weight that the rule gives, in units of h^n.
    """

    tree: Tree
    density: Fraction | None
    found: Any

    @property
    def wanted(self) -> Fraction:
        return Fraction(0) if self.density is None else 1 / self.density

    @property
    def residual(self) -> Any:
        """Found minus wanted."""
        return self.found - (self.wanted if isinstance(self.found, Fraction) else sympy.Rational(str(self.wanted)))

    @property
    def holds(self) -> bool:
        return bool(self.residual == 0)

    @cached_property
    def weight(self) -> str:
        """The elementary weight in the letters of a tableau: c for a λ-leaf, d for a δ-leaf, a for an inner stage."""
        return f"Σ b {_inner(self.tree.name)}".strip()


@dataclass(frozen=True)
class OrderConditions:
    """All conditions of a solver to an order; prints as a table.

    Attributes
    ----------
    solver : str
    conditions : tuple of Condition
        Smaller trees first.
    ratios : str
        The grid: "uniform", "symbols", or the numbers.
    """

    solver: str
    conditions: tuple[Condition, ...]
    ratios: str

    @property
    def order(self) -> int:
        """The highest order to which all of these conditions hold."""
        missed = [c.tree.size for c in self.conditions if not c.holds]
        return min(missed, default=self.conditions[-1].tree.size + 1) - 1

    @property
    def error_constants(self) -> dict[str, Any]:
        """The residuals at order p + 1 that are not 0, by tree."""
        return {c.tree.name: c.residual for c in self.conditions if c.tree.size == self.order + 1 and not c.holds}

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (str(c.tree.size), c.tree.name, c.weight, "" if c.density is None else str(c.density), str(c.wanted),
             str(c.found), "holds" if c.holds else "fails")
            for c in self.conditions
        ]  # fmt: skip

    def __str__(self) -> str:
        rows = [("order", "tree", "weight", "γ", "wanted", "found", ""), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        title = f"{self.solver}: order conditions, step ratios {self.ratios}"
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in [title, *lines])

    def latex(self) -> str:
        """The table as a LaTeX tabular."""
        body = [
            f"{c.tree.size} & ${_tex(c.tree.name)}$ & ${_tex(c.weight)}$ & ${_tex(str(c.wanted))}$ & "
            f"${_tex(c.found)}$ & {'yes' if c.holds else 'no'} \\\\"
            for c in self.conditions
        ]
        head = r"order & tree & weight & wanted & found & holds \\ \hline"
        return "\n".join([r"\begin{tabular}{llllll}", head, *body, r"\end{tabular}"])

    def to_json(self, path: str | Path | None = None) -> str:
        """The table as JSON text; written to a file if one is named."""
        rows = [
            {"tree": c.tree.name, "order": c.tree.size, "weight": c.weight, "wanted": str(c.wanted),
             "found": str(c.found), "residual": str(c.residual), "holds": c.holds}
            for c in self.conditions
        ]  # fmt: skip
        whole = {"solver": self.solver, "order": self.order, "ratios": self.ratios, "conditions": rows}
        text = json.dumps(whole, indent=2, ensure_ascii=False)
        if path is not None:
            placed(path).write_text(text + "\n", encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        """The table with its trees drawn, for a notebook."""
        from diffode.analysis.report.evidence import draw_tree

        cells = (
            f"<td>{c.tree.size}</td><td>{draw_tree(c.tree.name)}<br>{c.tree.name}</td><td>{c.weight}</td>"
            f"<td>{c.wanted}</td><td>{c.found}</td><td>{'holds' if c.holds else 'fails'}</td>"
            for c in self.conditions
        )
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def order_conditions(
    solver: str | Solver, highest: int | None = None, ratios: str | Sequence[Any] = "uniform"
) -> OrderConditions:
    """Every order condition of a deterministic solver to an order, one step after an exact past.

    Parameters
    ----------
    solver : str or Solver
    highest : int, optional
        The highest order; by default one more than the claim, where the principal error constants stand.
    ratios : {"uniform", "symbols"} or sequence of numbers
        Past steps in λ, newest first, in units of the present one: all 1, symbols r_1, r_2, …, or numbers.

    Returns
    -------
    OrderConditions

    Raises
    ------
    PlanError
        If the rule draws noise, has `Dynamic` rows, or remembers an endless past and the steps are not equal.

    Examples
    --------
    >>> print(order_conditions("dpmpp_2m", ratios="symbols"))
    dpmpp_2m: order conditions, step ratios symbols
    order  tree   weight     γ  wanted  found
    1      τ      Σ b        1  1       1      holds
    2      [τ]    Σ b a      2  1/2     1/2    holds
    2      [λ]    Σ b c      2  1/2     1/2    holds
    3      [[λ]]  Σ b (a c)  6  1/6     -r1/4  fails
    3      [[τ]]  Σ b (a a)  6  1/6     -r1/4  fails
    3      [ττ]   Σ b a^2    3  1/3     -r1/2  fails
    3      [λτ]   Σ b c a    3  1/3     -r1/2  fails
    3      [λλ]   Σ b c^2    3  1/3     -r1/2  fails
    """
    chosen = get_solver(solver)
    lab = Laboratory(chosen, highest or ceil(chosen.order) + 1, "rough", "lam", ratios=_steps(chosen, ratios))
    found: list[Condition] = []
    for v, tree in enumerate(lab.forest):
        wanted = density(lab.forest, v)
        gamma = 1 / wanted if wanted else None
        level = lab.grid.levels[lab.past + 1]
        value = (lab.registers[lab.plan.states[1]][v] / level.sigma)[tree.size]
        found.append(Condition(tree, gamma, _readable(value)))
    name = ratios if isinstance(ratios, str) else ", ".join(map(str, ratios))
    return OrderConditions(chosen.name, tuple(found), name)


def _steps(solver: Solver, ratios: str | Sequence[Any]) -> list[Any]:
    """The past steps as elements of one field."""
    count = max(solver.history, 1)
    if ratios == "uniform":
        return [Fraction(1)] * count
    if remembers(solver):
        raise PlanError(
            f"{solver.name} remembers an endless past, which is known on equal steps only: ratios='uniform'"
        )
    if ratios == "symbols":
        return symbols(count)
    if isinstance(ratios, str):
        raise PlanError(f"ratios: 'uniform', 'symbols' or numbers, not {ratios!r}")
    return [Fraction(rational(r)) for r in ratios]


def _readable(value: Any) -> Any:
    """A fraction, or a rational function in factors."""
    if isinstance(value, (int, Fraction)):
        return Fraction(value)
    expression = value.as_expr()
    return Fraction(int(expression.p), int(expression.q)) if expression.is_Rational else sympy.factor(expression)


def _inner(name: str) -> str:
    """What stands under a node of an elementary weight."""
    if not name.startswith("["):
        return ""
    factors = [_factor(child) for child in children(name)]
    shown = [f if factors.count(f) == 1 else f"{f}^{factors.count(f)}" for f in dict.fromkeys(factors)]
    return " ".join(shown)


def _factor(child: str) -> str:
    inside = _inner(child)
    return {"λ": "c", "δ": "d"}.get(child, f"(a {inside})" if inside else "a")


def children(name: str) -> list[str]:
    """The trees between the outer brackets."""
    depth, found = 0, [""]
    for letter in name[1:-1]:
        if depth == 0 and found[-1]:
            found.append("")
        depth += {"[": 1, "]": -1}.get(letter, 0)
        found[-1] += letter
    return found


def _tex(what: Any) -> str:
    """A name, a weight or a number in LaTeX."""
    if not isinstance(what, str):
        return str(sympy.latex(sympy.sympify(what)))
    letters = {"τ": r"\tau ", "λ": r"\lambda ", "δ": r"\delta ", "Σ": r"\sum"}
    return "".join(letters.get(letter, letter) for letter in what)
