r"""Explicit Runge–Kutta methods in any variable of the process.

In a variable c the probability-flow ODE for a state y reads dy/dc = k, with

    c = ρ    y = x/α    k = ε                       (EDM and k-diffusion)
    c = λ    y = x/α    k = −e^{−λ} ε
    c = t    y = x      k = dx/dt                   (flow matching; score-SDE's Euler)
    c = σ    y = x      k = (dx/dt)/(dσ/dt)

and a tableau (a, b, c) does the rest: Y_i = y + Δc Σ_j a_ij k_j, y′ = y + Δc Σ_i b_i k_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import Solver, limit, solver
from diffode.solvers.tableaux import EULER, TABLEAUX, Tableau
from diffode.solvers.tableaux import RK4 as RK4
from diffode.trace import Step

VARIABLES = {"rho": "eps", "lambda": "eps", "t": "velocity", "sigma": "velocity"}
"""What the network is asked for, for each variable of integration."""


def _tableau(tableau: str | Tableau) -> Tableau:
    if isinstance(tableau, Tableau):
        return tableau
    if tableau not in TABLEAUX:
        raise SolverError(f"runge_kutta: no tableau named {tableau!r}; there are {', '.join(TABLEAUX)}")
    return TABLEAUX[tableau]


@solver(
    order=lambda tableau: _tableau(tableau).order,
    prediction=lambda variable: VARIABLES.get(variable, "eps"),
    source="Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, section II.1",
    limits=[limit("ddim", tableau="euler", variable="rho")],
)
def runge_kutta(step: Step, tableau: Any = "heun", variable: str = "rho", final: str = "limit") -> Linear:
    r"""An explicit Runge–Kutta method for the probability-flow ODE in a chosen variable.

        Y_i = y + Δc Σ_j a_ij k_j,    y′ = y + Δc Σ_i b_i k_i

    Parameters
    ----------
    tableau : str or Tableau
        A name in `TABLEAUX`, or a tableau of one's own.
    variable : {"rho", "lambda", "t", "sigma"}
        The variable of integration; see the module for y and k.
    final : {"limit", "euler"}
        The step to σ = 0: the limit of the exact one-step formula, or Euler's method in the variable, as EDM's code has
        it, which is the same in ρ only.
    """
    return through_tableau(step, _tableau(tableau), variable, final)


def through_tableau(step: Step, table: Tableau, variable: str, final: str) -> Linear:
    """One step of an explicit tableau in a variable; see `runge_kutta`."""
    if variable not in VARIABLES:
        name = step.tracer.rule.name
        raise SolverError(f"{name}: no variable named {variable!r}; there are {', '.join(VARIABLES)}")
    if step.singular and (variable != "t" or step.next.singular):
        if final == "limit" or variable == "lambda" or step.now.singular:
            return step.limit()
        table = EULER
    start, delta = _position(step.now, variable), _position(step.next, variable) - _position(step.now, variable)
    slopes: list[Linear] = []
    levels = {c: _stage(step, variable, start, delta, c) for c in dict.fromkeys(table.c)}
    for row, c in zip(table.a, table.c, strict=True):
        x = _advance(step, variable, slopes, row, delta, levels[c])
        slopes.append(_slope(variable, levels[c], step.model(x, levels[c])))
    result = _advance(step, variable, slopes, table.b, delta, step.next)
    if not table.lower:
        return result

    def lower(new: Linear) -> Linear:
        further = [_slope(variable, step.next, step.model(new, step.next))] if len(table.lower) > len(slopes) else []
        return _advance(step, variable, [*slopes, *further], table.lower, delta, step.next)

    step.embed(lower)
    return result


def _position(level: Level, variable: str) -> Number:
    return getattr(level, "lam" if variable == "lambda" else variable)


def _stage(step: Step, variable: str, start: Number, delta: Number, c: Number) -> Level:
    if c in (0, 1):
        return step.next if c else step.now
    return step.level(**{"lam" if variable == "lambda" else variable: start + phi.literal(c, delta) * delta})


def _slope(variable: str, level: Level, output: Linear) -> Linear:
    if variable == "lambda":
        return -phi.exp(-level.lam) * output
    return output / level.dsigma if variable == "sigma" else output


def _advance(
    step: Step, variable: str, slopes: Sequence[Linear], weights: Sequence[Number], delta: Number, to: Level
) -> Linear:
    scale = to.alpha if variable in ("rho", "lambda") else 1
    ratio = to.alpha / step.now.alpha if variable in ("rho", "lambda") else 1
    result = ratio * step.x
    for weight, slope in zip(weights, slopes, strict=True):
        if weight != 0:
            result = result + (scale * delta * phi.literal(weight, delta)) * slope
    return result


def _named(name: str, tableau: str, variable: str, source: str) -> Solver:
    return runge_kutta.configure(name, tableau=tableau, variable=variable, source=source)


_EDM, _DEIS = "arXiv:2206.00364", "arXiv:2204.13902"

euler = _named("euler", "euler", "rho", f"{_EDM}; k-diffusion, sample_euler (which is DDIM)")
heun = _named("heun", "heun", "rho", f"{_EDM}, Algorithm 1")
rk4 = _named("rk4", "rk4", "rho", "Kutta (1901), in σ/α")
euler_t, heun_t, rk4_t = (
    _named(f"{name}_t", name, "t", "arXiv:2011.13456, eq. (13), integrated in t") for name in ("euler", "heun", "rk4")
)
heun_lambda, rk4_lambda = (
    _named(f"{name}_lambda", name, "lambda", "arXiv:2206.00927, eq. (3.1), in λ") for name in ("heun", "rk4")
)
heun_sigma, rk4_sigma = (_named(f"{name}_sigma", name, "sigma", f"{_EDM}, eq. (4), in σ") for name in ("heun", "rk4"))
deis_rho_midpoint = _named("deis_rho_midpoint", "midpoint", "rho", f"{_DEIS}, ρRK-DEIS")
deis_rho_heun = _named("deis_rho_heun", "heun", "rho", f"{_DEIS}, ρRK-DEIS")
deis_rho_kutta3 = _named("deis_rho_kutta3", "kutta3", "rho", f"{_DEIS}, ρRK-DEIS")
deis_rho_rk4 = _named("deis_rho_rk4", "rk4", "rho", f"{_DEIS}, ρRK-DEIS")

ssprk3, three_eighths, fehlberg5, cash_karp5, dormand_prince5, butcher6, verner6, fehlberg8, cooper_verner8 = (
    _named(name, name, "rho", TABLEAUX[name].source)
    for name in (
        "ssprk3", "three_eighths", "fehlberg5", "cash_karp5", "dormand_prince5", "butcher6", "verner6", "fehlberg8",
        "cooper_verner8",
    )
)  # fmt: skip
bogacki_shampine3 = _named("bogacki_shampine3", "ralston3", "rho", "Bogacki and Shampine (1989), the higher order")
dormand_prince5_t = _named("dormand_prince5_t", "dormand_prince5", "t", f"{TABLEAUX['dormand_prince5'].source}, in t")
