"""Covariance spectra to optimise for: a power law, eigenvalues, or those of a user's data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from diffode.errors import DiffodeError

SpectrumLike = Any
"""A power law as text, eigenvalues of shape (d,), data of shape (n, d), or a file of either."""


def eigenvalues(spectrum: SpectrumLike, dimension: int = 64) -> np.ndarray:
    """The eigenvalues of a covariance.

    Parameters
    ----------
    spectrum : str, array_like or Path
        "power:A" or "power:A:C", which is C k^{−A} for k = 1 … `dimension`; eigenvalues, shape (d,); data, shape
        (n, d), whose covariance is taken; or the name of a file with one of these, written by `numpy.save`.
    dimension : int
        d of a power law.

    Raises
    ------
    DiffodeError
        If it is none of these, or holds negative eigenvalues or what is no number.

    Examples
    --------
    >>> eigenvalues("power:2", 3)
    array([1.        , 0.25      , 0.11111111])
    """
    if isinstance(spectrum, str) and spectrum.startswith("power"):
        return _power(spectrum, dimension)
    if isinstance(spectrum, (str, Path)):
        spectrum = _read(Path(spectrum))
    try:
        values = np.asarray(spectrum, dtype=float)
    except (TypeError, ValueError):
        raise DiffodeError(
            "spectrum: must be 'power:2', eigenvalues of shape (d,) or data of shape (n, d), all of one length and "
            f"numbers, not {_short(spectrum)}"
        ) from None
    if values.ndim not in (1, 2) or not values.size:
        raise DiffodeError(f"spectrum: must have the shape (d,) or (n, d), not {values.shape}; flatten what is inside")
    if not np.all(np.isfinite(values)):
        raise DiffodeError("spectrum: holds entries that are not finite; leave them out")
    if values.ndim == 2:
        if len(values) < 2:
            raise DiffodeError("spectrum: data of shape (n, d) need at least two rows for a covariance")
        centred = values - values.mean(axis=0)
        values = np.linalg.svd(centred, compute_uv=False) ** 2 / (len(centred) - 1)
        values = np.concatenate([values, np.zeros(max(centred.shape[1] - len(values), 0))])
    if values.min() < 0:
        raise DiffodeError(f"spectrum: eigenvalues are variances and cannot be negative, as {values.min():g} is")
    if not values.max() > 0:
        raise DiffodeError("spectrum: all eigenvalues are 0; data at a point have no grid to choose")
    return values


def _power(text: str, dimension: int) -> np.ndarray:
    found = re.fullmatch(r"power:([-+.\deE]+)(?::([-+.\deE]+))?", text)
    try:
        exponent, scale = (float(part) for part in (found[1], found[2] or "1")) if found else (np.nan, np.nan)
    except ValueError:
        exponent, scale = np.nan, np.nan
    if not (np.isfinite(exponent) and np.isfinite(scale) and scale > 0 and exponent >= 0):
        raise DiffodeError(f"spectrum: a power law is 'power:A' or 'power:A:C' with A ≥ 0 and C > 0, not {text!r}")
    if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
        raise DiffodeError(f"spectrum: dimension must be a whole number of at least 1, not {dimension!r}")
    return scale * np.arange(1, dimension + 1, dtype=float) ** -exponent


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DiffodeError(f"spectrum: {path}: no such file; give 'power:2', or a file written by numpy.save")
    try:
        found: Any = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise DiffodeError(f"spectrum: {path} holds no array; write one with numpy.save") from None
    if not isinstance(found, np.ndarray):
        raise DiffodeError(f"spectrum: {path} holds several arrays; write one with numpy.save")
    return found


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"{text[:57]}…"
