"""Grids as files: the λ of every level in JSON, and a grid of any number of steps made of them again."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from diffode.errors import GridError, placed
from diffode.grids.grid import TimeGrid, check_steps, level_of, noiseless
from diffode.grids.restart import RestartGrid
from diffode.process import Process

FORMAT = "diffode-grid/1"
ALSO = ("diffode-fit/1",)
"""Other files that hold a grid."""


def dumps(grid: TimeGrid, **facts: Any) -> str:
    """The JSON text of a grid: λ of its levels, null where it is ±∞, the times beside them to be read.

    Parameters
    ----------
    grid : TimeGrid
        One time for all entries.
    **facts
        What else the file is to say.

    Raises
    ------
    GridError
        If its levels are arrays, or it has restarts.
    """
    if any(np.ndim(level.lam) for level in grid):
        raise GridError("grid: levels that are arrays are not written to a file; save one grid at a time")
    if isinstance(grid, RestartGrid):
        raise GridError("grid: a grid with restarts is not written to a file; save its main grid, and make it again")
    lam = [float(level.lam) for level in grid]
    content = {
        "format": FORMAT, "process": repr(grid.process), **facts,
        "lam": [value if isfinite(value) else None for value in lam], "t": [float(level.t) for level in grid],
    }  # fmt: skip
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def save(grid: TimeGrid, path: str | Path, **facts: Any) -> None:
    """Write a grid to a JSON file; see `dumps`."""
    placed(path).write_text(dumps(grid, **facts), encoding="utf-8")


def load(path: str | Path, process: Process, n: int | None = None) -> TimeGrid:
    """The grid of a file, on a process; with another number of steps λ is interpolated, as a published table is.

    Parameters
    ----------
    path : str or Path
    process : Process
        Whose levels have these λ: that of the file, or any other that reaches them.
    n : int, optional
        Steps; those of the file by default.

    Raises
    ------
    GridError
        If there is no such file, it holds no grid, or the process does not reach its levels.
    """
    path = Path(path)
    if not path.is_file():
        raise GridError(f"grid: {path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] not in (FORMAT, *ALSO):
            raise ValueError
        values = [None if value is None else float(value) for value in content["lam"]]
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise GridError(f"grid: {path} holds no grid; write one with de.grids.save(grid, path)") from None
    inner = [value for value in values if value is not None]
    first, last = values[:1] == [None], len(values) > 1 and values[-1] is None
    if len(values) < 2 or not inner or None in values[first : len(values) - last]:
        raise GridError(f"grid: {path} must list at least two λ, null at its ends only")
    if n is not None:
        check_steps(n, "min", 1 + first + last)
        count = n + 1 - first - last
        inner = inner if count == len(inner) else _spread(inner, count)
    singular = [process.level(process.t_max)] if first else []
    if first and singular[0].lam != -np.inf:
        raise GridError(f"grid: {path} begins in pure noise, which {process!r} does not reach")
    ends = [noiseless(process)] if last else []
    return TimeGrid(process, levels=[*singular, *(level_of(process, "lam", value) for value in inner), *ends])


def _spread(values: list[float], count: int) -> list[float]:
    at = np.linspace(0, len(values) - 1, count)
    return np.interp(at, np.arange(len(values)), values).tolist()
