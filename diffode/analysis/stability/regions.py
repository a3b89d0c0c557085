"""Regions of stability: what `de.stability` returns, with its intervals, angle and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from diffode.analysis.stability import intervals
from diffode.analysis.stability.reading import recursion
from diffode.analysis.stability.recursion import Recursion
from diffode.errors import DiffodeError
from diffode.solvers import Solver, get_solver

Range = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """The region of stability of one method: the z (b h, where c h ≠ 0) at which P(·, z) fulfils the root condition.

    Attributes
    ----------
    recursion : Recursion
        The exact characteristic polynomial.
    re_range, im_range : (float, float)
        The window.
    points : int
        Of the grid on each side.
    rule : Solver or None
        Where the polynomial was read; None for one that was given.
    """

    recursion: Recursion
    re_range: Range
    im_range: Range
    points: int = 1000
    rule: Solver | None = None

    @property
    def solver(self) -> str:
        """Name of the method."""
        return self.recursion.name

    @property
    def re(self) -> np.ndarray:
        """Real parts of the grid, shape (points,)."""
        return np.linspace(*self.re_range, self.points)

    @property
    def im(self) -> np.ndarray:
        """Imaginary parts of the grid, shape (points,)."""
        return np.linspace(*self.im_range, self.points)

    @cached_property
    def margin(self) -> np.ndarray:
        """Shape (im, re): positive where all |w| < 1, continuous, 0 on the boundary; see `kernel.margins`."""
        from diffode.analysis.stability.kernel import margins

        return margins(self.recursion.floats, self.re, self.im)

    @property
    def mask(self) -> np.ndarray:
        """Shape (im, re): whether all |w| < 1."""
        return self.margin > 0

    @cached_property
    def radius(self) -> np.ndarray:
        """Shape (im, re): the largest |w|."""
        z = self.re[None, :] + 1j * self.im[:, None]
        p = np.stack([np.polyval(row[::-1], z) for row in self.recursion.floats])
        if self.recursion.steps == 1:
            return abs(p[0] / p[1])
        k = self.recursion.steps
        companion = np.zeros((*z.shape, k, k), complex)
        companion[..., np.arange(k - 1), np.arange(1, k)] = 1
        companion[..., -1, :] = np.moveaxis(-p[:-1] / p[-1], 0, -1)
        return abs(np.linalg.eigvals(companion)).max(axis=-1)

    def contains(self, z: complex) -> bool:
        """Whether z is stable, decided exactly: all |w| ≤ 1, and those with |w| = 1 simple."""
        return intervals.stable(self.recursion, z)

    __contains__ = contains

    @cached_property
    def real_bounds(self) -> Range:
        """The ends of the real interval."""
        return intervals.real_bounds(self.recursion)

    @property
    def real_interval(self) -> float:
        """The length of the real interval of stability, by exact root isolation; ∞ where it has no end."""
        low, high = self.real_bounds
        return high - low

    @cached_property
    def zero_stable(self) -> bool:
        """Whether P(·, 0) of the linear test fulfils the root condition; without it no small step is of use."""
        return bool(self.recursion.ch) or not self.recursion.exact or intervals.stable(self.recursion, 0)

    @cached_property
    def imaginary_interval(self) -> float:
        """The largest y with stability on the imaginary axis up to ± i y, by exact root isolation."""
        return intervals.imaginary_length(self.recursion)

    @cached_property
    def a_alpha(self) -> float:
        """The angle α of A(α)-stability in degrees: 90 where A-stable, 0 for every explicit method."""
        return intervals.a_alpha(self.recursion)

    @property
    def a_stable(self) -> bool:
        """Whether the left half-plane is stable."""
        return self.a_alpha == 90.0

    @property
    def l_stable(self) -> bool:
        """Whether it is A-stable and w → 0 as z → −∞."""
        return intervals.l_stable(self.recursion)

    @property
    def star(self) -> np.ndarray:
        """Shape (im, re): log |w| − Re z for the largest w; the order star is where this is positive."""
        with np.errstate(divide="ignore"):
            return np.log(self.radius) - self.re[None, :] + self.recursion.ch

    @cached_property
    def ssp(self) -> float | None:
        """The coefficient of strong stability, where it is defined; see `stages.ssp`."""
        from diffode.analysis.stability.stages import ssp

        return None if self.rule is None else ssp(self.rule)

    @cached_property
    def internal(self) -> tuple[float, ...]:
        """How much an error in the argument of each evaluation can grow by the end of the step, over the real interval.

        The maxima of the internal stability polynomials of the linear test; see `stages`. Empty where there are none.
        """
        from diffode.analysis.stability.stages import largest, stages

        found = None if self.rule is None or self.recursion.ch else stages(self.rule)
        return () if found is None else tuple(largest(p, -self.real_interval) for p in found.internal)

    def locus(self, points: int = 1441) -> np.ndarray:
        """The boundary locus: the z that have e^{iθ} for a root, shape (points, degree), a branch in each column.

        Parameters
        ----------
        points : int
            Values of θ from 0 to 2π.
        """
        rows = [intervals.locus_at(self.recursion, theta) for theta in np.linspace(0, 2 * np.pi, points)]
        out = np.full((points, self.recursion.degree), complex(np.nan, np.nan))
        for n, row in enumerate(rows):
            left = list(row)
            for j in range(len(row)):  # the nearest one continues the branch
                last = out[n - 1, j] if n else np.nan
                pick = 0 if np.isnan(last) else int(np.argmin([abs(z - last) for z in left]))
                out[n, j] = left.pop(pick)
        return out

    def as_dict(self) -> dict[str, Any]:
        """What `diffode stability --json` writes."""
        return {
            "solver": self.solver,
            "real_interval": self.real_interval,
            "imaginary_interval": self.imaginary_interval,
            "a_alpha": self.a_alpha,
        }

    def plot(self, path: str | Path | None = None, *, dark: bool = False) -> Any:
        """The region drawn; see `plots.regions` for several in one picture.

        Parameters
        ----------
        path : str or Path, optional
            Where to save it: .png, .svg or .pdf.
        dark : bool
            For a dark page.

        Returns
        -------
        matplotlib Figure
        """
        from diffode.analysis.stability.plots import regions, save

        drawing = regions([self], dark=dark)
        if path is not None:
            save(drawing, path, dark=dark)
        return drawing

    def __repr__(self) -> str:
        at = f" at c h = {self.recursion.ch:g}" if self.recursion.ch else ""
        low, high = self.real_bounds
        real = f"[{low:.6g}, {high:.6g}]" if self.recursion.ch else f"{high - low:.6g}"
        unstable = "" if self.zero_stable else ", not zero-stable"
        return (
            f"<stability of {self.solver}{at}: real interval {real}, imaginary {self.imaginary_interval:.6g}{unstable}>"
        )


def stability(
    solver: str | Solver | Recursion,
    *,
    re: Sequence[float] | None = None,
    im: Sequence[float] | None = None,
    ch: float = 0.0,
    ratio: float = 1,
    variable: str | None = None,
    points: int = 1000,
) -> Region:
    r"""The region of linear or semilinear stability of a solver, from the polynomial that its plan gives.

        linear        y′ = ζ y in the rule's own variable (ρ, y = x/α for Runge–Kutta, Adams and momentum); z = ζ Δρ
        semilinear    u′ = −c u + b u in λ, where an exponential rule integrates −c u exactly; the plane of b h

    For a rule with exponentials the linear region is the limit of the semilinear ones as c h → 0; see
    `diffode.analysis.stability.reading` for both, and for what u, b and c are with each prediction. Noise is left
    out: this is the stability of the mean.

    Parameters
    ----------
    solver : str, Solver or Recursion
        What `de.get_solver` takes; or a method by its polynomials, `recursion.multistep`, `recursion.runge_kutta`.
    re, im : (low, high), optional
        The window; by default one that shows the region.
    ch : float
        c h: positive where a step towards the data damps (data prediction), negative where it does not (noise
        prediction, or inversion).
    ratio : float
        Each step so many times as long as the one before, held (linear test only).
    variable : {"rho", "lam" or "lambda"}, optional
        Asks that the linear test hold on equal steps of any length in this variable, and not only as they shrink.
    points : int
        Of the grid on each side.

    Returns
    -------
    Region

    Raises
    ------
    PlanError
        If the plan has a `Dynamic` row, which is named.
    DiffodeError
        If a range is empty or not finite, or a method given by its polynomials is inconsistent.

    Examples
    --------
    >>> reg = stability("rk4", re=(-4, 1), im=(-4, 4))
    >>> round(reg.real_interval, 10), round(reg.imaginary_interval ** 2, 10)
    (2.7852935634, 8.0)
    >>> -1 + 1j in reg, -3 in reg
    (True, False)
    """
    rule = None if isinstance(solver, Recursion) else get_solver(solver)
    found = solver if isinstance(solver, Recursion) else recursion(get_solver(solver), float(ch), ratio, variable)
    if rule is None:
        _check_consistent(found)
    if not isinstance(points, int) or points < 2:
        raise DiffodeError(f"stability: points must be a whole number of at least 2, not {points!r}")
    window = None
    if re is None or im is None:
        window = _window(found)
    across = check_range("re", re) if re is not None else window[0]  # type: ignore[index]
    up = check_range("im", im) if im is not None else window[1]  # type: ignore[index]
    return Region(found, across, up, points, rule)


def _check_consistent(found: Recursion) -> None:
    """Raise DiffodeError where ρ(1) ≠ 0, past rounding: no constant solution stays one."""
    rho = [row[0] if row else 0 for row in found.coefficients]
    if not found.ch and abs(sum(rho)) > 1e-9 * sum(map(abs, rho)):
        raise DiffodeError(
            f"stability: {found.name or 'the method'} is inconsistent: ρ(1) = {sum(rho)}, and where y′ = 0 it does not "
            "stay; the coefficients of ρ, lowest powers first, must add up to 0"
        )


def check_range(name: str, given: Any) -> Range:
    """A range that can be drawn."""
    pair = tuple(given) if isinstance(given, (tuple, list, np.ndarray)) else ()
    if len(pair) != 2 or not all(isinstance(x, Real) and isfinite(x) for x in pair):
        raise DiffodeError(f"stability: {name} must be two finite numbers, (low, high), not {given!r}")
    low, high = float(pair[0]), float(pair[1])
    if low >= high:
        raise DiffodeError(f"stability: {name}=({low:g}, {high:g}) is empty or reversed; write the lower end first")
    return low, high


def _window(found: Recursion) -> tuple[Range, Range]:
    """A window around the region: of the bounded components near the origin, by the extent of the locus."""
    from diffode.analysis.stability.kernel import margins

    points = [intervals.locus_at(found, theta) for theta in np.linspace(0.01, np.pi, 181)]
    size = float(np.quantile(abs(np.concatenate(points)), 0.98)) if points else 1.0
    size = min(max(size, 1e-3), 30.0) * 1.25
    side = np.linspace(-size, size, 301)
    mask = margins(found.floats, side, side) > 0
    rows, columns = np.nonzero(mask)
    if not len(rows) or mask.mean() > 0.25 or mask[0].any() or mask[:, 0].any():
        return (-size, size), (-size, size)
    pad = 0.15 * max(np.ptp(side[rows]), np.ptp(side[columns]), size / 50)
    left, right = float(side[columns].min() - pad), float(max(side[columns].max(), 0.0) + pad)
    top = float(abs(side[rows]).max() + pad)
    return (left, right), (-top, top)
