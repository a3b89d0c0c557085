"""Elementary functions over every kind of number that a coefficient can be.

A step rule is traced with floats to run it, with mpmath numbers to audit it, with SymPy to print it
and with power series to prove its order. The functions here look only at the type of their argument:

* Python and NumPy floats and arrays go through one NumPy ufunc each, scalars included, so that an
  array with equal entries gives the scalar result bit for bit;
* mpmath and SymPy numbers go to the function of the same name in their own package;
* any other type (`diffode.series.Series`, a user's own) is asked for a method of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from math import isinf
from typing import Any

import numpy as np

Number = Any
"""A coefficient: float, ndarray, mpmath.mpf, sympy.Expr, Series, or anything with their arithmetic."""

LETTERS = {"lam": "λ", "rho": "ρ", "t": "t", "sigma": "σ"}
"""What a level calls a variable → how it is written."""

WORDS = {"lambda": "lam"}
"""What people write for a variable → what a level calls it; "lambda" is a word of Python's own."""

_PACKAGES = ("mpmath", "sympy")


def package_of(z: Number) -> str:
    """`"float"`, `"array"`, `"mpmath"`, `"sympy"`, or `""` for a type that brings its own functions."""
    return _package(type(z))


@lru_cache(maxsize=256)
def _package(kind: type) -> str:
    if issubclass(kind, (float, int, np.floating, np.integer)):
        return "float"
    if issubclass(kind, np.ndarray):
        return "array"
    root = kind.__module__.partition(".")[0]
    return root if root in _PACKAGES else ""


def _elementary(
    name: str, ufunc: np.ufunc, fallback: Callable[[Number], Number] | None = None
) -> Callable[[Number], Number]:
    def function(z: Number) -> Number:
        if isinstance(z, (float, int)):
            return float(ufunc(z))
        if isinstance(z, (np.ndarray, np.floating, np.integer)):
            return ufunc(z)
        package = package_of(z)
        if not package:
            return getattr(z, name)()
        theirs: Any = getattr(import_module(package), name, fallback)
        return theirs(z)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}(z) of a number of any kind; ±∞ and 0 give the limit, without a warning."
    return function


exp = _elementary("exp", np.exp)
expm1 = _elementary("expm1", np.expm1, lambda z: exp(z) - 1)
sqrt = _elementary("sqrt", np.sqrt)
sin = _elementary("sin", np.sin)
cos = _elementary("cos", np.cos)
tan = _elementary("tan", np.tan)
atan = _elementary("atan", np.arctan)
_log = _elementary("log", np.log)
_log1p = _elementary("log1p", np.log1p, lambda z: log(1 + z))


def log(z: Number) -> Number:
    """Natural logarithm; log 0 = −∞ exactly."""
    if isinstance(z, float) and z > 0:  # to silence NumPy takes longer than the logarithm
        return _log(z)
    with np.errstate(divide="ignore"):
        return _log(z)


def log1p(z: Number) -> Number:
    """log(1 + z), to full accuracy near 0; log1p(−1) = −∞ exactly."""
    if isinstance(z, float) and z > -1:
        return _log1p(z)
    with np.errstate(divide="ignore"):
        return _log1p(z)


def shown(c: Number) -> str:
    """A number in a message, on one line: an array by its extremes."""
    return f"[{c.min():.6g} … {c.max():.6g}]" if isinstance(c, np.ndarray) and c.size else str(c)


def constant(c: float, like: Number) -> Number:
    """c with the shape and kind of another number."""
    if isinstance(like, np.ndarray):
        return np.full(like.shape, c)
    package = package_of(like)
    if package == "mpmath":
        return like.context.convert(c)
    return import_module(package).sympify(c) if package == "sympy" else c


def literal(c: Number, like: Number) -> Number:
    """An exact fraction of a formula, as a float where it is to meet floats or arrays."""
    if isinstance(c, float) or package_of(like) not in ("float", "array"):
        return c
    return float(c) if isinstance(c, (int, Fraction)) else c


def divide(a: Number, b: Number) -> Number:
    """a/b, with the limit ±∞ (and no warning) where b is 0."""
    if isinstance(b, float) and b and isinstance(a, (float, int)):
        return a / b
    if isinstance(b, (float, int, np.ndarray, np.floating)):
        with np.errstate(divide="ignore", over="ignore"):
            quotient = np.divide(a, b)
        return quotient if isinstance(quotient, np.ndarray) else float(quotient)
    if package_of(b) == "mpmath" and b == 0:
        exact: Any = b
        return a * exact.context.inf
    return a / b


def infinite(z: Number) -> bool:
    """Whether a number, or any entry of an array, is ±∞; symbols and series never are."""
    package = package_of(z)
    if package == "float":
        return isinf(z)
    if package == "mpmath":
        return bool(z.context.isinf(z))
    return bool(np.any(np.isinf(z))) if package == "array" else False


def choose(condition: Any, yes: Callable[[], Number], no: Callable[[], Number]) -> Number:
    """np.where for arrays; for a scalar only the branch that holds is computed."""
    if isinstance(condition, np.ndarray):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.where(condition, yes(), no())
    return yes() if condition else no()


def log1mexp(x: Number) -> Number:
    """log(1 − e^{−x}) for x ≥ 0, to full relative accuracy at both ends (Mächler, 2012).

    Below log 2 the difference 1 − e^{−x} is taken by expm1, above it the logarithm by log1p.
    """
    if package_of(x) not in ("float", "array", "mpmath"):
        return log(-expm1(-x))
    return choose(x < 0.6931471805599453, lambda: log(-expm1(-x)), lambda: log1p(-exp(-x)))


def softplus(z: Number) -> Number:
    """log(1 + e^z), without overflow and to full relative accuracy for z → −∞."""
    if package_of(z) not in ("float", "array", "mpmath"):
        return log1p(exp(z))
    rest = log1p(exp(-abs(z)))
    return choose(z > 0, lambda: z + rest, lambda: rest)


def arsinh(z: Number) -> Number:
    """log(z + √(1 + z²)) for z ≥ 0, to full relative accuracy for small z."""
    return log1p(z + z * z / (1 + sqrt(1 + z * z)))
