"""Builders from tables: align-your-steps, and the training times that diffusers picks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffode.errors import GridError, unknown
from diffode.grids.grid import Final, TimeGrid, check_steps, level_of, noiseless
from diffode.process import Process
from diffode.process.base import require_process

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
    require_process(process, "align_your_steps")
    check_steps(n, final, 1 + (final == "zero"))
    if isinstance(table, str):
        if table not in AYS_TABLES:
            raise GridError(f"align_your_steps: {unknown('table', table, AYS_TABLES)}")
        table = AYS_TABLES[table]
    rho = np.asarray(table, dtype=float)
    if rho.ndim != 1 or len(rho) < 2 or not np.all(np.diff(rho) < 0) or not np.all(rho > 0) or np.isinf(rho[0]):
        raise GridError(f"align_your_steps: table must list levels σ/α, positive and decreasing, not {table}")
    return interpolated(process, rho, n, final)


def interpolated(process: Process, rho: Sequence[float] | np.ndarray, n: int, final: Final) -> TimeGrid:
    """n steps along a table of levels σ/α, linear in its logarithm; a rounded start is the process's own."""
    inner = n - (final == "zero")
    at = np.linspace(0, len(rho) - 1, inner + 1)
    lam = -np.interp(at, np.arange(len(rho)), np.log(rho))
    noisiest = float(process.lam(process.t_far))
    if noisiest - 1e-3 < lam[0] < noisiest:  # the table is rounded, the process ends where it ends
        lam[0] = noisiest
    zero = [noiseless(process)] if final == "zero" else []
    return TimeGrid(process, levels=[*(level_of(process, "lam", value) for value in lam.tolist()), *zero])


def linspace(process: Process, n: int, *, total: int = 1000, final: Final = "zero") -> TimeGrid:
    """diffusers' "linspace" spacing: n of the `total` training times from the last to the first, both included.

    With `final="min"` n + 1 of them, as its DPM-Solver has it with `final_sigmas_type="sigma_min"`.
    """
    _check_total(n, total, final)
    return _discrete(process, np.linspace(0, total - 1, n + (final == "min")).round()[::-1], total, final)


def leading(process: Process, n: int, *, total: int = 1000, offset: int = 0, final: Final = "zero") -> TimeGrid:
    """diffusers' "leading" spacing: every (total // n)-th training time, from 0 + offset.

    With `final="min"` every (total // (n + 1))-th, and the last step goes to the first training time.
    """
    _check_total(n, total, final)
    count = n + (final == "min")
    labels = (np.arange(count) * (total // count))[::-1] + offset
    if not 0 <= offset < total - labels[0] + offset:
        raise GridError(f"leading: offset={offset} leads outside the training times 0 … {total - 1}; use a smaller one")
    return _discrete(process, labels if final == "zero" else [*labels[:-1], 0], total, final)


def trailing(process: Process, n: int, *, total: int = 1000, final: Final = "zero") -> TimeGrid:
    """diffusers' "trailing" spacing: every (total/n)-th training time, counted from the last.

    With `final="min"` the last step goes to the first training time instead of σ = 0.
    """
    _check_total(n, total, final)
    labels = np.round(np.arange(total, 0, -total / n)[:n]) - 1
    return _discrete(process, labels if final == "zero" else [*labels, 0], total, final)


def _check_total(n: int, total: int, final: str) -> None:
    check_steps(n, final)
    most = total - (final == "min")
    if n > most:
        raise GridError(f"grid: n={n} is more than the {most} steps that total={total} training times allow")


def _discrete(process: Process, labels: Sequence[float] | np.ndarray, total: int, final: Final) -> TimeGrid:
    """Training label i is the time (i + 1)/total of a discrete process."""
    require_process(process, "grid")
    times = ((np.asarray(labels, dtype=float) + 1) / total).tolist()
    levels = [level_of(process, "t", time) for time in times]
    if final == "zero":
        levels.append(noiseless(process))
    return TimeGrid(process, levels=levels)
