"""Weak and strong order conditions of rules with noise: what they prove is claimed, and is measured."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import diffode as de
from diffode.analysis.moments import Spectrum, affine
from diffode.analysis.order.coloured import Coloured, Forest, expectation, forests
from diffode.analysis.order.fixed_point import probe
from diffode.analysis.order.strong import strong_conditions
from diffode.analysis.order.weak import require_one_step, weak_conditions
from diffode.analysis.slopes import fit
from diffode.analysis.stochastic import noise_level, weak_order_mixture
from diffode.errors import PlanError
from diffode.plan import Linear, Normal
from diffode.solvers import Solver, get_solver, registry, solver
from diffode.trace import Step


def _is_about(rule: Solver) -> bool:
    """Whether the conditions are about a rule: one step, with noise of a constant level."""
    try:
        require_one_step(rule)
    except PlanError:
        return False
    return True


ONE_STEP = [rule for rule in registry().values() if _is_about(rule)]
each = pytest.mark.parametrize("rule", ONE_STEP, ids=lambda s: s.name)
each_on_the_path = pytest.mark.parametrize(
    "rule", [s for s in ONE_STEP if not any(isinstance(row, Normal) for row in probe(s).rows)], ids=lambda s: s.name
)

FROM_THE_LAW = dict.fromkeys(
    ("dpm2_ancestral", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "edm_stochastic", "edm_stochastic_dpm2"), 1
)
"""Rules that keep the law of the process to a higher order, which they claim, than they follow the SDE: to which."""


@solver(order=2, prediction="x0", strong_order=1.5)
def sra1(step: Step, coupling: float = 1.5) -> Linear:
    """Rößler's SRA1 (2010) for additive noise, on y = x/σ at τ = 1: strong order 3/2."""
    now, after, h = step.now, step.next, step.h
    y = step.x / now.sigma
    middle = step.level(lam=now.lam + 0.75 * h)

    def slope(state: Linear, level: de.Level) -> Linear:
        return 2 * (level.alpha / level.sigma) * step.model(level.sigma * state, level) - state

    whole = de.phi.sqrt(h) * step.noise(now, after, clock="lam")
    first = de.phi.sqrt(h / 3) * step.noise(now, after, clock="lam", moment=1)
    root = de.phi.sqrt(2 + 0 * h)
    f = slope(y, now)
    stage = y + 0.75 * h * f + (coupling * root) * (whole - first)
    return after.sigma * (y + (h / 3) * f + (2 * h / 3) * slope(stage, middle) + root * whole)


@solver(order=2, prediction="x0")
def torn(step: Step) -> Linear:
    """The two-stage SDE-DPM-Solver++ with a draw of its own for each stage."""
    now, after = step.now, step.next
    middle = step.level(lam=now.lam + 0.5 * step.h)
    phi = de.phi

    def move(d: Linear, b: de.Level, key: str) -> Linear:
        h = b.lam - now.lam
        mean = (b.sigma / now.sigma) * phi.exp(-h) * step.x - b.alpha * phi.expm1(-2 * h) * d
        return mean + b.sigma * phi.sqrt(-phi.expm1(-2 * h)) * step.normal(key)

    d = step.model(step.x, now)
    return move(step.model(move(d, middle, "stage"), middle), after, "step")


# --- the test problems --------------------------------------------------------------------------------------


def test_there_are_as_many_products_as_ways_to_pair() -> None:
    assert [len(forests(p)) for p in (1, 2, 3)] == [2, 7, 28]
    assert all(forest.order == p for p in (1, 2, 3) for forest in forests(p))


def test_exact_expectations_in_closed_form() -> None:
    """The variance of the noise, the mean of a node, and their product with a second pair."""
    h, tau = mpmath.mpf("1e-3"), 0.7
    with mpmath.workdps(40):
        rate = mpmath.mpf(tau) ** 2
        variance = 1 - mpmath.exp(-2 * rate * h)
        assert abs(expectation(Forest((), (0, 0)), tau, h) - variance) < 1e-30
        assert abs(expectation(Forest((), (0, 0, 1, 1)), tau, h) - variance**2) < 1e-30
        node = mpmath.exp(h) - mpmath.exp(-rate * h)
        assert abs(expectation(Forest((Coloured(),)), tau, h) - node) < 1e-30


# --- what is proved is what is claimed ----------------------------------------------------------------------


@each_on_the_path
def test_strong_order_is_the_claim(rule: Solver) -> None:
    assert strong_conditions(rule).order == (rule.strong_order or 0.5)


@each
def test_weak_order_is_the_claim(rule: Solver) -> None:
    found = weak_conditions(rule)
    assert found.order == FROM_THE_LAW.get(rule.name, rule.order), str(found)
    assert found.complete


@each
def test_conditional_law_on_gaussian_data_has_the_order_that_is_proved(rule: Solver) -> None:
    """From a point, not from the marginal: gain and variance of one step against the moment equations of the SDE."""
    process, data = de.VP(), Spectrum.of(de.Gaussian(0.3, 0.25))
    tau = noise_level(rule, process)
    steps, errors = [], []
    for h in (0.2, 0.14, 0.1, 0.07, 0.05, 0.035):
        grid = de.TimeGrid(process, lam=[0.0, h])
        plan = rule.plan(grid, open_end=True)
        column = affine(plan, data)[plan.states[-1]][:, 0]
        scale = float(grid.sigma[1] / grid.sigma[0])
        gain, variance = _conditional(tau, 0.25, h)
        own = float(column[0]) / scale, float((column[2:] ** 2).sum()) / float(grid.sigma[1]) ** 2
        steps.append(h)
        errors.append(abs(own[0] - gain) + abs(own[1] - variance))
    slope = fit(steps, errors, 1e-14)
    assert slope.value == pytest.approx(weak_conditions(rule).order + 1, abs=0.25)


def _conditional(tau: float, variance: float, h: float) -> tuple[float, float]:
    """Gain and variance of y = x/σ after a stretch h from λ = 0, on data N(·, variance), from the moment equations."""

    def rate(lam: float, state: np.ndarray) -> list[float]:
        snr = np.exp(2 * lam)
        slope = (1 + tau**2) * snr * variance / (snr * variance + 1) - tau**2
        return [slope * state[0], 2 * slope * state[1] + 2 * tau**2]

    end = solve_ivp(rate, (0.0, h), [1.0, 0.0], rtol=1e-12, atol=1e-15).y[:, -1]
    return float(end[0]), float(end[1])


def test_a_method_of_strong_order_three_halves() -> None:
    assert strong_conditions(sra1).order == 1.5
    assert weak_conditions(sra1).order == 2
    wrong = sra1.configure("wrong", coupling=1.4)
    assert strong_conditions(wrong).order == 1.0
    assert weak_conditions(wrong).order == 1


def test_independent_draws_break_both_orders() -> None:
    assert weak_conditions(torn).order == 1
    with pytest.raises(PlanError, match="not of the Brownian path"):
        strong_conditions(torn)


def test_ancestral_noise_keeps_the_law_but_not_the_path() -> None:
    """A second-order step below and noise up again: the marginal is kept to order 2, the SDE is followed to order 1."""
    rule = get_solver("singlestep_2(eta=1.0)")
    assert weak_conditions(rule).order == 1
    assert weak_order_mixture(rule, de.VP()).value == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dpmpp_2m_sde", "has a past"),
        ("ddim", "draws no noise"),
        ("er_sde(order=1, scale='exp(x^0.3)')", "level that changes"),
    ],
)
def test_rules_that_the_conditions_are_not_about(name: str, why: str) -> None:
    for conditions in (weak_conditions, strong_conditions):
        with pytest.raises(PlanError, match=why):
            conditions(get_solver(name))
