r"""Momentum on y = x/α, dy/dρ = ε: a velocity that averages the network's outputs.

GHVB averages first and extrapolates then, with weights that undo the lag of the average, so that it keeps the order of
the Adams–Bashforth method it is made from.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import ceil, comb

from diffode.plan import Linear
from diffode.series import rational
from diffode.solvers.base import limit, solver
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


@cache
def _weights(terms: int, beta: Fraction) -> list[Fraction]:
    """Weights of v_{n+1}, v_n, …: ((β + (1 − β)∇)/β) Σ γ_j ∇^j, cut after ∇^{terms−1}."""
    gammas = adams_bashforth(terms)
    nabla = [gamma + (1 - beta) / beta * (gammas[j - 1] if j else 0) for j, gamma in enumerate(gammas)]
    return [sum(((-1) ** m * comb(j, m) * nabla[j] for j in range(m, terms)), Fraction(0)) for m in range(terms)]


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
def ghvb(step: Step, order: float = 2.5, final: str = "limit") -> Linear:
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
    """
    if step.singular and (final == "limit" or step.now.singular):
        return step.limit()
    terms, beta = _split(order)
    eps = step.model(step.x, step.now)
    v = eps if step.depth == 0 else (1 - beta) * step.past(1) + beta * eps
    step.store(v)
    terms = min(terms, step.depth + 1)
    slope = sum((c * step.past(j) for j, c in enumerate(_weights(terms, beta)) if j), Linear({}))
    slope = _weights(terms, beta)[0] * v + slope
    ratio, delta = step.next.alpha / step.now.alpha, step.next.rho - step.now.rho
    return ratio * step.x + (step.next.alpha * delta) * slope


ghvb_1_5, ghvb_2_5, ghvb_3_5, ghvb_4_5 = (ghvb.configure(f"ghvb_{r}.5", order=r + 0.5) for r in range(1, 5))
ghvb_2, ghvb_3, ghvb_4 = (ghvb.configure(f"ghvb_{r}", order=r) for r in range(2, 5))
