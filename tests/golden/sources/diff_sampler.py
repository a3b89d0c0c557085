"""diff-sampler (diff-solvers-main/solvers.py): α = 1, the time is σ, and no step to σ = 0 but by `denoise_to_zero`."""

from __future__ import annotations

from functools import cache

import diffode as de
from diffode.models.reuse import AnalyticalFirstStep
from tests.golden.cases import Case
from tests.golden.processes import Rescaled, vp_between
from tests.golden.setup import Missing, Rebuilt, Segment, Setup, solver, to_zero

EDM = de.EDM()


def setup(case: Case) -> Setup:
    """A case of one of the samplers."""
    options = case.options
    chosen, forward = _solver(case), _process(case)
    levels = [forward.level(rho=sigma) for sigma in case.grid["sigma"]]
    grid = de.TimeGrid(forward, levels=levels)
    model = exact = case.data.denoiser(forward)
    if options.get("thresholding") and options.get("predict_x0", True):
        model = de.DynamicThreshold(model, quantile=0.995, floor=1.0)
    afs = bool(options.get("afs"))
    if afs:
        model = AnalyticalFirstStep(model, "published", t=levels[0].t)
    segments = [Segment(chosen, grid, model)]
    if options.get("denoise_to_zero"):
        segments.append(to_zero(forward, levels[-1], exact))
    return Setup(
        tuple(segments),
        levels[0].sigma * case.x_init,
        label=lambda level: level.rho,
        free=int(afs),
        rebuilt=_rebuilt(case),
    )


def _solver(case: Case) -> de.Solver:
    options, order = case.options, case.options.get("max_order")
    prediction = "x0" if options.get("predict_x0", True) else "eps"
    lowered = options.get("lower_order_final", True)
    if case.solver in ("euler", "heun"):
        return solver(case.solver)
    if case.solver == "dpm_2":
        return solver("singlestep_2", r1=options.get("r", 0.5))
    if case.solver == "deis_tab":
        return solver("deis", degree=order - 1, variable="t", quadrature="closed")
    if case.solver == "deis_rhoab":
        return solver("deis", degree=order - 1, variable="rho")
    if case.solver == "ipndm":
        return solver("pndm", order=order or 4, warmup="ramp")
    if case.solver == "ipndm_v":
        return solver("ipndm_v_published", order=order or 4)
    if case.solver == "dpm_pp":
        return solver("dpm_multistep", order=order or 3, prediction=prediction, lower_order_final=lowered)
    if case.solver == "unipc":
        return solver(
            "unipc",
            order=order or 3,
            prediction=prediction,
            variant=options.get("variant", "bh2"),
            lower_order_final=lowered,
        )
    raise Missing(f"no solver for diff-sampler's {case.solver}")


@cache
def _tab_process() -> de.Process:
    """The clock in which tAB-DEIS has its polynomials: that of a VP process from 0.002 to 80, whatever the grid."""
    return Rescaled(vp_between(0.002, 80.0))


def _process(case: Case) -> de.Process:
    return _tab_process() if case.solver == "deis_tab" else EDM


def _rebuilt(case: Case) -> tuple[Rebuilt, ...]:
    options, stored = case.options, case.grid["sigma"]
    schedule, rho = options.get("schedule_type", "polynomial"), options.get("schedule_rho", 7)
    ends, steps = dict(start=stored[0], end=stored[-1]), len(stored) - 1
    if schedule == "polynomial":
        return (Rebuilt("sigmas", stored, de.grids.karras(EDM, steps, rho=rho, **ends).sigma),)
    if schedule == "logsnr":
        return (Rebuilt("sigmas", stored, de.grids.exponential(EDM, steps, **ends).sigma),)
    if schedule == "time_uniform":
        clock = vp_between(stored[-1], stored[0])
        return (Rebuilt("sigmas", stored, de.grids.power(clock, steps, exponent=rho, end=1e-3).rho, floor=1.0),)
    return ()
