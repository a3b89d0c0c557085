r"""Time shift: the level whose marginal variance is that of a sample.

    t_s = argmin_{|τ − t| ≤ w/2} |Var(x) − (σ_τ² + α_τ² v)|

A sample that is behind or ahead of its time, by the errors of the steps so far, is taken for what it looks like.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import ModelError
from diffode.models.base import Array, Model
from diffode.models.wrappers import Wrapped
from diffode.plan import Level
from diffode.process import Process

_DPM = "arXiv:2305.15583"


def matched(process: Process, level: Level, x: Array, window: float, spacing: float, spread: float = 0.0) -> Level:
    """The level near another whose marginal variance is that of each sample.

    Parameters
    ----------
    process : Process
    level : Level
        The middle of the window.
    x : array, shape (batch, …)
        With two entries per sample at least.
    window : float
        w, in t; what of it lies outside the process does not count.
    spacing : float
        Of the times that are tried.
    spread : float
        v, the variance of the data; 0 as published.

    Returns
    -------
    Level
        With one time per sample, which broadcasts against x.

    Raises
    ------
    ModelError
        If the window or the spacing is not positive, the spread negative, or a sample has one entry.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process, x = de.EDM(), np.array([[1.0, -1.0], [3.0, -3.0]])
    >>> matched(process, process.level(2.0), x, window=4.0, spacing=0.5).t.ravel()
    array([1.5, 4. ])
    """
    check_window(window, spacing, spread)
    if len(x) and np.prod(x.shape[1:]) < 2:
        raise ModelError(f"time shift: a sample needs two entries to have a variance, but x has shape {tuple(x.shape)}")
    flat = x.reshape(len(x), -1)
    middle = flat.mean(-1)[:, None]
    variance = np.asarray(((flat - middle) ** 2).sum(-1).tolist()) / (flat.shape[1] - 1)
    count = int(window / (2 * spacing) + 1e-9)
    times = np.asarray(level.t).reshape(-1, 1) + spacing * np.arange(-count, count + 1)
    low, high = process.domain
    times = np.clip(np.broadcast_to(times, (len(variance), times.shape[1])), low, high)
    tried = process.level(times)
    gaps = np.abs(variance[:, None] - (tried.sigma**2 + spread * tried.alpha**2))
    best = times[np.arange(len(times)), gaps.argmin(1)]
    return process.level(best.reshape(-1, *(1,) * (x.ndim - 1)))


def check_window(window: float, spacing: float, spread: float = 0.0) -> None:
    """Raise ModelError unless window and spacing are positive, and the variance is not negative."""
    for name, value in (("window", window), ("spacing", spacing)):
        if not 0 < value < float("inf"):
            raise ModelError(f"time shift: {name} must be a positive number, not {value}")
    if not 0 <= spread < float("inf"):
        raise ModelError(f"time shift: spread is the variance of the data, a number of at least 0, not {spread}")


@catalogued("wrapper", f"{_DPM}; official code, sampler/deis_sampler.py (the network is told the shifted time)")
class TimeShifted(Wrapped):
    r"""A network that is told the time that each sample looks like.

    The steps stay where they are; the state is at t and the network is told t_s. This is how the official code has
    DEIS; see `diffode.adaptive.time_shift` for the paper's algorithm, where the step starts from t_s.

    Parameters
    ----------
    model : Model
    window, spacing, spread : float
        See `matched`; the window of DEIS in the official code is twice as wide as what it is called there.
    cutoff : float
        Up to this time nothing is shifted.

    Raises
    ------
    ModelError
        If the window or the spacing is not positive, or the spread negative.

    Examples
    --------
    >>> import diffode as de
    >>> process = de.VP()
    >>> model = TimeShifted(de.Gaussian([0.0, 0.0], 1.0).denoiser(process), window=0.04)
    >>> model.passes()
    1
    """

    def __init__(
        self, model: Model, window: float, spacing: float = 1e-3, cutoff: float = 0.3, spread: float = 0.0
    ) -> None:
        super().__init__(model)
        check_window(window, spacing, spread)
        self.window, self.spacing, self.cutoff, self.spread = window, spacing, cutoff, spread

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        if at is None and bool(np.all(np.asarray(level.t) > self.cutoff)):
            at = matched(self.process, level, x, self.window, self.spacing, self.spread)
        return self.model.predict(x, level, prediction, at, to, output)

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Any:
        return self.predict(x, level, "x0", at, to, output)
