"""What a step asks of statistics, and statistics in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number


class Growth(NamedTuple):
    """From one λ to another: e^{L − L_s}, e^{S − S_s} and the bias c = e^{S_s}(B − B_s)."""

    linear: Number
    slope: Number
    bias: Number


class Statistics(ABC):
    """Statistics l, s, b of a model, as a step sees them.

    A step asks for what has grown since its start λ_s, and for integrals.
    """

    @property
    @abstractmethod
    def biased(self) -> bool:
        """Whether b is anything but 0."""

    @abstractmethod
    def linear(self, lam: Number) -> Number:
        """l at a λ."""

    @abstractmethod
    def growth(self, start: Number, lam: Number) -> Growth:
        """e^{L − L_s}, e^{S − S_s} and c from `start` to λ."""

    @abstractmethod
    def moments(self, start: Number, end: Number, highest: int) -> list[Number]:
        """∫ E (λ − λ_s)^k dλ from `start` to `end` for k = 0 … highest, and last ∫ E c dλ."""


@dataclass(frozen=True)
class ConstantStatistics(Statistics):
    """l, s and b that do not depend on λ, in every kind of number.

    With l = 1 and no more N = −α D, and the steps are those of exponential integrators on D; with l = 0 and s = −1
    N = σ ε, and they are those on ε.

    Parameters
    ----------
    l, s, b : float

    Raises
    ------
    SolverError
        If one is not a finite number.

    Examples
    --------
    >>> ConstantStatistics(1.0).growth(0.0, 0.5)
    Growth(linear=1.6487212707001282, slope=1.0, bias=0.0)
    """

    l: float  # noqa: E741 as the paper has it
    s: float = 0.0
    b: float = 0.0

    def __post_init__(self) -> None:
        _require_finite(self, l=self.l, s=self.s, b=self.b)

    @property
    def biased(self) -> bool:
        return self.b != 0

    def linear(self, lam: Number) -> Number:
        return self.l

    def growth(self, start: Number, lam: Number) -> Growth:
        u = lam - start
        linear, slope = (phi.exp(rate * u) if rate else 1.0 for rate in (self.l, self.s))
        return Growth(linear, slope, self.b * _grown(-self.s, u) if self.b else 0.0)

    def moments(self, start: Number, end: Number, highest: int) -> list[Number]:
        h, rate = end - start, self.l + self.s
        powers = [_grown(rate, h), *(phi.moment(k, rate, h) for k in range(1, highest + 1))]
        if not self.b:
            return [*powers, 0.0]
        bias = (powers[0] - _grown(self.l, h)) / self.s if self.s else phi.moment(1, self.l, h)
        return [*powers, self.b * bias]


def _grown(rate: float, h: Number) -> Number:
    """∫_0^h e^{rate·u} du."""
    return phi.expm1(rate * h) / rate if rate else h


@dataclass(frozen=True)
class GaussianStatistics(Statistics):
    r"""The statistics of data N(mean, variance), in closed form and in every kind of number.

        l = σ²/(α² variance + σ²) = 1/(1 + variance e^{2λ}),    f = −mean·l,    b = f′ − s f

    On such data one step is exact, whatever s is: Gaussian data leave it open.

    Parameters
    ----------
    variance : float
        At least 0.
    mean, s : float

    Raises
    ------
    SolverError
        If the variance is negative, or a number is not finite.

    Examples
    --------
    >>> GaussianStatistics(0.25).linear(0.0)
    0.8
    """

    variance: float
    mean: float = 0.0
    s: float = 0.0

    def __post_init__(self) -> None:
        _require_finite(self, variance=self.variance, mean=self.mean, s=self.s)
        if self.variance < 0:
            raise SolverError(f"GaussianStatistics: variance must be at least 0, not {self.variance!r}")

    @property
    def biased(self) -> bool:
        return self.mean != 0

    def linear(self, lam: Number) -> Number:
        return 1 / (1 + self.variance * phi.exp(2 * lam))

    def growth(self, start: Number, lam: Number) -> Growth:
        u, before = lam - start, self.linear(start)
        slope, growth = phi.exp(self.s * u), phi.exp(u)
        rest = before + (1 - before) * growth * growth  # l_s/l
        return Growth(growth / phi.sqrt(rest), slope, self.mean * before * (1 - 1 / (rest * slope)))

    def moments(self, start: Number, end: Number, highest: int) -> list[Number]:
        def weights(lam: Number) -> list[Number]:
            linear, slope, bias = self.growth(start, lam)
            found = [linear * slope]
            for _ in range(highest):
                found.append(found[-1] * (lam - start))
            return [*found, found[0] * bias]

        return phi.integral(weights, start, end)


def _require_finite(of: Statistics, **numbers: Any) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            raise SolverError(f"{type(of).__name__}: {name} must be a finite number, not {value!r}")
