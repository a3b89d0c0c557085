"""The reference backend: NumPy arrays, one row at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from diffode.backends.base import IN_PLACE, seeded
from diffode.errors import ModelError
from diffode.kinds import Number

name = "numpy"
generator = np.random.Generator


def check_state(x: Any) -> None:
    if not isinstance(x, np.ndarray):
        raise ModelError(
            f"x_T must be a NumPy array for backend='numpy', not {type(x).__name__}; convert it with "
            "numpy.asarray, or choose backend='torch'"
        )
    if isinstance(x, (np.ma.MaskedArray, np.matrix)):
        what = "a masked array, whose mask nobody looks at" if isinstance(x, np.ma.MaskedArray) else "a matrix"
        raise ModelError(f"x_T is {what}; give a plain array, numpy.array(x_T, subok=False)")
    if not np.issubdtype(x.dtype, np.floating):
        raise ModelError(f"x_T must hold floating-point numbers, not {x.dtype}; convert it with .astype(float)")
    if x.ndim < 1:
        raise ModelError("x_T must have shape (batch, …), not ()")


def array(values: np.ndarray) -> np.ndarray:
    return values


@contextmanager
def lent(x: np.ndarray) -> Generator[np.ndarray]:
    view = x.view()
    view.flags.writeable = False
    try:
        yield view
    except ValueError as problem:
        if "read-only" not in str(problem):
            raise
        raise ModelError(IN_PLACE) from problem


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(parts, axis=1)


def combine(terms: Sequence[tuple[Number, np.ndarray]]) -> np.ndarray:
    total: Any = None
    for c, x in terms:
        c = np.asarray(c, dtype=x.dtype) if isinstance(c, np.ndarray) else float(c)
        total = c * x if total is None else total + c * x
    return total


def normal(source: Any, index: int, x: np.ndarray) -> np.ndarray:
    drawing = source if isinstance(source, generator) else seeded(int(source), index)
    return drawing.standard_normal(x.shape).astype(x.dtype, copy=False)


def one(x: np.ndarray) -> np.ndarray:
    return np.ones_like(x)


def finite(x: np.ndarray) -> bool:
    return bool(np.isfinite(x).all())
