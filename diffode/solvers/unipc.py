r"""UniPC: a multistep predictor, and a corrector that uses the evaluation at the predicted point.

With r_k = (λ_{i−k} − λ_i)/h, D_k = m_{i−k} − m_i and the new point as r = 1, both solve

    Σ_k r_k^{q−1} ρ_k = z φ_{q+1}(z) q!/B,    x_t = ratio·x_s − gain (z φ_1(z) m_0 + B Σ_k ρ_k D_k/r_k).

B(h) cancels wherever this system is solved, and the result is the polynomial through the nodes, integrated exactly
(`interpolate`). It is left in two shortcuts of the paper only: ρ = ½ in the predictor of order 2 and in the corrector
of order 1. Those are what "bh1" (B = z) and "bh2" (B = e^z − 1) name. The official code's third variant, "vary_coeff",
takes no shortcut, but slips in its corrector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import factorial

from diffode import phi
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import Erratum, limit, solver
from diffode.solvers.exponential import exact_start, form, interpolate, latest, taylor
from diffode.solvers.starts import begin, ending, finish, unfinished
from diffode.trace import Step


def _shortcut(step: Step, prediction: str, variant: str, d: Linear, other: Linear, r: Number) -> Linear:
    """The order-2 formula with ρ = ½: ratio·x − gain (z φ_1(z) d + B (other − d)/(2r))."""
    parts = form(prediction, step.now, step.next)
    b = parts.z if variant == "bh1" else phi.expm1(parts.z)
    return taylor(step, prediction, [d]) - parts.gain * (b / (2 * r)) * (other - d)


def _slipped(step: Step, prediction: str, values: Sequence[Linear], levels: Sequence[Level], new: Linear) -> Linear:
    r"""The corrector of the official "vary_coeff", rows mixed up as they are there.

    With D_j = (m_j − m_0)/r_j and p(r) = m_0 + Σ_j D_j r ∏_{i≠j} (r − r_i)/(r_j − r_i) the exact corrector takes
    Σ_k z φ_{k+1}(z) p^{(k)}(0). Here the past differences lose their last row k = p, and the new one keeps a single
    term: the coefficient of row p − 1 with the weight of row p.
    """
    parts = form(prediction, step.now, step.next)
    d, order = values[0], len(values)
    r = [*((level.lam - step.now.lam) / step.h for level in levels[1:]), 1]
    weights = [parts.z * phi.phi(k + 1, parts.z) for k in range(1, order + 1)]
    result = taylor(step, prediction, [d])
    for j, value in enumerate([*values[1:], new]):
        rows = derivative_rows([*r[:j], *r[j + 1 :]], r[j])
        if j == order - 1:
            weight = weights[-1] * rows[max(order - 2, 0)]
        else:
            weight = sum(w * row for w, row in zip(weights[:-1], rows, strict=False))
        result = result - (parts.gain * weight / r[j]) * (value - d)
    return result


def derivative_rows(others: Sequence[Number], node: Number) -> list[Number]:
    """k!·[r^{k−1}] ∏ (r − r_i)/(node − r_i) for k = 1, 2, …: how a difference enters the k-th derivative."""
    coefficients: list[Number] = [1]
    for other in others:
        raised = zip([0, *coefficients], [*coefficients, 0], strict=True)
        coefficients = [(up - other * c) / (node - other) for up, c in raised]
    return [factorial(k + 1) * c for k, c in enumerate(coefficients)]


def _predict(step: Step, prediction: str, variant: str, values: Sequence[Linear], levels: Sequence[Level]) -> Linear:
    if len(values) == 2 and variant in ("bh1", "bh2"):
        r = (levels[1].lam - step.now.lam) / step.h
        return _shortcut(step, prediction, variant, values[0], values[1], r)
    return interpolate(step, prediction, values, levels)


def correct(
    step: Step, prediction: str, variant: str, values: Sequence[Linear], levels: Sequence[Level], new: Linear
) -> Linear:
    """UniC: the step from `now` through values, newest first, at their levels, and a new one at `step.next`."""
    if len(values) == 1 and variant in ("bh1", "bh2"):
        return _shortcut(step, prediction, variant, values[0], new, 1)
    if variant == "vary_coeff":
        return _slipped(step, prediction, values, levels, new)
    return interpolate(step, prediction, [new, *values], [step.next, *levels])


def _drops_terms(order: int, variant: str, corrector: bool) -> bool:
    return variant == "vary_coeff" and corrector and order > 1


def _erratum(order: int, variant: str, corrector: bool, prediction: str) -> Erratum | None:
    if not _drops_terms(order, variant, corrector):
        return None
    general = f"unipc(order={order}, prediction={prediction!r}, variant='exact')"
    right = f"unipc_{order}_vary" if prediction == "x0" and order < 4 else general
    return Erratum("The corrector takes the new value from one row of its system alone, and not from all.", right)


@solver(
    order=lambda order, corrector: order + bool(corrector),
    reaches=lambda order, variant, corrector: 1 if _drops_terms(order, variant, corrector) else None,
    erratum=_erratum,
    prediction=lambda prediction: prediction,
    history=lambda order: order - 1,
    exponential=True,
    source="arXiv:2302.04867, Algorithms 1 and 2",
    ranges={"order": (1, 12)},
    limits=[
        limit("ddim", order=1, corrector=False),
        limit("dpmpp_2m", order=2, corrector=False),
        limit("dpmpp_3m_corrected", order=3, corrector=False, variant="exact"),
        limit("deis_lambdaab_1", order=2, corrector=False, prediction="eps", variant="exact"),
    ],
)
def unipc(
    step: Step,
    order: int = 2,
    prediction: str = "x0",
    variant: str = "bh2",
    corrector: bool = True,
    start: str = "ramp",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""UniPC-p: predictor UniP-p and corrector UniC-p at one evaluation a step; of order p + 1.

    The network is evaluated at the predicted point, the state is corrected with it, and the value is kept for the next
    step (PEC mode). The last step is not corrected, since nothing would use its evaluation.

    Parameters
    ----------
    order : int
        p, the order of the predictor.
    prediction : {"x0", "eps"}
    variant : {"bh1", "bh2", "exact", "vary_coeff"}
        The two shortcuts of the paper, or none; "vary_coeff" is the official code's version without, slip included,
        which brings the corrected orders 2, 3, … down to 1.
    corrector : bool
        False leaves the predictor UniP-p alone, of order p.
    start : {"ramp", "exact", "derived"}
        See `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        Whether the last steps are of lower order, as the official code has it; see `order_here`.
    """
    whole, ends = order + bool(corrector), ending(step, order, lower_order_final)
    if step.singular and not ends and ("d" not in step.memory or prediction != "x0"):
        return step.limit()
    d = step.memory.pop("d", lambda: begin(step, whole, start))
    if step.singular and not ends:
        return step.next.alpha * d
    step.store(d)
    end = finish(step, d, order, lower_order_final, whole)
    if end is not None:
        return end
    if start == "exact" and step.starting:
        predicted = exact_start(step, whole, d, partial(interpolate, step, prediction))
        if corrector and not step.last:
            step.memory["d"] = step.model(predicted, step.next)
        return predicted
    values, levels = latest(step, d, order, lower_order_final, whole)
    predicted = _predict(step, prediction, variant, values, levels)
    if not corrector or step.last or unfinished(step):
        return predicted
    new = step.model(predicted, step.next)
    step.memory["d"] = new
    return correct(step, prediction, variant, values, levels, new)


_UNIPC = "arXiv:2302.04867"

unipc_1, unipc_2, unipc_3, unipc_4 = (
    unipc.configure(f"unipc_{p}", order=p, source=f"{_UNIPC}, Algorithm 1") for p in range(1, 5)
)
unip_1, unip_2, unip_3, unip_4 = (
    unipc.configure(f"unip_{p}", order=p, corrector=False, source=f"{_UNIPC}, Algorithm 2") for p in range(1, 5)
)
unipc_2_vary_coeff, unipc_3_vary_coeff = (
    unipc.configure(f"unipc_{p}_vary_coeff", order=p, variant="vary_coeff", source="official code, uni_pc.py")
    for p in (2, 3)
)
unipc_2_vary, unipc_3_vary = (
    unipc.configure(f"unipc_{p}_vary", order=p, variant="exact", source=f"{_UNIPC}, UniPC_v, every term in place")
    for p in (2, 3)
)
