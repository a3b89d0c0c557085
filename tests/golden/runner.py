"""Running a case and comparing it with what was published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

import diffode as de
from diffode.adaptive import sample_adaptive
from diffode.plan import Evaluate
from tests.golden.backwards import Undone
from tests.golden.cases import Case, File
from tests.golden.setup import Adaptive, Flow, Missing, PublishedGrid, Rebuilt, Segment, Setup
from tests.golden.sources import ADAPTERS

LABEL_TOLERANCE = GRID_TOLERANCE = 1e-12
DEVIATIONS = 6.0
"""How many times the spread of unrecorded noise is believed."""


@dataclass(frozen=True)
class Result:
    """How a case compares.

    Attributes
    ----------
    id : str
    verdict : {"matched", "missed", "missing"}
    error : float
        max|a − b| over max|x_final|; NaN where the case was not run.
    reason : str
        What was missed, or why the case is missing.
    """

    id: str
    verdict: str
    error: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class Summary:
    """The results of one file."""

    source: str
    results: tuple[Result, ...]

    def count(self, verdict: str) -> int:
        return sum(result.verdict == verdict for result in self.results)

    @property
    def worst(self) -> float | None:
        """The largest error of the cases that were run."""
        return max((r.error for r in self.results if r.verdict != "missing"), default=None)


def compare_file(file: File) -> Summary:
    """All cases of a file."""
    return Summary(file.name, tuple(compare(case, file.repository) for case in file.cases))


def compare(case: Case, repository: str) -> Result:
    """One case: the final state, the number of evaluations, their labels, and the grid where diffode can build it."""
    adapter = ADAPTERS.get(repository)
    if adapter is None:
        return Result(case.id, "missing", reason=f"no adapter for {repository}")
    try:
        return judge(case, adapter(case))
    except Missing as problem:
        return Result(case.id, "missing", reason=str(problem))
    except (de.DiffodeError, ArithmeticError, LookupError) as problem:
        return Result(case.id, "missed", float("inf"), f"{type(problem).__name__}: {problem}")


def judge(case: Case, setup: Setup) -> Result:
    """A case against what an adapter made of it."""
    x, labels = _run(setup)
    x = x.reshape(len(x), -1) if setup.flat else x
    size = float(np.max(np.abs(case.x_final)))
    gap = float(np.max(np.abs(x - case.x_final))) if x.shape == case.x_final.shape else float("inf")
    bound = case.tolerance["abs"] + case.tolerance["rel"] * size
    if gap > bound and setup.unrecorded and gap < DEVIATIONS * _spread(setup, x):
        return Result(case.id, "missing", reason=f"off by {gap:.1e}, as noise that the source did not record makes it")
    faults: list[str] = []
    if not gap <= bound:
        faults.append(f"x_final differs by {gap:.1e} (its size is {size:.1e})")
    if case.eval_labels is not None:
        if len(labels) != case.nfe:
            faults.append(f"{len(labels)} evaluations, published {case.nfe}")
        elif (far := distance(case.eval_labels, labels, setup.floor)) > LABEL_TOLERANCE + _feedback(setup, labels, far):
            faults.append(f"eval_labels differ by {far:.1e} of their size")
    faults += [fault for part in setup.rebuilt if (fault := _misbuilt(part))]
    return Result(case.id, "missed" if faults else "matched", gap / size if size else gap, "; ".join(faults))


Before = Callable[[np.ndarray, de.Level], np.ndarray]
"""What happens to the state at a level."""


def _run(setup: Setup, before: Before = lambda x, level: x) -> tuple[np.ndarray, np.ndarray]:
    """The final state and the label of every evaluation that the source counts; `before` acts ahead of each segment."""
    x, labels = setup.start, list[float]()
    for part in setup.segments:
        x = before(x, part.grid[0])
        if isinstance(part, Flow):
            x = de.reference(part.model, x, part.grid, 1e-13).x
            continue
        if isinstance(part, Undone):
            x, asked = part.run(x)
            labels += [setup.label(row.at or row.level) for row in asked]
            continue
        if isinstance(part, Adaptive):
            ends = {"start": part.grid[0], "end": part.grid[-1], "rtol": part.rtol, "atol": part.atol}
            run = sample_adaptive(part.model, part.solver, x, controller=part.controller, **ends)
            x = run.x
            labels += [setup.label(row.at or row.level) for row in run.plan if isinstance(row, Evaluate)]
            continue
        noise = list(part.noise) or None
        out = de.sample(part.model, part.solver, part.grid, x, noise=noise, mu=setup.mu, trajectory=False)
        x = out.x
        labels += [setup.label(row.at or row.level) for row in out.plan if isinstance(row, Evaluate)]
    return x, np.array(labels[setup.free :])


def _spread(setup: Setup, x: np.ndarray) -> float:
    """How far the final state moves where the source's unrecorded noise disturbs the state before every step."""
    steps = tuple(
        Segment(part.solver, PublishedGrid(part.grid.process, pair), part.model)
        for part in setup.segments
        if isinstance(part, Segment)
        for pair in pairwise(part.grid.levels)
    )
    random = np.random.default_rng(0)

    def disturbed(x: np.ndarray, level: de.Level) -> np.ndarray:
        return x + setup.unrecorded * level.sigma * random.standard_normal(x.shape)

    moved = [_run(replace(setup, segments=steps), disturbed)[0] for _ in range(4)]
    return float(max(np.max(np.abs(other - x)) for other in moved))


class Rounded(de.Model):
    """A model whose answers are off by a few units of round-off, as if D had been told as noise and found from that."""

    def __init__(self, model: de.Model, random: np.random.Generator) -> None:
        self.model, self.random = model, random
        self.process, self.prediction = model.process, model.prediction

    def native(self, x: np.ndarray, level: de.Level, output: str | None = None, to: de.Level | None = None):
        value = self.model.native(x, level, output, to)
        size = np.abs(value) + np.abs(x) / level.alpha
        return value + 4 * np.finfo(float).eps * size * self.random.standard_normal(value.shape)


def _feedback(setup: Setup, labels: np.ndarray, far: float) -> float:
    """How far rounding may move times that follow from errors, which are differences of nearly equal states."""
    adaptive = any(isinstance(part, Adaptive) for part in setup.segments)
    if not adaptive or far <= LABEL_TOLERANCE:
        return 0.0
    moved = 0.0
    for seed in range(4):
        random = np.random.default_rng(seed)
        parts = tuple(replace(part, model=Rounded(part.model, random)) for part in setup.segments)
        moved = max(moved, distance(labels, _run(replace(setup, segments=parts))[1], setup.floor))
    return DEVIATIONS * moved


def distance(stored: np.ndarray, built: np.ndarray, floor: float = 0.0) -> float:
    """The largest difference of two lists of levels, relative to each level's size, which is `floor` at least."""
    stored, built = np.asarray(stored, dtype=float), np.asarray(built, dtype=float)
    if stored.shape != built.shape:
        return float("inf")
    size = np.maximum(np.abs(stored), max(floor, np.finfo(float).tiny))
    return float(np.max(np.abs(stored - built) / size, initial=0.0))


def _misbuilt(part: Rebuilt) -> str:
    far = distance(part.stored, part.built, part.floor)
    return f"the grid's {part.name} differ by {far:.1e} of their size" if far > GRID_TOLERANCE else ""
