r"""Fits of the canonical form: OLSS, non-stationary solvers (BNS) and S4S.

All three choose the weights of what is shown to the network, and of the final state,

    u_{i+1} = w_i x_T + Σ_{j ≤ i} w_ij m_j,        i = 0 … n − 1,

at one evaluation m_j = m(u_j, λ_j) for each step. OLSS takes each row by linear least squares to the states of a
teacher; BNS all of them at once, to the end points; S4S keeps the exact linear part of each step and k weights beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import DiffodeError, SolverError
from diffode.fitting.coefficients import Course, refined
from diffode.fitting.grids import flat, of_shares, shares
from diffode.fitting.keeping import descend
from diffode.fitting.outcome import Fit
from diffode.grids import TimeGrid
from diffode.solvers import Solver, get_solver
from diffode.solvers.exponential import form
from diffode.solvers.tables import CoefficientTable, Evaluation, TableStep

Rows = list[np.ndarray]
"""Row i holds the weights of x_T and of the first i outputs."""


@dataclass(frozen=True)
class Canonical:
    """The canonical form with one evaluation at each level of a grid but the last.

    Attributes
    ----------
    grid : TimeGrid
    prediction : str
    shown : Rows
        u_0 = x_T … u_{n−1}, shown to the network, and the final state.
    states : Rows
        The states at the levels; other than `shown` where a corrector follows.
    """

    grid: TimeGrid
    prediction: str
    shown: Rows
    states: Rows

    @staticmethod
    def of(solver: Solver, grid: TimeGrid, prediction: str | None = None) -> Canonical:
        """That of a registered solver.

        Raises
        ------
        SolverError
            If it does not evaluate once at each level.
        """
        table = CoefficientTable.of(solver.plan(grid), prediction)
        evaluations = [evaluation for step in table.steps for evaluation in step.evaluations]
        if [evaluation.lam for evaluation in evaluations] != [float(lam) for lam in grid.lam[:-1]]:
            raise SolverError(
                f"fit: {solver.name} does not evaluate once at each level; begin at one that does, start='dpmpp_2m' or "
                "'unipc_2'"
            )
        shown = [_row(one.weights, j) for j, one in enumerate([*evaluations, table.steps[-1]])]
        count = [sum(len(step.evaluations) for step in table.steps[: i + 1]) for i in range(len(table.steps))]
        states = [_row(step.weights, n) for step, n in zip(table.steps, count, strict=True)]
        return Canonical(grid, table.prediction, shown, [shown[0], *states])

    @property
    def corrected(self) -> bool:
        """Whether the states are put right by the outputs at what was shown."""
        return len(self.states[1]) > len(self.shown[1])

    def table(self) -> CoefficientTable:
        """As a solver's table."""
        lam, count = tuple(float(value) for value in self.grid.lam), self.grid.steps
        one = [Evaluation(_named(row), value) for row, value in zip(self.shown[:-1], lam[:-1], strict=True)]
        here = (
            [one[: 2 * (i == 0)] or one[i + 1 : i + 2] for i in range(count)] if self.corrected else [[e] for e in one]
        )
        steps = [TableStep(tuple(here[i]), _named(self.states[i + 1])) for i in range(count)]
        return CoefficientTable(lam, self.prediction, tuple(steps))


def _row(weights: Sequence[tuple[str, float]], count: int) -> np.ndarray:
    row = np.zeros(1 + count)
    for name, c in weights:
        row[0 if name == "x_T" else 1 + int(name[1:])] = c
    return row


def _named(row: np.ndarray) -> tuple[tuple[str, float], ...]:
    names = ("x_T", *(f"d{j}" for j in range(len(row) - 1)))
    return tuple((name, float(c)) for name, c in zip(names, row, strict=True) if c)


@catalogued("fit", "arXiv:2305.14677, section 3; code: alibaba/EasyNLP, olss_scheduler.py")
def fit_olss(
    target: Any,
    nfe: int,
    *,
    teacher: str | Solver = "dpmpp_2m",
    substeps: int = 16,
    forcing: str = "teacher",
    ridge: float = 0.0,
    prediction: str | None = None,
    **options: Any,
) -> Fit:
    r"""Optimal linear subspace search: each row by least squares to the states of a many-step teacher.

        min_w ‖x_{i+1} − w_i x_T − Σ_{j ≤ i} w_ij m_j‖² (+ ridge ‖w − w_start‖²),        in doubles

    Parameters
    ----------
    target, nfe
        See `de.fit`; steps, one evaluation each.
    teacher : str or Solver
        Its states at the levels are the goal.
    substeps : int
        Steps of the teacher for each step of the grid; with 1 and its own trajectory the teacher is found again.
    forcing : {"teacher", "student"}
        Where the m_j are taken: on the teacher's trajectory, as the authors do, or on the fit's own, which lets each
        row put right what those before it miss.
    ridge : float
        Of columns scaled to unit size.
    prediction : str, optional
        What the m_j are; that of the start by default.
    **options
        Those that all fits of coefficients take; see `diffode.fitting.coefficients.fit_coefficients`.

    Returns
    -------
    Fit

    Raises
    ------
    DiffodeError
        If an option makes no sense.

    Examples
    --------
    >>> found = fit_olss("mixture_1d", 4, samples=64, forcing="student")
    >>> found.after < found.before
    True
    """
    if forcing not in ("teacher", "student"):
        raise DiffodeError(f"fit_olss: forcing is 'teacher' or 'student', not {forcing!r}")
    if ridge < 0:
        raise DiffodeError(f"fit_olss: ridge must not be negative, as {ridge} is")
    course = Course.of(target, nfe, **options)
    goals = course.states(get_solver(teacher), refined(course.grid, substeps))[::substeps]
    begun = Canonical.of(course.start, course.grid, prediction)
    rows = _olss(course, begun, goals, forcing == "student", ridge)
    facts = {"teacher": get_solver(teacher).name, "substeps": substeps, "forcing": forcing, "ridge": ridge}
    made = Canonical(course.grid, begun.prediction, rows, rows)
    return course.concluded("olss", {"table": made.table().as_dict()}, facts)


def _olss(course: Course, begun: Canonical, goals: list[np.ndarray], student: bool, ridge: float) -> Rows:
    """The rows, one after the other."""
    x_T = course.target.train
    rows, columns, shown = [begun.shown[0]], [flat(x_T).ravel()], x_T
    for i, goal in enumerate(goals[1:]):
        x = shown if student else _like(goals[i], x_T)
        columns.append(flat(course.target.model.predict(x, course.grid[i], begun.prediction)).ravel())
        first = begun.shown[i + 1] if len(begun.shown[i + 1]) == i + 2 else np.zeros(i + 2)
        rows.append(_least_squares(np.stack(columns, axis=1), goal.ravel(), first, ridge))
        shown = _like((np.stack(columns, axis=1) @ rows[-1]).reshape(goal.shape), x_T)
    return rows


def _like(values: np.ndarray, x: Any) -> Any:
    """Rows of doubles as an array like x."""
    shaped = values.reshape(tuple(x.shape))
    return shaped.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(shaped)


def _least_squares(a: np.ndarray, goal: np.ndarray, first: np.ndarray, ridge: float) -> np.ndarray:
    """The weights nearest to the first, in scaled columns, of all that are as near to the goal as can be."""
    size = np.sqrt(np.mean(a**2, axis=0))
    size[size == 0] = 1.0
    pull = np.sqrt(ridge * len(a)) * np.eye(a.shape[1])
    found = np.linalg.lstsq(np.vstack([a / size, pull]), np.append(goal - a @ first, np.zeros(len(pull))))[0]
    return first + found / size


@catalogued("fit", "arXiv:2403.01329, section 3 (bespoke non-stationary solvers)")
def fit_bns(
    target: Any,
    nfe: int,
    *,
    iterations: int = 20,
    **options: Any,
) -> Fit:
    r"""A non-stationary solver: all weights of the canonical form at once, to the end points of the exact flow.

        x_{i+1} = a_i x_T + Σ_{j ≤ i} b_ij m_j,        min E ‖x_n − x(λ_n)‖²

    Parameters
    ----------
    target, nfe
        See `de.fit`; steps, one evaluation each; there are n (n + 3)/2 weights.
    iterations : int
        Gauss–Newton steps at most, the derivatives by differences.
    **options
        Those that all fits of coefficients take; see `diffode.fitting.coefficients.fit_coefficients`.

    Returns
    -------
    Fit

    Examples
    --------
    >>> found = fit_bns("mixture_1d", 3, samples=64, iterations=5)
    >>> found.provenance["train"]["after"] < found.provenance["train"]["before"] / 2
    True
    """
    course = Course.of(target, nfe, **options)
    begun = Canonical.of(course.start, course.grid)
    wide = [np.append(row, np.zeros(i + 1 - len(row))) for i, row in enumerate(begun.shown)]
    sizes = [_unit(row) for row in wide]
    count = sum(map(len, sizes[1:]))

    def made(u: np.ndarray) -> CoefficientTable:
        parts = np.split(u, np.cumsum([len(size) for size in sizes[1:]])[:-1])
        moved = [row + size * part for row, size, part in zip(wide[1:], sizes[1:], parts, strict=True)]
        rows = [wide[0], *moved]
        return Canonical(course.grid, begun.prediction, rows, rows).table()

    keeper = course.keeper("bns", iterations * (count + 1))

    def off(u: np.ndarray) -> np.ndarray:
        return course.off(lambda: (made(u).solver("bns"), course.grid))

    best = descend(off, keeper, iterations, np.zeros(count))
    facts = {"iterations": iterations, "runs": keeper.tried, "interrupted": keeper.interrupted}
    return course.concluded("bns", {"table": made(best).as_dict()}, facts)


def _unit(row: np.ndarray) -> np.ndarray:
    """How far each weight of a row is moved by a parameter of 1."""
    outputs = float(np.max(np.abs(row[1:]), initial=0.0))
    return np.append(row[0] or outputs, np.full(len(row) - 1, outputs or row[0]))


@dataclass(frozen=True)
class _Window:
    """S4S: steps with their exact linear part, and the weights of the newest outputs beside it."""

    solver: Solver
    history: int
    corrector: bool
    prediction: str | None

    def made(self, grid: TimeGrid, u: np.ndarray) -> Canonical:
        """The canonical form on a grid, the start's weights moved by u in units of the largest of each step."""
        begun = Canonical.of(self.solver, grid, self.prediction)
        states, shown, moves = [begun.states[0]], [begun.shown[0]], iter(u)
        for i in range(grid.steps):
            ratio = float(form(begun.prediction, grid[i], grid[i + 1]).ratio)
            shown.append(self._moved(begun.shown[i + 1], begun.states[i], states[i], ratio, i + 1, moves))
            corrected = self.corrector and i + 1 < grid.steps
            before = begun.states[i + 1]
            states.append(
                self._moved(before, begun.states[i], states[i], ratio, i + 2, moves) if corrected else shown[-1]
            )
        return Canonical(grid, begun.prediction, shown, states)

    def _moved(
        self, row: np.ndarray, begun: np.ndarray, state: np.ndarray, ratio: float, outputs: int, moves: Any
    ) -> np.ndarray:
        """ratio · state + the start's own increment, moved; `outputs` of them are known."""
        own = _wide(row, outputs) - ratio * _wide(begun, outputs)
        for j in range(max(1, 1 + outputs - self.history), 1 + outputs):
            own[j] += next(moves) * float(np.max(np.abs(own[1:])))
        own[0] = 0.0
        return ratio * _wide(state, outputs) + own

    def count(self, steps: int) -> int:
        """How many weights there are."""
        predicted = sum(min(i + 1, self.history) for i in range(steps))
        return predicted + self.corrector * sum(min(i + 2, self.history) for i in range(steps - 1))


def _wide(row: np.ndarray, outputs: int) -> np.ndarray:
    return np.append(row, np.zeros(1 + outputs - len(row)))


@catalogued("fit", "arXiv:2502.17423, sections 3 (S4S) and 3.3 (S4S-Alt)")
def fit_s4s(
    target: Any,
    nfe: int,
    *,
    history: int = 3,
    corrector: bool = False,
    alternate: int = 0,
    iterations: int = 20,
    prediction: str | None = None,
    **options: Any,
) -> Fit:
    r"""S4S: the coefficients of each step of a multistep rule, to the end points of the exact flow.

        x_{i+1} = ratio_i x^c_i + Σ_{j < k} b_ij m_{i−j}
        x^c_{i+1} = ratio_i x^c_i + Σ_{j < k} c_ij m_{i+1−j}        with a corrector; otherwise x^c = x

    With `alternate` it is S4S-Alt: coefficients and times take turns. The authors let the start of the student move
    in a small ball, and measure by LPIPS; here it stands still, and the distance is Euclidean.

    Parameters
    ----------
    target, nfe
        See `de.fit`; steps, one evaluation each.
    history : int
        k, how many outputs a step weighs.
    corrector : bool
        Whether each state is put right by the output at the predicted one, as in UniPC; a start that does so keeps it.
    alternate : int
        Rounds of coefficients and times; 0 leaves the times where they are.
    iterations : int
        Gauss–Newton steps at most, for each turn.
    prediction : str, optional
        "x0" or "eps"; that of the start by default.
    **options
        Those that all fits of coefficients take; see `diffode.fitting.coefficients.fit_coefficients`.

    Returns
    -------
    Fit

    Raises
    ------
    SolverError
        If the start does not evaluate once at each level.

    Examples
    --------
    >>> found = fit_s4s("mixture_1d", 4, samples=64, iterations=15)
    >>> found.provenance["train"]["after"] < found.provenance["train"]["before"] / 2
    True
    """
    if isinstance(history, bool) or not isinstance(history, int) or history < 1:
        raise DiffodeError(f"fit_s4s: history must be a whole number of at least 1, not {history!r}")
    if prediction not in (None, "x0", "eps"):
        raise DiffodeError(f"fit_s4s: prediction must be 'x0' or 'eps', not {prediction!r}")
    course = Course.of(target, nfe, **options)
    corrector = corrector or Canonical.of(course.start, course.grid).corrected
    window = _Window(course.start, history, corrector, prediction)
    count, times = window.count(nfe), nfe if alternate else 0
    first = shares(course.grid, "lam")

    def placed(u: np.ndarray) -> TimeGrid:
        moved = u[count:]
        return of_shares(course.target, first + moved, "lam") if np.any(moved) else course.grid

    def made(u: np.ndarray) -> tuple[CoefficientTable, TimeGrid]:
        where = placed(u)
        return window.made(where, u[:count]).table(), where

    def run(u: np.ndarray) -> tuple[Solver, TimeGrid]:
        table, where = made(u)
        return table.solver("s4s"), where

    def off(u: np.ndarray) -> np.ndarray:
        return course.off(lambda: run(u))

    turns = [slice(0, count)] + [slice(count, None), slice(0, count)] * alternate
    total = sum(iterations * (len(range(count + times)[turn]) + 1) for turn in turns)
    keeper = course.keeper("s4s", total, history=history, corrector=corrector, alternate=alternate)
    best = np.zeros(count + times)
    for turn in turns:
        if not keeper.interrupted:
            best = descend(off, keeper, iterations, best, turn)
    table, where = made(best)
    facts = {
        "history": history, "corrector": corrector, "alternate": alternate, "iterations": iterations,
        "runs": keeper.tried, "interrupted": keeper.interrupted,
    }  # fmt: skip
    return course.concluded("s4s", {"table": table.as_dict()}, facts, where)
