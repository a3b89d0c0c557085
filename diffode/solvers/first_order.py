r"""The first-order family: one formula, of which DDPM, DDIM and Euler-ancestral differ in the noise v alone.

    x_t = α_t D + √(σ_t² − v²) ε + v z,    D = (x_s − σ_s ε)/α_s

It is exact for point-mass data with any v.
"""

from __future__ import annotations

from diffode import phi
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.trace import Step


def ancestral(step: Step, x: Linear, d: Linear, a: Level, b: Level, eta: float, clock: str = "snr") -> Linear:
    r"""The first-order step from a to b with v = η σ_b √(1 − e^{−2h}), for a data prediction d.

        x_b = (σ_b/σ_a) q x + α_b (1 − q e^{−h}) d + v z,    q = √(1 − v²/σ_b²)

    Parameters
    ----------
    step : Step
    x, d : Linear
        State and data prediction at a.
    a, b : Level
    eta : float
        0: deterministic; 1: the full noise of the reverse SDE.
    clock : str
        Clock of the Brownian increment.
    """
    h = b.lam - a.lam
    loss = -phi.expm1(-2 * h)
    short = _shortfall(eta * eta * loss)
    gain = -phi.expm1(-h) + short * phi.exp(-h)
    result = (b.sigma / a.sigma) * (1 - short) * x + b.alpha * gain * d
    if not eta:
        return result
    return result + eta * b.sigma * phi.sqrt(loss) * step.noise(a, b, clock=clock)


def _shortfall(u: Number) -> Number:
    """1 − √(1 − u), without cancellation for small u."""
    return u / (1 + phi.sqrt(1 - u))


@solver(
    order=1,
    prediction="eps",
    strong_order=lambda eta: 1.0 if eta else None,
    exponential=lambda eta: eta in (0.0, 1.0),
    source="arXiv:2010.02502, eq. (12) and (16)",
    ranges={"eta": (0.0, 1.0)},
    limits=[limit("ddpm", eta=1.0)],
)
def ddim(step: Step, eta: float = 0.0) -> Linear:
    r"""DDIM(η): the exponential Euler method, with any share η of the noise of DDPM.

        x_t = α_t D + √(σ_t² − v²) ε + v z,    v = η σ_t √(1 − e^{−2h})

    Parameters
    ----------
    eta : float
        0 is the probability-flow ODE, 1 is DDPM with its smaller variance.
    """
    now, after = step.now, step.next
    noise = step.model(step.x, now)
    loss = -phi.expm1(-2 * step.h)
    short = _shortfall(eta * eta * loss)
    result = (after.alpha / now.alpha) * step.x - after.sigma * (phi.expm1(step.h) + short) * noise
    if not eta:
        return result
    return result + eta * after.sigma * phi.sqrt(loss) * step.noise(now, after, clock="snr")


@solver(order=1, prediction="eps", strong_order=1.0, exponential=True, source="arXiv:2006.11239, Algorithm 2")
def ddpm(step: Step, variance: str = "small") -> Linear:
    r"""DDPM's ancestral step: the posterior mean, and one of two variances.

        x_t = α_t D + √(σ_t² − v²) ε + v̂ z,    v² = σ_t² (1 − e^{−2h}),    v̂ = v or √(1 − α_s²/α_t²)

    Parameters
    ----------
    variance : {"small", "large"}
        β̃ (1 − ᾱ_t)/(1 − ᾱ_s), which is DDIM(1), or β̃ itself.
    """
    now, after = step.now, step.next
    noise = step.model(step.x, now)
    shrink = -phi.expm1(-step.h)  # 1 − √(1 − v²/σ_t²), since v²/σ_t² = 1 − e^{−2h}
    result = (after.alpha / now.alpha) * step.x - after.sigma * (phi.expm1(step.h) + shrink) * noise
    if variance == "large":
        deviation = phi.sqrt(1 - (now.alpha / after.alpha) * (now.alpha / after.alpha))
    else:
        deviation = after.sigma * phi.sqrt(-phi.expm1(-2 * step.h))
    return result + deviation * step.noise(now, after, clock="snr")


@solver(
    order=1,
    prediction="x0",
    strong_order=lambda eta: 1.0 if eta else None,
    exponential=lambda eta: eta in (0.0, 1.0),
    source="k-diffusion, sample_euler_ancestral; Song et al., arXiv:2011.13456, appendix F (ancestral)",
    ranges={"eta": (0.0, 1.0)},
    limits=[limit("ddim", eta=0.0), limit("ddpm", eta=1.0)],
)
def euler_ancestral(step: Step, eta: float = 1.0) -> Linear:
    r"""Euler-ancestral of k-diffusion: DDIM(η) spelled in the data prediction, η = 1 by default.

        x_t = (σ_t/σ_s) q x_s + α_t (1 − q e^{−h}) D + v z,    v = η σ_t √(1 − e^{−2h}),    q = √(1 − v²/σ_t²)

    Parameters
    ----------
    eta : float
        Share of the noise.
    """
    d = step.model(step.x, step.now)
    return ancestral(step, step.x, d, step.now, step.next, eta)
