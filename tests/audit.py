"""Audits: a law checked on many drawn cases that reports the worst of them, so that a pass says by how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

ULP = 2.0**-52
DIGITS = 50


class Audit:
    """The worst case so far of a measured error.

    Parameters
    ----------
    law : str
        What is measured, for the line that is printed (`pytest -s`) and recorded as a property of the test.
    bound : float
        The largest error allowed.
    record : callable
        pytest's `record_property`.
    """

    def __init__(self, law: str, bound: float, record: Callable[[str, object], None]) -> None:
        self.law, self.bound, self.record = law, bound, record
        self.worst, self.case, self.count = -1.0, "", 0

    def note(self, error: Any, case: str) -> None:
        """One measurement; not a number counts as infinitely wrong."""
        error = float(error)
        self.count += 1
        if np.isnan(error) or error > self.worst:
            self.worst, self.case = np.inf if np.isnan(error) else error, case

    def close(self) -> None:
        """Print and record the worst case; fail where it is over the bound, or where nothing was measured."""
        line = f"{self.law}: worst {self.worst:.3g} (bound {self.bound:g}) in {self.count} cases, at {self.case}"
        self.record("audit", line)
        print(f"\n{line}")
        assert self.count
        assert self.worst <= self.bound, line


def exact(x: Any) -> Any:
    """A float as an mpmath number, exactly."""
    return mpmath.mpf(float(x))


def slope(function: Callable[[Any], Any], at: Any) -> Any:
    """The derivative of an mpmath function by a central difference, at so many digits that nothing cancels."""
    digits = mpmath.mp.dps
    with mpmath.workdps(3 * digits - int(min(0, mpmath.log10(abs(at) or 1)))):
        h = mpmath.mpf(10) ** -digits * (abs(at) or 1)
        return (function(at + h) - function(at - h)) / (2 * h)
