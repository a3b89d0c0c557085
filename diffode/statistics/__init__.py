r"""Model statistics l, s, b: what DPM-Solver-v3 knows of a model beforehand, as functions of λ.

With N = σ ε − l x and f = N/α the probability-flow ODE is, for any l, s, b with integrals L, S and B = ∫ e^{−S} b,

    x_t = α_t e^{L_s − L_t} (x_s/α_s − ∫ E (g + c) dλ),    E(λ) = e^{L − L_s + S − S_s},    c(λ) = e^{S_s} (B − B_s),

with g = e^{S_s − S} f − c. The statistics are good where g hardly changes: l where N hardly depends on x, s and b where
f′ ≈ s f + b along the solutions. Every smooth choice gives a consistent solver.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from diffode.errors import SolverError, unknown
from diffode.statistics.closed import ConstantStatistics, GaussianStatistics, Growth, Statistics
from diffode.statistics.gridded import SUFFIXES, ModelStatistics

__all__ = [
    "NAMED", "ConstantStatistics", "GaussianStatistics", "Growth", "ModelStatistics", "Statistics", "resolved",
]  # fmt: skip

NAMED: dict[str, Statistics] = {
    "data": ConstantStatistics(1.0),
    "noise": ConstantStatistics(0.0, -1.0),
    "between": ConstantStatistics(0.5, -0.25, 0.25),
}
"""Statistics of no model in particular: the data form, the noise form, and a mean of them with a bias."""


def resolved(statistics: str | Statistics) -> Statistics:
    """The statistics that a name of `NAMED` or a file stands for.

    Raises
    ------
    SolverError
        If there are none of that name.
    """
    if isinstance(statistics, Statistics):
        return statistics
    if not isinstance(statistics, str):
        raise SolverError(f"statistics are a name, a file or a Statistics object, not {statistics!r:.60}")
    if statistics in NAMED:
        return NAMED[statistics]
    if statistics.endswith(SUFFIXES):
        path = Path(statistics)
        return _loaded(statistics, path.stat().st_mtime_ns if path.is_file() else 0)
    raise SolverError(f"{unknown('statistics', statistics, NAMED)}; a file ends in {' or '.join(SUFFIXES)}")


@lru_cache(maxsize=16)
def _loaded(path: str, changed: int) -> ModelStatistics:
    return ModelStatistics.load(path)
