r"""DM-NonUniform: levels at which a solver's own coefficients let little of the network's error through; no network.

Unrolled, a linear solver ends at a linear combination of what the network returned. If the data prediction at level n
errs by σ_n²/α_n, as it does roughly where the data are unknown, the end errs by no more than

    E = (1/σ_N) Σ_n |c_n| σ_n²/α_n,    x_N = … + Σ_n c_n D_n

and c_n depends on the grid alone. The coefficients are read off the plan of whatever solver is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffode.analysis.derivation.gridding import GridLoss
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError, GridError
from diffode.fitting.grids import SearchedGrid, steps_within, target_of
from diffode.fitting.keeping import Keeper, Progress
from diffode.grids import TimeGrid
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.prediction import basis
from diffode.solvers import Solver, get_solver

Weights = dict[str, Any]


def contributions(plan: Plan) -> list[Weights]:
    r"""What each step puts into the last state: by how much of every evaluation, all evaluations taken as given.

    Parameters
    ----------
    plan : Plan
        Linear.

    Returns
    -------
    list of dict
        One for each step: register of an evaluation → its coefficient in the last state by way of this step. Their sum
        over the steps is c_n.

    Examples
    --------
    >>> import diffode as de
    >>> plan = de.compile("ddim", de.EDM(), de.grids.karras(de.EDM(), 2))
    >>> [list(step) for step in contributions(plan)]
    [['d0'], ['d1']]
    """
    plan.require_linear("contributions", homogeneous=True)
    states = set(plan.states)
    known: dict[str, Weights] = {name: {name: 1.0} for name in plan.inputs}
    written: dict[str, Weights] = {}
    for row in plan.rows:
        total: Weights = {}
        if isinstance(row, Combine):
            for c, name in row.terms:
                for base, weight in known[name].items():
                    total[base] = total.get(base, 0.0) + c * weight
        if row.out in states:
            written[row.out] = total
        known[row.out] = total if isinstance(row, Combine) and row.out not in states else {row.out: 1.0}
    reach: Weights = {plan.states[-1]: 1.0}
    found: list[Weights] = []
    for state in reversed(plan.states[1:]):
        here = {base: reach.get(state, 0.0) * weight for base, weight in written[state].items()}
        for base in here.keys() & states:
            reach[base] = reach.get(base, 0.0) + here[base]
        found.append({base: weight for base, weight in here.items() if base not in states})
    return found[::-1]


@dataclass(frozen=True)
class CoefficientError(GridLoss):
    """E of a solver as a function of the inner levels.

    Attributes
    ----------
    solver : Solver
    ends : (Level, Level)
    power : float
        k of the assumed error σ^k/α of a data prediction.
    apart : int or None
        As the official code: so many of the first steps, and the last, enter by the norm of their own coefficients and
        not through the sums c_n; None for the formula of the paper.
    """

    power: float = 2.0
    apart: int | None = None

    def of_levels(self, levels: Sequence[Level]) -> np.ndarray:
        plan = self.solver.plan(TimeGrid(self.process, levels=levels))
        errors = {row.out: self.assumed(row) for row in plan.rows if isinstance(row, Evaluate)}
        steps = contributions(plan)
        alone = set() if self.apart is None else {*range(max(self.apart, 1)), len(steps) - 1}
        sums: Weights = {}
        total: Any = 0.0
        for k, step in enumerate(steps):
            weighed = {name: c * errors[name] for name, c in step.items() if name in errors}
            if k in alone:
                total = total + np.sqrt(sum(w * w for w in weighed.values()))
                continue
            for name, w in weighed.items():
                sums[name] = sums.get(name, 0.0) + w
        return (total + sum(abs(w) for w in sums.values())) / levels[-1].sigma

    def assumed(self, row: Evaluate) -> Any:
        """The error of a prediction where that of the data is σ^k/α."""
        level = row.at or row.level
        on_data, on_noise = basis(row.prediction, level)
        return (on_data - on_noise * level.alpha / level.sigma) * level.sigma**self.power / level.alpha


@catalogued("fit", "arXiv:2402.17376; code: scxue/DM-NonUniform, step_optim.py")
def fit_nonuniform(
    target: Any,
    nfe: int,
    *,
    solver: str | Solver = "unip_3",
    power: float = 2.0,
    apart: int | None = None,
    start: str | TimeGrid = "uniform_lambda",
    rounds: int = 300,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> SearchedGrid:
    r"""DM-NonUniform: the grid on which a bound made of the solver's own coefficients is least.

        min_λ (1/σ_N) Σ_n |Σ_j w_jn| σ_n^k/α_n

    by SciPy's trust-constr under λ_0 < λ_1 < …, as the authors have it. The model is never asked; the target says only
    between which levels. Sums of absolute values have kinks, where the descent stops short; the best grid that it has
    met is kept.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        The largest number of whole steps within it is taken.
    solver : str or Solver
        Any linear one. The authors' is UniP-3 with exact weights and orders 1, 2, 3, …, 3, 2, 1, which is
        `get_solver("unip_3").configure(variant="exact", lower_order_final=True)`.
    power : float
        k: 2 for latent spaces, 1 for pixels.
    apart : int or None
        None is the formula of the paper; a number departs from it as the official code does, see `CoefficientError`,
        which has 3 and advises 0 above 7 evaluations.
    start : str or TimeGrid
        The authors advise "uniform_lambda" for pixels and "uniform_t" for latent spaces.
    rounds : int
        Iterations at most.
    progress, checkpoint : optional
        See `diffode.fitting.keeping.Keeper`.
    **options
        `process`, `x_T` of `target_of`.

    Returns
    -------
    SearchedGrid

    Raises
    ------
    DiffodeError
        If `apart` is no number of steps or the plan is not linear.

    Examples
    --------
    >>> import diffode as de
    >>> found = fit_nonuniform("gaussian", 4, rounds=40)
    >>> found.after < found.before, found.provenance["held_out"]
    (True, None)
    """
    from scipy.optimize import LinearConstraint, minimize

    if apart is not None and (isinstance(apart, bool) or not isinstance(apart, int) or apart < 0):
        raise DiffodeError(f"fit_nonuniform: apart must be a number of steps or None, not {apart!r}")
    rule, where = get_solver(solver), target_of(target, **dict[str, Any](samples=2) | options)
    steps = steps_within(rule, where, nfe)
    loss = CoefficientError(rule, (where.first, where.last), power, apart)
    begin = where.grid(start, steps)
    order = np.eye(steps, steps - 1) - np.eye(steps, steps - 1, -1)  # row k: λ_{k+1} − λ_k, without the ends
    least: Any = np.zeros(steps)
    least[0], least[-1] = loss.bounds[0], -loss.bounds[1]
    facts: dict[str, Any] = {"nfe": nfe, "solver": rule.name, "power": power, "apart": apart}
    key = where.key("nonuniform", begin, **facts)

    def both(inner: np.ndarray) -> tuple[float, np.ndarray]:
        if np.any(np.diff([loss.bounds[0], *inner, loss.bounds[1]]) <= 0):
            return np.inf, np.zeros(len(inner))
        try:
            value, slope = loss.value_and_gradient(inner)
        except GridError:  # two levels have come too near
            return np.inf, np.zeros(len(inner))
        keeper.offer(inner.tolist(), value)
        return value, slope

    with Keeper(key, rounds, progress, checkpoint) as keeper, warnings.catch_warnings():
        first = begin.lam[1:-1] if keeper.best is None else np.array(keeper.best)
        keeper.offer(first.tolist(), loss.value(first))
        if steps > 1:
            warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
            minimize(
                both, first, jac=True, method="trust-constr", options={"maxiter": rounds},
                constraints=[LinearConstraint(order, least, np.inf, keep_feasible=True)],
            )  # fmt: skip
    found = TimeGrid(where.process, levels=loss.levels(np.array(keeper.best)))
    return SearchedGrid.of(
        "nonuniform", where, keeper, lambda grid, _: loss.value(grid.lam[1:-1]), begin, found, unseen=False,
        loss="coefficient bound", **facts,
    )  # fmt: skip
