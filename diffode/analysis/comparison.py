"""Work–precision: solvers side by side at equal numbers of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.analysis.endpoint import Reference, reference
from diffode.analysis.moments import law
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError
from diffode.grids import TimeGrid, karras
from diffode.models import Model
from diffode.plan import Plan
from diffode.problems import Problem, get_problem
from diffode.solvers import Solver, get_solver

Progress = Callable[[int, int], None]
Builder = Callable[..., TimeGrid]


@dataclass(frozen=True)
class Row:
    """One solver at one budget.

    Attributes
    ----------
    solver, problem : str
    nfe : int
        The budget asked for.
    spent : int
        Evaluations used: the largest number of whole steps within the budget.
    error : float or None
        On Gaussian data the exact Wasserstein-2 distance to the true law; else the root-mean-square distance to the end
        points of the probability-flow ODE. None for a solver with noise where no exact law is known.
    uncertainty : float
        Error of the reference, 0 where it is exact.
    note : str
        Why there is no error.
    """

    solver: str
    problem: str
    nfe: int
    spent: int
    error: float | None
    uncertainty: float = 0.0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {
            "solver": self.solver, "problem": self.problem, "nfe": self.nfe, "spent": self.spent,
            "error": self.error, "uncertainty": self.uncertainty, "note": self.note,
        }  # fmt: skip


def compare(
    solvers: Sequence[str | Solver],
    model: Model | None = None,
    nfe: Sequence[int] = (5, 10, 20),
    *,
    problem: str | Problem | None = None,
    x_T: Any = None,
    grid: Builder = karras,
    samples: int = 256,
    seed: int = 0,
    tolerance: float = 1e-9,
    progress: Progress | None = None,
) -> list[Row]:
    """Errors of solvers at equal numbers of evaluations, on any model.

    Parameters
    ----------
    solvers : sequence of str or Solver
    model : Model, optional
        Any model; or give a problem.
    nfe : sequence of int
        Budgets of evaluations.
    problem : str or Problem, optional
        A named problem ("mixture_2d", "digits", …; see `diffode.problems`); "mixture_2d" if no model is given.
    x_T : array, optional
        Starting states for a model of one's own; draws of N(0, σ_T²) need its dimension, so they are required there.
    grid : callable
        grid(process, steps) → TimeGrid.
    samples, seed : int
        Number and seed of the starting states.
    tolerance : float
        Of the reference; its own error is stated with each row.
    progress : callable, optional
        Called with (done, in all).

    Returns
    -------
    list of Row
        One for each solver and budget, solvers in the order given.

    Raises
    ------
    DiffodeError
        If a budget is too small for one step of a solver, or no starting states are given for a model.

    Examples
    --------
    >>> import diffode as de
    >>> rows = compare(["ddim", "heun"], nfe=[8], problem="gaussian")
    >>> [(row.solver, row.spent) for row in rows]
    [('ddim', 8), ('heun', 8)]
    """
    if not solvers:
        raise DiffodeError("compare: give at least one solver")
    chosen = [get_solver(name) for name in solvers]
    subject = _subject(model, problem, x_T, samples, seed)
    plans = [(solver, budget, _within(solver, subject, grid, budget)) for solver in chosen for budget in nfe]
    rows: list[Row] = []
    known: Reference | None = None
    for done, (solver, budget, plan) in enumerate(plans):
        if subject.gaussian is None and known is None and plan.is_deterministic:
            known = reference(subject.model, subject.x_T, grid(subject.model.process, 2), tolerance)
        rows.append(_row(solver, budget, plan, subject, known))
        if progress is not None:
            progress(done + 1, len(plans))
    return rows


@dataclass(frozen=True)
class _Subject:
    """What is compared on: a model, starting states, and Gaussian data where the exact law is known."""

    name: str
    model: Model
    x_T: Any
    gaussian: Any


def _subject(model: Model | None, problem: str | Problem | None, x_T: Any, samples: int, seed: int) -> _Subject:
    if model is not None:
        if x_T is None:
            raise DiffodeError("compare: give the starting states x_T of your model, an array of shape (batch, …)")
        return _Subject(type(model).__name__, model, x_T, None)
    chosen = get_problem(problem or "mixture_2d") if problem is None or isinstance(problem, str) else problem
    start = chosen.initial(samples, seed) if x_T is None else x_T
    gaussian = chosen.data is not None and len(chosen.data.weights) == 1
    return _Subject(chosen.name, chosen.model, start, chosen.data if gaussian else None)


def _within(solver: Solver, subject: _Subject, grid: Builder, budget: int) -> Plan:
    """The plan with the most steps that stays within a budget of evaluations."""
    for steps in range(budget, 0, -1):
        plan = solver.plan(grid(subject.model.process, steps))
        if plan.nfe <= budget:
            return plan
    raise DiffodeError(f"compare: one step of {solver.name} takes more than {budget} evaluations; raise nfe")


def _row(solver: Solver, budget: int, plan: Plan, subject: _Subject, known: Reference | None) -> Row:
    if subject.gaussian is not None:
        return Row(solver.name, subject.name, budget, plan.nfe, law(plan, subject.gaussian).w2())
    if not plan.is_deterministic:
        note = "draws noise: no exact law is known here; compare it on Gaussian data"
        return Row(solver.name, subject.name, budget, plan.nfe, None, note=note)
    if known is None:
        raise DiffodeError("compare: there is no reference for this model")
    backend = get_backend("numpy" if isinstance(subject.x_T, np.ndarray) else "torch")
    final = execute(backend, plan, subject.model, [subject.x_T])[plan.states[-1]]
    error = float(((final - known.x) ** 2).mean() ** 0.5)
    return Row(solver.name, subject.name, budget, plan.nfe, error, known.error)
