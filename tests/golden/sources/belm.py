"""BELM's repository: only its DDIM, forwards; inversion there starts at σ = 0."""

from __future__ import annotations

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, Segment, Setup, solver


def setup(case: Case) -> Setup:
    """A case of `DDIM.intermediate_to_latent`."""
    if case.solver != "ddim":
        raise Missing(f"no solver for {case.solver}")
    forward = process(case.process)
    levels = [forward.level(rho=((1 - a) / a) ** 0.5) for a in case.grid["alphas_cumprod"]]
    grid = de.TimeGrid(forward, levels=[*levels, forward.level(lam=float("inf"))])
    return Setup(
        (Segment(solver("ddim"), grid, case.data.denoiser(forward)),),
        case.x_init,
        label=lambda level: round(1000 * level.t - 1, 6),
    )
