"""The error of a whole run, from an exact state at its start to its end: what starts and ends cost, proved."""

from __future__ import annotations

from random import Random

from diffode.analysis.order.jets import JetProcess, jet_grid
from diffode.analysis.order.proof import prove_order
from diffode.analysis.order.systems import exact_block, minus, run, scaled
from diffode.analysis.order.trees import trees
from diffode.errors import PlanError
from diffode.solvers import Solver
from diffode.trace import trace


def whole_run(solver: Solver, order: int | None = None) -> int:
    """The lowest power of h in the error of a run with the rule's own start and end, for every model and process.

    A rule of order p keeps it where that is p: its first and last steps are a fixed number, and err by h^p at least.
    What the steps between accumulate is the order that `prove_order` finds, on the grids that the rule claims it for.

    Parameters
    ----------
    solver : Solver
        Deterministic, and exact where the network returns 0 (all exponential rules are).
    order : int, optional
        The power up to which to look; by default the order that the rule claims.

    Returns
    -------
    int
        At most `order`.

    Raises
    ------
    PlanError
        If the rule draws noise or is not linear.

    Examples
    --------
    >>> import diffode as de
    >>> rule = de.get_solver("dpmpp_3m_corrected")
    >>> whole_run(rule), whole_run(rule.configure(start="derived", lower_order_final="derived"))
    (2, 3)
    """
    order = int(order or solver.order)
    steps, random = 2 * order + 1, Random(solver.name)
    degree = 3 * order + 8
    process = JetProcess.random(degree, random)
    spacing, variable = "uniform" if solver.uniform else "rough", solver.uniform or "lam"
    grid = jet_grid(process, 0, steps, spacing, variable, random, period=steps)
    plan = trace(solver, grid)
    if not plan.is_deterministic:
        raise PlanError(f"{solver.name} draws noise; its order is measured, not proved")
    plan.require_linear("the proof of order")
    forest = trees(order, shifts=False)
    exact = exact_block(forest, degree)
    first, last = grid.levels[0], grid.levels[-1]
    end = run(plan, forest, [scaled(exact.at(first.lam), first.sigma)])[plan.states[-1]]
    error = minus(scaled(end, 1 / last.sigma), exact.at(last.lam))
    between = prove_order(solver, order, spacing, variable).order
    return next((power for power in range(between) if any(entry[power] for entry in error)), between)
