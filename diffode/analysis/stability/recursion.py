"""The characteristic polynomial P(w, z) of a method on a linear test problem, exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from diffode.analysis.stability.polynomials import Polynomial, Scalar, characteristic, evaluate, trim
from diffode.series import rational


@dataclass(frozen=True)
class Recursion:
    """P(w, z) = Σ_j Σ_d coefficients[j][d] w^j z^d.

    Attributes
    ----------
    coefficients : tuple of tuple of Fraction
        Lowest powers first.
    name : str
        Of the method.
    ch : float
        Where in the semilinear plane; 0 is the linear test.
    exact : bool
        Whether the coefficients are the method's own; else they are known to about 50 digits.

    Examples
    --------
    >>> leapfrog = multistep([-1, 0, 1], [0, 2])
    >>> print(leapfrog, leapfrog.steps, leapfrog.degree)
    w^2 - (2 z) w - 1 2 1
    """

    coefficients: tuple[tuple[Fraction, ...], ...]
    name: str = ""
    ch: float = 0.0
    exact: bool = True

    @property
    def steps(self) -> int:
        """k, the degree in w."""
        return len(self.coefficients) - 1

    @property
    def degree(self) -> int:
        """The degree in z."""
        return max(len(c) for c in self.coefficients) - 1

    @property
    def floats(self) -> np.ndarray:
        """The coefficients, shape (steps + 1, degree + 1)."""
        out = np.zeros((self.steps + 1, self.degree + 1))
        for j, row in enumerate(self.coefficients):
            out[j, : len(row)] = [float(c) for c in row]
        return out

    def at(self, z: Scalar) -> Polynomial:
        """P(·, z) as a polynomial in w."""
        return [evaluate(row, z) for row in self.coefficients]

    def roots(self, z: complex) -> np.ndarray:
        """The w with P(w, z) = 0, largest first."""
        powers = np.power(complex(z), np.arange(self.degree + 1))
        found = np.roots((self.floats @ powers)[::-1])
        return found[np.argsort(-abs(found))]

    def __str__(self) -> str:
        terms = [(_written(row), j) for j, row in enumerate(self.coefficients) if trim(row)]
        out = ""
        for text, j in reversed(terms):
            power = "" if j == 0 else "w" if j == 1 else f"w^{j}"
            negative = text.startswith("-")
            body = _written([-c for c in self.coefficients[j]]) if negative else text
            body = f"({body})" if " " in body and (power or negative) else body
            body = power if body == "1" and power else f"{body} {power}".strip()
            out += (" - " if negative else " + " if out else "") + body
        return out.strip()


def _written(row: Sequence[Any]) -> str:
    out = ""
    for d, c in enumerate(row):
        if c == 0:
            continue
        shown = str(abs(c)) if c.denominator < 10**9 else f"{abs(float(c)):.6g}"
        power = "" if d == 0 else "z" if d == 1 else f"z^{d}"
        size = "" if shown == "1" and power else shown
        sign = (" - " if c < 0 else " + ") if out else ("-" if c < 0 else "")
        out += sign + f"{size} {power}".strip()
    return out or "0"


# --- methods that no explicit plan can be ------------------------------------------------------------------


def multistep(rho: Sequence[Any], sigma: Sequence[Any], name: str = "") -> Recursion:
    """ρ(w) − z σ(w) of a linear multistep method, implicit ones too; lowest powers first.

    >>> print(multistep([-1, 1], [Fraction(1, 2), Fraction(1, 2)]))
    (1 - 1/2 z) w - (1 + 1/2 z)
    """
    size = max(len(rho), len(sigma))
    rows = [[Fraction(0)] * 2 for _ in range(size)]
    for j, a in enumerate(rho):
        rows[j][0] = Fraction(rational(a))
    for j, b in enumerate(sigma):
        rows[j][1] = -Fraction(rational(b))
    return Recursion(tuple(tuple(row) for row in rows), name)


def runge_kutta(a: Sequence[Sequence[Any]], b: Sequence[Any], name: str = "") -> Recursion:
    """det(1 − zA) w − det(1 − zA + z 1 bᵀ) of a Runge–Kutta method, implicit ones too; A a full square.

    >>> print(runge_kutta([[Fraction(1, 2)]], [1]))
    (1 - 1/2 z) w - (1 + 1/2 z)
    """
    square = [[Fraction(rational(c)) for c in row] for row in a]
    other = [[c - Fraction(rational(w)) for c, w in zip(row, b, strict=True)] for row in square]
    below, above = (characteristic(m)[::-1] for m in (square, other))  # det(1 − zA) from det(w − A)
    return Recursion((tuple(trim([-Fraction(c) for c in above])), tuple(trim([Fraction(c) for c in below]))), name)
