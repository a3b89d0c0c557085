"""Processes whose noise level is the time itself, or a power of it: VE, EDM and the linear flow."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number
from diffode.process.base import Process, require_numbers


class VarianceExploding(Process):
    """The curve α = 1, λ = −log σ, for any clock σ(t)."""

    def alpha(self, t: Number) -> Number:
        return phi.constant(1.0, t)

    def log_alpha(self, t: Number) -> Number:
        return phi.constant(0.0, t)

    def lam(self, t: Number) -> Number:
        return -self.log_sigma(t)

    def f(self, t: Number) -> Number:
        return phi.constant(0.0, t)

    def dalpha(self, t: Number) -> Number:
        return phi.constant(0.0, t)

    def log_alpha_of_lam(self, lam: Number) -> Number:
        return phi.constant(0.0, lam)

    def log_sigma_of_lam(self, lam: Number) -> Number:
        return -lam

    def lam_of_sigma(self, sigma: Number) -> Number:
        return -phi.log(sigma)


@dataclass(frozen=True)
class VE(VarianceExploding):
    r"""The variance-exploding process with geometric noise levels.

        α = 1,    σ(t) = σ_min (σ_max/σ_min)^t,    g² = 2 σ² log(σ_max/σ_min)

    Parameters
    ----------
    sigma_min, sigma_max : float
        Noise at t = 0 and t = 1; the clock goes on below 0, and σ = 0 is t = −∞.

    References
    ----------
    Song et al., arXiv:2011.13456, eq. (30–31), with the perturbation σ(t)² of its code.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    name: ClassVar[str] = "ve"

    def __post_init__(self) -> None:
        _check_range("VE", self.sigma_min, self.sigma_max)

    @property
    def domain(self) -> tuple[float, float]:
        return (-inf, inf)

    @property
    def t_max(self) -> float:
        return 1.0

    @property
    def t_min(self) -> float:
        return 0.0

    def _logs(self, like: Number) -> tuple[Number, Number]:
        """log σ_min and log(σ_max/σ_min), in the kind of a number."""
        first = phi.log(phi.constant(self.sigma_min, like))
        return first, phi.log(phi.constant(self.sigma_max, like)) - first

    def log_sigma(self, t: Number) -> Number:
        first, rate = self._logs(t)
        return first + t * rate

    def dlam(self, t: Number) -> Number:
        return -self._logs(t)[1]

    def t_of_lam(self, lam: Number) -> Number:
        first, rate = self._logs(lam)
        return (-lam - first) / rate


@dataclass(frozen=True)
class EDM(VarianceExploding):
    r"""The process of EDM and k-diffusion: the time is the noise level.

        α = 1,    σ(t) = t,    g² = 2 t

    Parameters
    ----------
    sigma_min, sigma_max : float
        Where sampling ends and starts by default.

    References
    ----------
    Karras et al., arXiv:2206.00364, table 1.

    Examples
    --------
    >>> EDM().sigma(2.5), EDM().lam(1.0)
    (2.5, -0.0)
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    name: ClassVar[str] = "edm"

    def __post_init__(self) -> None:
        _check_range("EDM", self.sigma_min, self.sigma_max)

    @property
    def domain(self) -> tuple[float, float]:
        return (0.0, inf)

    @property
    def t_max(self) -> float:
        return self.sigma_max

    @property
    def t_min(self) -> float:
        return self.sigma_min

    def sigma(self, t: Number) -> Number:
        return t

    def log_sigma(self, t: Number) -> Number:
        return phi.log(t)

    def dsigma(self, t: Number) -> Number:
        return phi.constant(1.0, t)

    def g2(self, t: Number) -> Number:
        return 2.0 * t

    def dlam(self, t: Number) -> Number:
        return phi.divide(-1.0, t)

    def t_of_lam(self, lam: Number) -> Number:
        return phi.exp(-lam)

    def t_of_sigma(self, sigma: Number) -> Number:
        return sigma


@dataclass(frozen=True)
class Flow(Process):
    r"""The linear interpolant of flow matching, with the time shift of current models.

        σ(t) = s t/(1 + (s − 1) t),    α = 1 − σ,    λ = log((1 − t)/t) − log s

    t = 1 is pure noise (α = 0, λ = −∞) and t = 0 data (λ = +∞); both are exact limits.

    Parameters
    ----------
    shift : float
        s; 1 is the plain interpolant x = (1 − t) x_0 + t ε, 3 that of Stable Diffusion 3.

    References
    ----------
    Liu et al., arXiv:2209.03003; Esser et al., arXiv:2403.03206, eq. (23) for the shift.

    Examples
    --------
    >>> Flow().alpha(0.25), Flow(shift=3.0).sigma(0.5), Flow().lam(1.0)
    (0.75, 0.75, -inf)
    """

    shift: float = 1.0
    name: ClassVar[str] = "flow"

    def __post_init__(self) -> None:
        require_numbers("Flow", shift=self.shift)
        if not 0 < self.shift < inf:
            raise ProcessError(f"Flow: needs a positive shift, not shift={self.shift}")

    @property
    def t_far(self) -> float:
        """0.999: grids in λ, σ or ρ put their first regular level here, after the singular start."""
        return 0.999

    def _stretch(self, t: Number) -> Number:
        return (1.0 - t) + self.shift * t

    def alpha(self, t: Number) -> Number:
        return (1.0 - t) / self._stretch(t)

    def sigma(self, t: Number) -> Number:
        return self.shift * t / self._stretch(t)

    def log_alpha(self, t: Number) -> Number:
        return phi.log1p(-t) - phi.log1p((phi.constant(self.shift, t) - 1.0) * t)

    def log_sigma(self, t: Number) -> Number:
        return phi.choose(t < 0.5, lambda: phi.log(self.sigma(t)), lambda: phi.log1p(-self.alpha(t)))

    def lam(self, t: Number) -> Number:
        # log((1 − t)/t) by log1p of (1 − 2t)/t near its zero, by two logarithms at the ends
        odds = phi.choose(
            abs(t - 0.5) < 0.25,
            lambda: phi.log1p((1.0 - 2.0 * t) / t),
            lambda: phi.log1p(-t) - phi.log(t),
        )
        return odds - phi.log(phi.constant(self.shift, t))

    def f(self, t: Number) -> Number:
        return phi.divide(-self.shift, (1.0 - t) * self._stretch(t))

    def dlam(self, t: Number) -> Number:
        return phi.divide(-1.0, t * (1.0 - t))

    def g2(self, t: Number) -> Number:
        """g² = 2 σ²/(t (1 − t)), infinite at t = 1."""
        return phi.divide(2.0 * self.shift * self.sigma(t), (1.0 - t) * self._stretch(t))

    def dalpha(self, t: Number) -> Number:
        return -self.shift / (self._stretch(t) * self._stretch(t))

    def dsigma(self, t: Number) -> Number:
        return -self.dalpha(t)

    def t_of_lam(self, lam: Number) -> Number:
        return 1.0 / (1.0 + self.shift * phi.exp(lam))

    def t_of_sigma(self, sigma: Number) -> Number:
        return sigma / (self.shift * (1.0 - sigma) + sigma)

    def log_alpha_of_lam(self, lam: Number) -> Number:
        return -phi.softplus(-lam)

    def log_sigma_of_lam(self, lam: Number) -> Number:
        return -phi.softplus(lam)

    def lam_of_sigma(self, sigma: Number) -> Number:
        return phi.log1p(-sigma) - phi.log(sigma)


def _check_range(name: str, low: float, high: float) -> None:
    require_numbers(name, sigma_min=low, sigma_max=high)
    if not 0 < low < high < inf:
        raise ProcessError(f"{name}: needs 0 < sigma_min < sigma_max, not sigma_min={low}, sigma_max={high}")
