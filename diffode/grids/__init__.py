r"""Time grids: where a solver looks.

Every builder takes a process and a number of steps n and returns a `TimeGrid` of n + 1 levels, the noisiest
first. Grids of the literature that are spelled in σ (Karras, exponential, uniform in σ, …) act on ρ = σ/α, so
that they serve every process.

The ends, in all builders: `start` and `end` are times (the process's own by default, the end being the smallest
positive level). With `final="zero"` the last step goes to σ = 0 and the n − 1 before it end at `end`. Where the
start is singular (λ = −∞: pure noise) a grid in λ, σ or ρ keeps it as its first level and begins its spacing at
`process.t_far`. `save` and `load` are for grids of one's own, as JSON.
"""

from __future__ import annotations

from collections.abc import Callable

from diffode.grids.grid import Final, TimeGrid
from diffode.grids.published import AYS_TABLES, align_your_steps, leading, linspace, trailing
from diffode.grids.restart import Interval, RestartGrid, restart
from diffode.grids.searched import GITS_TABLES, gits
from diffode.grids.spaced import (
    arctan,
    beta,
    exponential,
    karras,
    kl_optimal,
    polyexponential,
    power,
    quadratic,
    uniform_lambda,
    uniform_log_sigma,
    uniform_sigma,
    uniform_t,
)
from diffode.grids.stored import load, save

__all__ = [
    "AYS_TABLES", "GITS_TABLES", "NAMES", "Final", "Interval", "RestartGrid", "TimeGrid",
    "align_your_steps", "arctan", "beta", "exponential", "gits", "karras", "kl_optimal", "leading", "linspace", "load",
    "polyexponential", "power", "quadratic", "restart", "save", "trailing", "uniform_lambda", "uniform_log_sigma",
    "uniform_sigma", "uniform_t",
]  # fmt: skip

NAMES: dict[str, Callable[..., TimeGrid]] = {
    "uniform_t": uniform_t,
    "uniform_lambda": uniform_lambda,
    "uniform_sigma": uniform_sigma,
    "uniform_log_sigma": uniform_log_sigma,
    "quadratic": quadratic,
    "power": power,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "beta": beta,
    "arctan": arctan,
    "align_your_steps": align_your_steps,
    "gits": gits,
    "linspace": linspace,
    "leading": leading,
    "trailing": trailing,
}
"""Every builder by the name that the command line takes."""
