r"""DEIS: Adams–Bashforth methods on y = x/α, dy/dρ = ε, with the polynomial in ρ, in t or in λ.

The exact step is y_t = y_s + ∫ ε dρ with ρ = σ/α. What ε is taken to be a polynomial *in* is the only difference
between ρAB-DEIS (which is k-diffusion's LMS), tAB-DEIS and λAB-DEIS (which is multistep DPM-Solver).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import exact_start, interpolate, lagrange_basis, latest
from diffode.solvers.starts import begin, ending, finish
from diffode.trace import Step

_TERMS = 10_000
"""Terms of the sums that the official codes take for their integrals."""


def through(
    step: Step, variable: str, quadrature: str, values: Sequence[Linear], levels: Sequence[Level], b: Level
) -> Linear:
    """The step from `now` to b that integrates the polynomial in `variable` through the values."""
    if variable == "lambda":
        return interpolate(step, "eps", values, levels, b)
    if quadrature != "exact" and not (quadrature == "closed" and len(levels) == 1):
        weights = _summed(step, variable, levels, b, closed=quadrature == "closed")
    elif variable == "rho":
        nodes = [level.rho - step.now.rho for level in levels]
        weights = phi.lagrange(nodes, 0, b.rho - step.now.rho)
    else:
        weights = _weights_in_t(step, levels, b)
    result = (b.alpha / step.now.alpha) * step.x
    for weight, value in zip(weights, values, strict=True):
        result = result + b.alpha * weight * value
    return result


def _weights_in_t(step: Step, levels: Sequence[Level], b: Level) -> list[Number]:
    """∫ ℓ_j(t) dρ along the process, as integrals over λ since dρ = −e^{−λ} dλ."""
    basis = lagrange_basis([level.t for level in levels])

    def densities(lam: Number) -> list[Number]:
        return basis(step.time(lam), -phi.exp(-lam))

    return phi.integral(densities, step.now.lam, b.lam, step.kinks(step.now, b))


def _summed(step: Step, variable: str, levels: Sequence[Level], b: Level, closed: bool) -> list[Number]:
    """∫ ℓ_j dρ as the official codes take it, by a sum over equal pieces of ρ or t."""
    basis = lagrange_basis([getattr(level, variable) for level in levels])

    def densities(at: Number) -> list[Number]:
        if variable == "rho":
            return basis(at, 1.0)
        level = step.level(t=at)
        return basis(at, (level.dsigma - level.rho * level.dalpha) / level.alpha)

    return phi.riemann(densities, getattr(step.now, variable), getattr(b, variable), _TERMS, closed)


@solver(
    order=lambda degree: degree + 1,
    prediction="eps",
    history=lambda degree: degree,
    exponential=True,
    source="arXiv:2204.13902, eq. (14–16)",
    ranges={"degree": (0, 8)},
    limits=[
        limit("ddim", degree=0),
        limit("dpm_solver_3m_corrected", degree=2, variable="lambda"),
        limit("lms", degree=3, variable="rho"),
    ],
)
def deis(
    step: Step,
    degree: int = 3,
    variable: str = "t",
    quadrature: str = "exact",
    start: str = "ramp",
    lower_order_final: bool | str = False,
    final: str = "limit",
) -> Linear:
    r"""DEIS by Adams–Bashforth: ε a polynomial of given degree in ρ, t or λ through its last values.

        x_t = (α_t/α_s) x_s + α_t Σ_j w_j ε_j,    w_j = ∫_{ρ_s}^{ρ_t} ℓ_j dρ

    The integrals are exact; the official codes sum 10,000 terms, which leaves their weights wrong by some 1e-4.

    Parameters
    ----------
    degree : int
        Degree of the polynomial; the order is one more.
    variable : {"t", "rho", "lambda"}
        What the polynomial is in.
    quadrature : {"exact", "left", "closed"}
        "left": the left Riemann sum of the official code; "closed": that of diff-sampler, over points with both ends
        of the step, its first step exact. For ρ and t, in floats.
    start : {"ramp", "exact", "derived"}
        See `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        See `order_here`.
    final : {"limit", "rule"}
        The step to σ = 0: the limit of the exact one-step formula, or in ρ, where the weights stay finite, the rule
        itself, as k-diffusion's LMS has it.
    """
    if variable not in ("rho", "t", "lambda"):
        raise SolverError(f"deis: no variable {variable!r}; there are rho, t, lambda")
    limited = final == "limit" or variable != "rho" or step.now.singular
    if step.singular and limited and not ending(step, degree + 1, lower_order_final):
        return step.limit()
    d = begin(step, degree + 1, start)
    end = finish(step, d, degree + 1, lower_order_final)
    if end is not None:
        return end
    if start == "exact" and step.starting:
        return exact_start(step, degree + 1, d, partial(through, step, variable, quadrature))
    values, levels = latest(step, d, degree + 1, lower_order_final)
    return through(step, variable, quadrature, values, levels, step.next)


_DEIS = "arXiv:2204.13902"

deis_tab_0, deis_tab_1, deis_tab_2, deis_tab_3, deis_tab_4 = (
    deis.configure(f"deis_tab_{r}", degree=r, source=f"{_DEIS}, tAB-DEIS") for r in range(5)
)
deis_rhoab_1, deis_rhoab_2, deis_rhoab_3, deis_rhoab_4 = (
    deis.configure(f"deis_rhoab_{r}", degree=r, variable="rho", source=f"{_DEIS}, ρAB-DEIS") for r in range(1, 5)
)
deis_lambdaab_1, deis_lambdaab_2, deis_lambdaab_3, deis_lambdaab_4 = (
    deis.configure(
        f"deis_lambdaab_{r}", degree=r, variable="lambda", source=f"{_DEIS}; the DEIS of the diffusers library"
    )
    for r in range(1, 5)
)
lms = deis.configure("lms", variable="rho", source="k-diffusion, sample_lms (order 4)")
