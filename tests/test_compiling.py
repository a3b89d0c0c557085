"""What compiling a plan costs, counted instead of timed: calls of Python functions, and calls of the process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import mpmath
import pytest

import diffode as de
from diffode.kinds import Number
from diffode.solvers.registry import systems

PROCESS = de.VP()
GRID = de.grids.uniform_lambda(PROCESS, 20)


def calls(function: Callable[[], object]) -> int:
    """How many Python functions are called while one runs."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", de.list_solvers())
def test_an_evaluation_is_compiled_in_few_calls(name: str) -> None:
    """At most 400 calls for each evaluation of the network, about 0.1 ms: 50 steps of one evaluation are 5 ms."""
    solver = de.get_solver(name)
    plan = solver.plan(GRID)  # what is worked out once is known now
    assert calls(lambda: solver.plan(GRID)) <= 400 * plan.nfe


@pytest.mark.parametrize("name", systems())
def test_matrices_are_compiled_in_few_calls_too(name: str) -> None:
    """A coefficient of a system is a matrix: twice as many; a reverse SDE has a flow that is integrated in steps."""
    solver, grid = de.get_solver(name), de.grids.uniform_lambda(de.CLD(), 20)
    plan = solver.plan(grid)
    assert calls(lambda: solver.plan(grid)) <= (4000 if name == "gddim_sde" else 800) * plan.nfe


@dataclass(frozen=True)
class Counted(de.VP):
    """The process that counts how often it is asked for a time."""

    asked: ClassVar[list[Number]] = []

    def t_of_lam(self, lam: Number) -> Number:
        self.asked.append(lam)
        return super().t_of_lam(lam)


@pytest.mark.parametrize("degree", [0, 2, 4])
def test_an_integral_asks_once_for_all_its_nodes(degree: int) -> None:
    """A step of tAB-DEIS asks once in floats, for every weight together; in 50 digits at its nodes, 45 of them."""
    process, solver = Counted(), de.get_solver(f"deis_tab_{degree}")
    grid = de.TimeGrid(process, t=GRID.t)
    process.asked.clear()
    solver.plan(grid)
    assert len(process.asked) == grid.steps
    with mpmath.workdps(50):
        fine = de.TimeGrid(process, t=[mpmath.mpf(float(t)) for t in GRID.t[5:8]])
        process.asked.clear()
        solver.plan(fine)
    assert len(process.asked) <= 100 * fine.steps
