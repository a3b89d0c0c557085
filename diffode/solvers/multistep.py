r"""Multistep DPM-Solver and DPM-Solver++, deterministic and stochastic.

They replace the network's output by a polynomial in λ through its last values and integrate that exactly (see
`diffode.solvers.exponential`). The published ones differ from it in two places: the second-order one may weight its
difference by φ_1/2 ("midpoint") instead of φ_2, which costs nothing, and the third-order one takes the second divided
difference for the second derivative, which is twice as large, and so is of second order only.
"""

from __future__ import annotations

from functools import partial

from diffode.plan import Linear
from diffode.solvers.base import Erratum, limit, solver
from diffode.solvers.exponential import (
    differences,
    exact_start,
    form,
    interpolate,
    latest,
    noise,
    order_here,
    taylor,
)
from diffode.solvers.starts import begin, finish
from diffode.trace import Step


def _with_noise(order: int, tau: float) -> int:
    """Without further Itô integrals a multistep rule with additive noise has weak order 2 at most."""
    return min(order, 2) if tau else order


def _true_order(order: int, tau: float, third: str) -> int | None:
    """What the published third order comes to, where that is less than it claims."""
    if order < 3:
        return None
    return 1 if third == "diffusers" else (None if tau else 2)


def _erratum(order: int, tau: float, third: str, prediction: str) -> Erratum | None:
    if _true_order(order, tau, third) is None:
        return None
    if third == "diffusers":
        return Erratum("The weight of the second derivative in the noisy step is off by 1: a ½ has the wrong sign.")
    right = "dpmpp_3m_corrected" if prediction == "x0" else "dpm_solver_3m_corrected"
    return Erratum("The second derivative is the divided difference, half of it, with the weight of the whole.", right)


@solver(
    order=lambda order, tau: _with_noise(order, tau),
    erratum=_erratum,
    reaches=lambda order, tau, third: _true_order(order, tau, third),
    strong_order=lambda tau: 1.0 if tau else None,
    prediction=lambda prediction: prediction,
    history=lambda order: order - 1,
    exponential=True,
    uniform=lambda order, tau, third: "lam" if order == 3 and tau and third == "diffusers" else None,
    source="arXiv:2211.01095, Algorithm 2 and appendix B; official code dpm_solver_pytorch.py",
    ranges={"order": (1, 3)},
    limits=[limit("ddim", order=1), limit("ddpm", order=1, tau=1.0), limit("unip_2", order=2)],
)
def dpm_multistep(
    step: Step,
    order: int = 2,
    prediction: str = "x0",
    kind: str = "midpoint",
    tau: float = 0.0,
    third: str = "published",
    start: str = "ramp",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""Multistep DPM-Solver (noise prediction) and DPM-Solver++ (data prediction), as published.

        x_t = ratio·x_s − gain·z φ_1(z) (m_0 + m_1/2)                             order 2, kind="midpoint"
        x_t = ratio·x_s − gain·z (φ_1(z) m_0 + φ_2(z) m_1)                        order 2, kind="taylor"
        x_t = ratio·x_s − gain·z (φ_1(z) m_0 + φ_2(z) m_1 + φ_3(z) m_2/2)         order 3

    with m_k = h^k d^k m/dλ^k from the polynomial through the last values. The m_2/2 is the published slip.

    Parameters
    ----------
    order : {1, 2, 3}
    prediction : {"x0", "eps"}
    kind : {"midpoint", "taylor"}
        Weight of the first derivative in steps of second order.
    tau : float
        Noise level: 0 is the ODE, 1 the reverse SDE.
    third : {"published", "diffusers"}
        Steps of third order. In the diffusers library's SDE-DPM-Solver++ the weight of m_2/2 is wrong by 1 (a ½ has the
        wrong sign), which leaves them of first order. With noise m_2 is of the size of √h, not of h²: what it makes
        wrong in a step, the next two steps take back where steps are alike; where they are not, nothing converges.
    start : {"ramp", "exact", "derived"}
        First steps of lower order, as published; one of full order; or steps that keep the order for few or no
        evaluations, see `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        Whether the last steps are of lower order, as the official code has it below 10 steps; see `order_here`.
    """
    whole = _with_noise(order, tau)
    d = begin(step, whole, start)
    end = finish(step, d, order, lower_order_final, whole, tau)
    if end is not None:
        return end
    added = noise(step, step.now, step.next, prediction, tau)
    possible = order_here(step, order, lower_order_final, whole)
    if start == "exact" and step.starting:
        quadrature = partial(interpolate, step, prediction, tau=tau)
        return exact_start(step, order, d, quadrature) + added
    m = differences(step, d, possible - 1)
    if possible == 2 and kind == "midpoint":
        m = [m[0] + m[1] / 2]
    if possible == 3:
        m[2] = m[2] / 2
    if possible == 3 and third == "diffusers":
        added = added - form(prediction, step.now, step.next, tau).gain * m[2]
    return taylor(step, prediction, m, tau=tau) + added


@solver(
    order=lambda order, tau: _with_noise(order, tau),
    stiff_order=lambda order, tau: None if tau else order,
    strong_order=lambda tau: 1.0 if tau else None,
    prediction=lambda prediction: prediction,
    history=lambda order: order - 1,
    exponential=True,
    source="Hochbruck and Ostermann, BIT 51 (2011), eq. (2.7), in λ",
    ranges={"order": (1, 12)},
    limits=[
        limit("ddim", order=1),
        limit("mr_ode_data_2", order=2),
        limit("mr_sde_data_2", order=2, tau=1.0),
        limit("deis_lambdaab_3", order=4, prediction="eps"),
    ],
)
def exponential_adams(
    step: Step,
    order: int = 3,
    prediction: str = "x0",
    tau: float = 0.0,
    start: str = "ramp",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""Exponential Adams–Bashforth in λ: the polynomial through the last `order` values, integrated exactly.

        x_t = ratio·x_s + Σ_j w_j m_j,    w_j = c α_t e^{−ch} ∫_0^h e^{cu} ℓ_j(u) du    (data prediction)

    At order 3 it is the third-order multistep DPM-Solver++ with its second derivative put right; in data prediction it
    is UniP of every order, with τ > 0 the predictor of SA-Solver, in noise prediction λ-DEIS.

    Parameters
    ----------
    order : int
    prediction : {"x0", "eps"}
    tau : float
        Noise level: 0 is the ODE, 1 the reverse SDE.
    start : {"ramp", "exact", "derived"}
    lower_order_final : bool or {"last", "early", "derived"}
        See `dpm_multistep`.
    """
    whole = _with_noise(order, tau)
    d = begin(step, whole, start)
    end = finish(step, d, order, lower_order_final, whole, tau)
    if end is not None:
        return end
    added = noise(step, step.now, step.next, prediction, tau)
    if start == "exact" and step.starting:
        quadrature = partial(interpolate, step, prediction, tau=tau)
        return exact_start(step, order, d, quadrature) + added
    values, levels = latest(step, d, order, lower_order_final, whole)
    return interpolate(step, prediction, values, levels, tau=tau) + added


_PP, _NOISE = "arXiv:2211.01095", "arXiv:2206.00927"
_SDE = "arXiv:2211.01095, appendix B (SDE-DPM-Solver++)"

dpmpp_2m = dpm_multistep.configure("dpmpp_2m", source=f"{_PP}, Algorithm 2")
dpmpp_3m = dpm_multistep.configure("dpmpp_3m", order=3, source=f"{_PP}; official code")
dpmpp_3m_corrected = exponential_adams.configure(
    "dpmpp_3m_corrected", source=f"{_PP}, with the second derivative doubled"
)
dpm_solver_2m = dpm_multistep.configure("dpm_solver_2m", prediction="eps", source=f"{_PP}, appendix B")
dpm_solver_3m = dpm_multistep.configure("dpm_solver_3m", order=3, prediction="eps", source=f"{_PP}; official code")
dpm_solver_3m_corrected = exponential_adams.configure(
    "dpm_solver_3m_corrected", prediction="eps", source=f"{_PP}, with the second derivative doubled"
)
sde_dpmpp_1 = dpm_multistep.configure("sde_dpmpp_1", order=1, tau=1.0, source=_SDE)
dpmpp_2m_sde = dpm_multistep.configure("dpmpp_2m_sde", tau=1.0, source=_SDE)
dpmpp_3m_sde = dpm_multistep.configure(
    "dpmpp_3m_sde", order=3, kind="taylor", tau=1.0, source="k-diffusion, sample_dpmpp_3m_sde"
)
