r"""Time grids: where a solver looks.

Every builder takes a process and a number of steps n and returns a `TimeGrid` of n + 1 levels, the noisiest
first. Grids of the literature that are spelled in σ (Karras, exponential, uniform in σ, …) act on ρ = σ/α, so
that they serve every process.

The ends, in all builders: `start` and `end` are times (the process's own by default, the end being the smallest
positive level). With `final="zero"` the last step goes to σ = 0 and the n − 1 before it end at `end`. Where the
start is singular (λ = −∞: pure noise) a grid in λ, σ or ρ keeps it as its first level and begins its spacing at
`process.t_far`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from diffode.errors import GridError, ProcessError
from diffode.kinds import Number
from diffode.plan import Level
from diffode.process import Process

Final = Literal["min", "zero"]


class TimeGrid:
    """The levels that a solver steps through, in either direction, strictly monotone.

    Parameters
    ----------
    process : Process
    t, sigma, lam, rho : sequence of number, optional
        Exactly one of them. A sequence of arrays (or an array of shape (steps + 1, …)) gives one time per
        sample, frame or element.
    levels : sequence of Level, optional
        Ready-made levels instead (tables of a published run).

    Attributes
    ----------
    t, lam, sigma, alpha, rho : ndarray, shape (steps + 1, …)

    Raises
    ------
    GridError
        With fewer than two levels, a repeated level, or a change of direction.

    Examples
    --------
    >>> import diffode as de
    >>> grid = TimeGrid(de.Flow(), t=[1.0, 0.5, 0.1])
    >>> grid.steps, grid.sigma
    (2, array([1. , 0.5, 0.1]))
    """

    def __init__(
        self,
        process: Process,
        t: Sequence[Number] | np.ndarray | None = None,
        *,
        sigma: Sequence[Number] | np.ndarray | None = None,
        lam: Sequence[Number] | np.ndarray | None = None,
        rho: Sequence[Number] | np.ndarray | None = None,
        levels: Sequence[Level] | None = None,
    ) -> None:
        given = {
            name: value
            for name, value in dict(t=t, sigma=sigma, lam=lam, rho=rho, levels=levels).items()
            if value is not None
        }
        if len(given) != 1:
            raise GridError(
                f"TimeGrid: give exactly one of t, sigma, lam, rho, levels (got {', '.join(given) or 'none'})"
            )
        self.process = process
        if levels is not None:
            self.levels = tuple(levels)
        else:
            name, values = given.popitem()
            self.levels = tuple(_level(process, name, value) for value in values)
        _check_levels(self.levels)

    @property
    def steps(self) -> int:
        return len(self.levels) - 1

    def _column(self, name: str) -> np.ndarray:
        return np.array([np.asarray(getattr(level, name), dtype=float) for level in self.levels])

    @cached_property
    def t(self) -> np.ndarray:
        return self._column("t")

    @cached_property
    def lam(self) -> np.ndarray:
        return self._column("lam")

    @cached_property
    def sigma(self) -> np.ndarray:
        return self._column("sigma")

    @cached_property
    def alpha(self) -> np.ndarray:
        return self._column("alpha")

    @cached_property
    def rho(self) -> np.ndarray:
        return self._column("rho")

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __getitem__(self, i: int) -> Level:
        return self.levels[i]

    def __repr__(self) -> str:
        first, last = self.levels[0], self.levels[-1]
        return f"TimeGrid({self.process!r}, {self.steps} steps, t from {first.t} to {last.t})"

    def reversed(self) -> TimeGrid:
        """The same levels the other way: inversion, from data to noise."""
        return TimeGrid(self.process, levels=self.levels[::-1])


def _level(process: Process, name: str, value: Any) -> Level:
    if isinstance(value, (int, np.integer, np.floating)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = float(value)
    try:
        return process.level(**{name: value})
    except ProcessError as problem:
        raise GridError(f"grid: {problem}") from None


def _check_levels(levels: tuple[Level, ...]) -> None:
    if len(levels) < 2:
        raise GridError(f"grid: needs at least two levels, got {len(levels)}")
    directions: list[bool] = []
    for i, (a, b) in enumerate(pairwise(levels)):
        forward, back = a.lam < b.lam, a.lam > b.lam
        for name, value in (("t", b.t), ("lam", b.lam)):
            if np.any(np.isnan(np.asarray(value, dtype=float))):
                raise GridError(f"grid: level {i + 1} is not a number ({name}={value})")
        if np.all(forward) or np.all(back):
            directions.append(bool(np.all(forward)))
            if directions[0] == directions[-1]:
                continue
        raise GridError(
            f"grid: levels must be strictly monotone, but t goes from {a.t} to {b.t} at step {i} "
            "(remove the repeated level, or sort the times)"
        )


# --- builders ------------------------------------------------------------------------------------------

Spacing = Callable[[np.ndarray, float, float], np.ndarray]


def _build(
    process: Process,
    n: int,
    variable: str,
    spacing: Spacing,
    *,
    start: float | None,
    end: float | None,
    final: Final,
) -> TimeGrid:
    """Levels spaced in a variable: spacing(u, first, last) for u uniform on [0, 1]."""
    if n < 1:
        raise GridError(f"grid: needs at least one step, not n={n}")
    if final not in ("min", "zero"):
        raise GridError(f"grid: final must be 'min' or 'zero', not {final!r}")
    first = process.level(process.t_max if start is None else float(start))
    last = process.level(process.t_min if end is None else float(end))
    singular = variable != "t" and first.singular
    begin = process.level(process.t_far) if singular else first
    if last.singular and variable != "t":
        raise GridError(
            f"grid: the end t={last.t} has σ = 0, where a grid in {variable} cannot be spaced; use final='zero'"
        )
    inner = n - singular - (final == "zero")
    if inner < 0:
        raise GridError(f"grid: {n} steps are too few for a singular start and final='zero'; use more")
    u = np.linspace(0.0, 1.0, inner + 1)
    if inner == 0:
        middle = [begin if singular else first]
    else:
        values = spacing(u, float(getattr(begin, variable)), float(getattr(last, variable)))
        # the ends as they are, not to rounding
        middle = [begin, *(_level(process, variable, float(value)) for value in values[1:-1]), last]
    zero = [process.level(lam=float("inf"))] if final == "zero" else []
    return TimeGrid(process, levels=[*([first] if singular else []), *middle, *zero])


def _uniform(u: np.ndarray, a: float, b: float) -> np.ndarray:
    return a + u * (b - a)


def _power(exponent: float) -> Spacing:
    """Uniform in the power 1/exponent of the variable."""

    def spacing(u: np.ndarray, a: float, b: float) -> np.ndarray:
        root = a ** (1 / exponent) + u * (b ** (1 / exponent) - a ** (1 / exponent))
        return root**exponent

    return spacing


def uniform_t(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in t.

    >>> import diffode as de
    >>> uniform_t(de.Flow(), 4, end=0.2).t
    array([1. , 0.8, 0.6, 0.4, 0.2])
    """
    return _build(process, n, "t", _uniform, start=start, end=end, final=final)


def uniform_lambda(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in λ = log(α/σ), DPM-Solver's "logSNR" (arXiv:2206.00927, section 3.4)."""
    return _build(process, n, "lam", _uniform, start=start, end=end, final=final)


def uniform_sigma(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in ρ = σ/α."""
    return _build(process, n, "rho", _uniform, start=start, end=end, final=final)


def uniform_log_sigma(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in log σ (not in log ρ, which is λ)."""

    def spacing(u: np.ndarray, a: float, b: float) -> np.ndarray:
        return np.exp(_uniform(u, np.log(a), np.log(b)))

    return _build(process, n, "sigma", spacing, start=start, end=end, final=final)


def quadratic(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in √t (Song et al., arXiv:2010.02502, appendix D.2)."""
    return power(process, n, exponent=2.0, start=start, end=end, final=final)


def power(
    process: Process,
    n: int,
    *,
    exponent: float = 2.0,
    start: float | None = None,
    end: float | None = None,
    final: Final = "min",
) -> TimeGrid:
    """Equal steps in t^{1/exponent} (DEIS, arXiv:2204.13902, appendix H.3)."""
    return _build(process, n, "t", _power(exponent), start=start, end=end, final=final)


def karras(
    process: Process,
    n: int,
    *,
    rho: float = 7.0,
    start: float | None = None,
    end: float | None = None,
    final: Final = "min",
) -> TimeGrid:
    """Equal steps in (σ/α)^{1/rho} (Karras et al., arXiv:2206.00364, eq. 5).

    >>> import diffode as de
    >>> karras(de.EDM(), 2).sigma
    array([8.00000000e+01, 2.51521898e+00, 2.00000000e-03])
    """
    return _build(process, n, "rho", _power(rho), start=start, end=end, final=final)


def exponential(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in log(σ/α): k-diffusion's name for `uniform_lambda`."""
    return uniform_lambda(process, n, start=start, end=end, final=final)


def polyexponential(
    process: Process,
    n: int,
    *,
    rho: float = 1.0,
    start: float | None = None,
    end: float | None = None,
    final: Final = "min",
) -> TimeGrid:
    """log(σ/α) along (1 − u)^rho, as k-diffusion has it."""

    def spacing(u: np.ndarray, a: float, b: float) -> np.ndarray:
        return b + (1 - u) ** rho * (a - b)

    return _build(process, n, "lam", spacing, start=start, end=end, final=final)


def beta(
    process: Process,
    n: int,
    *,
    a: float = 0.6,
    b: float = 0.6,
    start: float | None = None,
    end: float | None = None,
    final: Final = "min",
) -> TimeGrid:
    """Times at the quantiles of a beta distribution (Lee et al., arXiv:2407.12173)."""
    from scipy.stats import beta as distribution

    def spacing(u: np.ndarray, first: float, last: float) -> np.ndarray:
        return last + np.asarray(distribution.ppf(1 - u, a, b)) * (first - last)

    return _build(process, n, "t", spacing, start=start, end=end, final=final)


def arctan(
    process: Process, n: int, *, start: float | None = None, end: float | None = None, final: Final = "min"
) -> TimeGrid:
    """Equal steps in arctan(σ/α), optimal for Gaussian data of unit variance.

    Sabour et al., arXiv:2404.14507, theorem 3.1.
    """

    def spacing(u: np.ndarray, a: float, b: float) -> np.ndarray:
        return np.tan(_uniform(u, np.arctan(a), np.arctan(b)))

    return _build(process, n, "rho", spacing, start=start, end=end, final=final)


kl_optimal = arctan

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
    return TimeGrid(process, lam=[*lam.tolist(), *([float("inf")] if final == "zero" else [])])


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
    levels = [_level(process, "t", time) for time in times]
    if final == "zero":
        levels.append(process.level(lam=float("inf")))
    return TimeGrid(process, levels=levels)


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
    "linspace": linspace,
    "leading": leading,
    "trailing": trailing,
}
"""Every builder by the name that the command line takes."""
