"""What a problem is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffode.errors import ModelError
from diffode.models import GaussianMixture, Model
from diffode.process import Process
from diffode.process.base import require_process


@dataclass(frozen=True)
class Problem:
    r"""A model to sample from, and states to start at.

    Parameters
    ----------
    name : str
        The name of its function in `diffode.problems`.
    process : Process
        With the range of times that suits the data.
    model : Model
        Of that process, exact or learned.
    law : GaussianMixture
        The law that the starting states are noised draws of: that of the data, or where only examples are known the
        Gaussian with their mean and covariance.
    data : GaussianMixture or None
        The law of the data, where it is known.
    mu : array, optional
        The anchor μ, for an anchored process; also to be given to `sample`.
    figures : object, optional
        For a learned model, how good it is; print it.
    held_out : array, optional
        For a learned model, which examples of its data set it has not seen.

    Examples
    --------
    >>> import diffode as de
    >>> problem = de.problems.get_problem("mixture_2d")
    >>> x_T = problem.initial(5, seed=0)
    >>> de.sample(problem.model, "dpmpp_2m", de.grids.karras(problem.process, 10), x_T).x.shape
    (5, 2)
    """

    name: str
    process: Process
    model: Model = field(repr=False)
    law: GaussianMixture = field(repr=False)
    data: GaussianMixture | None = field(default=None, repr=False)
    mu: Any = field(default=None, repr=False)
    figures: Any = field(default=None, repr=False)
    held_out: np.ndarray | None = field(default=None, repr=False)

    @property
    def dimension(self) -> int:
        return self.law.dimension

    @property
    def start(self) -> float:
        """The time where sampling starts, as every grid does by default."""
        return self.process.t_max

    @property
    def end(self) -> float:
        """The time where sampling ends, as every grid does by default."""
        return self.process.t_min

    def initial(self, count: int, seed: int | np.random.Generator, t: float | None = None) -> np.ndarray:
        r"""States to start at, x_t = α_t x_0 + σ_t ε (+ b_t μ), with x_0 from `law`.

        Where the law of the data is known this is exactly the marginal at t; otherwise it has its mean and covariance.

        Parameters
        ----------
        count : int
        seed : int or numpy.random.Generator
        t : float, optional
            `start` by default.

        Returns
        -------
        ndarray, shape (count, dimension)
        """
        generator = np.random.default_rng(seed)
        level = self.process.level(self.start if t is None else t)
        x_0 = self.law.sample(count, generator)
        x = level.alpha * x_0 + level.sigma * generator.standard_normal(x_0.shape)
        return x if self.mu is None else x + self.process.anchor(level.t) * self.mu


def check_process(process: Any, mu: Any, name: str) -> None:
    """Raise unless a process is one, and has its anchor where it needs one."""
    require_process(process, name)
    if process.anchored and mu is None:
        raise ModelError(f"{name}: {process!r} has an anchor; give it as mu=")
    if not process.anchored and mu is not None:
        raise ModelError(f"{name}: {process!r} has no anchor, but mu= was given; leave it out")
