r"""Transforms: solvers that are made of any other solver.

Whatever a rule does in a step, one constant output m of the network would have done too:

    x_t = ratio·x_s + gain·m,    noise prediction   ratio = α_t/α_s,  gain = α_t (ρ_t − ρ_s)
                                 data prediction    ratio = σ_t/σ_s,  gain = α_t (1 − e^{−h})

m is the mean output of the step. A transform asks the base rule for its step, works on m, and goes there instead. It
costs no evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.series import rational
from diffode.solvers.base import Claim, Solver, limit, solver
from diffode.solvers.exponential import form, order_here
from diffode.solvers.momentum import adams_bashforth, in_values
from diffode.solvers.multistep import dpmpp_2m
from diffode.solvers.pseudo import ipndm_2, pndm
from diffode.solvers.unipc import unipc_2
from diffode.trace import Step


def resolved(base: str | Solver) -> Solver:
    """The base of a transform, told by itself or by its name."""
    if isinstance(base, Solver):
        return base
    from diffode.solvers.registry import get_solver  # which imports this module

    return get_solver(base)


def _watched(step: Step, pushed: Callable[[Linear], Linear]) -> Step:
    """The step, which hands every state that is evaluated at its end to `pushed` first."""
    kind = type(step)

    def model(self: Step, x: Linear, level: Level, *more: Any, **named: Any) -> Linear:
        return kind.model(self, pushed(x) if level is self.next else x, level, *more, **named)

    return type("Watched", (kind,), {"model": model})(**vars(step))


def _is_base(beta: float, predictor: float) -> bool:
    return beta == 1 and predictor == 1


def _of_base(claim: str, put_right: bool = False) -> Claim:
    """The base's claim where there is no momentum, or where it is put right."""

    def claimed(base: str | Solver, beta: float, predictor: float, kind: str) -> Any:
        kept = _is_base(beta, predictor) or (put_right and kind == "ghvb" and predictor == 1)
        return getattr(resolved(base), claim) if kept else None

    return claimed


def _order(base: str | Solver, beta: float, predictor: float, kind: str) -> float:
    """First order; of a velocity that is put right, and where only a predictor lags, what the base has."""
    order = resolved(base).order
    if beta != 1 and kind != "ghvb":
        return 1
    return order if predictor == 1 else min(order, 2)


def _uniform(base: str | Solver, beta: float, predictor: float) -> str | None:
    """A velocity has an endless past, which is known on equal steps."""
    rule = resolved(base)
    if rule.uniform or _is_base(beta, predictor):
        return rule.uniform
    return "lam" if rule.prediction == "x0" else "rho"


KINDS = ("heavy_ball", "nesterov", "ghvb")
STEPS = ("all", "full", "corrected")


@solver(
    order=_order,
    reaches=_of_base("reaches", put_right=True),
    erratum=_of_base("erratum", put_right=True),
    strong_order=_of_base("strong_order", put_right=True),
    stiff_order=_of_base("stiff_order"),
    uniform=_uniform,
    prediction=lambda base: resolved(base).prediction,
    history=lambda base: resolved(base).history,
    exponential=lambda base, over_sigma: resolved(base).exponential and not over_sigma,
    source="arXiv:2307.11118, sections 3 and 4",
    ranges={"beta": (1e-3, 1.0), "predictor": (1e-3, 1.0)},
    limits=[
        limit("ipndm_2", beta=1),
        limit("ipndm_2", beta=1, kind="nesterov"),
        limit("ghvb_1.5", beta=0.5, kind="ghvb"),
    ],
)
def momentum(
    step: Step,
    base: Any = ipndm_2,
    beta: float = 0.8,
    kind: str = "heavy_ball",
    predictor: float = 1.0,
    steps: str = "all",
    over_sigma: bool = False,
) -> Linear:
    r"""Momentum on the steps of any solver: Polyak's heavy ball, Nesterov's, or the generalised heavy ball.

        v_{n+1} = (1 − β) v_n + β m_n,    x_t = ratio·x_s + gain·v_{n+1}                          heavy ball
                                          x_t = ratio·x_s + gain·((1 − β) v_{n+1} + β m_n)       Nesterov
        v_{n+1} = (1 − β) v_n + β d_n,    x_t = base − gain (1 − β)/β γ_{p−1} ∇^p v_{n+1}        GHVB

    with m the mean output of the base's step and d the value at its beginning. v lags behind by (1 − β)/β steps, which
    leaves the first two with first order whatever the base, and widens its region of stability. GHVB puts the lag right
    but for one term in the p-th difference, p being the order of the base, and so keeps that; γ is Adams and
    Bashforth's. On their methods it is GHVB of order p − 1 + β as it is written in `diffode.solvers.momentum`. A base
    that carries a second state of its own, as reversible methods do, does not see the momentum there, and falls to
    first order.

    Steps to or from an infinite λ are the base's own. Noise that the base adds is left as it is.

    Parameters
    ----------
    base : str or Solver
        The solver, or its name.
    beta : float
        Share of the newest output, in (0, 1]; 1 is the base itself.
    kind : {"heavy_ball", "nesterov", "ghvb"}
    predictor : float
        β of a heavy ball of its own for the states that the base evaluates at the end of the step: the predictor of a
        predictor–corrector. It costs the corrected state no more than what exceeds second order.
    steps : {"all", "full", "corrected"}
        Which steps have momentum: all; those of the base's full order, as in the authors' DPM-Solver++; all but the
        last, which a predictor–corrector does not correct, as in their UniPC.
    over_sigma : bool
        Average m/σ_t, as the authors' UniPC does. Constant data are then not kept, and what is done depends on the α of
        the process.
    """
    rule = resolved(base)
    if kind not in KINDS or steps not in STEPS:
        raise SolverError(f"{step.tracer.rule.name}: kind is one of {KINDS} and steps one of {STEPS}")
    if step.now.singular or step.next.singular or _is_plain(step, rule, steps):
        return rule(step)

    ratio, gain = _exactly(step)
    scale = gain * step.next.sigma if over_sigma else gain

    def pushed(name: str, share: float, x: Linear) -> Linear:
        return _pushed(step, x, f"{name} of {rule.name}", share, kind, ratio, scale)

    inner = step if predictor == 1 else _watched(step, lambda x: pushed("predictor", predictor, x))
    result = rule(inner)
    step.x, step.stored = inner.x, inner.stored
    return _put_right(step, result, rule, beta, ratio, gain) if kind == "ghvb" else pushed("velocity", beta, result)


def _is_plain(step: Step, rule: Solver, steps: str) -> bool:
    whole = rule.history + 1
    if steps == "full":
        return order_here(step, whole, rule.options.get("lower_order_final", False)) < whole
    return steps == "corrected" and step.last


def _exactly(step: Step) -> tuple[Number, Number]:
    """Ratio and gain of the step; see the module."""
    parts = form(step.tracer.rule.prediction, step.now, step.next)
    return parts.ratio, -parts.gain * phi.expm1(parts.z)


@cache
def _lag(count: int, beta: Fraction) -> list[Fraction]:
    """(1 − β)/β γ_{p−1} ∇^p as weights of v_{n+1}, v_n, …, for p = count."""
    return in_values([Fraction(0)] * count + [(1 - beta) / beta * adams_bashforth(count)[-1]])


def _way(step: Step, x: Linear, ratio: Number) -> Linear:
    """gain·m of a step that leads to x, the noise left out."""
    drawn = {*step.tracer.increments.values(), *step.tracer.normals.values()}
    return (-ratio) * step.x + Linear({register: c for register, c in x.terms.items() if register not in drawn})


def _put_right(step: Step, x: Linear, rule: Solver, share: float, ratio: Number, gain: Number) -> Linear:
    """The state that the base puts at x, less the term of the lag that GHVB leaves.

    A base that keeps no value of its beginning, as it does not evaluate there, has the mean in its place.
    """
    beta, value = rational(share), step.tracer.past[0][0] if step.stored else _way(step, x, ratio) / gain
    names = [f"velocity {j} of {rule.name}" for j in range(1, int(rule.order) + 1)]
    known = [step.memory[name] for name in names if name in step.memory] or [value]
    left = phi.literal(1 - beta, step.now.lam)
    velocities = [left * known[0] + (1 - left) * value, *known]
    for name, velocity in zip(names, velocities, strict=False):
        step.memory[name] = velocity
    for c, velocity in zip(_lag(len(known), beta), velocities, strict=True):
        x = x - (gain * phi.literal(c, gain)) * velocity
    return x


def _pushed(step: Step, x: Linear, name: str, share: float, kind: str, ratio: Number, gain: Number) -> Linear:
    """The state that the base puts at x, with momentum on its way from `step.x`.

    As m − v_{n+1} = (1 − β) (m − v_n), the heavy ball takes (1 − β) of gain (m − v_n) off, and Nesterov (1 − β)².
    """
    left, memory = phi.literal(1 - rational(share), step.now.lam), step.memory
    if left == 0:
        return x
    way = _way(step, x, ratio)
    lag = left * (way + (-gain) * memory[name]) if name in memory else Linear({})
    memory[name] = (way - lag) / gain
    return x - (left * lag if kind == "nesterov" else lag)


_HB, _CODE = "arXiv:2307.11118", "arXiv:2307.11118; official code, momentum_scheduler.py"


def _on_plms(values: int) -> Solver:
    return pndm.configure(f"ipndm_{values}", order=values, warmup="ramp", variable="rho")


plms_hb_1, plms_hb_2, plms_hb_3, plms_hb_4 = (
    momentum.configure(f"plms_hb_{k - 1}.8", base=_on_plms(k), source=f"{_HB}, heavy ball on PLMS") for k in range(1, 5)
)
plms_nt_1, plms_nt_2, plms_nt_3, plms_nt_4 = (
    momentum.configure(f"plms_nt_{k - 1}.8", base=_on_plms(k), kind="nesterov", source=f"{_HB}, Nesterov on PLMS")
    for k in range(1, 5)
)
dpmpp_2m_hb = momentum.configure("dpmpp_2m_hb", base=dpmpp_2m, source=f"{_HB}, momentum on DPM-Solver++")
dpmpp_2m_hb_published = momentum.configure("dpmpp_2m_hb_published", base=dpmpp_2m, steps="full", source=_CODE)
dpmpp_2m_ghvb = momentum.configure("dpmpp_2m_ghvb", base=dpmpp_2m, kind="ghvb", source=f"{_HB}, GHVB on DPM-Solver++")
unipc_2_hb = momentum.configure(
    "unipc_2_hb", base=unipc_2, predictor=0.8, source=f"{_HB}, momentum on predictor and corrector"
)
unipc_2_hb_predictor = momentum.configure(
    "unipc_2_hb_predictor", base=unipc_2, beta=1.0, predictor=0.8, source=f"{_HB}, momentum on the predictor alone"
)
unipc_2_hb_published = momentum.configure(
    "unipc_2_hb_published", base=unipc_2, steps="corrected", over_sigma=True, source=_CODE
)
