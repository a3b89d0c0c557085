"""Families that remember more than past values: a velocity, or the state before."""

from __future__ import annotations

import sympy as sp

from diffode.analysis.derivation.conditions import Condition, solve, targets
from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.options import (
    LETTER,
    WHAT,
    Expr,
    Values,
    check,
    exponent,
    names_among,
    number,
    one_of,
    past_ratios,
    rule_name,
)
from diffode.analysis.derivation.writing import text
from diffode.errors import SolverError
from diffode.kinds import WORDS


def momentum(
    order: int = 3,
    prediction: str = "eps",
    variable: str = "rho",
    beta: Values = "1/2",
    free: Values = None,
    *,
    command: str = "",
) -> Derivation:
    """A velocity v ← (1 − β) v + β m averages the network's outputs, and its last values are extrapolated (GHVB).

    Parameters
    ----------
    order : int
    prediction : {"eps", "x0"}
    variable : {"rho", "lambda"}
        Steps must be equal in it, since a velocity has no node of its own otherwise.
    beta : number
        0 < β ≤ 1.
    free : name, optional
        "beta" keeps it as an option of the solver.
    """
    family = "momentum"
    check(family, order, prediction, "uniform")
    one_of(family, "variable", variable, ("rho", "lambda"))
    if variable == "rho":
        one_of(family, "prediction", prediction, ("eps",), 'for data prediction take variable="lambda"')
    value = number(family, "beta", beta)
    if not 0 < value <= 1:
        raise SolverError(f"{family}: beta must be above 0 and at most 1, not {value}")
    symbol = sp.Symbol("beta", positive=True)
    kept = "beta" in names_among(family, free, ("beta",))
    weight = symbol if kept else value
    z = exponent(variable, prediction, None)
    tables: list[dict[str, list[Expr]]] = []
    used: list[Condition] = []
    for terms in range(1, order + 1):
        wanted = targets(terms, z)
        used = [
            Condition("b", q, tuple(_lagged(j, q, weight) for j in range(terms)), wanted[q], f"Σ b v[u^{q}/{q}!]")
            for q in range(terms)
        ]
        tables.append({"b": list(solve(used, [f"b_{j}" for j in range(terms)])[0].values())})
    return Derivation(
        family, command, rule_name(family, order, variable), tables=tuple(tables), conditions=tuple(used),
        title=f"Momentum of order {order} on equal steps in {LETTER[variable]}, on the {WHAT[prediction]}.",
        order=order, prediction=prediction, variable=variable, names={"b": [f"b_{j}" for j in range(order)]},
        history=order - 1, defaults={symbol: value} if kept else {}, uniform=WORDS.get(variable, variable),
        momentum=weight,
    )  # fmt: skip


def _lagged(back: int, degree: int, beta: Expr) -> Expr:
    """The velocity `back` steps ago where m = u^q/q!: Σ_m β (1 − β)^m (−back − m)^q/q!."""
    x, g = sp.Symbol("x"), 1 / (1 - sp.Symbol("x"))
    total = sp.S.Zero
    for k in range(degree + 1):  # g = Σ m^k x^m
        total += sp.binomial(degree, k) * (-back) ** (degree - k) * (-1) ** k * g
        g = x * sp.diff(g, x)
    return sp.factor((beta * total.subs(x, 1 - beta)) / sp.factorial(degree))


def reversible(
    order: int = 2, prediction: str = "eps", variable: str = "rho", steps: str = "variable", *, command: str = ""
) -> Derivation:
    """A two-step formula that can be run backwards exactly: the state two levels apart, and one evaluation (O-BELM).

    Parameters
    ----------
    order : {2}
    prediction : {"eps"}
    variable : {"rho", "lambda"}
        In ρ on y = x/α, or in λ with the exact linear part.
    steps : {"variable", "uniform"}
    """
    family = "reversible"
    check(family, order, prediction, steps)
    one_of(family, "variable", variable, ("rho", "lambda"))
    if order != 2:
        raise SolverError(f"{family}: order must be 2, not {order}: one evaluation and two states reach no more")
    remedy = "for data the state before last grows as e^{4h/3} a step, which no grid bears"
    one_of(family, "prediction", prediction, ("eps",), remedy)
    z, r = exponent(variable, prediction, None), past_ratios(1, steps)[0]
    # the step back to s−1, seen from s, is the exact step of length −r; both in units of the new level
    back = [sp.exp((1 + r) * z) * target for target in targets(2, z, -r)]
    labels = (f"w_past {text(back[0])} + b_0", f"w_past {text(back[1])}")
    used = [
        Condition("w", q, (back[q], sp.Integer(int(q == 0))), ahead, labels[q]) for q, ahead in enumerate(targets(2, z))
    ]
    weights, _ = solve(used, ["w_past", "b_0"])
    return Derivation(
        family, command, rule_name(family, order, variable), conditions=tuple(used), order=order, prediction=prediction,
        title=f"Reversible two-step formula of order {order} in {LETTER[variable]} on the {WHAT[prediction]}.",
        tables=({"b": [targets(1, z)[0]]}, {"w": [weights["w_past"]], "b": [weights["b_0"]]}),
        names={"w": ["w_past"], "b": ["b_0"]}, variable=variable, history=1, template="reversible",
        uniform=WORDS.get(variable, variable) if steps == "uniform" else None,
    )  # fmt: skip
