r"""Running backwards: the plan that undoes a plan, and how much rounding grows on the way.

A row of a plan is an equation between registers. Where all but one are known it gives that one, and where its argument
is known the network can be asked again. `invert` starts with what a run leaves and goes on in this way until it has
the state at every level. A reversible rule gets there; for any other there is a register that nothing else gives back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from diffode.analysis.moments import Spectrum, gaussian_prediction
from diffode.backends import execute, get_backend
from diffode.errors import ModelError, PlanError
from diffode.models import Model
from diffode.models.running import begun
from diffode.plan import Combine, Constant, Evaluate, Number, Plan, Row, reads
from diffode.sampling import Remembered, Sample
from diffode.trace import Memory

VARIANCES = (0.0, 1e-2, 1.0, 1e12)
"""Of the Gaussian data for which rounding is followed: from a point to a flat density."""


def invert(plan: Plan) -> Plan:
    """The plan that undoes a plan: from what it leaves (the last state, and the memory) to the state at every level.

    It asks the network where the plan did, but for what it has no need of. Its inputs are the plan's last state and the
    registers of its memory that are not values of the network; `undo` runs it.

    Parameters
    ----------
    plan : Plan
        Of a reversible rule.

    Returns
    -------
    Plan
        The registers have the names that they have in `plan`; levels and states in reversed order.

    Raises
    ------
    PlanError
        If the plan draws noise, has a `Dynamic` row, or loses a register; the message names it.

    Examples
    --------
    >>> import diffode as de
    >>> process = de.EDM()
    >>> grid = de.TimeGrid(process, rho=[8.0, 4.0, 2.0, 1.0])
    >>> print(invert(de.compile("o_belm", process, grid)))
    o_belm, undone: 3 steps, 2 evaluations, deterministic, 4 arrays at once
      x3  input
      x2  input
      d2  eps(x2)              at t=2 (λ=-0.693147)
      x1  4 x3 − 3 x2 + 6 d2
      d1  eps(x1)              at t=4 (λ=-1.38629)
      x0  4 x2 − 3 x1 + 12 d1
    """
    plan.require_linear("inversion")
    if not plan.is_deterministic:
        raise PlanError(f"invert: {plan.solver} draws noise, which cannot be taken back; take a reversible rule")
    start = tuple(dict.fromkeys((plan.states[-1], *_carried(plan))))
    found = _Found(plan, start)
    wanted = {*plan.states, *plan.inputs}
    if not wanted <= found.known:
        raise PlanError(_lost(plan, found.known))
    rows = _needed(found.rows, wanted)
    left = Memory(named=tuple((name, name) for name in plan.inputs if name not in plan.states))
    return Plan(rows, start, plan.states[::-1], plan.levels[::-1], left, f"{plan.solver}, undone")


def _carried(plan: Plan) -> Iterator[str]:
    """What the memory holds beside values of the network: those are asked for again."""
    outputs = {row.out for row in plan.rows if isinstance(row, Evaluate)}
    yield from (name for name in (plan.memory.registers() if plan.memory else ()) if name not in outputs)


class _Found:
    """What can be known of a plan's registers, beginning with some, and the rows that find it."""

    def __init__(self, plan: Plan, start: Sequence[str]) -> None:
        self.known: set[str] = set()
        self.rows: list[Row] = []
        self._outputs = {row.out for row in plan.rows if isinstance(row, Evaluate)}
        self._asked: dict[str, list[Evaluate]] = {}
        self._equations: dict[str, list[dict[str, Number]]] = {}
        self._open: deque[dict[str, Number]] = deque()
        for row in plan.rows:
            if isinstance(row, Evaluate):
                self._asked.setdefault(row.x, []).append(row)
            elif isinstance(row, Constant):
                self.rows.append(row)
                self.known.add(row.out)
            elif isinstance(row, Combine):
                for name in (equation := _equation(row)):
                    self._equations.setdefault(name, []).append(equation)
        for name in start:
            self._learn(name)
        while self._open:
            self._solve(self._open.popleft())

    def _learn(self, name: str) -> None:
        self.known.add(name)
        for row in self._asked.get(name, ()):
            if row.out not in self.known:
                self.rows.append(row)
                self._learn(row.out)
        self._open.extend(self._equations.get(name, ()))

    def _solve(self, equation: dict[str, Number]) -> None:
        """Take the one register of an equation that is not known; a value of the network waits for its argument."""
        unknown = [name for name in equation if name not in self.known]
        if len(unknown) != 1 or unknown[0] in self._outputs or not np.all(np.asarray(equation[unknown[0]]) != 0):
            return
        (name,) = unknown
        weight = -equation[name]
        self.rows.append(Combine(name, tuple((c / weight, other) for other, c in equation.items() if other != name)))
        self._learn(name)


def _equation(row: Combine) -> dict[str, Number]:
    """A row as 0 = Σ c · register."""
    terms: dict[str, Any] = {row.out: -1}
    for c, name in row.terms:
        terms[name] = terms[name] + c if name in terms else c
    return terms


def _needed(rows: Sequence[Row], wanted: set[str]) -> tuple[Row, ...]:
    needed, kept = set(wanted), list[Row]()
    for row in reversed(rows):
        if row.out in needed:
            kept.append(row)
            needed.update(reads(row))
    return tuple(reversed(kept))


def _lost(plan: Plan, known: set[str]) -> str:
    """Which register a plan loses: the last one, in the order of the rows, that nothing gives back."""
    rows = {row.out: row for row in plan.rows}
    order = [*plan.inputs, *rows]
    lost = next(name for name in reversed(order) if name not in known and not isinstance(rows.get(name), Evaluate))
    told = "nothing that is known holds it"
    for row in plan.rows:
        if isinstance(row, Combine) and row.out in known and lost in reads(row):
            others = [name for name in reads(row) if name not in known and name != lost]
            asked = [name for name in others if isinstance(rows.get(name), Evaluate) and reads(rows[name]) == (lost,)]
            told = f"{row.out} holds it together with {', '.join(others)}"
            told += f", and {asked[0]} is the network's value at {lost} itself" if asked else ""
    return (
        f"invert: {plan.solver} cannot be undone: register {lost} is lost ({told}); take a reversible rule, see "
        "docs/reversible.md"
    )


# --- how rounding grows -----------------------------------------------------------------------------------


def condition(plan: Plan) -> float:
    """κ: how much a plan multiplies rounding: the largest norm of a product of its last 0, 1, 2, … steps.

    A step is the matrix by which it moves what is carried across a level (states, second streams); the network's slope
    is that of Gaussian data, and the worst of `VARIANCES` counts. κ is at most the product of the norms of the steps,
    and for a rule with two states often far less. For what a round trip costs, take the inverted plan. An error is as
    large as the largest register makes it, at every level: the sizes of states do not count.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    float
    """
    plan.require_linear("the condition")
    return max(_growth(plan, Spectrum(np.array([v]), np.zeros(1), np.eye(1))) for v in VARIANCES)


def _growth(plan: Plan, spectrum: Spectrum) -> float:
    rows = {row.out: row for row in plan.rows}
    frames = _frames(plan, rows)
    product, worst = np.eye(len(frames[-1])), 1.0
    for before, after in zip(frames[-2::-1], frames[:0:-1], strict=True):
        product = product @ _matrix(rows, before, after, spectrum)
        worst = max(worst, float(np.linalg.norm(product, 2)))
    return worst


def _frames(plan: Plan, rows: dict[str, Row]) -> list[list[str]]:
    """What is carried across each level: registers that exist there and are used later, values of the network aside."""
    place = {name: i for i, name in enumerate([*plan.inputs, *rows])}
    first = len(plan.inputs)
    last = {name: first + i for name, i in plan.last_use.items()}
    frames: list[list[str]] = []
    cut = first - 1
    for state in plan.states:
        cut = max(cut, place[state])
        held = [name for name in place if place[name] <= cut < last[name]] + [state]
        frames.append(list(dict.fromkeys(_argument(rows, name) for name in held)))
    return frames


def _argument(rows: dict[str, Row], name: str) -> str:
    row = rows.get(name)
    return row.x if isinstance(row, Evaluate) else name


def _matrix(rows: dict[str, Row], before: Sequence[str], after: Sequence[str], spectrum: Spectrum) -> np.ndarray:
    """The derivative of what is carried across one level by what was carried across the one before."""
    columns = dict(zip(before, np.eye(len(before)), strict=True))

    def column(name: str) -> np.ndarray:
        if name not in columns:
            row = rows[name]
            if isinstance(row, Evaluate):
                slope, _ = gaussian_prediction(row.prediction, row.at or row.level, spectrum)
                columns[name] = _largest(slope) * column(row.x)
            else:
                parts = (_largest(c) * column(other) for c, other in _terms(row))
                columns[name] = sum(parts, np.zeros(len(before)))
        return columns[name]

    return np.array([column(name) for name in after])


def _largest(c: Any) -> float:
    """A coefficient, or the entry of largest magnitude where it is an array."""
    entries = np.asarray(c, dtype=float).ravel()
    return float(entries[np.argmax(np.abs(entries))])


def _terms(row: Row) -> tuple[tuple[Any, str], ...]:
    return row.terms if isinstance(row, Combine) else ()


# --- running it -------------------------------------------------------------------------------------------


def undo(model: Model, out: Sample, *, backend: str = "numpy", trajectory: bool = True) -> Sample:
    """Undo a run: from the states that it left back to its start.

    Parameters
    ----------
    model : Model
        The one that was sampled.
    out : Sample
        Of a reversible rule.
    backend : {"numpy", "torch"}
    trajectory : bool
        Whether to keep the state at every level.

    Returns
    -------
    Sample
        `x` is the state at which the run began.

    Raises
    ------
    PlanError
        If the run cannot be undone.
    ModelError
        If the process has an anchor.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> model = de.Gaussian(0.0, 1.0).denoiser(process)
    >>> x = np.full((1, 1), 80.0)
    >>> out = de.sample(model, "o_belm", de.grids.karras(process, 10), x)
    >>> float(abs(undo(model, out).x - x).max()) < 1e-6
    True
    """
    if model.process.anchored:
        raise ModelError(f"undo: {model.process!r} has an anchor; run `invert(out.plan)` on states without it")
    plan = invert(out.plan)
    values = dict(zip(out.plan.memory.registers(), out.memory.values, strict=True))
    values[out.plan.states[-1]] = out.x
    keep = plan.states if trajectory else ()
    running, tally = begun(model)
    run = execute(get_backend(backend), plan, running, [values[name] for name in plan.inputs], None, keep)
    kept = tuple(run[name] for name in keep)
    remembered = Remembered(plan.memory, tuple(run[name] for name in plan.memory.registers()))
    return Sample(run[plan.states[-1]], plan.nfe, tally.passes, kept, plan, remembered)
