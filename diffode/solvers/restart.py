r"""Restart: any solver on a grid that goes up again, where it adds the noise of the forward process.

Going down contracts the error that is there already, and costs a discretisation error of its own. Restart goes down the
same interval several times: K times by an ODE solver contract as an SDE solver does, with the ODE's discretisation
error.
"""

from __future__ import annotations

from math import inf
from typing import Any

from diffode.plan import Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.churn import WRONG_NOISE, forward, of_base
from diffode.solvers.runge_kutta import heun
from diffode.solvers.transforms import resolved
from diffode.trace import Step


@solver(
    order=of_base("order"),
    erratum=lambda base, s_noise: resolved(base).erratum if s_noise == 1 else WRONG_NOISE,
    reaches=lambda base, s_noise: resolved(base).reaches if s_noise == 1 else 0,
    strong_order=of_base("strong_order"),
    prediction=of_base("prediction"),
    history=of_base("history"),
    exponential=of_base("exponential"),
    uniform=of_base("uniform"),
    source="arXiv:2306.14878, Algorithm 1; official code generate_restart.py",
    ranges={"s_noise": (0.0, inf)},
    limits=[limit("heun"), limit("dpmpp_2m", base="dpmpp_2m")],
)
def restart(step: Step, base: Any = heun, s_noise: float = 1.0) -> Linear:
    r"""Restart: the base's steps down a grid of `de.grids.restart`, and the forward process up.

        x_t = (α_t/α_s) x_s + S_noise σ_t √(1 − e^{−2(λ_s − λ_t)}) z    where the grid goes up

    On any other grid it is the base. A step up costs no evaluation, and a base with a past starts anew behind it.

    Parameters
    ----------
    base : str or Solver
        What goes down; Heun's method in the paper.
    s_noise : float
        1 is the forward process. The official code has 0 by default, which goes up without noise and keeps no law, and
        1.003 in its published commands; neither converges. Those commands churn on the ways down besides
        (restart_gamma, 0.05 between S_min and S_max), which is not here.
    """
    if step.index not in getattr(step.tracer.grid, "rises", ()):
        return resolved(base)(step)
    step.tracer.past.clear()
    step.tracer.named.clear()
    return forward(step, step.now, step.next, -step.h, "restart", s_noise)
