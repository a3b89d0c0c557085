r"""How much a rule bears as a function of its free parameters: stability intervals and guidance, with derivatives.

With P(w, z; θ) the recursion of the rule at parameters θ, exact, an interval ends at the first r > 0 where a root w of
P(·, z_0 + r d; θ) reaches the unit circle. Found by Sturm sequences (`stability.intervals`), its derivative follows
from |w| = 1 alone,

    ∂r/∂θ = −Re(w̄ P_θ/P_w)/Re(w̄ d P_z/P_w),

where P_θ is the difference of two exact recursions at θ ± 2^{−60}. (In steps h > 0 the coefficients hold e^h; there the
end is found in floats, and P_θ from 60 digits.) An interval is piecewise smooth: another root may
take over (a kink), or a root touches the circle earlier and the interval is cut (a jump). Its maximum is often there,
and no descent comes to rest at it; so the search halves a bracket, towards where the derivative at its best point says,
and needs no smoothness beyond.

Guidance of scale w acts on data at a point as y′ = −w y in λ, y = x/α (`stability.longest`): in equal steps h the rule
bears scales up to the end of an interval of P at c h, its roots counted in units of y.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, isfinite
from typing import Any

import numpy as np

from diffode.analysis.derivation.constants import beginnings
from diffode.analysis.derivation.parameters import Subject
from diffode.analysis.stability.intervals import along
from diffode.analysis.stability.polynomials import Gaussian
from diffode.analysis.stability.reading import recursion
from diffode.analysis.stability.recursion import Recursion
from diffode.analysis.stability.runs import first_true
from diffode.errors import DiffodeError, SolverError
from diffode.series import rational

_TINY = Fraction(1, 2**60)
_STEPS = np.geomspace(0.03, 10.0, 24)
"""Steps in λ among which the first that does not bear a guidance scale is looked for."""

_RATES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 480)])
_BOX, _POINTS, _HALVINGS, _SWEEPS = 2.0, 25, 44, 6

Values = tuple[Fraction, ...]


@dataclass(frozen=True)
class Interval:
    """The length of a stability interval, or the guidance that a step bears, as a function of the parameters.

    Attributes
    ----------
    subject : Subject
    direction : {"real", "imaginary"}
        Along −1 or i.
    step : Fraction
        h in λ; 0 is the limit of small steps, where what is borne is w h.
    """

    subject: Subject
    direction: str = "real"
    step: Fraction = Fraction(0)
    _known: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False, compare=False)

    @property
    def _sign(self) -> int:
        """Of c: −1 for a noise prediction."""
        return -1 if self.subject.solver.prediction == "eps" else 1

    @property
    def _ray(self) -> tuple[Fraction, Any]:
        """Where the interval begins, and its direction."""
        along_ = Gaussian(Fraction(0), Fraction(1)) if self.direction == "imaginary" else Fraction(-1)
        return (self.step if self._sign > 0 else Fraction(0)), along_

    def recursion(self, values: Values, step: Fraction | None = None) -> Recursion:
        """P at parameters, its roots in units of y."""
        h = self.step if step is None else step
        found = recursion(self.subject.at(values), float(h * self._sign))
        if not h or self._sign > 0:
            return found
        grown = _exp(h)  # u = x/σ grows by e^h where y stays
        rows = [[c * grown**j for c in row] for j, row in enumerate(found.coefficients)]
        return Recursion(tuple(map(tuple, rows)), found.name, found.ch, found.exact)

    def value(self, values: Values) -> float:
        """The length, 0 where the rule does not exist."""
        if values not in self._known:
            try:
                p = self.recursion(values)
                found = _first_exit(p, float(self._ray[0])) if self.step else along(p, *self._ray)
            except (DiffodeError, ZeroDivisionError, IndexError):
                found = 0.0
            self._known[values] = found / float(self.step) if self.step else found
        return self._known[values]

    def gradient(self, values: Values) -> np.ndarray:
        """∂/∂θ by the implicit function theorem; NaN at the ends of the smooth pieces."""
        scale = float(self.step) or 1.0
        return self._implicit(values, self.value(values) * scale)[0] / scale

    def _implicit(self, values: Values, end: float) -> tuple[np.ndarray, float]:
        """∂r/∂θ, and Re(w̄ d P_z/P_w), at the end of the interval."""
        origin, direction = self._ray
        turn = complex(float(direction.real), float(direction.imag)) if self.direction == "imaginary" else -1.0
        z = float(origin) + end * turn
        p = self.recursion(values)
        if not isfinite(end) or not end:
            return np.full(len(values), np.nan), np.nan
        roots = p.roots(z)
        w = complex(roots[np.argmin(abs(abs(roots) - 1))])
        by_w, by_z = _partials(p.floats, w, z)
        slope = (np.conj(w) * turn * by_z / by_w).real
        out: list[float] = []
        for k in range(len(values)):
            up, down = (tuple(v + s * _TINY * int(i == k) for i, v in enumerate(values)) for s in (1, -1))
            change = _difference(self.recursion(up), self.recursion(down), 2 * _TINY)
            by_theta = np.polynomial.polynomial.polyval2d(w, z, change)
            out.append(-float((np.conj(w) * by_theta / by_w).real / slope))
        return np.array(out), float(slope)


@dataclass(frozen=True)
class LongestStep:
    """The largest step in λ at which a rule bears a guidance scale, all smaller steps too.

    Attributes
    ----------
    subject : Subject
    guidance : float
        w.
    """

    subject: Subject
    guidance: float
    _known: dict[Values, float] = field(default_factory=dict[Values, float], repr=False, compare=False)

    def borne(self, values: Values, h: float) -> float:
        """The guidance scale that a step bears."""
        return Interval(self.subject, "real", rational(h)).value(values)

    def value(self, values: Values) -> float:
        """h."""
        if values not in self._known:
            self._known[values] = self._found(values)
        return self._known[values]

    def _found(self, values: Values) -> float:
        from scipy.optimize import brentq

        low = 0.0
        for h in _STEPS.tolist():
            if self.borne(values, h) < self.guidance:
                if not low:
                    return 0.0
                found: Any = brentq(lambda s: self.borne(values, s) - self.guidance, low, h, xtol=1e-13)
                return float(found)
            low = h
        return inf

    def gradient(self, values: Values) -> np.ndarray:
        """∂h/∂θ = −w_θ/w_h of the scale w(h, θ) that is borne; w_h by the difference of exact ends."""
        h = self.value(values)
        if not isfinite(h) or not h:
            return np.full(len(values), np.nan)
        small = 2.0**-18 * h
        rate = (self.borne(values, h + small) - self.borne(values, h - small)) / (2 * small)
        return -Interval(self.subject, "real", rational(h)).gradient(values) / rate


def _exp(h: Fraction) -> Fraction:
    import mpmath

    with mpmath.workdps(40):
        return Fraction(str(mpmath.exp(mpmath.mpf(h.numerator) / h.denominator)))


def _first_exit(p: Recursion, origin: float) -> float:
    """How far to the left of a point all roots stay in the unit disc, in floats; ∞ beyond the table."""
    powers = np.arange(p.degree + 1)

    def outside(r: np.ndarray) -> np.ndarray:
        c = np.power((origin - r)[:, None], powers) @ p.floats.T
        companion = np.zeros((len(r), p.steps, p.steps))
        companion[:, np.arange(p.steps - 1), np.arange(1, p.steps)] = 1
        companion[:, -1] = -c[:, :-1] / c[:, -1:]
        return np.max(abs(np.linalg.eigvals(companion)), axis=-1) > 1 + 1e-11

    return first_true(outside, _RATES[1:], chunk=len(_RATES), width=1e-14)


def _partials(c: np.ndarray, w: complex, z: complex) -> tuple[complex, complex]:
    """P_w and P_z."""
    value = np.polynomial.polynomial.polyval2d
    by_w, by_z = (np.polynomial.polynomial.polyder(c, axis=axis) for axis in (0, 1))
    return complex(value(w, z, by_w)), complex(value(w, z, by_z))


def _difference(up: Recursion, down: Recursion, width: Fraction) -> np.ndarray:
    """(P(θ + δ) − P(θ − δ))/2δ, coefficient by coefficient, before any of them is rounded."""
    size = max(up.steps, down.steps) + 1, max(up.degree, down.degree) + 1
    return np.array(
        [[float((_entry(up, j, d) - _entry(down, j, d)) / width) for d in range(size[1])] for j in range(size[0])]
    )


def _entry(found: Recursion, j: int, d: int) -> Fraction:
    row = found.coefficients[j] if j < len(found.coefficients) else ()
    return Fraction(row[d]) if d < len(row) else Fraction(0)


# --- the largest ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Largest:
    """The best parameters found.

    Attributes
    ----------
    values : tuple of Fraction
    tried : int
    """

    values: Values
    tried: int


def largest(objective: Interval | LongestStep, starts: int, seed: int) -> Largest:
    """The parameters at which an objective is largest: by lines through the best point, from several starts.

    Raises
    ------
    SolverError
        If it is 0 wherever it was looked at.
    """
    subject = objective.subject
    low = np.array([p.low if isfinite(p.low) else float(p.start) - _BOX for p in subject.parameters])
    high = np.array([p.high if isfinite(p.high) else float(p.start) + _BOX for p in subject.parameters])
    tried: dict[Values, float] = {}

    def value(x: np.ndarray) -> float:
        at = tuple(Fraction(float(c)) for c in x)
        tried.setdefault(at, objective.value(at))
        return tried[at]

    several = len(subject.parameters) > 1
    for x in beginnings(subject, starts if several else 0, seed, _BOX):
        generator, best = np.random.default_rng(seed + 1), value(x)
        for _ in range(_SWEEPS if several else 1):
            before, lines = best, list(np.eye(len(x)))
            if several:
                slope = objective.gradient(tuple(Fraction(float(c)) for c in x))
                lines += [slope] if np.all(np.isfinite(slope)) and np.any(slope) else []
                lines += list(generator.standard_normal((len(x), len(x))))
            for line in lines:
                if not isfinite(value(x)):
                    break
                x = _along(objective, value, x, line, (low, high), several)
            best = value(x)
            if not isfinite(best) or best <= before * (1 + 1e-10):
                break
        if len(set(tried.values())) == 1 < len(tried):
            break
    if len(set(tried.values())) == 1 < len(tried) and next(iter(tried.values())):
        raise SolverError(
            f"optimize: it is {next(iter(tried.values())):.6g} for {subject.solver.name} whatever "
            f"{', '.join(subject.names)} may be; choose another objective"
        )
    found = max(tried, key=lambda at: tried[at])
    if not tried[found] > 0:
        raise SolverError(
            f"optimize: {subject.solver.name} has no such interval at any parameters that were tried; choose another "
            "objective"
        )
    return Largest(found, len(tried))


def _along(
    objective: Interval | LongestStep,
    value: Callable[[np.ndarray], float],
    x: np.ndarray,
    line: np.ndarray,
    box: tuple[np.ndarray, np.ndarray],
    several: bool,
) -> np.ndarray:
    """The best point of a line in the box: a coarse look, then a bracket that the derivative halves."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.array([(box[0] - x) / line, (box[1] - x) / line]), axis=0)
    first, last = float(np.nanmax(ends[0])), float(np.nanmin(ends[1]))
    if not last > first:
        return x

    def place(s: float) -> np.ndarray:
        return np.clip(x + s * line, *box)

    shares = np.unique([*np.linspace(first, last, _POINTS // 3 if several else _POINTS), 0.0])
    values = [value(place(s)) for s in shares]
    if min(values) == max(values):
        return x
    k = int(np.argmax(values))
    best, high = float(shares[k]), values[k]
    left, right = float(shares[max(k - 1, 0)]), float(shares[min(k + 1, len(shares) - 1)])
    for _ in range(_HALVINGS // 2 if several else _HALVINGS):
        if not isfinite(high) or right - left < 1e-13 * max(abs(left), abs(right), 1e-3):
            break
        up = _rises(objective, place(best), line)
        sides = [(best + right) / 2, (left + best) / 2] if up else [(left + best) / 2, (best + right) / 2]
        for middle in sides:
            found = value(place(middle))
            if found > high:
                left, right = (best, right) if middle > best else (left, best)
                best, high = middle, found
                break
            left, right = (left, middle) if middle > best else (middle, right)
    return place(best)


def _rises(objective: Interval | LongestStep, x: np.ndarray, line: np.ndarray) -> bool:
    slope = objective.gradient(tuple(Fraction(float(c)) for c in x))
    return bool(slope @ line > 0)


def simplest(value: Callable[[Values], float], subject: Subject, values: Sequence[Fraction], better: int) -> Values:
    """Simpler fractions nearby, in range, where an objective is no worse to one part in 10^12; better is +1 or −1."""
    best = tuple(values)
    here = value(best)
    for digits in range(1, 9):
        near = tuple(v.limit_denominator(10**digits) for v in best)
        inside = all(p.low <= v <= p.high for p, v in zip(subject.parameters, near, strict=True))
        if inside and better * value(near) >= better * here - 1e-12 * abs(here):
            return near
    return best
