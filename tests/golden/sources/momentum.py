"""Momentum samplers around diffusers (momentum_scheduler.py): GHVB; the heavy ball and Nesterov are other solvers."""

from __future__ import annotations

import numpy as np

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, PublishedGrid, Rebuilt, Segment, Setup, solver


def setup(case: Case) -> Setup:
    """A case of one of the wrapped schedulers' `step`."""
    if case.solver != "GHVBScheduler":
        raise Missing(f"no solver for {case.solver}")
    options = case.options
    chosen = solver("ghvb", order=options["order"], final="rule")
    if options["kind"] == "ve":
        forward: de.Process = de.EDM()
        sigmas, timesteps = case.grid["sigmas"], case.grid["timesteps"]
        grid = PublishedGrid(forward, [forward.level(sigma=sigma) for sigma in sigmas])
        names = timesteps if case.record["eval_labels"][0] == timesteps[0] else sigmas
        label = dict(zip(sigmas, names, strict=False))
        segment = Segment(chosen, grid, case.data.denoiser(forward))
        return Setup((segment,), case.x_init, label=lambda level: label[level.sigma])
    forward = process(case.process)
    # the last step goes to ᾱ_0, where the timestep 0 already is: a step of length zero
    squares = [*case.grid["alphas_cumprod"], case.grid["final_alpha_cumprod"]]
    grid = PublishedGrid(forward, [forward.level(rho=((1 - a) / a) ** 0.5) for a in squares])
    labels = np.array(case.grid["timesteps"])
    built = forward.alpha((labels + 1) / 1000) ** 2
    return Setup(
        (Segment(chosen, grid, case.data.denoiser(forward)),),
        case.x_init,
        label=lambda level: round(1000 * level.t - 1, 6),
        rebuilt=(Rebuilt("alphas", case.grid["alphas_cumprod"], built),),
    )
