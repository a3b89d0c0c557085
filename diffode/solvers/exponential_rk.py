r"""Exponential Runge–Kutta methods of numerical analysis, on the semilinear form of the equation, and Lawson's.

With z and gain of `diffode.solvers.exponential.form`, for data and noise prediction alike, at the nodes λ_s + c_i h

    X_i = ratio_i·x_s − gain_i·z Σ_j a_ij(z) m(X_j),    x_t = ratio·x_s − gain·z Σ_i b_i(z) m(X_i)

and a tableau of φ-functions (`diffode.solvers.exponential_tableaux`) does the rest. Generalised Lawson methods
integrate the polynomial through past values exactly, and treat what is left by Lawson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction as Q
from functools import partial
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.plan import Level, Linear
from diffode.solvers.base import Solver, limit, solver
from diffode.solvers.exponential import exact_start, form, interpolate, lagrange_basis, latest
from diffode.solvers.exponential_tableaux import TABLEAUX, EvaluatedPhis, ExponentialTableau, Row, lawson
from diffode.solvers.starts import begin, finish
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
    order=lambda past, modified: max(past + modified, _RK4.order),
    stiff_order=lambda past, modified: past + 1 if modified else max(past, min(past + 1, _RK4.order)),
    prediction=lambda prediction: prediction,
    history=lambda past: past - 1,
    exponential=True,
    source="Krogstad, J. Comput. Phys. 203 (2005), section 3: ETD of order q with RK4",
    ranges={"past": (1, 6)},
)
def generalised_lawson(
    step: Step, past: int = 2, prediction: str = "x0", modified: bool = False, start: str = "ramp"
) -> Linear:
    r"""Generalised Lawson: the polynomial P through past values is integrated exactly, m − P by Lawson's RK4.

        X_i = the exponential Adams step to λ_s + c_i h − gain_i·z Σ_j a_ij e^{(c_i − c_j)z} (m_j − P(λ_j))

    Parameters
    ----------
    past : int
        Values in the polynomial, the one at `now` included.
    prediction : {"x0", "eps"}
    modified : bool
        In the last line P goes through the last stage's value as well: its quadrature is of one order more however
        long the step, and so is the method from four values on.
    start : {"ramp", "derived"}
        First steps with fewer values, of order 4 at least; or steps that keep the order where it is above 5; see
        `diffode.solvers.starts`.
    """
    d = begin(step, max(past + modified, _RK4.order), start, ("ramp", "derived"))
    values, levels = latest(step, d, past)
    phis, outputs = EvaluatedPhis(form(prediction, step.now, step.next).z), list[Linear]()
    nodes = [_level(step, c) for c in _RK4.nodes[1:]]
    for b, row in zip(nodes, _RK4.rows[1:], strict=True):
        rest = [Linear({}), *_beside(step, values, levels, outputs, nodes)]
        x = interpolate(step, prediction, values, levels, b) + _added(step, prediction, row, rest, phis, b)
        outputs.append(step.model(x, b))
    if modified:
        values, levels = [outputs[-1], *values], [step.next, *levels]
    rest = [Linear({}), *_beside(step, values, levels, outputs, nodes)]
    x = interpolate(step, prediction, values, levels)
    return x + _added(step, prediction, _RK4.weights, rest, phis, step.next)


def _beside(
    step: Step, values: Sequence[Linear], levels: Sequence[Level], outputs: Sequence[Linear], nodes: Sequence[Level]
) -> list[Linear]:
    """m − P of outputs at nodes, P through the values at the levels."""
    basis = lagrange_basis([level.lam - step.now.lam for level in levels])
    left = list[Linear]()
    for output, node in zip(outputs, nodes, strict=False):
        for weight, value in zip(basis(node.lam - step.now.lam, 1), values, strict=True):
            output = output - weight * value
        left.append(output)
    return left


@solver(
    order=lambda order: order,
    stiff_order=1,
    prediction=lambda prediction: prediction,
    history=lambda order: order - 1,
    source="Lawson, SIAM J. Numer. Anal. 4 (1967), on Adams and Bashforth's methods",
    ranges={"order": (1, 12)},
    limits=[
        limit("exponential_rk(tableau='lawson_euler')", order=1),
    ],
)
def ablawson(
    step: Step, order: int = 4, prediction: str = "x0", start: str = "ramp", lower_order_final: bool | str = False
) -> Linear:
    r"""Adams–Bashforth–Lawson: Adams–Bashforth in λ where the linear part is turned away.

        x_t = ratio·x_s − gain·z Σ_j w_j e^{(1 − θ_j)z} m_j,    θ_j = (λ_j − λ_s)/h,    w_j = ∫_0^1 ℓ_j dθ

    Parameters
    ----------
    order : int
        The number of values.
    prediction : {"x0", "eps"}
    start : {"ramp", "exact", "derived"}
        See `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        See `order_here`.
    """
    d = begin(step, order, start)
    end = finish(step, d, order, lower_order_final)
    if end is not None:
        return end
    if start == "exact" and step.starting:
        return exact_start(step, order, d, partial(_turned, step, prediction))
    return _turned(step, prediction, *latest(step, d, order, lower_order_final), step.next)


def _turned(step: Step, prediction: str, values: Sequence[Linear], levels: Sequence[Level], b: Level) -> Linear:
    """The step from `now` to b that integrates the polynomial through e^{(1 − θ)z} m."""
    parts, h = form(prediction, step.now, b), b.lam - step.now.lam
    rate, result = parts.z / h, parts.ratio * step.x
    weights = phi.lagrange([level.lam - step.now.lam for level in levels], 0, h)
    for weight, value, level in zip(weights, values, levels, strict=True):
        result = result - (parts.gain * rate * weight * phi.exp(rate * (b.lam - level.lam))) * value
    return result


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
modified_lawson_3, modified_lawson_4, modified_lawson_5 = (
    generalised_lawson.configure(
        f"modified_lawson_{past}", past=past, modified=True,
        source="Ostermann, Thalhammer and Wright, BIT 46 (2006): modified generalised Lawson",
    )
    for past in (3, 4, 5)
)  # fmt: skip
ablawson_2, ablawson_3, ablawson_4, ablawson_5 = (ablawson.configure(f"ablawson_{k}", order=k) for k in range(2, 6))
modified_lawson_4_eps = modified_lawson_4.configure("modified_lawson_4_eps", prediction="eps")
ablawson_4_eps = ablawson.configure("ablawson_4_eps", order=4, prediction="eps")
