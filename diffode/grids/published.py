"""Builders from tables: align-your-steps, and the training times that diffusers picks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffode.errors import GridError
from diffode.grids.grid import Final, TimeGrid, level_of, noiseless
from diffode.process import Process

AYS_TABLES: dict[str, tuple[float, ...]] = {
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""Ten-step noise levels ρ = σ/α of Sabour et al., arXiv:2404.14507, as their project page gives them."""


def align_your_steps(
    process: Process,
    n: int,
    *,
    table: str | Sequence[float] = "sd1",
    final: Final = "min",
) -> TimeGrid:
    """A published table of levels σ/α, interpolated in its logarithm to any number of steps.

    Parameters
    ----------
    process : Process
    n : int
    table : str or sequence of float
        A name in `AYS_TABLES`, or levels σ/α of one's own, decreasing.
    final : {"min", "zero"}
    """
    if isinstance(table, str):
        if table not in AYS_TABLES:
            raise GridError(f"align_your_steps: no table named {table!r}; there are {', '.join(AYS_TABLES)}")
        table = AYS_TABLES[table]
    logs = np.log(np.asarray(table, dtype=float))
    if n < 1 + (final == "zero"):
        raise GridError(f"align_your_steps: needs at least {1 + (final == 'zero')} steps, not n={n}")
    inner = n - (final == "zero")
    at = np.linspace(0, len(logs) - 1, inner + 1)
    lam = -np.interp(at, np.arange(len(logs)), logs)
    noisiest = float(process.lam(process.t_far))
    if noisiest - 1e-3 < lam[0] < noisiest:  # the table is rounded, the process ends where it ends
        lam[0] = noisiest
    zero = [noiseless(process)] if final == "zero" else []
    return TimeGrid(process, levels=[*(level_of(process, "lam", value) for value in lam.tolist()), *zero])


def linspace(process: Process, n: int, *, total: int = 1000, final: Final = "zero") -> TimeGrid:
    """diffusers' "linspace" spacing: n of the `total` training times from the last to the first, both included."""
    return _discrete(process, np.linspace(0, total - 1, n).round()[::-1], total, final)


def leading(process: Process, n: int, *, total: int = 1000, offset: int = 0, final: Final = "zero") -> TimeGrid:
    """diffusers' "leading" spacing: every (total // n)-th training time, from 0 + offset."""
    return _discrete(process, (np.arange(n) * (total // n))[::-1] + offset, total, final)


def trailing(process: Process, n: int, *, total: int = 1000, final: Final = "zero") -> TimeGrid:
    """diffusers' "trailing" spacing: every (total/n)-th training time, counted from the last."""
    return _discrete(process, np.round(np.arange(total, 0, -total / n)) - 1, total, final)


def _discrete(process: Process, labels: np.ndarray, total: int, final: Final) -> TimeGrid:
    """Training label i is the time (i + 1)/total of a discrete process."""
    times = ((np.asarray(labels, dtype=float) + 1) / total).tolist()
    levels = [level_of(process, "t", time) for time in times]
    if final == "zero":
        levels.append(noiseless(process))
    return TimeGrid(process, levels=levels)
