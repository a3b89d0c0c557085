r"""What happens inside a step: the tableau that a plan comes to, errors made in its stages, and strong stability.

As h → 0 with z = b h held, the arguments Y_i of the evaluations and the new state of one step are

    Y = e x + z A Y + r,    x′ = x + z bᵀ Y    (and what the rule remembers),

with r a perturbation of the stages: rounding, a cached network, a clipped value. It reaches the state by the

    internal stability polynomials    θ(z)ᵀ = z bᵀ (1 − z A)^{−1},

and a one-step method contracts, in every convex functional, at C times the step at which Euler's method does
(Kraaijevanger, BIT 31, 1991; for linear multistep methods Lenferink, Numerische Mathematik 55, 1989):

    C = sup {r : K (1 + rA)^{−1} ≥ 0, r K (1 + rA)^{−1} e ≤ e},  K the rows of A and bᵀ
    C = min α_j/β_j over β_j > 0 if all α_j, β_j ≥ 0, else 0,    w^k = Σ_j (α_j + z β_j) w^{k−j}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffode.analysis.stability.polynomials import Polynomial, add, scale, trim
from diffode.analysis.stability.reading import constant_term, recursion, series_step
from diffode.analysis.stability.recursion import Recursion
from diffode.errors import PlanError
from diffode.plan import Combine, Evaluate
from diffode.solvers import Solver


@dataclass(frozen=True)
class Stages:
    """The tableau of one step.

    Attributes
    ----------
    a : tuple of tuple of Fraction
        A, strictly lower triangular.
    b : tuple of Fraction
    kind : {"one-step", "multistep", "general"}
        Whether the rule remembers nothing that it uses, or evaluates the state alone once a step, or neither.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> found = stages(get_solver("dpm_solver_3"))
    >>> found.b
    (Fraction(1, 4), Fraction(0, 1), Fraction(3, 4))
    """

    a: tuple[tuple[Fraction, ...], ...]
    b: tuple[Fraction, ...]
    kind: str

    @property
    def internal(self) -> list[Polynomial]:
        """θ_1 … θ_s, lowest powers first."""
        theta: list[Polynomial] = [[] for _ in self.b]
        for j in reversed(range(len(self.b))):
            theta[j] = [Fraction(0), self.b[j]]
            for i in range(j + 1, len(self.b)):
                theta[j] = add(theta[j], [Fraction(0), *scale(theta[i], self.a[i][j])])
        return [trim(p) for p in theta]

    def monotonic(self, r: Fraction) -> bool:
        """Whether r fulfils the conditions on the rows of K (1 + rA)^{−1}."""
        size = len(self.b)
        for row in (*self.a, self.b):
            x = list(row)
            for j in reversed(range(size)):  # x (1 + rA) = row
                for i in range(j + 1, size):
                    x[j] -= r * x[i] * self.a[i][j]
            if min(x) < 0 or r * sum(x) > 1:
                return False
        return True


def stages(solver: Solver) -> Stages | None:
    """The tableau of one step in the middle of a run; None where the rule has no series in h (noise has square roots).

    Parameters
    ----------
    solver : Solver
    """
    try:
        plan, slopes = series_step(solver, 1, solver.history + 12)
    except (ArithmeticError, TypeError, PlanError):
        return None
    registers: dict[str, dict[str, Any]] = {name: {name: 1} for name in plan.inputs}
    inner: list[dict[str, Any]] = []
    for row in plan.rows:
        total: dict[str, Any] = {}
        if isinstance(row, Combine):
            for c, name in row.terms:
                for held, weight in registers[name].items():
                    total[held] = total.get(held, 0) + c * weight
        elif isinstance(row, Evaluate):
            total = {f"stage {len(inner)}": slopes(row.prediction, row.at or row.level)[1]}
            inner.append(registers[row.x])
        registers[row.out] = total
    result = registers[plan.states[-1]]

    def weights(held: dict[str, Any]) -> tuple[Fraction, ...]:
        return tuple(constant_term(held.get(f"stage {j}", 0)) for j in range(len(inner)))

    alone = {plan.inputs[0], *(f"stage {j}" for j in range(len(inner)))}
    if all(set(held) <= alone for held in (*inner, result)):
        kind = "one-step"
    else:
        kind = "multistep" if len(inner) == 1 and set(inner[0]) <= alone else "general"
    return Stages(tuple(weights(held) for held in inner), weights(result), kind)


def ssp(solver: Solver) -> float | None:
    """The coefficient C of strong stability; None where it is not defined here.

    Defined for one-step rules, and for those that come to a linear multistep method; not with noise.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> [ssp(get_solver(name)) for name in ("euler", "heun", "rk4", "lms", "unipc_2")]
    [1.0, 1.0, 0.0, 0.0, None]
    """
    inner, method = stages(solver), recursion(solver)
    if inner is None or inner.kind == "general":
        return None
    if inner.kind == "multistep":
        return _lenferink(method) if method.degree == 1 else None
    low, high = Fraction(0), Fraction(2 * len(inner.b))
    if not inner.monotonic(Fraction(1, 10**12)):
        return 0.0
    while high - low > Fraction(1, 2**44):
        middle = (low + high) / 2
        low, high = (middle, high) if inner.monotonic(middle) else (low, middle)
    return round(float((low + high) / 2), 12)


def _lenferink(method: Recursion) -> float:
    """C of w^k = Σ (α_j + z β_j) w^{k−j}."""
    pairs = [(-row[0], -row[1] if len(row) > 1 else Fraction(0)) for row in method.coefficients[:-1]]
    if any(alpha < 0 or beta < 0 for alpha, beta in pairs):
        return 0.0
    return float(min((alpha / beta for alpha, beta in pairs if beta), default=Fraction(0)))


def largest(p: Sequence[Any], low: float) -> float:
    """max |p(z)| over low ≤ z ≤ 0, from the roots of p′ and the ends."""
    size = [float(c) for c in reversed(p)]
    turns = np.roots(np.polyder(size)) if len(size) > 2 else np.zeros(0)
    inner = turns.real[(abs(turns.imag) < 1e-9) & (turns.real > low) & (turns.real < 0)]
    return float(max(abs(np.polyval(size, np.array([low, 0.0, *inner])))))
