r"""EDM's stochastic sampler: noise up first, then a deterministic step of any one-step solver from there.

    x̂   = (α̂/α_s) x_s + S_noise α̂ √(ρ̂² − ρ_s²) z,    ρ̂ = (1 + γ) ρ_s,    γ = min(S_churn/N, √2 − 1)
    x_t = the base's step from ρ̂ to ρ_t

with N the number of steps, and γ = 0 where ρ_s is not between S_min and S_max. Both parts keep the law of the process,
so that the order of the law is the base's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log1p, sqrt
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number, package_of
from diffode.plan import Level, Linear
from diffode.solvers.base import Claim, Erratum, limit, solver
from diffode.solvers.runge_kutta import euler, heun
from diffode.solvers.singlestep import dpm2, shifted
from diffode.solvers.transforms import resolved
from diffode.trace import Step

WRONG_NOISE = Erratum("S_noise ≠ 1: the noise is not what the raise needs.")


def of_base(claim: str) -> Claim:
    """The claim of a transform that is the base's own."""
    return lambda base: getattr(resolved(base), claim)


def _rise(step: Step, s_churn: float, s_min: float, s_max: float, tau: float) -> Number:
    """log(ρ̂/ρ): by how much λ falls."""
    rise: Number = log1p(min(s_churn / step.count, sqrt(2) - 1))
    if tau and not step.singular:
        rise = rise + tau * tau * step.h
    if s_min > 0 or s_max < inf:
        inside = (step.now.rho >= s_min) & (step.now.rho <= s_max)
        return phi.choose(inside, lambda: rise, lambda: 0.0 * rise)
    return rise


def forward(step: Step, a: Level, b: Level, rise: Number, key: str, s_noise: float = 1.0) -> Linear:
    r"""The state at a, moved to the noisier level b by the forward process, exactly.

        x_b = (α_b/α_a) x_a + S_noise σ_b √(1 − e^{−2 rise}) z,    rise = λ_a − λ_b

    S_noise = 1 is the process.
    """
    x = (b.alpha / a.alpha) * step.x
    return x + s_noise * b.sigma * phi.sqrt(-phi.expm1(-2 * rise)) * step.normal(key) if s_noise else x


@dataclass
class Foretold(Step):
    """A step from another state than the rule's, whose value at `now` is known already."""

    first: Linear | None = None

    def model(
        self, x: Linear, level: Level, at: Level | None = None, to: Level | None = None, output: str | None = None
    ) -> Linear:
        """As `Step.model`."""
        if self.first is not None and level is self.now:
            return self.first
        return super().model(x, level, at, to, output)


def _late_limit(step: Step, x: Linear, raised: Level) -> Linear:
    """The raised state without its noise, as an evaluation before the raise tells it: α_t (x̂/α̂ − ρ̂ ε)."""
    more, scale = raised.rho / step.now.rho, step.next.alpha / step.now.alpha
    return (step.next.alpha / raised.alpha) * x - (more * scale) * step.x + more * step.limit()


@solver(
    order=lambda base, late: 1 if late else resolved(base).order,
    reaches=lambda base, s_noise: resolved(base).reaches if s_noise == 1 else 0,
    erratum=lambda base, s_noise: resolved(base).erratum if s_noise == 1 else WRONG_NOISE,
    prediction=of_base("prediction"),
    exponential=lambda base, s_churn, tau: resolved(base).exponential and not (s_churn or tau),
    uniform=of_base("uniform"),
    source="arXiv:2206.00364, Algorithm 2; k-diffusion, sample_euler, sample_heun and sample_dpm_2",
    ranges={"s_churn": (0.0, inf), "s_min": (0.0, inf), "s_noise": (0.0, inf), "tau": (0.0, 10.0)},
    limits=[
        limit("heun", tau=0.0),
        limit("euler", tau=0.0, base="euler"),
        limit("dpm2", tau=0.0, base="dpm2"),
    ],
)
def edm_stochastic(
    step: Step,
    base: Any = heun,
    tau: float = 1.0,
    s_churn: float = 0.0,
    s_min: float = 0.0,
    s_max: float = inf,
    s_noise: float = 1.0,
    late: bool = False,
) -> Linear:
    r"""EDM's stochastic sampler on any one-step solver; see the module for the formula.

    S_churn is shared out over the steps, however long they are, and so tells no noise level: the same number means
    another SDE on another grid. τ tells one: ρ̂ = ρ_s e^{τ² h}, churn in proportion to the step. The two add up.

    Parameters
    ----------
    base : str or Solver
        What goes down from ρ̂; Heun's method in the paper.
    tau : float
        Noise level of churn in proportion to the step; 0 in the paper.
    s_churn, s_min, s_max, s_noise : float
        The paper's. S_noise other than 1 does not converge.
    late : bool
        Raise the state after its evaluation, as the Euler scheduler of the diffusers library does: of first order.
    """
    rule, now = resolved(base), step.now
    if rule.history:
        raise SolverError(f"{step.tracer.rule.name}: the base must be a one-step solver; {rule.name} has a past")
    if now.singular:
        return step.limit()
    raised, rise = shifted(step, now, _rise(step, s_churn, s_min, s_max, tau), cleaner=False)
    inner = step
    if package_of(rise) in ("array", "sympy") or rise != 0:
        x = forward(step, now, raised, rise, "churn", s_noise)
        if late and step.singular:
            return _late_limit(step, x, raised)
        known = step.model(step.x, now) if late else None
        inner = Foretold(**vars(step), first=known)
        inner.x, inner.now = x, raised
    return inner.limit() if step.singular else rule(inner)


_EDM = "arXiv:2206.00364, Algorithm 2"

edm_stochastic_euler = edm_stochastic.configure(
    "edm_stochastic_euler", base=euler, source=f"{_EDM}, with Euler's method; k-diffusion, sample_euler"
)
edm_stochastic_dpm2 = edm_stochastic.configure(
    "edm_stochastic_dpm2", base=dpm2, source=f"{_EDM}, with DPM-Solver-2; k-diffusion, sample_dpm_2"
)
