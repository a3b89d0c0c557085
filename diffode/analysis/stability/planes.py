"""The real plane (c h, b h) of the semilinear test: where a rule is stable, for all rates of its linear part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev

from diffode.analysis.stability.kernel import margins
from diffode.analysis.stability.reading import recursion
from diffode.analysis.stability.regions import Range, check_range
from diffode.solvers import Solver, get_solver

_NODES = 40
"""Even, so that c h = 0 is none of them."""


@dataclass(frozen=True)
class Plane:
    """The real (c h, b h) plane of one rule.

    Attributes
    ----------
    rule : Solver
    ch_range, bh_range : (float, float)
    points : int
        On each side.
    """

    rule: Solver
    ch_range: Range
    bh_range: Range
    points: int = 400

    @property
    def ch(self) -> np.ndarray:
        """Shape (points,)."""
        return np.linspace(*self.ch_range, self.points)

    @property
    def bh(self) -> np.ndarray:
        """Shape (points,)."""
        return np.linspace(*self.bh_range, self.points)

    @cached_property
    def coefficients(self) -> np.ndarray:
        """Of P(w, z) at each c h, shape (points, steps + 1, degree + 1).

        They are entire functions of c h: read off the plan at Chebyshev's nodes, and interpolated.
        """
        low, high = self.ch_range
        nodes = chebyshev.chebpts1(_NODES)
        read = np.array([recursion(self.rule, float(low + (high - low) * (x + 1) / 2)).floats for x in nodes])
        series = chebyshev.chebfit(nodes, read.reshape(_NODES, -1), _NODES - 1)
        values = chebyshev.chebval(2 * (self.ch - low) / (high - low) - 1, series)
        return np.moveaxis(values, -1, 0).reshape(self.points, *read.shape[1:])

    @cached_property
    def margin(self) -> np.ndarray:
        """Shape (bh, ch): positive where stable; see `kernel.margins`."""
        zero = np.zeros(1)
        return np.stack([margins(np.ascontiguousarray(c), self.bh, zero)[0] for c in self.coefficients], axis=1)


def semilinear_plane(
    solver: str | Solver, ch: Sequence[float] = (-3.0, 3.0), bh: Sequence[float] = (-5.0, 3.0), points: int = 400
) -> Plane:
    """Where u′ = −c u + b u is stable with real b and c.

    Parameters
    ----------
    solver : str or Solver
    ch, bh : (low, high)
        The window.
    points : int
        On each side.

    Examples
    --------
    >>> plane = semilinear_plane("ddim", ch=(0.5, 2.5), bh=(-4, 3), points=3)
    >>> plane.margin[:, 1] > 0    # at c h = 1.5, for b h = −4, −½, 3
    array([False,  True, False])
    """
    return Plane(get_solver(solver), check_range("ch", ch), check_range("bh", bh), points)
