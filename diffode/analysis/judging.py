"""How far a plan's outcome is from the truth: three judges, for a comparison at equal cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from diffode.analysis.convergence import quantile_flow
from diffode.analysis.endpoint import reference
from diffode.analysis.moments import law
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError
from diffode.grids import TimeGrid
from diffode.models import GaussianMixture, Model
from diffode.models.base import number
from diffode.plan import Plan

FEW = 1024
"""Quantiles for a plan without noise."""

MANY = 65536
"""Quantiles for a plan with noise, where no number is asked for."""


class Judged(NamedTuple):
    """An error, what it is known to, and a word where there is none."""

    error: float | None
    uncertainty: float = 0.0
    note: str = ""


Judge = Callable[[Plan], Judged]


def by_exact_law(data: GaussianMixture) -> Judge:
    """On Gaussian data: the Wasserstein-2 distance of laws that are both known exactly."""
    return lambda plan: Judged(law(plan, data).w2())


def by_path(model: Model, x_T: Any, ends: TimeGrid, tolerance: float) -> Judge:
    """The root-mean-square distance to the end points of the probability-flow ODE; none for a plan with noise."""
    backend = get_backend("numpy" if isinstance(x_T, np.ndarray) else "torch")

    @cache
    def known() -> Any:
        return reference(model, x_T, ends, tolerance)

    def judge(plan: Plan) -> Judged:
        if not plan.is_deterministic:
            note = "draws noise: no exact law is known here; compare it on Gaussian data, or measure='law' on the line"
            return Judged(None, note=note)
        final = execute(backend, plan, model, [x_T])[plan.states[-1]]
        return Judged(number(((final - known().x) ** 2).mean() ** 0.5), known().error)

    return judge


def by_quantiles(model: Model, data: GaussianMixture, ends: TimeGrid, count: int, seed: int) -> Judge:
    r"""On the line: the Wasserstein-1 distance of the outcome's law to that of the data, at the last level.

        W_1 = ∫_0^1 |F^{−1}(u) − F_data^{−1}(u)| du,    u at the middles of equal parts

    States start at the quantiles of the first level, so that a deterministic plan has no error of sampling, and few of
    them do. The uncertainty of a plan with noise is the distance that as many exact draws have. (W_2 would see little
    else: between modes it grows as the root of the share that landed in the wrong one.)
    """
    if data.dimension != 1:
        raise DiffodeError(f"measure='law' needs data on the line, not in {data.dimension} dimensions; take mixture_1d")

    @cache
    def ensemble(size: int) -> tuple[np.ndarray, np.ndarray]:
        middles = (np.arange(size) + 0.5) / size
        first, exact = quantile_flow(model.process, [ends[0], ends[-1]], middles, data)
        return first, exact

    @cache
    def floor() -> float:
        drawn = np.sort(np.random.default_rng(seed).uniform(size=count))
        return apart(quantile_flow(model.process, [ends[-1]], drawn, data)[0], ensemble(count)[1])

    def judge(plan: Plan) -> Judged:
        quiet = plan.is_deterministic
        first, exact = ensemble(min(count, FEW) if quiet else count)
        final = execute(get_backend("numpy"), plan, model, [first], None if quiet else seed)[plan.states[-1]]
        return Judged(apart(final, exact), 0.0 if quiet else floor())

    return judge


def apart(x: np.ndarray, exact: np.ndarray) -> float:
    """The distance of laws that have these values at the same quantiles."""
    return float(np.mean(np.abs(np.sort(x, axis=0) - exact)))
