"""The coefficients of one step of an exponential rule as functions of z, read off its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any

import mpmath

from diffode import phi
from diffode.errors import PlanError
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.solvers import Solver
from diffode.trace import trace

TOLERANCE = 1e-11
"""Above the rounding of a rule's float literals, far below any coefficient that is meant."""


@dataclass(frozen=True)
class _Line:
    """The process on which the linear part has a constant coefficient: α = 1 (data) or σ = 1 (noise prediction)."""

    prediction: str
    bend: float = 0.0
    """Of t = −λ − bend λ³: what a rule gives must not depend on it."""

    def level(self, t: Any = None, *, lam: Any = None, sigma: Any = None, rho: Any = None) -> Level:
        if lam is None and rho is not None:
            lam = -phi.log(rho)
        if lam is None:
            raise PlanError("a rule that places its nodes by t or σ is no method for an operator: no stiff order")
        one, fall = phi.exp(0 * lam), phi.exp(-lam)
        alpha, sigma = (one, fall) if self.prediction == "x0" else (1 / fall, one)
        return Level(-lam - self.bend * lam**3, alpha, sigma, lam, self)

    def kinks(self, low: float, high: float) -> list[float]:
        return []


@dataclass(frozen=True)
class _Levels:
    process: _Line
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class _Expansion:
    """A register as ξ x_n + Σ_k moment_k h^k g^{(k−1)} + h Σ_i weight_i (what evaluation i is off by)."""

    state: Any
    moments: list[Any]
    weights: dict[str, Any]


@dataclass(frozen=True)
class StiffTable:
    """The coefficients of one step of a rule at one z: c_i, b_i, a_ij, and the defects ψ_k,i of its stages.

    Attributes
    ----------
    z : number
    nodes : mapping
        c_i by evaluation.
    weights, stages : mapping
        b_i, and a_ij for each i.
    moments : list
        Σ_i b_i c_i^{k−1}/(k−1)!, k = 1, 2, …
    defects : mapping
        ψ_{1,i}, ψ_{2,i}, …
    """

    z: Any
    nodes: dict[str, Any]
    weights: dict[str, Any]
    moments: list[Any]
    stages: dict[str, dict[str, Any]]
    defects: dict[str, list[Any]]

    @staticmethod
    def of(solver: Solver, z: Any, gaps: Sequence[float], highest: int, bend: float = 0.0) -> StiffTable:
        """The table of one free step after exact ones, `gaps` before it, at h = |z|."""
        line, h = _Line(solver.prediction, bend), abs(z)
        positions = [-mpmath.fsum(gaps[:k]) for k in range(len(gaps), -1, -1)] + [mpmath.mpf(1)]
        grid = _Levels(line, tuple(line.level(lam=h * c) for c in positions))
        plan = trace(solver, grid, exact_past=len(gaps), open_end=True)
        return _Reader(plan, z, positions, highest).read(solver)


class _Reader:
    """One pass over the rows of a plan."""

    def __init__(self, plan: Plan, z: Any, positions: Sequence[Any], highest: int) -> None:
        self.plan, self.z, self.h, self.highest = plan, z, abs(z), highest
        self.nodes: dict[str, Any] = {}
        self.stages: dict[str, dict[str, Any]] = {}
        self.defects: dict[str, list[Any]] = {}
        self.held = {name: self._exact(c) for name, c in zip(plan.inputs, positions, strict=False)}

    def _exact(self, c: Any) -> _Expansion:
        """The exact solution at λ_n + c h, by variation of constants."""
        moments = [c**k * phi.phi(k, c * self.z) for k in range(1, self.highest + 1)]
        return _Expansion(phi.exp(c * self.z), moments, {})

    def read(self, solver: Solver) -> StiffTable:
        for row in self.plan.rows:
            if isinstance(row, Combine):
                self.held[row.out] = self._combined(row)
            elif isinstance(row, Evaluate):
                self.held[row.out] = self._evaluated(row, solver)
        last = self.held[self.plan.states[-1]]
        self._require_linear_part(last, mpmath.mpf(1), solver)
        return StiffTable(self.z, self.nodes, last.weights, last.moments, self.stages, self.defects)

    def _combined(self, row: Combine) -> _Expansion:
        parts = [(c, self.held[name]) for c, name in row.terms]
        weights: dict[str, Any] = {}
        for c, part in parts:
            for i, w in part.weights.items():
                weights[i] = weights.get(i, 0) + c * w
        moments = [sum(c * part.moments[k] for c, part in parts) for k in range(self.highest)]
        return _Expansion(sum(c * part.state for c, part in parts), moments, weights)

    def _evaluated(self, row: Evaluate, solver: Solver) -> _Expansion:
        argument, c = self.held[row.x], row.level.lam / self.h
        self._require_linear_part(argument, c, solver)
        exact = self._exact(c).moments
        self.nodes[row.out], self.stages[row.out] = c, argument.weights
        self.defects[row.out] = [found - wanted for found, wanted in zip(argument.moments, exact, strict=True)]
        # g = D, or −ε; a register holds h g
        unit = (1 if row.prediction == "x0" else -1) / self.h
        moments = [unit * c ** (k - 1) / factorial(k - 1) for k in range(1, self.highest + 1)]
        return _Expansion(mpmath.mpf(0), moments, {row.out: unit})

    def _require_linear_part(self, register: _Expansion, c: Any, solver: Solver) -> None:
        if abs(register.state / phi.exp(c * self.z) - 1) > TOLERANCE:
            raise PlanError(f"{solver.name} does not carry the linear part exactly, so it has no stiff order")
