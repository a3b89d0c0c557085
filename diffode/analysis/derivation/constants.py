r"""The principal error constants of a rule as rational functions of its free parameters, and where they are least.

A rule of order p errs in a step by h^{p+1} Σ_τ e_τ F(τ)/s(τ) over the trees of p + 1 nodes, s being the number of a
tree's symmetries; what trees of fewer nodes get at h^{p+1} depends on the process and is left out. The measure is

    E(θ)² = Σ_τ (e_τ(θ)/s(τ))²,

Prince and Dormand's (J. Comput. Appl. Math. 7, 1981), on equal steps. Each e_τ is a rational function: read off one
trace in power series over the field Q(θ), or, where a rule rounds or compares its option, interpolated through exact
values and tested at two more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, inf, isfinite, sqrt
from typing import Any

import numpy as np
import sympy as sp

from diffode.analysis.derivation.parameters import Subject
from diffode.analysis.differentials import symmetry
from diffode.analysis.order.conditions import order_conditions
from diffode.analysis.order.laboratory import Laboratory, remembers
from diffode.analysis.order.trees import Tree, density
from diffode.analysis.stability.polynomials import real_roots, root_bound
from diffode.errors import DiffodeError, SolverError

Expr = Any

_ABOVE = 2
"""How far above the claimed order the first error is looked for."""

_DEGREES = 4
"""Up to which degree of numerator and denominator an error constant is interpolated."""

_WIDTH = Fraction(1, 2**80)


@dataclass(frozen=True)
class ErrorConstants:
    """E(θ) in closed form, with its derivative.

    Attributes
    ----------
    names : tuple of str
    order : int
        p.
    residuals : mapping
        Tree of p + 1 nodes → e_τ(θ)/s(τ), those that do not vanish for all θ.

    Examples
    --------
    >>> from diffode.analysis.derivation.parameters import subject
    >>> found = error_constants(subject("exp-rk", stages=2))
    >>> found.residuals["[λλ]"], found.residuals["[[λ]]"]
    ((3*c2 - 2)/12, -1/6)
    >>> found.stationary(Fraction(1, 20), Fraction(1))
    [Fraction(2, 3)]
    """

    names: tuple[str, ...]
    order: int
    residuals: Mapping[str, Expr]

    @cached_property
    def symbols(self) -> tuple[Expr, ...]:
        return tuple(sp.Symbol(name) for name in self.names)

    @cached_property
    def square(self) -> Expr:
        """E² as one rational function."""
        return sp.cancel(sp.together(sum((e**2 for e in self.residuals.values()), sp.S.Zero)))

    @cached_property
    def slopes(self) -> tuple[Expr, ...]:
        """∂E²/∂θ."""
        return tuple(sp.cancel(sp.diff(self.square, x)) for x in self.symbols)

    @cached_property
    def _compiled(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return sp.lambdify(self.symbols, self.square), sp.lambdify(self.symbols, list(self.slopes))

    def square_at(self, values: Sequence[Any]) -> Fraction | float:
        """E² at values; exact at fractions, ∞ at a pole."""
        try:
            found = self._compiled[0](*values)
        except ZeroDivisionError:
            return inf
        return found if isinstance(found, Fraction) or np.isfinite(found) else inf

    def value(self, values: Sequence[Any]) -> float:
        """E."""
        return sqrt(max(float(self.square_at(values)), 0.0))

    def gradient(self, values: Sequence[Any]) -> np.ndarray:
        """∂E/∂θ, from the derivative in symbols; 0 where E is."""
        here = self.value(values)
        return self.square_gradient(values) / (2 * here) if here else np.zeros(len(self.names))

    def square_gradient(self, values: Sequence[Any]) -> np.ndarray:
        """∂E²/∂θ."""
        return np.array([float(c) for c in self._compiled[1](*values)])

    def stationary(self, low: Fraction, high: Fraction) -> list[Fraction]:
        """All zeros of dE²/dθ between two numbers, isolated by a Sturm sequence; for one parameter."""
        poly: Any = sp.Poly(sp.numer(sp.together(self.slopes[0])), self.symbols[0], domain="QQ")
        p = [Fraction(int(c.p), int(c.q)) for c in reversed(poly.all_coeffs())]
        if len(p) < 2:
            return []
        above = low if isfinite(low) else -root_bound(p)
        found = [_simple(r, p) for r in real_roots(p, above, _WIDTH)]
        return [r for r in found if r < high]


def _simple(root: Fraction, p: Sequence[Fraction]) -> Fraction:
    """The fraction that a root is, where it is a simple one."""
    near = root.limit_denominator(10**6)
    value = Fraction(0)
    for c in reversed(p):
        value = value * near + c
    return near if value == 0 else root


def error_constants(subject: Subject) -> ErrorConstants:
    """The principal error constants of a rule as functions of its parameters.

    Raises
    ------
    SolverError
        If the constants have no closed form in the parameters, or do not depend on them.
    """
    claimed = ceil(subject.solver.order)
    for order in range(claimed, claimed + _ABOVE + 1):
        found = _residuals(subject, order)
        low = {tree: e for tree, (size, e) in found.items() if size <= order and e != 0}
        if low:
            name, e = next(iter(low.items()))
            raise SolverError(
                f"optimize: {subject.solver.name} has not the order {order} at all parameters (the tree {name} is off "
                f"by {e}); leave out the parameter that breaks it"
            )
        top = {tree: e for tree, (size, e) in found.items() if size == order + 1 and e != 0}
        if any(e.free_symbols for e in top.values()):
            return ErrorConstants(subject.names, order, top)
        if top:
            break
    raise SolverError(
        f"optimize: the error constants of {subject.solver.name} do not depend on {', '.join(subject.names)}; "
        "choose another objective"
    )


def _residuals(subject: Subject, order: int) -> dict[str, tuple[int, Expr]]:
    """Tree → (nodes, e/s), of all trees to order + 1."""
    if not remembers(subject.solver):
        try:
            return _in_field(subject, order)
        except (DiffodeError, TypeError, ArithmeticError):
            pass  # a rule that rounds its option, or makes a float of it
    return _interpolated(subject, order)


def _in_field(subject: Subject, order: int) -> dict[str, tuple[int, Expr]]:
    field = sp.QQ.frac_field(*subject.names)
    rule = subject.at(field.gens)
    lab = Laboratory(rule, order + 1, "rough", "lam", ratios=[field.one] * max(rule.history, 1))
    level = lab.grid.levels[lab.past + 1]
    out: dict[str, tuple[int, Expr]] = {}
    for v, tree in enumerate(lab.forest):
        c = (lab.registers[lab.plan.states[1]][v] / level.sigma)[tree.size]
        weight = c.as_expr() if hasattr(c, "as_expr") else sp.Rational(str(c))
        wanted = sp.Rational(str(density(lab.forest, v)))
        out[tree.name] = tree.size, sp.factor((weight - wanted) / symmetry(tree, lab.forest))
    return out


def _interpolated(subject: Subject, order: int) -> dict[str, tuple[int, Expr]]:
    """The same through exact values at simple fractions: a quotient of polynomials that two more values confirm."""
    if len(subject.parameters) > 1:
        raise SolverError(
            f"optimize: the error constants of {subject.solver.name} have a closed form in one parameter at a time; "
            f"free one of {', '.join(subject.names)}"
        )
    parameter = next(iter(subject.parameters))
    low = parameter.low if isfinite(parameter.low) else float(parameter.start) - 1
    high = parameter.high if isfinite(parameter.high) else float(parameter.start) + 1
    count = 2 * _DEGREES + 3
    points = [Fraction(low + (high - low) * (k + 1) / (count + 1)).limit_denominator(97) for k in range(count)]
    tables: list[dict[str, tuple[Tree, Fraction]]] = []
    x = sp.Symbol(parameter.name)
    for degree in range(1, _DEGREES + 1):
        needed = 2 * degree + 1
        for point in points[len(tables) : needed + 2]:
            rows = order_conditions(subject.at([point]), order + 1, "uniform").conditions
            tables.append({row.tree.name: (row.tree, row.residual) for row in rows})
        found = {name: _quotient(points, [t[name][1] for t in tables], degree, x) for name in tables[0]}
        if all(e is not None for e in found.values()):
            trees = {name: tree for name, (tree, _) in tables[0].items()}
            forest = list(trees.values())
            known: dict[str, Any] = found
            return {name: (tree.size, sp.factor(known[name] / symmetry(tree, forest))) for name, tree in trees.items()}
    raise SolverError(f"optimize: the error constants of {subject.solver.name} are no rational function of {x}")


def _quotient(points: Sequence[Fraction], values: Sequence[Any], degree: int, x: Expr) -> Expr | None:
    """P/Q, both of a degree, through all values but two; None where it misses these."""
    exact = [
        (sp.Rational(p.numerator, p.denominator), sp.Rational(str(v))) for p, v in zip(points, values, strict=False)
    ]
    if len({v for _, v in exact}) == 1:
        return exact[0][1]
    rows = [[p**k for k in range(degree + 1)] + [-v * p**k for k in range(degree + 1)] for p, v in exact[:-2]]
    kernel: Any = sp.Matrix(rows).nullspace()[0]
    below = sum(kernel[degree + 1 + k] * x**k for k in range(degree + 1))
    if below == 0:
        return None
    found: Any = sp.cancel(sum(kernel[k] * x**k for k in range(degree + 1)) / below)
    return found if all(sp.denom(found).subs(x, p) != 0 and found.subs(x, p) == v for p, v in exact) else None


# --- the least ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Least:
    """Where E is least.

    Attributes
    ----------
    values : tuple of Fraction
    proved : bool
        Whether no other value in the range is better: all stationary points are known.
    tried : int
        Evaluations, or stationary points and ends.
    """

    values: tuple[Fraction, ...]
    proved: bool
    tried: int


def least(constants: ErrorConstants, subject: Subject, starts: int, seed: int) -> Least:
    """The parameters at which E is least: exactly for one, by descents from several starts for more."""
    if len(subject.parameters) == 1:
        p = subject.parameters[0]
        low, high = (Fraction(end) if isfinite(end) else end for end in (p.low, p.high))
        ends = [end for end in (low, high) if isinstance(end, Fraction)]
        tries = [*constants.stationary(low, high), *ends, p.start]  # type: ignore[arg-type]
        best = min(tries, key=lambda v: constants.square_at([v]))
        return Least((best,), True, len(tries))
    return _descended(constants, subject, starts, seed)


def _descended(constants: ErrorConstants, subject: Subject, starts: int, seed: int) -> Least:
    from scipy.optimize import minimize

    bounds = [(p.low, p.high) for p in subject.parameters]
    tries, best = 0, (constants.value(subject.start), tuple(map(float, subject.start)))
    scale = max(best[0] ** 2, 1e-30) if isfinite(best[0]) else 1.0

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        value = float(constants.square_at([float(c) for c in x])) / scale
        if not isfinite(value):
            return 1e30, np.zeros(len(x))
        return value, constants.square_gradient(x.tolist()) / scale

    for x in beginnings(subject, starts, seed):
        found: Any = minimize(
            both, x, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-16, "gtol": 1e-13, "maxiter": 500}
        )
        tries += int(found.nfev)
        if isfinite(found.fun) and constants.value(found.x.tolist()) < best[0]:
            best = constants.value(found.x.tolist()), tuple(map(float, found.x))
    return Least(tuple(Fraction(v) for v in best[1]), False, tries)


def beginnings(subject: Subject, starts: int, seed: int, width: float = 1.0) -> list[np.ndarray]:
    """The start that the rule ships, and others drawn in the ranges; around the start where there is no range."""
    generator = np.random.default_rng(seed)
    here = np.array([float(v) for v in subject.start])
    low = np.array([p.low if isfinite(p.low) else float(p.start) - width for p in subject.parameters])
    high = np.array([p.high if isfinite(p.high) else float(p.start) + width for p in subject.parameters])
    return [here, *(low + (high - low) * generator.random(len(here)) for _ in range(starts))]
