r"""The curve α² + σ² = 1, whatever its clock.

With B(t) = ∫_0^t β all variance-preserving processes are the same curve,

    α = e^{−B/2},    σ² = 1 − e^{−B},    λ = −½ log(e^B − 1),

and differ in B alone: linear (`linear`), cosine (`cosine`), or a table of discrete betas (`discrete`).
"""

from __future__ import annotations

from abc import abstractmethod

from diffode import phi
from diffode.kinds import Number
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
