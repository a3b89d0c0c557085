"""Families without stages: a polynomial through past values, with a corrector or without."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from diffode.analysis.derivation.conditions import Condition, conditions, solve, targets
from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.options import (
    LETTER,
    WHAT,
    Expr,
    Values,
    check,
    check_length,
    exponent,
    left_over,
    names_among,
    noise_level,
    one_of,
    past_ratios,
    rule_name,
    targets_in,
    top_condition,
    whole,
)
from diffode.errors import SolverError
from diffode.kinds import WORDS


def exp_multistep(
    order: int = 3,
    prediction: str = "x0",
    variable: str = "lambda",
    steps: str = "variable",
    stochastic: Values = None,
    history: int | None = None,
    conditions: str = "strong",
    free: Values = None,
    *,
    command: str = "",
) -> Derivation:
    """A polynomial in λ through the last values of the network, integrated against the exact linear part.

    Parameters
    ----------
    order : int
        At most 7; 8 on uniform steps.
    prediction : {"x0", "eps"}
    variable : {"lambda"}
        For others see `adams`.
    steps : {"variable", "uniform"}
    stochastic : number or "tau", optional
        Noise level of the reverse SDE; "tau" keeps it as an option of the solver.
    history : int, optional
        Past values used; order − 1 are needed, each more leaves a weight free.
    conditions : {"strong", "weak", "bh1", "bh2", "midpoint"}
        Whether the highest condition holds for every z, or at z = 0 alone: with φ_{p−1}/p for φ_p (weak, which is
        "midpoint" and "bh2"), or with 1/p! (bh1).
    free : names, optional
        Weights that stay options of the solver: those that the conditions leave over, which stay so unasked.
    """
    one_of("exp-multistep", "variable", variable, ("lambda",), "for others derive adams")
    return _multistep(
        "exp-multistep", order, prediction, "lambda", steps, stochastic, history, conditions, free, command
    )


def adams(
    order: int = 3,
    variable: str = "rho",
    prediction: str = "eps",
    steps: str = "variable",
    history: int | None = None,
    free: Values = None,
    *,
    command: str = "",
) -> Derivation:
    """Adams–Bashforth on dy/dρ = ε, y = x/α: ε is a polynomial in a variable through its last values (DEIS).

    Parameters
    ----------
    order : int
    variable : {"rho", "lambda", "t", "sigma"}
        What the polynomial is in; ρ = σ/α is EDM's and k-diffusion's σ, "sigma" the process's own.
    prediction : {"eps"}
    steps : {"variable", "uniform"}
    history : int, optional
    free : names, optional
        As for `exp_multistep`.
    """
    one_of("adams", "variable", variable, LETTER)
    one_of("adams", "prediction", prediction, ("eps",), "for data prediction derive exp-multistep")
    return _multistep("adams", order, prediction, variable, steps, None, history, "strong", free, command)


def _multistep(
    family: str,
    order: int,
    prediction: str,
    variable: str,
    steps: str,
    stochastic: Values,
    history: int | None,
    kind: str,
    free: Values,
    command: str,
) -> Derivation:
    check(family, order, prediction, steps)
    check_length(family, order, steps)
    history = order - 1 if history is None else whole(family, "history", history)
    if history < order - 1:
        raise SolverError(
            f"{family}: order {order} needs {order - 1} past values; with history={history} the conditions bound the "
            f"order by {history + 1}"
        )
    if variable in ("t", "sigma") and history >= order:
        raise SolverError(
            f"{family}: history={history} leaves a weight free, which variable={variable!r} has no scale for (weights "
            f"are integrals over the step); take history={order - 1}, or variable='rho' or 'lambda'"
        )
    left_over(family, free, [f"b_{k}" for k in range(history + 1)], order)
    top = top_condition(family, kind, order)
    tau, defaults = noise_level(stochastic)
    z = exponent(variable, prediction, tau)
    tables: list[dict[str, list[Expr]]] = []
    used: list[Condition] = []
    for depth in range(history + 1):
        nodes = [-r for r in past_ratios(depth, steps)]
        wanted = targets_in(variable, min(depth + 1, order), z, top)
        used = conditions("b", [0, *nodes], wanted)
        weights, left = solve(used, [f"b_{k}" for k in range(depth + 1)])
        tables.append({"b": list(weights.values())})
        defaults.update(dict.fromkeys(left, sp.S.Zero))
    moments = order if variable in ("t", "sigma") else 0
    noise = "" if tau is None else f", with noise (weak order {min(order, 2)})"
    return Derivation(
        family, command, rule_name(family, order, variable), tables=tuple(tables), conditions=tuple(used),
        title=f"Exponential Adams–Bashforth of order {order} in {LETTER[variable]} on the {WHAT[prediction]}{noise}.",
        order=order, prediction=prediction, variable=variable, names={"b": [f"b_{k}" for k in range(history + 1)]},
        history=history, defaults=defaults, tau=tau, moments=moments,
        uniform=WORDS.get(variable, variable) if steps == "uniform" and history else None,
    )  # fmt: skip


def predictor_corrector(
    order: int = 3,
    predictor: int | None = None,
    corrector: int | None = None,
    prediction: str = "x0",
    variable: str = "lambda",
    steps: str = "variable",
    stochastic: Values = None,
    mode: str = "PEC",
    conditions: str = "strong",
    free: Values = None,
    *,
    command: str = "",
) -> Derivation:
    """A polynomial through past values predicts; one that has the value at the predicted point corrects (UniPC, SA).

    Parameters
    ----------
    order : int
        Of the whole: the lesser of corrector and predictor + 1.
    predictor, corrector : int, optional
        Values that each weights: order − 1 and order. Those of UniPC-p are p and p + 1.
    prediction, variable, steps, stochastic
        As for `exp_multistep`; variable "rho" is Adams–Bashforth–Moulton.
    mode : {"PEC", "PECE"}
        Whether the evaluation at the predicted point is kept for the next step, or a new one made.
    conditions : {"strong", "bh1", "bh2"}
        The shortcuts of UniPC: formulas through two values have h φ_1/2 or h/2 for φ_2.
    free : names, optional
        Weights that stay options of the solver ("p_2, c_1"), each for a condition that is then not asked; 0 by default.
    """
    family = "predictor-corrector"
    check(family, order, prediction, steps)
    check_length(family, order, steps)
    one_of(family, "variable", variable, ("lambda", "rho"))
    if variable == "rho":
        one_of(family, "prediction", prediction, ("eps",), 'for data prediction take variable="lambda"')
    one_of(family, "mode", mode, ("PEC", "PECE"))
    for option, value in (("predictor", predictor), ("corrector", corrector)):
        if value is not None:
            whole(family, option, value)
    p, q = predictor or max(order - 1, 1), corrector or max(order, 2)
    weights = {"p": [f"p_{k}" for k in range(p)], "c": ["c_new", *(f"c_{k}" for k in range(q - 1))]}
    kept = names_among(family, free, (*weights["p"], *weights["c"]))
    bound = min(len(set(weights["p"]) - set(kept)) + 1, len(set(weights["c"]) - set(kept)))
    if order > bound:
        raise SolverError(
            f"{family}: order {order} is too high for a predictor through {p} values and a corrector through {q}"
            f"{f' with {len(kept)} weights left free' * bool(kept)}: the conditions bound it by {bound}"
        )
    if order == 1:
        raise SolverError(f"{family}: order must be at least 2, that of the shortest pair; for 1 derive exp-multistep")
    top = top_condition(family, conditions, 2)
    tau, defaults = noise_level(stochastic)
    z, history = exponent(variable, prediction, tau), max(p, q - 1) - 1
    tables: list[dict[str, list[Expr]]] = []
    used: list[Condition] = []
    for depth in range(history + 1):
        past = [-r for r in past_ratios(depth, steps)]
        row_p, used_p = _formula("p", [0, *past][:p], z, top, weights["p"], kept)
        row_c, used_c = _formula("c", [1, 0, *past][:q], z, top, weights["c"], kept)
        tables.append({"p": row_p, "c": row_c})
        used = used_p + used_c
    defaults.update((sp.Symbol(name), sp.S.Zero) for name in kept)
    noise = "" if tau is None else f", with noise (weak order {min(order, 2)})"
    return Derivation(
        family, command, rule_name(family, order, variable), tables=tuple(tables), conditions=tuple(used),
        title=f"Predictor through {p} and corrector through {q} values in {LETTER[variable]} ({mode}), order {order}, "
        f"on the {WHAT[prediction]}{noise}.",
        order=order, prediction=prediction, variable=variable, history=history, defaults=defaults, tau=tau,
        names=weights,
        uniform=WORDS.get(variable, variable) if steps == "uniform" and history else None,
        corrected=True, pec=mode == "PEC",
    )  # fmt: skip


def _formula(
    row: str, nodes: list[Expr], z: Expr, top: str, names: Sequence[str], kept: Sequence[str]
) -> tuple[list[Expr], list[Condition]]:
    """The weights on the nodes that there are, a condition less for each one that is kept free."""
    at = dict(zip(names, nodes, strict=False))
    free = [name for name in at if name in kept]
    ordered = [*(name for name in at if name not in kept), *free]
    exact = targets(len(at) - len(free), z, top=top if len(at) - len(free) == 2 else "exact")
    used = conditions(row, [at[name] for name in ordered], exact)
    found = solve(used, ordered)[0]
    return [found[name] for name in at], used
