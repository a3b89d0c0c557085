"""DPM-Solver and DPM-Solver++ (dpm_solver_pytorch.py): schedules in continuous time, every method."""

from __future__ import annotations

import numpy as np

import diffode as de
from diffode.adaptive import dpm_solver_adaptive
from tests.golden.cases import Case, process
from tests.golden.setup import Adaptive, Rebuilt, Segment, Setup, solver, to_zero

BUILDERS = {
    "logSNR": de.grids.uniform_lambda,
    "time_uniform": de.grids.uniform_t,
    "time_quadratic": de.grids.quadratic,
}
SPACINGS = {"logSNR": "lambda", "time_uniform": "t", "time_quadratic": "sqrt_t"}
PREDICTIONS = {
    "dpmsolver": "eps",
    "dpmsolver++": "x0",
    "noise_prediction": "eps",
    "data_prediction": "x0",
}


def setup(case: Case) -> Setup:
    """A case of `DPM_Solver.sample`."""
    options = case.options
    if options["method"] == "adaptive":
        return _adaptive(case)
    prediction = PREDICTIONS[options["algorithm_type"]]
    if options["method"] == "multistep":
        chosen = solver(
            "dpm_multistep",
            order=options["order"],
            prediction=prediction,
            kind="taylor" if options["solver_type"] == "taylor" else "midpoint",
            # the official code lowers the last orders below 10 steps (its documentation says 15)
            lower_order_final=options["lower_order_final"] and options["steps"] < 10,
        )
        orders = (1,) * options["steps"]
    else:
        fixed = (options["order"],) * (options["steps"] // options["order"])
        orders = tuple(options.get("step_orders_used", fixed))
        chosen = solver(
            "singlestep_mixed",
            orders=orders,
            prediction=prediction,
            kind=options["solver_type"],
            inner=SPACINGS[options["skip_type"]],
        )
    return in_continuous_time(case, chosen, orders)


def _adaptive(case: Case) -> Setup:
    options, forward = case.options, process(case.process)
    prediction = PREDICTIONS[options["algorithm_type"]]
    chosen = solver(f"singlestep_{options['order']}", prediction=prediction, kind=options["solver_type"])
    grid, model = de.TimeGrid(forward, t=[options["t_start"], options["t_end"]]), case.data.denoiser(forward)
    run = Adaptive(chosen, grid, model, dpm_solver_adaptive(), options["rtol"], options["atol"])
    return Setup((run,), case.x_init, floor=1.0)


def in_continuous_time(case: Case, chosen: de.Solver, orders: tuple[int, ...]) -> Setup:
    """The run on the stored times, and the same times from diffode's builder.

    Parameters
    ----------
    case : Case
    chosen : Solver
    orders : tuple of int
        The evaluations of each step: outside logSNR, the official steps are those of a grid of single evaluations.
    """
    options, forward = case.options, process(case.process)
    grid = de.TimeGrid(forward, t=case.grid["t"])
    model = case.data.denoiser(forward)
    segments = [Segment(chosen, grid, model)]
    if options.get("denoise_to_zero"):
        segments.append(to_zero(forward, forward.level(options["t_end"]), model))
    builder, ends = BUILDERS[options["skip_type"]], dict(start=options["t_start"], end=options["t_end"])
    if options["skip_type"] == "logSNR" or options["method"] == "singlestep_fixed":
        built = builder(forward, len(orders), **ends).t
    else:
        built = builder(forward, sum(orders), **ends).t[np.cumsum([0, *orders])]
    rebuilt = Rebuilt("times", case.grid["t"], built, floor=1.0), Rebuilt("sigmas", case.grid["sigma"], grid.sigma, 1.0)
    return Setup(tuple(segments), case.x_init, floor=1.0, rebuilt=rebuilt)
