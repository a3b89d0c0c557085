"""A process from two functions of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number, package_of
from diffode.process.base import Process
from diffode.series import Series

_Function = Callable[[Number], Number]


@dataclass(frozen=True, eq=False)
class Affine(Process):
    r"""The process x_t = α(t) x_0 + σ(t) ε for two smooth functions.

    Derivatives are taken exactly, by evaluating both functions on a power series; so they must be written
    with arithmetic and NumPy's or `diffode.phi`'s elementary functions (or give dalpha and dsigma).
    Times are found from noise levels by bracketing root search.

    Parameters
    ----------
    alpha_of, sigma_of : callable
        α(t) and σ(t), vectorised; σ/α must increase strictly with t.
    start_t, end_t : float
        The domain; sampling starts at end_t and ends at start_t. σ(start_t) = 0 and α(end_t) = 0 are allowed.
    dalpha_of, dsigma_of : callable, optional
        Their derivatives, where the functions cannot take a power series.

    Raises
    ------
    ProcessError
        If σ/α does not increase strictly.

    Examples
    --------
    >>> process = Affine(lambda t: 1 - t, lambda t: t, 0.001, 0.999)
    >>> process.t_of_lam(0.0), process.dalpha(0.25)
    (0.5, -1.0)
    """

    alpha_of: _Function
    sigma_of: _Function
    start_t: float = 1e-3
    end_t: float = 1.0
    dalpha_of: _Function | None = None
    dsigma_of: _Function | None = None
    name: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        times = np.linspace(self.start_t, self.end_t, 257)
        try:
            with np.errstate(all="ignore"):
                lam = np.asarray(self.lam(times), dtype=float)
        except Exception as problem:
            raise ProcessError(f"Affine: alpha and sigma must accept an array of times ({problem})") from problem
        if lam.shape != times.shape or not np.all(np.diff(lam) < 0):
            raise ProcessError(f"Affine: sigma/alpha must increase strictly for t from {self.start_t} to {self.end_t}")

    def __repr__(self) -> str:
        names = (getattr(function, "__name__", "…") for function in (self.alpha_of, self.sigma_of))
        return f"Affine({', '.join(names)}, {self.start_t}, {self.end_t})"

    @property
    def domain(self) -> tuple[float, float]:
        return (self.start_t, self.end_t)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The first and last times with finite λ, a thousandth of the interval inside a singular end."""
        inset = 1e-3 * (self.end_t - self.start_t)
        low = self.start_t + inset * np.isinf(self.lam(self.start_t))
        high = self.end_t - inset * np.isinf(self.lam(self.end_t))
        return float(low), float(high)

    @property
    def t_min(self) -> float:
        return self._ends[0]

    @property
    def t_far(self) -> float:
        return self._ends[1]

    def alpha(self, t: Number) -> Number:
        return self.alpha_of(t)

    def sigma(self, t: Number) -> Number:
        return self.sigma_of(t)

    def log_alpha(self, t: Number) -> Number:
        return phi.log(self.alpha_of(t))

    def log_sigma(self, t: Number) -> Number:
        return phi.log(self.sigma_of(t))

    def lam(self, t: Number) -> Number:
        return self.log_alpha(t) - self.log_sigma(t)

    def dalpha(self, t: Number) -> Number:
        return self.dalpha_of(t) if self.dalpha_of else _slope(self.alpha_of, t)

    def dsigma(self, t: Number) -> Number:
        return self.dsigma_of(t) if self.dsigma_of else _slope(self.sigma_of, t)

    def f(self, t: Number) -> Number:
        return phi.divide(self.dalpha(t), self.alpha(t))

    def g2(self, t: Number) -> Number:
        """g² = 2 σ (σ′ − f σ), which is 0 where σ is."""
        sigma = self.sigma(t)
        return 2 * sigma * (self.dsigma(t) - self.f(t) * sigma)

    def dlam(self, t: Number) -> Number:
        return self.f(t) - phi.divide(self.dsigma(t), self.sigma(t))

    def t_of_lam(self, lam: Number) -> Number:
        return self._solve(self.lam, self.dlam, lam)

    def lam_of_sigma(self, sigma: Number) -> Number:
        return self.lam(self._solve(lambda t: -self.sigma_of(t), lambda t: -self.dsigma(t), -sigma))

    def log_alpha_of_lam(self, lam: Number) -> Number:
        return self.log_alpha(self.t_of_lam(lam))

    def _solve(self, falling: _Function, slope: _Function, value: Number) -> Number:
        """The t in the domain with falling(t) = value; not a number where there is none."""
        if package_of(value) == "mpmath":
            return self._polish(falling, slope, value)
        low, high = self.domain
        from scipy.optimize.elementwise import find_root

        target = np.asarray(value, dtype=float)
        at_low, at_high = float(falling(low)), float(falling(high))
        inside = np.clip(target, at_high, at_low)
        bounded = np.clip(inside, np.nextafter(at_high, np.inf), np.nextafter(at_low, -np.inf))

        def gap(t: np.ndarray, wanted: np.ndarray) -> np.ndarray:
            return np.clip(falling(t), -1e300, 1e300) - wanted

        found = find_root(gap, (np.full(target.shape, low), np.full(target.shape, high)), args=(bounded,)).x
        found = np.where(inside >= at_low, low, np.where(inside <= at_high, high, found))
        found = np.where(np.isclose(inside, target, rtol=1e-12, atol=1e-12), found, np.nan)
        return found if np.ndim(value) else float(found)

    def _polish(self, falling: _Function, slope: _Function, value: Number) -> Number:
        """The root in mpmath: Newton's method from the one in floats, which doubles its digits every time."""
        near = self._solve(falling, slope, float(value))
        t = value.context.mpf(near)
        if near in self.domain:
            return t
        for _ in range((value.context.prec // 40).bit_length() + 1):
            t = t - (falling(t) - value) / slope(t)
        return t


def _slope(function: _Function, t: Number) -> Number:
    """The derivative, from the linear term of the function of a power series t + h."""
    if isinstance(t, np.ndarray):
        return np.array([_slope(function, value) for value in t.ravel().tolist()]).reshape(t.shape)
    try:
        value = function(Series([t, 1.0]))
    except Exception as problem:
        raise ProcessError(
            "Affine: cannot differentiate alpha or sigma; write them with arithmetic and the functions of "
            f"diffode.phi or NumPy, or pass dalpha_of= and dsigma_of= ({problem})"
        ) from problem
    return value[1] if isinstance(value, Series) else 0.0 * t
