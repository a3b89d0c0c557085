r"""Exponential Runge–Kutta methods of numerical analysis, on the semilinear form of the equation, and Lawson's.

With z and gain of `diffode.solvers.exponential.form`, for data and noise prediction alike, at the nodes λ_s + c_i h

    X_i = ratio_i·x_s − gain_i·z Σ_j a_ij(z) m(X_j),    x_t = ratio·x_s − gain·z Σ_i b_i(z) m(X_i)

and a tableau of φ-functions (`diffode.solvers.exponential_tableaux`) does the rest. Generalised Lawson methods
integrate the polynomial through past values exactly, and treat what is left by Lawson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction as Q
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.plan import Level, Linear
from diffode.solvers.base import Solver, limit, solver
from diffode.solvers.exponential import form, interpolate, lagrange_basis, latest
from diffode.solvers.exponential_tableaux import TABLEAUX, EvaluatedPhis, ExponentialTableau, Row, lawson
from diffode.solvers.tableaux import TABLEAUX as CLASSICAL
from diffode.trace import Step


def _found(tableau: str | ExponentialTableau) -> ExponentialTableau:
    if isinstance(tableau, ExponentialTableau):
        return tableau
    if tableau not in TABLEAUX:
        raise SolverError(f"exponential_rk: no tableau named {tableau!r}; there are {', '.join(TABLEAUX)}")
    return TABLEAUX[tableau]


def _level(step: Step, c: Q) -> Level:
    if c.denominator == 1:  # 0 or 1
        return step.next if c else step.now
    return step.level(lam=step.now.lam + phi.literal(c, step.h) * step.h)


def _moved(step: Step, prediction: str, row: Row, values: Sequence[Linear], phis: EvaluatedPhis, b: Level) -> Linear:
    """ratio·x_s − gain·z Σ_j a_ij(z) m_j at a level."""
    if not row:
        return step.x
    return form(prediction, step.now, b).ratio * step.x + _added(step, prediction, row, values, phis, b)


def _added(step: Step, prediction: str, row: Row, values: Sequence[Linear], phis: EvaluatedPhis, b: Level) -> Linear:
    """−gain·z Σ_j a_ij(z) m_j at a level."""
    scale, result = -form(prediction, step.now, b).gain * phis.z, Linear({})
    for j, entry in row.items():
        result = result + scale * entry.at(phis) * values[j - 1]
    return result


@solver(
    order=lambda tableau: _found(tableau).order,
    stiff_order=lambda tableau: _found(tableau).stiff_order,
    prediction=lambda prediction: prediction,
    exponential=lambda tableau: _found(tableau).is_exact,
    source="Hochbruck and Ostermann, Acta Numerica 19 (2010), section 2.3",
    limits=[
        limit("ddim", tableau="etd1"),
        limit("rk4_lambda", tableau="lawson_rk4", prediction="eps"),
        limit("heun_lambda", tableau="lawson_heun", prediction="eps"),
    ],
)
def exponential_rk(step: Step, tableau: Any = "krogstad", prediction: str = "x0") -> Linear:
    r"""An explicit exponential Runge–Kutta method in λ, by its tableau.

        X_i = ratio_i·x_s − gain_i·z Σ_j a_ij(z) m_j,    x_t = ratio·x_s − gain·z Σ_i b_i(z) m_i

    Parameters
    ----------
    tableau : str or ExponentialTableau
        A name in `TABLEAUX`, or a tableau of one's own.
    prediction : {"x0", "eps"}
    """
    table = _found(tableau)
    phis, values = EvaluatedPhis(form(prediction, step.now, step.next).z), list[Linear]()
    levels = list[Level]()
    for i, row in enumerate(table.rows):
        same = table.first[i]
        levels.append(_level(step, table.nodes[i]) if same == i else levels[same])
        values.append(step.model(_moved(step, prediction, row, values, phis, levels[i]), levels[i]))
    return _moved(step, prediction, table.weights, values, phis, step.next)


_RK4 = lawson(CLASSICAL["rk4"], "rk4")


@solver(
    order=lambda past: max(past, _RK4.order),
    stiff_order=lambda past: max(past, min(past + 1, _RK4.order)),
    prediction=lambda prediction: prediction,
    history=lambda past: past - 1,
    exponential=True,
    source="Krogstad, J. Comput. Phys. 203 (2005), section 3: ETD of order q with RK4",
    ranges={"past": (1, 6)},
)
def generalised_lawson(step: Step, past: int = 2, prediction: str = "x0") -> Linear:
    r"""Generalised Lawson: the polynomial P through past values is integrated exactly, m − P by Lawson's RK4.

        X_i = the exponential Adams step to λ_s + c_i h − gain_i·z Σ_j a_ij e^{(c_i − c_j)z} (m_j − P(λ_j))

    Parameters
    ----------
    past : int
        Values in the polynomial, the one at `now` included.
    prediction : {"x0", "eps"}
    """
    values, levels = latest(step, step.model(step.x, step.now), past)
    basis = lagrange_basis([level.lam - step.now.lam for level in levels])
    phis, rest = EvaluatedPhis(form(prediction, step.now, step.next).z), [Linear({})]
    for c, row in zip(_RK4.nodes[1:], _RK4.rows[1:], strict=True):
        b = _level(step, c)
        x = interpolate(step, prediction, values, levels, b) + _added(step, prediction, row, rest, phis, b)
        left = step.model(x, b)
        for weight, value in zip(basis(b.lam - step.now.lam, 1), values, strict=True):
            left = left - weight * value
        rest.append(left)
    x = interpolate(step, prediction, values, levels)
    return x + _added(step, prediction, _RK4.weights, rest, phis, step.next)


def _named(tableau: str, prediction: str = "x0") -> Solver:
    name = tableau if prediction == "x0" else f"{tableau}_{prediction}"
    return exponential_rk.configure(name, tableau=tableau, prediction=prediction, source=TABLEAUX[tableau].source)


etd2, etd3, etd4, krogstad, friedli, strehmel_weiner, celledoni, hochbruck_ostermann, luan_ostermann, lawson_rk4 = (
    _named(name)
    for name in (
        "etd2", "etd3", "etd4", "krogstad", "friedli", "strehmel_weiner", "celledoni", "hochbruck_ostermann",
        "luan_ostermann", "lawson_rk4",
    )
)  # fmt: skip
etd4_eps, krogstad_eps, hochbruck_ostermann_eps, luan_ostermann_eps = (
    _named(name, "eps") for name in ("etd4", "krogstad", "hochbruck_ostermann", "luan_ostermann")
)
generalised_lawson_3, generalised_lawson_4 = (
    generalised_lawson.configure(f"generalised_lawson_{past}", past=past) for past in (3, 4)
)
