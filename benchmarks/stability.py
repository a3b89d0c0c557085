"""What a region of stability costs: the Schur–Cohn test on 1000 × 1000 points, and the exact intervals.

python benchmarks/stability.py --fast
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyperf

import diffode as de
from diffode.analysis.stability.intervals import imaginary_length, real_bounds
from diffode.analysis.stability.kernel import margins
from diffode.analysis.stability.reading import recursion

POINTS = 1000


def main() -> None:
    """Time methods of four stages, two steps and four steps; pyperf runs this file many times and prints the means."""
    runner = pyperf.Runner()
    re, im = np.linspace(-4.0, 1.0, POINTS), np.linspace(-3.0, 3.1, POINTS)  # not symmetric: no half is saved
    for name in ("rk4", "deis_rhoab_1", "lms"):
        found = recursion(de.get_solver(name))
        margins(found.floats, re, im)  # compiled once
        runner.bench_time_func(f"region of {name}, {POINTS} × {POINTS}, CPU", cpu, margins, found.floats, re, im)
        runner.bench_func(f"intervals of {name}", intervals, found)
    runner.bench_func("polynomial of unipc_3", recursion.__wrapped__, de.get_solver("unipc_3"))


def cpu(loops: int, function: Callable[..., object], *arguments: object) -> float:
    """Seconds of CPU, which other work on the machine does not lengthen."""
    begin = time.process_time()
    for _ in range(loops):
        function(*arguments)
    return time.process_time() - begin


def intervals(found: de.analysis.Recursion) -> None:
    """Both, exact."""
    real_bounds(found)
    imaginary_length(found)


if __name__ == "__main__":
    main()
