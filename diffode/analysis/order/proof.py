r"""The order of a step rule, proved from the outside.

One step rule is traced with power series in h over a generic process and run on the test systems of `trees`. With E(n)
the error after n free steps from an exact past and c_k(n) its coefficient of h^k,

    order = min_k (k − deg_n c_k):

a coefficient that grows with the number of steps loses one order, one that stays bounded loses none (the predicted
value of a predictor–corrector). Everything is an identity between rationals, tested at random values modulo a prime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from random import Random
from typing import Any

from diffode.analysis.order.fixed_point import fading_rates, probe, settled_memory
from diffode.analysis.order.jets import JetGrid, JetProcess, jet_grid
from diffode.analysis.order.systems import Vector, combine, evaluate, run
from diffode.analysis.order.trees import Tree, density, exact, needed, trees
from diffode.errors import PlanError
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.series import PRIME
from diffode.solvers import Solver
from diffode.trace import trace


@dataclass(frozen=True)
class Failure:
    """The first condition that a rule misses.

    Attributes
    ----------
    tree : Tree
    power : int
        The power of h.
    found, wanted : Fraction
        The weight that the rule gives to the tree there, and the exact one, for a small rational process.
    """

    tree: Tree
    power: int
    found: Fraction
    wanted: Fraction

    def __str__(self) -> str:
        what = f"fails the tree {self.tree.name} at h^{self.power}"
        if self.tree.shifts:
            return f"{what}: the linear part is not carried exactly (weight {self.found}, should be {self.wanted})"
        if self.tree.times and not self.tree.children:
            weight = "Σ b" if self.tree.times == 0 else "Σ b c" if self.tree.times == 1 else f"Σ b c^{self.tree.times}"
            return f"{what}: the quadrature {weight} is {self.found}, should be {self.wanted}"
        return f"{what}: its weight is {self.found}, should be {self.wanted}"


@dataclass(frozen=True)
class OrderProof:
    """What the proof found on one kind of grid.

    Attributes
    ----------
    order : int
        The order, or the highest that was looked at if no condition failed.
    complete : bool
        True where a condition failed, so that the order is known exactly.
    failures : tuple of Failure
        All conditions missed at the first power that fails, smallest tree first.
    spacing, variable : str
        The grid: "rough", "smooth" or "uniform" steps in a variable.
    conditions : int
        How many coefficients were compared.
    chance : float
        Bound on the chance that an identity holds at the random values without holding (Schwartz–Zippel).
    """

    order: int
    complete: bool
    failures: tuple[Failure, ...]
    spacing: str
    variable: str
    conditions: int
    chance: float


def prove_order(
    solver: Solver, highest: int | None = None, spacing: str = "rough", variable: str = "lam", seed: int = 0
) -> OrderProof:
    """The order of a solver on every smooth problem and every process.

    Parameters
    ----------
    solver : Solver
        Deterministic.
    highest : int, optional
        The highest order to look at; one more than the claim by default.
    spacing : {"rough", "smooth", "uniform"}
        Steps with random ratios, with ratios 1 + O(h), or equal.
    variable : {"lam", "rho", "t", "sigma"}
        The variable in which the spacing holds.
    seed : int
        Where the random values come from.

    Returns
    -------
    OrderProof

    Raises
    ------
    PlanError
        If the rule draws noise or has `Dynamic` rows.
    BranchError
        If the rule branches on the value of a coefficient.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> proof = prove_order(get_solver("dpmpp_3m"))
    >>> print(proof.order, proof.failures[0])
    2 fails the tree [λλ] at h^3: the quadrature Σ b c^2 is 1/6, should be 1/3
    """
    highest = highest or ceil(solver.order) + 1
    lab = _Laboratory(solver, highest, spacing, variable, seed)
    conditions = len(lab.forest) * (highest + 1)
    chance = conditions * 4 * (highest + 2) ** 2 / PRIME
    for power in range(1, highest + 2):
        missed = [v for v in range(len(lab.forest)) if any(step[v][power] != 0 for step in lab.errors)]
        failures = _failures(solver, highest, spacing, variable, seed, power, [lab.forest[v] for v in missed])
        if not failures:
            continue
        order = power - _grows(solver, highest, power, variable, seed)
        if order >= highest:
            break
        return OrderProof(order, True, failures, spacing, variable, conditions, chance)
    return OrderProof(highest, False, (), spacing, variable, conditions, chance)


def _grows(solver: Solver, highest: int, power: int, variable: str, seed: int) -> bool:
    """Whether the error at h^power accumulates from step to step, judged on equal steps.

    An error that accumulates has increments with a limit other than 0; one that is made afresh in each step and
    forgotten has increments that vanish, or shrink geometrically where the rule has a fading memory.
    """
    lab = _Laboratory(solver, highest, "uniform", variable, seed)
    seen = False
    for v in range(len(lab.forest)):
        values = [step[v][power] for step in lab.errors]
        if any(values):
            seen = True
            moves = [(b - a) % PRIME for a, b in pairwise(values)]
            if _limit(moves) != 0:
                return True
    return not seen


def _limit(moves: Sequence[int]) -> int:
    """The limit modulo the prime of a sequence that settles at once or geometrically (Aitken, exact for one ratio)."""
    a, b, c = moves[-3:]
    bend = (c - 2 * b + a) % PRIME
    return (c - (c - b) ** 2 * pow(bend, -1, PRIME)) % PRIME if bend else c


def _failures(
    solver: Solver, highest: int, spacing: str, variable: str, seed: int, power: int, missed: Sequence[Tree]
) -> tuple[Failure, ...]:
    """The conditions missed at a power, with weights that can be read: those of a small rational process.

    What differs by rounding only does so because the rule's literals are rounded; that is no failure.
    """
    # a tree with just so many nodes says most: its weight is one number for every process
    telling = sorted(missed, key=lambda tree: (tree.size != power, len(tree.children), tree.size))[:3]
    if not telling:
        return ()
    out: list[Failure] = []
    for grid in ("uniform", spacing) if spacing != "uniform" else ("uniform",):
        lab = _Laboratory(solver, highest, grid, variable, seed, only=telling)
        for tree in telling:
            v = lab.forest.index(tree)
            wanted = density(lab.forest, v) if tree.size == power else Fraction(0)
            for n, step in enumerate(lab.errors):
                exact_value = Fraction(lab.solution_after(n + 1)[v][power])
                found, right = exact_value + Fraction(step[v][power]), exact_value
                if wanted and right:
                    found, right = found * wanted / right, wanted
                if abs(found - right) > 1e-9:
                    out.append(Failure(tree, power, found, right))
                    break
        if out:
            break
    return tuple(out)


# --- running a rule on the test systems ---------------------------------------------------------------------


class _Laboratory:
    """A rule, a jet process, a grid with an exact past, and the test systems."""

    def __init__(
        self,
        solver: Solver,
        highest: int,
        spacing: str,
        variable: str,
        seed: int,
        only: Sequence[Tree] | None = None,
    ) -> None:
        self.solver, self.only = solver, only
        modular = only is None
        self.free = max(solver.history, 1) + 4
        # what was stored while the rule was starting is wrong in h², and gains a power of h in each turn of its history
        self.past = (highest if _keeps(solver) else 2) * max(solver.history, 1) + 1
        for margin in (2, 4, 8, 16):
            degree = highest + 2 + margin
            random = Random(seed)
            self.process = JetProcess.random(degree, random) if modular else JetProcess.plain(degree)
            self.past = max(self.past, degree if _remembers(solver) else 0)
            self.grid = jet_grid(self.process, self.past, self.free, spacing, variable, random)
            self.errors = self._run(highest, degree)
            if all(e.degree > highest + 1 for step in self.errors for e in step):
                return
        raise PlanError(f"{solver.name}: its coefficients lose too many powers of h for an expansion")

    def _run(self, highest: int, degree: int) -> list[Vector]:
        forced = trace(self.solver, self.grid, exact_past=self.past, open_end=True)
        if not forced.is_deterministic:
            raise PlanError(f"{self.solver.name} draws noise; its order is measured, not proved")
        forced.require_linear("the proof of order")
        forest = trees(highest, not _carries_exactly(forced, self.grid.levels))
        self.forest = forest if self.only is None else needed(forest, self.only)
        self.solutions = exact(self.forest, degree)
        plan, inputs = self._exact_past(forced)
        registers = run(plan, self.forest, inputs)
        out: list[Vector] = []  # numerical minus exact, after 1, 2, … free steps
        for n in range(1, self.free + 1):
            level = self.grid.levels[self.past + n]
            numerical = registers[plan.states[n]]
            out.append([x / level.sigma - y for x, y in zip(numerical, self.solution(level), strict=True)])
        return out

    def _exact_past(self, forced: Plan) -> tuple[Plan, list[Vector]]:
        """The plan and its inputs: by teacher-forced steps, or from the fixed point of an endless memory."""
        if not _remembers(self.solver):
            return forced, [self.state(level) for level in self.grid.levels[: self.past + 1]]
        memory, values = settled_memory(self.solver, self.grid, self.past, self.forest, self.state)
        ahead = JetGrid(self.process, self.grid.levels[self.past :])
        return trace(self.solver, ahead, memory=memory, open_end=True), [self.state(ahead.levels[0]), *values]

    def solution(self, level: Level) -> Vector:
        """The exact y at a level, y_0 last."""
        u, constant = level.lam, self.process.constant
        values: Vector = []
        for jet in self.solutions:
            value = constant(0)
            for c in reversed(jet):
                value = value * u + c
            values.append(value)
        return [*values, constant(1)]

    def solution_after(self, steps: int) -> Vector:
        return self.solution(self.grid.levels[self.past + steps])

    def state(self, level: Level) -> Vector:
        """The exact x = σ y at a level."""
        return [level.sigma * y for y in self.solution(level)]


def _carries_exactly(plan: Plan, levels: Sequence[Level]) -> bool:
    """Whether y_0 is exactly 1 wherever the network or the grid sees it; then no δ-leaf can matter."""
    forced = dict(zip(plan.inputs, levels, strict=False))
    registers = {name: [forced[name].sigma if name in forced else levels[0].sigma * 0] for name in plan.inputs}
    for row in plan.rows:
        if isinstance(row, Combine):
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


def _remembers(solver: Solver) -> bool:
    """Whether what the rule leaves behind depends on how long it has run (a velocity, not a list of past values)."""
    return any(abs(rate) > 1e-9 for rate in fading_rates(solver))
