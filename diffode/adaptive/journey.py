"""A run whose steps are chosen as it goes: traced, run, judged and kept or taken back one by one.

One tracer writes down the whole run, so that noise stays one Brownian path: what a step that was taken back saw of it
is still true of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diffode.adaptive.controller import Controller
from diffode.backends import Arrays, Run, execute, get_backend
from diffode.backends.base import Asked, is_source, walk
from diffode.brownian import factors
from diffode.errors import ModelError, PlanError, SolverError
from diffode.grids import TimeGrid
from diffode.kinds import shown
from diffode.models.base import namespace, number
from diffode.plan import BrownianIncrement, Evaluate, Level, Linear, Normal, Plan, Row, reads
from diffode.prediction import change
from diffode.process import Process
from diffode.solvers import Solver
from diffode.trace import Tracer, alive, one_step

Array = Any


@dataclass(frozen=True)
class Attempt:
    """One step that was tried.

    Attributes
    ----------
    now, next : Level
    error : float
        In units of the tolerance.
    accepted : bool
    evaluations : int
        That it took.
    done : float
        The share of the way in λ that is done after it.
    """

    now: Level
    next: Level
    error: float
    accepted: bool
    evaluations: int
    done: float


@dataclass(frozen=True)
class Realised:
    """What an adaptive run did.

    Attributes
    ----------
    plan : Plan
        All rows that were run, those of steps that were taken back too: its `nfe` is what the run cost.
    attempts : tuple of Attempt
    finished : bool
        False where `on_step` stopped the run.
    noise : int, generator, arrays or None
        What drew its noise; with it the plan gives the run again.
    """

    plan: Plan
    attempts: tuple[Attempt, ...]
    finished: bool
    noise: Any = None

    @property
    def nfe(self) -> int:
        """Evaluations, of steps that were taken back too."""
        return self.plan.nfe

    @property
    def rejected(self) -> int:
        """Steps that were taken back."""
        return sum(not attempt.accepted for attempt in self.attempts)

    @property
    def grid(self) -> TimeGrid:
        """The levels that were kept."""
        return TimeGrid(self.plan.levels[0].process, levels=self.plan.levels)

    def replay(self, model: Any, x: Array, backend: str = "numpy") -> Array:
        """The plan run again, without control, from a state at its first level."""
        return execute(get_backend(backend), self.plan, model, [x], self.noise)[self.plan.states[-1]]

    def __repr__(self) -> str:
        kept = len(self.attempts) - self.rejected
        end = "" if self.finished else ", stopped"
        return f"<run of {self.plan.solver}: {kept} steps, {self.rejected} taken back, {self.nfe} evaluations{end}>"


@dataclass
class _Window:
    """The grid that a tracer sees: the levels that were kept, and the one that is tried."""

    process: Process
    levels: tuple[Level, ...]


@dataclass
class Journey:
    """An adaptive run that has not begun.

    Attributes
    ----------
    solver : Solver
        With an embedded result.
    process : Process
    start, end : Level
    controller : Controller
    rtol, atol : float
    k : float
        The power of h that the error of a step goes with.
    limit : int
        Evaluations that it may spend.
    on_step : callable, optional
        Called with every `Attempt`; where it returns True the run stops.
    """

    solver: Solver
    process: Process
    start: Level
    end: Level
    controller: Controller
    rtol: float
    atol: float
    k: float
    limit: int
    on_step: Callable[[Attempt], Any] | None = None
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    spent: int = 0

    def run(self, arrays: Arrays, x: Array, noise: Any = None) -> Generator[Asked, None, tuple[Array, Realised]]:
        """From x at the start to the end; yields evaluations (see `diffode.backends.lockstep`)."""
        self._arrays, self._noise = arrays, _Noise(arrays, self.solver.name, noise, x)
        self._tracer = Tracer(self.solver, _Window(self.process, (self.start,)), ["x0"], True)
        self._tracer.counts["x"] = 1
        self._known, self._values = list[Evaluate](), {"x0": x}
        states, levels, low = ["x0"], [self.start], x
        steering = self.controller.steer(self.k)
        h = self.controller.first or (yield from self._first(x))
        h = abs(h) if self.end.lam > self.start.lam else -abs(h)
        while levels[-1].lam != self.end.lam:
            now = levels[-1]
            b = self.controller.target(now, h, self.end)
            self._check_step(now, b)
            high, below, evaluations, back = yield from self._tried(states[-1], (*levels, b))
            old, new = self._values[states[-1]], self._values[high]
            error = self._error(self._values[below], new, old, low)
            if not arrays.finite(new):
                raise ModelError(f"{self.solver.name}: the state is not finite after t={shown(now.t)} → {shown(b.t)}")
            accepted, factor = steering.judge(error)
            h = factor * (b.lam - now.lam if self.controller.clipped else h)
            if accepted:
                low = self._values[below]
                states.append(high)
                levels.append(b)
            else:
                self._tracer.past, self._tracer.named = back
            self._forget(states[-1])
            done = (levels[-1].lam - self.start.lam) / (self.end.lam - self.start.lam)
            self.attempts.append(Attempt(now, b, error, accepted, evaluations, float(done)))
            if self.on_step is not None and self.on_step(self.attempts[-1]):
                break
        finished = levels[-1].lam == self.end.lam
        plan = self._plan(states, levels)
        return self._values[states[-1]], Realised(plan, tuple(self.attempts), finished, noise)

    # --- one step ---

    def _tried(
        self, x: str, levels: tuple[Level, ...]
    ) -> Generator[Asked, None, tuple[str, str, int, tuple[Any, Any]]]:
        """The registers of the new state and of the embedded one, evaluations, and the memory to go back to."""
        tracer = self._tracer
        tracer.grid, mark = _Window(self.process, levels), len(tracer.rows)
        back = list(tracer.past), dict(tracer.named)
        tracer.evaluations = self._known if self.controller.reuse else None
        high = tracer.register(one_step(tracer, Linear({x: 1}), len(levels) - 2), name=tracer.fresh("x"))
        if len(tracer.embedded) != 1:
            raise SolverError(without_embedded(self.solver, len(tracer.embedded)))
        low = tracer.embedded[0]
        below = tracer.register(low(Linear({high: 1})) if callable(low) else low, "b")
        rows = tracer.rows[mark:]
        evaluations = yield from self._run(x, rows, {high, below})
        self._known += [row for row in rows if isinstance(row, Evaluate) and row.x in (x, high)]
        return high, below, evaluations, back

    def _run(self, x: str, rows: Sequence[Row], wanted: set[str]) -> Generator[Asked, None, int]:
        """Run new rows; their evaluations."""
        evaluations = sum(isinstance(row, Evaluate) for row in rows)
        if self.spent + evaluations > self.limit:
            at, steps = self._tracer.grid.levels[-2 if len(self._tracer.grid.levels) > 1 else -1], len(self.attempts)
            raise SolverError(
                f"sample_adaptive: max_evaluations={self.limit} are spent after {steps} steps, at t={shown(at.t)} of "
                f"{shown(self.start.t)} → {shown(self.end.t)}; allow more, or loosen rtol={self.rtol:g} and "
                f"atol={self.atol:g}"
            )
        self.spent += evaluations
        noises = [row for row in rows if isinstance(row, (BrownianIncrement, Normal))]
        self._values.update(self._noise.drawn(noises))
        rest = tuple(row for row in rows if row not in noises)
        made = {row.out for row in rest}
        inputs = tuple(dict.fromkeys([x, *(name for row in rest for name in reads(row) if name not in made)]))
        self._values.update(self._noise.again(name for name in inputs if name not in self._values))
        held = {name for value in self._remembered() for name in value.terms}
        again = {row.out for row in rest if isinstance(row, Evaluate)}
        keep = tuple((wanted | held | again) & made)
        plan = Plan(rest, inputs, (x,), self._tracer.grid.levels[-1:], None, self.solver.name)
        run: Run = yield from walk(self._arrays, plan, [self._values[name] for name in inputs], None, keep)
        self._values.update({name: run[name] for name in keep})
        return evaluations

    def _remembered(self) -> Iterable[Linear]:
        return [value for value, _ in self._tracer.past] + list(self._tracer.named.values())

    def _forget(self, x: str) -> None:
        """Let go of arrays that no further step can ask for."""
        self._known = [row for row in self._known if row.x == x]
        held = {x, *(row.out for row in self._known), *(name for v in self._remembered() for name in v.terms)}
        self._values = {name: value for name, value in self._values.items() if name in held}

    def _check_step(self, a: Level, b: Level) -> None:
        if abs(b.lam - a.lam) <= 1e-14 * max(1.0, abs(a.lam)):
            raise SolverError(
                f"sample_adaptive: the step at t={shown(a.t)} fell to {abs(b.lam - a.lam):.1e} in λ; "
                f"rtol={self.rtol:g}, atol={self.atol:g} ask for more than rounding leaves"
            )

    # --- errors ---

    def _error(self, low: Array, new: Array, old: Array, old_low: Array) -> float:
        if self.controller.scale == "larger":
            delta = (self.rtol * self._larger(low, old_low)).clip(min=self.atol)
        else:
            delta = self.atol + self.rtol * self._larger(new, old)
        return min(self._norm((new - low) / delta.clip(min=1e-30)), 1e12)

    def _larger(self, a: Array, b: Array) -> Array:
        return namespace(a).maximum(abs(a), abs(b))

    def _norm(self, x: Array) -> float:
        with np.errstate(over="ignore"):
            squares = (x * x).reshape(len(x), -1).mean(1)
        return number(squares.max() if self.controller.over == "worst" else squares.mean()) ** 0.5

    def _first(self, x: Array) -> Generator[Asked, None, float]:
        """The length of a first step, by Hairer, Nørsett and Wanner, II.4: from the slope there, and one step on."""
        tracer, start = self._tracer, self.start
        whole = self.end.lam - start.lam

        def slope(register: str, level: Level) -> Linear:
            a, b = change(self.solver.prediction, "velocity", level)
            rate = level.process.dlam(level.t)
            out = tracer.fresh("d")
            tracer.rows.append(Evaluate(out, register, level, self.solver.prediction, 0))
            return (a / rate) * Linear({register: 1}) + (b / rate) * Linear({out: 1})

        first = tracer.register(slope("x0", start), "f")
        yield from self._run("x0", tracer.rows, {first})
        size = (self.atol + self.rtol * abs(x)).clip(min=1e-30)
        d0, d1 = self._norm(x / size), self._norm(self._values[first] / size)
        h0 = min(0.01 * d0 / d1 if d0 > 1e-5 and d1 > 1e-5 else 1e-6, 0.1 * abs(whole))
        mark, signed = len(tracer.rows), h0 if whole > 0 else -h0
        there = tracer.register(Linear({"x0": 1}) + signed * Linear({first: 1}))
        second = tracer.register(slope(there, self.process.level(lam=start.lam + signed)), "f")
        yield from self._run("x0", tracer.rows[mark:], {second})
        d2 = self._norm((self._values[second] - self._values[first]) / size) / h0
        self._known = [row for row in tracer.rows if isinstance(row, Evaluate) and row.x == "x0"]
        steepest = max(d1, d2)
        return min(100 * h0, (0.01 / steepest) ** (1 / self.k) if steepest > 1e-15 else max(1e-6, 1e-3 * h0))

    # --- what is left ---

    def _plan(self, states: Sequence[str], levels: Sequence[Level]) -> Plan:
        memory = self._tracer.memory()
        wanted = {*states, *memory.registers()}
        return Plan(
            flagged(alive(self._tracer.rows, wanted), wanted), ("x0",), tuple(states), tuple(levels), memory,
            self.solver.name,
        )  # fmt: skip


def flagged(rows: Sequence[Row], wanted: set[str]) -> tuple[Row, ...]:
    """The rows, evaluations of which nothing in `wanted` depends marked as rejected."""
    needed, found = set(wanted), list[Row]()
    for row in reversed(rows):
        if row.out in needed:
            needed.update(reads(row))
        elif isinstance(row, Evaluate):
            row = replace(row, rejected=True)
        found.append(row)
    return tuple(reversed(found))


class _Noise:
    """The values of noise rows, of which more and more are asked for; as `execute` draws them for the whole plan."""

    def __init__(self, arrays: Arrays, solver: str, source: Any, x: Array) -> None:
        self._arrays, self._solver, self._source, self._x = arrays, solver, source, x
        self._rows: list[Row] = []
        self._normals: list[Array] = []

    def drawn(self, rows: Sequence[BrownianIncrement | Normal]) -> dict[str, Array]:
        """The values of further rows."""
        if not rows:
            return {}
        if self._source is None:
            raise PlanError(f"{self._solver} draws noise; give noise=seed, a generator, or a sequence of arrays")
        first = len(self._rows)
        self._rows += rows
        if is_source(self._source, self._arrays):
            self._normals += [self._arrays.normal(self._source, first + k, self._x) for k in range(len(rows))]
        elif len(self._rows) > len(self._source):
            raise PlanError(f"{self._solver} has drawn more noise than the {len(self._source)} arrays in noise=")
        return self.again(row.out for row in rows)

    def again(self, names: Iterable[str]) -> dict[str, Array]:
        """The values of rows that were drawn: those that a step which is tried anew finds where it left them."""
        asked = set(names)
        if not asked:
            return {}
        if not self._normals:
            return {row.out: self._source[k] for k, row in enumerate(self._rows) if row.out in asked}
        mixes = factors(Plan(tuple(self._rows), ("x0",), ("x0",), ()))
        return {name: self._mixed(mixes[name]) for name in asked}

    def _mixed(self, mix: dict[int, Any]) -> Array:
        parts = [(w, self._normals[j]) for j, w in mix.items()]
        return parts[0][1] if len(parts) == 1 else self._arrays.combine(parts)


def embedded(solver: Solver, process: Process) -> int:
    """How many embedded results a rule names, on a step in the middle of a process: one is of use."""
    mean = 0.5 * (process.lam(process.t_far) + process.lam(process.t_min))
    levels = tuple(process.level(lam=mean + shift) for shift in (0.0, 0.125))
    tracer = Tracer(solver, _Window(process, levels), ["x0"], True)
    one_step(tracer, Linear({"x0": 1}), 0)
    return len(tracer.embedded)


def without_embedded(solver: Solver, count: int) -> str:
    """What to do about a rule that has no embedded result, or several."""
    return (
        f"{solver.name} has {count or 'no'} embedded results in a step, and one tells the error; take one that has "
        "(dpm_solver_3, res_3s, dormand_prince5; de.adaptive.pairs() lists all), or name one in the rule by "
        "step.embed(lower)"
    )
