r"""RES, the refined exponential solver: exponential Runge–Kutta methods that satisfy the stiff order conditions.

    x_t = ratio·x_s − gain·z Σ_i b_i m_i,    b_1 = φ_1(z) − Σ_{i>1} b_i

with stages at λ_s + c_i h made the same way, their own z being c_i z. Where DPM-Solver weighs a difference by φ_1/2,
these have φ_2, so that the second stiff condition Σ b_i c_i = φ_2(z) holds for every step.
"""

from __future__ import annotations

from diffode import phi
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import form, order_here, taylor
from diffode.solvers.starts import begin
from diffode.trace import Step

_RES = "arXiv:2308.02157"


def _stage(step: Step, c: float) -> Level:
    return step.level(lam=step.now.lam + c * step.h)


@solver(
    order=2,
    stiff_order=2,
    prediction=lambda prediction: prediction,
    exponential=True,
    source=f"{_RES}, the single-step solver of order 2",
    ranges={"c2": (1e-6, 1.0)},
    limits=[limit("etd2", c2=1.0)],
)
def res_2s(step: Step, c2: float = 0.5, prediction: str = "x0") -> Linear:
    r"""RES of order 2, two stages.

        a_21 = c_2 φ_1(c_2 z),    b_2 = φ_2(z)/c_2

    Parameters
    ----------
    c2 : float
        Where the stage sits.
    prediction : {"x0", "eps"}
    """
    d, middle = step.model(step.x, step.now), _stage(step, c2)
    slope = (step.model(taylor(step, prediction, [d], middle), middle) - d) / c2
    step.embed(lambda new: taylor(step, prediction, [d]))
    return taylor(step, prediction, [d, slope])


@solver(
    order=3,
    stiff_order=3,
    prediction=lambda prediction: prediction,
    exponential=True,
    source=f"{_RES}, the single-step solver of order 3; Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005)",
    ranges={"c2": (1e-6, 1.0), "c3": (1e-6, 1.0)},
    limits=[limit("dpmpp_3s", c2=1 / 3, c3=2 / 3)],
)
def res_3s(step: Step, c2: float = 0.5, c3: float = 1.0, prediction: str = "x0") -> Linear:
    r"""RES of order 3, three stages.

        γ    = (3c_3² − 2c_3)/(c_2 (2 − 3c_2))
        a_32 = γ c_2 φ_2(c_2 z) + (c_3²/c_2) φ_2(c_3 z)
        b_3  = φ_2(z)/(γ c_2 + c_3),    b_2 = γ b_3

    Parameters
    ----------
    c2, c3 : float
        Where the stages sit; c2 = 2/3 is excluded.
    prediction : {"x0", "eps"}
    """
    gamma = c3 * (3 * c3 - 2) / (c2 * (2 - 3 * c2))
    second, third = _stage(step, c2), _stage(step, c3)
    d = step.model(step.x, step.now)
    d2 = step.model(taylor(step, prediction, [d], second), second)
    rise = d2 - d
    x3 = taylor(step, prediction, [d, c3 / c2 * rise], third)
    z, gain = form(prediction, step.now, step.next).z, form(prediction, step.now, third).gain
    x3 = x3 - gain * z * gamma * c2 * phi.phi(2, c2 * z) * rise
    d3 = step.model(x3, third)
    step.embed(lambda new: taylor(step, prediction, [d, rise / c2]))
    slope = (gamma * rise + d3 - d) / (gamma * c2 + c3)
    return taylor(step, prediction, [d, slope])


@solver(
    order=2,
    prediction="x0",
    history=1,
    exponential=True,
    source=f"{_RES}, the multistep solver of order 2",
    limits=[limit("mr_ode_data_2")],
)
def res_2m(step: Step, start: str = "ramp", lower_order_final: bool | str = False) -> Linear:
    r"""RES of order 2 with a past value for its stage: c_2 = −h₋/h.

    Parameters
    ----------
    start : {"ramp", "derived"}
        One and the same at order 2.
    lower_order_final : bool or {"last", "early", "derived"}
        Whether the last step is of first order; see `order_here`.
    """
    d = begin(step, 2, start, ("ramp", "derived"))
    if order_here(step, 2, lower_order_final) == 1:
        return taylor(step, "x0", [d])
    c2 = (step.past_level(1).lam - step.now.lam) / step.h
    return taylor(step, "x0", [d, (step.past(1) - d) / c2])
