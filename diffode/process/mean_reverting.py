"""Anchored processes: x_t = a x_0 + (1 − a) μ + σ ε.

They need no solver of their own. By the translation principle y = x − b_t μ is an ordinary process with the
same α and σ, so every solver acts on y and b μ is added back; `sample(…, mu=μ)` does both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log
from typing import ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number
from diffode.process.base import Process, require_numbers
from diffode.process.discrete import DiscreteVP
from diffode.process.linear import VP
from diffode.process.variance_preserving import VariancePreserving


def _cosine(steps: int) -> np.ndarray:
    """One minus the cumulative product of the cosine schedule, as IR-SDE's code has it."""
    x = np.arange(steps + 3, dtype=np.longdouble) / (steps + 2)
    cumulative = np.cos((x + 0.008) / 1.008 * np.pi / 2) ** 2
    return 1 - (cumulative / cumulative[0])[1:-1]


def _linear(steps: int) -> np.ndarray:
    return np.linspace(0.1, 20.0, steps + 1, dtype=np.longdouble) / (steps + 1)


def _constant(steps: int) -> np.ndarray:
    return np.ones(steps + 1, dtype=np.longdouble)


_SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
}


@dataclass(frozen=True)
class MeanReverting(Process):
    r"""The mean-reverting process of IR-SDE, anchored at a known image μ.

        dx = θ(t) (μ − x) dt + g dw,    g² = 2 σ_∞² θ
        x_t = a_t x_0 + (1 − a_t) μ + σ_t ε,    a_t = e^{−∫θ},    σ_t² = σ_∞² (1 − a_t²)

    Parameters
    ----------
    sigma_inf : float
        Stationary standard deviation σ_∞ (50/255 in the restoration literature).
    base : VariancePreserving
        The clock: a process with α = a. `from_schedule` makes it from IR-SDE's tables of θ.

    References
    ----------
    Luo et al., Image restoration with mean-reverting SDEs, arXiv:2301.11699, eq. (3–6);
    Li et al., MR Sampler, arXiv:2502.07856.

    Examples
    --------
    >>> process = MeanReverting.from_schedule("cosine")
    >>> round(process.anchor(1.0), 3), process.sigma(0.0)
    (0.995, 0.0)
    """

    sigma_inf: float = 50.0 / 255.0
    base: VariancePreserving = VP(0.1, 10.5)
    name: ClassVar[str] = "mean_reverting"
    anchored: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_numbers("MeanReverting", sigma_inf=self.sigma_inf)
        if not 0 < self.sigma_inf < inf:
            raise ProcessError(f"MeanReverting: needs a positive sigma_inf, not sigma_inf={self.sigma_inf}")
        if not isinstance(self.base, VariancePreserving):
            raise ProcessError(f"MeanReverting: base must be a variance-preserving process, not {self.base!r}")

    @classmethod
    def from_schedule(
        cls, schedule: str = "cosine", *, steps: int = 100, sigma_inf: float = 50 / 255, a_end: float = 0.005
    ) -> MeanReverting:
        """IR-SDE's discrete tables ("cosine", "linear", "constant"), log a linear between t = i/steps.

        The rates θ are scaled so that ∫θ over the whole table is −log(a_end); a(0) = 1.
        """
        if schedule not in _SCHEDULES:
            raise ProcessError(
                f"MeanReverting: no schedule named {schedule!r}; there are {', '.join(sorted(_SCHEDULES))}"
            )
        if steps < 1 or not 0 < a_end < 1:
            raise ProcessError(f"MeanReverting: needs steps ≥ 1 and 0 < a_end < 1, not steps={steps}, a_end={a_end}")
        theta = _SCHEDULES[schedule](steps)
        integral = (np.cumsum(theta) - theta[0]) * (-log(a_end) / theta.sum())
        return cls(sigma_inf, DiscreteVP(tuple((2 * integral).astype(float).tolist())))

    @property
    def domain(self) -> tuple[float, float]:
        return self.base.domain

    @property
    def t_max(self) -> float:
        return self.base.t_max

    @property
    def t_min(self) -> float:
        return self.base.t_min

    @property
    def t_far(self) -> float:
        return self.base.t_far

    def _shift(self, like: Number) -> Number:
        """log σ_∞, in the kind of a number."""
        return phi.log(phi.constant(self.sigma_inf, like))

    def kinks(self, low: float, high: float) -> list[float]:
        shift = self._shift(low)
        return [lam - shift for lam in self.base.kinks(low + shift, high + shift)]

    def anchor(self, t: Number) -> Number:
        """b_t = 1 − a_t."""
        return -phi.expm1(self.base.log_alpha(t))

    def danchor(self, t: Number) -> Number:
        return -self.dalpha(t)

    def log_alpha(self, t: Number) -> Number:
        return self.base.log_alpha(t)

    def log_sigma(self, t: Number) -> Number:
        return self.base.log_sigma(t) + self._shift(t)

    def sigma(self, t: Number) -> Number:
        return self.sigma_inf * self.base.sigma(t)

    def lam(self, t: Number) -> Number:
        return self.base.lam(t) - self._shift(t)

    def f(self, t: Number) -> Number:
        return self.base.f(t)

    def g2(self, t: Number) -> Number:
        return self.sigma_inf * (self.sigma_inf * self.base.g2(t))

    def dlam(self, t: Number) -> Number:
        return self.base.dlam(t)

    def dalpha(self, t: Number) -> Number:
        return self.base.dalpha(t)

    def dsigma(self, t: Number) -> Number:
        return self.sigma_inf * self.base.dsigma(t)

    def t_of_lam(self, lam: Number) -> Number:
        return self.base.t_of_lam(lam + self._shift(lam))

    def log_alpha_of_lam(self, lam: Number) -> Number:
        return self.base.log_alpha_of_lam(lam + self._shift(lam))

    def log_sigma_of_lam(self, lam: Number) -> Number:
        return self.base.log_sigma_of_lam(lam + self._shift(lam)) + self._shift(lam)

    def lam_of_sigma(self, sigma: Number) -> Number:
        return self.base.lam_of_sigma(sigma / self.sigma_inf) - self._shift(sigma)
