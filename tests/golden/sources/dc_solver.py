"""DC-Solver (scheduling_dcsolver_multistep.py): UniPC with dynamic compensation, its sampling phase."""

from __future__ import annotations

import numpy as np

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Rebuilt, Segment, Setup, solver


def setup(case: Case) -> Setup:
    """A case of `DCSolverMultistepScheduler.step`."""
    options, forward = case.options, process(case.process)
    base = solver("unipc", order=options["solver_order"], variant=options["solver_type"], lower_order_final=True)
    chosen = solver("dc_solver", base=base, ratios=tuple(options["dc_ratios"]), degree=options["dc_order"])
    times = (np.array([*case.grid["timesteps"], 0.0]) + 1) / 1000
    grid = de.TimeGrid(forward, t=times.tolist())
    segment = Segment(chosen, grid, case.data.denoiser(forward))
    return Setup(
        (segment,),
        case.x_init,
        label=lambda level: level.rho,
        rebuilt=(Rebuilt("sigmas", case.grid["sigmas"], grid.rho),),
    )
