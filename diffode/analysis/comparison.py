"""Work–precision: solvers side by side at equal numbers of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.analysis.judging import MANY, Judge, by_exact_law, by_path, by_quantiles
from diffode.errors import DiffodeError, GridError, ModelError, unknown
from diffode.grids import NAMES, TimeGrid, karras
from diffode.models import GaussianMixture, Model
from diffode.plan import Plan
from diffode.problems import Problem, get_problem
from diffode.sampling import compile
from diffode.solvers import Solver, get_solver, registry

MEASURES = ("path", "law")

_LEFT_OUT: Any = object()
"""What `model` is where it was not given; None says that a model is missing."""

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
        On Gaussian data the exact Wasserstein-2 distance to the true law; else, as was asked for, the root-mean-square
        distance to the end points of the probability-flow ODE, or the distance of laws. None where there is none.
    uncertainty : float
        Error of the reference, 0 where it is exact; for a law with noise, the distance that as many exact draws have.
    note : str
        Why there is no error.
    stochastic : bool
        Whether the solver draws noise.
    """

    solver: str
    problem: str
    nfe: int
    spent: int
    error: float | None
    uncertainty: float = 0.0
    note: str = ""
    stochastic: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {
            "solver": self.solver, "problem": self.problem, "nfe": self.nfe, "spent": self.spent,
            "error": self.error, "uncertainty": self.uncertainty, "note": self.note, "stochastic": self.stochastic,
        }  # fmt: skip


class Rows(list[Row]):
    """Rows that print as a table: a line for each solver, a column for each budget."""

    @property
    def front(self) -> list[Row]:
        """The Pareto front, by evaluations: rows with a smaller error than all that spend no more."""
        best: list[Row] = []
        for row in sorted((row for row in self if row.error is not None), key=lambda row: (row.spent, row.error)):
            if not best or (row.error or 0.0) < (best[-1].error or 0.0):
                best.append(row)
        return best

    def __str__(self) -> str:
        if not self:
            return "no rows"
        budgets = list(dict.fromkeys(row.nfe for row in self))
        table: dict[str, dict[int, str]] = {}
        for row in self:
            table.setdefault(row.solver, {})[row.nfe] = "–" if row.error is None else f"{row.error:.2e}"
        width = max(len(name) for name in table)
        lines = [f"error on {self[0].problem} with at most so many evaluations"]
        lines.append(" " * width + "".join(f"{budget:>10}" for budget in budgets))
        for name, cells in table.items():
            lines.append(name.ljust(width) + "".join(f"{cells.get(budget, ''):>10}" for budget in budgets))
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__


def compare(
    solvers: str | Solver | Sequence[str | Solver],
    model: Model | None = _LEFT_OUT,
    nfe: int | Sequence[int] = (5, 10, 20),
    *,
    problem: str | Problem | None = None,
    x_T: Any = None,
    grid: str | Builder | TimeGrid = karras,
    samples: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-9,
    measure: str = "path",
    progress: Progress | None = None,
) -> Rows:
    """Errors of solvers at equal numbers of evaluations, on any model.

    Parameters
    ----------
    solvers : str, Solver, or sequence of them
        "all" is the registry; a solver that cannot run on the grid or within a budget says so in its rows then.
    model : Model, optional
        Any model; or give a problem.
    nfe : int or sequence of int
        Budgets of evaluations.
    problem : str or Problem, optional
        A named problem ("mixture_2d", "digits", …; see `diffode.problems`); "mixture_2d" if no model is given.
    x_T : array, optional
        Starting states for a model of one's own; draws of N(0, σ_T²) need its dimension, so they are required there.
    grid : callable, str or TimeGrid
        grid(process, steps) → TimeGrid, or the name of such a builder. On a TimeGrid every solver runs once, and its
        `nfe` is what it takes there.
    samples : int, optional
        Number of the starting states: 256, or 65536 where laws are measured.
    seed : int
        Of the starting states, and of noise.
    tolerance : float
        Of the reference; its own error is stated with each row.
    measure : {"path", "law"}
        What the error is where data are not Gaussian: that of the end points, or for data on the line that of their law
        (`by_quantiles`), which tells of solvers with noise too.
    progress : callable, optional
        Called with (done, in all).

    Returns
    -------
    Rows
        A list of `Row`, one for each solver and budget, solvers in the order given; it prints as a table.

    Raises
    ------
    DiffodeError
        If a budget is too small for one step of a solver, no starting states are given for a model, or both a model and
        a problem are given.

    Examples
    --------
    >>> import diffode as de
    >>> rows = compare(["ddim", "heun"], nfe=[8], problem="gaussian")
    >>> [(row.solver, row.spent) for row in rows]
    [('ddim', 8), ('heun', 8)]
    """
    everything = isinstance(solvers, str) and solvers == "all"
    listed: Any = registry().values() if everything else [solvers] if isinstance(solvers, (str, Solver)) else solvers
    chosen = [get_solver(name) for name in listed]
    if not chosen:
        raise DiffodeError("compare: give at least one solver")
    if model is None and problem is None:
        raise DiffodeError("compare: model is None; give a model, or leave it out to compare on a problem")
    if measure not in MEASURES:
        raise DiffodeError(unknown("measure", measure, MEASURES))
    count = samples or (MANY if measure == "law" else 256) if x_T is None else len(x_T)
    subject = _subject(None if model is _LEFT_OUT else model, problem, x_T, count, seed)
    if getattr(subject.model.process, "components", 1) > 1:
        raise DiffodeError(
            f"compare: {subject.model.process!r} is a system, and errors are told for one state; "
            "diffode.analysis.systems.law has the exact law of a system"
        )
    plans = list(_plans(chosen, subject, grid, [nfe] if isinstance(nfe, int) else nfe, everything))
    judge = _judge(subject, _ends(subject, grid), measure, tolerance, count, seed)
    rows = Rows()
    for done, (solver, budget, plan) in enumerate(plans):
        if isinstance(plan, str):
            rows.append(Row(solver.name, subject.name, budget, 0, None, note=plan))
        else:
            rows.append(Row(solver.name, subject.name, budget, plan.nfe, *judge(plan), not plan.is_deterministic))
        if progress is not None:
            progress(done + 1, len(plans))
    return rows


@dataclass(frozen=True)
class _Subject:
    """What is compared on: a model, starting states, and the law of the data where it is known."""

    name: str
    model: Model
    x_T: Any
    data: GaussianMixture | None


def _judge(subject: _Subject, ends: TimeGrid, measure: str, tolerance: float, count: int, seed: int) -> Judge:
    if subject.data is not None and len(subject.data.weights) == 1:
        return by_exact_law(subject.data)
    if measure == "path":
        return by_path(subject.model, subject.x_T, ends, tolerance)
    if subject.data is None:
        raise DiffodeError(f"measure='law' needs data of a known law, which {subject.name} has not; take mixture_1d")
    return by_quantiles(subject.model, subject.data, ends, count, seed)


def _subject(model: Model | None, problem: str | Problem | None, x_T: Any, samples: int, seed: int) -> _Subject:
    if model is not None:
        if not isinstance(model, Model):
            raise ModelError(f"compare: needs a model, not {model!r}; name a problem as problem={model!r}")
        if problem is not None:
            raise DiffodeError("compare: a model and a problem were given; leave one out")
        if x_T is None:
            raise DiffodeError("compare: give the starting states x_T of your model, an array of shape (batch, …)")
        return _Subject(type(model).__name__, model, x_T, None)
    chosen = get_problem(problem or "mixture_2d") if problem is None or isinstance(problem, str) else problem
    start = chosen.initial(samples, seed) if x_T is None else x_T
    return _Subject(chosen.name, chosen.model, start, chosen.data)


def _builder(grid: Any) -> Builder:
    if isinstance(grid, str):
        if grid not in NAMES:
            raise GridError(unknown("grid", grid, NAMES))
        return NAMES[grid]
    if not callable(grid):
        raise GridError(f"compare: grid must be a builder (de.grids.karras), its name, or a TimeGrid, not {grid!r}")
    built: Any = grid
    return built


def _plans(
    chosen: Sequence[Solver], subject: _Subject, grid: Any, nfe: Sequence[int], lenient: bool
) -> Iterator[tuple[Solver, int, Plan | str]]:
    """A solver with a budget and its plan, one after the other; for a lenient caller, why there is no plan."""
    if isinstance(grid, TimeGrid):
        for solver in chosen:
            plan = compile(solver, subject.model.process, grid)
            yield solver, plan.nfe, plan
        return
    build = _builder(grid)
    for budget in nfe:
        if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)) or budget < 1:
            raise DiffodeError(f"compare: nfe holds {budget!r}; budgets are positive whole numbers, as in nfe=[5, 10]")
    for solver in chosen:
        for budget in nfe:
            try:
                yield solver, budget, _within(solver, subject, build, budget)
            except DiffodeError as problem:
                if not lenient:
                    raise
                yield solver, budget, str(problem)


def _ends(subject: _Subject, grid: Any) -> TimeGrid:
    """A grid with the first and the last level."""
    return grid if isinstance(grid, TimeGrid) else _builder(grid)(subject.model.process, 2)


def _within(solver: Solver, subject: _Subject, grid: Builder, budget: int) -> Plan:
    """The plan with the most steps that stays within a budget of evaluations."""
    for steps in range(budget, 0, -1):
        plan = solver.plan(grid(subject.model.process, steps))
        if plan.nfe <= budget:
            return plan
    raise DiffodeError(f"compare: one step of {solver.name} takes more than {budget} evaluations; raise nfe")
