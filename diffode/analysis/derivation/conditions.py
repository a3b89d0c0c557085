r"""Order conditions of a formula that weights values of the network, solved in symbols.

With the step as unit of length, values m_j at nodes n_j (0 now, −r_k in the past, c_i in stages, 1 at the new level)
and z the exponent of the exact linear part, the weights of

    x_t = ratio·x_s + K Σ_j b_j m_j

have order p when the formula is exact for the powers m = u^q, q < p:

    Σ_j b_j n_j^q/q! = φ_{q+1}(z),    q = 0, …, p − 1.

That is linear algebra over the rational functions of the nodes; the φ-functions stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any

import sympy as sp
from sympy.polys.matrices import DomainMatrix

from diffode.errors import SolverError
from diffode.symbolic import Phi, tidy

Expr = Any
"""A SymPy expression; SymPy has no type hints."""


@dataclass(frozen=True)
class Condition:
    """One order condition Σ_j b_j μ_j = target of a row of weights.

    Attributes
    ----------
    row : str
        What is weighted: "b", "a_3", ….
    degree : int
        q: the formula is exact for u^q.
    moments : tuple of Expr
        μ_j, one for each weight.
    target : Expr
    label : str
        The left-hand side, where it is not a sum over nodes.
    """

    row: str
    degree: int
    moments: tuple[Expr, ...]
    target: Expr
    label: str = ""

    def __str__(self) -> str:
        if self.label:
            return f"{self.label} = {self.target}"
        power = {0: "", 1: " n", 2: " n²/2"}.get(self.degree, f" n^{self.degree}/{self.degree}!")
        return f"Σ {self.row}{power} = {self.target}"


class Conditions(SolverError):
    """Order conditions without a solution; the message says which."""


def power(node: Expr, degree: int) -> Expr:
    """n^q/q! of a node."""
    return sp.sympify(node) ** degree / factorial(degree)


def conditions(row: str, nodes: Sequence[Expr], targets: Sequence[Expr]) -> list[Condition]:
    """The conditions Σ_j b_j n_j^q/q! = target_q, one for each target."""
    return [Condition(row, q, tuple(power(node, q) for node in nodes), target) for q, target in enumerate(targets)]


def targets(order: int, z: Expr, scale: Expr = 1, top: str = "exact") -> list[Expr]:
    r"""What the weights of a formula of an order must come to: φ_{q+1}(z) for q < order.

    Parameters
    ----------
    order : int
    z : Expr
        Exponent of the exact linear part over the whole step.
    scale : Expr
        c for a stage at the fraction c of the step: its targets are c^{q+1} φ_{q+1}(c z).
    top : {"exact", "weak", "constant"}
        The highest condition holds for every z; or with φ_{p−1}(z)/p for φ_p(z) (both 1/p! at z = 0: "midpoint",
        "bh2"); or with 1/p! ("bh1").

    Examples
    --------
    >>> h = sp.Symbol("h")
    >>> targets(2, -h), targets(2, -h, top="weak")
    ([Phi(1, -h), Phi(2, -h)], [Phi(1, -h), Phi(1, -h)/2])
    """
    found = [scale ** (q + 1) * Phi(q + 1, scale * z) for q in range(order)]
    if order > 1 and top == "weak":
        found[-1] = scale**order * Phi(order - 1, scale * z) / order
    elif order > 1 and top == "constant":
        found[-1] = scale**order * sp.Rational(1, factorial(order))
    return found


def solve(wanted: Sequence[Condition], names: Sequence[str]) -> tuple[dict[str, Expr], list[Expr]]:
    """The weights that satisfy linear conditions, and the weights among them that stay free.

    Parameters
    ----------
    wanted : sequence of Condition
    names : sequence of str
        Names of the weights; where there are more of them than conditions, the last ones stay free.

    Returns
    -------
    dict of str to Expr, list of Symbol

    Raises
    ------
    Conditions
        If there is no solution; the message names the first condition that cannot be met.

    Examples
    --------
    >>> h, r = sp.symbols("h r_1", positive=True)
    >>> solve(conditions("b", [0, -r], targets(2, -h)), ["b_0", "b_1"])
    ({'b_0': Phi(1, -h) + Phi(2, -h)/r_1, 'b_1': -Phi(2, -h)/r_1}, [])
    """
    size = len(wanted)
    matrix = sp.Matrix(
        [[*condition.moments, *(int(i == q) for q in range(size))] for i, condition in enumerate(wanted)]
    )
    reduced, pivots = DomainMatrix.from_Matrix(matrix).to_field().rref()
    rows: Any = reduced.to_Matrix()
    unknown = len(names)
    free = {j: sp.Symbol(names[j]) for j in range(unknown) if j not in pivots}
    weights: dict[str, Expr] = {names[j]: symbol for j, symbol in free.items()}
    for i, pivot in enumerate(pivots):
        shares = [rows[i, unknown + q] for q in range(size)]
        value = sum((share * condition.target for share, condition in zip(shares, wanted, strict=True)), sp.S.Zero)
        if pivot < unknown:
            weights[str(names[pivot])] = tidy(value - sum(rows[i, j] * symbol for j, symbol in free.items()))
        elif sp.simplify(value) != 0:
            missed = max(q for q, share in enumerate(shares) if share != 0)
            raise Conditions(
                f"the conditions have no solution: {wanted[missed]} contradicts the ones before it, since "
                f"{unknown} weight{'s' * (unknown > 1)} on these nodes cannot meet {size} conditions"
            )
    return {name: weights[name] for name in names}, list(free.values())


def poles(weights: Mapping[str, Expr], parameters: Sequence[Expr]) -> list[Expr]:
    """The polynomials in free parameters by which weights are divided; the formula does not exist where one is 0."""
    found: list[Expr] = []
    for value in weights.values():
        below = sp.denom(sp.together(value))
        for factor, _ in sp.factor_list(below)[1]:
            if factor.free_symbols and factor.free_symbols <= set(parameters) and factor not in found:
                found.append(factor)
    return found
