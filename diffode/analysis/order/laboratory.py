"""One step rule, a process of jets, a grid with an exact past, and the test systems: what a proof looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from diffode.analysis.order.fixed_point import fading_rates, probe, rates, settled_memory
from diffode.analysis.order.jets import JetGrid, JetProcess, jet_grid
from diffode.analysis.order.modular import Block, readable
from diffode.analysis.order.symbols import series_over
from diffode.analysis.order.systems import Vector, combine, constant, evaluate, exact_block, minus, run, scaled
from diffode.analysis.order.trees import Tree, exact, needed, trees
from diffode.errors import PlanError
from diffode.plan import Combine, Constant, Evaluate, Level, Plan
from diffode.series import Series
from diffode.solvers import Solver
from diffode.trace import trace


class Laboratory:
    """A rule run on the test systems, some free steps after an exact past.

    Parameters
    ----------
    solver : Solver
        Deterministic, without `Dynamic` rows.
    highest : int
        Trees with at most so many nodes; errors are known through h^{highest + 1}.
    spacing, variable : str
        The grid, as `jet_grid` has it.
    seed : int
        Where random values come from, with the solver's name.
    numbers : {"generic", "small", "rational", "dense"}
        Random jets modulo a prime; jets and ratios that can be read, modulo a prime; the same as fractions; fractions
        for jets without a zero, for what polynomials do not show.
    only : sequence of Tree, optional
        Not all trees, but those that these need.
    ratios : sequence, optional
        Series over the field of these numbers: past steps in units of the one free step, newest first; 1 before.

    Attributes
    ----------
    errors : list of vectors
        Numerical minus exact y after 1, 2, … free steps; y_0 last.
    period : int
        Random step ratios repeat after so many, more than the rule looks back: a local error whose sum over a period
        vanishes, for all ratios, is then a difference of what belongs to the steps before and after, and does not grow.
    """

    def __init__(
        self,
        solver: Solver,
        highest: int,
        spacing: str,
        variable: str,
        seed: int = 0,
        numbers: str = "generic",
        only: Sequence[Tree] | None = None,
        ratios: Sequence[Any] | None = None,
    ) -> None:
        self.solver, self.highest, self.only = solver, highest, only
        self.spacing, self.variable, self.seed = spacing, variable, seed
        reach = max(solver.history, 1) + len(probe(solver).memory.named)
        self.period = reach + 2 if spacing == "rough" else 1
        terms = 2 + len(rates(solver))  # of the recurrence: a straight line beside what the rates of the memory make
        self.free = 2 * terms * self.period + reach + 1 if spacing == "rough" else 2 * (terms + reach) + 1
        # what was stored while the rule was starting is wrong in h², and gains a power of h in each turn of its history
        self.past = (highest if _keeps(solver) else 2) * max(solver.history, 1) + 1
        for margin in (2, 4, 8, 16):
            degree = highest + 2 + margin
            random = Random(f"{solver.name} {seed}")
            plain = JetProcess.plain(degree, numbers == "dense")
            self.process = JetProcess.random(degree, random) if numbers == "generic" else plain
            if numbers == "small":
                self.process = self.process.modulo()
            # the fixed point of an endless memory gains a power of h in each turn, and takes one step to a turn
            self.past = max(self.past, degree + solver.history + 4 if remembers(solver) else 0)
            steps = None
            if ratios is not None:
                self.free, self.process = 1, replace(JetProcess.plain(degree), over=series_over(ratios))
                self.past = self.past if _keeps(solver) or remembers(solver) else max(solver.history, 1)
                steps = [*([1] * self.past + [*reversed(ratios)])[-self.past :], 1]
            self.grid = jet_grid(self.process, self.past, self.free, spacing, variable, random, steps, self.period)
            self.errors = self._run(degree)
            if all(entry.degree > highest + 1 for step in self.errors for entry in step[:1]):
                return
        raise PlanError(f"{solver.name}: its coefficients lose too many powers of h for an expansion")

    def _run(self, degree: int) -> list[Vector]:
        forced = trace(self.solver, self.grid, exact_past=self.past, open_end=True)
        if not forced.is_deterministic:
            raise PlanError(f"{self.solver.name} draws noise; its order is measured, not proved")
        forced.require_linear("the proof of order")
        forest = trees(self.highest, not _carries_exactly(forced, self.grid.levels))
        self.forest = forest if self.only is None else needed(forest, self.only)
        self._jets = exact_block(self.forest, degree) if self.process.modular else exact(self.forest, degree)
        self.plan, self.inputs = self._exact_past(forced)
        if self.process.modular and not self.process.generic:
            for row in self.plan.rows:
                for c, _ in row.terms if isinstance(row, Combine) else ():
                    readable(0 if isinstance(c, Series) else c)
        self.registers = run(self.plan, self.forest, self.inputs)
        out: list[Vector] = []
        for n in range(1, self.free + 1):
            level = self.grid.levels[self.past + n]
            numerical = self.registers[self.plan.states[n]]
            out.append(minus(scaled(numerical, 1 / level.sigma), self.solution(level)))
        return out

    def _exact_past(self, forced: Plan) -> tuple[Plan, list[Vector]]:
        """The plan and its inputs: by teacher-forced steps, or from the fixed point of an endless memory."""
        if not remembers(self.solver):
            return forced, [self.state(level) for level in self.grid.levels[: self.past + 1]]
        memory, values = settled_memory(self.solver, self.grid, self.past, self.forest, self.state)
        ahead = JetGrid(self.process, self.grid.levels[self.past :])
        return trace(self.solver, ahead, memory=memory, open_end=True), [self.state(ahead.levels[0]), *values]

    def solution(self, level: Level) -> Vector:
        """The exact y at a level, y_0 last."""
        u, constant = level.lam, self.process.constant
        if isinstance(self._jets, Block):
            return self._jets.at(u)
        values: list[Any] = []
        for jet in self._jets:
            value = constant(0)
            for c in reversed(jet):
                value = value * u + c
            values.append(value)
        return [*values, constant(1)]

    def solution_after(self, steps: int) -> Vector:
        """The exact y after some free steps."""
        return self.solution(self.grid.levels[self.past + steps])

    def state(self, level: Level) -> Vector:
        """The exact x = σ y at a level."""
        return scaled(self.solution(level), level.sigma)


def _carries_exactly(plan: Plan, levels: Sequence[Level]) -> bool:
    """Whether y_0 is exactly 1 wherever the network or the grid sees it; then no δ-leaf can matter."""
    forced = dict(zip(plan.inputs, levels, strict=False))
    registers: dict[str, Vector] = {
        name: [forced[name].sigma if name in forced else levels[0].sigma * 0] for name in plan.inputs
    }
    for row in plan.rows:
        if isinstance(row, Constant):
            registers[row.out] = constant(registers[plan.inputs[0]])
        elif isinstance(row, Combine):
            registers[row.out] = combine(row, registers)
        elif isinstance(row, Evaluate):
            if _off(registers[row.x][0], row.level):
                return False
            registers[row.out] = evaluate(row, (), registers[row.x])
    return not any(_off(registers[name][0], level) for name, level in zip(plan.states, plan.levels, strict=True))


def _off(x: Any, level: Level) -> bool:
    return any(c != 0 for c in (x / level.sigma - 1).coefficients)


def _keeps(solver: Solver) -> bool:
    """Whether the rule keeps anything but evaluations at exact states."""
    return bool(probe(solver).memory.named)


def remembers(solver: Solver) -> bool:
    """Whether the rule has a fading memory: a velocity, not a list of past values.

    A second state that the rule carries along (rates of magnitude 1) does not fade: it is what it was made when the
    rule started, at an exact state, and drifts from there.
    """
    rates = fading_rates(solver)
    return any(rate > 1e-9 for rate in rates) and all(rate < 1 - 1e-6 for rate in rates)
