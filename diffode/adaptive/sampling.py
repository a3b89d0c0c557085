"""`sample_adaptive`: run a solver with steps of its own choosing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from diffode.adaptive.controller import Controller, digital_filter
from diffode.adaptive.journey import Attempt, Journey, Realised, embedded, without_embedded
from diffode.backends.base import is_source
from diffode.backends.lockstep import Calls, lockstep
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError, SolverError
from diffode.kinds import shown
from diffode.models import Model
from diffode.plan import Level, Plan
from diffode.process import Process
from diffode.sampling import checked, entered, one_state, unused
from diffode.solvers import Solver, get_solver, list_solvers

Array = Any


@dataclass(frozen=True)
class AdaptiveSample:
    """The outcome of an adaptive run.

    Attributes
    ----------
    x : array, shape (batch, …)
        The state at the end, or where `on_step` stopped.
    runs : tuple of Realised
        What was done: one for the batch, or one for each sample.
    calls : int
        Calls of the model. Samples with steps of their own share them.
    passes : int
        Network passes that these calls made (2 each with guidance).
    """

    x: Array
    runs: tuple[Realised, ...]
    calls: int
    passes: int

    @property
    def nfe(self) -> int:
        """Evaluations for one sample, of steps that were taken back too; the largest where samples differ."""
        return max(run.nfe for run in self.runs)

    @property
    def plan(self) -> Plan:
        """The plan of the batch.

        Raises
        ------
        DiffodeError
            If each sample has its own: those are in `runs`.
        """
        if len(self.runs) > 1:
            raise DiffodeError(f"each of the {len(self.runs)} samples has a plan of its own; see out.runs[i].plan")
        return next(iter(self.runs)).plan

    def __repr__(self) -> str:
        what = repr(self.runs[0])[1:-1] if len(self.runs) == 1 else f"{len(self.runs)} runs, nfe at most {self.nfe}"
        return f"<adaptive sample: x of shape {tuple(self.x.shape)} ({self.x.dtype}), {what}, {self.calls} calls>"


@catalogued(
    "controller",
    "Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, section II.4; Söderlind (2003)",
)
def sample_adaptive(
    model: Model,
    solver: str | Solver,
    x_T: Array,
    *,
    start: float | Level | None = None,
    end: float | Level | None = None,
    rtol: float = 0.05,
    atol: float = 0.0078,
    controller: str | Controller = "PI3040",
    per_sample: bool = False,
    error_order: float | None = None,
    noise: Any = None,
    mu: Array | None = None,
    backend: str = "numpy",
    max_evaluations: int = 10_000,
    on_step: Callable[[Attempt], Any] | None = None,
    **options: Any,
) -> AdaptiveSample:
    r"""Run a solver that has an embedded result with steps in λ that keep its error near a tolerance.

        E = RMS((x_high − x_low)/(atol + rtol max(|x_s|, |x_t|))),    kept where E ≤ 1

    Parameters
    ----------
    model : Model
    solver : str or Solver
        One of `pairs()`, or any rule that says `step.embed(lower)`.
    x_T : array, shape (batch, …)
        The state at the start.
    start, end : float or Level, optional
        Times; by default the noisiest time with a finite λ, and the smallest noise level.
    rtol, atol : float
        The tolerance. The defaults are those of both published codes, for data of size 1.
    controller : str or Controller
        The name of a filter (`digital_filter`), or a controller.
    per_sample : bool
        Give each sample steps of its own. Their evaluations still go into one call of the model, which sees the whole
        batch, with a level for each sample; x_T of samples that are done stays in it, and is ignored.
    error_order : float, optional
        The power of h that E goes with; by default the order of the solver, as where the embedded result is one order
        lower.
    noise : int, generator or sequence of arrays
        For solvers that draw noise; see `sample`. A step that is taken back leaves what it saw of the Brownian path.
        With `per_sample` a seed, from which each sample gets its own.
    mu : array, optional
        The anchor, where the process has one.
    backend : {"numpy", "torch"}
    max_evaluations : int
        For one sample.
    on_step : callable, optional
        Progress: called with every `Attempt`. Where it returns True the run stops, and what is there is returned.
    **options
        Options of the solver.

    Returns
    -------
    AdaptiveSample

    Raises
    ------
    SolverError
        If the solver has no embedded result, a tolerance makes no sense or cannot be met, or the evaluations are spent.
    ModelError
        If x_T or an output of the model has a wrong type or shape, or is not finite (which step and t); x_T holds no
        state; or the model moves a system.

    Warns
    -----
    UnusedNoise
        If a seed or a generator is given to a solver that draws no noise.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.VP()
    >>> model = de.Gaussian(0.0, 1.0).denoiser(process)
    >>> out = de.sample_adaptive(model, "dpm_solver_3", np.ones((1, 1)), rtol=1e-3, atol=1e-4)
    >>> out.nfe == out.plan.nfe == sum(a.evaluations for a in out.runs[0].attempts) + 2  # the first step's length
    True
    """
    arrays = checked("sample_adaptive", model, x_T, backend)
    one_state("sample_adaptive", model.process, x_T)
    chosen = get_solver(solver)
    chosen = chosen.configure(**options) if options else chosen
    process = model.process
    how = digital_filter(controller) if isinstance(controller, str) else controller
    _check(chosen, process, how, rtol, atol, max_evaluations, error_order)
    first, last = _level(process, "start", start, process.t_far), _level(process, "end", end, process.t_min)
    if first.lam == last.lam:
        raise SolverError(f"sample_adaptive: start and end are the same level, t={shown(first.t)}")
    running = entered(arrays, model, x_T, mu, first)

    def journey() -> Journey:
        order = float(error_order or chosen.order)
        return Journey(chosen, process, first, last, how, rtol, atol, order, max_evaluations, on_step)

    seeds = _seeds(noise, len(x_T), arrays) if per_sample else [noise]
    parts = [running.x[i : i + 1] for i in range(len(x_T))] if per_sample else [running.x]
    calls = Calls()
    runs = [journey().run(arrays, part, seed) for part, seed in zip(parts, seeds, strict=True)]
    done = lockstep(arrays, running.model, runs, calls, whole=per_sample)
    if noise is not None and not per_sample and all(run.plan.is_deterministic for _, run in done):
        unused(arrays, done[0][1].plan, noise)
    ends = [running.whole(x, run.plan.levels[-1]) for x, run in done]
    return AdaptiveSample(arrays.joined(ends), tuple(run for _, run in done), calls.count, running.tally.passes)


def _check(solver: Solver, process: Process, how: Any, rtol: Any, atol: Any, limit: Any, error_order: Any) -> None:
    if not isinstance(how, Controller):
        raise SolverError(f"sample_adaptive: controller is the name of a filter or a Controller, not {how!r}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not isfinite(value) or value < 0:
            raise SolverError(f"sample_adaptive: {name} must be a number, 0 or more, not {value!r}")
    if atol == rtol == 0:
        raise SolverError("sample_adaptive: rtol and atol are both 0, which no step meets; give one of them")
    if isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1:
        raise SolverError(f"sample_adaptive: max_evaluations must be a whole number of at least 1, not {limit!r}")
    if error_order is not None and not error_order > 0:
        raise SolverError(f"sample_adaptive: error_order must be a positive number, not {error_order!r}")
    if (count := embedded(solver, process)) != 1:
        raise SolverError(f"sample_adaptive: {without_embedded(solver, count)}")


def _level(process: Process, name: str, given: Any, default: float) -> Level:
    level = given if isinstance(given, Level) else process.level(default if given is None else given)
    if np.ndim(level.lam):
        raise SolverError(f"sample_adaptive: {name} is an array of levels; steps are chosen for one level at a time")
    if level.singular:
        raise SolverError(
            f"sample_adaptive: {name} t={shown(level.t)} has λ={shown(level.lam)}, and steps are chosen in λ; take a "
            f"time inside, as {name}={default:g}"
        )
    return level


def _seeds(noise: Any, count: int, arrays: Any) -> list[Any]:
    """A seed for each sample."""
    if noise is None or (is_source(noise, arrays) and not isinstance(noise, (int, np.integer))):
        return [noise] * count
    if not isinstance(noise, (int, np.integer)):
        raise SolverError("sample_adaptive: with per_sample=True noise is a seed or a generator, not a list of arrays")
    return [int(seed) for seed in np.random.SeedSequence(int(noise)).generate_state(count)]


def pairs(process: Process | None = None) -> list[str]:
    """Names of the registered solvers that have an embedded result.

    A transform takes over what its base names, so that its error may go with a lower power of h than its order: say
    `error_order=` there.

    >>> "dpm_solver_3" in pairs(), "dpmpp_2m" in pairs()
    (True, False)
    """
    from diffode.process import VP

    return [name for name in list_solvers() if _has(get_solver(name), process or VP())]


def _has(solver: Solver, process: Process) -> bool:
    try:
        return embedded(solver, process) == 1
    except DiffodeError:  # a table, which has a grid of its own; or a system's
        return False
