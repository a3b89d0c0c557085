"""Wrong solvers: variants of registered rules with one thing changed, and liars that linear or uniform tests believe.

Each must FAIL `verify`. A mutation is made from the outside, by handing the rule a step that misreports one thing, or
by changing one coefficient of what it returns; the rule itself is the registered one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from diffode import phi, solver
from diffode.plan import Level, Linear
from diffode.solvers import Solver, get_solver
from diffode.solvers.runge_kutta import Tableau, runge_kutta
from diffode.trace import Step


class Misreporting:
    """A step that passes everything on, except what a mutation replaces."""

    def __init__(self, step: Step, **changes: Callable[..., Any]) -> None:
        self._step, self._changes = step, changes

    def __getattr__(self, name: str) -> Any:
        if name in self._changes:
            change = self._changes[name]
            return lambda *args, **kwargs: change(self._step, *args, **kwargs)
        return getattr(self._step, name)


@dataclass(frozen=True)
class Mutant:
    """A wrong solver and what is wrong with it."""

    name: str
    solver: Solver


def _with_rule(base: str, name: str, wrap: Callable[[Solver], Callable[..., Linear]]) -> Mutant:
    original = get_solver(base)
    rule = wrap(original)
    return Mutant(f"{base}: {name}", replace(original, name=f"{base}~{name.replace(' ', '_')}", rule=rule))


def misreport(base: str, name: str, **changes: Callable[..., Any]) -> Mutant:
    """The rule of `base`, told something wrong by its step."""

    def wrap(original: Solver) -> Callable[..., Linear]:
        def rule(step: Step, **options: Any) -> Linear:
            return original.rule(Misreporting(step, **changes), **options)

        return rule

    return _with_rule(base, name, wrap)


def rescale(base: str, name: str, factor: float, pick: int) -> Mutant:
    """The rule of `base`, with one coefficient of the returned state multiplied (terms in the order written)."""

    def wrap(original: Solver) -> Callable[..., Linear]:
        def rule(step: Step, **options: Any) -> Linear:
            result = original.rule(step, **options)
            names = list(result.terms)
            changed = names[pick % len(names)]
            return Linear({n: c * factor if n == changed else c for n, c in result.terms.items()})

        return rule

    return _with_rule(base, name, wrap)


def _past(step: Step, k: int, factor: Any = 1, shift: int = 0) -> Linear:
    other = k + shift
    return factor * step.past(other if 1 <= other <= step.depth else k)


def _shifted(step: Step, k: int) -> Level:
    return step.past_level(k + 1 if k < step.depth else k - 1) if step.depth > 1 else step.past_level(k)


def _late(step: Step, x: Linear, level: Level, **rest: Any) -> Linear:
    """Evaluate inner stages as if they were at the end of the step."""
    return step.model(x, step.now if level is step.now else step.next, **rest)


def _swapped_stage(step: Step, *, lam: Any = None, **rest: Any) -> Level:
    """Inner levels mirrored in the step: 1 − r for r."""
    return step.level(lam=step.now.lam + step.next.lam - lam) if lam is not None else step.level(**rest)


def _stage_in_t(step: Step, *, lam: Any) -> Level:
    """Inner levels at the same fraction of t instead of λ."""
    share = (lam - step.now.lam) / (step.next.lam - step.now.lam)
    return step.level(t=step.now.t + share * (step.next.t - step.now.t))


def _independent(step: Step, a: Level, b: Level, **_: Any) -> Linear:
    return step.normal(f"{a.lam}→{b.lam}")


def _louder(step: Step, a: Level, b: Level, **kwargs: Any) -> Linear:
    return 1.05 * step.noise(a, b, **kwargs)


@solver(order=4, prediction="eps", history=3)
def adams_with_fixed_weights(step: Step) -> Linear:
    """AB4 weights of equal steps in ρ, used on any grid: of second order at best on smooth ones, less on rough ones."""
    d = step.model(step.x, step.now)
    weights = (Fraction(55, 24), Fraction(-59, 24), Fraction(37, 24), Fraction(-9, 24)) if not step.starting else (1,)
    slope = weights[0] * d
    for k, w in enumerate(weights[1:], start=1):
        slope = slope + w * step.past(k)
    delta = step.next.rho - step.now.rho
    return (step.next.alpha / step.now.alpha) * step.x + (step.next.alpha * delta) * slope


@solver(order=3, prediction="eps", history=1, uniform="rho")
def unstable_two_step(step: Step) -> Linear:
    """y_{n+1} = −4 y_n + 5 y_{n−1} + δ (4 f_n + 2 f_{n−1}): of order 3, not zero-stable (equal steps in ρ)."""
    d = step.model(step.x, step.now)
    y = step.x / step.now.alpha
    before = step.memory.get("y", lambda: y - (step.next.rho - step.now.rho) * d)
    step.memory["y"] = y
    delta = step.next.rho - step.now.rho
    slope = 4 * d + 2 * (step.past(1) if step.depth else d)
    return step.next.alpha * (-4 * y + 5 * before + delta * slope)


LINEAR_LIAR = Tableau(
    ((), (Fraction(1, 5),), (0, Fraction(1, 4)), (0, 0, Fraction(1, 3)), (0, 0, 0, Fraction(1, 2))),
    (0, 0, 0, 0, 1),
    5,
    "linear_liar",
)
"""Nested midpoint-like stages with Σ b a⋯a 1 = 1/k! for every k ≤ 5: of order 5 on y′ = Ay, of order 2 on others."""


@solver(order=1, prediction="x0", exponential=True)
def forgetful(step: Step) -> Linear:
    """Exponential Euler with e^{−h} for 1 − e^{−h}: inconsistent."""
    d = step.model(step.x, step.now)
    return (step.next.sigma / step.now.sigma) * step.x + step.next.alpha * phi.exp(-step.h) * d


def mutants() -> list[Mutant]:
    """All wrong solvers, at least twenty."""
    return [
        misreport("dpmpp_2m", "history × 1.01", past=lambda s, k: _past(s, k, 1.01)),
        misreport("unip_3", "history × 1.01", past=lambda s, k: _past(s, k, 1.01)),
        misreport("deis_tab_2", "history × 1.01", past=lambda s, k: _past(s, k, 1.01)),
        misreport("lms", "wrong index of the past", past=lambda s, k: _past(s, k, shift=1)),
        misreport("unip_3", "wrong index of the past", past=lambda s, k: _past(s, k, shift=1)),
        misreport("dpmpp_3m_corrected", "wrong level of the past", past_level=_shifted),
        misreport("deis_rhoab_2", "wrong level of the past", past_level=_shifted),
        misreport("dpmpp_2m", "wrong sign of the past", past=lambda s, k: _past(s, k, -1)),
        misreport("dpm_solver_3", "stages evaluated at the end of the step", model=_late),
        misreport("rk4", "stages evaluated at the end of the step", model=_late),
        misreport("dpm_solver_3", "inner nodes mirrored", level=_swapped_stage),
        misreport("dpmpp_3s", "inner nodes in t", level=_stage_in_t),
        misreport("dpmpp_sde", "independent draws", noise=_independent),
        misreport("dpmpp_2m_sde", "noise × 1.05", noise=_louder),
        misreport("euler_ancestral", "noise × 1.05", noise=_louder),
        rescale("ddim", "network × 1.01", 1.01, 1),
        rescale("heun", "second stage × 1.01", 1.01, 2),
        rescale("rk4", "third stage × 1.01", 1.01, 3),
        rescale("dpmpp_2m", "state × 1.001", 1.001, 0),
        rescale("unipc_2", "corrector × 1.01", 1.01, 1),
        rescale("ghvb_2.5", "velocity × 1.01", 1.01, 1),
        rescale("dpmpp_2s", "stage with the wrong sign", -1.0, 2),
        Mutant("DPM-Solver-3 with r2 = 1/2", get_solver("dpm_solver_3").configure("r2_half", r2=0.5)),
        Mutant("Adams weights of equal steps on any grid", adams_with_fixed_weights),
        Mutant("zero-unstable two-step method", unstable_two_step),
        Mutant("order 5 on linear problems only", runge_kutta.configure("linear_liar", tableau=LINEAR_LIAR)),
        Mutant("inconsistent one-step method", forgetful),
    ]
