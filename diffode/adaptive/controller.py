r"""Controllers: what becomes of an error, the next step length.

With E_n the error of step n in units of the tolerance, k the power of h that it goes with, and c_n = h_{n+1}/h_n, all
linear controllers are one digital filter,

    c_n = Π_i (θ^k/E_{n+1−i})^{β_i/k} · Π_i c_{n−i}^{−α_i},

which differ in (β, α) alone. θ is the safety: at rest a step is θ times as long as one that errs by the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from math import atan, isfinite, prod
from typing import Literal

from diffode.catalogue import catalogued
from diffode.errors import SolverError, unknown
from diffode.kinds import shown
from diffode.plan import Level

FILTERS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "I": ((1.0,), ()),
    "PI3333": ((2 / 3, -1 / 3), ()),
    "PI3040": ((7 / 10, -4 / 10), ()),
    "PI4200": ((3 / 5, -1 / 5), ()),
    "H211PI": ((1 / 6, 1 / 6), ()),
    "H0211": ((1 / 2, 1 / 2), (1 / 2,)),
    "H211b": ((1 / 4, 1 / 4), (1 / 4,)),
    "H312PID": ((1 / 18, 1 / 9, 1 / 18), ()),
    "H0312": ((1 / 4, 1 / 2, 1 / 4), (3 / 4, 1 / 4)),
    "H312b": ((1 / 8, 2 / 8, 1 / 8), (3 / 8, 1 / 8)),
    "H0321": ((5 / 4, 1 / 2, -3 / 4), (-1 / 4, -3 / 4)),
    "H321": ((1 / 3, 1 / 18, -5 / 18), (-5 / 6, -1 / 6)),
}
"""(β, α) by name: Söderlind, ACM Trans. Math. Softw. 29 (2003), tables II and III; H211b at b = 4, H312b at b = 8."""


@dataclass(frozen=True)
class Controller:
    """How a step length follows from errors, and which steps are taken back.

    Attributes
    ----------
    name : str
    betas, alphas : tuple of float
        The filter.
    safety : float
        θ.
    limiter : {"smooth", "none"}
        "smooth": a factor c becomes 1 + arctan(c − 1), between 0.2 and 2.6.
    threshold : float or None
        None: a step is kept where E ≤ 1. A number: where the factor is that large.
    first : float or None
        |h| of the first step; None finds one from the first derivatives (Hairer, Nørsett and Wanner, II.4), at the cost
        of an evaluation.
    scale : {"sum", "larger"}
        Of the error: atol + rtol·max(|x_s|, |x_t|), or max(atol, rtol·max(|x_t low|, |x_s low|)).
    over : {"worst", "mean"}
        The sample with the largest error counts, or the root mean square over the batch.
    added : float
        To every error.
    restart : bool
        After a step is taken back, θ E^{−1/k} is the factor. False: what the filter says, as it is.
    clipped : bool
        What the factor multiplies: the step that was taken, which the end may have cut short, or what was asked for.
    reuse : bool
        An evaluation that is known is not made again: the first one of a step that is tried anew, or the one at the
        new state that the embedded result of some pairs needs.

    Raises
    ------
    SolverError
        If the filter has no β, or a setting is none of its words.
    """

    name: str
    betas: tuple[float, ...] = (1.0,)
    alphas: tuple[float, ...] = ()
    safety: float = 0.9
    limiter: Literal["smooth", "none"] = "smooth"
    threshold: float | None = None
    first: float | None = None
    scale: Literal["sum", "larger"] = "sum"
    over: Literal["worst", "mean"] = "worst"
    added: float = 0.0
    restart: bool = True
    clipped: bool = True
    reuse: bool = True

    def __post_init__(self) -> None:
        words = {"limiter": ("smooth", "none"), "scale": ("sum", "larger"), "over": ("worst", "mean")}
        for what, known in words.items():
            if getattr(self, what) not in known:
                raise SolverError(f"controller {self.name}: " + unknown(what, getattr(self, what), known))
        if not self.betas:
            raise SolverError(f"controller {self.name}: betas is empty; an integral controller has (1.0,)")
        for what, value in (("safety", self.safety), ("first", self.first), ("threshold", self.threshold)):
            if value is not None and not (isfinite(value) and value > 0):
                raise SolverError(f"controller {self.name}: {what} must be a positive number, not {value!r}")

    def steer(self, k: float) -> Steering:
        """A controller at work, for errors that go with h^k."""
        return Steering(self, k)

    def target(self, now: Level, h: float, end: Level) -> Level:
        """Where a step of length h in λ leads, the end at most."""
        return end if abs(h) >= abs(end.lam - now.lam) else end.process.level(lam=now.lam + h)


@dataclass
class Steering:
    """A controller in a run: what it remembers of errors and of the factors that it gave."""

    controller: Controller
    k: float
    errors: list[float] = field(default_factory=list[float])
    factors: list[float] = field(default_factory=list[float])

    def judge(self, error: float) -> tuple[bool, float]:
        """Whether a step of this error is kept, and the factor of the next step length.

        Parameters
        ----------
        error : float
            In units of the tolerance.
        """
        how = self.controller
        accepted = error <= 1.0
        error = max(error + how.added, 1e-12)
        past = self.errors or [error] * len(how.betas)  # as if errors had been what the first one is
        if not how.restart:
            self.errors = past
        factor = prod(e ** (-beta / self.k) for beta, e in zip(how.betas, [error, *past], strict=False))
        factor *= prod(c**-alpha for alpha, c in zip(how.alphas, self.factors, strict=False))
        factor *= how.safety ** sum(how.betas)
        if not accepted and how.threshold is None and how.restart:
            factor = how.safety * error ** (-1 / self.k)
        if how.limiter == "smooth":
            factor = 1 + atan(factor - 1)
        if how.threshold is not None:
            accepted = factor >= how.threshold
        if accepted:
            self.errors = [error, *past][: max(len(how.betas) - 1, 1)]
            self.factors = [factor, *self.factors][: len(how.alphas)]
        return accepted, factor


@catalogued("controller", "Söderlind, ACM Trans. Math. Softw. 29 (2003), tables II and III")
def digital_filter(name: str = "PI3040", **settings: float | str | bool) -> Controller:
    """A controller by the standard name of its filter: I, PI or PID.

    Parameters
    ----------
    name : str
        One of `FILTERS`.
    **settings
        Further attributes of `Controller`.

    Raises
    ------
    SolverError
        If there is no filter of that name, or a setting is refused.

    Examples
    --------
    >>> digital_filter("H211b").alphas
    (0.25,)
    """
    if name not in FILTERS:
        raise SolverError("digital_filter: " + unknown("filter", name, FILTERS))
    betas, alphas = FILTERS[name]
    return Controller(name, betas, alphas, **settings)  # pyright: ignore[reportArgumentType]


@catalogued("controller", "arXiv:2206.00927, appendix C (DPM-Solver-12 and -23); official code, dpm_solver_adaptive")
def dpm_solver_adaptive(theta: float = 0.9, first: float = 0.05) -> Controller:
    """DPM-Solver's: h ← θ h E^{−1/k}, and the model asked once more at the start of a step that is tried anew.

    Its official code rounds the factor to single precision, which is not done here.

    Parameters
    ----------
    theta : float
        Safety.
    first : float
        Length of the first step in λ.

    Examples
    --------
    >>> dpm_solver_adaptive().steer(2).judge(0.25)[0]
    True
    """
    return Controller(
        "dpm_solver_adaptive", safety=theta, limiter="none", first=first, scale="larger", reuse=False
    )  # fmt: skip


@catalogued("controller", "k-diffusion, sample_dpm_adaptive and PIDStepSizeController")
def k_diffusion_adaptive(
    pcoeff: float = 0.0, icoeff: float = 1.0, dcoeff: float = 0.0, first: float = 0.05, accept_safety: float = 0.81
) -> Controller:
    """k-diffusion's PID control: the filter (p + i + d, −p − 2d, d) and a limiter, kept where the factor is 0.81.

    Parameters
    ----------
    pcoeff, icoeff, dcoeff : float
        Of the proportional, the integral and the differential part.
    first : float
        Length of the first step in λ.
    accept_safety : float
        The factor down to which a step is kept.

    Examples
    --------
    >>> k_diffusion_adaptive(0.2, 0.6, 0.1).betas
    (0.9, -0.4, 0.1)
    """
    betas = (round(pcoeff + icoeff + dcoeff, 15), -(pcoeff + 2 * dcoeff), dcoeff)
    return Controller(
        "k_diffusion_adaptive", betas, safety=1.0, threshold=accept_safety, first=first, scale="larger", over="mean",
        added=1e-8, restart=False, clipped=False, reuse=False,
    )  # fmt: skip


@dataclass(frozen=True)
class FixedSteps(Controller):
    """Goes from level to level of a grid, and keeps every step; made by `fixed_steps`."""

    levels: tuple[Level, ...] = ()

    def target(self, now: Level, h: float, end: Level) -> Level:
        for a, b in pairwise(self.levels):
            if a.lam == now.lam:
                return b
        raise SolverError(
            f"fixed_steps: the run is at t={shown(now.t)}, which is no level of its grid before the last; start and "
            "end the run where the grid does"
        )


@catalogued("controller", "a grid, for comparison")
def fixed_steps(grid: Iterable[Level]) -> Controller:
    """No control: the levels of a grid, every step kept.

    Parameters
    ----------
    grid : TimeGrid, or sequence of levels

    Examples
    --------
    >>> import diffode as de
    >>> fixed_steps(de.grids.karras(de.EDM(), 3)).name
    'fixed_steps'
    """
    return FixedSteps("fixed_steps", limiter="none", threshold=1e-300, first=1.0, levels=tuple(grid))
