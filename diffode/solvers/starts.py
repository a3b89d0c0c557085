r"""Starts and ends that keep the order: one formula each, for every multistep rule.

A rule of order p keeps it if each of its first and last steps errs by O(h^p), one order less than the others, as long
as there is a fixed number of them. Both formulas stand in the data prediction, whatever the rule predicts: its weights
stay bounded however long the step, where those of noise prediction grow as e^h. Both leave constant data exact.

**The start.** Steps of growing order (the ramp) leave an error of h² in the first. They need not be better: the values
that they find tell, one step later, where the state should have been. With D_0, …, D_i at λ_0, …, λ_i, the state is put
right before step i is taken,

    x_i ← (σ_i/σ_0) x_0 + Σ_j w_j D_j,    w_j = α_i ∫_{λ_0}^{λ_i} e^{λ − λ_i} ℓ_j(λ) dλ,

which errs by h^{i+2} if every value errs by h^{i+1} at most. The newest does. The others err by a power of h more, and
are evaluated anew at their own states put right, as long as a further power is wanted. That costs

    (p − 2)(p − 3)/2

evaluations over the whole start: none for p ≤ 3, one for p = 4, three for p = 5. A start that interpolates has no
fewer: the rule needs p − 2 values that err by h^{p−1}, beside the exact one; those need p − 3 that err by h^{p−2}; and
so on down to one that errs by h². Where the state moves and the value stays, a noise prediction is told anew at the
state.

**The end.** Where a rule of k values has k − 1 steps left, it leaves its polynomial for one of p − 1 values in ρ², of
one order less,

    x_t = (σ_t/σ_s) x_s + Σ_j w_j D_j,    w_j = α_t ∫_{λ_s}^{λ_t} e^{λ − λ_t} ℓ_j(e^{−2λ}) dλ.

Along a trajectory D is a smooth function of ρ² = e^{−2λ} down to ρ = 0, as it is of no power of λ: nodes that are
equally far apart in λ are geometric in ρ², so that the weights of an extrapolation fade as the steps grow, and have
the limit α_t ℓ_j(0) at σ_t = 0. At p = 2 this is a last step of first order, as published.

With noise (τ > 0) the weak order is 2 at most: the ramp and a last step of first order keep it.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number, package_of
from diffode.plan import Level, Linear
from diffode.prediction import change
from diffode.solvers.exponential import integrate, lagrange_basis
from diffode.trace import Step

STARTS = ("ramp", "exact", "derived")


def begin(step: Step, order: float, start: str, starts: Sequence[str] = STARTS) -> Linear:
    """The evaluation at `now`; a derived start puts the state right by it.

    Parameters
    ----------
    step : Step
        Its `x` becomes the state to go on from, and what its past holds is revised.
    order : float
        The order of the whole rule.
    start : {"ramp", "exact", "derived"}
    starts : sequence of str
        Those that the rule has.

    Returns
    -------
    Linear
        The value at `now`.
    """
    if start not in starts:
        raise SolverError(f"{step.tracer.rule.name}: no start {start!r}; there are {', '.join(starts)}")
    d = step.model(step.x, step.now)
    if start != "derived" or order < 3:
        return d
    if not step.depth:
        step.memory["origin"] = step.x
        step.memory["data 0"] = _data(step, step.x, d, step.now)
    elif unfinished(step):
        d = _put_right(step, d, last=step.depth >= order - 2)
    return d


def unfinished(step: Step) -> bool:
    """Whether a derived start will put right the state that this step leads to."""
    return "origin" in step.memory


def _put_right(step: Step, d: Linear, last: bool) -> Linear:
    """The state, and all values but the first, with one more power of h; the value at `now` is returned."""
    count = step.depth
    levels = [*(step.past_level(k) for k in range(count, 0, -1)), step.now]
    names = [f"data {j}" for j in range(count + 1)]
    data = [*(step.memory[name] for name in names[:-1]), _data(step, step.x, d, step.now)]
    origin = step.memory["origin"]
    states = [integrate(origin, levels[0], "x0", data, levels, b) for b in levels[1:]]
    step.x = states[-1]
    if last:
        for name in ("origin", *names[:-1]):
            del step.memory[name]
        d = _told(step, step.x, data[-1], step.now)
        step.store(d)
        return d
    for j, (x, level) in enumerate(zip(states, levels[1:], strict=True), 1):
        d = step.model(x, level)
        step.memory[names[j]] = _data(step, x, d, level)
        if j < count:
            step.revise(count - j, d)
    step.store(d)
    return d


def _data(step: Step, x: Linear, value: Linear, level: Level) -> Linear:
    """The data prediction that a value of the rule's own prediction stands for at a state."""
    a, b = change(step.tracer.rule.prediction, "x0", level)
    return a * x + b * value


def _told(step: Step, x: Linear, data: Linear, level: Level) -> Linear:
    """A data prediction, told as the rule's own prediction at a state."""
    a, b = change("x0", step.tracer.rule.prediction, level)
    return a * x + b * data


def ending(step: Step, order: int, lower_order_final: bool | str, tau: float = 0.0) -> bool:
    """Whether this step belongs to a derived end; see `finish`."""
    if lower_order_final != "derived" or tau or step.now.singular or step.remaining > order - 1:
        return False
    return not step.next.singular or (package_of(step.next.sigma) == "float" and step.next.sigma == 0)


def finish(
    step: Step, d: Linear, order: int, lower_order_final: bool | str, whole: float | None = None, tau: float = 0.0
) -> Linear | None:
    """A step of a derived end, or None where the rule's own is to be taken.

    Parameters
    ----------
    step : Step
    d : Linear
        The value at `now`.
    order : int
        The number of values that a step in the middle weighs.
    lower_order_final : bool or str
        Whether a derived end is asked for.
    whole : float, optional
        The order of the whole rule, where it is another.
    tau : float
        Noise level; with noise there is no derived end.
    """
    count = max(int(whole or order) - 1, 1)
    if lower_order_final != "derived" or tau or order < 2:
        return None
    if step.tracer.open_end or step.remaining <= order + count - 2 or _late(0) in step.memory:
        _remember(step, _data(step, step.x, d, step.now), count)
    if not ending(step, order, lower_order_final):
        return None
    known = [k for k in range(count) if _late(k) in step.memory]
    levels = [step.past_level(k) if k else step.now for k in known]
    result = 0.0 * step.x if step.singular else (step.next.sigma / step.now.sigma) * step.x
    for weight, k in zip(_late_weights(step, levels), known, strict=True):
        result = result + step.next.alpha * weight * step.memory[_late(k)]
    return result


def _late(k: int) -> str:
    """The name of the data prediction k steps ago."""
    return f"end {k}"


def _remember(step: Step, data: Linear, count: int) -> None:
    """The last `count` data predictions, newest first; a run that goes on in another leaves them to it."""
    for k in range(count - 1, 0, -1):
        if _late(k - 1) in step.memory:
            step.memory[_late(k)] = step.memory[_late(k - 1)]
    step.memory[_late(0)] = data


def _late_weights(step: Step, levels: Sequence[Level]) -> list[Number]:
    """∫ e^{λ − λ_t} ℓ_j dλ over the step, ℓ_j on the levels in ρ²."""
    now, after = step.now, step.next
    basis = lagrange_basis([phi.exp(-2 * (level.lam - now.lam)) for level in levels])
    if after.singular:
        return basis(0.0, 1.0)

    def densities(lam: Number) -> list[Number]:
        return basis(phi.exp(-2 * (lam - now.lam)), phi.exp(lam - after.lam))

    return phi.integral(densities, now.lam, after.lam)
