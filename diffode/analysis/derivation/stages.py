"""Families with stages: exponential Runge–Kutta methods, with and without a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp

from diffode.analysis.derivation.conditions import Condition, Conditions, conditions, power, solve, targets
from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.options import (
    WHAT,
    Expr,
    Values,
    check,
    check_length,
    exponent,
    left_over,
    one_of,
    past_ratios,
    rule_name,
    stage_nodes,
    top_condition,
    whole,
)
from diffode.errors import SolverError
from diffode.kinds import WORDS
from diffode.symbolic import H


def exp_rk(
    stages: int = 2,
    order: int | None = None,
    prediction: str = "x0",
    variable: str = "lambda",
    nodes: Values = None,
    free: Values = None,
    conditions: str = "weak",
    *,
    command: str = "",
) -> Derivation:
    """An explicit exponential Runge–Kutta method in λ, or a Runge–Kutta method in ρ.

    Parameters
    ----------
    stages : {1, 2, 3}
    order : int, optional
        As many as stages by default.
    prediction : {"x0", "eps"}
    variable : {"lambda", "rho"}
    nodes : numbers, optional
        c_2, c_3 (1/2; 1/3, 2/3).
    free : names, optional
        Those of c2, c3 that stay options of the solver; weights that the conditions leave over stay so unasked.
    conditions : {"strong", "weak", "bh1", "bh2", "midpoint"}
        Whether the highest condition holds for every z (stiff order p) or at z = 0 only; see `exp_multistep`.
    """
    return _hybrid("exp-rk", stages, 0, order, prediction, variable, "variable", nodes, free, conditions, command)


def hybrid(
    stages: int = 2,
    history: int = 1,
    order: int | None = None,
    prediction: str = "x0",
    variable: str = "lambda",
    steps: str = "variable",
    nodes: Values = None,
    free: Values = None,
    conditions: str = "strong",
    *,
    command: str = "",
) -> Derivation:
    """A formula with stages and history: each stage uses the past values and the stages before it.

    Parameters
    ----------
    stages : {1, 2, 3}
    history : int
    order : int, optional
        stages + history by default, which is the most.
    prediction, variable, nodes, free, conditions
        As for `exp_rk`.
    steps : {"variable", "uniform"}
    """
    return _hybrid("hybrid", stages, history, order, prediction, variable, steps, nodes, free, conditions, command)


def _hybrid(
    family: str,
    stages: int,
    history: int,
    order: int | None,
    prediction: str,
    variable: str,
    steps: str,
    nodes: Values,
    free: Values,
    kind: str,
    command: str,
) -> Derivation:
    whole(family, "stages", stages)
    whole(family, "history", history)
    order = stages + history if order is None else order
    check(family, order, prediction, steps)
    one_of(family, "variable", variable, ("lambda", "rho"))
    if variable == "rho":
        one_of(family, "prediction", prediction, ("eps",), 'for data prediction take variable="lambda"')
    if not 1 <= stages <= 3:
        raise SolverError(f"{family}: stages must be 1, 2 or 3, not {stages}; four stages and more are not derived")
    if history < 0:
        raise SolverError(f"{family}: history must be at least 0, not {history}")
    if order > stages + history:
        past = f" and {history} past value{'s' * (history > 1)}" if history else ""
        raise SolverError(
            f"{family}: order {order} is too high for {stages} stage{'s' * (stages > 1)}{past}: the conditions bound "
            f"it by {stages + history}"
        )
    check_length(family, order, steps)
    top = top_condition(family, kind, order)
    movable = [f"c{i}" for i in range(2, stages + 1)]
    kept = left_over(family, free, _stage_names(stages, history)["b"], order, movable)
    c, defaults = stage_nodes(family, stages, nodes, [name for name in kept if name in movable])
    z = exponent(variable, prediction, None)
    tables: list[dict[str, list[Expr]]] = []
    used: list[Condition] = []
    for depth in range(history + 1):
        past = [-r for r in past_ratios(depth, steps)]
        rows, used, left = _stage_rows(stages, min(order, stages + depth), past, c, z, top)
        tables.append(rows)
        defaults.update(dict.fromkeys(left, sp.S.Zero))
    inner = " in ρ" if variable == "rho" else ""
    what = "Exponential Runge–Kutta method" if variable == "lambda" else "Runge–Kutta method"
    if history:
        what = f"Exponential method with {history} past value{'s' * (history > 1)}"
    plural = "s" * (stages > 1)
    return Derivation(
        family, command, rule_name(family, order, variable), tables=tuple(tables), conditions=tuple(used),
        title=f"{what}{inner} of order {order} with {stages} stage{plural} on the {WHAT[prediction]}.",
        order=order, prediction=prediction, variable=variable, names=_stage_names(stages, history), history=history,
        stages=tuple(c), defaults=defaults,
        uniform=WORDS.get(variable, variable) if steps == "uniform" and history else None,
    )  # fmt: skip


def _stage_names(stages: int, history: int) -> dict[str, list[str]]:
    """b_i and a_ij for stages (1 is now), d_k and d_ik for the values k steps back."""
    names: dict[str, list[str]] = {}
    for i in range(2, stages + 1):
        past = [f"d_{i}{k}" for k in range(1, history + 1)]
        names[f"a_{i}"] = [f"a_{i}1", *past, *(f"a_{i}{j}" for j in range(2, i))]
    names["b"] = ["b_1", *(f"d_{k}" for k in range(1, history + 1)), *(f"b_{i}" for i in range(2, stages + 1))]
    return names


def _stage_rows(
    stages: int, order: int, past: list[Expr], c: list[Expr], z: Expr, top: str
) -> tuple[dict[str, list[Expr]], list[Condition], list[Expr]]:
    """The weights of all stages and of the step.

    Stage 2 is exact for the polynomial through now and the past, of degree k; its defect ψ_2, in u^{k+1}, must cancel
    against that of stage 3 in the step: b_2 ψ_2 + b_3 ψ_3 = 0. Below the highest order stage 3 has a defect of its own
    degree only.
    """
    known, names = [0, *past], _stage_names(stages, len(past))
    degree = len(known)  # of the first power that stage 2 misses
    used = conditions("b", [*known, *c], targets(order, z, top=top))
    final, left = solve(used, names["b"])
    rows: dict[str, list[Expr]] = {}
    if stages > 1:
        second = conditions("a_2", known, targets(degree, z, c[0]))
        weights, _ = solve(second, names["a_2"])
        rows["a_2"] = list(weights.values())
        used = second + used
    if stages > 2:
        wanted = targets(degree + 1, z, c[1])
        if order == degree + 2:
            wanted[-1] = wanted[-1] - _share(final, top) * _defect(rows["a_2"], known, degree, z, c[0])
        third = conditions("a_3", [*known, c[0]], wanted)
        weights, _ = solve(third, names["a_3"])
        rows["a_3"] = list(weights.values())
        used = third + used
    rows["b"] = list(final.values())
    return rows, used, left


def _share(final: Mapping[str, Expr], top: str) -> Expr:
    """b_2/b_3, for every z or at z = 0."""
    second, third = final["b_2"], final["b_3"]
    if top != "exact":
        second, third = (value.subs(H, 0) for value in (second, third))
    if third == 0:
        raise Conditions(
            "the conditions have no solution: on these nodes they ask b_3 = 0, and then Σ b ψ = 0 (the defects of the "
            "stages must cancel) cannot hold; move c2 or c3"
        )
    return sp.factor(sp.together(second / third))


def _defect(weights: Sequence[Expr], nodes: Sequence[Expr], degree: int, z: Expr, c: Expr) -> Expr:
    """ψ: how far a stage is from exact for u^degree/degree!."""
    found = sum((w * power(n, degree) for w, n in zip(weights, nodes, strict=True)), sp.S.Zero)
    return found - targets(degree + 1, z, c)[-1]
