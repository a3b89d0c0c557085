r"""Few-step sampling with maps: every step goes somewhere by one evaluation, and may add noise to come back.

A map G(x, s → u) is asked by `step.model(x, now, to=u)` and answers in the data prediction g that a step of DDIM would
need to land there (`diffode.models.maps`),

    G(x, s → u) = (σ_u/σ_s) x + (α_u − α_s σ_u/σ_s) g(x, s, u)

With exact maps every number of steps and every γ gives the exact law. A denoiser is the trivial map, g = D, with which
only γ = 0 comes near the probability flow as steps get small: it is DDIM, and what is claimed is claimed of that. The
rules are no names of the registry, which holds what solves the flow.
"""

from __future__ import annotations

from diffode import phi
from diffode.catalogue import catalogued
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.trace import Step


def moved(step: Step, target: Level) -> Linear:
    """G(x, now → target), by one evaluation."""
    step.read_singular = True  # finite at pure noise and at σ = 0
    g = step.model(step.x, step.now, to=target)
    keep = target.sigma / step.now.sigma
    return keep * step.x + (target.alpha - step.now.alpha * keep) * g


def noised(step: Step, x: Linear, a: Level, b: Level) -> Linear:
    """A state at a, with the noise that the forward process adds on the way back to b."""
    keep = b.alpha / a.alpha
    return keep * x + phi.sqrt(b.sigma * b.sigma - (keep * a.sigma) * (keep * a.sigma)) * step.normal("again")


@solver(
    order=1,
    reaches=lambda gamma: 0 if gamma else None,
    prediction="x0",
    exponential=lambda gamma: gamma == 0,
    source="arXiv:2310.02279, Algorithm 3 (γ-sampling); γ = 1 is arXiv:2303.01469, Algorithm 1",
    ranges={"gamma": (0.0, 1.0)},
    limits=[limit("ddim", gamma=0.0)],
)
@catalogued("map", "arXiv:2310.02279, Algorithm 3 (γ-sampling)")
def ctm(step: Step, gamma: float = 0.0) -> Linear:
    r"""γ-sampling of consistency-trajectory models: jump below the next level, and add noise up to it.

        x_u = G(x_s, s → u),    ρ_u = √(1 − γ²) ρ_t,    x_t = (α_t/α_u) x_u + γ σ_t z

    γ = 0 goes along the flow without noise, γ = 1 to the data and back in every step, as consistency models do. The
    last step stays where it lands. With a
    denoiser as the map it is x_t = α_t D + √(1 − γ²) σ_t ε + γ σ_t z: the first-order family with v = γ σ_t, which is
    DDIM(η) at γ = η √(1 − e^{−2h}).

    Parameters
    ----------
    gamma : float
        γ: how much of the noise at the next level is new.
    """
    if not gamma or step.last:
        return moved(step, step.next)
    below = dict(lam=float("inf")) if gamma == 1 else dict(rho=(1 - gamma * gamma) ** 0.5 * step.next.rho)
    target = step.level(**below)
    return noised(step, moved(step, target), target, step.next)


@solver(
    order=1,
    reaches=0,
    prediction="x0",
    source="arXiv:2303.01469, Algorithm 1 (multistep consistency sampling)",
)
@catalogued("map", "arXiv:2303.01469, Algorithm 1")
def consistency(step: Step) -> Linear:
    r"""Multistep consistency sampling: to the last level of the grid in one jump, and back to the next by noise.

        x_e = G(x_s, s → e),    x_t = (α_t/α_e) x_e + √(σ_t² − (α_t/α_e)² σ_e²) z

    The last step stays at e. On a grid that ends at σ = 0 it is `ctm` at γ = 1.
    """
    end = step.grid[-1]
    there = moved(step, end)
    return there if step.next is end else noised(step, there, end, step.next)
