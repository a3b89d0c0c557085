r"""Bespoke solvers: Runge–Kutta in a rescaled state and a new time, of which the order is that of the base.

For x̄ = s x as a function of r, with s and t smooth functions of r, the probability-flow ODE reads

    dx̄/dr = (ṡ/s) x̄ + ṫ s u(t, x̄/s),        u = dx/dt.

Whatever s and t are, a Runge–Kutta method in r keeps its order. A fit chooses them step by step
(`diffode.fitting.bespoke`); here they are named: r is a variable of the process, and s = α^{−a} σ^{−b}.
"""

from __future__ import annotations

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.trace import Step

VARIABLES = ("t", "lam", "rho", "sigma")


def _scale(step: Step, level: Level, a: float, b: float) -> Number:
    """s = α^{−a} σ^{−b} in units of its value at `now`, of which nothing depends."""
    if not (a or b):
        return 1
    now = step.now
    return phi.exp(-a * phi.log(level.alpha / now.alpha) - b * phi.log(level.sigma / now.sigma))


def _rate(level: Level, variable: str) -> Number:
    """dr/dt."""
    falls, rises = level.dalpha / level.alpha, level.dsigma / level.sigma
    if variable == "lam":
        return falls - rises
    return {"t": 1, "sigma": level.dsigma, "rho": (rises - falls) * level.rho}[variable]


def _slope(step: Step, x: Linear, level: Level, variable: str, a: float, b: float) -> Linear:
    """dx̄/dr at a state x, at the cost of an evaluation."""
    growth = -a * (level.dalpha / level.alpha) - b * (level.dsigma / level.sigma)
    velocity = step.model(x, level)
    return (_scale(step, level, a, b) / _rate(level, variable)) * (growth * x + velocity if a or b else velocity)


@solver(
    order=lambda stages: stages,
    prediction="velocity",
    source="arXiv:2310.19075, eqs. (18) and (20)",
    ranges={"stages": (1, 2), "a": (-2.0, 2.0), "b": (-2.0, 2.0)},
    limits=[
        limit("euler_t", stages=1, variable="t", a=0.0, b=0.0),
        limit("euler", stages=1, variable="rho", a=1.0, b=0.0),
        limit("deis_rho_midpoint", stages=2, variable="rho", a=1.0, b=0.0),
    ],
)
def bespoke(step: Step, stages: int = 2, variable: str = "t", a: float = 0.5, b: float = 0.25) -> Linear:
    r"""Bespoke RK1 and RK2 with s = α^{−a} σ^{−b} and r a variable of the process.

        x̄_{i+1} = x̄_i + Δr k_i                                        RK1
        x̄_{i+1} = x̄_i + Δr k(r_i + Δr/2, x̄_i + Δr k_i/2)             RK2

    Parameters
    ----------
    stages : {1, 2}
    variable : {"t", "lam", "rho", "sigma"}
        r, the variable of integration.
    a, b : float
        Exponents of the scale; at a = b = 0 in t it is the parent.
    """
    if variable not in VARIABLES:
        raise SolverError(f"{step.tracer.rule.name}: variable is one of {', '.join(VARIABLES)}, not {variable!r}")
    now, after = step.now, step.next
    first = getattr(now, variable)
    delta = getattr(after, variable) - first
    slope = _slope(step, step.x, now, variable, a, b)
    if stages == 2:
        middle = step.level(**{variable: first + delta / 2})
        x = (step.x + (delta / 2) * slope) / _scale(step, middle, a, b)
        slope = _slope(step, x, middle, variable, a, b)
    return (step.x + delta * slope) / _scale(step, after, a, b)


bespoke_rk1 = bespoke.configure("bespoke_rk1", stages=1, source="arXiv:2310.19075, eq. (18)")
bespoke_rk2_lambda = bespoke.configure(
    "bespoke_rk2_lambda", variable="lam", b=0.5, source="arXiv:2310.19075, eq. (20), in λ"
)
