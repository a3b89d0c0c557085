"""Controllers: what chooses the next time from what was seen.

One step at a time is traced, run and judged; the run leaves the plan that it realised, with the evaluations of steps
that were taken back.
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

__all__ = [
    "FILTERS", "AdaptiveSample", "Attempt", "Controller", "Realised", "digital_filter", "dpm_solver_adaptive",
    "fixed_steps", "k_diffusion_adaptive", "pairs", "sample_adaptive",
]  # fmt: skip
