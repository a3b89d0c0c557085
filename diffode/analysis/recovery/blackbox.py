"""`recover`: the coefficient table of a sampler whose code nobody reads.

A sampler that is linear in the outputs of its model is known completely from one run in which output j is 1 in a
coordinate of its own, and 0 elsewhere: then coordinate j of whatever it shows to the model next *is* the coefficient of
output j. So are those of x_T and of every normal that it draws. Further runs, with random outputs of three sizes, tell
whether it is linear; a sampler that is not is refused, with the number that gave it away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffode import prediction as predictions
from diffode.analysis.recovery.probe import Design, Place, Sampler, Seen, placing, run, start_like
from diffode.analysis.recovery.schedulers import Driven, is_scheduler
from diffode.analysis.recovery.table import Table, plan_of
from diffode.errors import ProcessError, SolverError
from diffode.grids import TimeGrid
from diffode.plan import Level, Plan
from diffode.process import EDM, Process

if TYPE_CHECKING:
    from diffode.analysis.recovery.matching import Match

SIZES = (1.0, 1e3, 1e-3)
"""Of the random outputs with which linearity is tested: clipping shows at large ones, a floor at small ones."""

SINGLE = 1e-5
"""Differences below this, relative to the terms, are what rounding to float32 leaves; clipping makes larger ones."""


@dataclass(frozen=True, eq=False)
class Recovered(Plan):
    """The plan of a black box: a `Plan` in all respects, that knows how it was found.

    Its input x0 is what the model sees first, if that is a multiple of x_T. Its states are the last inputs of the model
    at each level where there was an evaluation, and the final state.

    Attributes
    ----------
    table : Table
        The coefficients, of x_T as the sampler takes it, of the outputs and of the normals: those that it draws, or,
        where they are more than its states, as many as give the same law.
    process : Process
    scale : float
        What the model sees first, in units of x_T; a plan's input is `scale` times what the sampler takes.
    precision : float
        The largest difference between what the table says and what the sampler did on random outputs, relative to the
        size of the terms.
    tolerance : float
        What was allowed.
    grid : TimeGrid or None
        The grid, where the caller gave it.
    """

    table: Table = None  # type: ignore[assignment]
    process: Process = None  # type: ignore[assignment]
    scale: float = 1.0
    precision: float = 0.0
    tolerance: float = 1e-9
    grid: TimeGrid | None = None

    __repr__ = Plan.__repr__

    def matches(self, among: Any = None, grid: TimeGrid | None = None, count: int = 5) -> tuple[Match, ...]:
        """The registered solvers nearest to this one on its levels; see `diffode.analysis.recovery.matches`."""
        from diffode.analysis.recovery.matching import matches

        return matches(self, among, grid)[:count]


def recover(
    sampler: Sampler,
    process: Process | None = None,
    *,
    grid: TimeGrid | None = None,
    level: str | Callable[[Any], Any] = "t",
    final: Level | float | None = None,
    prediction: str = "eps",
    backend: str = "numpy",
    like: Any = None,
    steps: int = 10,
    tolerance: float | None = None,
    name: str | None = None,
) -> Recovered:
    """The coefficient table of a black box, as a plan.

    Parameters
    ----------
    sampler : callable
        sampler(model, x_T) → final state, or sampler(model, x_T, noise). It calls model(x, t). Normals that it draws by
        itself, from `numpy.random`, from generators that it makes, or from torch, are seen; where it takes `noise`,
        that is a NumPy generator, which can also be called for the next noise. Or a scheduler of the diffusers library,
        which tells process, levels and prediction by itself.
    process : Process, optional
        What the levels belong to: that of the grid, or EDM, where t is σ.
    grid : TimeGrid, optional
        The levels that the sampler steps through, if known.
    level : {"t", "sigma", "lam", "rho"} or callable
        What the sampler tells the model; or a function of that which gives a time or a `Level`.
    final : Level or number, optional
        The level of the final state, a number in the meaning of `level`; that of the grid, or σ = 0.
    prediction : {"eps", "x0", "v", "score", "velocity"}
        What the sampler takes the model's output for.
    backend : {"numpy", "torch"}
        Which arrays the sampler takes: float64, of shape (1, n) for any n.
    like : array, optional
        An example of x_T instead, for samplers that want a certain shape, dtype or device.
    steps : int
        For a scheduler, what its timesteps are set to.
    tolerance : float, optional
        Relative difference between what the table says and what the sampler does that counts as round-off: 1e-9, and
        1e-4 for a scheduler. A sampler that computes in single precision needs 1e-4.
    name : str, optional
        The plan's title.

    Returns
    -------
    Recovered
        A `Plan`.

    Raises
    ------
    SolverError
        If the sampler is not linear in the outputs of its model, chooses its steps by them, draws noise that cannot be
        seen, adds a constant, never calls the model, or deals in other shapes; the message gives the evidence.

    Examples
    --------
    >>> import diffode as de
    >>> def euler(model, x):
    ...     for a, b in ((80.0, 2.0), (2.0, 0.0)):
    ...         x = x + (b - a) * model(x, a)
    ...     return x
    >>> found = recover(euler)
    >>> print(found)
    euler: 2 steps, 2 evaluations, deterministic, 3 arrays at once
      x0  input
      d0  eps(x0)        at t=80 (λ=-4.38203)
      x1  1 x0 − 78 d0
      d1  eps(x1)        at t=2 (λ=-0.693147)
      x2  1 x1 − 2 d1
    >>> found.matches()[0].solver
    'ddim'
    """
    if is_scheduler(sampler):
        driven = Driven.of(sampler, steps)
        return recover(
            driven, driven.process, level=_told, final=driven.levels[-1], prediction=driven.prediction,
            like=driven.start, tolerance=tolerance or 1e-4, name=name or type(sampler).__name__,
        )  # fmt: skip
    if not callable(sampler):
        raise SolverError(f"recover: the sampler must be callable as sampler(model, x_T), not {type(sampler).__name__}")
    predictions.check(prediction, "recover")
    process = process or (grid.process if grid is not None else EDM())
    box = _Box(sampler, process, prediction, placing(process, level), backend, like, tolerance or 1e-9)
    count = box.count()
    rows = box.coefficients(count)
    precision = box.test(rows, count)
    end = _final(process, grid, level, final)
    table = Table((*count.levels, end), prediction, rows).compact
    scale, started = table.started
    start = grid[0] if grid is not None else count.levels[0]
    plan = plan_of(started, start, name or _name(sampler), max(1e-13, 4 * precision))
    return Recovered(
        plan.rows,
        plan.inputs,
        plan.states,
        plan.levels,
        None,
        plan.solver,
        (),
        table,
        process,
        scale,
        precision,
        box.tolerance,
        grid,
    )


@dataclass(frozen=True)
class _Box:
    """The black box with all that its runs have in common."""

    sampler: Sampler
    process: Process
    prediction: str
    place: Place
    backend: str
    like: Any
    tolerance: float

    def run(self, design: Design, seed: int) -> Seen:
        start = start_like(self.backend, self.like, len(design.x))
        return run(self.sampler, self.process, self.prediction, self.place, design, start, seed)

    @property
    def width(self) -> int:
        """Coordinates of x_T; 4 where the sampler takes any number."""
        return 4 if self.like is None else int(np.prod(tuple(self.like.shape)))

    def count(self) -> Seen:
        """A run on zeros, which counts evaluations and draws, and must end in zero."""
        nothing = np.zeros(self.width)
        zero = Design(nothing, lambda _: nothing, lambda _: nothing)
        seen, again = self.run(zero, 1), self.run(zero, 2)
        if not _same(seen, again):
            raise SolverError(
                "recover: the sampler is not deterministic: with x_T = 0, all outputs 0 and all normals 0, two runs "
                f"differ{_difference(seen, again)}; it draws noise that cannot be seen (draw it from torch.randn, "
                "numpy.random or a generator made inside, or take it as a third argument)"
            )
        for i, x in enumerate(seen.inputs):
            if not np.all(np.isfinite(x)):
                raise SolverError(f"recover: with x_T and outputs 0, {_where(i, seen)} is {x[0]}: not linear")
            if np.max(np.abs(x)) > 0:
                raise SolverError(
                    f"recover: with x_T = 0, all outputs 0 and all normals 0, {_where(i, seen)} is "
                    f"{x[np.argmax(np.abs(x))]:.6g}, not 0: the sampler adds a constant, or noise from a generator "
                    "that cannot be seen (take it as a third argument)"
                )
        return seen

    def coefficients(self, count: Seen) -> np.ndarray:
        """The rows of the table, from one run where x_T may be wide enough."""
        evaluations, total = len(count.levels), 1 + len(count.levels) + count.draws
        width = total if self.like is None else self.width
        rows = np.zeros((evaluations + 1, total))
        for first in range(0, total, width):
            part = np.eye(total, width, -first)  # coordinate c of the basis vector first + c is 1
            design = Design(
                part[0],
                lambda j, part=part: part[1 + j] if j < evaluations else 0 * part[0],
                lambda m, part=part: part[1 + evaluations + m] if 1 + evaluations + m < total else 0 * part[0],
            )
            seen = self.run(design, 3)
            _check_course(seen, count, "outputs of size 1, each in a coordinate of its own")
            chunk = min(width, total - first)
            rows[:, first : first + chunk] = np.array(seen.inputs)[:, :chunk]
        return rows

    def test(self, rows: np.ndarray, count: Seen) -> float:
        """The largest relative residual of the table on random outputs; SolverError where it is more than round-off."""
        worst, evaluations = 0.0, len(count.levels)
        for seed, size in enumerate(SIZES):
            random = np.random.default_rng(seed).standard_normal((rows.shape[1], self.width))
            random[1 : 1 + evaluations] *= size

            def output(j: int, values: np.ndarray = random) -> np.ndarray:
                return values[min(1 + j, len(values) - 1)]

            def noise(m: int, values: np.ndarray = random) -> np.ndarray:
                return values[min(1 + evaluations + m, len(values) - 1)]

            seen = self.run(Design(random[0], output, noise), 4 + seed)
            _check_course(seen, count, f"random outputs of size {size:g}")
            expected, terms = rows @ random, np.abs(rows) @ np.abs(random)
            actual = np.array(seen.inputs)
            with np.errstate(all="ignore"):
                residual = np.where(actual == expected, 0.0, np.abs(actual - expected) / np.maximum(terms, 1e-300))
            residual = np.where(np.isnan(residual), np.inf, residual)
            worst = max(worst, float(residual.max()))
            bad = np.flatnonzero(residual.max(axis=1) > self.tolerance)
            if len(bad):
                i, at = int(bad[0]), int(np.argmax(residual[bad[0]]))
                if residual.max() < SINGLE:
                    raise SolverError(
                        f"recover: the sampler seems to compute in float32: with random outputs of size {size:g}, "
                        f"{_where(i, count)} differs from what the coefficients give by {residual[i, at]:.1e} of its "
                        f"terms, where tolerance={self.tolerance:g}; give tolerance=1e-4"
                    )
                raise SolverError(
                    f"recover: the sampler is not linear in the model's output: with random outputs of size {size:g}, "
                    f"{_where(i, count)} is {actual[i, at]:.6g}, where the coefficients found with outputs of size 1 "
                    f"give {expected[i, at]:.6g} (clipping, thresholding, a step that depends on the outputs, or "
                    f"coordinates that are mixed; a relative difference of {residual[i, at]:.1e}, where "
                    f"tolerance={self.tolerance:g})"
                )
        return worst


def _same(one: Seen, two: Seen) -> bool:
    if len(one.levels) != len(two.levels):
        return False
    levels = all(a.lam == b.lam for a, b in zip(one.levels, two.levels, strict=True))
    return levels and np.array_equal(np.array(one.inputs), np.array(two.inputs), equal_nan=True)


def _difference(one: Seen, two: Seen) -> str:
    if len(one.levels) != len(two.levels):
        return f" in the number of evaluations ({len(one.levels)} and {len(two.levels)})"
    gaps = [float(np.max(np.abs(a - b))) for a, b in zip(one.inputs, two.inputs, strict=True)]
    first = next((i for i, gap in enumerate(gaps) if gap), None)
    return " in where they evaluate" if first is None else f" by {gaps[first]:.3g} in {_where(first, one)}"


def _check_course(seen: Seen, count: Seen, what: str) -> None:
    """Raise SolverError where the course of a run depends on the outputs."""
    found, wanted = len(seen.levels), len(count.levels)
    if found != wanted:
        raise SolverError(
            f"recover: the sampler is not linear in the model's output: it evaluates {wanted} times where all outputs "
            f"are 0, and {found} times with {what}; it chooses its steps by what it sees"
        )
    for i, (a, b) in enumerate(zip(seen.levels, count.levels, strict=True)):
        if a.lam != b.lam:
            raise SolverError(
                f"recover: the sampler is not linear in the model's output: evaluation {i} is at t={b.t:.6g} where all "
                f"outputs are 0, and at t={a.t:.6g} with {what}; it chooses its steps by what it sees"
            )
    if seen.draws != count.draws:
        raise SolverError(
            f"recover: the sampler draws {count.draws} normals where all outputs are 0, and {seen.draws} with {what}; "
            "its noise depends on what it sees"
        )


def _where(i: int, seen: Seen) -> str:
    if i == len(seen.levels):
        return "the final state"
    return f"the input of evaluation {i} (t={float(seen.levels[i].t):.6g})"


def _final(process: Process, grid: TimeGrid | None, level: Any, final: Level | float | None) -> Level:
    if isinstance(final, Level):
        return final
    if final is not None:
        return process.level(**{level if isinstance(level, str) else "t": float(final)})
    if grid is not None:
        return grid[-1]
    try:
        return process.level(lam=float("inf"))
    except ProcessError as problem:
        raise SolverError(f"recover: give final=, the level of the final state; {problem}") from None


def _told(level: Level) -> Level:
    """The level of a model that is told it."""
    return level


def _name(sampler: Any) -> str:
    name = getattr(sampler, "__name__", type(sampler).__name__)
    return "recovered" if name == "<lambda>" else name
