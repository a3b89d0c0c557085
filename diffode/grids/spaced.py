"""Builders that space the levels in some variable of the process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffode.errors import GridError, ProcessError
from diffode.grids.grid import Final, TimeGrid, check_steps, level_of, noiseless
from diffode.plan import Level
from diffode.process import Process
from diffode.process.base import require_process

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
    require_process(process, "grid")
    check_steps(n, final)
    first = _end_at(process, "start", process.t_max if start is None else start)
    last = _end_at(process, "end", process.t_min if end is None else end)
    singular = variable != "t" and first.lam == -np.inf
    begin = process.level(process.t_far) if singular else first
    for name, level in dict(start=begin, end=last).items():
        if variable != "t" and level.singular:
            remedy = "use final='zero'" if level.sigma == 0 and name == "end" else "choose a time inside the process"
            raise GridError(f"grid: {name}={level.t} has λ={level.lam}, where {variable} cannot be spaced; {remedy}")
    inner = n - singular - (final == "zero")
    if inner < 0:
        raise GridError(f"grid: n={n} is too few for a singular start and final='zero'; use n=2 or more")
    if inner == 0:
        middle = [last] if singular else [first]
    else:
        u = np.linspace(0.0, 1.0, inner + 1)
        values = spacing(u, float(getattr(begin, variable)), float(getattr(last, variable)))
        # the ends as they are, not to rounding
        middle = [begin, *(level_of(process, variable, float(value)) for value in values[1:-1]), last]
    zero = [noiseless(process)] if final == "zero" else []
    return TimeGrid(process, levels=[*([first] if singular else []), *middle, *zero])


def _end_at(process: Process, name: str, t: float) -> Level:
    """The level at one end of a grid."""
    try:
        return process.level(float(t))
    except ProcessError as problem:
        raise GridError(f"grid: {name} {problem}") from None
    except (TypeError, ValueError):
        raise GridError(f"grid: {name} must be a time of the process, a number, not {t!r}") from None


def _positive(**options: float) -> None:
    for name, value in options.items():
        if not 0 < value < np.inf:
            raise GridError(f"grid: {name} must be a positive number, not {name}={value}")


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
    """Equal steps in t^{1/exponent}, t ≥ 0 (DEIS, arXiv:2204.13902, appendix H.3)."""
    _positive(exponent=exponent)
    for name, value in dict(start=start, end=end).items():
        if value is not None and value < 0:
            raise GridError(f"grid: a power of t needs times that are not negative, not {name}={value}")
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
    _positive(rho=rho)
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
    _positive(rho=rho)

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

    _positive(a=a, b=b)

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
