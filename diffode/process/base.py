r"""What every forward process x_t = α_t x_0 + σ_t ε (+ b_t μ) can be asked.

A process is a *curve* (how α and σ go together, as functions of λ = log(α/σ)) and a *clock* (which λ
belongs to which t). A subclass gives both in closed form; what follows from them is written here:

    f = (log α)′,    g² = (σ²)′ − 2 f σ² = −2 σ² λ′,    dx = f x dt + g dw.

α, σ and λ are computed each on its own, so that none loses digits where another is near 0, and the ends
where λ = ±∞ are exact limits. All functions accept floats, NumPy arrays and mpmath numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number, package_of
from diffode.plan import Level


def require_process(process: Any, who: str) -> None:
    """Raise ProcessError where something is not a process."""
    if not isinstance(process, Process):
        hint = f"de.process.named({process!r})" if isinstance(process, str) else "de.VP()"
        raise ProcessError(f"{who}: process must be a Process, as in {hint}, not {process!r}")


def require_numbers(who: str, **given: Any) -> None:
    """Raise ProcessError where a parameter of a process, or the value of a level, is no real number."""
    for name, value in given.items():
        kind = value.dtype.kind if isinstance(value, (np.ndarray, np.generic)) else ""
        if isinstance(value, (str, bytes, bool, complex)) or value is None or kind in tuple("cSUb"):
            raise ProcessError(f"{who}: {name} must be a real number, not {value!r}")


class Process(ABC):
    """A forward process with Gaussian transitions.

    Attributes
    ----------
    name : str
        Short name, as the command line takes it.
    components : int
        1 for one state; a `LinearSystem` has more.
    domain : (float, float)
        The closed interval of times where the process is defined.
    t_max, t_min : float
        Where sampling starts by default, and the smallest positive noise level, where it ends.
    t_far : float
        The noisiest time with a finite λ that a grid in λ, σ or ρ starts from; t_max where λ(t_max) is finite.
    """

    name: ClassVar[str] = "process"
    anchored: ClassVar[bool] = False
    components: ClassVar[int] = 1

    @property
    def domain(self) -> tuple[float, float]:
        return (0.0, 1.0)

    @property
    def t_max(self) -> float:
        return self.domain[1]

    @property
    def t_min(self) -> float:
        return 1e-3

    @property
    def t_far(self) -> float:
        return self.t_max

    # --- the clock: functions of t ---

    @abstractmethod
    def log_alpha(self, t: Number) -> Number:
        """log α_t."""

    @abstractmethod
    def log_sigma(self, t: Number) -> Number:
        """log σ_t."""

    @abstractmethod
    def lam(self, t: Number) -> Number:
        """λ_t = log(α_t/σ_t), half of the log signal-to-noise ratio."""

    @abstractmethod
    def f(self, t: Number) -> Number:
        """Drift rate f = d log α/dt."""

    @abstractmethod
    def dlam(self, t: Number) -> Number:
        """dλ/dt, negative."""

    @abstractmethod
    def t_of_lam(self, lam: Number) -> Number:
        """The time at which log(α/σ) is lam."""

    def alpha(self, t: Number) -> Number:
        """Signal coefficient α_t."""
        return phi.exp(self.log_alpha(t))

    def sigma(self, t: Number) -> Number:
        """Noise coefficient σ_t."""
        return phi.exp(self.log_sigma(t))

    def rho(self, t: Number) -> Number:
        """ρ_t = σ_t/α_t = e^{−λ}."""
        return phi.exp(-self.lam(t))

    def g2(self, t: Number) -> Number:
        """Squared diffusion coefficient g² = −2 σ² dλ/dt."""
        sigma = self.sigma(t)
        return -2 * sigma * sigma * self.dlam(t)

    def dalpha(self, t: Number) -> Number:
        """dα/dt."""
        return self.alpha(t) * self.f(t)

    def dsigma(self, t: Number) -> Number:
        """dσ/dt = σ (f − dλ/dt)."""
        return self.sigma(t) * (self.f(t) - self.dlam(t))

    def anchor(self, t: Number) -> Number:
        """b_t, the coefficient of the anchor μ; 0 where the process has none."""
        return phi.constant(0.0, t)

    def danchor(self, t: Number) -> Number:
        """db/dt."""
        return phi.constant(0.0, t)

    # --- the curve: functions of λ ---

    @abstractmethod
    def log_alpha_of_lam(self, lam: Number) -> Number:
        """log α at the level with log(α/σ) = lam."""

    @abstractmethod
    def lam_of_sigma(self, sigma: Number) -> Number:
        """λ at the level with noise coefficient sigma."""

    def log_sigma_of_lam(self, lam: Number) -> Number:
        """log σ at the level with log(α/σ) = lam."""
        return self.log_alpha_of_lam(lam) - lam

    def t_of_sigma(self, sigma: Number) -> Number:
        """The time at which σ is sigma."""
        return self.t_of_lam(self.lam_of_sigma(sigma))

    def t_of_rho(self, rho: Number) -> Number:
        """The time at which σ/α is rho."""
        return self.t_of_lam(-phi.log(rho))

    def kinks(self, low: float, high: float) -> list[float]:
        """The λ strictly between low and high at which the clock is not smooth (knots of a table)."""
        return []

    # --- levels ---

    def level(
        self,
        t: Number | None = None,
        *,
        lam: Number | None = None,
        sigma: Number | None = None,
        rho: Number | None = None,
    ) -> Level:
        """The level told by exactly one of its names.

        Parameters
        ----------
        t, lam, sigma, rho : number or array
            One of them. What is given is kept as given; the others follow.

        Raises
        ------
        ProcessError
            If none or several are given, or the level lies outside the process.

        Examples
        --------
        >>> import diffode as de
        >>> level = de.EDM().level(sigma=0.5)
        >>> level.t, level.alpha, level.rho
        (0.5, 1.0, 0.5)
        """
        given = {k: v for k, v in dict(t=t, lam=lam, sigma=sigma, rho=rho).items() if v is not None}
        if len(given) != 1:
            raise ProcessError(f"level: give exactly one of t, lam, sigma, rho (got {', '.join(given) or 'none'})")
        name, value = given.popitem()
        require_numbers("level", **{name: value})
        if isinstance(value, (int, np.integer, np.floating)):
            value = float(value)
        if name in ("sigma", "rho") and package_of(value) == "mpmath":
            self.level(**{name: float(value)})  # out of reach, mpmath would go on in complex numbers
        with np.errstate(all="ignore"):
            if name == "t":
                self.check_times(value)
                return Level(value, self.alpha(value), self.sigma(value), self.lam(value), self)
            lam = value if name == "lam" else self.lam_of_sigma(value) if name == "sigma" else -phi.log(value)
            time = self._inside(lam, name, value)
            noise = value if name == "sigma" else phi.exp(self.log_sigma_of_lam(lam))
            return Level(time, phi.exp(self.log_alpha_of_lam(lam)), noise, lam, self)

    def _inside(self, lam: Number, name: str, value: Number) -> Number:
        """The time of a level, checked; rounding may have put it outside the domain, and it is brought back."""
        time = self.t_of_lam(lam)
        kind = package_of(time)
        if kind not in ("float", "array", "mpmath"):
            return time
        low, high = self.domain
        if _all((time >= low) & (time <= high)):
            return float(time) if kind == "float" else time
        for end in (low, high):
            told = value - getattr(self, name)(end)  # the time may feel rounding more than what was told does, or less
            near = (abs(time - end) <= 1e-13 * (1.0 + abs(end))) | (abs(told) <= 1e-13 * (abs(value) + (name == "lam")))
            slip = ((time < low) | (time > high)) & near
            time = _put(time, slip, end)
        self.check_times(time, name, value)
        return float(time) if kind == "float" else time

    def check_times(self, t: Number, name: str = "t", value: Number = None) -> None:
        """Raise ProcessError where a time, or that of a level told by another name, is not in the domain."""
        if package_of(t) not in ("float", "array", "mpmath"):
            return
        low, high = self.domain
        times = t if isinstance(t, np.ndarray) else float(t)
        inside = (times >= low) & (times <= high)
        if not _all(inside):
            times, outside = np.atleast_1d(times), ~np.atleast_1d(inside)
            told = times if value is None else np.atleast_1d(np.asarray(value, dtype=float))
            raise ProcessError(
                f"{name}={float(told[outside][0])} is outside {self!r}, which is defined for t from {low} to {high}"
                + ("" if value is None else f" (λ from {float(self.lam(high))} to {float(self.lam(low))})")
            )


def _all(holds: Any) -> bool:
    return bool(holds.all()) if isinstance(holds, np.ndarray) else bool(holds)


def _put(time: Number, where: Any, end: float) -> Number:
    """A time, with another value in some entries."""
    return phi.choose(where, lambda: phi.constant(end, time), lambda: time)
