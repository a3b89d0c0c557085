"""momentum_scheduler.py, around diffusers: GHVB; heavy ball and Nesterov on PLMS, DPM-Solver++ and UniPC."""

from __future__ import annotations

from math import ceil

import numpy as np

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, PublishedGrid, Rebuilt, Segment, Setup, solver

KINDS = {"PLMSWithHBScheduler": "heavy_ball", "PLMSWithNTScheduler": "nesterov"}
LOWERED_BELOW = 15
"""Steps from which the last of DPM-Solver++ is of full order."""


def setup(case: Case) -> Setup:
    """A case of one of the schedulers' `step`."""
    if case.options.get("kind") == "ve":
        return _on_sigmas(case)
    forward = process(case.process)
    squares = list(case.grid["alphas_cumprod"])
    if case.solver in ("MomentumDPMSolverMultistepScheduler", "MomentumUniPCMultistepScheduler"):
        squares.append(forward.alpha(1 / 1000) ** 2)
    levels = [forward.level(rho=((1 - a) / a) ** 0.5) for a in squares]
    model = case.data.denoiser(forward)
    segments = [Segment(_solver(case), PublishedGrid(forward, levels), model)]
    if "final_alpha_cumprod" in case.grid:
        # the last step goes to ᾱ_0, where the timestep 0 already is: a step of length zero
        segments.append(Segment(solver("ddim"), PublishedGrid(forward, [levels[-1], levels[-1]]), model))
    labels = np.array(case.grid["timesteps"])
    built = forward.alpha((labels + 1) / 1000) ** 2
    return Setup(
        tuple(segments),
        case.x_init,
        label=lambda level: round(1000 * level.t - 1, 6),
        rebuilt=(Rebuilt("alphas", case.grid["alphas_cumprod"], built),),
    )


def _solver(case: Case) -> de.Solver:
    options = case.options
    if case.solver == "GHVBScheduler":
        return solver("ghvb", order=options["order"], final="rule")
    if case.solver in KINDS:
        values = ceil(options["order"])
        base = solver("pndm", order=values, warmup="ramp", variable="rho")
        return solver("momentum", base=base, beta=options["order"] % 1 or 1, kind=KINDS[case.solver])
    order, beta = options["solver_order"], options["beta"]
    if case.solver == "MomentumDPMSolverMultistepScheduler":
        lowered = options["num_inference_steps"] < LOWERED_BELOW
        base = solver("dpm_multistep", order=order, lower_order_final=lowered)
        return solver("momentum", base=base, beta=beta, steps="full")
    if case.solver == "MomentumUniPCMultistepScheduler":
        variant = options.get("solver_type", "bh2")
        base = solver("unipc", order=order, variant=variant, lower_order_final=True)
        return solver("momentum", base=base, beta=beta, steps="corrected", over_sigma=True)
    raise Missing(f"no solver for {case.solver}")


def _on_sigmas(case: Case) -> Setup:
    """A run along the levels of `EulerDiscreteScheduler`."""
    forward = de.EDM()
    sigmas, timesteps = case.grid["sigmas"], case.grid["timesteps"]
    grid = PublishedGrid(forward, [forward.level(sigma=sigma) for sigma in sigmas])
    names = timesteps if case.record["eval_labels"][0] == timesteps[0] else sigmas
    label = dict(zip(sigmas, names, strict=False))
    segment = Segment(_solver(case), grid, case.data.denoiser(forward))
    return Setup((segment,), case.x_init, label=lambda level: label[level.sigma])
