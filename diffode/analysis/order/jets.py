r"""A process that stands for every process: α and t as generic power series of λ.

A condition that holds for random Taylor coefficients of α(λ) and t(λ) holds for every process. All levels are power
series in h around λ_0 = 0; σ = α e^{−λ}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any

from diffode import phi
from diffode.analysis.order.modular import PRIME, ModularSeries, ReadableSeries, residue
from diffode.plan import Level
from diffode.series import Series

Scalar = Any


@dataclass(frozen=True)
class JetLevel(Level):
    """A level whose rates are known as series."""

    rate_alpha: Any = None
    rate_sigma: Any = None

    @property
    def dalpha(self) -> Any:
        return self.rate_alpha

    @property
    def dsigma(self) -> Any:
        return self.rate_sigma


@dataclass(frozen=True)
class JetProcess:
    """The process with α(u) = Σ alpha_i u^i and t(u) = Σ time_i u^i, u = λ.

    Attributes
    ----------
    alpha_jet, time_jet : tuple of scalars
        alpha_jet[0] and time_jet[1] are not 0.
    degree : int
        Series are known to O(h^degree).
    modular : bool
        Whether numbers are taken modulo a prime or are fractions.
    generic : bool
        Whether jets, and the ratios of steps that go with them, are random; small numbers that can be read if not.
    over : type of Series, optional
        Series over another field.
    """

    alpha_jet: tuple[Scalar, ...]
    time_jet: tuple[Scalar, ...]
    degree: int
    modular: bool
    generic: bool = True
    over: type[Series] | None = None

    @staticmethod
    def random(degree: int, random: Random) -> JetProcess:
        """Generic jets modulo the prime of `ModularSeries`."""

        def draw(count: int) -> tuple[int, ...]:
            return tuple(random.randrange(1, PRIME) for _ in range(count))

        return JetProcess(draw(degree + 1), draw(degree + 1), degree, True)

    @staticmethod
    def plain(degree: int, dense: bool = False) -> JetProcess:
        """A small rational instance, for residuals that can be read: α = 1 + u/2, t = −u + u²/3.

        With u²/2 the clock would be ρ through second order, and hide what a rule misses because t is not ρ. Jets that
        are dense have no zeros, which hide what only a higher derivative of α or t shows.
        """
        if dense:
            shares = tuple(Fraction(1, n) for n in range(1, degree + 2))
            return JetProcess(shares, (Fraction(0), Fraction(-1), *shares[2:]), degree, False, False)
        zeros = (Fraction(0),) * degree
        alpha = (Fraction(1), Fraction(1, 2), *zeros)
        time = (Fraction(0), Fraction(-1), Fraction(1, 3), *zeros)
        return JetProcess(alpha[: degree + 1], time[: degree + 1], degree, False, False)

    def modulo(self) -> JetProcess:
        """The image of a rational process modulo the prime."""
        alpha, time = (tuple(map(residue, jet)) for jet in (self.alpha_jet, self.time_jet))
        return replace(self, alpha_jet=alpha, time_jet=time, modular=True)

    @property
    def kind(self) -> type[Series]:
        if not self.modular:
            return self.over or Series
        return ModularSeries if self.generic else ReadableSeries

    def variable(self) -> Series:
        """The small step h."""
        return self.kind.variable(self.degree)

    def constant(self, value: Scalar) -> Series:
        """A number as a series."""
        return self.kind.constant(value, self.degree)

    def level(self, t: Any = None, *, lam: Any = None, sigma: Any = None, rho: Any = None) -> JetLevel:
        """The level told by one of its names, as the process of the package has it."""
        if lam is not None:
            return self._at(lam)
        if rho is not None:
            return self._at(-phi.log(rho))
        if t is not None:
            return self._at(self._solve(self.time_jet, t))
        falling = [self._noise_jet(n) for n in range(len(self.alpha_jet))]
        return self._at(self._solve(falling, sigma))

    def _noise_jet(self, n: int) -> Scalar:
        """The n-th coefficient of σ(u) = α(u) e^{−u}."""
        one = self.kind([1])
        exponential = Fraction(1)
        total = one * 0
        for k in range(n + 1):
            total = total + self.kind([self.alpha_jet[n - k]]) * exponential
            exponential = exponential * Fraction(-1, k + 1)
        return total[0] if total.coefficients else 0

    def _at(self, u: Any) -> JetLevel:
        u = u if isinstance(u, Series) else self.constant(u)
        alpha, slope = self._value(self.alpha_jet, u)
        time, pace = self._value(self.time_jet, u)
        shrink = phi.exp(-u)
        return JetLevel(time, alpha, alpha * shrink, u, self, slope / pace, (slope - alpha) * shrink / pace)

    def _value(self, jet: Sequence[Scalar], u: Series) -> tuple[Series, Series]:
        """Σ jet_i u^i and its derivative."""
        value, slope = self.constant(jet[-1]), self.constant(0)
        for c in reversed(jet[:-1]):
            slope = slope * u + value
            value = value * u + self.constant(c)
        return value, slope

    def _solve(self, jet: Sequence[Scalar], target: Any) -> Series:
        """The small u with Σ jet_i u^i = target, by Newton's method: the known terms double with every turn."""
        u = self.constant(0)
        for _ in range(self.degree.bit_length() + 1):
            value, slope = self._value(jet, u)
            u = u - (value - target) / slope
        return u


@dataclass(frozen=True)
class JetGrid:
    """Levels of a jet process: the past, the base λ = 0, and steps ahead; and the lengths of all steps in h."""

    process: JetProcess
    levels: tuple[Level, ...]
    ratios: tuple[Scalar, ...] = ()


def jet_grid(
    process: JetProcess,
    past: int,
    ahead: int,
    spacing: str,
    variable: str,
    random: Random,
    ratios: Sequence[Scalar] | None = None,
    period: int = 1,
) -> JetGrid:
    """A grid around λ = 0.

    Parameters
    ----------
    process : JetProcess
    past, ahead : int
        Steps before and after the base level.
    spacing : {"uniform", "smooth", "rough"}
        Equal steps; steps whose ratios are 1 + O(h); steps with random ratios, in turn.
    variable : {"lam", "rho", "t", "sigma"}
        The variable in which that holds.
    random : Random
        Where the ratios come from.
    ratios : sequence, optional
        The steps in h themselves, in order.
    period : int
        How many random ratios there are.
    """
    h = process.variable()
    drawn = [_ratio(spacing, process, random) for _ in range(period)]
    ratios = ratios or [drawn[k % period] for k in range(past + ahead)]
    offsets = [sum(ratios[past:k], Fraction(0)) - sum(ratios[k:past], Fraction(0)) for k in range(past + ahead + 1)]
    moves = [h * c for c in offsets]
    if spacing == "smooth":
        moves = [m + m * m * Fraction(1, 3) for m in moves]
    if variable == "lam":
        return JetGrid(process, tuple(process.level(lam=m) for m in moves), tuple(ratios))
    base = process.level(lam=process.constant(0))
    if variable == "rho":
        return JetGrid(process, tuple(process.level(rho=base.rho - m) for m in moves), tuple(ratios))
    start = getattr(base, variable)
    return JetGrid(process, tuple(process.level(**{variable: start - m}) for m in moves), tuple(ratios))


def _ratio(spacing: str, process: JetProcess, random: Random) -> Scalar:
    if spacing != "rough":
        return 1
    if process.generic:
        return random.randrange(1, PRIME)
    return Fraction(random.randrange(1, 7), random.randrange(1, 7))
