"""Running a black box on designed outputs and designed noise, and writing down what it asks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffode.analysis.recovery.draws import Draws, controlled, source
from diffode.backends import get_backend
from diffode.errors import DiffodeError, SolverError
from diffode.models import Model
from diffode.plan import Level
from diffode.process import Process

Array = Any
Sampler = Callable[..., Any]
Place = Callable[[Any], Level]
"""What a sampler tells the model → the level of the model's input."""

_TIMES = ("t", "timestep", "timesteps", "time", "sigma", "sigmas")


@dataclass(frozen=True)
class Design:
    """What a black box is given: the coordinates of x_T, of every output and of every normal, each of length n.

    Attributes
    ----------
    x : ndarray, shape (n,)
    output, noise : callable
        Number of the evaluation or draw → ndarray, shape (n,).
    """

    x: np.ndarray
    output: Callable[[int], np.ndarray]
    noise: Callable[[int], np.ndarray]


@dataclass
class Seen:
    """What a black box did in one run.

    Attributes
    ----------
    inputs : list of ndarray, shape (n,)
        What it showed to the model, and last what it returned.
    levels : list of Level
        Where it evaluated.
    draws : int
        Normals that it drew.
    """

    inputs: list[np.ndarray] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    draws: int = 0


class Probe(Model):
    """A model whose outputs are designed; it serves diffode's solvers and anyone who calls model(x, t)."""

    def __init__(
        self, process: Process, prediction: str, place: Place, design: Design, seen: Seen, start: Array
    ) -> None:
        self.process, self.prediction = process, prediction
        self.place, self.design, self.seen, self.start = place, design, seen, start

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        number = len(self.seen.levels)
        if tuple(np.shape(x)) != tuple(self.start.shape):
            raise SolverError(
                f"recover: the sampler called the model with shape {tuple(np.shape(x))} at evaluation {number}, but "
                f"x_T has shape {tuple(self.start.shape)}; let it call the model on the state alone (guidance apart)"
            )
        self.seen.inputs.append(flat(x))
        self.seen.levels.append(level)
        return alike(self.design.output(number).reshape(tuple(x.shape)), x)

    def __call__(self, x: Array, t: Any = None, *_: Any, **named: Any) -> Array:
        told = next((named[name] for name in _TIMES if name in named), None) if t is None else t
        return self.native(x, self.place(told))


def run(
    sampler: Sampler, process: Process, prediction: str, place: Place, design: Design, start: Array, seed: int
) -> Seen:
    """One run of a black box.

    Parameters
    ----------
    sampler : callable
        sampler(model, x_T), or sampler(model, x_T, noise) where it has a third argument without a default.
    process : Process
    prediction : str
        What the designed outputs are.
    place : callable
    design : Design
    start : array
        An array of the kind, shape and dtype of x_T.
    seed : int
        Of everything random that is not a normal, and of normals that are out of reach.

    Raises
    ------
    SolverError
        If the sampler fails, never calls the model, or returns something that is not a state.
    """
    seen = Seen()
    probe = Probe(process, prediction, place, design, seen, start)
    shape = tuple(start.shape)
    draws = Draws(lambda number: design.noise(number).reshape(shape), shape, alike)
    arguments = [probe, alike(design.x.reshape(shape), start)]
    if takes_noise(sampler):
        arguments.append(source(draws, start))
    with controlled(draws, seed), np.errstate(all="ignore"):
        try:
            final = sampler(*arguments)
        except DiffodeError:
            raise
        except Exception as problem:
            raise SolverError(f"recover: the sampler failed: {type(problem).__name__}: {problem}") from problem
    if not seen.levels:
        raise SolverError("recover: the sampler never called the model; it must call the model that it is given")
    seen.inputs.append(flat(_state(final, start)))
    seen.draws = len(draws.numbers)
    return seen


def takes_noise(sampler: Sampler) -> bool:
    """Whether a sampler has a third positional argument without a default."""
    try:
        parameters = list(inspect.signature(sampler).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 2 and positional[2].default is inspect.Parameter.empty


def _state(final: Any, start: Array) -> Array:
    for name in ("x", "prev_sample", "sample", "images"):
        final = getattr(final, name, final)
    if isinstance(final, tuple):
        parts: tuple[Any, ...] = final
        final = parts[0] if parts else None
    if type(final) is not type(start):
        raise SolverError(
            f"recover: the sampler returned a {type(final).__name__}, not a {type(start).__name__} like x_T; "
            "wrap it so that it returns the final state"
        )
    if tuple(final.shape) != tuple(start.shape):
        raise SolverError(
            f"recover: the sampler returned shape {tuple(final.shape)} for x_T of shape {tuple(start.shape)}; "
            "wrap it so that it returns the final state"
        )
    return final


def placing(process: Process, level: str | Callable[[Any], Any]) -> Place:
    """From what a sampler tells the model to a level of the process.

    Parameters
    ----------
    process : Process
    level : {"t", "sigma", "lam", "rho"} or callable
        What the sampler tells; or a function of it that gives a time or a level.
    """

    def place(told: Any) -> Level:
        if callable(level):
            found = level(told)
            return found if isinstance(found, Level) else process.level(float(found))
        if told is None:
            raise SolverError(
                "recover: the sampler told the model no time; give level= a function of None that returns the level "
                "of the next evaluation"
            )
        values = np.unique(flat(told))
        if len(values) != 1:
            raise SolverError(f"recover: the sampler told the model {len(values)} different times at once")
        return process.level(**{level: float(values[0])})

    return place


def start_like(backend: str, like: Array, width: int) -> Array:
    """An array like x_T: the example, or float64 numbers as many as are needed."""
    return get_backend(backend).array(np.zeros((1, width))) if like is None else like


def flat(x: Array) -> np.ndarray:
    """The entries of an array of any library, in float64."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    return np.array(x, dtype=float).reshape(-1)


def alike(values: np.ndarray, reference: Array) -> Array:
    """A copy of values in the library, dtype and device of a reference; the sampler may write to it."""
    if hasattr(reference, "new_tensor"):
        return reference.new_tensor(values)
    return np.array(values, dtype=reference.dtype)
