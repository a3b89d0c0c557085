"""What was typed, made into what is meant; what cannot be is an error that names the option and the remedy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffode.errors import DiffodeError, GridError, MissingExtra, unknown

if TYPE_CHECKING:
    from diffode.grids import TimeGrid
    from diffode.models import Model
    from diffode.problems import Problem
    from diffode.process import Process
    from diffode.solvers import Solver

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="Write JSON to a file, or without one to standard output."),
]
ProcessName = Annotated[
    str | None, typer.Option("--process", metavar="P", help="vp, vp_cosine, subvp, ve, edm, flow, …")
]
ProblemName = Annotated[
    str,
    typer.Option("--problem", metavar="P", help="A named problem, or FILE.py[:NAME]: a problem or model of your own."),
]
Grid = Annotated[
    str,
    typer.Option(
        "--grid", metavar="G", help="karras, uniform_lambda, …, FILE.json, or t=1,0.5,0.1 (or sigma=, lam=, rho=)."
    ),
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Number of steps. [default: 20]")]
Samples = Annotated[int, typer.Option("--samples", metavar="N", help="Number of starting states.")]
States = Annotated[
    Path | None, typer.Option("--states", metavar="FILE.npy", help="Starting states of your own, of shape (batch, …).")
]
Seed = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of the starting states and of the noise.")]

_COPIES = 12
"""Arrays like the state that a run holds at once: what the solver remembers, and what an exact model works with."""

_STEP = 4096
"""Bytes that one step of a plan takes: its level, its rows and their coefficients."""

LEVELS = ("t", "sigma", "lam", "rho")


def numbers(text: str, option: str) -> list[float]:
    """A list of numbers, as in 1,0.5,1e-3."""
    values: list[float] = []
    for word in text.split(","):
        try:
            values.append(float(word))
        except ValueError:
            raise DiffodeError(f"{option}: {word!r} is not a number; write them with commas between: 1,0.5") from None
    return values


def counts(text: str, option: str) -> list[int]:
    """A list of positive whole numbers, as in 5,10,20."""
    values: list[int] = []
    for word in text.split(","):
        if not word.strip().isdecimal() or int(word) < 1:
            raise DiffodeError(
                f"{option}: {word!r} is not a positive whole number; write them with commas between: 5,10,20"
            )
        values.append(int(word))
    return values


def positive(value: int, option: str) -> int:
    """A count that must be at least 1."""
    if value < 1:
        raise DiffodeError(f"{option}: must be at least 1, not {value}")
    return value


def affordable(count: int, each: float, option: str, what: str) -> int:
    """A count of things of so many bytes each; DiffodeError where they do not fit into the memory that is free."""
    free = _free_memory()
    if count * each > free:
        most = int(free / each)
        raise DiffodeError(
            f"{option} {count}: {what} take about {count * each / 2**30:.3g} GB, and {free / 2**30:.3g} GB are free; "
            f"take at most {most:.0e}"
        )
    return count


def _free_memory() -> float:
    """Bytes of memory that are free, or all that there are; without end where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024.0 * float(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        known = getattr(os, "sysconf_names", {})
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if "SC_PHYS_PAGES" in known else inf


def require(package: str, extra: str) -> None:
    """Raise MissingExtra where an optional package is not installed, before any work is done."""
    if find_spec(package) is None:
        raise MissingExtra(package, extra)


def solvers(names: Iterable[str]) -> list[Solver]:
    """The solvers that names stand for; a file stands for all that it defines."""
    from diffode.solvers import get_solver
    from diffode.solvers.registry import load_file

    found: list[Solver] = []
    for name in names:
        if name.endswith(".py"):
            found.extend(load_file(Path(name)).values())
        else:
            found.append(get_solver(name))
    return found


def builder(name: str) -> Callable[[Process, int], TimeGrid]:
    """A way to build grids, by its name, or from the levels in a file."""
    from diffode.grids import NAMES, load

    if name.endswith(".json"):
        return lambda process, n: load(name, process, n)
    if name not in NAMES:
        raise GridError(unknown("grid", name, NAMES))
    return NAMES[name]


def grid(of: Process, text: str, steps: int | None) -> TimeGrid:
    """The grid that a name and a number of steps, or a list of levels, stand for."""
    from diffode.grids import TimeGrid, load

    if text.endswith(".json"):
        return load(text, of, None if steps is None else positive(steps, "--steps"))
    variable, given, levels = text.partition("=")
    if not given:
        return builder(text)(of, _steps(20 if steps is None else steps))
    if variable not in LEVELS:
        raise GridError(f"--grid: levels are listed as t=, sigma=, lam= or rho=, not {variable}=")
    if steps is not None:
        raise GridError("--grid: its levels are listed, so leave out --steps")
    values: Any = numbers(levels, "--grid")
    return TimeGrid(of, **{variable: values})


def _steps(count: int) -> int:
    return affordable(positive(count, "--steps"), _STEP, "--steps", "the steps")


@dataclass(frozen=True)
class Subject:
    """What solvers are run on: a model with states to start at, and the problem that it comes from, if any."""

    name: str
    model: Model
    x_T: Any
    problem: Problem | None


def subject(text: str, process: str | None, states: Path | None, samples: int, seed: int) -> Subject:
    """What `--problem`, `--process`, `--states`, `--samples` and `--seed` ask for."""
    from diffode.models import Model

    positive(samples, "--samples")
    if seed < 0:
        raise DiffodeError(f"--seed: must be at least 0, not {seed}")
    chosen = problem(text, process)
    if isinstance(chosen, Model):
        if states is None:
            raise DiffodeError(f"--problem {text}: for a model of your own give starting states, --states FILE.npy")
        return Subject(text, chosen, _states(states), None)
    if states is None:
        affordable(samples, _COPIES * 8 * chosen.dimension, "--samples", "the states")
    x_T = chosen.initial(samples, seed) if states is None else _states(states)
    return Subject(chosen.name, chosen.model, x_T, chosen)


def problem(text: str, process: str | None) -> Problem | Model:
    """A problem by its name, or a problem or model that a file defines."""
    from diffode.problems import get_problem
    from diffode.process import named
    from diffode.solvers.registry import split_file

    path, inside = split_file(text)
    if path.endswith(".py"):
        if process is not None:
            raise DiffodeError(f"--process: the problem of {path} has its own; leave it out")
        return _problem_in(Path(path), inside)
    where = None if process is None else named(process)
    if where is not None and where.anchored:
        raise DiffodeError(
            f"--process {process}: it has an anchor, which a named problem lacks; write a file with a problem that has "
            "one, de.problems.get_problem(…, mu=…), and give --problem FILE.py"
        )
    return get_problem(text, where)


def _problem_in(path: Path, inside: str) -> Problem | Model:
    from diffode.models import Model
    from diffode.problems import Problem
    from diffode.solvers.registry import run_file

    module = vars(run_file(path))
    found = {name: value for name, value in module.items() if isinstance(value, (Problem, Model))}
    if not found:
        raise DiffodeError(f"{path}: the file defines no problem or model; make one, as in model = de.Denoiser(…)")
    if not inside and len(found) > 1:
        raise DiffodeError(f"{path} defines {', '.join(found)}; say which: {path}:{next(iter(found))}")
    if inside and inside not in found:
        raise DiffodeError(f"{path} defines no problem or model {inside!r}; it defines {', '.join(found)}")
    return found[inside] if inside else next(iter(found.values()))


def _states(path: Path) -> Any:
    """Starting states from a file of NumPy's."""
    import numpy as np

    from diffode.backends import get_backend

    if not path.is_file():
        raise DiffodeError(f"--states: {path}: no such file")
    try:
        x_T = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise DiffodeError(f"--states: {path} holds no array; write one with numpy.save") from None
    get_backend("numpy").check_state(x_T)
    return x_T
