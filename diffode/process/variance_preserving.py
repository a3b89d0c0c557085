r"""Variance-preserving processes, α² + σ² = 1, and their sub-variance-preserving relative.

With B(t) = ∫_0^t β they are all the same curve,

    α = e^{−B/2},    σ² = 1 − e^{−B},    λ = −½ log(e^B − 1),

and differ in their clock B alone: linear, cosine, or a table of discrete betas.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import Any, ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number, package_of
from diffode.process.base import Process


class VariancePreserving(Process):
    """The curve α² + σ² = 1 for any clock B(t) = ∫β."""

    @abstractmethod
    def integrated_beta(self, t: Number) -> Number:
        """B(t) = ∫_0^t β(s) ds = −2 log α_t."""

    @abstractmethod
    def beta(self, t: Number) -> Number:
        """β(t) = dB/dt."""

    @abstractmethod
    def t_of_integrated_beta(self, b: Number) -> Number:
        """The time at which ∫β is b."""

    def log_alpha(self, t: Number) -> Number:
        return -0.5 * self.integrated_beta(t)

    def log_sigma(self, t: Number) -> Number:
        return 0.5 * phi.log1mexp(self.integrated_beta(t))

    def sigma(self, t: Number) -> Number:
        return phi.sqrt(-phi.expm1(-self.integrated_beta(t)))

    def lam(self, t: Number) -> Number:
        b = self.integrated_beta(t)
        return -0.5 * (b + phi.log1mexp(b))

    def f(self, t: Number) -> Number:
        return -0.5 * self.beta(t)

    def g2(self, t: Number) -> Number:
        """g² = β."""
        return self.beta(t)

    def dlam(self, t: Number) -> Number:
        return -phi.divide(self.beta(t), -2 * phi.expm1(-self.integrated_beta(t)))

    def dsigma(self, t: Number) -> Number:
        """dσ/dt = −α (dα/dt)/σ, infinite where σ = 0."""
        return phi.divide(-self.alpha(t) * self.dalpha(t), self.sigma(t))

    def t_of_lam(self, lam: Number) -> Number:
        return self.t_of_integrated_beta(phi.softplus(-2 * lam))

    def log_alpha_of_lam(self, lam: Number) -> Number:
        return -0.5 * phi.softplus(-2 * lam)

    def log_sigma_of_lam(self, lam: Number) -> Number:
        return -0.5 * phi.softplus(2 * lam)

    def lam_of_sigma(self, sigma: Number) -> Number:
        return 0.5 * phi.log1p(-sigma * sigma) - phi.log(sigma)


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
        if not 0 < self.beta_min <= self.beta_max:
            raise ProcessError(
                f"VP: needs 0 < beta_min ≤ beta_max, not beta_min={self.beta_min}, beta_max={self.beta_max}"
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
        return DiscreteVP.from_betas(np.linspace(beta_start**0.5, beta_end**0.5, steps) ** 2)


@dataclass(frozen=True)
class CosineVP(VariancePreserving):
    r"""The variance-preserving process with the cosine schedule.

        α_t = cos θ/cos θ_0,    θ = (π/2) (t + s)/(1 + s),    θ_0 = θ(0)

    α is taken as the sine of the distance to the far end and σ² as a product of sines,
    sin(θ−θ_0) sin(θ+θ_0)/cos² θ_0, so that neither cancels.

    Parameters
    ----------
    s : float
        Offset that keeps β small near t = 0.

    References
    ----------
    Nichol and Dhariwal, arXiv:2102.09672, eq. (17).
    """

    s: float = 0.008
    name: ClassVar[str] = "vp_cosine"

    def __post_init__(self) -> None:
        if not self.s > 0:
            raise ProcessError(f"CosineVP: needs s > 0, not s={self.s}")

    @property
    def t_max(self) -> float:
        """0.9946, where DPM-Solver starts: λ(1) = −∞, and λ(0.9946) is about −5.1."""
        return 0.9946

    def _pi(self, t: Number) -> Number:
        return t.context.pi if package_of(t) == "mpmath" else pi

    def _rate(self, t: Number) -> Number:
        return self._pi(t) / (2 * (self.s + (1 + 0 * t)))

    def _cosine(self, t: Number) -> Number:
        return phi.sin(self._rate(t) * (1 - t))

    def _cosine0(self, t: Number) -> Number:
        return phi.cos(self._rate(0 * t) * self.s)

    def alpha(self, t: Number) -> Number:
        return self._cosine(t) / self._cosine0(t)

    def sigma(self, t: Number) -> Number:
        rate = self._rate(t)
        return phi.sqrt(phi.sin(rate * t) * phi.sin(rate * (t + 2 * self.s))) / self._cosine0(t)

    def log_alpha(self, t: Number) -> Number:
        return phi.choose(t < 0.3, lambda: -0.5 * _minus_log1m(self.sigma(t)), lambda: phi.log(self.alpha(t)))

    def log_sigma(self, t: Number) -> Number:
        return phi.choose(t < 0.7, lambda: phi.log(self.sigma(t)), lambda: -0.5 * _minus_log1m(self.alpha(t)))

    def lam(self, t: Number) -> Number:
        return phi.log(self.alpha(t)) - phi.log(self.sigma(t))

    def integrated_beta(self, t: Number) -> Number:
        return -2 * self.log_alpha(t)

    def beta(self, t: Number) -> Number:
        """β = 2 (dθ/dt) tan θ, infinite at t = 1."""
        rate = self._rate(t)
        return phi.divide(2 * rate * phi.sin(rate * (t + self.s)), phi.sin(rate * (1 - t)))

    def dlam(self, t: Number) -> Number:
        sigma = self.sigma(t)
        return phi.divide(-0.5 * self.beta(t), sigma * sigma)

    def dalpha(self, t: Number) -> Number:
        rate = self._rate(t)
        return -rate * phi.sin(rate * (t + self.s)) / self._cosine0(t)

    def t_of_lam(self, lam: Number) -> Number:
        r"""θ from its sine and cosine; t from θ near 0 by the sine of θ − θ_0, near 1 by the complement."""
        alpha, sigma = phi.exp(self.log_alpha_of_lam(lam)), phi.exp(self.log_sigma_of_lam(lam))
        cosine0 = self._cosine0(alpha)
        rate, sine0 = self._rate(0 * alpha), phi.sin(self._rate(0 * alpha) * self.s)
        cosine, c = alpha * cosine0, sigma * cosine0
        sine = phi.sqrt(sine0 * sine0 + c * c)
        # tan(θ − θ_0) from sin² θ − sin² θ_0 = c², so that nothing is subtracted
        tangent = (c * c / (sine * cosine0 + cosine * sine0)) / (cosine * cosine0 + sine * sine0)
        far = 1 - phi.atan(cosine / sine) / rate
        near = phi.atan(tangent) / rate
        return phi.choose(lam > 0, lambda: near, lambda: far)

    def t_of_integrated_beta(self, b: Number) -> Number:
        return self.t_of_lam(-0.5 * (b + phi.log1mexp(b)))


def _some(values: Sequence[float]) -> str:
    """The first few of many numbers."""
    shown = ", ".join(f"{value:g}" for value in values[:6])
    return f"{shown}, …" if len(values) > 6 else shown


def _minus_log1m(x: Number) -> Number:
    """−log(1 − x²)."""
    return -phi.log1p(-x * x)


@dataclass(frozen=True)
class DiscreteVP(VariancePreserving):
    r"""A discrete schedule made continuous: log α linear in t between the knots t = i/N.

        B(i/N) = −Σ_{j≤i} log(1 − β_j),    B(0) = 0

    Where the last beta is 1 (zero terminal signal-to-noise ratio), α itself is linear on the last interval.

    Parameters
    ----------
    knots : tuple of float
        B at t = 0, 1/N, …, 1; increasing, 0 first; the last may be ∞. `from_betas` makes them from betas.

    References
    ----------
    Lu et al., arXiv:2206.00927, appendix D.4 (interpolation of log α); Lin et al., arXiv:2305.08891 (rescaling).

    Examples
    --------
    >>> process = VP.scaled_linear()
    >>> round(float(process.alpha(1.0)), 7)
    0.0682649
    >>> process.zero_terminal_snr().alpha(1.0)
    0.0
    """

    knots: tuple[float, ...]
    name: ClassVar[str] = "vp_discrete"

    @classmethod
    def from_betas(cls, betas: Sequence[float] | np.ndarray) -> DiscreteVP:
        """The process of a table of betas, the cleanest first."""
        table = np.asarray(betas, dtype=np.longdouble)
        if table.ndim != 1 or len(table) < 2:
            raise ProcessError(f"betas: needs a flat table of at least 2, not an array of shape {table.shape}")
        wrong = ~((table > 0) & ((table < 1) | ((table == 1) & (np.arange(len(table)) == len(table) - 1))))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ProcessError(
                "betas: each must lie strictly between 0 and 1 (the last may be 1), "
                f"but number {i} is {float(table[i])}"
            )
        with np.errstate(divide="ignore"):
            rates = -np.log1p(-table)
        return cls((0.0, *np.cumsum(rates).astype(float).tolist()))

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, dtype=float)
        if len(knots) < 2 or knots[0] != 0 or not np.all(np.diff(knots) > 0):
            raise ProcessError(
                f"DiscreteVP: the knots of ∫β must increase from 0, but they are {_some(self.knots)}; "
                "remove rates too small to count, or make the table with DiscreteVP.from_betas"
            )

    def __repr__(self) -> str:
        return f"DiscreteVP({len(self.knots) - 1} steps, α(1)={float(self.alpha(1.0)):.4g})"

    @property
    def t_min(self) -> float:
        return 1.0 / (len(self.knots) - 1)

    @property
    def t_far(self) -> float:
        return 1.0 if np.isfinite(self.knots[-1]) else 1.0 - self.t_min

    def zero_terminal_snr(self) -> DiscreteVP:
        """The schedule rescaled so that α(1) = 0 and α(1/N) stays (Lin et al., arXiv:2305.08891, alg. 1)."""
        if np.isinf(self.knots[-1]):
            return self
        alpha = np.exp(-0.5 * np.asarray(self.knots[1:], dtype=np.longdouble))
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        with np.errstate(divide="ignore"):
            return DiscreteVP((0.0, *(-2 * np.log(alpha)).astype(float).tolist()))

    @cached_property
    def _table(self) -> np.ndarray:
        return np.asarray(self.knots)

    @cached_property
    def _knot_lam(self) -> np.ndarray:
        return np.asarray(self.lam(np.linspace(0.0, 1.0, len(self.knots))))[::-1]

    def kinks(self, low: float, high: float) -> list[float]:
        lam = self._knot_lam
        return lam[(lam > low) & (lam < high)].tolist()

    def _cell(self, t: Number) -> tuple[Any, Number, Number, Number]:
        """Interval index, position in it from 0 to 1, and B at both of its ends."""
        n = len(self.knots) - 1
        if package_of(t) == "array":
            i = np.clip(np.floor(t * n).astype(int), 0, n - 1)
            return i, t * n - i, self._table[i], self._table[i + 1]
        i = min(max(int(t * n), 0), n - 1)
        return i, t * n - i, phi.constant(self.knots[i], t), phi.constant(self.knots[i + 1], t)

    def integrated_beta(self, t: Number) -> Number:
        _, u, low, high = self._cell(t)
        return phi.choose(high == np.inf, lambda: low - 2 * phi.log1p(-u), lambda: low + u * (high - low))

    def beta(self, t: Number) -> Number:
        n = len(self.knots) - 1
        _, u, low, high = self._cell(t)
        return phi.choose(high == np.inf, lambda: n * phi.divide(2, 1 - u), lambda: n * (high - low) + 0 * u)

    def dalpha(self, t: Number) -> Number:
        n = len(self.knots) - 1
        _, _, low, high = self._cell(t)
        return phi.choose(
            high == np.inf,
            lambda: -n * phi.exp(-0.5 * low) + 0 * t,
            lambda: -0.5 * n * (high - low) * self.alpha(t),
        )

    def t_of_integrated_beta(self, b: Number) -> Number:
        n = len(self.knots) - 1
        i = np.clip(np.searchsorted(self._table, np.asarray(b, dtype=float), side="right") - 1, 0, n - 1)
        low, high = self._table[i], self._table[i + 1]
        if package_of(b) != "array":
            i, low, high = int(i), phi.constant(float(low), b), phi.constant(float(high), b)
        u = phi.choose(high == np.inf, lambda: -phi.expm1(-0.5 * (b - low)), lambda: (b - low) / (high - low))
        return (i + u) / n


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
