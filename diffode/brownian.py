r"""Named increments of the reverse Brownian path, and how they hang together.

Every stochastic step integrates one white noise dB_λ against some weight. A *clock* c(λ) turns it into a Brownian
motion W_c with dW_c = √|c′(λ)| dB_λ; the increment of moment m over a stretch from a to b is

    I_m(a, b) = ∫_a^b ((c − c_a)/(c_b − c_a))^m dW_c,    Var I_m = |c_b − c_a|/(2m + 1),

and the plan holds it scaled to unit variance. Because all clocks of a stream weight the same dB_λ, every covariance
is defined: between two stages that share a stretch, between two clocks, between a coarse and a fine grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number, package_of
from diffode.plan import BrownianIncrement, Level, Plan

ClockLike = str | float | Callable[[Level], Number]

_RATES = {"snr": 2.0, "rho2": -2.0}


@dataclass(frozen=True)
class Clock:
    """A monotone function of the level: e^{rate·λ} where `rate` is given, λ, σ, or a user's own."""

    name: str
    rate: float | None = None
    function: Callable[[Level], Number] | None = None

    @staticmethod
    def of(clock: ClockLike) -> Clock:
        """The clock that a rule names.

        "snr" = e^{2λ}, "rho2" = e^{−2λ}, "lam", "sigma", a rate r (e^{rλ}) or a function of a level.
        """
        if callable(clock):
            return Clock(getattr(clock, "__name__", "custom"), function=clock)
        if isinstance(clock, str):
            if clock in _RATES:
                return Clock(clock, rate=_RATES[clock])
            if clock == "lam":
                return Clock("lam", function=lambda level: level.lam)
            if clock == "sigma":
                return Clock("sigma", function=lambda level: level.sigma)
            raise SolverError(
                f"noise: no clock named {clock!r}; there are snr, rho2, sigma, lam, a rate r for e^(rλ), "
                "or any monotone function of a level"
            )
        return Clock(f"exp({clock:g}λ)", rate=float(clock)) if clock else Clock.of("lam")

    def value(self, level: Level) -> Number:
        """c at a level."""
        if self.rate is not None:
            return phi.exp(self.rate * level.lam)
        return self.function(level)  # type: ignore[misc]

    def slope(self, lam: Number, process: Any) -> Number:
        """|dc/dλ|."""
        if self.rate is not None:
            return abs(self.rate) * phi.exp(self.rate * lam)
        if self.name == "lam":
            return phi.constant(1.0, lam)
        return abs(_derivative(lambda u: self.value(process.level(lam=u)), lam))


@dataclass(frozen=True)
class Increment:
    """One named piece: the stretch, its clock and the moment."""

    a: Level
    b: Level
    clock: Clock
    moment: int = 0

    def weight(self, c: Number) -> Number:
        """((c − c_a)/(c_b − c_a))^moment."""
        start = self.clock.value(self.a)
        u = (c - start) / (self.clock.value(self.b) - start)
        result = phi.constant(1.0, u)
        for _ in range(self.moment):
            result = result * u
        return result

    @cached_property
    def stretch(self) -> tuple[Level, Level]:
        """The two ends, the noisier first."""
        forward = _not_after(self.a, self.b)
        return (self.a, self.b) if forward else (self.b, self.a)

    @property
    def variance(self) -> Number:
        """|c_b − c_a|/(2·moment + 1), before scaling."""
        return abs(self.clock.value(self.b) - self.clock.value(self.a)) / (2 * self.moment + 1)


def covariance(one: Increment, two: Increment) -> Number:
    """Cov of two increments of one stream, each scaled to unit variance; 0 where they do not overlap.

    Parameters
    ----------
    one, two : Increment

    Returns
    -------
    number of the levels' kind

    Examples
    --------
    >>> import diffode as de
    >>> a, m, b = de.EDM().level(2.0), de.EDM().level(1.0), de.EDM().level(0.5)
    >>> whole, first = (Increment(a, end, Clock.of("sigma")) for end in (b, m))
    >>> round(covariance(whole, first) ** 2, 12) == round(1.0 / 1.5, 12)
    True
    """
    (a, b), (p, q) = one.stretch, two.stretch
    if _not_after(b, p) or _not_after(q, a):
        return 0.0
    first = p if _not_after(a, p) else a
    last = b if _not_after(b, q) else q
    scale = phi.sqrt(one.variance * two.variance)
    if one.clock == two.clock:
        c, d = one.clock.value(first), one.clock.value(last)
        if one.moment == two.moment == 0:
            return abs(d - c) / scale
        return abs(phi.integral(lambda u: one.weight(u) * two.weight(u), c, d)) / scale

    def density(lam: Number) -> Number:
        level = Level(lam, lam, lam, lam) if _exponential(one, two) else one.a.process.level(lam=lam)
        weights = one.weight(one.clock.value(level)) * two.weight(two.clock.value(level))
        return weights * phi.sqrt(one.clock.slope(lam, one.a.process) * two.clock.slope(lam, one.a.process))

    return phi.integral(density, first.lam, last.lam) / scale


def factors(plan: Plan) -> dict[str, dict[int, Number]]:
    """Each noise row as a combination of independent standard normals, one per noise row (Cholesky).

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    dict
        Register → {index of the standard normal: weight}.
    """
    rows = plan.noises
    position = {row.out: k for k, row in enumerate(rows)}
    out: dict[str, dict[int, Number]] = {}
    for k, row in enumerate(rows):
        known = dict(row.covariances) if isinstance(row, BrownianIncrement) else {}
        weights: dict[int, Number] = {}
        for j in sorted(_related(known, position, out)):
            other = out[rows[j].out]
            done = sum((weights[i] * other[i] for i in weights if i in other), 0.0)
            weights[j] = (known.get(rows[j].out, 0.0) - done) / other[j]
        rest = 1.0 - sum((w * w for w in weights.values()), 0.0)
        weights[k] = _root(rest)
        out[row.out] = weights
    return out


def _related(known: dict[str, Number], position: dict[str, int], out: dict[str, dict[int, Number]]) -> set[int]:
    """The normals that this row can depend on: those of the rows it covaries with."""
    related: set[int] = set()
    for name in known:
        related |= set(out[name]) | {position[name]}
    return related


def _root(rest: Number) -> Number:
    """√ of what is left of the unit variance; a remainder at round-off is none."""
    if package_of(rest) in ("float", "array"):
        return phi.choose(rest > 1e-14, lambda: phi.sqrt(abs(rest)), lambda: 1e-300)
    return phi.sqrt(rest)


def _exponential(*increments: Increment) -> bool:
    return all(i.clock.rate is not None or i.clock.name == "lam" for i in increments)


def _not_after(p: Level, q: Level) -> bool:
    """λ_p ≤ λ_q, in every entry."""
    earlier = p.lam <= q.lam
    return bool(earlier.all()) if isinstance(earlier, np.ndarray) else bool(earlier)


def _derivative(function: Callable[[Number], Number], at: Number) -> Number:
    """df/du of a smooth function: mpmath's own, or the Chebyshev interpolant around each point."""
    if package_of(at) == "mpmath":
        from mpmath import diff

        return diff(function, at)
    nodes = np.cos(np.pi * (np.arange(16) + 0.5) / 16)
    radius = 0.25
    values = np.array([np.asarray(function(at + radius * node)) for node in nodes])
    # the derivative at the centre of the Chebyshev series: Σ c_n T_n′(0)
    series = [2 / 16 * np.tensordot(np.cos(n * np.arccos(nodes)), values, 1) for n in range(16)]
    slope = sum(n * np.sin(n * np.pi / 2) * series[n] for n in range(1, 16)) / radius
    return slope if np.ndim(slope) else float(slope)
