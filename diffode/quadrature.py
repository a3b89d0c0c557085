"""Integrals of weights without closed form, in every kind of number.

Floats and arrays use Gauss–Legendre with bisection to round-off; mpmath its own quadrature at its working precision;
SymPy an unevaluated `Integral`; power series a Newton–Cotes rule of so high a degree that it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from diffode.kinds import Number, package_of


def integral(f: Callable[[Number], Any], a: Number, b: Number, kinks: Sequence[float] = ()) -> Any:
    """∫_a^b f(u) du for a weight without closed form, in the kind of number that a and b are.

    Floats and arrays use Gauss–Legendre with bisection to round-off; mpmath its own quadrature at its working
    precision; SymPy an unevaluated `Integral`; power series a Newton–Cotes rule of so high a degree that it is exact.

    Parameters
    ----------
    f : callable
        Called with an array of nodes in float64. May return a list, which is integrated entry by entry.
    a, b : numbers of any kind
    kinks : sequence of float
        Points between a and b where f is continuous but not smooth; the interval is split there.

    Returns
    -------
    number of the same kind, or a list of them

    Examples
    --------
    >>> [round(value, 12) for value in integral(lambda u: [u, 1 / u], 1.0, 2.0)]
    [1.5, 0.69314718056]
    """
    package = package_of(b - a)
    if package in ("float", "array"):
        return _gauss(f, a, b, kinks)
    if package == "mpmath":
        known = cache(f)  # the entries of a list share their nodes
        return _each(lambda g: _mpmath(g, [a, *kinks, b]), known, (a + b) / 2)
    if package == "sympy":
        return _each(lambda g: _sympy(g, a, b), f, (a + b) / 2)
    width = b - a
    rule = [(w, f(a + width * node)) for node, w in _newton_cotes(width.degree + 1)]
    if isinstance(rule[0][1], list):
        return [width * sum(w * value[j] for w, value in rule) for j in range(len(rule[0][1]))]
    return width * sum(w * value for w, value in rule)


def riemann(
    f: Callable[[Number], list[Number]], a: Number, b: Number, terms: int, closed: bool = False
) -> list[Number]:
    """The sum that published codes take for ∫_a^b: Σ_{k<terms} f(u_k) (b − a)/terms, in floats only.

    Parameters
    ----------
    f : callable
        Called with an array of points; returns a list, which is summed entry by entry.
    a, b : float or array
    terms : int
    closed : bool
        False: the left ends of equal pieces. True: points spread over [a, b] with both its ends, each weighted by
        (b − a)/terms all the same.

    Raises
    ------
    TypeError
        If a and b are no floats.

    Examples
    --------
    >>> riemann(lambda u: [u], 0.0, 1.0, 4), riemann(lambda u: [u], 0.0, 1.0, 4, closed=True)
    ([0.375], [0.5])
    """
    if package_of(b - a) not in ("float", "array"):
        raise TypeError(f"riemann: a sum of {terms} terms is taken in floats only, not in {type(b - a).__name__}")
    u = np.arange(terms).reshape(-1, *(1,) * np.ndim(b - a)) / (terms - closed)
    sums = (np.sum(value + 0 * u, axis=0) * (b - a) / terms for value in f(a + u * (b - a)))
    return [total if np.ndim(total) else float(total) for total in sums]


def monic(roots: Sequence[Number]) -> list[Number]:
    """Coefficients, lowest first, of ∏ (u − root)."""
    coefficients: list[Number] = [1]
    for root in roots:
        coefficients.append(coefficients[-1])
        for k in range(len(coefficients) - 2, 0, -1):
            coefficients[k] = coefficients[k - 1] - root * coefficients[k]
        coefficients[0] = -root * coefficients[0]
    return coefficients


# --- float64 -------------------------------------------------------------------------------------------


@cache
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)


def _gauss(f: Callable[[Number], Any], a: Number, b: Number, kinks: Sequence[float]) -> Any:
    """Gauss–Legendre on all panels at once; the ones that have not settled are halved.

    A panel and its two halves are one call of f: in short integrals the calls take longer than the numbers.
    """
    ordered = sorted(kinks, reverse=bool(np.any(b < a))) if kinks else ()
    inner = [np.clip(kink, np.minimum(a, b), np.maximum(a, b)) for kink in ordered]
    edges = np.array([a, *inner, b] if np.ndim(a) == np.ndim(b) else np.broadcast_arrays(a, *inner, b))
    low, high = edges[:-1], edges[1:]
    middle = 0.5 * (low + high)
    sums, sizes, single = _panels(f, np.concatenate([low, low, middle]), np.concatenate([high, middle, high]))
    coarse, left, right = _parts(sums, 3)
    whole = _sum(sizes[:, : len(low)])[:, None]
    total, before = 0.0 * whole[:, 0], np.inf
    for last in (*[False] * 23, True):
        # one more halving gains 40 bits on a smooth integrand: at 1e-13 only rounding is left in the halves; and where
        # halving no longer shrinks a gap that is small already, the integrand itself is known no better
        halves = left + right
        gap = abs(halves - coarse)
        rough = (gap > 1e-13 * whole) & ((gap > 1e-10 * whole) | (gap < 0.4 * before))
        if last or not rough.any():
            total = total + _sum(halves)
            break
        rough = rough.any(axis=0).reshape(len(low), -1).any(axis=1)
        total = total + _sum(halves[:, ~rough])
        low, high = np.concatenate([low[rough], middle[rough]]), np.concatenate([middle[rough], high[rough]])
        coarse = np.concatenate([left[:, rough], right[:, rough]], axis=1)
        before = np.concatenate([gap[:, rough], gap[:, rough]], axis=1)
        middle = 0.5 * (low + high)
        sums, _, _ = _panels(f, np.concatenate([low, middle]), np.concatenate([middle, high]))
        left, right = _parts(sums, 2)
    values = total.tolist() if total.ndim == 1 else list(total)
    return values[0] if single else values


def _parts(sums: np.ndarray, count: int) -> np.ndarray:
    """The panels in so many equal parts, one behind the other, as the first axis."""
    return sums.reshape(len(sums), count, -1, *sums.shape[2:]).swapaxes(0, 1)


def _panels(f: Callable[[Number], Any], low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """The 20-point rule on each panel, the same sum of absolute values (first axis: entries of f), and if f is one."""
    x, w = _legendre(20)
    column = (-1,) + (1,) * low.ndim
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    nodes = middle + half * x.reshape(column)
    found = f(nodes)
    single = not isinstance(found, list)
    values = np.empty((1 if single else len(found), *nodes.shape))
    for j, value in enumerate([found] if single else found):
        values[j] = value
    values *= w.reshape(column)
    return half * _sum(values), abs(half) * _sum(abs(values)), single


def _sum(terms: np.ndarray) -> np.ndarray:
    """The sum over the second axis, one after the other: the same bits whatever the other axes are."""
    return terms.cumsum(axis=1)[:, -1] if terms.shape[1] else np.zeros(np.delete(terms.shape, 1))


# --- other kinds ---------------------------------------------------------------------------------------


def _each(integrate: Callable[[Callable[[Number], Number]], Number], f: Callable[[Number], Any], at: Number) -> Any:
    """Integrate f, or each entry of the list that it returns."""
    probe = f(at)
    if not isinstance(probe, list):
        return integrate(f)
    return [integrate(lambda u, j=j: f(u)[j]) for j in range(len(probe))]


def _mpmath(f: Callable[[Number], Number], ends: Sequence[Number]) -> Number:
    """Gauss–Legendre; where that does not settle soon, the integrand is singular at an end, and tanh-sinh knows how."""
    mp = import_module("mpmath")
    value, error = mp.quad(f, ends, method="gauss-legendre", maxdegree=6, error=True)
    return value if error <= mp.eps else mp.quad(f, ends)


def _sympy(f: Callable[[Number], Number], a: Number, b: Number) -> Number:
    u = import_module("sympy").Dummy("u", real=True)
    return import_module("sympy").Integral(f(u), (u, a, b))


@cache
def _newton_cotes(n: int) -> tuple[tuple[Fraction, Fraction], ...]:
    """Nodes and weights of the interpolatory rule on n equispaced rational nodes of [0, 1]."""
    nodes = [Fraction(j, n - 1) for j in range(n)] if n > 1 else [Fraction(1, 2)]
    rule = []
    for j, node in enumerate(nodes):
        others = [other for m, other in enumerate(nodes) if m != j]
        scale = Fraction(1)
        for other in others:
            scale *= node - other
        weight = sum(a * Fraction(1, k + 1) for k, a in enumerate(monic(others))) / scale
        rule.append((node, weight))
    return tuple(rule)
