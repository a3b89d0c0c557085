"""The processes with β linear in t: variance-preserving and sub-variance-preserving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number
from diffode.process.base import require_numbers
from diffode.process.cosine import CosineVP
from diffode.process.discrete import DiscreteVP
from diffode.process.variance_preserving import VariancePreserving


@dataclass(frozen=True)
class VP(VariancePreserving):
    r"""The variance-preserving process with β linear in t.

        β(t) = β_min + t (β_max − β_min),    log α_t = −t²(β_max − β_min)/4 − t β_min/2,    t ∈ [0, 1]

    Parameters
    ----------
    beta_min, beta_max : float
        Rates at t = 0 and t = 1.

    References
    ----------
    Song et al., arXiv:2011.13456, eq. (32).

    Examples
    --------
    >>> process = VP()
    >>> round(process.lam(1.0), 6), process.sigma(0.0)
    (-5.024978, 0.0)
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    name: ClassVar[str] = "vp"

    def __post_init__(self) -> None:
        require_numbers("VP", beta_min=self.beta_min, beta_max=self.beta_max)
        if not 0 < self.beta_min <= self.beta_max < inf:
            raise ProcessError(
                f"VP: needs 0 < beta_min ≤ beta_max < ∞, not beta_min={self.beta_min}, beta_max={self.beta_max}"
            )

    def integrated_beta(self, t: Number) -> Number:
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def beta(self, t: Number) -> Number:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def t_of_integrated_beta(self, b: Number) -> Number:
        first, slope = phi.constant(self.beta_min, b), self.beta_max - self.beta_min
        return 2 * b / (first + phi.sqrt(first * first + 2 * slope * b))

    @staticmethod
    def cosine(s: float = 0.008) -> CosineVP:
        """The cosine schedule (Nichol and Dhariwal, arXiv:2102.09672, eq. 17)."""
        return CosineVP(s)

    @staticmethod
    def discrete(betas: Sequence[float]) -> DiscreteVP:
        """A table of betas, log α interpolated linearly between t = i/N."""
        return DiscreteVP.from_betas(betas)

    @staticmethod
    def scaled_linear(beta_start: float = 0.00085, beta_end: float = 0.012, steps: int = 1000) -> DiscreteVP:
        """The discrete schedule of Stable Diffusion: √β linear."""
        require_numbers("scaled_linear", beta_start=beta_start, beta_end=beta_end, steps=steps)
        return DiscreteVP.from_betas(np.linspace(beta_start**0.5, beta_end**0.5, steps) ** 2)


@dataclass(frozen=True)
class SubVP(VP):
    r"""The sub-variance-preserving process: α as in VP, σ = 1 − α².

        λ = log(α/(1 − α²)),    g² = β (1 − e^{−2B})

    Parameters
    ----------
    beta_min, beta_max : float
        Rates at t = 0 and t = 1.

    References
    ----------
    Song et al., arXiv:2011.13456, eq. (28–29).
    """

    name: ClassVar[str] = "subvp"

    def sigma(self, t: Number) -> Number:
        return -phi.expm1(-self.integrated_beta(t))

    def log_sigma(self, t: Number) -> Number:
        return phi.log1mexp(self.integrated_beta(t))

    def lam(self, t: Number) -> Number:
        b = self.integrated_beta(t)
        return -0.5 * b - phi.log1mexp(b)

    def dlam(self, t: Number) -> Number:
        """λ′ = −(β/2)(1 + α²)/(1 − α²)."""
        b = self.integrated_beta(t)
        return -phi.divide(0.5 * self.beta(t) * (1 + phi.exp(-b)), -phi.expm1(-b))

    def g2(self, t: Number) -> Number:
        return -self.beta(t) * phi.expm1(-2 * self.integrated_beta(t))

    def dsigma(self, t: Number) -> Number:
        """dσ/dt = β α²."""
        return self.beta(t) * phi.exp(-self.integrated_beta(t))

    def log_alpha_of_lam(self, lam: Number) -> Number:
        r"""−arsinh(e^{−λ}/2), since α² + e^{−λ} α = 1; rewritten for λ < 0, where e^{−λ} is large."""
        w = phi.exp(-abs(lam))
        root = phi.sqrt(1 + 4 * w * w)
        return phi.choose(
            lam >= 0,
            lambda: -phi.arsinh(0.5 * w),
            lambda: lam - phi.log1p(2 * w * w / (1 + root)),
        )

    def t_of_lam(self, lam: Number) -> Number:
        return self.t_of_integrated_beta(-2 * self.log_alpha_of_lam(lam))

    def log_sigma_of_lam(self, lam: Number) -> Number:
        return self.log_alpha_of_lam(lam) - lam

    def lam_of_sigma(self, sigma: Number) -> Number:
        return 0.5 * phi.log1p(-sigma) - phi.log(sigma)
