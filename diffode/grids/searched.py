"""Builders from published outcomes of a search: GITS."""

from __future__ import annotations

from diffode.catalogue import catalogued
from diffode.errors import GridError, unknown
from diffode.grids.grid import Final, TimeGrid, check_steps
from diffode.grids.published import interpolated
from diffode.process import Process
from diffode.process.base import require_process

_STABLE_DIFFUSION = {
    100: 14.61464119, 88: 7.49001646, 86: 6.77309084, 83: 5.85520077, 78: 4.65472794, 71: 3.46139455, 68: 3.07277966,
    67: 2.95596409, 66: 2.84484982, 62: 2.45070267, 61: 2.36326075, 59: 2.19988537, 58: 2.12350607, 57: 2.05039096,
    56: 1.98035145, 54: 1.84880662, 51: 1.67050016, 50: 1.61558151, 49: 1.56271636, 48: 1.51179266, 45: 1.36964464,
    42: 1.24153244, 41: 1.20157266, 40: 1.162866, 38: 1.08895338, 34: 0.95350921, 33: 0.92192322, 31: 0.86115354,
    30: 0.83188516, 29: 0.803307, 27: 0.74807048, 26: 0.72133851, 25: 0.69515091, 23: 0.64427125, 21: 0.59516323,
    20: 0.57119018, 18: 0.52423614, 17: 0.50118381, 16: 0.4783645, 15: 0.45573691, 13: 0.41087446, 12: 0.38853383,
    11: 0.36617002, 10: 0.34370604, 9: 0.32104823, 8: 0.29807833, 7: 0.27464288, 6: 0.25053367, 5: 0.22545385,
    4: 0.19894916, 3: 0.17026083, 2: 0.13792117, 1: 0.09824532, 0: 0.02916753,
}  # fmt: skip
"""Noise levels σ/α of Stable Diffusion at the training labels 9.99 k."""

_GAMMA_120 = (
    "100 29 0",
    "100 49 18 0",
    "100 61 33 11 0",
    "100 66 42 21 6 0",
    "100 83 57 34 15 3 0",
    "100 83 62 42 23 8 1 0",
    "100 83 62 45 29 15 6 1 0",
    "100 83 66 50 34 21 11 4 1 0",
    "100 83 66 51 38 27 17 9 4 1 0",
    "100 83 67 54 42 30 21 13 7 3 1 0",
    "100 83 68 56 45 34 25 17 11 6 3 1 0",
    "100 86 71 61 49 38 29 21 15 10 6 3 1 0",
    "100 86 71 62 50 40 31 23 17 12 8 5 3 1 0",
    "100 88 78 68 58 48 38 30 23 17 12 8 5 3 1 0",
    "100 88 78 68 58 48 38 30 23 17 13 9 6 4 2 1 0",
    "100 88 78 68 58 48 38 30 23 17 13 10 7 5 3 2 1 0",
    "100 88 78 68 59 50 41 33 26 20 15 11 8 6 4 3 2 1 0",
    "100 88 78 68 59 50 42 34 27 21 16 12 9 7 5 4 3 2 1 0",
    "100 88 78 68 59 50 42 34 27 21 17 13 10 8 6 5 4 3 2 1 0",
)
"""The k of each level for 2 … 20 steps, γ = 1.20."""

_SD1 = [tuple(_STABLE_DIFFUSION[int(k)] for k in row.split()) for row in _GAMMA_120]

GITS_TABLES: dict[str, dict[int, tuple[float, ...]]] = {
    "sd1": {len(row) - 1: row for row in _SD1},
    "cifar10": {6: (80.0, 10.9836, 3.8811, 1.584, 0.5666, 0.1698, 0.002)},
}
"""Noise levels σ/α by number of steps: for Stable Diffusion 1 at γ = 1.20 as ComfyUI ships them, for CIFAR-10 on EDM as
the authors' README has them."""


@catalogued("grid", "arXiv:2405.11326; tables of ComfyUI (nodes_gits.py, γ = 1.20) and of the authors' README")
def gits(process: Process, n: int, *, table: str = "sd1", final: Final = "min") -> TimeGrid:
    """Levels that GITS's dynamic programme found for published networks.

    A number of steps without a table of its own is interpolated in log(σ/α) from the longest. ComfyUI puts 0 in the
    place of the last level, which is here `final="zero"` with a step more.

    Parameters
    ----------
    process : Process
    n : int
    table : {"sd1", "cifar10"}
        A name in `GITS_TABLES`.
    final : {"min", "zero"}

    Raises
    ------
    GridError
        If there is no such table, or the process does not reach its levels.

    Examples
    --------
    >>> import diffode as de
    >>> gits(de.EDM(), 6, table="cifar10").sigma.round(4).tolist()
    [80.0, 10.9836, 3.8811, 1.584, 0.5666, 0.1698, 0.002]
    """
    require_process(process, "gits")
    check_steps(n, final, 1 + (final == "zero"))
    if table not in GITS_TABLES:
        raise GridError(f"gits: {unknown('table', table, GITS_TABLES)}")
    rows = GITS_TABLES[table]
    return interpolated(process, rows.get(n - (final == "zero"), rows[max(rows)]), n, final)
