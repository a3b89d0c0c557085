r"""SEEDS: stochastic exponential Runge–Kutta methods whose stages and step share one Brownian path.

They are DPM-Solver's singlestep methods with the exact linear part and the exact noise of the reverse SDE in every
stage (see `diffode.solvers.exponential`). The paper sums the normals of the stretches up to a stage,
Σ_j √(e^{2 r_j h} − e^{2 r_{j−1} h}) z_j, which are the increments of one path.
"""

from __future__ import annotations

from diffode.errors import SolverError
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import noise, taylor
from diffode.trace import Step


def _stage(step: Step, prediction: str, derivatives: list[Linear], b: Level, tau: float) -> Linear:
    """The state at b, its noise with it."""
    return taylor(step, prediction, derivatives, b, tau) + noise(step, step.now, b, prediction, tau)


@solver(
    order=lambda order, tau: min(order, 2) if tau else order,
    strong_order=lambda tau: 1.0 if tau else None,
    prediction=lambda prediction: prediction,
    exponential=True,
    source="arXiv:2305.14267, Algorithms 1 to 3",
    ranges={"tau": (0.0, 10.0)},
    limits=[
        limit("mr_sde_noise_1", order=1, tau=1.0),
        limit("sde_dpmpp_1", order=1, tau=1.0, prediction="x0"),
        limit("dpmpp_sde", order=2, tau=1.0, prediction="x0"),
        limit("dpm_solver_2", order=2, tau=0.0),
        limit("dpm_solver_3", order=3, tau=0.0),
    ],
)
def seeds(step: Step, order: int = 2, prediction: str = "eps", tau: float = 1.0) -> Linear:
    r"""SEEDS-1, -2 and -3.

        u   = ratio_½·x_s − gain_½ (e^{h/2} − 1) ε_s + noise_½                                order 2
        x_t = ratio·x_s − gain (e^h − 1) ε(u) + noise

        u_1 = the first-order step to λ_s + h/3,                     Δ_1 = 3 (ε(u_1) − ε_s)      order 3
        u_2 = the step to λ_s + 2h/3 with slope Δ_1, weight φ_2,     Δ_2 = 3/2 (ε(u_2) − ε_s)
        x_t = ratio·x_s − gain·h (φ_1 ε_s + φ_2 Δ_2) + noise

    The paper proves weak order 1 of SEEDS-2 and -3. Both have weak order 2; the third stage gains no more, for want of
    further Itô integrals.

    Parameters
    ----------
    order : {1, 2, 3}
        The order that the rule has without noise.
    prediction : {"eps", "x0"}
        "x0" is the form in which they are mostly run, with the noise level of SDE-DPM-Solver++.
    tau : float
        Noise level; 1 is the reverse SDE of the paper, 0 leaves DPM-Solver.
    """
    if order not in (1, 2, 3):
        raise SolverError(f"{step.tracer.rule.name}: order must be 1, 2 or 3, not {order!r}")
    now, after = step.now, step.next
    d = step.model(step.x, now)
    if order == 1:
        return _stage(step, prediction, [d], after, tau)
    first = step.level(lam=now.lam + step.h / order)
    d1 = step.model(_stage(step, prediction, [d], first, tau), first)
    if order == 2:
        return _stage(step, prediction, [d1], after, tau)
    second = step.level(lam=now.lam + 2 * step.h / 3)
    d2 = step.model(_stage(step, prediction, [d, 2 * (d1 - d)], second, tau), second)
    return _stage(step, prediction, [d, 1.5 * (d2 - d)], after, tau)


_SEEDS, _DATA = "arXiv:2305.14267", "ComfyUI, sample_seeds"

seeds_1, seeds_2, seeds_3 = (
    seeds.configure(f"seeds_{k}", order=k, source=f"{_SEEDS}, Algorithm {k}") for k in (1, 2, 3)
)
seeds_2_data, seeds_3_data = (
    seeds.configure(f"seeds_{k}_data", order=k, prediction="x0", source=f"{_DATA}_{k}") for k in (2, 3)
)
