"""`optimize`: the free parameters of a formula, chosen to err least or to bear most."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from diffode.analysis.certificate import Certificate
from diffode.analysis.derivation.bearing import Interval, LongestStep, largest, simplest
from diffode.analysis.derivation.constants import ErrorConstants, error_constants, least
from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.parameters import Range, Subject, subject
from diffode.analysis.derivation.writing import text
from diffode.analysis.order.fixed_point import probe
from diffode.analysis.verification import verify
from diffode.errors import SolverError, placed, unknown
from diffode.series import rational
from diffode.solvers import Solver

Objective = ErrorConstants | Interval | LongestStep

OBJECTIVES = {
    "error-constant": "principal error constant",
    "stability-interval": "real stability interval",
    "imaginary-interval": "imaginary stability interval",
    "guidance": "guidance that is borne",
}
"""What can be asked for. The first is minimised, the others maximised."""

_OVERFITS = ("gaussian", "w2", "kl", "linear")


@dataclass(frozen=True)
class Optimum:
    """Parameters that are best for an objective.

    Attributes
    ----------
    objective : str
    what : str
        What was minimised or maximised, in words.
    solver : Solver
        With the best parameters.
    before, after : float
        The objective at the parameters that the rule ships, and at the best ones.
    started, parameters : mapping
        Name → value, there and here.
    gradient : mapping
        Name → derivative of the objective here: 0 at a stationary point, otherwise the range ends here, or another root
        takes over; None where there is no derivative.
    ranges : mapping
        Name → (low, high), what was searched.
    proved : bool
        Whether nothing better is in the range (all stationary points are known); else it is the best of a search.
    tried, seed : int
        Parameters looked at, and where the starts were drawn from.
    formula : str
        The objective in symbols, where it has a closed form.

    Examples
    --------
    >>> best = optimize("exp-rk", stages=2)  # Ralston's method, exponential
    >>> best.parameters, best.proved
    ({'c2': 0.6666666666666666}, True)
    """

    objective: str
    what: str
    solver: Solver
    before: float
    after: float
    started: Mapping[str, float]
    parameters: Mapping[str, float]
    gradient: Mapping[str, float | None]
    ranges: Mapping[str, Range]
    proved: bool
    tried: int
    seed: int
    formula: str = ""
    derivation: Derivation | None = field(default=None, repr=False)

    @cached_property
    def certificate(self) -> Certificate:
        """What `verify` finds of the solver."""
        return verify(self.solver)

    @property
    def edges(self) -> list[str]:
        """The parameters that lie at an end of their range."""
        return [name for name, value in self.parameters.items() if value in self.ranges[name]]

    def source(self, name: str | None = None) -> str:
        """The solver file, its options by default what was found.

        Raises
        ------
        SolverError
            If the solver was not derived: then its name says all.
        """
        if self.derivation is None:
            raise SolverError(f"optimize: {self.solver.name} is a registered rule with options; use it by that name")
        return replace(self.derivation, name=name or self.derivation.name).source()

    def as_dict(self) -> dict[str, Any]:
        """What `diffode derive optimize --json` writes, the certificate with it."""
        return {
            "objective": self.objective, "what": self.what, "solver": self.solver.name, "before": self.before,
            "after": self.after, "started": dict(self.started), "parameters": dict(self.parameters),
            "gradient": dict(self.gradient), "ranges": {name: list(r) for name, r in self.ranges.items()},
            "at_end_of_range": self.edges, "proved": self.proved, "tried": self.tried, "seed": self.seed,
            "formula": self.formula, "certificate": json.loads(self.certificate.to_json()),
        }  # fmt: skip

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def save(self, path: str | Path) -> None:
        """Write the solver file."""
        placed(path).write_text(self.source(Path(path).stem), encoding="utf-8")

    def __str__(self) -> str:
        verb = "minimised" if self.objective == "error-constant" else "maximised"
        found = ", ".join(f"{name} = {_written(value)}" for name, value in self.parameters.items())
        came = ", ".join(f"{name} = {_written(value)}" for name, value in self.started.items())
        how = "all stationary points are known" if self.proved else f"the best of {self.tried} tries, seed {self.seed}"
        slopes = [f"∂/∂{name} = {'none' if v is None else f'{v:.2g}'}" for name, v in self.gradient.items()]
        lines = [
            f"{self.solver.name}: {verb} {self.what}",
            f"  {self.before:.9g} at {came}",
            f"  {self.after:.9g} at {found}  ({how}; {', '.join(slopes)})",
        ]
        if self.formula:
            lines.append(f"  {self.formula}")
        lines += [f"  {name} lies at an end of its range {_span(self.ranges[name])}" for name in self.edges]
        if self.objective == "error-constant" and self.after == 0:
            lines.append("  the error constants vanish: on equal steps in λ the order is higher by one")
        return "\n".join(lines)


def optimize(
    what: str | Solver | Derivation,
    objective: str = "error-constant",
    *,
    free: str | Sequence[str] | None = None,
    ranges: Mapping[str, Range] | None = None,
    guidance: float | None = None,
    step: float | None = None,
    starts: int = 4,
    seed: int = 0,
    **structure: Any,
) -> Optimum:
    r"""The free parameters of a formula that minimise its error constant, or maximise what it bears.

        error-constant        E = (Σ_τ (e_τ/s(τ))²)^{1/2} over the trees of p + 1 nodes, on equal steps
        stability-interval    ℓ: y′ = ζ y is stable for −ℓ ≤ z ≤ 0 (linear test, or the limit of small steps)
        imaginary-interval    the same for z = ± i y
        guidance              in small steps the product w h = ℓ; with `step` the scale w that steps of this length in λ
                              bear, with `guidance` the longest steps that bear this scale; data at a point, y′ = −w y

    Parameters
    ----------
    what : str, Solver or Derivation
        A family of `derive` with its options (its nodes are free by default), what `derive` returned, or a solver with
        options that have a range (`ghvb_2.5`, `dpm_solver_2`). A registered option moves as far as the claimed order
        does not change.
    objective : str
    free : names, optional
        All by default.
    ranges : mapping, optional
        Name → (low, high).
    guidance, step : float, optional
        For the objective "guidance": w, or h in λ.
    starts, seed : int
        Where several parameters are searched: how many starts are drawn, and from which seed.
    **structure
        Options of the family.

    Returns
    -------
    Optimum

    Raises
    ------
    SolverError
        If nothing is free, the objective is not known or not defined for the rule, or a range is outside the declared
        one. A Gaussian error is refused: coefficients fitted to a linear problem err on others; see `optimize_grid`.

    Examples
    --------
    >>> best = optimize("exp-multistep", "guidance", order=2, history=2)
    >>> best.before, best.after, best.parameters  # what `guidance_barrier(3, 2)` proves to be the largest
    (1.0, 2.0, {'b_2': -0.25})
    """
    _check(objective, guidance, step, starts, seed)
    chosen = subject(what, free, ranges, **structure)
    if not probe(chosen.solver).is_deterministic:
        raise SolverError(
            f"optimize: {chosen.solver.name} draws noise, and {objective} is about rules that do not; set its noise "
            "level to 0, or look at de.analysis.mean_square"
        )
    probe(chosen.solver).require_linear("optimize")
    if objective == "error-constant":
        return _least(chosen, starts, seed)
    if objective == "guidance" and guidance is not None:
        goal: Interval | LongestStep = LongestStep(chosen, float(guidance))
        words = f"the longest step in λ that bears guidance {guidance:g}"
    elif objective == "guidance" and step is not None:
        goal, words = Interval(chosen, "real", rational(float(step))), f"the guidance that steps of {step:g} in λ bear"
    elif objective == "guidance":
        goal, words = Interval(chosen), "the product of guidance and step that is borne in small steps"
    else:
        kind = "imaginary" if objective == "imaginary-interval" else "real"
        goal, words = Interval(chosen, kind), f"the {OBJECTIVES[objective]}"
    found = largest(goal, starts, seed)
    values = simplest(goal.value, chosen, found.values, 1)
    return _optimum(chosen, objective, words, goal, values, False, found.tried, seed)


def _check(objective: str, guidance: float | None, step: float | None, starts: int, seed: int) -> None:
    if objective in _OVERFITS:
        raise SolverError(
            f"optimize: {objective} is no objective for coefficients: fitted to a linear problem they err on others "
            "(docs/optimising.md measures it); choose a grid by it, de.optimize_grid or --grid"
        )
    if objective not in OBJECTIVES:
        raise SolverError(f"optimize: {unknown('objective', objective, OBJECTIVES)}")
    if (guidance is not None or step is not None) and objective != "guidance":
        raise SolverError(f"optimize: guidance and step go with objective='guidance', not {objective!r}")
    if guidance is not None and step is not None:
        raise SolverError("optimize: give guidance (then the step is maximised) or step (then the guidance), not both")
    for name, value in (("guidance", guidance), ("step", step)):
        if value is not None and not (isfinite(value) and value > 0):
            raise SolverError(f"optimize: {name} must be a positive number, not {value!r}")
    for name, count in (("starts", starts), ("seed", seed)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise SolverError(f"optimize: {name} must be a whole number of at least 0, not {count!r}")


def _least(chosen: Subject, starts: int, seed: int) -> Optimum:
    constants = error_constants(chosen)
    found = least(constants, chosen, starts, seed)
    values = simplest(constants.value, chosen, found.values, -1)
    words = f"the {OBJECTIVES['error-constant']} of order {constants.order}"
    best = _optimum(chosen, "error-constant", words, constants, values, found.proved, found.tried, seed)
    return replace(best, formula=f"E² = {text(constants.square)}")


def _optimum(
    chosen: Subject,
    objective: str,
    words: str,
    goal: Objective,
    values: Sequence[Fraction],
    proved: bool,
    tried: int,
    seed: int,
) -> Optimum:
    at, start, names = tuple(values), chosen.start, chosen.names
    derived = chosen.derived(at)
    solver = chosen.configured(at) if derived is None else derived.solver
    slopes = [float(c) if np.isfinite(c) else None for c in goal.gradient(at)]
    return Optimum(
        objective, words, solver, goal.value(start), goal.value(at),
        dict(zip(names, map(float, start), strict=True)), dict(zip(names, map(float, at), strict=True)),
        dict(zip(names, slopes, strict=True)), {p.name: (p.low, p.high) for p in chosen.parameters},
        proved, tried, seed, "", derived,
    )  # fmt: skip


def _written(value: float) -> str:
    simple = rational(value)
    return f"{simple}" if simple.denominator < 1000 else f"{value:.9g}"


def _span(ends: Range) -> str:
    return f"{ends[0]:g} … {ends[1]:g}"
