r"""Exponential Adams methods as predictor and corrector.

The predictor integrates the polynomial in λ through the last p − 1 values exactly (exponential Adams–Bashforth), the
corrector the one through the value at the predicted point as well (exponential Adams–Moulton), as often as asked for:

    PECE      predict, evaluate, correct; evaluate at the corrected point when the next step begins
    PECECE    evaluate and correct once more

In PEC mode the value at the predicted point is kept for the next step: that is UniPC without its shortcuts.
"""

from __future__ import annotations

from functools import partial

from diffode.plan import Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import exact_start, interpolate, latest
from diffode.solvers.multistep import exponential_adams
from diffode.solvers.starts import begin, finish, unfinished
from diffode.solvers.unipc import unipc
from diffode.trace import Step

_OTW = "Ostermann, Thalhammer and Wright, BIT 46 (2006), section 4"


@solver(
    order=lambda order: order,
    stiff_order=lambda order: order,
    prediction=lambda prediction: prediction,
    history=lambda order: order - 2,
    exponential=True,
    source=_OTW,
    ranges={"order": (2, 12), "corrections": (1, 8)},
    limits=[limit("etd2", order=2, corrections=1)],
)
def exponential_pece(
    step: Step,
    order: int = 3,
    corrections: int = 1,
    prediction: str = "x0",
    start: str = "ramp",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""Exponential Adams–Bashforth–Moulton: predictor of order p − 1, corrector of order p.

        x_t = ratio·x_s + Σ_j w_j m_j,    the m_j at λ_t (predicted), λ_s, λ_{s−1}, …

    Parameters
    ----------
    order : int
        p.
    corrections : int
        How often to evaluate at the new point and correct; a step takes one evaluation more.
    prediction : {"x0", "eps"}
    start : {"ramp", "exact", "derived"}
        First steps of lower order, one of full order, or steps that keep the order; see `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        See `order_here`.
    """
    d = begin(step, order, start)
    end = finish(step, d, order - 1, lower_order_final, order)
    if end is not None:
        return end
    if start == "exact" and step.starting:
        return exact_start(step, order, d, partial(interpolate, step, prediction))
    values, levels = latest(step, d, order - 1, lower_order_final, order)
    x = interpolate(step, prediction, values, levels)
    for _ in range(0 if unfinished(step) else corrections):
        new = step.model(x, step.next)
        x = interpolate(step, prediction, [new, *values], [step.next, *levels])
    return x


exponential_pece_4, exponential_pece_5 = (exponential_pece.configure(f"exponential_pece_{p}", order=p) for p in (4, 5))
exponential_pecece_4 = exponential_pece.configure("exponential_pecece_4", order=4, corrections=2)
exponential_pec_3 = unipc.configure("exponential_pec_3", variant="exact", source=f"{_OTW}, one evaluation a step")
exponential_adams_4, exponential_adams_5 = (
    exponential_adams.configure(f"exponential_adams_{p}", order=p) for p in (4, 5)
)
