r"""Momentum on y = x/α, dy/dρ = ε: a velocity that averages the network's outputs.

GHVB averages first and extrapolates then, with weights that undo the lag of the average, so that it keeps the order of
the Adams–Bashforth method it is made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import ceil, comb

from diffode.plan import Linear
from diffode.series import rational
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import order_here
from diffode.solvers.starts import begin, ending, finish, unfinished
from diffode.trace import Step


def adams_bashforth(terms: int) -> list[Fraction]:
    """γ_0 … γ_{terms−1} of Adams–Bashforth in backward differences: Σ_m γ_m/(j + 1 − m) = 1.

    >>> adams_bashforth(4)
    [Fraction(1, 1), Fraction(1, 2), Fraction(5, 12), Fraction(3, 8)]
    """
    gammas: list[Fraction] = []
    for j in range(terms):
        gammas.append(1 - sum((g / (j + 1 - m) for m, g in enumerate(gammas)), Fraction(0)))
    return gammas


def in_values(nabla: Sequence[Fraction]) -> list[Fraction]:
    """Σ_j a_j ∇^j as weights of the newest value, the one before, ….

    >>> list(map(int, in_values([Fraction(0), Fraction(0), Fraction(1)])))
    [1, -2, 1]
    """
    terms = len(nabla)
    return [sum(((-1) ** m * comb(j, m) * nabla[j] for j in range(m, terms)), Fraction(0)) for m in range(terms)]


@cache
def weights(terms: int, beta: Fraction) -> list[Fraction]:
    """Weights of v_{n+1}, v_n, …: ((β + (1 − β)∇)/β) Σ γ_j ∇^j, cut after ∇^{terms−1}; at β = 1 Adams–Bashforth.

    >>> weights(2, Fraction(1)), weights(2, Fraction(1, 2))
    ([Fraction(3, 2), Fraction(-1, 2)], [Fraction(5, 2), Fraction(-3, 2)])
    """
    gammas = adams_bashforth(terms)
    return in_values([gamma + (1 - beta) / beta * (gammas[j - 1] if j else 0) for j, gamma in enumerate(gammas)])


def _endless(terms: int, beta: Fraction, back: int) -> list[Fraction]:
    """Weights of ε_n, ε_{n−1}, … in the velocity that an endless past leaves at level n − back.

    v = (1 + q∇)^{−1} ε, q = (1 − β)/β, and a level further back is 1 − ∇; both cut after ∇^{terms−1}.
    """
    q = (1 - beta) / beta
    return in_values(
        [sum(((-q) ** (j - m) * (-1) ** m * comb(back, m) for m in range(j + 1)), Fraction(0)) for j in range(terms)]
    )


def _split(order: float) -> tuple[int, Fraction]:
    """r = ⌈order⌉ terms, and β the fractional part (1 at integers)."""
    terms = ceil(order)
    return terms, rational(order) - (terms - 1)


@solver(
    order=lambda order: ceil(order),
    prediction="eps",
    history=lambda order: max(ceil(order) - 1, 1),
    uniform="rho",
    source="arXiv:2307.11118, eq. (17)",
    ranges={"order": (0.01, 9.0)},
    limits=[
        limit("ddim", order=1),
        limit("deis_rhoab_2", uniform="rho", order=3),
        limit("lms", uniform="rho", order=4),
    ],
)
def ghvb(
    step: Step,
    order: float = 2.5,
    final: str = "limit",
    start: str = "ramp",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""The generalised heavy-ball method of real-valued order.

        v_{n+1} = (1 − β) v_n + β ε_n,    y_{n+1} = y_n + (ρ_{n+1} − ρ_n) Σ_{j<r} c_j v_{n+1−j}

    with r = ⌈order⌉ terms and β the fractional part of the order. Of order r for every β > 0; its error constant and
    its stability lie between Adams–Bashforth r (β = 1) and r − 1 (β → 0). The weights are those of equal steps in ρ.

    Parameters
    ----------
    order : float
        r − 1 + β.
    final : {"limit", "rule"}
        The step to σ = 0: the limit of the exact one-step formula, or the rule itself, whose weights stay finite.
    start : {"ramp", "derived"}
        First steps of lower order, or ones that keep the order; see `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        See `order_here`.
    """
    terms, beta = _split(order)
    limited = final == "limit" or step.now.singular
    if step.singular and limited and not ending(step, terms, lower_order_final):
        return step.limit()
    putting_right = unfinished(step)
    eps = begin(step, terms, start, ("ramp", "derived"))
    end = finish(step, eps, terms, lower_order_final)
    if end is not None:
        return end
    if putting_right and not unfinished(step):
        v = _settle(step, eps, terms - 1, beta)
    elif unfinished(step):
        v, beta = eps, Fraction(1)
    else:
        v = eps if step.depth == 0 else (1 - beta) * step.past(1) + beta * eps
    step.store(v)
    terms = order_here(step, terms, lower_order_final)
    slope = sum((c * step.past(j) for j, c in enumerate(weights(terms, beta)) if j), Linear({}))
    slope = weights(terms, beta)[0] * v + slope
    ratio, delta = step.next.alpha / step.now.alpha, step.next.rho - step.now.rho
    return ratio * step.x + (step.next.alpha * delta) * slope


def _settle(step: Step, eps: Linear, count: int, beta: Fraction) -> Linear:
    """The velocities of an endless past, from the outputs that a derived start has found; the newest is returned."""
    outputs = [eps, *(step.past(k) for k in range(1, count))]
    velocities = [
        sum((c * output for c, output in zip(_endless(count, beta, back), outputs, strict=True)), Linear({}))
        for back in range(count)
    ]
    for back in range(1, count):
        step.revise(back, velocities[back])
    return velocities[0]


ghvb_1_5, ghvb_2_5, ghvb_3_5, ghvb_4_5 = (ghvb.configure(f"ghvb_{r}.5", order=r + 0.5) for r in range(1, 5))
ghvb_2, ghvb_3, ghvb_4 = (ghvb.configure(f"ghvb_{r}", order=r) for r in range(2, 5))
