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
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import Solver, limit, solver
from diffode.trace import Step

Q = Fraction


@dataclass(frozen=True)
class Tableau:
    """An explicit Butcher tableau, checked when made: stages × stages below the diagonal, Σb = 1, Σ_j a_ij = c_i.

    Parameters
    ----------
    a : tuple of tuples
        Row i has i entries.
    b : tuple
        Weights.
    order : int
        Classical order.
    name, source : str

    Raises
    ------
    SolverError
        If the shapes do not fit or the weights do not sum to 1.

    Examples
    --------
    >>> HEUN2.c
    (Fraction(0, 1), Fraction(1, 1))
    """

    a: tuple[tuple[Number, ...], ...]
    b: tuple[Number, ...]
    order: int
    name: str = "tableau"
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or any(len(row) != i for i, row in enumerate(self.a)):
            raise SolverError(
                f"{self.name}: an explicit tableau of {len(self.b)} stages needs rows of 0, 1, …, "
                f"{len(self.b) - 1} entries, not {[len(row) for row in self.a]}"
            )
        if abs(float(sum(self.b)) - 1) > 1e-12:
            raise SolverError(f"{self.name}: the weights b sum to {float(sum(self.b))}, not to 1")

    @property
    def c(self) -> tuple[Number, ...]:
        """Nodes, the row sums of a."""
        return tuple(sum(row, Q(0)) for row in self.a)


EULER = Tableau(((),), (Q(1),), 1, "euler")
MIDPOINT = Tableau(((), (Q(1, 2),)), (Q(0), Q(1)), 2, "midpoint")
HEUN2 = Tableau(((), (Q(1),)), (Q(1, 2), Q(1, 2)), 2, "heun")
RALSTON2 = Tableau(((), (Q(2, 3),)), (Q(1, 4), Q(3, 4)), 2, "ralston")
KUTTA3 = Tableau(((), (Q(1, 2),), (Q(-1), Q(2))), (Q(1, 6), Q(2, 3), Q(1, 6)), 3, "kutta3")
HEUN3 = Tableau(((), (Q(1, 3),), (Q(0), Q(2, 3))), (Q(1, 4), Q(0), Q(3, 4)), 3, "heun3")
RALSTON3 = Tableau(((), (Q(1, 2),), (Q(0), Q(3, 4))), (Q(2, 9), Q(1, 3), Q(4, 9)), 3, "ralston3")
VAN_DER_HOUWEN3 = Tableau(((), (Q(8, 15),), (Q(1, 4), Q(5, 12))), (Q(1, 4), Q(0), Q(3, 4)), 3, "houwen3")
SSPRK3 = Tableau(((), (Q(1),), (Q(1, 4), Q(1, 4))), (Q(1, 6), Q(1, 6), Q(2, 3)), 3, "ssprk3")
RK4 = Tableau(((), (Q(1, 2),), (Q(0), Q(1, 2)), (Q(0), Q(0), Q(1))), (Q(1, 6), Q(1, 3), Q(1, 3), Q(1, 6)), 4, "rk4")

TABLEAUX = {
    table.name: table
    for table in (EULER, MIDPOINT, HEUN2, RALSTON2, KUTTA3, HEUN3, RALSTON3, VAN_DER_HOUWEN3, SSPRK3, RK4)
}

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
    if variable not in VARIABLES:
        raise SolverError(f"runge_kutta: no variable named {variable!r}; there are {', '.join(VARIABLES)}")
    table = _tableau(tableau)
    if step.singular and (variable != "t" or step.next.singular):
        if final == "limit" or variable == "lambda" or step.now.singular:
            return step.limit()
        table = EULER
    start, delta = _position(step.now, variable), _position(step.next, variable) - _position(step.now, variable)
    slopes: list[Linear] = []
    for row, c in zip(table.a, table.c, strict=True):
        level = _stage(step, variable, start, delta, c)
        x = _advance(step, variable, slopes, row, delta, level)
        slopes.append(_slope(variable, level, step.model(x, level)))
    return _advance(step, variable, slopes, table.b, delta, step.next)


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
