"""Controllers: what chooses the next time from what was seen.

One step at a time is traced, run and judged; the run leaves the plan that it realised, with the evaluations of steps
that were taken back. On a given grid, `sada` chooses which evaluations to leave out and `time_shift` the times that
samples are taken for.
"""

from diffode.adaptive.controller import (
    FILTERS,
    Controller,
    digital_filter,
    dpm_solver_adaptive,
    fixed_steps,
    k_diffusion_adaptive,
)
from diffode.adaptive.journey import Attempt, Realised
from diffode.adaptive.sampling import AdaptiveSample, pairs, sample_adaptive
from diffode.adaptive.skipping import Skipped, sada, skipping
from diffode.adaptive.time_shift import Shifted, shifted, time_shift

__all__ = [
    "FILTERS", "AdaptiveSample", "Attempt", "Controller", "Realised", "Shifted", "Skipped", "digital_filter",
    "dpm_solver_adaptive", "fixed_steps", "k_diffusion_adaptive", "pairs", "sada", "sample_adaptive", "shifted",
    "skipping", "time_shift",
]  # fmt: skip
