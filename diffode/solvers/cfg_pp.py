r"""CFG++: any solver, with the noise of the state told by the unconditional network.

    x_t = α_t D + σ_t ε_u,    ε_u = (x_s − α_s D_u)/σ_s                                       DDIM
    x̃_s = x_s + α_s (D − D_u),    x_t = the base's step from x̃_s with D as its first value     any base

D is the guided prediction and D_u the unconditional one. The two are one: the noise that D sees in x̃_s is the noise
that D_u sees in x_s.
"""

from __future__ import annotations

from typing import Any

from diffode.errors import SolverError
from diffode.plan import Linear
from diffode.solvers.ancestral import dpmpp_2s_ancestral
from diffode.solvers.base import limit, solver
from diffode.solvers.churn import Foretold, of_base
from diffode.solvers.first_order import euler_ancestral
from diffode.solvers.multistep import dpmpp_2m
from diffode.solvers.transforms import resolved
from diffode.trace import Step

SLOPES = ("guided", "published")


@solver(
    order=of_base("order"),
    erratum=of_base("erratum"),
    reaches=of_base("reaches"),
    strong_order=of_base("strong_order"),
    prediction=of_base("prediction"),
    history=of_base("history"),
    exponential=of_base("exponential"),
    uniform=of_base("uniform"),
    source="arXiv:2406.08070, Algorithm 2 and appendix; ComfyUI, k_diffusion/sampling.py",
    limits=[
        limit("euler_ancestral"),
        limit("ddim", base="ddim"),
        limit("dpmpp_2m", base="dpmpp_2m"),
        limit("dpmpp_2m", base="dpmpp_2m", slopes="published"),
    ],
)
def cfg_pp(step: Step, base: Any = euler_ancestral, slopes: str = "guided") -> Linear:
    r"""CFG++ on any solver: a step with the guided prediction that renoises with the unconditional one.

    The model must have a branch "unconditional", as `de.Guided` has; a guidance scale between 0 and 1 is meant. Where
    the branches are one, it is the base, and that is what its order is claimed for: with guidance the step moves the
    state by α_t λ (D_c − D_u) however short it is, so that CFG++ is a sampler for the number of steps it is used with,
    and has no limit. Every first value costs another evaluation, of the unconditional branch.

    Parameters
    ----------
    base : str or Solver
        In data or noise prediction.
    slopes : {"guided", "published"}
        What a base with a past remembers of a step: its first value; or D_u, as the published DPM-Solver++(2M) has it,
        so that its difference D − D_u₋ holds the whole guidance besides the slope.
    """
    name, rule, now = step.tracer.rule.name, resolved(base), step.now
    if rule.prediction not in ("x0", "eps"):
        raise SolverError(f"{name}: the base must be in data or noise prediction; {rule.name} is in {rule.prediction}")
    if slopes not in SLOPES:
        raise SolverError(f"{name}: no slopes={slopes!r}; there are {', '.join(map(repr, SLOPES))}")
    if step.singular:
        return step.limit()
    guided = step.model(step.x, now)
    free = step.model(step.x, now, output="unconditional")
    scale, first = (now.alpha, guided) if rule.prediction == "x0" else (-now.sigma, free)
    step.store(free if slopes == "published" else first)
    inner = Foretold(**vars(step), first=first)
    inner.x = step.hold(step.x + scale * (guided - free))
    return rule(inner)


_PUBLISHED = "arXiv:2406.08070; ComfyUI, sample_{}_cfg_pp"

euler_cfg_pp = cfg_pp.configure(
    "euler_cfg_pp", base=euler_ancestral.configure(eta=0.0), source=_PUBLISHED.format("euler")
)
euler_ancestral_cfg_pp = cfg_pp.configure("euler_ancestral_cfg_pp", source=_PUBLISHED.format("euler_ancestral"))
dpmpp_2s_ancestral_cfg_pp = cfg_pp.configure(
    "dpmpp_2s_ancestral_cfg_pp", base=dpmpp_2s_ancestral, source=_PUBLISHED.format("dpmpp_2s_ancestral")
)
dpmpp_2m_cfg_pp = cfg_pp.configure(
    "dpmpp_2m_cfg_pp", base=dpmpp_2m, slopes="published", source=_PUBLISHED.format("dpmpp_2m")
)
