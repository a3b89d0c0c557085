"""What compiling a plan of 50 steps costs, for every solver of the registry: python benchmarks/compiling.py [NAME …].

The grid is made beforehand. Milliseconds: the median in floats, for two processes, and one run with 50 digits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from time import process_time

from mpmath import mp

import diffode as de
from diffode.solvers import registry

STEPS, REPEATS, DIGITS = 50, 7, 50


def main(names: Sequence[str]) -> None:
    """One row for each solver, the slowest last."""
    processes = (de.EDM(), de.VP())
    grids = [de.grids.uniform_lambda(process, STEPS) for process in processes]
    mp.dps = DIGITS
    exact = de.TimeGrid(processes[1], t=[mp.mpf(float(t)) for t in grids[1].t])
    rows: list[tuple[list[float], str]] = []
    for name in names or registry():
        solver = de.get_solver(name)
        costs = [median(milliseconds(solver, grid) for _ in range(REPEATS)) for grid in grids]
        rows.append(([*costs, milliseconds(solver, exact)], name))
    print(" EDM ms   VP ms  50 digits")
    for (edm, vp, digits), name in sorted(rows, key=lambda row: row[0][1]):
        print(f"{edm:7.2f} {vp:7.2f} {digits:9.0f}  {name}")


def milliseconds(solver: de.Solver, grid: de.TimeGrid) -> float:
    """The time of one compilation."""
    start = process_time()
    de.compile(solver, grid.process, grid)
    return 1e3 * (process_time() - start)


if __name__ == "__main__":
    main(sys.argv[1:])
