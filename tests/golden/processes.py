"""Processes that sources make up: known curves with other clocks."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import numpy as np

import diffode as de
from diffode import phi
from diffode.process.discrete import DiscreteVP
from diffode.process.elementary import VarianceExploding


@dataclass(frozen=True)
class Rescaled(VarianceExploding):
    """The process of x/α: α = 1 and σ = ρ(t) of another, on that one's clock."""

    base: de.Process
    name: ClassVar[str] = "rescaled"

    @property
    def domain(self) -> tuple[float, float]:
        return self.base.domain

    def log_sigma(self, t: float) -> float:
        return -self.base.lam(t)

    def dlam(self, t: float) -> float:
        return self.base.dlam(t)

    def t_of_lam(self, lam: float) -> float:
        return self.base.t_of_lam(lam)


@dataclass(frozen=True)
class Tabulated(DiscreteVP):
    """A table without interpolation: between two entries it has the one of the smaller t."""

    def integrated_beta(self, t: Any) -> Any:
        return np.take(self.knots, np.floor((len(self.knots) - 1) * np.asarray(t) + 1e-6).astype(int))[()]


@dataclass(frozen=True)
class FittedVP(de.VP):
    """A linear-β process whose β may start a little below 0: then σ(t) is real from some t > 0 on, and at 0."""

    def __post_init__(self) -> None:
        """No check."""


def vp_between(sigma_min: float, sigma_max: float, t_min: float = 1e-3) -> de.VP:
    """The linear-β process whose ρ is sigma_max at t = 1 and sigma_min at t_min, as EDM's code fits it."""
    low, high = log(sigma_min**2 + 1), log(sigma_max**2 + 1)
    slope = 2 * (low / t_min - high) / (t_min - 1)
    rate = high - 0.5 * slope
    return FittedVP(rate, rate + slope)


def square_root(scaled: bool) -> de.Process:
    """σ/α = √t, with α = 1 or with α² + σ² = 1."""
    if not scaled:
        return de.Affine(lambda t: 1 + 0 * t, phi.sqrt, 0.0, 1e6)
    return de.Affine(lambda t: 1 / phi.sqrt(1 + t), lambda t: phi.sqrt(t / (1 + t)), 0.0, 1e6)


def straight(scaled: bool) -> de.Process:
    """σ/α = t, with α = 1 or with α² + σ² = 1."""
    if not scaled:
        return de.EDM()
    return de.Affine(lambda t: 1 / phi.sqrt(1 + t * t), lambda t: t / phi.sqrt(1 + t * t), 0.0, 1e3)
