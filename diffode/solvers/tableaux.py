r"""Butcher tableaux of explicit Runge–Kutta methods, as data.

Entries are exact fractions, so that the order conditions of each are checked without rounding
(`diffode.analysis.order.classical.classical_conditions`). Of pairs the higher order is taken; the weights of the lower
one stand beside it for controllers, without the stages that serve it alone, except for the new state. The tableau that
has a square root in it is a function of that root, and holds for any number whose square is 21.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import isqrt
from typing import Any

from diffode.errors import SolverError
from diffode.kinds import Number

BITS = 256
"""Of irrational entries, which are dyadic fractions: enough for every kind of number that a plan is traced with."""


def near(x: Fraction) -> Fraction:
    """The simple fraction that x is up to the rounding of irrational entries, or x with `BITS` bits.

    >>> near(Fraction(1, 3) + Fraction(1, 2**250))
    Fraction(1, 3)
    """
    simple = x.limit_denominator(10**9)
    if abs(simple - x) < Fraction(1, 2 ** (BITS - 24)):
        return simple
    return Fraction(round(x * 2**BITS), 2**BITS)


def root(x: int | Fraction) -> Fraction:
    """The square root of a positive rational, to `BITS` bits.

    >>> float(root(2)) == 2**0.5
    True
    """
    scaled = Fraction(x) * 4**BITS
    return Fraction(isqrt(scaled.numerator // scaled.denominator), 2**BITS)


@dataclass(frozen=True)
class Tableau:
    """An explicit Butcher tableau, checked when made: stages × stages below the diagonal, Σb = 1, Σ_j a_ij = c_i.

    Parameters
    ----------
    a : tuple of tuples
        Row i has i entries.
    b : tuple
        Weights.
    order : int
        Classical order.
    name, source : str
    lower : tuple
        Weights of the embedded result of one order less, where there is one; a weight more than stages is for the
        evaluation at the new state, which is the first of the next step.

    Raises
    ------
    SolverError
        If the shapes do not fit or the weights do not sum to 1.

    Examples
    --------
    >>> HEUN2.c
    (Fraction(0, 1), Fraction(1, 1))
    """

    a: tuple[tuple[Number, ...], ...]
    b: tuple[Number, ...]
    order: int
    name: str = "tableau"
    source: str = ""
    lower: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or any(len(row) != i for i, row in enumerate(self.a)):
            raise SolverError(
                f"{self.name}: an explicit tableau of {len(self.b)} stages needs rows of 0, 1, …, "
                f"{len(self.b) - 1} entries, not {[len(row) for row in self.a]}"
            )
        for letter, weights in (("b", self.b), ("lower", self.lower)):
            if weights and abs(float(sum(weights)) - 1) > 1e-12:
                raise SolverError(f"{self.name}: the weights {letter} sum to {float(sum(weights))}, not to 1")
        if self.lower and len(self.lower) not in (len(self.b), len(self.b) + 1):
            raise SolverError(
                f"{self.name}: {len(self.b)} stages have {len(self.b)} weights of lower order, or one more for the new "
                f"state, not {len(self.lower)}"
            )

    @cached_property
    def c(self) -> tuple[Number, ...]:
        """Nodes, the row sums of a."""
        sums: list[Any] = [sum(row, Fraction(0)) for row in self.a]
        return tuple(near(c) if isinstance(c, Fraction) else c for c in sums)


def _table(name: str, order: int, source: str, rows: str, weights: str, lower: str = "") -> Tableau:
    """A tableau from text: rows separated by `;`, the first one, which is empty, left out."""
    entries = [tuple(map(Fraction, row.split())) for row in rows.split(";")] if rows else []
    b, embedded = (tuple(map(Fraction, text.split())) for text in (weights, lower))
    return Tableau(((), *entries), b, order, name, source, embedded)


_HNW = "Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I"

EULER = _table("euler", 1, f"{_HNW}, section I.7", "", "1")
MIDPOINT = _table("midpoint", 2, f"{_HNW}, section II.1", "1/2", "0 1", "1 0")
HEUN2 = _table("heun", 2, f"{_HNW}, section II.1", "1", "1/2 1/2", "1 0")
RALSTON2 = _table("ralston", 2, "Ralston (1962)", "2/3", "1/4 3/4", "1 0")
KUTTA3 = _table("kutta3", 3, "Kutta (1901)", "1/2; -1 2", "1/6 2/3 1/6")
HEUN3 = _table("heun3", 3, "Heun (1900)", "1/3; 0 2/3", "1/4 0 3/4")
RALSTON3 = _table(
    "ralston3", 3, "Ralston (1962); Bogacki and Shampine (1989)", "1/2; 0 3/4", "2/9 1/3 4/9", "7/24 1/4 1/3 1/8"
)
VAN_DER_HOUWEN3 = _table("houwen3", 3, "van der Houwen (1972)", "8/15; 1/4 5/12", "1/4 0 3/4")
SSPRK3 = _table("ssprk3", 3, "Shu and Osher (1988)", "1; 1/4 1/4", "1/6 1/6 2/3")
RK4 = _table("rk4", 4, "Kutta (1901)", "1/2; 0 1/2; 0 0 1", "1/6 1/3 1/3 1/6")
THREE_EIGHTHS = _table("three_eighths", 4, "Kutta (1901), the 3/8 rule", "1/3; -1/3 1; 1 -1 1", "1/8 3/8 3/8 1/8")
FEHLBERG5 = _table(
    "fehlberg5", 5, "Fehlberg (1969), RKF4(5), the higher order",
    "1/4; 3/32 9/32; 1932/2197 -7200/2197 7296/2197; 439/216 -8 3680/513 -845/4104;"
    "-8/27 2 -3544/2565 1859/4104 -11/40",
    "16/135 0 6656/12825 28561/56430 -9/50 2/55", "25/216 0 1408/2565 2197/4104 -1/5 0",
)  # fmt: skip
CASH_KARP5 = _table(
    "cash_karp5", 5, "Cash and Karp (1990)",
    "1/5; 3/40 9/40; 3/10 -9/10 6/5; -11/54 5/2 -70/27 35/27; 1631/55296 175/512 575/13824 44275/110592 253/4096",
    "37/378 0 250/621 125/594 0 512/1771", "2825/27648 0 18575/48384 13525/55296 277/14336 1/4",
)  # fmt: skip
DORMAND_PRINCE5 = _table(
    "dormand_prince5", 5, "Dormand and Prince (1980), RK5(4)7M",
    "1/5; 3/40 9/40; 44/45 -56/15 32/9; 19372/6561 -25360/2187 64448/6561 -212/729;"
    "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
    "35/384 0 500/1113 125/192 -2187/6784 11/84",
    "5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40",
)  # fmt: skip
BUTCHER6 = _table(
    "butcher6", 6, "Butcher (1964), seven stages",
    "1/3; 0 2/3; 1/12 1/3 -1/12; -1/16 9/8 -3/16 -3/8; 0 9/8 -3/8 -3/4 1/2; 9/44 -9/11 63/44 18/11 0 -16/11",
    "11/120 0 27/40 27/40 -4/15 -4/15 11/120",
)  # fmt: skip
VERNER6 = _table(
    "verner6", 6, "Verner (1978); DVERK of Hull, Enright and Jackson (1976)",
    "1/6; 4/75 16/75; 5/6 -8/3 5/2; -165/64 55/6 -425/64 85/96;"
    "-8263/15000 124/75 -643/680 -81/250 2484/10625;"
    "3501/1720 -300/43 297275/52632 -319/2322 24068/84065 3850/26703",
    "3/40 0 875/2244 23/72 264/1955 125/11592 43/616",
)  # fmt: skip
FEHLBERG8 = _table(
    "fehlberg8", 8, "Fehlberg (1968), RKF7(8), the higher order",
    "2/27; 1/36 1/12; 1/24 0 1/8; 5/12 0 -25/16 25/16; 1/20 0 0 1/4 1/5; -25/108 0 0 125/108 -65/27 125/54;"
    "31/300 0 0 0 61/225 -2/9 13/900; 2 0 0 -53/6 704/45 -107/9 67/90 3;"
    "-91/108 0 0 23/108 -976/135 311/54 -19/60 17/6 -1/12;"
    "3/205 0 0 0 0 -6/41 -3/205 -3/41 3/41 6/41;"
    "-1777/4100 0 0 -341/164 4496/1025 -289/82 2193/4100 51/82 33/164 12/41 1",
    "0 0 0 0 0 34/105 9/35 9/35 9/280 9/280 41/840 41/840",
)  # fmt: skip


def cooper_verner8(s: Any) -> tuple[list[list[Any]], list[Any]]:
    """The rows of the eleven-stage method of order 8, for a number s with s² = 21.

    Parameters
    ----------
    s : number
        A square root of 21: a fraction near it, a symbol, a residue.

    Returns
    -------
    a, b : lists
        Rows below the diagonal, and weights.

    References
    ----------
    Cooper and Verner, SIAM J. Numer. Anal. 9 (1972), 389–405.
    """

    def entry(n: int, m: int, over: int) -> Any:
        return (m * s + n) * Fraction(1, over)

    def row(*entries: tuple[int, int, int]) -> list[Any]:
        return [entry(*e) for e in entries]

    none = (0, 0, 1)
    rows = [
        [],
        row((1, 0, 2)),
        row((1, 0, 4), (1, 0, 4)),
        row((1, 0, 7), (-7, -3, 98), (21, 5, 49)),
        row((11, 1, 84), none, (18, 4, 63), (21, -1, 252)),
        row((5, 1, 48), none, (9, 1, 36), (-231, 14, 360), (63, -7, 80)),
        row((10, -1, 42), none, (-432, 92, 315), (633, -145, 90), (-504, 115, 70), (63, -13, 35)),
        row((1, 0, 14), none, none, none, (14, -3, 126), (13, -3, 63), (1, 0, 9)),
        row((1, 0, 32), none, none, none, (91, -21, 576), (11, 0, 72), (-385, -75, 1152), (63, 13, 128)),
        row((1, 0, 14), none, none, none, (1, 0, 9), (-733, -147, 2205), (515, 111, 504), (-51, -11, 56),
            (132, 28, 245)),
        row(
            none, none, none, none, (-42, 7, 18), (-18, 28, 45), (-273, -53, 72), (301, 53, 72), (28, -28, 45),
            (49, -7, 18),
        ),
    ]  # fmt: skip
    return rows, row((1, 0, 20), *[none] * 6, (49, 0, 180), (16, 0, 45), (49, 0, 180), (1, 0, 20))


def _cooper_verner8() -> Tableau:
    a, b = cooper_verner8(root(21))
    return Tableau(tuple(tuple(map(near, row)) for row in a), tuple(b), 8, "cooper_verner8", "Cooper and Verner (1972)")


COOPER_VERNER8 = _cooper_verner8()

TABLEAUX = {
    table.name: table
    for table in (
        EULER, MIDPOINT, HEUN2, RALSTON2, KUTTA3, HEUN3, RALSTON3, VAN_DER_HOUWEN3, SSPRK3, RK4, THREE_EIGHTHS,
        FEHLBERG5, CASH_KARP5, DORMAND_PRINCE5, BUTCHER6, VERNER6, FEHLBERG8, COOPER_VERNER8,
    )
}  # fmt: skip
"""Explicit tableaux by name."""
