"""Slopes of convergence, told with what they rest on: the window, the confidence interval and the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]

MARGIN = 0.35
"""How far below its claim a slope may lie: steps are finite, and neighbouring orders are told apart at the half."""

_WINDOWS = (7, 5)
"""How many of the finest points are fitted; the fit with the narrowest interval is taken."""
_ABOVE_FLOOR = 10.0


@dataclass(frozen=True)
class Slope:
    """An order measured as the slope of log error against log step.

    Attributes
    ----------
    value, interval : float
        The slope of the finest points above the floor at h → 0, and the half-width of its 95 % confidence interval.
    window : (float, float)
        Smallest and largest step size used.
    floor : float
        The error below which rounding (or sampling) rules.
    steps, errors : tuple of float
        All that was measured, the coarsest first; for the plot.
    """

    value: float
    interval: float
    window: tuple[float, float]
    floor: float
    steps: tuple[float, ...]
    errors: tuple[float, ...]

    def judge(self, claim: float) -> Verdict:
        """PASS, FAIL or INCONCLUSIVE against a claimed order; a steeper slope passes."""
        if not np.isfinite(self.value):
            return "INCONCLUSIVE"
        if self.value - self.interval >= claim - MARGIN:
            return "PASS"
        return "FAIL" if self.value + self.interval < claim - MARGIN else "INCONCLUSIVE"

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return f"no slope: fewer than 4 errors above the floor {self.floor:.1e}"
        return f"{self.value:.2f} ± {self.interval:.2f}"


def fit(steps: Sequence[float], errors: Sequence[float], floor: float) -> Slope:
    """The slope of the finest errors that stand clear of the floor.

    Parameters
    ----------
    steps : sequence of float
        Step sizes, decreasing.
    errors : sequence of float
        Errors; those that are not finite (a diverged run) are left out.
    floor : float
        Errors below ten times this are not used.

    Returns
    -------
    Slope
        With the value NaN where fewer than four points are left.

    Examples
    --------
    >>> steps = [0.4, 0.2, 0.1, 0.05]
    >>> slope = fit(steps, [3 * h**2 for h in steps], 1e-15)
    >>> round(slope.value, 6), slope.window
    (2.0, (0.05, 0.4))
    """
    h, e = np.asarray(steps, dtype=float), np.asarray(errors, dtype=float)
    usable = np.isfinite(e) & (e > _ABOVE_FLOOR * floor) & (e > 0)
    if not usable.all():  # what comes after the first error at the floor is rounding, even if it rises again
        low = np.flatnonzero(np.isfinite(e) & (e <= _ABOVE_FLOOR * floor))
        if len(low):
            usable[low[0] :] = False
    chosen = np.flatnonzero(usable)
    kept = (tuple(h.tolist()), tuple(e.tolist()))
    if len(chosen) < 4:
        return Slope(float("nan"), float("inf"), (float("nan"), float("nan")), floor, *kept)
    fits = [
        (*_regress(h[part], e[part], curved), part)
        for part in {len(chosen[-n:]): chosen[-n:] for n in _WINDOWS}.values()
        for curved in (False, True)
        if len(part) > 3 + curved
    ]
    value, interval, part = min(fits, key=lambda found: found[1])
    return Slope(value, interval, (float(h[part].min()), float(h[part].max())), floor, *kept)


def _regress(h: np.ndarray, e: np.ndarray, curved: bool) -> tuple[float, float]:
    """Slope of log e = c + p log h, or of c + p log h + a h where the next order still shows; with its interval."""
    columns = [np.log(h), np.ones_like(h)] + ([h] if curved else [])
    design, y = np.stack(columns, axis=1), np.log(e)
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = len(h) - len(columns)
    variance = np.sum((y - design @ solution) ** 2) / freedom * np.linalg.inv(design.T @ design)[0, 0]
    return float(solution[0]), float(_student(freedom) * np.sqrt(variance))


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
