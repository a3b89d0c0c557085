r"""ParaDiGMS: all steps of a window at once, by Picard sweeps.

With Φ_i the i-th step of a rule and x_i⁰ a guess of every state of the window, a sweep is

    x_{i+1}ᵏ⁺¹ = Φ_i(x_iᵏ) + R_i (x_iᵏ⁺¹ − x_iᵏ),

whose evaluations do not wait for one another. Published is R_i = 1, the sum x_b + Σ (Φ_i(x_iᵏ) − x_iᵏ) written so that
it has no rounding: a state whose past has settled is Φ_i of it bit for bit, and the k-th state has settled after k
sweeps at the latest. That is right where states keep their size. In general R_i is the ratio of √(α² + σ²), so that
sweeps are those of x/√(α² + σ²), and the same for all processes that differ by a scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from diffode.backends import Arrays
from diffode.backends.base import draws, walk
from diffode.backends.lockstep import Calls, lockstep
from diffode.catalogue import catalogued
from diffode.errors import SolverError
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.models.base import number
from diffode.plan import Plan, Row, reads
from diffode.sampling import checked, compile, entered, one_state, unused
from diffode.solvers import Solver

Array = Any


@dataclass(frozen=True)
class PicardSample:
    """The outcome of Picard sweeps, and what they cost.

    Attributes
    ----------
    x : array, shape (batch, …)
        The state at the last level; where the run was stopped, the last guess.
    sweeps : int
    nfe : int
        Evaluations of the model for one sample, in all sweeps.
    calls : int
        Calls of the model one after the other: what the run takes where a window fits into one call.
    passes : int
        Network passes, each of one window.
    plan : Plan
        Of the rule, step after step; its `nfe` is what the run costs one after the other.
    settled : int
        Steps whose result had settled; all of them, unless the run was stopped.
    """

    x: Array
    sweeps: int
    nfe: int
    calls: int
    passes: int
    plan: Plan
    settled: int

    @property
    def finished(self) -> bool:
        """Whether every step settled."""
        return self.settled == len(self.plan.states) - 1

    def __repr__(self) -> str:
        end = "" if self.finished else f", stopped at step {self.settled}"
        return (
            f"<Picard sample by {self.plan.solver}: x of shape {tuple(self.x.shape)} ({self.x.dtype}), {self.sweeps} "
            f"sweeps, nfe {self.nfe} in {self.calls} calls for {self.plan.nfe} one after the other{end}>"
        )


@catalogued("runner", "arXiv:2305.16317, Algorithm 1 (ParaDiGMS)")
def sample_picard(
    model: Model,
    solver: str | Solver,
    grid: TimeGrid,
    x_T: Array,
    *,
    window: int | None = None,
    tolerance: float = 0.0,
    carry: Literal["scale", "one"] = "scale",
    noise: Any = None,
    mu: Array | None = None,
    backend: str = "numpy",
    max_sweeps: int | None = None,
    on_sweep: Callable[[int, int], Any] | None = None,
    **options: Any,
) -> PicardSample:
    r"""Run a one-step rule with the steps of a window in parallel.

        x_{i+1} ← Φ_i(x_i) + R_i (x_i new − x_i old),    the window moves on to the first i that changed by more than
                                                         tolerance · σ_i √(1 − e^{−2h})

    Parameters
    ----------
    model : Model
        Called with as many states at once as the window has steps, each at its own level: the first axis is the
        window's times the batch's.
    solver : str or Solver
        One that looks at no earlier step.
    grid : TimeGrid
    x_T : array, shape (batch, …)
    window : int, optional
        Steps at once; all of them by default.
    tolerance : float
        Of the change of a state in a sweep, as a share of the noise that DDPM's step adds there (of the step before,
        where that is none), root mean square over a sample, the worst sample counts. 0: the result of the steps one
        after the other.
    carry : {"scale", "one"}
        R_i: the ratio of √(α² + σ²), or 1 as published, which is the same for variance-preserving processes. What a
        window has not seen yet is guessed by it too.
    noise : int, generator or sequence of arrays
        For rules that draw noise; all of it is drawn before the first sweep. See `sample`.
    mu : array, optional
        The anchor, one for all samples, where the process has one.
    backend : {"numpy", "torch"}
    max_sweeps : int, optional
        Where to stop at the latest. There are never more than steps.
    on_sweep : callable, optional
        Progress: called with (steps settled, steps in all). Where it returns True the run stops.
    **options
        Options of the solver.

    Returns
    -------
    PicardSample

    Raises
    ------
    SolverError
        If the rule looks at earlier steps, or an argument makes no sense.
    ModelError
        If x_T or an output of the model has a wrong type or shape, or is not finite (which step and t); x_T holds no
        state; or the model moves a system.

    Warns
    -----
    UnusedNoise
        If a seed or a generator is given to a rule that draws no noise.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.VP()
    >>> model = de.Gaussian(0.0, 1.0).denoiser(process)
    >>> grid = de.grids.uniform_lambda(process, 20)
    >>> out = de.sample_picard(model, "ddim", grid, np.ones((1, 1)))
    >>> np.array_equal(out.x, de.sample(model, "ddim", grid, np.ones((1, 1))).x), out.sweeps < 20 < out.nfe
    (True, True)
    """
    arrays = checked("sample_picard", model, x_T, backend)
    one_state("sample_picard", model.process, x_T)
    if "tol" in options:
        raise SolverError(f"sample_picard: there is no tol=; give tolerance={options['tol']!r}")
    plan = compile(solver, model.process, grid, **options)
    steps = grid.steps
    width, most = (_count(name, n, steps) for name, n in (("window", window), ("max_sweeps", max_sweeps)))
    if not isinstance(tolerance, (int, float)) or isinstance(tolerance, bool) or not 0 <= tolerance < float("inf"):
        raise SolverError(f"sample_picard: tolerance must be a number, 0 or more, not {tolerance!r}")
    if carry not in ("scale", "one"):
        raise SolverError(f"sample_picard: carry must be 'scale' or 'one', not {carry!r}")
    if noise is not None and plan.is_deterministic:
        unused(arrays, plan, noise)
    running = entered(arrays, model, x_T, mu, grid[0])
    sweep = _Sweeps(arrays, running.model, plan, running.x, noise, carry)
    base, sweeps = 0, 0
    while base < steps and sweeps < most:
        base = sweep.over(base, min(base + width, steps), tolerance)
        sweeps += 1
        if on_sweep is not None and on_sweep(base, steps):
            break
    x = running.whole(sweep.guess(steps), grid[-1])
    return PicardSample(x, sweeps, sweep.nfe, sweep.calls.count, running.tally.passes, plan, base)


def _count(name: str, n: Any, steps: int) -> int:
    if n is None:
        return steps
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise SolverError(f"sample_picard: {name} must be a whole number of at least 1, not {n!r}")
    return int(n)


class _Sweeps:
    """The states of a run, which sweeps make better."""

    def __init__(self, arrays: Arrays, model: Any, plan: Plan, x: Array, noise: Any, carry: str) -> None:
        self._arrays, self._model, self.calls, self.nfe = arrays, model, Calls(), 0
        self._parts, self._levels = _split(plan), plan.levels
        draw = draws(arrays, plan, noise, x)
        self._noise = {row.out: draw(row) for row in plan.noises}
        self._x = {0: x}
        sizes = [np.sqrt(level.alpha * level.alpha + level.sigma * level.sigma) for level in plan.levels]
        self._carry = [b / a if carry == "scale" else 1.0 for a, b in pairwise(sizes)]

    def guess(self, i: int) -> Array:
        """The state at level i as far as it is known: at first the last one that was looked at, carried on."""
        if i not in self._x:
            self._x[i] = self._arrays.combine([(self._carry[i - 1], self.guess(i - 1))])
        return self._x[i]

    def over(self, base: int, end: int, tolerance: float) -> int:
        """One sweep over a window; where the next one begins."""
        old = [self.guess(i) for i in range(base, end + 1)]
        runs = [walk(self._arrays, self._parts[i], self._inputs(i, old[i - base])) for i in range(base, end)]
        self.nfe += sum(self._parts[i].nfe for i in range(base, end))
        ends = lockstep(self._arrays, self._model, runs, self.calls)
        change, moved = None, end
        for i, run in zip(range(base, end), ends, strict=True):
            new = run[self._parts[i].states[-1]]
            if change is not None:
                new = self._arrays.combine([(1.0, new), (self._carry[i], change)])
            change = new - old[i + 1 - base]
            self._x[i + 1] = new
            if moved == end and self._far(i, change) > tolerance:
                moved = i + 1
        for i in range(base, moved):
            del self._x[i]
        return moved

    def _inputs(self, i: int, x: Array) -> list[Array]:
        return [x, *(self._noise[name] for name in self._parts[i].inputs[1:])]

    def _far(self, i: int, change: Array) -> float:
        rms = number((change * change).reshape(len(change), -1).mean(1).max()) ** 0.5
        return rms / self._scale(i)

    def _scale(self, i: int) -> float:
        """The noise of DDPM's step i, or of the last one before it that adds any."""
        for k in range(i, -1, -1):
            a, b = self._levels[k : k + 2]
            added = float(np.max(b.sigma * np.sqrt(-np.expm1(-2 * np.abs(b.lam - a.lam)))))
            if added > 0:
                return added
        return 1.0


def _split(plan: Plan) -> list[Plan]:
    """The steps of a plan, each as a plan of its own, to which noise comes as input.

    Raises
    ------
    SolverError
        If a step reads what an earlier one left.
    """
    noises, parts, rows = {row.out for row in plan.noises}, list[Plan](), list[Row]()
    for row in plan.rows:
        if row.out not in noises:
            rows.append(row)
        if len(parts) + 1 < len(plan.states) and row.out == plan.states[len(parts) + 1]:
            parts.append(_step(plan, len(parts), rows, noises))
            rows = []
    return parts


def _step(plan: Plan, i: int, rows: Sequence[Row], noises: set[str]) -> Plan:
    made = {row.out for row in rows}
    read = dict.fromkeys(name for row in rows for name in reads(row) if name not in made)
    for name in read:
        if name not in noises and name != plan.states[i]:
            raise SolverError(
                f"sample_picard: step {i} of {plan.solver} reads {name}, which an earlier step left; steps go in "
                "parallel where each needs the state alone: take a one-step rule, as ddim or dpm_solver_3"
            )
    inputs = (plan.states[i], *(name for name in read if name in noises))
    return Plan(tuple(rows), inputs, plan.states[i : i + 2], plan.levels[i : i + 2], None, plan.solver)
