r"""SA-Solver: exponential Adams methods with noise, a predictor and a corrector that share one Brownian increment.

At noise level τ both integrate a polynomial in λ through given values exactly (`interpolate`), the predictor through
past values, the corrector through the value at the predicted point as well. At τ = 0 the pair is UniPC.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import form, interpolate, latest, noise, taylor
from diffode.solvers.starts import begin, finish, unfinished
from diffode.trace import Step


def _order(predictor: int, corrector: int, tau: float) -> int:
    """Without further Itô integrals a rule with additive noise has weak order 2 at most."""
    order = min(predictor + 1, corrector) if corrector else predictor
    return min(order, 2) if tau else order


def _through(
    step: Step, prediction: str, tau: float, rescaled: bool, values: Sequence[Linear], levels: Sequence[Level]
) -> Linear:
    """The step through given values; with two of them and `rescaled`, the weight ½ in place of φ_2."""
    if not (rescaled and prediction == "x0" and len(values) == 2):
        return interpolate(step, prediction, values, levels, tau=tau)
    here = 0 if levels[0] is step.now else 1
    d, other, there = values[here], values[1 - here], levels[1 - here]
    slope = (other - d) / ((there.lam - step.now.lam) / step.h)
    parts = form(prediction, step.now, step.next, tau)
    return taylor(step, prediction, [d], tau=tau) - (parts.gain * parts.z / 2) * slope


@solver(
    order=lambda predictor, corrector, tau: _order(predictor, corrector, tau),
    strong_order=lambda tau, final: (0.5 if final == "ode" else 1.0) if tau else None,
    prediction=lambda prediction: prediction,
    history=lambda predictor, corrector: max(predictor, corrector - 1) - 1,
    exponential=True,
    source="arXiv:2309.05019, Algorithm 1; official code sa_solver.py",
    ranges={"predictor": (1, 12), "corrector": (0, 12)},
    limits=[
        limit("ddim", predictor=1, corrector=0),
        limit("sde_dpmpp_1", predictor=1, corrector=0, tau=1.0, final="correct"),
        limit("dpmpp_3m_corrected", predictor=3, corrector=0, lower_order_final=False),
    ],
)
def sa_solver(
    step: Step,
    predictor: int = 3,
    corrector: int = 4,
    prediction: str = "x0",
    tau: float = 0.0,
    mode: str = "PEC",
    rescaled: bool = False,
    final: str = "ode",
    start: str = "ramp",
    lower_order_final: bool | str = True,
) -> Linear:
    r"""SA-Solver: stochastic Adams predictor of s values, corrector of ŝ values with the new one among them.

        x_t = ratio·x_s + Σ_j w_j m_j + noise,    w_j = c α_t e^{−ch} ∫_0^h e^{cu} ℓ_j(u) du    (data prediction)

    for the predictor and, with the same noise, for the corrector. The paper varies τ over a run, 1 in its middle and 0
    at its ends; here it is one number.

    Parameters
    ----------
    predictor, corrector : int
        s and ŝ, the numbers of values that each integrates; corrector=0 leaves the predictor alone.
    prediction : {"x0", "eps"}
    tau : float
        Noise level: 0 is the ODE, 1 the reverse SDE.
    mode : {"PEC", "PECE"}
        Whether the evaluation at the predicted point is kept for the next step, or made anew at the corrected one.
    rescaled : bool
        The official code's few-step variant: formulas of two values have the weight ½ for φ_2 (data prediction).
    final : {"ode", "predict", "correct"}
        The last step: the predictor alone and without noise, which leaves strong order ½ (the official code in few
        steps), the predictor alone (diffusers), or a step like the others.
    start : {"ramp", "derived"}
        See `diffode.solvers.starts`.
    lower_order_final : bool or {"last", "early", "derived"}
        Whether the last steps are of lower order; see `order_here`.
    """
    whole = _order(predictor, corrector, tau)
    most = max(predictor, corrector - 1)
    d = step.memory.pop("d", lambda: begin(step, whole, start, ("ramp", "derived")))
    step.store(d)
    end = finish(step, d, most, lower_order_final, whole, tau)
    if end is not None:
        return end
    ends = step.last and final != "correct"
    level = 0.0 if ends and final == "ode" else tau
    added = noise(step, step.now, step.next, prediction, level)
    values, levels = latest(step, d, most, lower_order_final, whole)
    s, most = min(predictor, len(values)), len(values)
    predicted = _through(step, prediction, level, rescaled, values[:s], levels[:s]) + added
    if not corrector or ends or unfinished(step):
        return predicted
    new, kept = step.model(predicted, step.next), min(corrector, most + 1) - 1
    if mode == "PEC":
        step.memory["d"] = new
    nodes = [step.next, *levels[:kept]]
    return _through(step, prediction, level, rescaled, [new, *values[:kept]], nodes) + added


_SA = "arXiv:2309.05019"

sa_predictor_sde = sa_solver.configure(
    "sa_predictor_sde", corrector=0, tau=1.0, final="correct", source=f"{_SA}, the predictor of Algorithm 1 alone"
)
sa_solver_sde = sa_solver.configure(
    "sa_solver_sde",
    predictor=2,
    corrector=3,
    tau=1.0,
    mode="PECE",
    final="correct",
    source=f"{_SA}, Algorithm 1 in PECE mode",
)
