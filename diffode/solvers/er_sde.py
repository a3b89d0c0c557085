r"""ER-SDE solvers: a noise scale φ(ρ) chooses among the reverse SDEs, and D is a polynomial in ρ = σ/α.

    x_t = (α_t/α_s) r x_s + α_t (1 − r) D + α_t Σ_k W_k D_k + α_t √(ρ_t² − r² ρ_s²) z,    r = φ(ρ_t)/φ(ρ_s)
    W_k = 1 − k ∫_0^1 θ^{k−1} φ(ρ_t)/φ(ρ) dθ,    θ = (ρ − ρ_s)/(ρ_t − ρ_s)

with D_k = (ρ_t − ρ_s)^k/k! d^k D/dρ^k. φ = ρ is the probability-flow ODE, φ = ρ² the reverse SDE; φ = ρ^p is the one
of noise level τ² = p − 1. The official code replaces the integrals by sums of 100 terms, and its third order takes a
backward difference for the derivative at its newest end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.series import rational
from diffode.solvers.base import Erratum, limit, solver
from diffode.trace import Step

_EXCESS: dict[str, Callable[[Number], Number]] = {
    "exp(-1/x)": lambda lam: phi.log1p(phi.exp(-phi.exp(lam)) / 10),
    "log(x^1.5)": lambda lam: 0.1 * lam + phi.log(phi.log1p(100 * phi.exp(-1.5 * lam))),
    "exp(x^0.3)": lambda lam: _log_plus_ten(phi.exp(-0.3 * lam)),
}
"""log(φ/ρ) but for a constant, in λ, of the paper's scales that are no powers.

x (e^{−1/x} + 10), x^0.9 log_10(1 + 100 x^1.5), and x (e^{x^0.3} + 10), which is the default of the official code.
"""


def _clock(excess: Callable[[Number], Number]) -> Callable[[Level], Number]:
    """The time (ρ/φ)² in which the noise of a step is one increment."""

    def clock(level: Level) -> Number:
        return phi.exp(-2 * excess(level.lam))

    return clock


_CLOCKS = {name: _clock(excess) for name, excess in _EXCESS.items()}


def _log_plus_ten(u: Number) -> Number:
    """log(e^u + 10), where e^u may overflow."""
    return u + phi.log1p(10 * phi.exp(-u))


def _excess(scale: float | str, lam: Number) -> Number:
    """log(φ/ρ) at λ, but for a constant."""
    if isinstance(scale, str):
        if scale not in _EXCESS:
            raise SolverError(f"er_sde: no scale named {scale!r}; there are {', '.join(_EXCESS)}, or a power of ρ")
        return _EXCESS[scale](lam)
    return (1 - scale) * lam


def _rise(step: Step, scale: float | str) -> Number:
    """log(φ/ρ) at `next` less that at `now`, not positive."""
    if isinstance(scale, str):
        return _excess(scale, step.next.lam) - _excess(scale, step.now.lam)
    return (1 - scale) * step.h


def _weights(step: Step, scale: float | str, count: int, terms: int) -> list[Number]:
    """W_1 … W_count: in closed form for a power of ρ, by quadrature else, or by the sum of the official code."""
    far, near = step.now.rho, step.next.rho
    end = _excess(scale, step.next.lam) - step.next.lam

    def ratios(rho: Number) -> list[Number]:
        ratio = phi.exp(end - _excess(scale, -phi.log(rho)) - phi.log(rho))
        theta = (rho - far) / (near - far)
        return [ratio, ratio * theta][:count]

    if terms:
        integrals = phi.riemann(ratios, near, far, terms)
    elif isinstance(scale, str):
        integrals = phi.integral(ratios, near, far)
    else:
        power = phi.literal(rational(scale), step.h)
        return [1 - k * _power_integral(power, k, step.h) for k in range(1, count + 1)]
    return [1 - k * value / (far - near) for k, value in enumerate(integrals, 1)]


def _power_integral(power: Number, k: int, h: Number) -> Number:
    """∫_0^1 θ^{k−1} (ρ_t/ρ)^p dθ, with ρ = ρ_s e^{−u} and θ = (1 − e^{−u})/(1 − e^{−h})."""
    whole = -phi.expm1(-h)
    result: Number = 0
    for j in range(k):
        result = result + (-1) ** j * comb(k - 1, j) * phi.moment(0, power - 1 - j, h)
    for _ in range(k):
        result = result / whole
    return phi.exp(-power * h) * result


def _differences(step: Step, d: Linear, count: int, slope: str) -> list[Linear]:
    """D_1 … D_count from the last values."""
    levels = [step.now, *(step.past_level(k) for k in range(1, count + 1))]
    values = [d, *(step.past(k) for k in range(1, count + 1))]
    width = step.next.rho - step.now.rho
    r = [(levels[k].rho - levels[k + 1].rho) / width for k in range(count)]
    delta = [(values[k] - values[k + 1]) / r[k] for k in range(count)]
    if count < 2:
        return delta
    bend = (delta[0] - delta[1]) / (r[0] + r[1])
    return [delta[0] + r[0] * bend if slope == "corrected" else delta[0], bend]


def _order(order: int, scale: float | str) -> int:
    """Without further Itô integrals a multistep rule with additive noise has weak order 2 at most."""
    return order if scale == 1 else min(order, 2)


def _reaches(order: int, scale: float | str, slope: str, terms: int) -> int | None:
    if terms and order > 1:
        return 1
    return 2 if order == 3 and scale == 1 and slope == "published" else None


def _erratum(order: int, scale: float | str, slope: str, terms: int) -> Erratum | None:
    if _reaches(order, scale, slope, terms) is None:
        return None
    if terms and order > 1:
        return Erratum(f"The integrals over φ are left Riemann sums of {terms} terms: of first order in the step.")
    return Erratum(
        "The first derivative is the backward difference, without the half step of the second.", "er_sde_ode_3"
    )


@solver(
    order=_order,
    reaches=_reaches,
    erratum=_erratum,
    strong_order=lambda scale: None if scale == 1 or isinstance(scale, str) else 1.0,
    prediction="x0",
    history=lambda order: order - 1,
    exponential=lambda scale: not isinstance(scale, str),
    source="arXiv:2309.06169, Algorithms 1 to 3; official code er_sde_solver.py",
    limits=[limit("ddim", order=1, scale=1.0), limit("sde_dpmpp_1", order=1, scale=2.0)],
)
def er_sde(
    step: Step,
    order: int = 2,
    scale: float | str = 2.0,
    slope: str = "corrected",
    terms: int = 0,
    clip: float = 0.0,
) -> Linear:
    r"""ER-SDE-1, -2 and -3 for any noise scale φ; see the module for the formula.

        D_1 = Δ_0 + r_0 D_2,    D_2 = (Δ_0 − Δ_1)/(r_0 + r_1)        (published: D_1 = Δ_0)

    with Δ_k = (D_k − D_{k+1})/r_k and r_k = (ρ_k − ρ_{k+1})/(ρ_t − ρ_s), k counting back from `now`.

    Parameters
    ----------
    order : {1, 2, 3}
        Number of values; with noise the weak order is 2 at most.
    scale : float or {"exp(-1/x)", "log(x^1.5)", "exp(x^0.3)"}
        φ: the power p of ρ^p (1 to 2.5 in the paper), or one of the paper's other scales.
    slope : {"corrected", "published"}
        Whether D_1 has the term of D_2 that puts it at `now`; published without, order 3 of the ODE is of order 2.
    terms : int
        Terms of the sums that the official code takes for the integrals, 100 there, which leaves first order in the
        limit; 0 for the integrals themselves. Floats only.
    clip : float
        Noise of a variance below this, in ρ, is left out: 1e-6 in the official code.
    """
    if order not in (1, 2, 3) or slope not in ("corrected", "published"):
        raise SolverError(
            f"{step.tracer.rule.name}: order is 1, 2 or 3 and slope 'corrected' or 'published', "
            f"not {order!r} and {slope!r}"
        )
    now, after = step.now, step.next
    d = step.model(step.x, now)
    rise = _rise(step, scale)
    log_r = rise - step.h
    result = (after.alpha / now.alpha) * phi.exp(log_r) * step.x - after.alpha * phi.expm1(log_r) * d
    count = min(order - 1, step.depth)
    if count:
        weights = _weights(step, scale, count, terms)
        for weight, difference in zip(weights, _differences(step, d, count, slope), strict=True):
            result = result + after.alpha * weight * difference
    if scale == 1:
        return result
    added = phi.sqrt(-phi.expm1(2 * rise))
    if clip:
        variance = after.rho * after.rho * added * added
        added = phi.choose(variance < clip, lambda: 0.0 * added, lambda: added)
    clock = _CLOCKS[scale] if isinstance(scale, str) else 2.0 * (scale - 1)
    return result + after.sigma * added * step.noise(now, after, clock=clock)


_ER, _SDE, _ODE = "arXiv:2309.06169", "φ = ρ²", "φ = ρ"

er_sde_1, er_sde_2, er_sde_3 = (
    er_sde.configure(f"er_sde_{k}", order=k, source=f"{_ER}, Algorithm {k}, {_SDE}") for k in (1, 2, 3)
)
er_sde_ode_2, er_sde_ode_3 = (
    er_sde.configure(f"er_sde_ode_{k}", order=k, scale=1.0, source=f"{_ER}, Algorithm {k}, {_ODE}") for k in (2, 3)
)
er_sde_ode_3_published = er_sde.configure(
    "er_sde_ode_3_published", order=3, scale=1.0, slope="published", source=f"{_ER}, Algorithm 3; official code, {_ODE}"
)
