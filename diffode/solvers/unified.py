r"""USF, the unified sampling framework: a schedule that says for each step how it is taken.

A step integrates a Taylor polynomial in λ exactly, its derivatives estimated by differences of the last values,

    x_t = ratio·x_s − gain Σ_{k<p} z φ_{k+1}(z) ω_k m_k,        m_k ≈ h^k d^k m/dλ^k

and may be put right by the output at the point that it predicts. What is chosen for it:

    prediction    "x0" or "eps": what is expanded
    order         p, the number of terms
    difference    n, how many further values the differences use (p − 1 by default); "pseudo": the k-th uses k of them
    relaxation    ω_1, None being 1: "bh1" and "bh2" as in UniPC and DPM-Solver, "plus" and "minus" 1 ± (e^z − 1)/2, and
                  a number κ for 1 + κ z. Where p = 1 it is that of the corrector
    corrector     None; "pec", with the value kept for the next step; "pece", which evaluates anew
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffode import phi
from diffode import prediction as predictions
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import limit, solver
from diffode.solvers.exponential import form, taylor
from diffode.solvers.unipc import derivative_rows
from diffode.trace import Step

RELAXATIONS = (None, "bh1", "bh2", "plus", "minus")
CORRECTORS = (None, "pec", "pece")
_KEYS = ("prediction", "order", "difference", "relaxation", "corrector")


@dataclass(frozen=True)
class Choice:
    """What is chosen for one step; see the module."""

    prediction: str = "x0"
    order: int = 2
    difference: int | str | None = None
    relaxation: str | float | None = None
    corrector: str | None = None

    @staticmethod
    def of(told: Mapping[str, Any]) -> Choice:
        """A choice of plain values.

        Raises
        ------
        SolverError
            If a value is none that the framework has.

        Examples
        --------
        >>> Choice.of({"order": 3, "corrector": "pec"}).claim
        4
        """
        if not isinstance(told, Mapping) or set(told) - set(_KEYS):
            raise SolverError(f"usf: a step of the schedule is a mapping of {', '.join(_KEYS)}, not {told!r}")
        made = Choice(**told)
        whole = isinstance(made.order, int) and 1 <= made.order <= 6
        points = made.difference in (None, "pseudo") or (
            isinstance(made.difference, int) and whole and made.order - 1 <= made.difference <= 8
        )
        relaxed = made.relaxation in RELAXATIONS or isinstance(made.relaxation, (int, float))
        for good, name, words in (
            (made.prediction in ("x0", "eps"), "prediction", "'x0' or 'eps'"),
            (whole, "order", "a whole number from 1 to 6"),
            (points, "difference", "None, 'pseudo' or a whole number from order − 1 to 8"),
            (relaxed, "relaxation", f"one of {RELAXATIONS} or a number"),
            (made.corrector in CORRECTORS, "corrector", f"one of {CORRECTORS}"),
        ):
            if not good:
                raise SolverError(f"usf: {name} must be {words}, not {getattr(made, name)!r}")
        return made

    @property
    def points(self) -> int:
        """How many past values it uses."""
        return self.difference if isinstance(self.difference, int) else self.order - 1

    @property
    def claim(self) -> int:
        """The order of a run in which every step is taken so."""
        bound = 2 if self.difference == "pseudo" else 8
        predicted = min(self.order, bound, 2 if self.relaxation is not None else 8)
        return predicted if self.corrector is None else min(self.order + 1, predicted + 1, bound)


Schedule = Any
"""A sequence of mappings, the last of which is repeated."""


def _choices(schedule: Schedule) -> tuple[Choice, ...]:
    if isinstance(schedule, (str, Mapping)) or not schedule:
        raise SolverError(f"usf: the schedule is a sequence with a mapping for each step, not {schedule!r}")
    return tuple(map(Choice.of, schedule))


def _order(schedule: Schedule) -> int:
    """That of the steps, where they are all taken alike; a schedule of several choices belongs to its steps."""
    claims = {choice.claim for choice in _choices(schedule)}
    return claims.pop() if len(schedule) == 1 else 0


def _prediction(schedule: Schedule) -> str:
    asked = {choice.prediction for choice in _choices(schedule)}
    return asked.pop() if len(asked) == 1 else "x0"


def _relaxed(relaxation: str | float | None, z: Number) -> Number:
    """ω_1."""
    if relaxation == "bh1":
        return 1 / (2 * phi.phi(2, z))
    if relaxation == "bh2":
        return phi.phi(1, z) / (2 * phi.phi(2, z))
    if isinstance(relaxation, str):
        return 1 + (0.5 if relaxation == "plus" else -0.5) * phi.expm1(z)
    return 1 + (relaxation or 0) * z


def _derivatives(d: Linear, values: Sequence[Linear], r: Sequence[Number], count: int) -> list[Linear]:
    """m_1 … of the polynomial through d at 0 and the values at r."""
    rows = [derivative_rows([*r[:j], *r[j + 1 :]], at) for j, at in enumerate(r)]
    differences = [(value - d) / at for value, at in zip(values, r, strict=True)]
    return [
        sum((row[k] * difference for row, difference in zip(rows, differences, strict=True)), Linear({}))
        for k in range(count)
    ]


def _advance(
    step: Step, choice: Choice, d: Linear, values: Sequence[Linear], levels: Sequence[Level], relaxed: bool
) -> Linear:
    """The step through d and further values, of one term more than there are derivatives in the choice's order."""
    r = [(level.lam - step.now.lam) / step.h for level in levels]
    corrects = bool(levels) and levels[0] is step.next
    count = min(choice.order - 1 + corrects, len(r))
    if choice.difference == "pseudo":
        m = [_derivatives(d, values[:k], r[:k], k)[-1] for k in range(1, count + 1)]
    else:
        m = _derivatives(d, values, r, count)
    if m and relaxed and choice.relaxation is not None:
        m[0] = _relaxed(choice.relaxation, form(choice.prediction, step.now, step.next).z) * m[0]
    return taylor(step, choice.prediction, [d, *m])


@solver(
    order=_order,
    prediction=_prediction,
    history=lambda schedule: max(choice.points for choice in _choices(schedule)),
    exponential=True,
    source="arXiv:2312.07243, section 3; code: thu-nics/USF",
    limits=[
        limit("ddim", schedule=({"order": 1},)),
        limit("dpmpp_2m", schedule=({"relaxation": "bh2"},)),
        limit("dpmpp_3m_corrected", schedule=({"order": 3},)),
        limit("dpm_solver_2m", schedule=({"prediction": "eps", "relaxation": "bh2"},)),
        limit("unip_3", schedule=({"relaxation": "bh2"}, {"relaxation": "bh2"}, {"order": 3})),
        limit("unipc_1", schedule=({"order": 1, "relaxation": "bh2", "corrector": "pec"},)),
        limit("unipc_2", schedule=({"relaxation": "bh2", "corrector": "pec"},)),
        limit(
            "unipc_3", schedule=(*2 * ({"relaxation": "bh2", "corrector": "pec"},), {"order": 3, "corrector": "pec"})
        ),
    ],
)
def usf(step: Step, schedule: Schedule = ({"order": 3},)) -> Linear:
    r"""A solver schedule: for each step the prediction, the order, the differences, a relaxation and a corrector.

    The first steps use what past there is, at the order that it allows. Steps of the published framework that start
    further back than the last level, which make singlestep methods of it, are left out, and so are timesteps, which
    the grid tells. A schedule of several choices belongs to its number of steps, and claims no order.

    Parameters
    ----------
    schedule : sequence of mapping
        The choices of each step (see the module), the last of which is repeated.
    """
    choices = _choices(schedule)
    choice, whole = choices[min(step.index, len(choices) - 1)], step.tracer.rule.prediction
    ready = "d" in step.memory
    if step.singular and (not ready or whole != "x0"):
        return step.limit()
    d = step.memory.pop("d", lambda: step.model(step.x, step.now))
    if step.singular:
        return step.next.alpha * d
    step.store(d)
    mixed = len({each.prediction for each in choices}) > 1
    if mixed:
        _show(step, step.memory.pop("predicted", step.x))
    back = range(1, min(choice.points, step.depth) + 1)
    past = [_told(step, choice, step.past(k), k, step.past_level(k)) for k in back]
    levels = [step.past_level(k) for k in back]
    d = _told(step, choice, d, 0, step.now)
    predicted = _advance(step, choice, d, past, levels, relaxed=choice.order > 1)
    if choice.corrector is None or step.last:
        return predicted
    new = step.model(predicted, step.next)
    if choice.corrector == "pec":
        step.memory["d"] = new
        if mixed:
            step.memory["predicted"] = predicted
    a, b = predictions.change(whole, choice.prediction, step.next)
    new = a * predicted + b * new if whole != choice.prediction else new
    relaxed = choice.order == 1 or not past
    return _advance(step, choice, d, [new, *past], [step.next, *levels], relaxed)


def _show(step: Step, x: Linear) -> None:
    """Keep the states at which the last values were taken, newest first."""
    for k in range(step.tracer.history, 0, -1):
        if f"shown {k - 1}" in step.memory:
            step.memory[f"shown {k}"] = step.memory[f"shown {k - 1}"]
    step.memory["shown 0"] = x


def _told(step: Step, choice: Choice, value: Linear, k: int, level: Level) -> Linear:
    """A value in the prediction of the choice."""
    whole = step.tracer.rule.prediction
    if whole == choice.prediction:
        return value
    a, b = predictions.change(whole, choice.prediction, level)
    return a * step.memory[f"shown {k}"] + b * value


usf_pseudo_4 = usf.configure(
    "usf_pseudo_4",
    schedule=({"order": 4, "difference": "pseudo"},),
    source="arXiv:2312.07243, pseudo-order differences",
)
usf_pece_2 = usf.configure(
    "usf_pece_2", schedule=({"order": 2, "corrector": "pece"},), source="arXiv:2312.07243, implicit corrector"
)
usf_relaxed = usf.configure(
    "usf_relaxed",
    schedule=({"order": 2, "prediction": "eps", "relaxation": "minus"},),
    source="arXiv:2312.07243, relaxed first derivative",
)
