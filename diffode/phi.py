r"""φ-functions and exponential moments over every kind of number.

The probability-flow ODE of a diffusion process is linear apart from the network, and in λ = log(α/σ)
that linear part is a constant. An exponential integrator solves it exactly and approximates only the
network's output by a polynomial; what is left are integrals of an exponential times a power. All of
them are written here, once:

    φ_0(z) = e^z,    φ_k(z) = ∫_0^1 e^{(1−θ)z} θ^{k−1}/(k−1)! dθ = (φ_{k−1}(z) − 1/(k−1)!)/z,
    M_k(c, h)    = ∫_0^h e^{cu} u^k du                    (`moment`),
    W_j(c, h)    = ∫_0^h e^{cu} ℓ_j(u) du                 (`lagrange`; ℓ_j the Lagrange basis on given nodes).

The defining recurrence cancels for small z, a Taylor series for large −z. In float64 three regions meet
without loss: a Taylor series where its terms are positive or |z| ≤ 1, Kummer's transformation for
negative z (whose series is positive again), and the recurrence where it does not cancel. The result is
within 8 ulp for k ≤ 8 and 1e-300 ≤ |z| ≤ 700, with the exact limits at 0 and ±∞.

The elementary functions are re-exported, so that `from diffode import phi` is all that a step rule needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from math import factorial
from typing import Any

import numpy as np

from diffode.kinds import (
    Number,
    arsinh,
    atan,
    choose,
    constant,
    cos,
    divide,
    exp,
    expm1,
    literal,
    log,
    log1mexp,
    log1p,
    package_of,
    sin,
    softplus,
    sqrt,
    tan,
)
from diffode.quadrature import integral, monic, riemann

__all__ = [
    "Number", "arsinh", "atan", "choose", "constant", "cos", "divide", "exp", "expm1", "integral", "lagrange",
    "literal", "log", "log1mexp", "log1p", "moment", "phi", "riemann", "sin", "softplus", "sqrt", "tan",
]  # fmt: skip

_FAR = 8.0
"""−z from which the recurrence loses less than a bit a step (for k ≤ 8; beyond, k itself)."""


def phi(k: int, z: Number) -> Number:
    r"""The function φ_k that an exponential integrator of order k needs.

        φ_k(z) = ∫_0^1 e^{(1−θ)z} θ^{k−1}/(k−1)! dθ,    φ_0(z) = e^z,    φ_k(0) = 1/k!

    Parameters
    ----------
    k : int
        Index, at least 0.
    z : number of any kind
        Real; ±∞ gives the limit. SymPy gives an unevaluated `Phi` that prints as \varphi_k.

    Returns
    -------
    number of the same kind

    Raises
    ------
    ValueError
        If k is negative.

    References
    ----------
    Hochbruck and Ostermann, Exponential integrators, Acta Numerica 19 (2010), eq. (2.10).

    Examples
    --------
    >>> phi(1, -0.5), phi(3, 0.0)
    (0.786938680574733..., 0.16666666666666666)
    """
    if k < 0:
        raise ValueError(f"phi: k must be at least 0, not {k}")
    if k == 0:
        return exp(z)
    package = package_of(z)
    if package == "float":
        return _phi_float(k, float(z))
    if package == "array":
        return _phi_array(k, np.asarray(z, dtype=np.float64))
    if package == "sympy":
        return import_module("diffode.symbolic").Phi(k, z)
    if package == "mpmath":
        return _phi_mpmath(k, z)
    return z.phi(k)


def moment(k: int, c: Number, h: Number) -> Number:
    r"""The exponential moment of a power.

        M_k(c, h) = ∫_0^h e^{cu} u^k du = k! h^{k+1} e^{ch} φ_{k+1}(−ch)

    Parameters
    ----------
    k : int
        Power, at least 0.
    c, h : numbers of any kind
        Rate and length; h may be negative.

    Returns
    -------
    number of the kind of c·h

    Examples
    --------
    >>> moment(0, 0.0, 0.5), moment(1, -1.0, 1.0)
    (0.5, 0.264241117657115...)
    """
    return _moments(k, c, h)[k]


def lagrange(nodes: Sequence[Number], c: Number, h: Number) -> list[Number]:
    r"""Weights of the interpolating exponential quadrature on arbitrary nodes.

        W_j(c, h) = ∫_0^h e^{cu} ℓ_j(u) du,    ℓ_j(u) = ∏_{m≠j} (u − u_m)/(u_j − u_m)

    Exact for e^{cu} times any polynomial of degree < len(nodes). These weights, on past levels
    u_j = λ_{i−j} − λ_i ≤ 0, are exponential Adams–Bashforth; with u = h among the nodes, Adams–Moulton.

    Parameters
    ----------
    nodes : sequence of numbers
        Distinct, in the variable u (0 is the start of the step); past ones are negative.
    c, h : numbers of any kind
        Rate of the exponential and length of the step.

    Returns
    -------
    list of numbers, one weight per node

    Examples
    --------
    >>> lagrange([0.0, -1.0], 0.0, 1.0)      # Adams–Bashforth 2
    [1.5, -0.5]
    """
    moments = _moments(len(nodes) - 1, c, h)
    weights = []
    for j, node in enumerate(nodes):
        others = [other for m, other in enumerate(nodes) if m != j]
        scale: Number = 1
        for other in others:
            scale = scale * (node - other)
        terms = (a * moments[k] for k, a in enumerate(monic(others)))
        weights.append(sum(terms) / scale)
    return weights


# --- float64 -------------------------------------------------------------------------------------------


_REGIONS: tuple[tuple[str, Callable[[int, Any], Any]], ...] = (
    ("taylor", lambda k, z: abs(z) <= 1.0),
    ("huge", lambda k, z: z > 700.0),
    ("growing", lambda k, z: (z > 0.0) & (z < max(_FAR, 1.5 * k))),
    ("kummer", lambda k, z: (z < 0.0) & (z > -max(_FAR, k))),
    ("recurrence", lambda k, z: z == z),
)


def _phi_float(k: int, z: float) -> float:
    for region, holds in _REGIONS:
        if holds(k, z):
            return float(_phi_in(region, k, z))
    return z  # not a number


def _phi_array(k: int, z: np.ndarray) -> np.ndarray:
    """The scalar algorithm, each region at once: the same operations, so the same bits."""
    out = np.full(z.shape, np.nan)
    for region, holds in _REGIONS:
        here = holds(k, z) & np.isnan(out)
        if here.any():
            out[here] = _phi_in(region, k, z[here])
    return out


def _phi_in(region: str, k: int, z: Number) -> Number:
    if region == "taylor":
        return _horner(_taylor(k, 18), z)
    if region == "growing":
        return _horner(_taylor(k, 40 + 2 * k), z)
    if region == "kummer":
        return exp(z) / factorial(k - 1) * _horner(_kummer(k), -z)
    if region == "huge":  # e^z overflows before φ_k does, so it is taken in two halves
        near = np.minimum(z, 1400.0)
        half = result = exp(0.5 * near)
        for _ in range(k):
            result = result / near
        with np.errstate(over="ignore"):
            return np.where(z > 1400.0, np.inf, result * half)
    value = exp(z)
    for j in range(k):
        value = (value - 1 / factorial(j)) / z
    return value


@cache
def _taylor(k: int, terms: int) -> tuple[float, ...]:
    """Coefficients 1/(j+k)! of φ_k(z) = Σ z^j/(j+k)!, the highest first."""
    return tuple(1 / factorial(j + k) for j in reversed(range(terms)))


@cache
def _kummer(k: int) -> tuple[float, ...]:
    """Coefficients of φ_k(−x) = e^{−x}/(k−1)! Σ x^j/(j! (j+k)), all positive, the highest first."""
    return tuple(1 / (factorial(j) * (j + k)) for j in reversed(range(44 + 2 * k)))


def _horner(coefficients: Sequence[float], z: Number) -> Number:
    value: Number = coefficients[0] + 0 * z
    for a in coefficients[1:]:
        value = value * z + a
    return value


def _moments(highest: int, c: Number, h: Number) -> list[Number]:
    """M_0 … M_highest at once."""
    z = c * h
    package = package_of(z)
    if package not in ("float", "array"):
        growth = exp(z)
        return [factorial(k) * h ** (k + 1) * growth * phi(k + 1, -z) for k in range(highest + 1)]
    unit = _unit_moments(highest + 1, z)
    slip = _product_error(c, h, z)  # e^{cu} feels the rounding of c·h once c·h is large
    power, out = h, []
    for k in range(highest + 1):
        out.append(power * (unit[k] + slip * unit[k + 1]))
        power = power * h
    return out


def _unit_moments(highest: int, z: Number) -> list[Number]:
    """∫_0^1 e^{zθ} θ^k dθ = k! e^z φ_{k+1}(−z) for k = 0, …, highest, without forming an e^{−z} that overflows."""
    near = z if isinstance(z, float) and z >= -700.0 else np.maximum(z, -700.0)
    growth = exp(near)
    values = [factorial(k) * (growth * phi(k + 1, -near)) for k in range(highest + 1)]
    if near is z or np.all(near == z):
        return values
    tail = 1.0
    for k, value in enumerate(values):
        tail = tail * max(k, 1) / np.maximum(-z, 1.0)
        values[k] = np.where(near == z, value, tail)[()]  # e^z is lost beside 1 for every index in use
    return values


def _product_error(a: Number, b: Number, product: Number) -> Number:
    """a·b − fl(a·b), exactly (Dekker's product; Python 3.11 has no fused multiply–add)."""
    split = 134217729.0  # 2^27 + 1
    big_a, big_b = split * a, split * b
    a1, b1 = big_a - (big_a - a), big_b - (big_b - b)
    a2, b2 = a - a1, b - b1
    return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


# --- other kinds ---------------------------------------------------------------------------------------


def _phi_mpmath(k: int, z: Any) -> Any:
    """φ_k = ₁F₁(1; k+1; z)/k!, which mpmath sums to its working precision for every z."""
    mp = import_module("mpmath")
    if not mp.isfinite(z):
        return mp.mpf(0) if z < 0 else z
    return mp.hyp1f1(1, k + 1, z) / mp.factorial(k)
