r"""AMED: where each step looks for its mean direction, how far it follows it, and what the network is told there.

The numbers (r, c, a) of every step (`diffode.solvers.mean_direction`) are fitted to a teacher's states, step after step
from the states that the fit itself has reached, as the authors train their network; then all at once to the end points.
Their network gives other numbers for each sample. Here they are the same for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffode.backends import execute
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError
from diffode.fitting.coefficients import Course, refined
from diffode.fitting.grids import backend_of, flat
from diffode.fitting.keeping import Keeper, descend
from diffode.fitting.outcome import Fit
from diffode.grids import TimeGrid
from diffode.solvers import Solver, get_solver
from diffode.solvers.tables import base_name

_SPREAD = 0.2
"""How far c and a may be from 1."""


def _numbers(u: np.ndarray) -> dict[str, Any]:
    """r in (0, 1), c and a near 1, of parameters of shape (3, steps) without bounds; 0 is the start."""
    r, scales = 1 / (1 + np.exp(-u[0])), 1 + _SPREAD * np.tanh(u[1:])
    return {"r": np.clip(r, 1e-3, 0.999).tolist(), "c": scales[0].tolist(), "a": scales[1].tolist()}


@catalogued("fit", "arXiv:2312.00094, section 3; code: zju-pi/diff-sampler, amed-solver-main")
def fit_amed(
    target: Any,
    nfe: int,
    *,
    base: str | None = None,
    teacher: str | Solver = "dpmpp_2m",
    substeps: int = 16,
    iterations: int = 10,
    **options: Any,
) -> Fit:
    r"""AMED-Solver, or with a base AMED-Plugin, with (r, c, a) fitted for every step.

    Parameters
    ----------
    target, nfe
        See `de.fit`; even: each step is split once.
    base : str, optional
        A registered solver whose steps are split, one evaluation each; without one it is AMED-Solver, which begins as
        DPM-Solver-2.
    teacher : str or Solver
        Whose states at the levels AMED-Solver is fitted to at first.
    substeps : int
        Steps of the teacher for each step of the grid.
    iterations : int
        Gauss–Newton steps at most, for each step and for all together.
    **options
        Those that all fits of coefficients take; see `diffode.fitting.coefficients.fit_coefficients`.

    Returns
    -------
    Fit
        Of the rule `amed` or `amed_plugin`.

    Raises
    ------
    DiffodeError
        If the budget is odd, or an option makes no sense.

    Examples
    --------
    >>> found = fit_amed("mixture_1d", 4, samples=64)
    >>> len(found.solver.options["r"]), found.provenance["train"]["after"] < found.provenance["train"]["before"] / 2
    (2, True)
    """
    rule = "amed" if base is None else "amed_plugin"
    fixed: dict[str, Any] = {} if base is None else {"base": base_name(base)}
    start = get_solver(rule).configure(**fixed)
    course = Course.of(target, nfe, per_step=2, start=start, **options)
    if start.plan(course.grid).nfe != nfe:
        raise DiffodeError(f"fit_amed: {base} evaluates more than once a step; take a base that does not, or none")
    steps = course.grid.steps
    first = np.zeros((3, steps))
    total = iterations * (3 * steps + 1)
    keeper = course.keeper("amed", total, base=base, teacher=get_solver(teacher).name, substeps=substeps)
    if base is None and keeper.best is None:
        goals = course.states(get_solver(teacher), refined(course.grid, substeps))[::substeps]
        first = _step_by_step(course, start, goals, iterations)

    def off(u: np.ndarray) -> np.ndarray:
        return course.off(lambda: (start.configure(**_numbers(u.reshape(3, steps))), course.grid))

    keeper.offer([0.0] * (3 * steps), float(np.sqrt(np.mean(off(np.zeros(3 * steps)) ** 2))))
    keeper.offer(first.ravel().tolist(), float(np.sqrt(np.mean(off(first.ravel()) ** 2))))
    best = descend(off, keeper, iterations, first.ravel()).reshape(3, steps)
    facts = {
        "base": base, "teacher": get_solver(teacher).name, "substeps": substeps, "iterations": iterations,
        "interrupted": keeper.interrupted,
    }  # fmt: skip
    return course.concluded("amed", {"rule": rule, "options": {**fixed, **_numbers(best)}}, facts)


def _step_by_step(course: Course, start: Solver, goals: list[np.ndarray], iterations: int) -> np.ndarray:
    """Each step's numbers to the teacher's next state, from the states that the steps before have reached."""
    x, found = course.target.train, np.zeros((3, course.grid.steps))
    for i, goal in enumerate(goals[1:]):
        span = TimeGrid(course.target.process, levels=course.grid.levels[i : i + 2])

        def after(u: np.ndarray, span: TimeGrid = span, x: Any = x) -> Any:
            plan = start.configure(**_numbers(u[:, None])).plan(span)
            return execute(backend_of(x), plan, course.target.model, [x], None)[plan.states[-1]]

        def off(u: np.ndarray, after: Any = after, goal: np.ndarray = goal) -> np.ndarray:
            try:
                return (flat(after(u)) - goal).ravel()
            except DiffodeError:  # told a level outside the process, or the run overflows
                return np.full(goal.size, 1e6)

        found[:, i] = descend(off, Keeper({}, iterations), iterations, np.zeros(3))
        x = after(found[:, i])
    return found
