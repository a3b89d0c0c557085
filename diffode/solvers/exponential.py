r"""What all exponential solvers share: the exact linear part and the weights of a polynomial in λ.

With noise level τ ≥ 0 (0: the probability-flow ODE; 1: the usual reverse SDE) and c = 1 + τ², the solution from level
s to level t, with h = λ_t − λ_s and u = λ − λ_s, is

    data prediction    x_t = (σ_t/σ_s) e^{−τ²h} x_s + c α_t e^{−ch} ∫_0^h e^{cu} D du  + σ_t √(1 − e^{−2τ²h}) z
    noise prediction   x_t = (α_t/α_s) x_s          − c σ_t e^{h}   ∫_0^h e^{−u} ε du  + τ σ_t √(e^{2h} − 1) z

Both are x_t = ratio·x_s − gain·z ∫_0^1 e^{(1−θ)z} m dθ + noise with one number z (−ch or h) and one gain (α_t or
c σ_t), so that every formula below is written once for both predictions, with and without noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import mul

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.trace import Step


@dataclass(frozen=True)
class Form:
    """The exact linear part of one step: see the module's formula.

    Attributes
    ----------
    ratio, gain, z : number
        Factor of the state, gain of the network's part, and the exponent of the weights.
    deviation : number
        Standard deviation of the noise that the step adds.
    clock : float
        Rate of the clock e^{rate·λ} in which that noise is one increment of unit weight.
    """

    ratio: Number
    gain: Number
    z: Number
    deviation: Number
    clock: float


def form(prediction: str, a: Level, b: Level, tau: float = 0.0) -> Form:
    """The linear part from level a to b for a prediction "x0" or "eps" at noise level τ."""
    h = b.lam - a.lam
    t2 = tau * tau
    if prediction == "x0":
        ratio, shrink = b.sigma / a.sigma, phi.expm1(-2 * t2 * h) if tau else 0.0
        if tau:
            ratio = ratio * phi.exp(-t2 * h)
        deviation = b.sigma * phi.sqrt(-shrink) if tau else 0.0
        return Form(ratio, b.alpha, -(1 + t2) * h, deviation, 2.0 * t2)
    deviation = tau * b.sigma * phi.sqrt(phi.expm1(2 * h)) if tau else 0.0
    return Form(b.alpha / a.alpha, (1 + t2) * b.sigma, h, deviation, -2.0)


def noise(step: Step, a: Level, b: Level, prediction: str, tau: float) -> Linear:
    """The noise that the exact SDE step from a to b adds (nothing at τ = 0)."""
    if not tau:
        return Linear({})
    parts = form(prediction, a, b, tau)
    return parts.deviation * step.noise(a, b, clock=parts.clock)


def taylor(
    step: Step, prediction: str, derivatives: Sequence[Linear], b: Level | None = None, tau: float = 0.0
) -> Linear:
    r"""The step from `now` that integrates Σ_k m^{(k)} u^k/k! exactly, without its noise.

        x_t = ratio·x_s − gain Σ_k z φ_{k+1}(z) m_k,    m_k = h^k d^k m/dλ^k

    Parameters
    ----------
    step : Step
    prediction : {"x0", "eps"}
    derivatives : sequence of Linear
        m_0, m_1, …: the network's output and its scaled derivatives in λ at `now`.
    b : Level, optional
        Where to; `step.next` by default.
    tau : float
        Noise level τ.
    """
    parts = form(prediction, step.now, b or step.next, tau)
    result = parts.ratio * step.x
    for k, m in enumerate(derivatives):
        weight = phi.expm1(parts.z) if k == 0 else parts.z * phi.phi(k + 1, parts.z)
        result = result - parts.gain * weight * m
    return result


def interpolate(
    step: Step,
    prediction: str,
    values: Sequence[Linear],
    levels: Sequence[Level],
    b: Level | None = None,
    tau: float = 0.0,
) -> Linear:
    r"""The step from `now` that integrates the polynomial in λ through given values exactly, without its noise.

        x_t = ratio·x_s + Σ_j w_j m_j,    w_j = c α_t e^{−ch} ∫_0^h e^{cu} ℓ_j(u) du    (data prediction)

    On past levels this is exponential Adams–Bashforth, with `b` among the levels exponential Adams–Moulton: UniP and
    UniC, SA-Solver, λ-DEIS and the corrected third-order DPM-Solver++ are all this function.

    Parameters
    ----------
    step : Step
    prediction : {"x0", "eps"}
    values, levels : sequences of the same length
        Outputs of the network and where they were taken.
    b : Level, optional
        Where to; `step.next` by default.
    tau : float
        Noise level τ.
    """
    return integrate(step.x, step.now, prediction, values, levels, b or step.next, tau)


def integrate(
    x: Linear,
    a: Level,
    prediction: str,
    values: Sequence[Linear],
    levels: Sequence[Level],
    b: Level,
    tau: float = 0.0,
) -> Linear:
    """`interpolate` from any state x at any level a."""
    h, parts = b.lam - a.lam, form(prediction, a, b, tau)
    nodes = [level.lam - a.lam for level in levels]
    if prediction == "x0":
        rate = 1 + tau * tau
        scale = rate * parts.gain * phi.exp(-rate * h)
    else:
        rate, scale = -1, -parts.gain * phi.exp(h)
    result = parts.ratio * x
    for weight, value in zip(phi.lagrange(nodes, rate, h), values, strict=True):
        result = result + scale * weight * value
    return result


def differences(step: Step, d: Linear, count: int) -> list[Linear]:
    r"""m_0, m_1 (and m_2) from the last values: the derivatives in λ of the polynomial through them, scaled by h^k.

        m_1 = Δ_0 + r_0/(r_0 + r_1) (Δ_0 − Δ_1),    m_2 = 2 (Δ_0 − Δ_1)/(r_0 + r_1)

    with Δ_k = (d_k − d_{k+1})/r_k and r_k = (λ_k − λ_{k+1})/h, k counting back from `now`.
    """
    levels = [step.now, *(step.past_level(k) for k in range(1, count + 1))]
    values = [d, *(step.past(k) for k in range(1, count + 1))]
    r = [(p.lam - q.lam) / step.h for p, q in pairwise(levels)]
    delta = [(values[k] - values[k + 1]) / r[k] for k in range(count)]
    if count < 2:
        return [d, *delta]
    bend = (delta[0] - delta[1]) / (r[0] + r[1])
    return [d, delta[0] + r[0] * bend, 2 * bend]


Advance = Callable[[Sequence[Linear], Sequence[Level], Level], Linear]
"""(values, levels, target) → the state at the target, by the family's own quadrature."""


def exact_start(step: Step, order: int, d: Linear, advance: Advance) -> Linear:
    """One step of full order without any past, for every family that integrates a polynomial.

    Picard sweeps: the k-th evaluates the network on k new nodes, at the states that the polynomial of the sweep
    before gives there, and gains one order. It costs 1 + order·(order − 1)/2 evaluations, once.

    Parameters
    ----------
    step : Step
    order : int
        The order wanted.
    d : Linear
        The evaluation at `now`.
    advance : callable
        The family's quadrature.
    """
    values, levels = [d], [step.now]
    for sweep in range(1, order):
        nodes = [
            step.next if j == sweep else step.level(lam=step.now.lam + j / sweep * step.h) for j in range(1, sweep + 1)
        ]
        outputs = [step.model(advance(values, levels, node), node) for node in nodes]
        values, levels = [d, *outputs], [step.now, *nodes]
    return advance(values, levels, step.next)


def lagrange_basis(nodes: Sequence[Number]) -> Callable[[Number, Number], list[Number]]:
    """(at, factor) → factor·ℓ_j(at), the Lagrange basis on the nodes."""
    others = [[m for m in range(len(nodes)) if m != j] for j in range(len(nodes))]
    scales = [reduce(mul, (node - nodes[m] for m in rest), 1) for node, rest in zip(nodes, others, strict=True)]

    def basis(at: Number, factor: Number) -> list[Number]:
        gaps = [at - node for node in nodes]
        return [
            reduce(mul, [gaps[m] for m in rest], factor) / scale for rest, scale in zip(others, scales, strict=True)
        ]

    return basis


_ENDS = (False, True, "last", "early", "derived")


def order_here(step: Step, order: int, lower_order_final: bool | str, whole: float | None = None) -> int:
    """The order of this step: what the past allows, and what the end asks for.

    Parameters
    ----------
    step : Step
    order : int
        The order of a step in the middle.
    lower_order_final : bool or {"last", "early", "derived"}
        True: at most the number of steps left. "last": the last step alone is of first order (diffusers'
        `euler_at_final`). "early": as True, but one step too soon, and the last step of full order (MR Sampler's code).
        "derived": an end that keeps the order; see `diffode.solvers.starts`. Where that has no step of its own (with
        noise), the last step is of one order less than the whole rule.
    whole : float, optional
        The order of the whole rule, where it is not that of the step.
    """
    if lower_order_final not in _ENDS:
        listed = ", ".join(map(repr, _ENDS))
        raise SolverError(f"{step.tracer.rule.name}: no lower_order_final={lower_order_final!r}; there are {listed}")
    possible = min(order, step.depth + 1)
    left = step.remaining
    if lower_order_final == "derived":
        return min(possible, max(int(whole or order) - 1, 1)) if left == 1 else possible
    if lower_order_final == "last":
        return 1 if left == 1 else possible
    if lower_order_final == "early":
        return possible if left == 1 else min(possible, left - 1)
    return min(possible, left) if lower_order_final else possible


def latest(
    step: Step, d: Linear, order: int, lower_order_final: bool | str = False, whole: float | None = None
) -> tuple[list[Linear], list[Level]]:
    """The values that a step of this order weighs, newest first, d among them, and their levels; see `order_here`."""
    back = range(1, order_here(step, order, lower_order_final, whole))
    return [d, *map(step.past, back)], [step.now, *map(step.past_level, back)]
