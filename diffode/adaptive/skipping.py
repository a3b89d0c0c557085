r"""SADA: evaluations that are left out where the trajectory is judged to be straight enough.

With f = dx/dt, the state that the last slopes lead to, and what the network would say there,

    x̂_t = x_s + Δ (w_0 f_s + w_1 f_{s−1} + w_2 f_{s−2}),    Δ = t − s

After every step the criterion (x_t − x̂_t)·∇²f ≤ 0, a mean over all entries, decides whether the next evaluation is
left out. What the decisions are, the run is a linear plan: a rule with the indices of the skipped steps as an option.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from diffode import phi
from diffode.adaptive.walking import Read, walk
from diffode.catalogue import catalogued
from diffode.errors import SolverError, unknown
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.models.base import number
from diffode.plan import Level, Linear
from diffode.prediction import change
from diffode.sampling import Sample
from diffode.solvers import Solver
from diffode.solvers.base import solver
from diffode.solvers.exponential import lagrange_basis
from diffode.solvers.transforms import resolved
from diffode.trace import Step

Array = Any

_PUBLISHED = (0.625, 0.75, -0.375)
"""They add up to 1, and their first moment, which should be ½, is 0."""

EXTRAPOLATIONS = ("published", "code", "adams")
_LABEL = 1e-3
"""One of a thousand labels: the Δ of the official code, whatever the step (β_n N · 1/N, β_n being that of a label)."""

_SLOPES = ("slope", "slope 1", "slope 2")
_SAID = ("said", "said 1", "said 2")


def _order(base: Any, skip: Collection[int], extrapolation: str) -> float:
    """The base's where nothing is skipped; with Adams' weights none, as no proof reaches a list of steps."""
    if not len(skip):
        return resolved(base).order
    return 0 if extrapolation == "adams" else 1


@solver(
    order=_order,
    prediction=lambda base: resolved(base).prediction,
    history=lambda base: resolved(base).history,
    source="arXiv:2507.17135; official code, sada/solver.py",
)
def skipping(
    step: Step, base: Any = "dpmpp_2m", skip: Collection[int] = (), extrapolation: str = "published"
) -> Linear:
    r"""Any solver, with SADA's extrapolation in place of the evaluations at some steps.

        published, code    D̂ = (x̂ − σ ε_−)/α, ε_− the noise of the evaluation before, x̂ by the weights (⅝, ¾, −⅜)
        adams              x̂ by the Adams–Bashforth weights of these times; what the network says there is the
                           polynomial in λ through what it said at the last three steps

    The published weights are those of no quadrature of second order, and ε_− is one step old: either leaves a run that
    skips a share of its steps with first order, which is what they claim. With Adams' weights no order is claimed: that
    the base keeps its second is measured, as the indices belong to one grid, and a proof needs others.

    Parameters
    ----------
    base : str or Solver
        Whose first evaluation in each step is at the step's beginning.
    skip : collection of int
        Indices of the steps without an evaluation there; from 3, as three slopes are needed.
    extrapolation : {"published", "code", "adams"}
        "code": as the official code has it, Δ is one label of a thousand, whatever the step.
    """
    if extrapolation not in EXTRAPOLATIONS:
        raise SolverError(f"{step.tracer.rule.name}: {unknown('extrapolation', extrapolation, EXTRAPOLATIONS)}")
    rule, given = resolved(base), list[Linear]()
    if step.now.singular or step.next.singular:
        return rule(step)
    passed = step.index in skip and "ahead" in step.memory
    inner = _replacing(step, given, passed, extrapolation)
    result = rule(inner)
    step.x, step.stored = inner.x, inner.stored
    if given:
        _look_ahead(step, given[0], passed and extrapolation != "adams", extrapolation)
    return result


def _replacing(step: Step, given: list[Linear], passed: bool, extrapolation: str) -> Step:
    """The step, whose first evaluation at its beginning is noted, and replaced where it is passed."""
    kind = type(step)

    def model(self: Step, x: Linear, level: Level, *more: Any, **named: Any) -> Linear:
        if given or level is not self.now:
            return kind.model(self, x, level, *more, **named)
        given.append(
            self.hold(_extrapolated(self, extrapolation)) if passed else kind.model(self, x, level, *more, **named)
        )
        if not self.stored:
            self.store(given[0])
        return given[0]

    return type("Replacing", (kind,), {"model": model})(**vars(step))


def _extrapolated(step: Step, extrapolation: str) -> Linear:
    """What the network is taken to say at `now`, in the rule's prediction."""
    told, now = step.tracer.rule.prediction, step.now
    if extrapolation == "adams":
        weights = lagrange_basis([step.grid[step.index - 1 - k].lam for k in range(3)])(now.lam, 1)
        return sum((w * step.memory[name] for w, name in zip(weights, _SAID, strict=True)), Linear({}))
    a, b = change("eps", told, now)
    return a * step.memory["ahead"] + b * step.memory["noise"]


def _look_ahead(step: Step, d: Linear, reused: bool, extrapolation: str) -> None:
    """Remember slope, noise and what was said here, and x̂ at the next level; noise that was reused stays."""
    told, now, memory = step.tracer.rule.prediction, step.now, step.memory
    a, b = change(told, "eps", now)
    noise = memory["noise"] if reused else a * step.x + b * d
    a, b = change("eps", "velocity", now)
    slopes = [a * step.x + b * noise, *(memory[name] for name in _SLOPES if name in memory)][:3]
    said = [d, *(memory[name] for name in _SAID if name in memory)][:3]
    for name, value in [*zip(_SLOPES, slopes, strict=False), *zip(_SAID, said, strict=False), ("noise", noise)]:
        memory[name] = value
    if len(slopes) == 3:
        weights = zip(_weights(step, extrapolation), slopes, strict=True)
        memory["ahead"] = step.x + sum((w * f for w, f in weights), Linear({}))
        memory["bend"] = slopes[0] - 2 * slopes[1] + slopes[2]


def _weights(step: Step, extrapolation: str) -> list[Any]:
    """Δ w of the last three slopes, the newest first."""
    now, delta = step.now, step.next.t - step.now.t
    if extrapolation == "adams":
        if step.index < 2:
            raise SolverError(
                f"{step.tracer.rule.name}: the times of the slopes that an earlier run left are not known; look at the "
                "plan of a whole run on its own grid, run.sample.plan"
            )
        return phi.lagrange([step.grid[step.index - k].t - now.t for k in range(3)], 0, delta)
    return [(-_LABEL if extrapolation == "code" else delta) * w for w in _PUBLISHED]


@dataclass(frozen=True)
class Skipped:
    """A run of SADA.

    Attributes
    ----------
    sample : Sample
        Its plan is the one realised; `nfe` and `passes` are those made.
    skip : tuple of int
        The steps whose evaluation was left out.
    solver : Solver
        The rule with these decisions, which gives the run again; on the grid of the run, whose steps they count.
    """

    sample: Sample
    skip: tuple[int, ...]
    solver: Solver

    def __repr__(self) -> str:
        return f"<SADA: {repr(self.sample)[1:-1]}, {len(self.skip)} evaluations left out>"


@catalogued(
    "controller",
    "arXiv:2507.17135; official code, sada/solver.py (step-wise skipping)",
    slip="The weights of the extrapolation add up to 1, but have the first moment 0 in place of 1/2: of first order. "
    "Adams' weights keep the second.",
    page="acceleration.md",
)
def sada(
    model: Model,
    base: str | Solver,
    grid: TimeGrid,
    x_T: Array,
    *,
    extrapolation: str = "published",
    within: tuple[int, int] | None = None,
    longest: int = 4,
    mu: Array | None = None,
    backend: str = "numpy",
) -> Skipped:
    r"""SADA: stability-guided skipping of evaluations, on any solver without noise.

        the next evaluation is left out where mean[(x_t − x̂_t)·(f_s − 2 f_{s−1} + f_{s−2})] ≤ 0

    The mean is over all entries of the batch, as published, so that the decisions are those of the batch. Its pruning
    of tokens is a matter of the network; its Lagrange variant is `ReusedOutputs(every=…, order=4, of="x0")`.

    Parameters
    ----------
    model : Model
    base : str or Solver
        The official code has Euler's method and DPM-Solver++(2M).
    grid : TimeGrid
    x_T : array
    extrapolation : {"published", "code", "adams"}
        See `skipping`; "adams" is consistent.
    within : (int, int), optional
        First and last index of a step that may be left out; by default from 4 to the fourth from the end.
    longest : int
        How many in a row at most.
    mu : array, optional
        The anchor, where the process has one.
    backend : {"numpy", "torch"}

    Returns
    -------
    Skipped

    Raises
    ------
    SolverError
        If the base draws noise, or there is no extrapolation of this name.
    ModelError
        If the model does not fit the grid, or x_T is no state.

    Examples
    --------
    >>> import diffode as de
    >>> problem = de.problems.get_problem("mixture_1d")
    >>> grid = de.grids.uniform_lambda(problem.process, 30)
    >>> run = sada(problem.model, "dpmpp_2m", grid, problem.initial(50, seed=0))
    >>> run.sample.nfe + len(run.skip)
    30
    """
    if extrapolation not in EXTRAPOLATIONS:
        raise SolverError(f"sada: {unknown('extrapolation', extrapolation, EXTRAPOLATIONS)}")
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
        raise SolverError(f"sada: longest must be a whole number of at least 1, not {longest!r}")
    first, last = within or (4, grid.steps - 3)
    rule = skipping.configure(f"sada on {resolved(base).name}", base=resolved(base), extrapolation=extrapolation)
    skip: list[int] = []
    row = 0

    def choose(step: Step, read: Read) -> Linear:
        nonlocal row
        if "ahead" in step.memory:
            apart = (read(step.x) - read(step.memory["ahead"])) * read(step.memory["bend"])
            passed = row < longest and first <= step.index <= last and number(apart.mean()) <= 0
            row = row + 1 if passed else 0
            if passed:
                skip.append(step.index)
        return skipping.rule(step, resolved(base), skip, extrapolation)

    found = walk(model, rule, grid, x_T, choose, mu, backend)
    return Skipped(found, tuple(skip), rule.configure(rule.name, skip=tuple(skip)))
