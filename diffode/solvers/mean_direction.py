r"""AMED: one mean direction for each step, found at an inner point with numbers that are learned.

    λ_m = λ_s + r h,    x_m = the first-order step to λ_m,    ε_m = (x_m − α_m D(x_m, told a ρ_m))/σ_m
    x_t = (α_t/α_s) x_s + c α_t (ρ_t − ρ_s) ε_m

The authors' network chooses (r, c, a) for each sample and step; here they are options, one for all steps or one for
each, to be fitted (`diffode.fitting.directions`). At r = ½, c = a = 1 it is DPM-Solver-2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise
from math import inf
from typing import Any

from diffode.errors import SolverError
from diffode.plan import Level, Linear
from diffode.solvers.base import Claim, limit, solver
from diffode.solvers.exponential import taylor
from diffode.solvers.multistep import dpmpp_2m
from diffode.solvers.pseudo import ipndm_v_3
from diffode.solvers.transforms import resolved
from diffode.trace import Step

PerStep = Any
"""A number, or a tuple with one for each step."""


_MOST = {"r": 1.0, "c": inf, "a": inf}


def _here(step: Step, name: str, value: PerStep) -> float:
    """The number of this step."""
    who = step.tracer.rule.name
    if isinstance(value, (tuple, list)):
        if len(value) != step.count:
            raise SolverError(
                f"{who}: {name} holds {len(value)} numbers, one for each step, but the grid has {step.count} steps; "
                "fit it to this grid, or give one number"
            )
        value = value[step.index]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MOST[name]:
        raise SolverError(f"{who}: {name} must be a positive number{', at most 1' * (name == 'r')}, not {value!r}")
    return value


def _plain(c: PerStep, a: PerStep) -> bool:
    return c == 1 and a == 1


def _order(r: PerStep, c: PerStep, a: PerStep) -> int:
    """Two at the midpoint, one elsewhere, none to speak of where c or a are not 1, or numbers belong to steps."""
    if not _plain(c, a) or isinstance(r, (tuple, list)):
        return 0
    return 2 if r == 0.5 else 1


def _told(step: Step, level: Level, a: float) -> Level | None:
    """What the network is told in place of a level."""
    return None if a == 1 else step.level(rho=a * level.rho)


def _noise(step: Step, x: Linear, level: Level, told: Level | None = None) -> Linear:
    """ε at a state: where the network may be told another level, from the data prediction, as in the module."""
    value = step.model(x, level, told)
    return value if step.tracer.rule.prediction == "eps" else (x - level.alpha * value) / level.sigma


@solver(
    order=_order,
    prediction=lambda a: "eps" if a == 1 else "x0",
    exponential=lambda c: c == 1,
    source="arXiv:2312.00094, eq. (9); code: zju-pi/diff-sampler, solvers_amed.py",
    limits=[limit("dpm_solver_2", r=0.5, c=1.0, a=1.0)],
)
def amed(step: Step, r: PerStep = 0.5, c: PerStep = 1.0, a: PerStep = 1.0) -> Linear:
    r"""AMED-Solver with given numbers; see the module for the formula. Two evaluations a step.

    Parameters
    ----------
    r : float or tuple of float
        Where the inner point is, as a share of the step in λ.
    c : float or tuple of float
        Scale of the direction. Other than 1 it is right for the steps that it was fitted to, and has no order.
    a : float or tuple of float
        Scale of the noise level that the network is told at the inner point.
    """
    r, c, a = (_here(step, name, value) for name, value in (("r", r), ("c", c), ("a", a)))
    if step.singular:
        return step.limit()
    middle = step.level(lam=step.now.lam + r * step.h)
    inner = taylor(step, "eps", [_noise(step, step.x, step.now)], middle)
    return taylor(step, "eps", [c * _noise(step, inner, middle, _told(step, middle, a))])


amed_third = amed.configure("amed_third", r=1 / 3, source="arXiv:2312.00094, with r = 1/3")


@dataclass
class _Half(Step):
    """Half a step, which the base takes for a step of its own."""

    r: PerStep = 0.5
    told: Level | None = None

    @property
    def count(self) -> int:
        return 2 * (len(self.tracer.grid.levels) - 1)

    @property
    def grid(self) -> tuple[Level, ...]:
        """All levels, the inner ones among them; made where a base looks at them."""
        own, rs = self.tracer.grid.levels, self.r
        inner = [
            self.level(lam=x.lam + (rs[k] if isinstance(rs, (tuple, list)) else rs) * (y.lam - x.lam))
            for k, (x, y) in enumerate(pairwise(own))
        ]
        return (*chain.from_iterable(zip(own[:-1], inner, strict=True)), own[-1])

    def model(
        self, x: Linear, level: Level, at: Level | None = None, to: Level | None = None, output: str | None = None
    ) -> Linear:
        """As `Step.model`, counted by whole steps; at the inner level the network is told another."""
        at = at or (self.told if level is self.now else None)
        self.index, own = self.index // 2, self.index
        value = super().model(x, level, at, to, output)
        self.index = own
        return value


def _of_base(claim: str) -> Claim:
    """The base's claim, where the numbers leave it."""
    return lambda base, c, a: getattr(resolved(base), claim) if _plain(c, a) else None


def _plugin_order(base: Any, r: PerStep, c: PerStep, a: PerStep) -> float:
    return resolved(base).order if _plain(c, a) and not isinstance(r, (tuple, list)) else 0


@solver(
    order=_plugin_order,
    reaches=_of_base("reaches"),
    erratum=_of_base("erratum"),
    strong_order=_of_base("strong_order"),
    uniform=lambda base, r: "lam" if resolved(base).uniform else None,
    prediction=lambda base: resolved(base).prediction,
    history=lambda base: resolved(base).history,
    exponential=lambda base, c: resolved(base).exponential and c == 1,
    source="arXiv:2312.00094, section 3.4 (AMED-Plugin); code: zju-pi/diff-sampler, solvers_amed.py",
)
def amed_plugin(step: Step, base: Any = dpmpp_2m, r: PerStep = 0.5, c: PerStep = 1.0, a: PerStep = 1.0) -> Linear:
    r"""AMED-Plugin: every step of any solver is split at λ_s + r h, and its second part is scaled.

        x_m = the base's step to λ_m,    x_t = (α_t/α_m) x_m + c (base's step from x_m − (α_t/α_m) x_m)

    with the network told a ρ_m at the inner level. Steps to or from an infinite λ are the base's own.

    Parameters
    ----------
    base : str or Solver
        The solver, or its name.
    r, c, a : float or tuple of float
        As for `amed`.
    """
    rule, now, after = resolved(base), step.now, step.next
    if rule.uniform not in (None, "lam"):
        raise SolverError(
            f"{step.tracer.rule.name}: the parts are equal in λ at most; {rule.name} needs {rule.uniform}"
        )
    share, c, a = (_here(step, name, value) for name, value in (("r", r), ("c", c), ("a", a)))
    if now.singular or after.singular:
        return rule(step)
    middle = step.level(lam=now.lam + share * step.h)
    x = step.hold(rule(_Half(step.tracer, step.x, now, middle, 2 * step.index, r=r)))
    result = rule(_Half(step.tracer, x, middle, after, 2 * step.index + 1, r=r, told=_told(step, middle, a)))
    if c == 1:
        return result
    carried = (after.alpha / middle.alpha) * x
    return carried + c * (result - carried)


amed_plugin_ipndm_v_3 = amed_plugin.configure(
    "amed_plugin_ipndm_v_3", base=ipndm_v_3, source="arXiv:2312.00094, section 3.4, on iPNDM of variable steps"
)
