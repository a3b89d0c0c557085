r"""GITS: the levels where Euler's steps leave a teacher's trajectory least, by dynamic programming.

In y = x/α and ρ = σ/α the probability-flow ODE is dy/dρ = (y − D)/ρ. A jump from node i of a teacher's trajectory to
node j is Euler's step y_i + (ρ_j − ρ_i)(y_i − D_i)/ρ_i (DDIM in x), and costs c_ij. Of all ways from the first node to
the last in n jumps, Bellman's recursion finds the cheapest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffode.backends import execute
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError, GridError, unknown
from diffode.fitting.grids import SearchedGrid, Target, backend_of, check_nfe, flat, target_of
from diffode.fitting.keeping import Keeper, Progress
from diffode.grids import TimeGrid
from diffode.solvers import get_solver

METRICS = ("dev", "l1", "l2")


def trajectory(
    target: Target, teacher: str, lattice: TimeGrid, held_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A teacher's y = x/α, shape (nodes + 1, batch, d), and its data predictions, at every level but the last."""
    plan = get_solver(teacher).plan(lattice)
    if not plan.is_deterministic:
        raise DiffodeError(f"fit_grid: the teacher {teacher} draws noise; take a deterministic one, as 'ipndm_4'")
    x = target.held_out if held_out else target.train
    run = execute(backend_of(x), plan, target.model, [x], None, plan.states)
    levels = lattice.levels
    y = np.stack([flat(run[name]) / level.alpha for name, level in zip(plan.states, levels, strict=True)])
    inner = zip(plan.states[:-1], levels, strict=False)
    return y, np.stack([flat(target.model.predict(run[name], level, "x0")) for name, level in inner])


def costs(y: np.ndarray, d: np.ndarray, rho: np.ndarray, metric: str = "dev") -> np.ndarray:
    r"""What each jump along a trajectory costs, averaged over the batch; ∞ where there is none.

    Parameters
    ----------
    y : ndarray, shape (nodes + 1, batch, d)
        States of the teacher, divided by α.
    d : ndarray, shape (nodes, batch, d)
        Data predictions there.
    rho : ndarray, shape (nodes + 1,)
    metric : {"dev", "l1", "l2"}
        "dev": how much farther the jump ends from the chord y_0 – y_N than the teacher's node does; "l1" and "l2": how
        far it ends from that node.

    Returns
    -------
    ndarray, shape (nodes + 1, nodes + 1)

    Raises
    ------
    DiffodeError
        If there is no such metric, or in one dimension, where nothing deviates from a line.
    """
    if metric not in METRICS:
        raise DiffodeError(f"costs: {unknown('metric', metric, METRICS)}")
    if metric == "dev" and y.shape[-1] < 2:
        raise DiffodeError("costs: metric='dev' is 0 in one dimension; use metric='l2'")
    chord = y[-1] - y[0]
    chord = chord / np.linalg.norm(chord, axis=-1, keepdims=True)

    def deviation(points: np.ndarray) -> np.ndarray:
        off = points - y[-1]
        return np.linalg.norm(off - np.sum(off * chord, axis=-1, keepdims=True) * chord, axis=-1)

    found = np.full((len(y), len(y)), np.inf)
    for i, (here, data) in enumerate(zip(y[:-1], d, strict=True)):
        jumps = data + (rho[i + 1 :, None, None] / rho[i]) * (here - data)
        if metric == "dev":
            cost = deviation(jumps) - deviation(y[i + 1 :])
        else:
            cost = np.linalg.norm(jumps - y[i + 1 :], ord=1 if metric == "l1" else 2, axis=-1)
        found[i, i + 1 :] = cost.mean(axis=-1)
    return found


def cheapest(cost: np.ndarray, steps: int, gamma: float = 1.0) -> tuple[list[int], float]:
    r"""The cheapest way from the first node to the last in so many jumps, by Bellman's recursion.

        V_1(j) = c_jN,    V_k(j) = min_i (c_ji + γ V_{k−1}(i)),    so that the whole costs Σ_m γ^m c_{j_m j_{m+1}}

    Parameters
    ----------
    cost : ndarray, shape (nodes + 1, nodes + 1)
        ∞ where there is no jump.
    steps : int
    gamma : float
        Above 1 late jumps weigh more.

    Returns
    -------
    (list of int, float)
        The nodes, the first and the last included, and the cost.

    Raises
    ------
    DiffodeError
        If there are fewer nodes than jumps.

    Examples
    --------
    >>> import numpy as np
    >>> cost = np.array([[np.inf, 1, 2, 9], [np.inf, np.inf, 1, 4], [np.inf, np.inf, np.inf, 1], 4 * [np.inf]])
    >>> cheapest(cost, 2)
    ([0, 2, 3], 3.0)
    """
    if not 1 <= steps < len(cost):
        raise DiffodeError(
            f"cheapest: {steps} jumps need as many nodes after the first, of which there are {len(cost) - 1}"
        )
    value, nexts = cost[:, -1], list[np.ndarray]()
    for _ in range(steps - 1):
        through = cost + gamma * value
        nexts.append(through.argmin(axis=1))
        value = through.min(axis=1)
    way = [0]
    for step in reversed(nexts):
        way.append(int(step[way[-1]]))
    return [*way, len(cost) - 1], float(value[0])


def cost_of(cost: np.ndarray, way: list[int], gamma: float) -> float:
    """Σ_m γ^m c_{j_m j_{m+1}} of one way."""
    jumps = cost[way[:-1], way[1:]]
    return float(gamma ** np.arange(len(jumps)) @ jumps)


def equally(nodes: int, steps: int) -> list[int]:
    """So many jumps of lengths as equal as whole numbers can be."""
    if steps > nodes:
        raise GridError(f"fit_grid: {steps} steps need as many nodes, not nodes={nodes}; raise it")
    return [round(k * nodes / steps) for k in range(steps + 1)]


@catalogued("fit", "arXiv:2405.11326; code: zju-pi/diff-sampler, gits-main/gits_utils.py")
def fit_gits(
    target: Any,
    nfe: int,
    *,
    gamma: float = 1.15,
    metric: str = "dev",
    teacher: str = "ipndm_4",
    nodes: int = 60,
    lattice: str | TimeGrid = "karras",
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> SearchedGrid:
    r"""GITS: a teacher's trajectory, a matrix of costs, and the cheapest way through it.

        c_ij = E d(y_i + (ρ_j − ρ_i)(y_i − D_i)/ρ_i, y_j),    min Σ_m γ^m c_{j_m j_{m+1}}

    The optimum over the lattice is exact. It is an optimum for Euler's steps from the teacher's own nodes; whether it
    serves another solver is to be measured.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        Steps, one evaluation each.
    gamma : float
        γ; the authors take 1.15.
    metric : {"dev", "l1", "l2"}
        See `costs`.
    teacher : str
        A deterministic solver.
    nodes : int
        Steps of the teacher.
    lattice : str or TimeGrid
        Where the teacher steps.
    seed : int
    progress : callable, optional
    **options
        `process`, `x_T`, `held_out`, `samples` of `target_of`.

    Returns
    -------
    SearchedGrid

    Raises
    ------
    DiffodeError
        If γ is not positive, the teacher draws noise, or the lattice has fewer nodes than steps.

    Examples
    --------
    >>> found = fit_gits("mixture_2d", 5, samples=32, nodes=24)
    >>> found.after < found.before, found.grid.steps
    (True, 5)
    """
    if not 0 < gamma < np.inf:
        raise DiffodeError(f"fit_gits: gamma must be a positive number, not {gamma}")
    where = target_of(target, seed=seed, **options)
    steps = check_nfe(nfe)
    lattice = where.grid(lattice, nodes)
    even = equally(nodes, steps)
    matrices = [costs(*trajectory(where, teacher, lattice, held), lattice.rho, metric) for held in (False, True)]
    facts: dict[str, Any] = {
        "nfe": nfe,
        "seed": seed,
        "gamma": gamma,
        "metric": metric,
        "teacher": teacher,
        "nodes": nodes,
    }
    with Keeper(where.key("gits", lattice, **facts), 1, progress) as keeper:
        keeper.offer(*cheapest(matrices[0], steps, gamma))

    def loss(grid: TimeGrid, held_out: bool) -> float:
        return cost_of(matrices[held_out], [lattice.levels.index(level) for level in grid], gamma)

    start, found = (TimeGrid(where.process, levels=[lattice[k] for k in way]) for way in (even, keeper.best))
    return SearchedGrid.of("gits", where, keeper, loss, start, found, loss="cost of jumps", **facts)
