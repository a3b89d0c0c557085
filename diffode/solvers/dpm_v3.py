r"""DPM-Solver-v3: exponential integrators whose linear part is taken from statistics of the model.

With N = σ ε − l x, f = N/α and the statistics l, s, b of `diffode.statistics` one step is, without error,

    x_t = α_t e^{−ΔL} (x_s/α_s − ∫ E (g + c) dλ),    E = e^{ΔL + ΔS},    g = e^{−ΔS} f − c,

Δ being differences from λ_s and c the integral of the bias. A polynomial in λ through values of g replaces g. With
l = 1, s = b = 0 it is the exponential integrator on D, with l = 0, s = −1, b = 0 the one on ε.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from diffode.errors import SolverError
from diffode.kinds import Number, package_of
from diffode.plan import Level, Linear
from diffode.quadrature import monic
from diffode.solvers.base import Erratum, limit, solver
from diffode.solvers.exponential import latest
from diffode.statistics import Statistics, resolved
from diffode.trace import Step


def _remainder(step: Step, x: Linear, level: Level, prediction: str, statistics: Statistics) -> Linear:
    """f = (σ ε − l x)/α, by one evaluation in the prediction that the rule asks for."""
    line, value = statistics.linear(level.lam), step.model(x, level)
    if prediction == "x0":
        return ((1 - line) / level.alpha) * x - value
    return (level.sigma / level.alpha) * value - (line / level.alpha) * x


class _Node(NamedTuple):
    """A value of f, at u = λ − λ_s, and what of it g is as seen from λ_s: g = e^{−ΔS} f − c."""

    f: Linear
    u: Number
    slope: Number
    bias: Number


def _node(step: Step, f: Linear, level: Level, statistics: Statistics) -> _Node:
    _, slope, bias = statistics.growth(step.now.lam, level.lam)
    return _Node(f, level.lam - step.now.lam, slope, bias)


def _newton(nodes: Sequence[Number], moments: Sequence[Number], pseudo: bool) -> list[Number]:
    """∫ E p dλ as weights of the values at the nodes: p in Newton's form, or its products replaced by powers of u.

    p = Σ_k g[u_0 … u_k] ∏_{m<k} (u − u_m), with u = λ − λ_s; pseudo-derivatives are k! g[u_0 … u_k].
    """
    weights: list[Number] = [0] * len(nodes)
    for k in range(len(nodes)):
        basis = monic([0] * k if pseudo else nodes[:k])
        whole: Number = 0
        for c, moment in zip(basis, moments, strict=False):
            whole = whole + c * moment
        for j in range(k + 1):
            gaps: Number = 1
            for m in range(k + 1):
                gaps = gaps * (nodes[j] - nodes[m]) if m != j else gaps
            weights[j] = weights[j] + whole / gaps
    return weights


def _advance(
    step: Step, statistics: Statistics, moments: Sequence[Number], nodes: Sequence[_Node], pseudo: bool
) -> Linear:
    """The step through values of g at nodes, that at `now` first: the formula of the module."""
    now, after = step.now, step.next
    *powers, whole = moments
    scale = after.alpha / statistics.growth(now.lam, after.lam).linear
    result, bias = (scale / now.alpha) * step.x, -scale * whole
    for part, node in zip(_newton([node.u for node in nodes], powers, pseudo), nodes, strict=True):
        weight = scale * part
        result = result + (-weight / node.slope) * node.f
        bias = bias + weight * node.bias
    return result + step.constant(bias) if statistics.biased else result


def _singular(step: Step, f: Linear, statistics: Statistics) -> Linear:
    """The exact one-step formula where the step is infinite, its D taken from a value of f that is there already."""
    now, after = step.now, step.next
    ratio = after.sigma / now.sigma
    d = ((1 - statistics.linear(now.lam)) / now.alpha) * step.x - f
    return ratio * step.x + (after.alpha - now.alpha * ratio) * d


def _corrects(step: Step, above: float | None) -> bool:
    """Whether the state at the end of this step is corrected: never the last, and only where t is large enough."""
    t = step.next.t
    return not step.last and (above is None or package_of(t) != "float" or t > above)


def _true_order(order: int, pseudo: bool, corrector: str | None, pseudo_corrector: bool) -> int | None:
    """What pseudo-derivatives leave of the order; None where that is all of it."""
    predicted = 2 if pseudo else order
    nodes = order + (corrector == "raised")
    if corrector is None or nodes == 1:
        found = min(order, predicted)
    else:
        found = min(2 if pseudo_corrector and nodes > 2 else nodes, min(order, predicted) + 1)
    return found if found < nodes else None


def _erratum(order: int, pseudo: bool, corrector: str | None, pseudo_corrector: bool) -> Erratum | None:
    if _true_order(order, pseudo, corrector, pseudo_corrector) is None:
        return None
    what = "Pseudo-derivatives are divided differences without the terms that make them derivatives at λ_s."
    return Erratum(what, "dpm_v3_3_raised" if corrector == "raised" else "dpm_v3_3")


@solver(
    order=lambda order, corrector: order + (corrector == "raised"),
    reaches=_true_order,
    erratum=_erratum,
    prediction=lambda prediction: prediction,
    history=lambda order: order - 1,
    exponential=lambda statistics: statistics in ("data", "noise"),
    source="arXiv:2310.13268, Algorithms 1 and 2; official code dpm_solver_v3.py",
    ranges={"order": (1, 3)},
    limits=[
        limit("ddim", order=1, corrector=None, statistics="data", prediction="x0"),
        limit("ddim", order=1, corrector=None, statistics="noise"),
        limit("dpmpp_3m_corrected", order=3, corrector=None, statistics="data", prediction="x0"),
        limit("deis_lambdaab_2", order=3, corrector=None, statistics="noise"),
    ],
)
def dpm_v3(
    step: Step,
    order: int = 3,
    statistics: str | Statistics = "between",
    corrector: str | None = "same",
    pseudo: bool = False,
    pseudo_corrector: bool = False,
    above: float | None = None,
    prediction: str = "eps",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""DPM-Solver-v3, multistep: a polynomial through the last values of g, integrated with the model's statistics.

        x_t = α_t e^{−ΔL} (x_s/α_s − Σ_j W_j g_j − ∫ E c dλ),    W_j = ∫ E ℓ_j dλ

    The corrector is the same formula with the value at the predicted point among the nodes. That value is not computed
    again for the corrected state: N is kept as it is (PEC).

    Parameters
    ----------
    order : {1, 2, 3}
        Of the predictor: how many values it uses.
    statistics : str or Statistics
        "data", "noise" or "between" (`diffode.statistics.NAMED`), a file, or statistics themselves. Any smooth ones
        give the same order.
    corrector : {None, "same", "raised"}
        None; one with as many nodes as the predictor, as published; or with one more, which gains an order.
    pseudo, pseudo_corrector : bool
        Divided differences for the derivatives of predictor or corrector, as published for few evaluations, which
        leaves order 2. The official code has a raised corrector where it is a pseudo-corrector.
    above : float, optional
        Correct only where t is larger: 0.5 is the half-corrector of the official code.
    prediction : {"eps", "x0"}
    lower_order_final : bool or {"last", "early", "derived"}
        Whether the last steps are of lower order, as the official code has it; see `order_here`.
    """
    if corrector not in (None, "same", "raised") or prediction not in ("eps", "x0"):
        raise SolverError(
            f"{step.tracer.rule.name}: corrector is None, 'same' or 'raised' and prediction 'eps' or 'x0', not "
            f"{corrector!r} and {prediction!r}"
        )
    now, after, known = step.now, step.next, resolved(statistics)
    if step.singular:
        return _singular(step, step.memory["f"], known) if "f" in step.memory else step.limit()
    f = step.memory.pop("f", lambda: _remainder(step, step.x, now, prediction, known))
    step.store(f)
    values, levels = latest(step, f, order, lower_order_final)
    older = zip(values[1:], levels[1:], strict=True)
    nodes = [_Node(f, 0, 1, 0), *(_node(step, value, level, known) for value, level in older)]
    count = len(nodes) + (corrector == "raised")
    moments = known.moments(now.lam, after.lam, count - 1)
    predicted = _advance(step, known, moments, nodes, pseudo)
    if corrector is None or count < 2 or not _corrects(step, above):
        return predicted
    new = _remainder(step, predicted, after, prediction, known)
    step.memory["f"] = new
    nodes.insert(1, _node(step, new, after, known))
    return _advance(step, known, moments, nodes[:count], pseudo_corrector)


_V3 = "arXiv:2310.13268"

dpm_v3_1, dpm_v3_2, dpm_v3_3 = (
    dpm_v3.configure(f"dpm_v3_{k}", order=k, source=f"{_V3}, Algorithm 2") for k in (1, 2, 3)
)
dpm_v3_3_predictor = dpm_v3.configure("dpm_v3_3_predictor", corrector=None, source=f"{_V3}, Algorithm 1")
dpm_v3_3_data = dpm_v3.configure("dpm_v3_3_data", statistics="data", source=f"{_V3}, official code, degenerated=True")
dpm_v3_3_noise = dpm_v3.configure("dpm_v3_3_noise", statistics="noise", source=f"{_V3}, Section 3.1")
dpm_v3_2_raised, dpm_v3_3_raised = (
    dpm_v3.configure(f"dpm_v3_{k}_raised", order=k, corrector="raised", source="in the place of the pseudo-corrector")
    for k in (2, 3)
)
dpm_v3_3_pseudo = dpm_v3.configure(
    "dpm_v3_3_pseudo", pseudo=True, corrector=None, source=f"{_V3}, Section 3.3; official code, p_pseudo=True"
)
dpm_v3_2_pseudo_corrector = dpm_v3.configure(
    "dpm_v3_2_pseudo_corrector",
    order=2,
    corrector="raised",
    pseudo_corrector=True,
    source=f"{_V3}, Section 3.3; official code, c_pseudo=True",
)
