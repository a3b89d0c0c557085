"""Hypothesis strategies of the things that laws are about: processes, their times and levels, grids, data, steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st

from diffode import grids as builders
from diffode import phi
from diffode.errors import GridError, ProcessError
from diffode.grids import TimeGrid
from diffode.models import Gaussian, GaussianMixture, PointCloud
from diffode.plan import BrownianIncrement, Combine, Constant, Dynamic, Evaluate, Normal, Plan, Scaled
from diffode.process import (
    EDM,
    VE,
    VP,
    Affine,
    CosineVP,
    DiscreteVP,
    Flow,
    MeanReverting,
    Process,
    SubVP,
)
from diffode.trace import Memory

Strategy = st.SearchStrategy[Any]


def powers(low: float, high: float) -> Strategy:
    """Positive numbers, uniform in their logarithm."""
    return st.floats(np.log(low), np.log(high)).map(lambda e: min(max(float(np.exp(e)), low), high))


def signed(positive: Strategy) -> Strategy:
    """Numbers of either sign."""
    return st.builds(lambda x, up: x if up else -x, positive, st.booleans())


# --- processes -------------------------------------------------------------------------------------------

AFFINE: dict[str, Process] = {
    "straight": Affine(lambda t: 1 - t, lambda t: t, 0.0, 1.0),
    "trigonometric": Affine(lambda t: phi.cos(1.5 * t), lambda t: phi.sin(1.5 * t), 1e-3, 1.0),
    "rational": Affine(lambda t: 1 / (1 + t * t), lambda t: t / (1 + t), 1e-3, 4.0),
    "growing": Affine(lambda t: phi.exp(-t), lambda t: phi.expm1(t), 1e-3, 3.0),
    "square root": Affine(lambda t: phi.sqrt(1 - t), lambda t: phi.sqrt(t), 1e-3, 0.999),
}
"""Processes from pairs of functions, made once: each looks at its whole interval when it is made."""


def betas(min_size: int = 4, max_size: int = 40) -> Strategy:
    """Tables of discrete rates, in any order."""
    return st.lists(powers(1e-5, 0.5), min_size=min_size, max_size=max_size)


@st.composite
def linear_vp(draw: Any, kind: type = VP) -> Any:
    """VP or SubVP with β linear in t."""
    low = draw(powers(1e-3, 2.0))
    return kind(low, low + draw(st.one_of(st.just(0.0), powers(1e-2, 30.0))))


def discrete_vp() -> Strategy:
    """Tables: arbitrary, scaled-linear, and each with zero terminal signal-to-noise ratio."""
    tables = st.one_of(
        betas().map(VP.discrete),
        st.builds(VP.scaled_linear, powers(1e-5, 1e-3), powers(5e-3, 0.1), st.integers(4, 1000)),
    )
    return st.one_of(tables, tables.map(DiscreteVP.zero_terminal_snr))


def flows() -> Strategy:
    """Linear interpolants with the shifts of current models and others."""
    return st.one_of(st.sampled_from([1.0, 3.0]), powers(0.1, 20.0)).map(Flow)


@st.composite
def ranged(draw: Any, kind: type) -> Any:
    """VE or EDM between two noise levels."""
    low = draw(powers(1e-4, 0.1))
    return kind(low, low * draw(powers(10.0, 1e5)))


def mean_reverting() -> Strategy:
    """Every schedule of IR-SDE, and a continuous clock."""
    return st.one_of(
        st.builds(
            lambda schedule, steps, sigma: MeanReverting.from_schedule(schedule, steps=steps, sigma_inf=sigma),
            st.sampled_from(["cosine", "linear", "constant"]), st.integers(10, 200), powers(0.05, 2.0),
        ),
        st.builds(MeanReverting, powers(0.05, 2.0), linear_vp()),
    )  # fmt: skip


def tame_processes() -> Strategy:
    """Processes as they are used: λ reaches from −2 or less to 3 or more, in times that are not tiny."""
    return st.one_of(
        st.builds(VP, st.floats(0.05, 1.0), st.floats(10.0, 25.0)),
        st.floats(0.005, 0.02).map(CosineVP),
        st.sampled_from([VP.scaled_linear(), VP.scaled_linear().zero_terminal_snr()]),
        st.builds(SubVP, st.floats(0.05, 1.0), st.floats(10.0, 25.0)),
        st.builds(VE, st.floats(0.005, 0.02), st.floats(20.0, 100.0)),
        st.builds(EDM, st.floats(0.001, 0.02), st.floats(20.0, 100.0)),
        st.floats(0.5, 5.0).map(Flow),
        st.sampled_from(["cosine", "linear", "constant"]).map(MeanReverting.from_schedule),
        st.sampled_from(list(AFFINE.values())),
    )


def processes(tame: bool = False) -> Strategy:
    """A forward process of any class, with parameters drawn; `tame` ones are those that people use."""
    if tame:
        return tame_processes()
    return st.one_of(
        linear_vp(), powers(1e-3, 0.1).map(CosineVP), discrete_vp(), linear_vp(SubVP), ranged(VE), ranged(EDM), flows(),
        mean_reverting(), st.sampled_from(list(AFFINE.values())),
    )  # fmt: skip


OF_TIME = ("alpha", "sigma", "log_alpha", "log_sigma", "lam", "rho", "f", "g2", "dlam", "dalpha", "dsigma", "anchor",
           "danchor")  # fmt: skip
"""What a process tells of a time."""

EXAMPLES: dict[str, Process] = {
    "vp": VP(),
    "vp_constant": VP(4.0, 4.0),
    "vp_cosine": CosineVP(),
    "vp_scaled_linear": VP.scaled_linear(),
    "vp_zero_snr": VP.scaled_linear().zero_terminal_snr(),
    "vp_table": VP.discrete([0.01, 0.2, 0.05, 0.3, 0.4, 0.1, 0.5]),
    "subvp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "flow": Flow(),
    "flow_shifted": Flow(shift=3.0),
    "affine": AFFINE["trigonometric"],
    "affine_singular": AFFINE["straight"],
    "mean_reverting": MeanReverting.from_schedule("cosine"),
}
"""One process of every class, for laws that are dear to check."""


def span(process: Process) -> tuple[float, float]:
    """The times that a law is checked on: the domain, or as much of it as anybody uses."""
    if isinstance(process, EDM):
        return 1e-8, 1e8
    if isinstance(process, VE):
        return -4.0, 2.0
    return process.domain


@st.composite
def times(draw: Any, process: Process, inside: bool = True) -> float:
    """A time of a process, as often close to an end as not; with `inside`, none where λ is infinite."""
    low, high = span(process)
    if isinstance(process, EDM):
        return draw(powers(low, high))
    where = draw(st.sampled_from(["anywhere", "first", "last"]))
    if where == "anywhere":
        t = draw(st.floats(low, high))
    else:
        away = (high - low) * draw(powers(1e-12, 0.5))
        t = low + away if where == "first" else high - away
    if inside and not (np.isfinite(process.lam(t)) and t < high):
        t = 0.5 * (low + high)
    if abs(t) < 1e-290:  # rates go as 1/t, and would overflow
        return 0.0 if isinstance(process, VE) else 1e-290
    return float(t)


def at_knot(process: Process, t: float) -> bool:
    """Whether a time is a knot of a table, where only one-sided derivatives exist."""
    table = getattr(process, "base", process)
    return isinstance(table, DiscreteVP) and abs(t * (len(table.knots) - 1) % 1 - 0.5) > 0.499


@st.composite
def timed(draw: Any, of: Strategy | None = None) -> tuple[Process, float]:
    """A process with a time inside it."""
    process = draw(processes() if of is None else of)
    return process, draw(times(process))


KINDS: dict[str, Callable[[float], Any]] = {
    "float": float,
    "mpmath": mpmath.mpf,
    "array": lambda value: np.full((3, 1), value),
}
"""Ways to write the same number."""


def kinds() -> Strategy:
    """A kind of number that a level can be told in."""
    return st.sampled_from(list(KINDS))


# --- grids -----------------------------------------------------------------------------------------------


@st.composite
def grid_options(draw: Any, name: str, process: Process) -> dict[str, Any]:
    """Options of a builder: its ends inside the process, its exponent."""
    known = inspect.signature(builders.NAMES[name]).parameters
    options: dict[str, Any] = {}
    if "end" in known and draw(st.booleans()):
        low, high = process.t_min, process.t_far
        options["end"] = low + draw(st.floats(0.02, 0.5)) * (high - low)
        if draw(st.booleans()):
            options["start"] = options["end"] + draw(st.floats(0.05, 0.9)) * (high - options["end"])
    if "exponent" in known:
        options["exponent"] = draw(st.floats(0.5, 8.0))
    if "rho" in known:
        options["rho"] = draw(st.floats(0.5, 9.0))
    return options


def reaches_zero(process: Process) -> bool:
    """Whether the process has a level with σ = 0."""
    try:
        return process.level(lam=float("inf")).singular
    except ProcessError:
        return False


@st.composite
def grids(draw: Any, process: Process, steps: Strategy | None = None, singular: bool = False) -> TimeGrid:
    """A grid of any builder that serves the process; levels with λ = ±∞ only where `singular` allows them."""
    n = draw(st.integers(2, 12) if steps is None else steps)
    name = draw(st.sampled_from(list(builders.NAMES)))
    options = draw(grid_options(name, process))
    final = "zero" if singular and reaches_zero(process) and draw(st.booleans()) else "min"
    if (
        not singular
        and process.level(process.t_max).singular
        and "start" in inspect.signature(builders.NAMES[name]).parameters
    ):
        options.setdefault("start", process.t_far)
    try:
        grid = builders.NAMES[name](process, n, **options, final=final)
    except GridError:  # a table of another process, or training times that this one does not have
        grid = builders.uniform_lambda(process, n, start=process.t_far, final=final)
    if not singular and any(level.singular for level in grid):
        return builders.uniform_lambda(process, n, start=process.t_far)
    return grid


# --- data ------------------------------------------------------------------------------------------------


@st.composite
def mixtures(draw: Any, dimension: int | None = None, kind: str | None = None) -> GaussianMixture:
    """Gaussian-mixture data: isotropic, diagonal or full covariances, single Gaussians, point clouds."""
    d = dimension or draw(st.integers(1, 3))
    count = draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    means = generator.uniform(-2, 2, (count, d))
    weights = generator.uniform(0.1, 1, count)
    kind = kind or draw(st.sampled_from(["isotropic", "diagonal", "full", "gaussian", "cloud"]))
    factors = generator.uniform(-1, 1, (count, d, d))
    covariances = factors @ np.swapaxes(factors, 1, 2) + 0.01 * np.eye(d)
    if kind == "isotropic":
        return GaussianMixture(weights, means, generator.uniform(0.05, 1.5, count))
    if kind == "diagonal":
        return GaussianMixture(weights, means, generator.uniform(0.05, 1.5, (count, d)))
    if kind == "full":
        return GaussianMixture(weights, means, covariances)
    if kind == "gaussian":
        return Gaussian(means[0], covariances[0])
    return PointCloud(means, weights)


# --- plans -----------------------------------------------------------------------------------------------


def quieter(*values: Any) -> Any:
    """A coefficient that falls as its registers grow; of NumPy arrays and torch tensors."""
    return 1 / (1 + sum(abs(value).max() for value in values))


@st.composite
def plans(draw: Any, dynamic: bool = True) -> Plan:
    """Plans that no solver made: rows of every kind in any order, read by any later ones; levels of `EDM`."""
    at = [EDM().level(sigma) for sigma in (3.0, 2.0, 1.0, 0.5)]
    inputs = ("x0", "p1", "q_v")[: draw(st.integers(1, 3))]
    held, coefficients, rows = list(inputs), [], []  # registers of arrays, and of dynamic coefficients
    number = st.one_of(st.floats(-2, 2), st.sampled_from([0.0, 1.0, -1.0]))
    kinds = ["evaluate", "combine", "combine", "constant", "normal", "increment", *(["dynamic"] if dynamic else [])]
    for i in range(draw(st.integers(1, 12))):
        kind, out = draw(st.sampled_from(kinds)), f"r{i}"
        some = draw(st.lists(st.sampled_from(held), max_size=4, unique=True))
        if kind == "dynamic":
            rows.append(Dynamic(out, "quieter", quieter, tuple(some or held[:1])))
            coefficients.append(out)
            continue
        if kind == "evaluate":
            branch = draw(st.sampled_from([None, "unconditional"]))
            told = draw(st.sampled_from([None, at[1]]))
            rows.append(Evaluate(out, draw(st.sampled_from(held)), at[i % 4], "eps", i, told, output=branch))
        elif kind == "constant":
            rows.append(Constant(out))
        elif kind == "normal":
            rows.append(Normal(out, f"{i}:"))
        elif kind == "increment":
            stretch = at[i % 3 : i % 3 + 2]
            rows.append(BrownianIncrement(out, *stretch, "snr", draw(st.integers(0, 2)), stream=i))
        else:
            factors = number if not coefficients else number | st.builds(Scaled, st.sampled_from(coefficients), number)
            rows.append(Combine(out, tuple((draw(factors), name) for name in some)))
        held.append(out)
    past = tuple((name, at[0]) for name in draw(st.lists(st.sampled_from(held), max_size=2)))
    named = tuple(("v", name) for name in draw(st.lists(st.sampled_from(held), max_size=1)))
    state = draw(st.sampled_from(held))
    return Plan(tuple(rows), inputs, ("x0", state), (at[0], at[-1]), Memory(past, named), "drawn")


# --- steps -----------------------------------------------------------------------------------------------


def step_sizes(low: float = 1e-6, high: float = 10.0) -> Strategy:
    """Lengths h of a step in λ."""
    return powers(low, high)


def rates() -> Strategy:
    """Rates c of the exponentials that solvers integrate, and others."""
    return st.one_of(st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0, 0.5]), signed(powers(1e-8, 50.0)))
