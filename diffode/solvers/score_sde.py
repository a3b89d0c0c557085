r"""Score-SDE's predictors: Euler–Maruyama, reverse diffusion and ancestral sampling, in the score s.

    Euler–Maruyama       x_t = x_s − f x_s Δt + g² s Δt + g √Δt z,    f = α′/α,    g² = 2σ (σ′ − f σ)
    reverse diffusion    x_t = (2 − a) x_s + β s + √β z
    ancestral            x_t = (x_s + β s)/a + √β z

with the forward transition x_s = a x_t + √β z, a = α_s/α_t and β = σ_s² (1 − e^{−2h}). The probability flow takes half
of the score and no noise. None of them knows that the SDE is linear apart from the score, and what they do depends on
the α of the process.
"""

from __future__ import annotations

from diffode import phi
from diffode.errors import SolverError
from diffode.plan import Linear
from diffode.solvers.base import limit, solver
from diffode.trace import Step

SCHEMES = ("euler_maruyama", "reverse_diffusion", "ancestral")


@solver(
    order=1,
    strong_order=lambda probability_flow: None if probability_flow else 1.0,
    prediction="score",
    source="arXiv:2011.13456, appendix E and F; official code sampling.py",
    limits=[limit("euler_t", scheme="euler_maruyama", probability_flow=True)],
)
def score_sde(step: Step, scheme: str = "euler_maruyama", probability_flow: bool = False) -> Linear:
    r"""The predictors of score-based generative modelling through SDEs; see the module for the formulas.

    The official code takes Δt = 1/N on a grid whose steps are (1 − ε)/(N − 1), which leaves an error of first order in
    the time; here Δt is the step of the grid. Ancestral sampling with the smaller variance is `euler_ancestral`.

    Parameters
    ----------
    scheme : {"euler_maruyama", "reverse_diffusion", "ancestral"}
    probability_flow : bool
        Half of the score and no noise; not for ancestral sampling.
    """
    if scheme not in SCHEMES or (probability_flow and scheme == "ancestral"):
        flow = " with probability_flow" if scheme in SCHEMES else ""
        raise SolverError(f"{step.tracer.rule.name}: no scheme {scheme!r}{flow}; there are {', '.join(SCHEMES[:2])}")
    now, after = step.now, step.next
    score = step.model(step.x, now)
    share = 0.5 if probability_flow else 1.0
    if scheme == "euler_maruyama":
        f, width = now.dalpha / now.alpha, now.t - after.t
        variance = 2 * width * now.sigma * (now.dsigma - f * now.sigma)
        result = (1 - f * width) * step.x + share * variance * score
    else:
        a, variance = now.alpha / after.alpha, -phi.expm1(-2 * step.h) * now.sigma * now.sigma
        if scheme == "ancestral":
            result = (step.x + variance * score) / a
        else:
            result = (2 - a) * step.x + share * variance * score
    if probability_flow:
        return result
    return result + phi.sqrt(variance) * step.noise(now, after, clock="snr")


_SONG = "arXiv:2011.13456"

euler_maruyama = score_sde.configure(
    "euler_maruyama", source=f"{_SONG}, eq. (6); official code, EulerMaruyamaPredictor"
)
reverse_diffusion = score_sde.configure(
    "reverse_diffusion",
    scheme="reverse_diffusion",
    source=f"{_SONG}, appendix E; official code, ReverseDiffusionPredictor",
)
ancestral_sampling = score_sde.configure(
    "ancestral_sampling",
    scheme="ancestral",
    source=f"{_SONG}, appendix F; official code, AncestralSamplingPredictor (VP)",
)
