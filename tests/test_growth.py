"""Growth: what accumulates over steps, what fades, and what a rule takes back; rules made to deceive the proof."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction as Q
from math import sqrt
from typing import Any

import pytest
import sympy

import diffode as de
from diffode import phi, solver
from diffode.analysis.convergence import order_mixture
from diffode.analysis.order import checker
from diffode.analysis.order.proof import prove
from diffode.errors import PlanError, SolverError
from diffode.plan import Linear
from diffode.solvers import Solver, get_solver
from diffode.trace import Step


def agreed(rule: Solver) -> int:
    """The order that is proved, and that the checker finds, too."""
    proof = prove(rule)
    assert f" has order {proof.order} " in checker.check(json.loads(proof.to_json())).replace(" or more", "")
    return proof.order


# --- unequal steps ----------------------------------------------------------------------------------------


ON_UNEQUAL_STEPS = {
    "h1^2 - h^2": (lambda h, h1, h2: h1 * h1 - h * h, 2),
    "(h2 - h) h1": (lambda h, h1, h2: (h2 - h) * h1, 2),
    "(h2 - h) h": (lambda h, h1, h2: (h2 - h) * h, 1),
    "h1^3 - h^3": (lambda h, h1, h2: h1**3 - h**3, 3),
    "h2^2 h1 - h1^2 h": (lambda h, h1, h2: h2 * h2 * h1 - h1 * h1 * h, 3),
    "h1^2 h - h1 h^2": (lambda h, h1, h2: h1 * h1 * h - h1 * h * h, 2),
    "(h2 - h) h1^2": (lambda h, h1, h2: (h2 - h) * h1 * h1, 2),
}
"""What is added to a step of a third-order rule, with h, h1, h2 the step and the two before; and the order then."""


def off_balance(name: str) -> Solver:
    added, order = ON_UNEQUAL_STEPS[name]

    @solver(order=order, prediction="x0", history=2)
    def unbalanced(step: Step) -> Linear:
        result = get_solver("dpmpp_3m_corrected").rule(step)
        if step.depth < 2:
            return result
        at = [step.now.lam, step.past_level(1).lam, step.past_level(2).lam]
        return result + (step.next.alpha * added(step.h, at[0] - at[1], at[1] - at[2])) * step.past(1)

    return unbalanced


@pytest.mark.parametrize("name", ON_UNEQUAL_STEPS)
def test_what_unequal_steps_make_and_take_back_costs_nothing(name: str) -> None:
    """All of it vanishes on equal steps; what is a difference of neighbours does not accumulate on others."""
    rule = off_balance(name)
    proof = prove(rule)
    assert prove(rule, 4, spacing="uniform").order == 3
    assert proof.order == ON_UNEQUAL_STEPS[name][1]
    assert f"has order {proof.order} on" in checker.check(json.loads(proof.to_json()))
    assert order_mixture(rule, de.VP()).judge(proof.order) == "PASS"


# --- memory -----------------------------------------------------------------------------------------------


def midpoint(step: Step) -> tuple[Linear, Linear]:
    """A step of order 2, and the value that it begins with."""
    d = step.model(step.x, step.now)
    half = step.level(lam=step.now.lam + step.h / 2)
    inner = (half.sigma / step.now.sigma) * step.x - half.alpha * phi.expm1(-step.h / 2) * d
    return _first_order(step, step.model(inner, half)), d


def _first_order(step: Step, d: Linear) -> Linear:
    return (step.next.sigma / step.now.sigma) * step.x - step.next.alpha * phi.expm1(-step.h) * d


@pytest.mark.parametrize(("lag", "history"), [(3, 0), (5, 3)])
def test_a_memory_that_reaches_farther_than_history_tells(lag: int, history: int) -> None:
    """Past values handed from step to step: D + (D_{lag−1} − D_lag)/2 is of order 2 on equal steps, of 1 on others."""

    @solver(order=2, prediction="x0", history=history)
    def lagging(step: Step) -> Linear:
        d = step.model(step.x, step.now)
        values = [d, *(step.memory.get(f"v{k}", d) for k in range(1, lag + 1))]
        for k in range(1, lag + 1):
            step.memory[f"v{k}"] = values[k - 1]
        return _first_order(step, d + (values[lag - 1] - values[lag]) * Q(1, 2))

    assert agreed(lagging) == 1
    assert prove(lagging, spacing="uniform").order == 2


@pytest.mark.parametrize(("count", "order"), [(1, 2), (2, 1), (3, 0)])
def test_hidden_states_that_drift_cost_an_order_each(count: int, order: int) -> None:
    """States that integrate one another, the first the values themselves: the last grows like n^count."""

    @solver(order=2, prediction="x0")
    def drifting(step: Step) -> Linear:
        x, d = midpoint(step)
        old = [step.memory.get(f"m{k}", step.x * 0) for k in range(count)]
        step.memory["m0"] = old[0] + (step.h if count == 3 else step.h**2) * d
        for k in range(1, count):
            step.memory[f"m{k}"] = old[k] + step.h * old[k - 1]
        return x + (step.next.sigma * step.h * Q(1, 10)) * old[-1] * (step.h if count == 1 else 1)

    assert agreed(drifting) == order


def test_a_drift_is_seen_behind_rounded_coefficients() -> None:
    c = sqrt(2) / 2

    @solver(order=2, prediction="x0")
    def rounded(step: Step) -> Linear:
        d, inner = step.model(step.x, step.now), step.level(lam=step.now.lam + step.h * c)
        x = (inner.sigma / step.now.sigma) * step.x - inner.alpha * phi.expm1(-step.h * c) * d
        v = step.memory.get("v", step.x * 0)
        step.memory["v"] = v + (step.h**2 * Q(1, 2)) * d
        slope = (step.model(x, inner) - d) * (1 / (2 * c))
        return _first_order(step, d + slope) + (step.next.sigma * step.h) * v

    assert prove(rounded).order == 1


def linear_multistep(roots: list[Q], order: int) -> Solver:
    """The explicit method with ρ(ζ) = (ζ − 1) Π (ζ − root) in ρ = σ/α, its weights from the order conditions."""
    zeta = sympy.Symbol("zeta")
    exact = [sympy.Rational(root.numerator, root.denominator) for root in roots]
    a = [-c for c in sympy.Poly(sympy.prod([zeta - 1, *(zeta - r for r in exact)]), zeta).all_coeffs()[1:]]
    b = sympy.symbols(f"b:{order}")
    conditions = [
        1
        - sum(c * (-j) ** q for j, c in enumerate(a))
        - sum(w * q * sympy.Integer(-j) ** (q - 1) for j, w in enumerate(b))
        for q in range(1, order + 1)
    ]
    weights = [Q(int(w.p), int(w.q)) for w in sympy.solve(conditions, b, dict=True)[0].values()]
    shares = [Q(int(c.p), int(c.q)) for c in a]

    @solver(order=order, prediction="eps", history=max(order, len(a)) - 1, uniform="rho")
    def multistep(step: Step) -> Linear:
        d, delta, y = step.model(step.x, step.now), step.next.rho - step.now.rho, step.x * (1 / step.now.alpha)
        ys = [y, *(step.memory.get(f"y{j}", y) for j in range(1, len(shares)))]
        for j in range(1, len(shares)):
            step.memory[f"y{j}"] = ys[j - 1]
        if step.depth < order - 1:
            return step.next.alpha * (y + delta * d)
        slope = sum((w * step.past(j) for j, w in enumerate(weights) if j), weights[0] * d)
        return step.next.alpha * (sum((c * v for c, v in zip(shares, ys, strict=True)), step.x * 0) + delta * slope)

    return multistep


HALF, THIRD, FIFTH = Q(1, 2), Q(-1, 3), Q(1, 5)


@pytest.mark.parametrize(
    ("roots", "order"),
    [([HALF], 2), ([HALF, THIRD], 2), ([HALF, THIRD], 3), ([HALF, THIRD, FIFTH], 3), ([Q(-1)], 2), ([Q(-1), HALF], 2)],
)
def test_further_roots_do_not_hide_the_order(roots: list[Q], order: int) -> None:
    assert agreed(linear_multistep(roots, order)) == order


def _mixed(step: Step, d: Linear) -> Linear:
    v, w = (Q(n, n + 1) * step.memory.get(name, d) + Q(1, n + 1) * d for n, name in ((1, "v"), (2, "w")))
    step.memory["v"], step.memory["w"] = v, w
    return (v + w) * Q(1, 2)


def _turning(step: Step, d: Linear) -> Linear:
    v, w = step.memory.get("v", d) - d, step.memory.get("w", d * 0)
    step.memory["v"], step.memory["w"] = d + (v - w) * Q(1, 2), (v + w) * Q(1, 2)
    return d + (v - w) * Q(1, 2)


@pytest.mark.parametrize("slope", [_mixed, _turning])
def test_velocities_of_several_rates(slope: Callable[[Step, Linear], Linear]) -> None:
    """Rates 1/2 and 2/3; and complex ones, (1 ± i)/2."""

    @solver(order=1, prediction="eps")
    def velocities(step: Step) -> Linear:
        v = slope(step, step.model(step.x, step.now))
        change = step.next.alpha * (step.next.rho - step.now.rho)
        return (step.next.alpha / step.now.alpha) * step.x + change * v

    assert agreed(velocities) == 1


# --- what a readable process hides --------------------------------------------------------------------------


def _bend_of_alpha(step: Step) -> Any:
    return step.level(lam=step.now.lam + step.h / 2).alpha - (step.now.alpha + step.next.alpha) / 2


def _third_difference_of_t(step: Step) -> Any:
    t = [step.level(lam=step.now.lam + step.h * Q(k, 3)).t for k in range(4)]
    return step.next.sigma * (t[3] - 3 * t[2] + 3 * t[1] - t[0]) / step.h


@pytest.mark.parametrize("off", [_bend_of_alpha, _third_difference_of_t])
def test_errors_that_only_higher_derivatives_of_the_process_show(off: Callable[[Step], Any]) -> None:
    @solver(order=2, prediction="x0")
    def bent(step: Step) -> Linear:
        x, d = midpoint(step)
        return x + off(step) * d

    assert agreed(bent) == 1


def test_a_sign_that_changes_every_other_step_is_not_judged() -> None:
    """Its error stays or grows as the steps meet its pattern: no order is claimed for it."""

    @solver(order=2, prediction="x0")
    def swinging(step: Step) -> Linear:
        x, d = midpoint(step)
        return x + ((1, 0, -1, 0)[step.index % 4] * step.next.sigma * step.h**2) * d

    with pytest.raises(PlanError, match="cannot be told"):
        prove(swinging)


# --- forged proofs, bad input -------------------------------------------------------------------------------


def test_a_tree_cannot_be_fed_by_what_is_none() -> None:
    proof = json.loads(prove("ddim", highest=3).to_json())
    for tree in proof["run"]["trees"]:
        tree[2] += [-2]
    proof["run"]["residuals"] = [[[0] * len(e) for e in step] for step in proof["run"]["residuals"]]
    with pytest.raises(ValueError, match="a child is no tree"):
        checker.check({**proof, "order": 3, "complete": False})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spacing": "Rough"}, "no spacing named 'Rough'"),
        ({"variable": "x"}, "no variable named 'x'"),
        ({"highest": -3}, "highest must be a whole number from 1 to 12, not -3"),
        ({"highest": 2.5}, "highest must be"),
    ],
)
def test_what_prove_does_not_know_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SolverError, match=said):
        prove("ddim", **options)
