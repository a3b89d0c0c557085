r"""Stability intervals, by exact root isolation; the angle of A(α)-stability; A- and L-stability.

Along a ray z = z_0 + r d with rational z_0 and d the root condition can change only at an r where P(·, z) gains or
loses a root on the unit circle. There the Hermite form H(r) of P(·, z), a matrix of polynomials in r, is singular: so
the candidates are the real roots of det H, isolated by a Sturm sequence, and between two of them one exact test
decides. Where P(·, z) has roots on the circle along a whole ray (a leapfrog on the imaginary axis), det H vanishes
identically; then the lowest coefficient of det(x − H) that does not takes its place, beside the discriminant of P,
since the roots on the circle can leave it only in pairs that meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import inf, pi
from typing import Any

import numpy as np

from diffode.analysis.stability.polynomials import (
    Gaussian,
    Polynomial,
    Scalar,
    add,
    characteristic,
    evaluate,
    hermite_form,
    inside,
    interpolated,
    multiply,
    real_roots,
    root_condition,
    trim,
)
from diffode.analysis.stability.recursion import Recursion
from diffode.series import rational

WIDTH = Fraction(1, 2**60)
"""Of the enclosures of the ends of an interval."""

_MERGE = Fraction(1, 10**30)
"""Candidates nearer than this are one, split by the rounding of coefficients that are not rational."""


def stable(recursion: Recursion, z: complex | Scalar) -> bool:
    """Whether P(·, z) fulfils the root condition, decided exactly at the given number.

    >>> from diffode.solvers import get_solver
    >>> from diffode.analysis.stability.reading import recursion
    >>> euler = recursion(get_solver("euler"))
    >>> stable(euler, -2.0), stable(euler, -2.0000001), stable(euler, -1 + 0.5j)
    (True, False, True)
    """
    if isinstance(z, (complex, np.complexfloating)):
        z = Gaussian(Fraction(float(z.real)), Fraction(float(z.imag)))
    elif isinstance(z, (float, np.floating)):
        z = Fraction(float(z))
    p = recursion.at(z)
    return len(trim(p)) == len(p) and root_condition(p)


def real_bounds(recursion: Recursion) -> tuple[float, float]:
    """The ends of the real interval of stability that reaches to where the exact solution begins to grow, z = c h (or
    to 0, where c h is positive, and beyond it): (0, 0) shifted by min(c h, 0) where it is empty.
    """
    origin = min(rational(float(recursion.ch)), Fraction(0))
    return float(origin) - along(recursion, origin, Fraction(-1)), float(origin) + along(recursion, origin, Fraction(1))


def imaginary_length(recursion: Recursion) -> float:
    """The largest y with stability at z = min(c h, 0) ± i y' for all y' ≤ y."""
    return along(recursion, min(rational(float(recursion.ch)), Fraction(0)), Gaussian(Fraction(0), Fraction(1)))


def along(recursion: Recursion, origin: Scalar, direction: Scalar) -> float:
    """How far a method is stable from a point in a direction, to far below 1e-10; 0 where it is not at all.

    Parameters
    ----------
    recursion : Recursion
    origin, direction : Fraction or Gaussian
    """
    edges = [Fraction(0)]
    for edge in candidates(recursion, origin, direction):
        if edge - edges[-1] > _MERGE:
            edges.append(edge)
    reached = Fraction(0)
    for k, edge in enumerate(edges):
        after = edges[k + 1] if k + 1 < len(edges) else None
        middle = edge + 1 if after is None else _simple(edge, after)
        if not stable(recursion, origin + direction * middle):
            break
        if after is None:
            return inf
        reached = after
    return float(reached)


def _simple(a: Fraction, b: Fraction) -> Fraction:
    """A number well inside (a, b) with a small denominator."""
    gap = b - a
    return ((a + b) / 2).limit_denominator(int(8 / gap) + 1)


def candidates(recursion: Recursion, origin: Scalar, direction: Scalar) -> list[Fraction]:
    """The r > 0 at which the root condition can change along a ray.

    Parameters
    ----------
    recursion : Recursion
    origin, direction : Fraction or Gaussian
    """
    line = [origin, direction]
    rows = [_composed(row, line) for row in recursion.coefficients]  # polynomials in r
    size = recursion.steps
    values: list[list[Any]] = []
    for r in range(2 * size * recursion.degree + 1):
        p = [evaluate(row, r) for row in rows]
        values.append([c.real for c in characteristic(hermite_form(p))[:-1]])
    index = next((j for j in range(size) if any(v[j] != 0 for v in values)), size)
    found: list[Fraction] = []
    if index < size:
        found += real_roots(interpolated([v[index] for v in values]), Fraction(0), WIDTH)
    if index:
        found += _roots_of_norm(_composed(discriminant(recursion), line))
    return sorted([*found, *_roots_of_norm(rows[-1])])


def _composed(p: Sequence[Scalar], line: Sequence[Scalar]) -> Polynomial:
    """p(line(r)) as a polynomial in r."""
    out: Polynomial = []
    for c in reversed(p):
        out = add(multiply(out, line), [c])
    return trim(out)


def _roots_of_norm(p: Sequence[Scalar]) -> list[Fraction]:
    """The real r > 0 where p vanishes, among those where |p|² = Re² + Im² does."""
    real, imag = trim([c.real for c in p]), trim([c.imag for c in p])
    square = add(multiply(real, real), multiply(imag, imag))
    return real_roots(square, Fraction(0), WIDTH) if len(square) > 1 else []


def discriminant(recursion: Recursion) -> Polynomial:
    """The polynomial in z that vanishes where P(·, z) has a double root (and not for every z)."""
    import sympy as sp

    w, z = sp.symbols("w z")
    rational_ = [[sp.Rational(c.numerator, c.denominator) for c in row] for row in recursion.coefficients]
    whole = sum(c * w**j * z**d for j, row in enumerate(rational_) for d, c in enumerate(row))
    poly: Any = sp.Poly(whole, w, z, domain="QQ").sqf_part()
    if poly.degree(w) < 2:
        return [Fraction(1)]
    found: Any = sp.Poly(sp.Poly(poly.as_expr(), w).discriminant(), z)
    return [Fraction(int(c.p), int(c.q)) for c in reversed(found.all_coeffs())]


# --- sectors --------------------------------------------------------------------------------------------------


def a_stable(recursion: Recursion) -> bool:
    """Whether the left half-plane is stable: the imaginary axis is, and no w has a pole on the left.

    By the maximum principle for the branches w(z), bounded at ∞ where the coefficient of w^k has the full degree.
    """
    lead = recursion.coefficients[-1]
    if len(trim(lead)) <= recursion.degree and recursion.degree:
        return False
    if recursion.degree and not _right(lead):
        return False
    return imaginary_length(recursion) == inf and along(recursion, Fraction(0), Fraction(-1)) == inf


def l_stable(recursion: Recursion) -> bool:
    """Whether it is A-stable with w → 0 as z → −∞."""
    top = [row[recursion.degree] if len(row) > recursion.degree else 0 for row in recursion.coefficients]
    return a_stable(recursion) and recursion.degree > 0 and all(c == 0 for c in top[:-1])


def _right(p: Sequence[Any]) -> bool:
    """Whether no root of a real polynomial has a negative real part: with z = (w + 1)/(w − 1) none lies in |w| < 1."""
    size = len(p) - 1
    turned: Polynomial = []
    for j, c in enumerate(p):
        term: Polynomial = [c]
        for k in range(size):
            term = multiply(term, [1, 1] if k < j else [-1, 1])
        turned = add(turned, term)
    turned = trim(turned)
    return inside(turned[::-1]) if turned and turned[0] != 0 else False


def a_alpha(recursion: Recursion) -> float:
    """The largest α in degrees such that |arg(−z)| < α is stable; 0 for every explicit method.

    The sector about a stable negative axis ends where it first touches the boundary locus, so that α is the smallest
    angle of a point of the locus in the left half-plane.
    """
    if a_stable(recursion):
        return 90.0
    if along(recursion, Fraction(0), Fraction(-1)) < inf:
        return 0.0
    from scipy.optimize import minimize_scalar

    theta = np.linspace(0, pi, 1001)[1:]
    angles = np.array([_angle(recursion, t) for t in theta])
    best = int(np.argmin(angles))
    low, high = theta[max(best - 1, 0)], theta[min(best + 1, len(theta) - 1)]
    options = {"xatol": 1e-12}
    found: Any = minimize_scalar(lambda t: _angle(recursion, t), bounds=(low, high), method="bounded", options=options)
    return float(np.degrees(min(found.fun, angles[best], pi / 2)))


def _angle(recursion: Recursion, theta: float) -> float:
    """The smallest |arg(−z)| among the z that have e^{iθ} for a root."""
    z = locus_at(recursion, theta)
    z = z[abs(z) > 1e-6]
    return float(min(abs(np.angle(-z)), default=pi))


def locus_at(recursion: Recursion, theta: float) -> np.ndarray:
    """The z with P(e^{iθ}, z) = 0."""
    powers = np.exp(1j * theta * np.arange(recursion.steps + 1))
    p = powers @ recursion.floats
    return np.roots(np.trim_zeros(p[::-1], "f"))
