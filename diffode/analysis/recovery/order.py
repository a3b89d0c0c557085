"""The order of a black box from outside: its recovered plans, with their own start and end, on exact problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffode.analysis.convergence import EIGENVALUES, MIXTURE, gaussian_error, quantile_flow
from diffode.analysis.moments import amplification, law, standard_gaussian
from diffode.analysis.recovery.blackbox import Recovered
from diffode.analysis.slopes import Slope, fit
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError
from diffode.plan import Plan

COUNTS = (8, 11, 16, 22, 32, 45, 64)
"""Numbers of steps."""


@dataclass(frozen=True)
class Outside:
    """The order of a black box as it comes, in powers of 1/steps.

    Attributes
    ----------
    mixture : Slope or None
        Of the error on a nonlinear mixture against its exact flow; None where the sampler draws noise.
    gaussian : Slope
        Of the exact error on Gaussian data: of the state, or of mean and variance where the sampler draws noise.
    """

    mixture: Slope | None
    gaussian: Slope


def order_from_outside(make: Callable[[int], Recovered], counts: Sequence[int] = COUNTS) -> Outside:
    """The order that a black box shows as its number of steps grows.

    Errors are taken at the last level with noise, since the step to σ = 0 is as long as the grid's end makes it.

    Parameters
    ----------
    make : callable
        Number of steps → what `recover` finds of the sampler with so many.
    counts : sequence of int
        Numbers of steps, increasing.

    Returns
    -------
    Outside
    """
    found = [make(count) for count in counts]
    bodies = [body(one) for one in found]
    floors = [max(1.1e-16 * amplification(plan) ** 0.5, one.precision) for plan, one in zip(bodies, found, strict=True)]
    steps = [1 / count for count in counts]
    if not all(plan.is_deterministic for plan in bodies):
        return Outside(None, fit(steps, [_moments(plan) for plan in bodies], max(floors)))
    gaussian = [float(gaussian_error(plan, plan.levels[:1], EIGENVALUES)) for plan in bodies]
    nonlinear = [_mixture(one, plan) for one, plan in zip(found, bodies, strict=True)]
    return Outside(fit(steps, nonlinear, max(floors)), fit(steps, gaussian, max(floors)))


def body(found: Recovered) -> Plan:
    """The plan up to its last level with noise."""
    return found.head(len(found.states) - (2 if found.levels[-1].singular else 1))


def _mixture(found: Recovered, plan: Plan) -> float:
    """Root-mean-square error on the mixture, over 16 quantiles."""
    quantiles = (np.arange(16) + 0.5) / 16
    start, end = quantile_flow(found.process, [plan.levels[0], plan.levels[-1]], quantiles)
    try:
        with np.errstate(all="ignore"):
            run = execute(get_backend("numpy"), plan, MIXTURE.denoiser(found.process), [start])
    except DiffodeError:  # a diverged run has no error to show
        return float("nan")
    return float(np.sqrt(np.mean((run[plan.states[-1]] - end) ** 2)))


def _moments(plan: Plan) -> float:
    """The largest error of mean and standard deviation, over eigenvalues."""
    out = law(plan, standard_gaussian(EIGENVALUES))
    mean = np.abs(out.coordinate_mean - out.exact.coordinate_mean)
    spread = np.abs(np.sqrt(out.variance) - np.sqrt(out.exact.variance))
    return float(max(mean.max(), spread.max()))
