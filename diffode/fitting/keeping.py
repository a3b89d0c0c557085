"""What every search shares: the best so far, progress, an interrupt that loses nothing, a checkpoint to go on from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import numpy as np

from diffode.errors import DiffodeError

Progress = Callable[[int, int, float], None]
"""Called with (candidates tried, expected in all, the least loss so far); first with 0 tried, before the teacher."""

_PAUSE = 2.0
"""Seconds between two writings of the checkpoint."""


class Keeper:
    """Keeps the best candidate of a search; Ctrl-C inside `with` ends the search, and the best is kept.

    Before the first candidate there is nothing to keep, as while the teacher's end points are found: Ctrl-C goes
    through.

    Parameters
    ----------
    key : mapping
        What the search is, in plain values: a checkpoint of another is refused.
    total : int
        How many candidates are expected.
    progress : callable, optional
        Called with (tried, total, least loss), first with 0 tried; make the keeper before what takes long.
    checkpoint : str or Path, optional
        A JSON file with the best so far; a search with the same key goes on from it.

    Raises
    ------
    DiffodeError
        If the checkpoint is that of another search, or its folder does not exist.

    Examples
    --------
    >>> with Keeper({"method": "none"}, 3) as keeper:
    ...     for candidate, loss in ([1.0], 3.0), ([2.0], 1.0), ([3.0], 2.0):
    ...         _ = keeper.offer(candidate, loss)
    >>> keeper.best, keeper.loss, keeper.tried
    ([2.0], 1.0, 3)
    """

    def __init__(
        self,
        key: Mapping[str, Any],
        total: int,
        progress: Progress | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.key, self.total, self.progress = json.loads(json.dumps(key)), total, progress
        self.path = None if checkpoint is None else Path(checkpoint)
        self.best: Any = None
        self.loss, self.tried, self.interrupted = float("inf"), 0, False
        self._written = monotonic()
        if self.path is not None and not self.path.parent.is_dir():
            raise DiffodeError(f"fit: cannot write checkpoint={checkpoint!s}: there is no folder {self.path.parent}")
        if self.path is not None and self.path.exists():
            self._resume(self.path)
        if self.progress is not None:
            self.progress(0, self.total, self.loss)

    def _resume(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["key"] != self.key:
                raise ValueError
        except (ValueError, KeyError, TypeError, UnicodeDecodeError):
            raise DiffodeError(
                f"fit: {path} is not a checkpoint of this fit; remove it, or give another checkpoint="
            ) from None
        self.best, self.loss = content["best"], content["loss"]

    def offer(self, candidate: Any, loss: float) -> bool:
        """Whether a candidate, in plain values, is the best so far."""
        better = loss < self.loss
        if better:
            self.best, self.loss = candidate, loss
        self.tried += 1
        if self.progress is not None:
            self.progress(min(self.tried, self.total), self.total, self.loss)
        if self.path is not None and monotonic() - self._written > _PAUSE:
            self.write()
        return better

    def write(self) -> None:
        """Write the checkpoint, whole or not at all: the one that is there stays until another can take its place."""
        self._written = monotonic()
        if self.path is not None and np.isfinite(self.loss):
            content = {"key": self.key, "best": self.best, "loss": self.loss}
            draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            draft.write_text(json.dumps(content), encoding="utf-8")
            draft.replace(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self.write()
        self.interrupted = kind is KeyboardInterrupt and self.best is not None
        return self.interrupted


def descend(
    residual: Callable[[np.ndarray], np.ndarray],
    keeper: Keeper,
    iterations: int,
    first: np.ndarray,
    free: slice = slice(None),
) -> np.ndarray:
    """Nonlinear least squares: the best parameters that were met.

    Parameters
    ----------
    residual : callable
        Parameters, shape (count,) → residuals, shape (n,); the loss is their root-mean-square.
    keeper : Keeper
        Where it has a best, the descent begins there.
    iterations : int
        Gradients at most; each is made of differences and costs one residual for each free parameter.
    first : ndarray, shape (count,)
    free : slice
        Which of them move.

    Returns
    -------
    ndarray, shape (count,)
    """
    from scipy.optimize import least_squares

    whole = np.array(first if keeper.best is None else keeper.best, dtype=float)

    def watched(u: np.ndarray) -> np.ndarray:
        moved = whole.copy()
        moved[free] = u
        found = residual(moved)
        keeper.offer(moved.tolist(), float(np.sqrt(np.mean(found**2))))
        return found

    with keeper:
        least_squares(watched, whole[free], method="trf", diff_step=1e-6, max_nfev=iterations)
    return np.array(keeper.best)
