"""What diffode itself costs, beside the network: tracing a plan, and running it on small arrays.

make bench
"""

from __future__ import annotations

import numpy as np
import pyperf

import diffode as de

STEPS = 20


def main() -> None:
    """Time both for a few solvers; pyperf runs this file many times and prints the means."""
    runner = pyperf.Runner()
    process = de.EDM()
    grid = de.grids.karras(process, STEPS)
    model = de.Denoiser(lambda x, t: 0 * x, process, prediction="x0")
    x_T = np.ones((1, 1))
    for name in ("ddim", "dpmpp_2m", "unipc_3", "dpmpp_sde"):
        solver = de.get_solver(name)
        runner.bench_func(f"compile {name}, {STEPS} steps", de.compile, solver, process, grid)
        runner.bench_func(f"sample {name}, {STEPS} steps", sample, model, solver, grid, x_T)


def sample(model: de.Model, solver: de.Solver, grid: de.TimeGrid, x_T: np.ndarray) -> None:
    """One run of one sample of one dimension: nothing but the walk over the rows."""
    de.sample(model, solver, grid, x_T, noise=0)


if __name__ == "__main__":
    main()
