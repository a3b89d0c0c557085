"""Tables of discrete betas, as a process in continuous time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.kinds import Number, package_of
from diffode.process.variance_preserving import VariancePreserving


@dataclass(frozen=True)
class DiscreteVP(VariancePreserving):
    r"""A discrete schedule made continuous: log α linear in t between the knots t = i/N.

        B(i/N) = −Σ_{j≤i} log(1 − β_j),    B(0) = 0

    Where the last beta is 1 (zero terminal signal-to-noise ratio), α itself is linear on the last interval.

    Parameters
    ----------
    knots : tuple of float
        B at t = 0, 1/N, …, 1; increasing, 0 first; the last may be ∞. `from_betas` makes them from betas.

    References
    ----------
    Lu et al., arXiv:2206.00927, appendix D.4 (interpolation of log α); Lin et al., arXiv:2305.08891 (rescaling).

    Examples
    --------
    >>> from diffode.process import VP
    >>> process = VP.scaled_linear()
    >>> round(float(process.alpha(1.0)), 7)
    0.0682649
    >>> process.zero_terminal_snr().alpha(1.0)
    0.0
    """

    knots: tuple[float, ...]
    name: ClassVar[str] = "vp_discrete"

    @classmethod
    def from_betas(cls, betas: Sequence[float] | np.ndarray) -> DiscreteVP:
        """The process of a table of betas, the cleanest first."""
        try:
            table = np.asarray(betas, dtype=np.longdouble)
        except (TypeError, ValueError):
            raise ProcessError(f"betas: needs a flat table of numbers, not {betas!r}") from None
        if table.ndim != 1 or len(table) < 2:
            raise ProcessError(f"betas: needs a flat table of at least 2, not an array of shape {table.shape}")
        wrong = ~((table > 0) & ((table < 1) | ((table == 1) & (np.arange(len(table)) == len(table) - 1))))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ProcessError(
                "betas: each must lie strictly between 0 and 1 (the last may be 1), "
                f"but number {i} is {float(table[i])}"
            )
        with np.errstate(divide="ignore"):
            rates = -np.log1p(-table)
        return cls((0.0, *np.cumsum(rates).astype(float).tolist()))

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, dtype=float)
        if len(knots) < 2 or knots[0] != 0 or not np.all(np.diff(knots) > 0):
            raise ProcessError(
                f"DiscreteVP: the knots of ∫β must increase from 0, but they are {_some(self.knots)}; "
                "remove rates too small to count, or make the table with DiscreteVP.from_betas"
            )

    def __repr__(self) -> str:
        return f"DiscreteVP({len(self.knots) - 1} steps, α(1)={float(self.alpha(1.0)):.4g})"

    @property
    def t_min(self) -> float:
        return 1.0 / (len(self.knots) - 1)

    @property
    def t_far(self) -> float:
        return 1.0 if np.isfinite(self.knots[-1]) else 1.0 - self.t_min

    def zero_terminal_snr(self) -> DiscreteVP:
        """The schedule rescaled so that α(1) = 0 and α(1/N) stays (Lin et al., arXiv:2305.08891, alg. 1)."""
        if np.isinf(self.knots[-1]):
            return self
        alpha = np.exp(-0.5 * np.asarray(self.knots[1:], dtype=np.longdouble))
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        with np.errstate(divide="ignore"):
            return DiscreteVP((0.0, *(-2 * np.log(alpha)).astype(float).tolist()))

    @cached_property
    def _table(self) -> np.ndarray:
        return np.asarray(self.knots)

    @cached_property
    def _knot_lam(self) -> np.ndarray:
        return np.asarray(self.lam(np.linspace(0.0, 1.0, len(self.knots))))[::-1]

    def kinks(self, low: float, high: float) -> list[float]:
        lam = self._knot_lam
        return lam[(lam > low) & (lam < high)].tolist()

    def _cell(self, t: Number) -> tuple[Any, Number, Number, Number]:
        """Interval index, position in it from 0 to 1, and B at both of its ends."""
        n = len(self.knots) - 1
        if package_of(t) == "array":
            i = np.clip(np.floor(t * n).astype(int), 0, n - 1)
            return i, t * n - i, self._table[i], self._table[i + 1]
        i = min(max(int(t * n), 0), n - 1)
        return i, t * n - i, phi.constant(self.knots[i], t), phi.constant(self.knots[i + 1], t)

    def integrated_beta(self, t: Number) -> Number:
        _, u, low, high = self._cell(t)
        return phi.choose(high == np.inf, lambda: low - 2 * phi.log1p(-u), lambda: low + u * (high - low))

    def beta(self, t: Number) -> Number:
        n = len(self.knots) - 1
        _, u, low, high = self._cell(t)
        return phi.choose(high == np.inf, lambda: n * phi.divide(2, 1 - u), lambda: n * (high - low) + 0 * u)

    def dalpha(self, t: Number) -> Number:
        n = len(self.knots) - 1
        _, _, low, high = self._cell(t)
        return phi.choose(
            high == np.inf,
            lambda: -n * phi.exp(-0.5 * low) + 0 * t,
            lambda: -0.5 * n * (high - low) * self.alpha(t),
        )

    def t_of_integrated_beta(self, b: Number) -> Number:
        n = len(self.knots) - 1
        i = np.clip(np.searchsorted(self._table, np.asarray(b, dtype=float), side="right") - 1, 0, n - 1)
        low, high = self._table[i], self._table[i + 1]
        if package_of(b) != "array":
            i, low, high = int(i), phi.constant(float(low), b), phi.constant(float(high), b)
        u = phi.choose(high == np.inf, lambda: -phi.expm1(-0.5 * (b - low)), lambda: (b - low) / (high - low))
        return (i + u) / n


def _some(values: Sequence[float]) -> str:
    """The first few of many numbers."""
    shown = ", ".join(f"{value:g}" for value in values[:6])
    return f"{shown}, …" if len(values) > 6 else shown
