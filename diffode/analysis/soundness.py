r"""Consistency and zero-stability: what a rule must do before its order means anything."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from diffode import phi
from diffode.analysis.certificate import Check
from diffode.analysis.convergence import past_needed
from diffode.analysis.moments import Spectrum, gaussian_prediction
from diffode.analysis.order.fixed_point import companion_matrix
from diffode.analysis.slopes import Verdict
from diffode.analysis.stochastic import noise_level
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError
from diffode.grids import TimeGrid, karras, uniform_lambda, uniform_t
from diffode.kinds import LETTERS
from diffode.models import Denoiser
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.process import Process
from diffode.solvers import Solver

_LENGTHS = (0.4, 0.2, 0.1, 0.05, 0.025)


def consistency(solver: Solver, process: Process) -> Check:
    """One step on a constant data prediction: FAIL where it errs at O(h) or worse.

    Exact integration is reported, and required of a solver that claims `exponential`: of a constant output in its own
    prediction, or of constant data.
    """
    tau, own = noise_level(solver, process), solver.prediction
    reach = min(1.0, 3.0 / (_LENGTHS[0] * max(past_needed(solver), 1)))  # a long past must stay inside the process
    lengths = [reach * h for h in _LENGTHS]
    errors = np.array([_step_error(solver, process, "x0", h, tau) for h in lengths])
    if errors.max() < 1e-12:
        return Check("consistency", "PASS", detail="one step integrates a constant data prediction exactly")
    exponential = own in ("x0", "eps") and max(_step_error(solver, process, own, h, tau) for h in lengths) < 1e-12
    slope = float(np.polyfit(np.log(lengths), np.log(errors + 1e-300), 1)[0])
    if slope < 1.5:  # a sign change in between makes it too small; the shortest two steps know better
        slope = max(slope, float(np.log2(errors[-2] / errors[-1])))
    detail = f"one step on a constant data prediction errs at O(h^{slope:.2f})"
    verdict: Verdict = "PASS"
    if slope < 1.5:
        verdict, detail = "FAIL", detail + "; it must be O(h²)"
    elif solver.exponential and not exponential:
        verdict, detail = "FAIL", detail + "; it claims exponential=True, but integrates no constant prediction exactly"
    elif exponential:
        detail += f"; a constant {own} is integrated exactly"
    return Check("consistency", verdict, slope, 2.0, (lengths[-1], lengths[0]), detail)


def _step_error(solver: Solver, process: Process, prediction: str, h: float, tau: float) -> float:
    """The error of one step, in units of σ, for a network whose output is the constant 0.7; noise is left out."""
    past = past_needed(solver)
    levels = [process.level(lam=h * k) for k in range(-past, 2)]
    plan = solver.plan(TimeGrid(process, levels=levels), exact_past=past, open_end=True)
    constant = 0.7
    model = Denoiser(lambda x, t, output=None: np.full_like(x, constant), process, prediction)
    states = [np.array([[1.3]])]
    for a, b in zip(levels[-2::-1], levels[-3::-1], strict=False):
        states.insert(0, _exact_mean(prediction, a, b, states[0], constant, tau))
    noise = [np.zeros((1, 1))] * len(plan.noises)
    final = execute(get_backend("numpy"), plan, model, states, noise)[plan.states[-1]]
    wanted = _exact_mean(prediction, levels[-2], levels[-1], states[-1], constant, tau)
    return float(np.max(abs(final - wanted)) / levels[-1].sigma)


def _exact_mean(prediction: str, a: Level, b: Level, x: Any, c: float, tau: float) -> Any:
    """The exact mean after a step for a constant prediction c at noise level τ."""
    h, rate = b.lam - a.lam, 1 + tau * tau
    if prediction == "x0":
        return (b.sigma / a.sigma) * phi.exp(-tau * tau * h) * x - b.alpha * phi.expm1(-rate * h) * c
    return (b.alpha / a.alpha) * x - rate * b.sigma * phi.expm1(h) * c


def zero_stability(solver: Solver, process: Process) -> Check:
    """Whether errors in the state and in what the rule remembers stay bounded as h → 0.

    The companion matrix at h = 0 must have bounded powers, and on non-uniform grids the product of companion matrices
    over the grid must stay bounded as it is refined.
    """
    matrix = companion_matrix(solver)
    radius = float(np.max(abs(np.linalg.eigvals(matrix))))
    early, late = (np.max(abs(np.linalg.matrix_power(matrix / max(radius, 1.0), n))) for n in (64, 4096))
    if radius > 1 + 1e-5 or late > 10 * max(early, 1.0):
        detail = f"powers of the companion matrix at h = 0 grow (spectral radius {radius:.6g}): no local order helps"
        return Check("zero_stability", "FAIL", radius, 1.0, None, detail)
    try:
        growth = _growth_on_grids(solver, process)
    except DiffodeError as problem:
        return Check("zero_stability", "INCONCLUSIVE", radius, 1.0, None, f"not on this process: {problem}")
    worst = max(growth, key=lambda name: growth[name][1])
    coarse, fine = growth[worst]
    if fine > 1e3 and fine > 10 * coarse:
        detail = (
            f"on {worst} grids the product of companion matrices grows from {coarse:.3g} to {fine:.3g} "
            "as h halves twice"
        )
        return Check("zero_stability", "FAIL", fine, 1.0, None, detail)
    detail = f"spectral radius {min(radius, 1.0):.6g}; an error in a state grows at most {max(fine, 1.0):.3g}-fold"
    return Check("zero_stability", "PASS", radius, 1.0, None, detail)


def _growth_on_grids(solver: Solver, process: Process) -> dict[str, tuple[float, float]]:
    builders = {"uniform λ": uniform_lambda, "Karras": karras, "uniform t": uniform_t}
    if solver.uniform:
        builders = {f"uniform {LETTERS[solver.uniform]}": partial(_equal, solver.uniform)}
    found: dict[str, tuple[float, float]] = {}
    for name, build in builders.items():
        plans = [solver.plan(build(process, n, start=process.t_far), open_end=True) for n in (24, 96)]
        found[name] = (_growth(plans[0]), _growth(plans[1]))
    return found


def _equal(variable: str, process: Process, n: int, start: Any) -> TimeGrid:
    """Steps that are equal in a variable, between the ends of the equal steps in λ."""
    ends = uniform_lambda(process, 1, start=start)
    first, last = (float(getattr(ends[k], variable)) for k in (0, -1))
    return TimeGrid(process, **{variable: np.linspace(first, last, n + 1).tolist()})


def _growth(plan: Plan) -> float:
    """max over states of |∂(x_N/σ_N)/∂(x_i/σ_i)| for data at one point: the product of companion matrices."""
    point = Spectrum(np.zeros(1), np.zeros(1), np.eye(1))
    adjoint: dict[str, Any] = dict.fromkeys((*plan.inputs, *(row.out for row in plan.rows)), 0.0)
    adjoint[plan.states[-1]] = 1.0
    for row in reversed(plan.rows):
        if isinstance(row, Combine):
            for c, name in row.terms:
                adjoint[name] = adjoint[name] + c * adjoint[row.out]
        elif isinstance(row, Evaluate):
            slope, _ = gaussian_prediction(row.prediction, row.level, point)
            adjoint[row.x] = adjoint[row.x] + slope * adjoint[row.out]
    last = plan.levels[-1].sigma
    pairs = zip(plan.states, plan.levels, strict=True)
    return float(max(np.max(abs(adjoint[name] * level.sigma / last)) for name, level in pairs))
