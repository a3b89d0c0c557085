"""What the options of the families mean, and what they may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import sympy as sp

from diffode.analysis.derivation.conditions import Conditions, targets
from diffode.errors import SolverError, unknown
from diffode.symbolic import H, ratio

Expr = Any
Values = str | float | Sequence[Any] | None

TOPS = {"strong": "exact", "weak": "weak", "bh2": "weak", "midpoint": "weak", "bh1": "constant"}
LONGEST = 7
"""The highest order through past values on variable steps; its file has 16 kB, and each more takes 5 times as long."""
PREDICTIONS, STEPS = ("x0", "eps"), ("variable", "uniform")
LETTER = {"lambda": "λ", "rho": "ρ", "t": "t", "sigma": "σ"}
WHAT = {"x0": "data prediction", "eps": "noise prediction"}


def check(family: str, order: int, prediction: str, steps: str) -> None:
    """Raise SolverError where an order, a prediction or a kind of steps makes no sense."""
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise SolverError(f"{family}: order must be a whole number from 1, not {order!r}")
    if order > 8:
        raise SolverError(f"{family}: order {order} is beyond what is derived; the highest is 8")
    one_of(family, "prediction", prediction, PREDICTIONS)
    one_of(family, "steps", steps, STEPS)


def whole(family: str, option: str, value: Any) -> int:
    """The whole number that an option is; SolverError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SolverError(f"{family}: {option} must be a whole number, not {value!r}")
    return value


def check_length(family: str, order: int, steps: str) -> None:
    """Raise SolverError where weights through past values at steps of any ratios are too many terms."""
    if order > LONGEST and steps == "variable":
        raise SolverError(
            f"{family}: order {order} on variable steps takes minutes to solve, and its weights fill pages; the "
            f"highest is {LONGEST}, or take steps=uniform"
        )


def one_of(family: str, option: str, value: str, allowed: Any, remedy: str = "") -> None:
    """Raise SolverError where the value of an option is none of those allowed."""
    if value not in allowed:
        listed = " or ".join(allowed)
        raise SolverError(f"{family}: {option} must be {listed}, not {value!r}" + (f"; {remedy}" if remedy else ""))


def top_condition(family: str, kind: str, order: int) -> str:
    """How the highest condition is to hold: "exact", "weak" or "constant"."""
    one_of(family, "conditions", kind, TOPS)
    top = TOPS[kind]
    if top == "constant" and order > 2:
        raise Conditions(
            f"{family}: with conditions={kind!r} the highest condition is Σ b n^{order - 1}/{order - 1}! = 1/{order}! "
            f"for every z, which contradicts order {order}; bh1 exists for order 2"
        )
    return top


def exponent(variable: str, prediction: str, tau: Expr | None) -> Expr:
    """z of the exact linear part over the step: −(1 + τ²) h for data, h for noise prediction, 0 in other variables."""
    if variable != "lambda":
        return sp.S.Zero
    return H if prediction == "eps" else -(1 + (tau or 0) ** 2) * H


def targets_in(variable: str, order: int, z: Expr, top: str) -> list[Expr]:
    """What the weights must come to in a variable: φ-functions, or moments J_q of dρ without closed form."""
    if variable in ("t", "sigma"):
        return [sp.Symbol(f"J_{q}") for q in range(order)]
    return targets(order, z, top=top)


def past_ratios(depth: int, steps: str) -> list[Expr]:
    """r_1, r_2, …: how far back the past values lie, in steps."""
    return [ratio(k) if steps == "variable" else sp.Integer(k) for k in range(1, depth + 1)]


def rule_name(family: str, order: int, variable: str) -> str:
    """The name of a derived rule."""
    stem = family.replace("-", "_")
    return f"{stem}_{order}" if family != "adams" else f"{stem}_{variable}_{order}"


def number(family: str, option: str, value: Any) -> Expr:
    """An exact number; SolverError names the option where it is none."""
    found: Expr | None = None
    if isinstance(value, (list, tuple, dict, bool)):
        raise SolverError(f"{family}: {option} must be one number such as 1/2 or 0.5, not {value!r}")
    if not isinstance(value, str) or re.fullmatch(r"\s*[-+]?[\d.]+(e[-+]?\d+)?(/[\d.]+)?\s*", value):  # never evaluated
        with suppress(sp.SympifyError, TypeError, ValueError, SyntaxError):
            found = sp.nsimplify(value, rational=True)
    if found is None or not found.is_number or not found.is_real:
        raise SolverError(f"{family}: {option} must be a number such as 1/2 or 0.5, not {value!r}")
    return found


def noise_level(value: Values) -> tuple[Expr | None, dict[Expr, Expr]]:
    """τ and, where it stays an option, its default."""
    if value is None:
        return None, {}
    if value == "tau":
        tau = sp.Symbol("tau", nonnegative=True)
        return tau, {tau: sp.S.One}
    tau = number("derive", "stochastic", value)
    if tau < 0:
        raise SolverError(f"derive: stochastic must be at least 0, not {value}")
    return (tau or None), {}


def stage_nodes(family: str, stages: int, nodes: Values, free: Values) -> tuple[list[Expr], dict[Expr, Expr]]:
    """c_2, c_3: numbers, or symbols with these numbers for their defaults."""
    standard = {1: (), 2: ("1/2",), 3: ("1/3", "2/3")}[stages]
    given = listed(nodes) if nodes is not None else list(standard)
    if len(given) != stages - 1:
        raise SolverError(f"{family}: {stages} stages have {stages - 1} nodes besides 0, not {len(given)}")
    values = [number(family, "nodes", value) for value in given]
    if len({sp.S.Zero, *values}) != stages:
        raise Conditions(f"{family}: nodes must differ from 0 and from each other, not {', '.join(map(str, values))}")
    known = [f"c{i}" for i in range(2, stages + 1)]
    kept = names_among(family, free, known)
    symbols = [sp.Symbol(name, positive=True) for name in known]
    c = [symbol if symbol.name in kept else value for symbol, value in zip(symbols, values, strict=True)]
    return c, {symbol: value for symbol, value in zip(symbols, values, strict=True) if symbol.name in kept}


def listed(value: Any) -> list[Any]:
    """The words of a list that may be written with commas."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def left_over(family: str, free: Values, weights: Sequence[str], met: int, besides: Sequence[str] = ()) -> list[str]:
    """The names in `free`, each of a parameter besides the weights, or of a weight beyond the conditions met."""
    known = [*besides, *weights[met:]]
    for name in [] if free is None else listed(free):
        if name in weights[:met] or not known:
            remedy = f"free are {', '.join(known)}" if known else "more history or a lower order leaves weights free"
            raise SolverError(f"{family}: {name} cannot stay free, {met} conditions fix {met} weights; {remedy}")
    return names_among(family, free, known)


def names_among(family: str, free: Values, known: Sequence[str]) -> list[str]:
    """The names of free parameters, all of them known."""
    names = [] if free is None else listed(free)
    for name in names:
        if name not in known:
            raise SolverError(f"{family}: {unknown('free parameter', name, known)}")
    return names
