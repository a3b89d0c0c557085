"""The variance-preserving process with the cosine schedule."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi
from typing import ClassVar

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number, package_of
from diffode.process.base import require_numbers
from diffode.process.variance_preserving import VariancePreserving


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
        require_numbers("CosineVP", s=self.s)
        if not 0 < self.s < inf:
            raise ProcessError(f"CosineVP: needs 0 < s < ∞, not s={self.s}")

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


def _minus_log1m(x: Number) -> Number:
    """−log(1 − x²)."""
    return -phi.log1p(-x * x)
