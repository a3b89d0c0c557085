r"""Reversible rules: a step can be undone exactly, from the states and the memory that it leaves.

DDIM's step cannot: x_t = a x_s + b ε(x_s) holds its unknown inside the network. These rules keep a second state, and
write every step so that the network is asked at what is known from either side:

    x_{i+1} = A x_{i−1} + B x_i + C ε(x_i)                    two steps (BDIA, BELM)
    x ← a x + b ε(y),   y ← a y + b ε(x)                      two streams (EDICT, reversible Heun)

`diffode.analysis.inversion.invert` reads the way back off the rows of a plan; how much rounding grows on it, from
`condition`. They stand in y = x/α and ρ = σ/α, where the ODE is dy/dρ = ε, and their weights stay finite at σ = 0.
"""

from __future__ import annotations

from collections.abc import Callable

from diffode.kinds import infinite
from diffode.plan import Level, Linear
from diffode.series import rational
from diffode.solvers.base import limit, solver
from diffode.trace import Step


def _move(x: Linear, a: Level, b: Level, e: Linear) -> Linear:
    """DDIM's step from a to b: x_b = (α_b/α_a) x + α_b (ρ_b − ρ_a) ε."""
    return (b.alpha / a.alpha) * x + (b.alpha * (b.rho - a.rho)) * e


def _from_noise(step: Step) -> bool:
    """Whether an end is pure noise, ρ = ∞, and only the limit is left; at σ = 0 the rule itself runs, and remembers."""
    if step.singular and (infinite(step.now.rho) or infinite(step.next.rho)):
        return True
    step.keep()
    return False


def _noise(step: Step, x: Linear | None = None) -> Linear:
    """ε at the start of the step. Of σ = 0, where it is not determined, the network is told the next level instead."""
    return step.model(step.x if x is None else x, step.now, at=step.next if step.now.singular else None)


@solver(
    order=1,
    prediction="eps",
    exponential=True,
    source="arXiv:2211.09794 (null-text inversion), official code, next_step",
    limits=[limit("ddim", told="now")],
)
def ddim_inversion(step: Step, told: str = "next") -> Linear:
    r"""DDIM as it is run from data to noise: the network may be told the level at the end of the step.

        x_t = (α_t/α_s) x_s + α_t (ρ_t − ρ_s) ε(x_s; told t)

    It is not the inverse of DDIM's step, which would ask at x_t: a round trip comes back to O(h).

    Parameters
    ----------
    told : {"next", "now"}
        "now" is DDIM on any grid, but that it may start at σ = 0.
    """
    if _from_noise(step):
        return step.limit()
    ahead = told == "next" and not step.next.singular  # of σ = 0 nothing can be told
    return _move(step.x, step.now, step.next, step.model(step.x, step.now, at=step.next) if ahead else _noise(step))


@solver(
    order=1,
    prediction="eps",
    exponential=True,
    reversible=True,
    source="arXiv:2211.12446; code of BELM, samplers/edict.py",
    ranges={"p": (0.01, 1.0)},
)
def edict(step: Step, p: float = 0.93) -> Linear:
    r"""EDICT: two streams that move each other, then are mixed.

        x̂ = a x + b ε(y),    ŷ = a y + b ε(x̂),    x′ = p x̂ + (1 − p) ŷ,    y′ = p ŷ + (1 − p) x′

    Both evaluations are told the level at the start of the step. The streams' difference fades as p² a step, and grows
    so on the way back. In the authors' own code the streams take turns in going first (leapfrog_steps); this is the
    order of the paper, and of BELM's code.

    Parameters
    ----------
    p : float
        Share of its own stream in the mixture; 1 mixes nothing.
    """
    if _from_noise(step):
        return step.limit()
    x, y = step.x, step.memory.get("y", step.x)
    x = step.hold(_move(x, step.now, step.next, _noise(step, y)))
    y = step.hold(_move(y, step.now, step.next, _noise(step, x)))
    own = rational(p)
    x = step.hold(own * x + (1 - own) * y)
    step.memory["y"] = own * y + (1 - own) * x
    return x


@solver(
    order=lambda gamma: 2 if gamma == 1 else 1,
    prediction="eps",
    history=lambda gamma: 1 if gamma else 0,
    exponential=True,
    uniform=lambda gamma: "lam" if gamma == 1 else None,
    reversible=lambda gamma: bool(gamma),
    source="arXiv:2307.10829 (BDIA-DDIM); official code BDIAddim.py",
    ranges={"gamma": (0.0, 1.0)},
    limits=[limit("ddim", gamma=0.0)],
)
def bdia(step: Step, gamma: float = 1.0, of: str = "x") -> Linear:
    r"""BDIA: DDIM's step ahead, and a share γ of what its step back would have missed.

        x_{i+1} = DDIM(x_i → i+1) + γ (x_{i−1} − DDIM(x_i → i−1))

    Of second order at γ = 1 alone, and on steps that change smoothly. The inverse step has the weight 1/γ, so rounding
    grows by it in every step back.

    Parameters
    ----------
    gamma : float
        0 is DDIM. The authors take 1 at 40 steps and ½ at 10.
    of : {"x", "y"}
        What γ weighs: the states, as published, or x/α, which makes the rule the same for every process.
    """
    if _from_noise(step):
        return step.limit()
    step.store(step.x)
    e = _noise(step)
    return _both_ways(step, gamma, of, lambda level: e)


def _both_ways(step: Step, gamma: float, of: str, slope: Callable[[Level], Linear]) -> Linear:
    """BDIA with any integration of dy/dρ = ε from `now` to a level, told as the mean slope."""
    now, after = step.now, step.next
    ahead = (after.alpha * (after.rho - now.rho)) * slope(after)
    if step.starting or not gamma:
        return (after.alpha / now.alpha) * step.x + ahead
    past, share = step.past_level(1), rational(gamma)
    missed = step.past(1) - (past.alpha * (past.rho - now.rho)) * slope(past)
    if of == "y":
        kept, missed = (1 - share) * ((after.alpha / now.alpha) * step.x), (after.alpha / past.alpha) * missed
    else:
        kept = (after.alpha / now.alpha) * step.x - share * ((past.alpha / now.alpha) * step.x)
    return kept + ahead + share * missed


@solver(
    order=2,
    prediction="eps",
    history=lambda gamma: 1 if gamma else 0,
    exponential=True,
    reversible=lambda gamma: bool(gamma),
    source="arXiv:2307.10829 (BDIA-EDM), with Heun's increments ahead and back; its formula was not compared",
    ranges={"gamma": (0.0, 1.0)},
    limits=[limit("deis_rho_heun", gamma=0.0)],
)
def bdia_edm(step: Step, gamma: float = 1.0) -> Linear:
    r"""BDIA on EDM's sampler: Heun's step ahead, and a share γ of what Heun's step back would have missed.

        y_{i+1} = Heun(y_i → i+1) + γ (y_{i−1} − Heun(y_i → i−1)),    y = x/α

    Three evaluations a step; the step to σ = 0 is Euler's, as in EDM.

    Parameters
    ----------
    gamma : float
        0 is Heun's method in ρ.
    """
    if _from_noise(step):
        return step.limit()
    step.store(step.x)
    e = _noise(step)

    def slope(level: Level) -> Linear:
        if level.singular:
            return e
        return (e + step.model(_move(step.x, step.now, level, e), level)) / 2

    return _both_ways(step, gamma, "y", slope)


@solver(
    order=2,
    prediction="eps",
    history=1,
    exponential=True,
    reversible=True,
    source="arXiv:2410.07273 (O-BELM); official code samplers/BELM.py",
    limits=[limit("bdia_y", uniform="rho")],
)
def o_belm(step: Step) -> Linear:
    r"""O-BELM: the two-step formula of least local error, of second order on any steps.

        y_{i+1} = q² y_{i−1} + (1 − q²) y_i + Δ (1 + q) ε(y_i),    Δ = ρ_{i+1} − ρ_i,    q = Δ/(ρ_i − ρ_{i−1})

    Run on the reversed grid it is its own inverse. On equal steps in ρ it is the leapfrog method.
    """
    if _from_noise(step):
        return step.limit()
    step.store(step.x)
    e, now, after = _noise(step), step.now, step.next
    if step.starting:
        return _move(step.x, now, after, e)
    past, delta = step.past_level(1), after.rho - now.rho
    q = delta / (now.rho - past.rho)
    return (
        (q * q * (after.alpha / past.alpha)) * step.past(1)
        + ((1 - q * q) * (after.alpha / now.alpha)) * step.x
        + (after.alpha * delta * (1 + q)) * e
    )


@solver(
    order=2, prediction="eps", exponential=True, reversible=True, source="arXiv:2105.13493 (reversible Heun), as an ODE"
)
def reversible_heun(step: Step) -> Linear:
    r"""Reversible Heun of Kidger and others: the trapezoidal rule through a second stream ŷ.

        ŷ′ = 2y − ŷ + Δ ε(ŷ),    y′ = y + ½Δ (ε(ŷ) + ε(ŷ′)),    y = x/α,  Δ = ρ_t − ρ_s

    It is written by halves, m = y + ½Δ ε(ŷ), ŷ′ = 2m − ŷ, y′ = m + ½Δ ε(ŷ′), each of which can be undone. One
    evaluation a step, and one at the start.
    """
    if step.singular:
        return step.limit()
    now, after = step.now, step.next
    hat = step.memory.get("hat", step.x)
    e = step.memory.get("e", lambda: step.model(step.x, now))
    ratio, half = after.alpha / now.alpha, after.alpha * (after.rho - now.rho) / 2
    middle = step.hold(ratio * step.x + half * e)
    step.memory["hat"] = new = step.hold(2 * middle - ratio * hat)
    step.memory["e"] = e = step.model(new, after)
    return middle + half * e


bdia_half = bdia.configure("bdia_half", gamma=0.5, source="arXiv:2307.10829, the authors' γ at 10 steps")
bdia_y = bdia.configure("bdia_y", of="y", source="arXiv:2307.10829 at γ = 1, on x/α")
