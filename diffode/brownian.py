r"""Named increments of the reverse Brownian path, and how they hang together.

Every stochastic step integrates one white noise dB_λ against some weight. A *clock* c(λ) turns it into a Brownian
motion W_c with dW_c = √|c′(λ)| dB_λ; the increment of moment m over a stretch from a to b is

    I_m(a, b) = ∫_a^b ((c − c_a)/(c_b − c_a))^m dW_c,    Var I_m = |c_b − c_a|/(2m + 1),

and the plan holds it scaled to unit variance. Because all clocks of a stream weight the same dB_λ, every covariance
is defined: between two stages that share a stretch, between two clocks, between a coarse and a fine grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number, package_of
from diffode.plan import BrownianIncrement, Level, Plan

ClockLike = str | float | Callable[[Level], Number]

_RATES = {"snr": 2.0, "rho2": -2.0}


def _lam(level: Level) -> Number:
    return level.lam


def _sigma(level: Level) -> Number:
    return level.sigma


@dataclass(frozen=True)
class Clock:
    """A monotone function of the level: e^{rate·λ} where `rate` is given, λ, σ, or a user's own.

    Two clocks are equal when they run alike, whatever they are called.
    """

    name: str = field(compare=False)
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
            if clock in ("lam", "sigma"):
                return Clock(clock, function=_lam if clock == "lam" else _sigma)
            raise SolverError(
                f"noise: no clock named {clock!r}; there are snr, rho2, sigma, lam, a rate r for e^(rλ), "
                "or any monotone function of a level"
            )
        return Clock(f"exp({clock:g}λ)", rate=float(clock)) if clock else Clock.of("lam")

    @property
    def of_lam(self) -> bool:
        """Whether λ alone tells its value, whatever the process."""
        return self.rate is not None or self.function is _lam

    @property
    def smooth(self) -> bool:
        """Whether it is smooth in λ where the time is not (at the knots of a table)."""
        return self.of_lam or self.function is _sigma

    def value(self, level: Level) -> Number:
        """c at a level."""
        if self.rate is not None:
            return phi.exp(self.rate * level.lam)
        return self.function(level)  # type: ignore[misc]

    def slope(self, lam: Number, process: Any) -> Number:
        """|dc/dλ|."""
        if self.rate is not None:
            return abs(self.rate) * phi.exp(self.rate * lam)
        if self.function is _lam:
            return phi.constant(1.0, lam)
        if self.function is _sigma:
            level = process.level(lam=lam)
            return abs(level.dsigma / process.dlam(level.t))
        first, last = (process.lam(t) for t in reversed(process.domain))
        edges = [first, *process.kinks(first, last), last]
        return abs(_derivative(lambda u: self.value(process.level(lam=u)), lam, edges))


@dataclass(frozen=True)
class Increment:
    """One named piece: the stretch, its clock and the moment."""

    a: Level
    b: Level
    clock: Clock
    moment: int = 0

    @staticmethod
    def of(row: BrownianIncrement) -> Increment:
        """The piece that a row of a plan stands for; clocks of a user's own have no name to be found by."""
        rate = row.clock.removeprefix("exp(").removesuffix("λ)")
        return Increment(row.a, row.b, Clock.of(row.clock if rate == row.clock else float(rate)), row.moment)

    def density(self, lam: Number) -> Number:
        """κ(λ) in ∫ κ dB_λ, the increment scaled to unit variance."""
        process = self.a.process
        level = Level(lam, lam, lam, lam) if self.clock.of_lam else process.level(lam=lam)
        slope = self.clock.slope(lam, process)
        return self.weight(self.clock.value(level)) * phi.sqrt(slope / self.variance)

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
        return _noisier(self.a, self.b), _cleaner(self.a, self.b)

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
    first = _cleaner(a, p)
    last = _cleaner(first, _noisier(b, q))  # first itself in the entries where they do not overlap
    scale = phi.sqrt(one.variance * two.variance)
    if one.clock == two.clock:
        c, d = one.clock.value(first), one.clock.value(last)
        if one.moment == two.moment == 0:
            return abs(d - c) / scale
        return abs(phi.integral(lambda u: one.weight(u) * two.weight(u), c, d)) / scale

    def density(lam: Number) -> Number:
        level = Level(lam, lam, lam, lam) if one.clock.of_lam and two.clock.of_lam else one.a.process.level(lam=lam)
        weights = one.weight(one.clock.value(level)) * two.weight(two.clock.value(level))
        return weights * phi.sqrt(one.clock.slope(lam, one.a.process) * two.clock.slope(lam, one.a.process))

    kinks: list[float] = []
    if not (one.clock.smooth and two.clock.smooth) and package_of(first.lam) in ("float", "array", "mpmath"):
        kinks = one.a.process.kinks(float(np.min(first.lam)), float(np.max(last.lam)))
    return phi.integral(density, first.lam, last.lam, kinks) / scale


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
    users: list[list[int]] = [[] for _ in rows]  # of each normal, the later rows that depend on it
    for k, row in enumerate(rows):
        covariances = row.covariances if isinstance(row, BrownianIncrement) else ()
        known = {position[name]: c for name, c in covariances}
        weights: dict[int, Number] = {}
        waiting = set(known)
        while waiting:
            j = min(waiting)
            other = out[rows[j].out]
            shared = sum((weights[i] * other[i] for i in weights if i in other), 0.0)
            weights[j] = _quotient(known.get(j, 0.0) - shared, other[j])
            waiting |= set(users[j])  # what shares a normal with this row hangs together with it, known or not
            waiting.remove(j)
        for j in weights:
            users[j].append(k)
        weights[k] = _root(1.0 - sum((w * w for w in weights.values()), 0.0))
        out[row.out] = weights
    return out


def _root(rest: Number) -> Number:
    """√ of what is left of the unit variance; a remainder at round-off is none."""
    kind = package_of(rest)
    if kind not in ("float", "array", "mpmath"):
        return phi.sqrt(rest)
    tiny = 1e-14 if kind != "mpmath" else 64 * rest.context.eps
    return phi.choose(rest > tiny, lambda: phi.sqrt(abs(rest)), lambda: phi.constant(0.0, rest))


def _quotient(left: Number, root: Number) -> Number:
    """left/root; 0 where the row has no normal of its own, being a combination of earlier ones."""
    if package_of(root) not in ("float", "array", "mpmath"):
        return left / root
    return phi.choose(root > 0, lambda: left / root, lambda: 0.0)


def _not_after(p: Level, q: Level) -> bool:
    """λ_p ≤ λ_q, in every entry."""
    earlier = p.lam <= q.lam
    return bool(earlier.all()) if isinstance(earlier, np.ndarray) else bool(earlier)


def _noisier(p: Level, q: Level) -> Level:
    """The one with the smaller λ, in each entry."""
    return _pick(p.lam <= q.lam, p, q)


def _cleaner(p: Level, q: Level) -> Level:
    """The one with the larger λ, in each entry."""
    return _pick(p.lam <= q.lam, q, p)


def _pick(which: Any, p: Level, q: Level) -> Level:
    if not isinstance(which, np.ndarray):
        return p if which else q
    t, alpha, sigma, lam = (np.where(which, getattr(p, n), getattr(q, n)) for n in ("t", "alpha", "sigma", "lam"))
    return Level(t, alpha, sigma, lam, p.process)


def _derivative(function: Callable[[Number], Number], at: Number, edges: Sequence[float]) -> Number:
    """df/du of a function that is smooth between edges: mpmath's own, or that of a Chebyshev interpolant."""
    if package_of(at) == "mpmath":
        from mpmath import diff

        return diff(function, at, direction=1 if at - edges[0] < edges[-1] - at else -1)
    cell = np.clip(np.searchsorted(edges, at), 1, len(edges) - 1)
    low, high = np.asarray(edges)[cell - 1], np.asarray(edges)[cell]
    radius = np.minimum(0.25, 0.5 * (high - low))
    centre = np.clip(at, low + radius, high - radius)
    nodes = chebyshev.chebpts1(16)
    values = np.array([np.asarray(function(centre + radius * node)) for node in nodes])
    series = np.tensordot(np.linalg.inv(chebyshev.chebvander(nodes, 15)), values, 1)
    slope = chebyshev.chebval((at - centre) / radius, chebyshev.chebder(series), tensor=False) / radius
    return slope if np.ndim(slope) else float(slope)
