"""Compile and sample: the two calls that most users need."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.backends import Arrays, execute, get_backend
from diffode.backends.base import is_source
from diffode.errors import DiffodeError, ModelError, PlanError, SolverError, UnusedNoise
from diffode.grids import TimeGrid
from diffode.models import Anchored, Model
from diffode.models.base import namespace
from diffode.models.running import Tally, begun
from diffode.plan import Level, Plan
from diffode.process import Process
from diffode.process.base import require_process
from diffode.solvers import Solver, get_solver
from diffode.trace import Memory

Array = Any


@dataclass(frozen=True)
class Remembered:
    """What a run leaves for the next: the plan's memory and the arrays in it."""

    memory: Memory
    values: tuple[Array, ...]


@dataclass(frozen=True)
class Sample:
    """The outcome of a run.

    Attributes
    ----------
    x : array, shape (batch, …)
        The state at the last level.
    nfe : int
        Evaluations of the model for one sample.
    passes : int
        Network passes made: what the evaluations of the model took together (2 each with guidance, none where a
        wrapper answered from what it remembers).
    trajectory : tuple of arrays
        The state at every level of the grid; empty where `trajectory=False`.
    plan : Plan
    memory : Remembered
        To continue on another grid: `sample(…, memory=out.memory)`.
    """

    x: Array
    nfe: int
    passes: int
    trajectory: tuple[Array, ...]
    plan: Plan
    memory: Remembered

    def __repr__(self) -> str:
        return (
            f"<sample by {self.plan.solver}: x of shape {tuple(self.x.shape)} ({self.x.dtype}), nfe {self.nfe}, "
            f"{len(self.trajectory)} states kept>"
        )


def compile(
    solver: str | Solver,
    process: Process,
    grid: TimeGrid,
    *,
    memory: Remembered | None = None,
    open_end: bool = False,
    **options: Any,
) -> Plan:
    """The plan of a solver on a grid: its table of coefficients.

    Parameters
    ----------
    solver : str or Solver
        A name, a file, or a solver; see `get_solver`.
    process : Process
    grid : TimeGrid
        Of that process.
    memory : Remembered, optional
        What an earlier run left.
    open_end : bool
        More steps will follow on another grid, so that no step is treated as the last.
    **options
        Options of the solver.

    Returns
    -------
    Plan

    Raises
    ------
    DiffodeError
        If the grid belongs to another process, the solver is not known, or it cannot be traced.

    Examples
    --------
    >>> import diffode as de
    >>> plan = de.compile("ddim", de.EDM(), de.grids.karras(de.EDM(), 2))
    >>> print(plan)
    ddim: 2 steps, 2 evaluations, deterministic, 3 arrays at once
      x0  input
      d0  eps(x0)               at t=80 (λ=-4.38203)
      x1  1 x0 − 77.4848 d0
      d1  eps(x1)               at t=2.51522 (λ=-0.92236)
      x2  1 x1 − 2.51322 d1
    """
    if not isinstance(grid, TimeGrid):
        raise DiffodeError(f"compile: grid must be a TimeGrid (de.grids.karras(process, n)), not {grid!r}")
    require_process(process, "compile")
    if grid.process != process:
        raise DiffodeError(f"compile: the grid belongs to {grid.process!r}, not to {process!r}")
    if memory is not None and not isinstance(memory, Remembered):
        remedy = "give its .memory" if isinstance(memory, Sample) else "give out.memory of a run with open_end=True"
        raise DiffodeError(f"compile: memory is a {type(memory).__name__}, not what a run leaves; {remedy}")
    chosen = get_solver(solver)
    if options:
        chosen = chosen.configure(**options)
    if np.any(grid.lam[1] < grid.lam[0]) and not chosen.plan(grid.reversed()).is_deterministic:
        raise DiffodeError(
            f"{chosen.name} draws noise, so it cannot run from data to noise; invert with a deterministic solver"
        )
    return chosen.plan(grid, memory=memory.memory if memory else None, open_end=open_end)


def sample(
    model: Model,
    solver: str | Solver,
    grid: TimeGrid,
    x_T: Array,
    *,
    backend: str = "numpy",
    noise: Any = None,
    mu: Array | None = None,
    memory: Remembered | None = None,
    open_end: bool = False,
    trajectory: bool = True,
    on_row: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Sample:
    """Run a solver on a model.

    Parameters
    ----------
    model : Model
        `data.denoiser(process)`, `Denoiser(fn, process, prediction=…)`, or a wrapper around one.
    solver : str or Solver
    grid : TimeGrid
        Of the model's process; with a reversed grid, inversion.
    x_T : array, shape (batch, …)
        The state at the grid's first level: a NumPy array, or a torch tensor for backend="torch". Of a system, shape
        (batch, components, …): positions x_T[:, 0], velocities x_T[:, 1]; states and outputs are like it.
    backend : {"numpy", "torch"}
    noise : int, generator or sequence of arrays
        For solvers that draw noise: a seed (the same normals on every backend and device), a generator of the backend's
        library, or arrays that are assigned to the plan's noise rows in order.
    mu : array, optional
        The anchor, where the process has one.
    memory : Remembered, optional
        `out.memory` of an earlier run (with `open_end=True`), to continue it.
    open_end : bool
        The run will be continued on another grid, so that no step is treated as the last.
    trajectory : bool
        Whether to keep the state at every level.
    on_row : callable, optional
        Progress: called with (rows done, rows in all).
    **options
        Options of the solver.

    Returns
    -------
    Sample

    Raises
    ------
    ModelError
        If x_T or an output of the model has a wrong type, shape, dtype or device, or is not finite.
    DiffodeError
        If the grid does not fit the model, the solver is unknown, or noise is needed and not given.

    Warns
    -----
    UnusedNoise
        If a seed or a generator is given to a solver that draws no noise; arrays are an error.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> model = de.Gaussian(0.0, 1.0).denoiser(process)
    >>> out = de.sample(model, "dpmpp_2m", de.grids.karras(process, 10), np.full((1, 1), 80.0))
    >>> out.nfe, out.x.shape, len(out.trajectory)
    (10, (1, 1), 11)
    """
    arrays = checked("sample", model, x_T, backend)
    chosen = get_solver(solver)
    _check_options(chosen, options)
    plan = compile(chosen, model.process, grid, memory=memory, open_end=open_end, **options)
    _check_levels_broadcast(grid, x_T)
    width = _components(plan, x_T)
    for value in memory.values if memory else ():
        if tuple(value.shape) != tuple(x_T.shape[:1] + x_T.shape[2:] if width else x_T.shape):
            raise ModelError(
                f"memory holds arrays of shape {tuple(value.shape)}, but x_T has shape {tuple(x_T.shape)}; continue "
                "with the states that the earlier run left"
            )
    if noise is not None and plan.is_deterministic:
        unused(arrays, plan, noise)
    running = entered(arrays, model, x_T, mu, grid[0])
    start = running.x
    inputs = [*([start[:, k] for k in range(width)] or [start]), *(memory.values if memory else ())]
    looked = range(len(plan.states)) if trajectory else range(len(plan.states) - 1, len(plan.states))
    keep = [name for k in looked for name in plan.state(k)]
    run = execute(arrays, plan, running.model, inputs, noise, keep, on_row)
    states = [arrays.stacked([run[name] for name in plan.state(k)]) if width else run[plan.states[k]] for k in looked]
    levels = grid.levels if trajectory else grid.levels[-1:]
    states = [running.whole(x, level) for x, level in zip(states, levels, strict=True)]
    left: Memory = plan.memory
    remembered = Remembered(left, tuple(run[name] for name in left.registers()))
    kept = tuple(states) if trajectory else ()
    return Sample(states[-1], plan.nfe, running.tally.passes, kept, plan, remembered)


@dataclass(frozen=True)
class Running:
    """A model in a run, and the state that the run begins with.

    Attributes
    ----------
    model : Model
        Counted, and around its anchor where the process has one.
    x : array
        The state less its anchor's part.
    tally : Tally
        Network passes so far.
    """

    model: Model | Anchored
    x: Array
    tally: Tally

    def whole(self, x: Array, level: Level) -> Array:
        """A state of the run, with its anchor's part."""
        return x + self.model.shift(level, x) if isinstance(self.model, Anchored) else x


def checked(who: str, model: Any, x_T: Array, backend: str) -> Arrays:
    """The backend of a run; ModelError where the model is none, or x_T no finite state."""
    if not isinstance(model, Model):
        raise ModelError(
            f"{who}: needs a model, not {type(model).__name__}; wrap a function as "
            "de.Denoiser(fn, process, prediction='eps')"
        )
    arrays = get_backend(backend)
    arrays.check_state(x_T)
    if not arrays.finite(x_T):
        raise ModelError("x_T holds NaN or ∞")
    return arrays


def one_state(who: str, process: Process, x_T: Array | None = None) -> None:
    """Raise ModelError where a runner that judges single states is given a system, or no states at all."""
    if getattr(process, "components", 1) > 1:
        raise ModelError(
            f"{who}: {process!r} is a system, and this is for one state; sample runs systems, as by gddim_4"
        )
    if x_T is not None and 0 in x_T.shape:
        raise ModelError(f"{who}: x_T holds no state (its shape is {tuple(x_T.shape)}); give at least one")


def entered(arrays: Arrays, model: Model, x_T: Array, mu: Array | None, level: Level) -> Running:
    """A model and a state at a level, ready to run; ModelError where an anchor is missing, or of no use."""
    running, tally = begun(model)
    anchored = _anchored(arrays, running, mu, x_T)
    if anchored is None:
        return Running(running, x_T, tally)
    return Running(anchored, x_T - anchored.shift(level, x_T), tally)


def _components(plan: Plan, x: Array) -> int:
    """How many components the state of a system has; 0 for one state. ModelError where x_T has other ones."""
    width = len(plan.state(0)) if plan.beside else 0
    if width and (len(x.shape) < 2 or x.shape[1] != width):
        raise ModelError(
            f"x_T has shape {tuple(x.shape)}, but the state of {plan.levels[0].process!r} has {width} components: give "
            f"shape (batch, {width}, …), positions x_T[:, 0] and velocities x_T[:, 1]"
        )
    return width


def _check_options(solver: Solver, options: dict[str, Any]) -> None:
    """Raise SolverError for a seed under the name that other libraries give it."""
    for name in options.keys() & {"seed", "rng", "generator", "random_state"}:
        if name not in solver.options:
            raise SolverError(f"sample: there is no {name}=; seeds and generators are given as noise={options[name]!r}")


def unused(arrays: Arrays, plan: Plan, noise: Any) -> None:
    """Noise for a solver that draws none: arrays are an error, a seed or a generator a warning."""
    if not is_source(noise, arrays):
        if not len(noise):
            return
        raise PlanError(f"{plan.solver} draws no noise, but noise= holds {len(noise)} arrays; leave it out")
    words = f"{plan.solver} draws no noise, so noise= changes nothing; leave it out, or take a solver with noise"
    warnings.warn(words, UnusedNoise, stacklevel=3)


def _anchored(arrays: Arrays, model: Model, mu: Array | None, x: Array) -> Anchored | None:
    if model.process.anchored and mu is None:
        raise ModelError(f"{model.process!r} has an anchor; give it as mu=")
    if mu is None:
        return None
    if not model.process.anchored:
        raise ModelError(f"{model.process!r} has no anchor, but mu= was given")
    anchor = namespace(x).asarray(mu, dtype=x.dtype, device=x.device)
    if not _broadcasts(anchor.shape, x):
        raise ModelError(
            f"mu has shape {tuple(anchor.shape)}, which does not broadcast against x_T of shape {tuple(x.shape)}"
        )
    if not arrays.finite(anchor):
        raise ModelError("mu holds NaN or ∞")
    return Anchored(model, anchor)


def _broadcasts(shape: Sequence[int], x: Array) -> bool:
    try:
        return np.broadcast_shapes(tuple(shape), tuple(x.shape)) == tuple(x.shape)
    except ValueError:
        return False


def _check_levels_broadcast(grid: TimeGrid, x: Array) -> None:
    shape = np.shape(grid[0].lam)
    if not _broadcasts(shape, x):
        raise ModelError(
            f"the grid's levels have shape {shape}, which does not broadcast against x_T of shape {tuple(x.shape)}"
        )
