"""Problems whose data law is known, and finding any problem by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffode.errors import DiffodeError, unknown
from diffode.models import Gaussian, GaussianMixture
from diffode.problems.base import Problem, check_process
from diffode.problems.digits import digits
from diffode.process import EDM, VP, Process

MIXTURE_1D = GaussianMixture([0.3, 0.3, 0.4], [-1.2, 0.4, 1.5], [0.35, 0.25, 0.4])
"""The data of `mixture_1d`; orders are measured on them."""


def gaussian(*, process: Process | None = None, mu: Any = None) -> Problem:
    """One dimension, N(0.8, 0.3²): the exact denoiser is affine.

    Parameters
    ----------
    process : Process, optional
        `VP()` by default.
    mu : array_like, optional
        The anchor, where the process has one.
    """
    return _exact("gaussian", Gaussian(0.8, 0.3**2), process or VP(), mu)


def gaussian_4d(*, process: Process | None = None, mu: Any = None) -> Problem:
    """Four dimensions, a Gaussian with variances from 1e-4 to 4: stiff, as images are.

    Parameters
    ----------
    process : Process, optional
        `VP()` by default.
    mu : array_like, optional
        The anchor, where the process has one.
    """
    data = Gaussian([0.5, -1.0, 0.25, 1.0], np.geomspace(1e-4, 4.0, 4))
    return _exact("gaussian_4d", data, process or VP(), mu)


def mixture_1d(*, process: Process | None = None, mu: Any = None) -> Problem:
    """One dimension, three components of unlike weights and widths: nonlinear, without symmetry.

    Parameters
    ----------
    process : Process, optional
        `VP()` by default.
    mu : array_like, optional
        The anchor, where the process has one.
    """
    return _exact("mixture_1d", MIXTURE_1D, process or VP(), mu)


def mixture_2d(*, process: Process | None = None, mu: Any = None) -> Problem:
    """Two dimensions, eight narrow modes on a circle: trajectories to look at.

    Parameters
    ----------
    process : Process, optional
        `EDM(0.02, 20)` by default.
    mu : array_like, optional
        The anchor, where the process has one.
    """
    angle = np.arange(8) * (np.pi / 4)
    ring = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    data = GaussianMixture(np.ones(8), ring, np.full(8, 0.12))
    return _exact("mixture_2d", data, process or EDM(0.02, 20.0), mu)


def _exact(name: str, data: GaussianMixture, process: Process, mu: Any) -> Problem:
    check_process(process, mu, name)
    return Problem(name, process, data.denoiser(process, mu), data, data, mu)


_MAKERS: dict[str, Callable[..., Problem]] = {
    "gaussian": gaussian,
    "gaussian_4d": gaussian_4d,
    "mixture_1d": mixture_1d,
    "mixture_2d": mixture_2d,
    "digits": digits,
}


def list_problems() -> list[str]:
    """Names of all problems.

    >>> list_problems()
    ['gaussian', 'gaussian_4d', 'mixture_1d', 'mixture_2d', 'digits']
    """
    return list(_MAKERS)


def get_problem(name: str, process: Process | None = None, *, mu: Any = None) -> Problem:
    """The problem of a name.

    Parameters
    ----------
    name : str
        One of `list_problems()`.
    process : Process, optional
        Instead of the problem's own.
    mu : array_like, optional
        The anchor, where the process has one.

    Raises
    ------
    DiffodeError
        If there is none, with the nearest name.

    Examples
    --------
    >>> get_problem("gaussian").process
    VP(beta_min=0.1, beta_max=20.0)
    >>> get_problem("digit")
    Traceback (most recent call last):
    diffode.errors.DiffodeError: no problem named 'digit'; did you mean 'digits'?
    """
    if name not in _MAKERS:
        raise DiffodeError(unknown("problem", name, _MAKERS))
    return _MAKERS[name](process=process, mu=mu)
