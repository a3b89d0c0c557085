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
    if package in ("mpmath", "sympy"):
        inner = [k for k in kinks if package == "mpmath"]
        return _each(lambda g: _symbolic_or_mp(package, g, a, b, inner), f, (a + b) / 2)
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
        raised = [0, *coefficients]
        coefficients = [r - root * a for r, a in zip(raised, [*coefficients, 0], strict=True)]
    return coefficients


# --- float64 -------------------------------------------------------------------------------------------


@cache
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)


def _gauss(f: Callable[[Number], Any], a: Number, b: Number, kinks: Sequence[float]) -> Any:
    """Gauss–Legendre on all panels at once; the ones that have not settled are halved."""
    ordered = sorted(kinks, reverse=bool(np.any(b < a)))
    inner = [np.clip(kink, np.minimum(a, b), np.maximum(a, b)) for kink in ordered]
    edges = np.stack(np.broadcast_arrays(a, *inner, b))
    low, high = edges[:-1], edges[1:]
    single = not isinstance(f(0.5 * (a + b)), list)
    coarse, scale = _panels(f, low, high)
    total, size = np.zeros_like(coarse[:, 0]), _sum(scale)
    before = np.full(coarse.shape, np.inf)
    for _ in range(24):
        middle = 0.5 * (low + high)
        (left, _), (right, _) = _panels(f, low, middle), _panels(f, middle, high)
        # one more halving gains 40 bits on a smooth integrand: at 1e-13 only rounding is left in the halves; and where
        # halving no longer shrinks a gap that is small already, the integrand itself is known no better
        gap, whole = abs(left + right - coarse), size[:, None]
        rough = ((gap > 1e-13 * whole) & ((gap > 1e-10 * whole) | (gap < 0.4 * before))).any(axis=0)
        rough = rough.reshape(len(low), -1).any(axis=1)
        total = total + _sum((left + right)[:, ~rough])
        if not rough.any():
            break
        low, high = np.concatenate([low[rough], middle[rough]]), np.concatenate([middle[rough], high[rough]])
        coarse = np.concatenate([left[:, rough], right[:, rough]], axis=1)
        before = np.concatenate([gap[:, rough], gap[:, rough]], axis=1)
    else:
        total = total + _sum(coarse)
    values = [float(v) if np.ndim(v) == 0 else v for v in total]
    return values[0] if single else values


def _panels(f: Callable[[Number], Any], low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 20-point rule on each panel, and the same sum of absolute values; first axis: entries of f."""
    x, w = _legendre(20)
    column = (-1,) + (1,) * low.ndim
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    values = f(middle + half * x.reshape(column))
    values = np.stack(np.broadcast_arrays(*values)) if isinstance(values, list) else np.asarray(values)[None]
    weighted = values * w.reshape(column)
    return half * _sum(weighted), abs(half) * _sum(abs(weighted))


def _sum(terms: np.ndarray) -> np.ndarray:
    """The sum over the second axis, one after the other: the same bits whatever the other axes are."""
    return np.cumsum(terms, axis=1)[:, -1] if terms.shape[1] else np.zeros(np.delete(terms.shape, 1))


# --- other kinds ---------------------------------------------------------------------------------------


def _each(integrate: Callable[[Callable[[Number], Number]], Number], f: Callable[[Number], Any], at: Number) -> Any:
    """Integrate f, or each entry of the list that it returns."""
    probe = f(at)
    if not isinstance(probe, list):
        return integrate(f)
    return [integrate(lambda u, j=j: f(u)[j]) for j in range(len(probe))]


def _symbolic_or_mp(
    package: str, f: Callable[[Number], Number], a: Number, b: Number, kinks: Sequence[float]
) -> Number:
    if package == "mpmath":
        return import_module("mpmath").quad(f, [a, *kinks, b])
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
        weight = sum(a / (k + 1) for k, a in enumerate(monic(others))) / scale
        rule.append((node, weight))
    return tuple(rule)
