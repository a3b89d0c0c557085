r"""Tableaux of exponential Runge–Kutta methods, as data: coefficients are combinations of φ-functions, exact.

What is written down is c_i, and a_ij(z) and b_i(z) for j, i ≥ 2. The first column follows, since these methods
integrate a constant network exactly:

    a_i1 = c_i φ_1(c_i z) − Σ_{j≥2} a_ij,    b_1 = φ_1(z) − Σ_{i≥2} b_i.

Lawson's methods are Butcher tableaux in the rotating frame: a_ij e^{(c_i − c_j)z} and b_i e^{(1 − c_i)z}. Those do not
integrate a constant exactly, which costs them their order where h is not small.

Stiff orders are in the sense of Hochbruck and Ostermann (2005), the conditions of the last order weakened to b_i(0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction as Q
from functools import cached_property
from typing import Any

from diffode import phi
from diffode.kinds import Number
from diffode.solvers.tableaux import TABLEAUX as CLASSICAL
from diffode.solvers.tableaux import Tableau


@dataclass(frozen=True)
class Phis:
    """Σ q φ_k(c z): a combination of φ-functions with exact coefficients, which is added, subtracted and scaled.

    Attributes
    ----------
    terms : mapping
        (k, c) → q.

    Examples
    --------
    >>> print(2 * p(2) - 4 * p(3, "1/2"))
    2 φ_2(z) − 4 φ_3(z/2)
    >>> (p(1) - p(1)).terms
    {}
    """

    terms: Mapping[tuple[int, Q], Q] = field(default_factory=dict[tuple[int, Q], Q])

    @cached_property
    def listed(self) -> tuple[tuple[int, int, int, Q, float], ...]:
        """k, c as numerator and denominator, q, and q as a float; in order."""
        ordered = sorted(self.terms.items(), key=lambda term: (-term[0][1], term[0][0]))
        return tuple((k, c.numerator, c.denominator, q, float(q)) for (k, c), q in ordered)

    def __add__(self, other: Phis) -> Phis:
        found = dict(self.terms)
        for key, q in other.terms.items():
            found[key] = found.get(key, Q(0)) + q
        return Phis({key: q for key, q in found.items() if q})

    def __sub__(self, other: Phis) -> Phis:
        return self + -1 * other

    def __rmul__(self, q: int | Q) -> Phis:
        return Phis({key: Q(q) * value for key, value in self.terms.items() if q})

    def __truediv__(self, q: int) -> Phis:
        return Q(1, q) * self

    def __str__(self) -> str:
        text = ""
        for k, n, d, q, _ in self.listed:
            sign = "−" if q < 0 else "+" if text else ""
            size = "" if abs(q) == 1 else f"{abs(q)} "
            text += f" {sign} {size}φ_{k}({'' if n == 1 else n}z{'' if d == 1 else f'/{d}'})"
        return text.strip().replace("−  ", "− ") or "0"

    def at(self, phis: EvaluatedPhis) -> Number:
        """Its value."""
        total: Any = 0
        for k, n, d, q, rounded in self.listed:
            total = total + (rounded if phis.floats else q) * phis[k, n, d]
        return total


class EvaluatedPhis(dict[tuple[int, int, int], Number]):
    """φ_k(z n/d) by k, n, d, each computed when it is first asked for."""

    def __init__(self, z: Number) -> None:
        super().__init__()
        self.z = z
        self.floats = isinstance(phi.literal(Q(1), z), float)

    def __missing__(self, key: tuple[int, int, int]) -> Number:
        k, n, d = key
        self[key] = phi.phi(k, self.z if n == d else phi.literal(Q(n, d), self.z) * self.z)
        return self[key]


def p(k: int, c: int | str | Q = 1) -> Phis:
    """φ_k(c z)."""
    return Phis({(k, Q(c)): Q(1)})


def psi(k: int, c: int | str | Q) -> Phis:
    """∫_0^c e^{(c − θ)z} θ^{k−1}/(k−1)! dθ = c^k φ_k(c z)."""
    return Q(c) ** k * p(k, c)


Row = Mapping[int, Phis]
"""Stage j → a_ij, or i → b_i; stages are counted from 1."""


@dataclass(frozen=True)
class ExponentialTableau:
    """An exponential Runge–Kutta method, its first column included.

    Attributes
    ----------
    name : str
    nodes : tuple
        c_1 = 0, c_2, …
    rows : tuple of mappings
        a_ij by stage, from stage 1.
    weights : mapping
        b_i.
    order, stiff_order : int
    source : str
    """

    name: str
    nodes: tuple[Q, ...]
    rows: tuple[Row, ...]
    weights: Row
    order: int
    stiff_order: int
    source: str

    @cached_property
    def first(self) -> tuple[int, ...]:
        """For each stage the first one at its node."""
        return tuple(self.nodes.index(c) for c in self.nodes)

    @property
    def is_exact(self) -> bool:
        """Whether stages and step integrate a constant network exactly."""
        return all(
            not _completed(dict(enumerate(row.values(), 2)), c).get(1, Phis()).terms
            for c, row in [*zip(self.nodes, self.rows, strict=True), (Q(1), self.weights)]
        )

    def __str__(self) -> str:
        lines = [f"c_{i} = {c}: {_shown(row)}" for i, (c, row) in enumerate(zip(self.nodes, self.rows, strict=True), 1)]
        return "\n".join([*lines, f"b: {_shown(self.weights)}"])


def _shown(row: Row) -> str:
    return "; ".join(f"[{j}] {entry}" for j, entry in row.items() if entry.terms) or "–"


def _made(
    name: str, nodes: str, rows: Sequence[Row], weights: Row, order: int, stiff_order: int, source: str
) -> ExponentialTableau:
    """A tableau from all but its first column; rows from stage 2."""
    c = tuple(map(Q, nodes.split()))
    whole = [{}, *(_completed(row, node) for row, node in zip(rows, c[1:], strict=True))]
    return ExponentialTableau(name, c, tuple(whole), _completed(weights, Q(1)), order, stiff_order, source)


def _completed(row: Row, c: Q) -> Row:
    first = psi(1, c)
    for entry in row.values():
        first = first - entry
    return {1: first, **row} if first.terms else row


def lawson(table: Tableau, name: str) -> ExponentialTableau:
    """Lawson's method of a Butcher tableau (SIAM J. Numer. Anal. 4, 1967)."""
    c = [*map(Q, table.c)]
    rows = [{j: Q(a) * p(0, c[i] - c[j - 1]) for j, a in enumerate(row, 1) if a} for i, row in enumerate(table.a)]
    weights = {i: Q(b) * p(0, 1 - c[i - 1]) for i, b in enumerate(table.b, 1) if b}
    source = f"Lawson, SIAM J. Numer. Anal. 4 (1967), on {table.source}"
    return ExponentialTableau(name, tuple(c), tuple(rows), weights, table.order, 1, source)


# --- the tableaux -----------------------------------------------------------------------------------------------

_CM = "Cox and Matthews, J. Comput. Phys. 176 (2002)"
_HO = "Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005)"
_SIMPSON = "0 1/2 1/2 1"

_middle, _last = 4 * p(2) - 8 * p(3), 4 * p(3) - p(2)
"""The weights at 1/2 and 1 of the quadratic through 0, 1/2 and 1."""
_shared = {2: _middle / 2, 3: _middle / 2, 4: _last}

_halves = p(2, "1/2") / 2 - p(3) + p(2) / 4 - p(3, "1/2") / 2

ETD1 = _made("etd1", "0", [], {}, 1, 1, f"{_CM}, eq. (4)")
ETD2 = _made("etd2", "0 1", [{}], {2: p(2)}, 2, 2, f"{_CM}, eq. (22)")
ETD3 = _made("etd3", "0 1/2 1", [{}, {2: 2 * p(1)}], {2: _middle, 3: _last}, 3, 2, f"{_CM}, eq. (23–25)")
ETD4 = _made(
    "etd4", _SIMPSON, [{}, {2: psi(1, "1/2")}, {3: p(1, "1/2")}], _shared, 4, 2, f"{_CM}, eq. (26–29)"
)  # fmt: skip
KROGSTAD = _made(
    "krogstad", _SIMPSON, [{}, {2: p(2, "1/2")}, {3: 2 * p(2)}], _shared, 4, 3,
    "Krogstad, J. Comput. Phys. 203 (2005), eq. (51), ETDRK4-B",
)  # fmt: skip
FRIEDLI = _made(
    "friedli", _SIMPSON,
    [{}, {2: p(2, "1/2") / 2}, {2: (2 * p(2) - 26 * p(1)) / 25, 3: (26 * p(1) + 48 * p(2)) / 25}],
    {3: _middle, 4: _last}, 4, 3, "Friedli, Lecture Notes in Mathematics 631 (1978), section 5",
)  # fmt: skip
STREHMEL_WEINER = _made(
    "strehmel_weiner", _SIMPSON, [{}, {2: p(2, "1/2") / 2}, {2: -2 * p(2), 3: 4 * p(2)}],
    {3: _middle, 4: _last}, 4, 3, "Strehmel and Weiner, Linear-implizite Runge-Kutta-Methoden (1992), example 4.5.5",
)  # fmt: skip
CELLEDONI = _made(
    "celledoni", _SIMPSON, [{}, {2: psi(1, "1/2")}, {3: p(1, "1/2")}],
    {2: p(1) / 3, 3: p(1) / 3, 4: p(1, "1/2") / 3 - p(1) / 6}, 4, 2,
    "Celledoni, Marthinsen and Owren, Future Gener. Comput. Syst. 19 (2003), eq. (7), on an affine equation",
)  # fmt: skip
HOCHBRUCK_OSTERMANN = _made(
    "hochbruck_ostermann", f"{_SIMPSON} 1/2",
    [{}, {2: p(2, "1/2")}, {2: p(2), 3: p(2)}, {2: _halves, 3: _halves, 4: p(2, "1/2") / 4 - _halves}],
    {4: _last, 5: _middle}, 4, 4, f"{_HO}, eq. (5.19)",
)  # fmt: skip


def _luan_ostermann() -> ExponentialTableau:
    a64, a65 = 8 * psi(2, "1/5") - 32 * psi(3, "1/5"), 16 * psi(3, "1/5") - 2 * psi(2, "1/5")
    rest = (
        Q(5, 32) * a64 - Q(25, 28) * psi(2, "1/5") + Q(81, 175) * psi(2, "2/3") - Q(162, 25) * psi(3, "2/3")
        + Q(150, 7) * psi(4, "1/5") + Q(972, 35) * psi(4, "2/3") + 6 * p(4)
    )  # fmt: skip
    rows = [
        {},
        {2: 2 * psi(2, "1/2")},
        {3: 2 * psi(2, "1/4")},
        {3: 16 * psi(3, "1/2") - 2 * psi(2, "1/2"), 4: 8 * psi(2, "1/2") - 32 * psi(3, "1/2")},
        {4: a64, 5: a65},
        {
            4: -Q(125, 162) * a64,
            5: Q(125, 1944) * a64 - Q(4, 3) * psi(2, "2/3") + Q(40, 3) * psi(3, "2/3"),
            6: Q(3125, 3888) * a64 + Q(25, 3) * psi(2, "2/3") - Q(100, 3) * psi(3, "2/3"),
        },
        {
            5: Q(208, 3) * p(3) - Q(16, 3) * p(2) - 40 * rest,
            6: Q(250, 21) * p(2) - Q(250, 3) * p(3) + Q(250, 7) * rest,
            7: Q(27, 14) * p(2) - 27 * p(3) + Q(135, 7) * rest,
        },
    ]
    weights = {
        6: Q(125, 14) * p(2) - Q(625, 14) * p(3) + Q(1125, 14) * p(4),
        7: Q(162, 7) * p(3) - Q(27, 14) * p(2) - Q(405, 7) * p(4),
        8: Q(1, 2) * p(2) - Q(13, 2) * p(3) + Q(45, 2) * p(4),
    }
    source = "Luan and Ostermann, J. Comput. Appl. Math. 256 (2014), expRK5s8"
    return _made("luan_ostermann", "0 1/2 1/2 1/4 1/2 1/5 2/3 1", rows, weights, 5, 5, source)


TABLEAUX = {
    table.name: table
    for table in (
        ETD1, ETD2, ETD3, ETD4, KROGSTAD, FRIEDLI, STREHMEL_WEINER, CELLEDONI, HOCHBRUCK_OSTERMANN, _luan_ostermann(),
        *(lawson(CLASSICAL[name], f"lawson_{name}") for name in ("euler", "midpoint", "heun", "kutta3", "rk4")),
    )
}  # fmt: skip
"""Exponential tableaux by name."""
