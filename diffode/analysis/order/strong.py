r"""Strong order conditions of one-step rules that draw noise, to order 3/2.

On the test problems of `weak` the exact solution is a functional of the path. With the unknowns w (noise alone),
τ (D = 1) and [ξ] (D = w), where

    w = √2 τ ∫_0^h e^{−τ²(h−s)} dB_s,    [ξ] = √2 τ (1 + τ²) ∫_0^h e^{−τ²(h−s)} (e^h − e^s) dB_s,

a rule has strong order q if its mean errs by O(h^{q+1}) and its root mean square by O(h^{q+1/2}) (Milstein, 1987). The
increments of a rule are named pieces of the same path, so that the mean square error is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import mpmath

from diffode.analysis.order.coloured import Coloured, Forest
from diffode.analysis.order.weak import (
    DIGITS,
    NOTHING,
    PROCESSES,
    STEPS,
    error_power,
    final_product,
    one_step,
    require_one_step,
    shared,
)
from diffode.analysis.stochastic import noise_level
from diffode.brownian import Increment
from diffode.errors import PlanError
from diffode.plan import BrownianIncrement, Plan
from diffode.process import EDM, Process
from diffode.solvers import Solver

_NOISE, _NODE, _BRANCH = Forest((), (0,)), Coloured(), Coloured(noise=(0,))


@dataclass(frozen=True)
class StrongOrder:
    """What the path says.

    Attributes
    ----------
    order : float
        0, 0.5, 1 or 1.5.
    failure : str
        The first condition missed; empty at 1.5.
    """

    order: float
    failure: str

    def __str__(self) -> str:
        return f"strong order {self.order:g}" + (f"; {self.failure}" if self.failure else "")


@lru_cache(maxsize=64)
def strong_conditions(solver: Solver) -> StrongOrder:
    """The strong order of a one-step rule on every smooth problem, through 3/2.

    Parameters
    ----------
    solver : Solver
        Drawing noise of the Brownian path, without a past.

    Returns
    -------
    StrongOrder

    Raises
    ------
    PlanError
        If the rule has a past, draws no noise, or draws noise that is not of the path.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> print(strong_conditions(get_solver("ddpm")))
    strong order 1; [ξ] follows the path to h^1.5 only, not h^2
    """
    require_one_step(solver)
    tau = noise_level(solver, EDM())
    with mpmath.workdps(DIGITS):
        spread = _rms_power(solver, _NOISE, _decay_kernel(tau))
        branch = _rms_power(solver, Forest((_BRANCH,)), _branch_kernel(tau))
        mean = {forest: error_power(solver, forest, tau) for forest in (Forest((root,)) for root in _MEANS)}
        reached = 0.0
        for order in (0.5, 1.0, 1.5):
            failure = _missed(order, spread, branch, mean)
            if failure:
                return StrongOrder(reached, failure)
            reached = order
    return StrongOrder(reached, "")


_MEANS = (_NODE, Coloured(times=1), Coloured(children=(_NODE,)), Coloured(noise=(0, 0)))
"""Roots whose means count: the node to any order, the others to 3/2."""


def _missed(order: float, spread: float, branch: float, mean: dict[Forest, int | None]) -> str:
    if spread < order + 0.5:
        return f"the noise follows the path to h^{spread:g} only, not h^{order + 0.5:g}"
    if order > 1 and branch < order + 0.5:
        return f"[ξ] follows the path to h^{branch:g} only, not h^{order + 0.5:g}"
    for forest, power in mean.items():
        if forest.order <= order + 0.5 and power is not None and power < order + 1:
            return f"the mean of {str(forest).removeprefix('E ')} errs at h^{power}"
    return ""


Kernel = Callable[[Any, Any], Any]
"""K(s, h) in ∫_0^h K dB_s."""


def _decay_kernel(tau: float) -> Kernel:
    rate = mpmath.mpf(tau) ** 2
    return lambda s, h: mpmath.sqrt(2 * rate) * mpmath.exp(-rate * (h - s))


def _branch_kernel(tau: float) -> Kernel:
    rate, decay = mpmath.mpf(tau) ** 2, _decay_kernel(tau)
    return lambda s, h: (1 + rate) * decay(s, h) * (mpmath.exp(h) - mpmath.exp(s))


def _rms_power(solver: Solver, forest: Forest, kernel: Kernel) -> float:
    """The power of h of the root mean square error, on the worst of the processes; ∞ where there is none."""
    powers: list[float] = []
    for process in PROCESSES:
        squares = [_mean_square(solver, process, forest, kernel, mpmath.mpf(h)) for h in STEPS]
        if abs(squares[1]) > NOTHING * mpmath.mpf(STEPS[1]):
            powers.append(round(float(mpmath.log10(squares[0] / squares[1]))) / 2)
    return min(powers, default=float("inf"))


def _mean_square(solver: Solver, process: Process, forest: Forest, kernel: Kernel, h: Any) -> Any:
    """E (numerical − exact)² = Σ a_r a_s C_rs − 2 Σ a_r ∫κ_r K + ∫K²."""
    plan = one_step(solver, process, h)
    weights = {monomial[0][1]: c for monomial, c in final_product(plan, forest).items() if monomial}
    total = mpmath.quad(lambda s: kernel(s, h) ** 2, [0, h])
    for name, piece in _pieces(plan, weights).items():
        ends = [level.lam for level in piece.stretch]
        overlap = mpmath.quad(lambda s, piece=piece: piece.density(s) * kernel(s, h), ends)
        total = total - 2 * weights[name] * overlap
    covariances = shared(plan)
    for one, two in combinations_with_replacement(sorted(weights), 2):
        c = 1 if one == two else 2 * covariances.get(frozenset((one, two)), 0)
        total = total + c * weights[one] * weights[two]
    return total


def _pieces(plan: Plan, weights: dict[str, Any]) -> dict[str, Increment]:
    out: dict[str, Increment] = {}
    for row in plan.noises:
        if row.out in weights:
            if not isinstance(row, BrownianIncrement):
                raise PlanError(f"{plan.solver} draws noise that is not of the Brownian path; it has no strong order")
            out[row.out] = Increment.of(row)
    return out
