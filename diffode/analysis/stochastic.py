r"""Measured weak and strong orders of rules that draw noise.

Weak: the reverse SDE at noise level τ = 1 has the path law of the forward process, so the exact past of a rule is a
joint Gaussian (mixture) in closed form. On Gaussian data the plan's own moments are exact. On the nonlinear mixture
the density is pushed through a step by quadrature: the batch that is run *is* the quadrature's nodes, over the
components, the state, the past and every normal that the step draws. An error of h^{p+1} in the law after one step is
weak order p: the errors of all steps add up, each seen through the smooth function E[φ(x_end) | x].

Strong: paths are compared with a fine path of the same Brownian motion on the nonlinear mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.analysis.convergence import EIGENVALUES, course, past_needed
from diffode.analysis.moments import Spectrum, affine, standard_gaussian
from diffode.analysis.slopes import Slope, fit
from diffode.backends import execute, get_backend
from diffode.brownian import Increment, factors
from diffode.errors import PlanError, SolverError
from diffode.grids import TimeGrid
from diffode.plan import BrownianIncrement, Level, Plan, reads
from diffode.problems.named import MIXTURE_1D as MIXTURE
from diffode.process import Process
from diffode.solvers import Solver, get_solver

_COUNTS = (10, 15, 20, 30, 40, 60, 80, 120, 160)


def noise_level(solver: Solver, process: Process, at: float = 0.0) -> float:
    """τ of the reverse SDE that a rule discretises at a λ: the variance of its noise in a small step is 2 τ² h σ²."""
    h = 1e-5
    lam = [at - h * k for k in range(solver.history + 1, 0, -1)] + [at, at + h]
    plan = solver.plan(TimeGrid(process, lam=lam), exact_past=len(lam) - 2, open_end=True)
    point = Spectrum(np.zeros(1), np.zeros(1), np.eye(1))
    weights = affine(plan, point)[plan.states[-1]][len(plan.inputs) + 1 :]
    variance = float((weights * weights).sum())
    found = float(variance / (2 * h * plan.levels[-1].sigma ** 2))
    rounded = round(found**0.5, 3), round(found, 3) ** 0.5  # τ or, where noise of two sources adds up, τ² is round
    return min(rounded, key=lambda tau: abs(tau - found**0.5))


def has_level(solver: Solver, process: Process) -> bool:
    """Whether the noise of a rule is at one level, the same at every λ."""
    return noise_level(solver, process) == noise_level(solver, process, at=1.0)


def require_path_law(solver: Solver, process: Process) -> None:
    """Raise PlanError where the exact past has no closed form: where there is one, at another noise level than 1."""
    tau = noise_level(solver, process)
    if solver.history and abs(tau - 1) > 1e-2:
        raise PlanError(
            f"{solver.name} uses past values at noise level τ = {tau}, where the law of the past has no closed form; "
            "its weak order is measured at τ = 1"
        )


# --- weak order, Gaussian data ----------------------------------------------------------------------------


def weak_order(solver: Solver, process: Process, counts: Sequence[int] = _COUNTS) -> Slope:
    """The weak order on Gaussian data from exact moments: the larger error of mean and standard deviation.

    Parameters
    ----------
    solver : Solver
        Drawing noise.
    process : Process
    counts : sequence of int
        Numbers of equal steps in λ.

    Returns
    -------
    Slope
        Without Monte Carlo.
    """
    return _law_slope(solver, process, counts, lambda mean, deviation: np.maximum(abs(mean), abs(deviation)))


def w2_order(solver: Solver, process: Process, counts: Sequence[int] = _COUNTS) -> Slope:
    """The order of the exact Wasserstein-2 distance to the true law, for data with all `EIGENVALUES` at once."""
    return _law_slope(solver, process, counts, lambda mean, deviation: np.hypot(mean, deviation).sum(keepdims=True))


def _law_slope(
    solver: Solver, process: Process, counts: Sequence[int], combine: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Slope:
    require_path_law(solver, process)
    data = Spectrum.of(standard_gaussian(EIGENVALUES))
    past = past_needed(solver)
    steps: list[float] = []
    errors: list[float] = []
    for count in counts:
        run = course(process, count, past, "uniform")
        plan = solver.plan(run.grid, exact_past=past, open_end=True)
        mean, variance = _output_moments(plan, run.grid.levels[: past + 1], data)
        exact_mean, exact_variance = data.marginal(plan.levels[-1])
        steps.append(run.h)
        errors.append(float(np.max(combine(mean - exact_mean, np.sqrt(variance) - np.sqrt(exact_variance)))))
    return fit(steps, errors, 1e-15)


def _output_moments(plan: Plan, past: Sequence[Level], data: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the final state, its inputs being the reverse SDE's path at past levels."""
    column = affine(plan, data)[plan.states[-1]]
    mean = column[len(past)]
    variance = (column[len(past) + 1 :] ** 2).sum(axis=0)
    # x at the newest level, and each earlier one from the next by the forward transition
    chain = np.zeros((len(past), len(data.eigenvalues)))
    for j in range(len(past)):
        chain = chain + column[j] * np.eye(len(past))[:, j : j + 1]
    weight = chain[0]
    for j in range(len(past) - 1):
        ratio, added = _forward(past[j + 1], past[j])
        variance = variance + weight * weight * added
        weight = chain[j + 1] + weight * ratio
    m0, v0 = data.marginal(past[-1])
    # the chain of means: every x_j has mean α_j m, which the weights reach through the newest level alone
    return mean + weight * m0, variance + weight * weight * v0


def _forward(clean: Level, noisy: Level) -> tuple[float, float]:
    """x_noisy = ratio·x_clean + √added·ξ, the forward transition."""
    ratio = noisy.alpha / clean.alpha
    return ratio, noisy.sigma**2 - (ratio * clean.sigma) ** 2


# --- weak order, nonlinear mixture -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Nodes:
    """A product quadrature over the state, its past and the normals of a step: one row per node."""

    inputs: list[np.ndarray]
    normals: dict[int, np.ndarray]
    weights: np.ndarray


def weak_order_mixture(
    solver: Solver, process: Process, counts: Sequence[int] = (6, 8, 12, 16, 24, 32, 48, 64, 96)
) -> Slope:
    """The weak order on the nonlinear mixture: the error in law after one step from the exact past, divided by h.

    Parameters
    ----------
    solver : Solver
        Drawing noise.
    process : Process
    counts : sequence of int
        Steps of length 3/count in λ, at three places.

    Returns
    -------
    Slope
        Of the largest error over the test functions x, x², x³, cos, sin and their like, by quadrature.
    """
    require_path_law(solver, process)
    steps, errors = [], []
    floor = 0.0
    for count in counts:
        h = 3.0 / count
        found = [_law_error(solver, process, base, h) for base in (-1.0, 0.0, 0.8)]
        steps.append(h)
        errors.append(float(np.sqrt(sum(value**2 for value, _ in found))) / h)
        floor = max(floor, max(noise for _, noise in found) / h)
    return fit(steps, errors, floor)


_SIZES = {
    1: ((100, 1), (120, 1)),
    2: ((80, 24), (100, 30)),
    3: ((48, 16), (60, 20)),
    4: ((32, 10), (40, 12)),
}
"""Nodes for the state and for each further dimension, by their number: two rules, whose gap is the floor."""


def _law_error(solver: Solver, process: Process, base: float, h: float) -> tuple[float, float]:
    past = past_needed(solver)
    lam = [base - h * k for k in range(past, 0, -1)] + [base, base + h]
    grid = TimeGrid(process, lam=lam)
    plan = solver.plan(grid, exact_past=past, open_end=True)
    dimensions = past + 1 + len(_needed_noise(plan))
    sizes = _SIZES[min(dimensions, max(_SIZES))]
    estimates = [_push(plan, process, grid.levels, past, nodes) for nodes in sizes]
    exact = _expectations(*_marginal_nodes(grid.levels[-1], 64))
    errors = [np.max(abs(estimate - exact)) for estimate in estimates]
    return float(errors[1]), float(np.max(abs(estimates[0] - estimates[1])))


def _push(plan: Plan, process: Process, levels: Sequence[Level], past: int, sizes: tuple[int, int]) -> np.ndarray:
    """Expectations of the test functions after the plan's one free step."""
    drawn = _needed_noise(plan)
    if any(
        row.out in drawn and row.b.lam <= levels[past].lam for row in plan.noises if isinstance(row, BrownianIncrement)
    ):
        raise PlanError(
            "the rule keeps a value that the noise of an earlier step made, and given that noise the exact past has no "
            "closed form"
        )
    mixes = factors(plan)
    rows = plan.noises
    used = sorted({k for out in drawn for k in mixes[out]})
    total = 0.0
    for component in range(len(MIXTURE.weights)):
        nodes = _tensor(levels[: past + 1], component, used, sizes)
        values = [
            sum((w * nodes.normals[k] for k, w in mixes[row.out].items()), 0 * nodes.weights)[:, None]
            if row.out in drawn
            else np.zeros((len(nodes.weights), 1))
            for row in rows
        ]
        run = execute(get_backend("numpy"), plan, MIXTURE.denoiser(process), nodes.inputs, values)
        total = total + MIXTURE.weights[component] * _expectations(run[plan.states[-1]][:, 0], nodes.weights)
    return np.asarray(total)


def _tensor(past: Sequence[Level], component: int, used: Sequence[int], sizes: tuple[int, int]) -> _Nodes:
    """Gauss–Hermite over the newest state, the normals that lead back from it, and the normals that are drawn."""
    z0, w0 = _hermite(sizes[0])
    z1, w1 = _hermite(sizes[1])
    others = len(past) - 1 + len(used)
    grids = np.meshgrid(z0, *([z1] * others), indexing="ij")
    weights = np.ones(grids[0].shape)
    for axis, w in enumerate([w0] + [w1] * others):
        weights = weights * w.reshape([-1 if i == axis else 1 for i in range(others + 1)])
    flat = [g.ravel() for g in grids]
    m, s = MIXTURE.means[component, 0], np.sqrt(MIXTURE.eigenvalues[component, 0])
    newest = past[-1]
    states = [newest.alpha * m + np.hypot(newest.alpha * s, newest.sigma) * flat[0]]
    for j in range(len(past) - 1):
        ratio, added = _forward(past[-1 - j], past[-2 - j])
        states.insert(0, ratio * states[0] + np.sqrt(added) * flat[1 + j])
    normals = {k: flat[len(past) + i] for i, k in enumerate(used)}
    return _Nodes([x[:, None] for x in states], normals, weights.ravel())


def _marginal_nodes(level: Level, size: int) -> tuple[np.ndarray, np.ndarray]:
    z, w = _hermite(size)
    means, spreads = level.alpha * MIXTURE.means[:, 0], np.hypot(level.alpha**2 * MIXTURE.eigenvalues[:, 0], 0)
    spreads = np.sqrt(spreads + level.sigma**2)
    x = means[:, None] + spreads[:, None] * z
    return x.ravel(), (MIXTURE.weights[:, None] * w).ravel()


def _expectations(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expectations of smooth test functions under a quadrature."""
    functions = (x, x * x, x**3, np.cos(x), np.sin(1.7 * x), np.cos(2.3 * x + 0.4))
    return np.array([np.sum(weights * f) for f in functions])


def _hermite(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the standard normal."""
    z, w = np.polynomial.hermite_e.hermegauss(size)
    return z, w / w.sum()


def _needed_noise(plan: Plan) -> set[str]:
    """The noise rows that the final state depends on (those of the teacher-forced steps it does not)."""
    needed = {plan.states[-1]}
    for row in reversed(plan.rows):
        if row.out in needed:
            needed.update(reads(row))
    return {row.out for row in plan.noises if row.out in needed}


# --- strong order ----------------------------------------------------------------------------------------


def strong_order(
    solver: Solver,
    process: Process,
    counts: Sequence[int] = (8, 12, 16, 24, 32, 48, 64),
    paths: int = 512,
    seed: int = 0,
) -> Slope:
    """The strong order on the nonlinear mixture against a fine path of the same Brownian motion.

    The fine path is made by two-step exponential Adams at the solver's own noise level, on 3072 steps; every increment
    of the coarse plan is assembled from the fine ones.

    Parameters
    ----------
    solver : Solver
        Drawing noise.
    process : Process
    counts : sequence of int
        Divisors of 3072.
    paths : int
        Number of Brownian paths.
    seed : int

    Returns
    -------
    Slope
        Of the mean distance E|x − x_fine| at the last level.
    """
    fine_count = 3072
    tau = noise_level(solver, process)
    lam = np.linspace(-1.5, 1.5, fine_count + 1)
    cells = np.random.default_rng(seed).standard_normal((fine_count, paths, 1))
    model, backend = MIXTURE.denoiser(process), get_backend("numpy")
    start = _start(process.level(lam=float(lam[0])), paths, seed + 1)
    fine = get_solver("exponential_adams").configure(order=2, tau=tau)
    path = _Path(lam, cells)
    reference = _run(fine.plan(TimeGrid(process, lam=lam.tolist())), path, model, backend, start)
    steps, errors = [], []
    for count in counts:
        grid = TimeGrid(process, lam=lam[:: fine_count // count].tolist())
        final = _run(solver.plan(grid), path, model, backend, start)
        steps.append(3.0 / count)
        errors.append(float(np.mean(abs(final - reference))))
    return fit(steps, errors, 1e-6)


@dataclass(frozen=True)
class _Path:
    """A Brownian path told by standard normals on fine cells of λ; all clocks see the same ones."""

    lam: np.ndarray
    cells: np.ndarray

    def increment(self, row: BrownianIncrement) -> np.ndarray:
        """The unit-variance increment of a row, its weight taken at the middle of each cell."""
        piece = Increment.of(row)
        first, last = (int(np.argmin(abs(self.lam - level.lam))) for level in piece.stretch)
        edges = self.lam[first : last + 1]
        middle = 0.5 * (edges[1:] + edges[:-1])
        level = Level(middle, middle, np.exp(-middle), middle)
        weight = piece.weight(piece.clock.value(level)) * np.sqrt(piece.clock.slope(middle, None) * np.diff(edges))
        weight = weight / np.sqrt(np.sum(weight**2))
        return np.tensordot(weight, self.cells[first:last], 1)


def _run(plan: Plan, path: _Path, model: Any, backend: Any, start: np.ndarray) -> np.ndarray:
    for row in plan.noises:
        if not isinstance(row, BrownianIncrement):
            raise PlanError(f"{plan.solver} draws noise that is not of the Brownian path; it has no strong order")
    try:
        noise = [path.increment(row) for row in plan.noises if isinstance(row, BrownianIncrement)]
    except SolverError as problem:  # a clock of the rule's own
        raise PlanError(f"the strong order of {plan.solver} is not measured: {problem}") from problem
    return execute(backend, plan, model, [start], noise)[plan.states[-1]]


def _start(level: Level, paths: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return level.alpha * MIXTURE.sample(paths, generator) + level.sigma * generator.standard_normal((paths, 1))
