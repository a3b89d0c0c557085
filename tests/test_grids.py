"""Time grids: what every builder promises on every process, what each name says, explicit levels, and bad input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

import diffode as de
from diffode.grids import AYS_TABLES, GITS_TABLES, NAMES
from diffode.process import Process
from tests.audit import ULP
from tests.golden.cases import read
from tests.strategies import EXAMPLES, grid_options, processes, reaches_zero

KNOWN_AS = ("t", "lam", "sigma", "rho")
DISCRETE = ("linspace", "leading", "trailing")
OF_TIME = ("uniform_t", "quadratic", "power", "beta")
SPACED = [name for name in NAMES if "start" in inspect.signature(NAMES[name]).parameters]

TABLES = {"align_your_steps": AYS_TABLES["sd1"], "gits": GITS_TABLES["sd1"][20]}
"""Builders from tables, by a table that all their grids have the ends of."""

every_builder = pytest.mark.parametrize("name", NAMES)
every_spacing = pytest.mark.parametrize("name", SPACED)


def serves(name: str, process: Process, final: str) -> bool:
    """Whether the process has the levels that a builder goes through."""
    if final == "zero" and not reaches_zero(process):
        return False
    if name in TABLES:
        first, *_, last = -np.log(TABLES[name])
        noisiest, cleanest = (process.lam(t) for t in process.domain[::-1])
        return min(noisiest, process.lam(process.t_far) - 1e-3) < first and last < cleanest
    return name not in DISCRETE or process.domain[0] <= 1e-3


@st.composite
def built(draw: Any, name: str) -> tuple[Process, de.TimeGrid, dict[str, Any]]:
    """A grid of a builder, with its options."""
    process = draw(processes())
    options = draw(grid_options(name, process))
    options["final"] = draw(st.sampled_from(["min", "zero"]))
    n = draw(st.integers(3, 40))
    assume(name not in DISCRETE or process.domain[1] >= 1.0)  # a process of training times
    assume(name != "polyexponential" or n ** -options["rho"] > 1e-8)  # its last steps must not be too short for floats
    if not serves(name, process, options["final"]):
        with pytest.raises(de.GridError, match=r"is outside|final='zero' needs"):
            NAMES[name](process, n, **options)
        assume(False)
    grid = NAMES[name](process, n, **options)
    assert len(grid) == grid.steps + 1 == n + 1
    return process, grid, options


def inner(grid: de.TimeGrid, name: str, options: dict[str, Any]) -> slice:
    """The levels between the singular start and the step to σ = 0."""
    singular = np.isinf(grid.lam[0]) and name not in (*OF_TIME, *DISCRETE)
    return slice(int(singular), -1 if options["final"] == "zero" else None)


# --- every builder ---------------------------------------------------------------------------------------


@every_builder
@settings(max_examples=40)
@given(st.data())
def test_every_grid_falls_strictly_to_its_end(name: str, data: st.DataObject) -> None:
    """n steps are n + 1 levels, no two alike, from the start to the end that were asked for, to the last bit."""
    process, grid, options = data.draw(built(name))
    assert np.all(np.diff(grid.t) < 0)
    assert np.all(np.diff(grid.lam) > 0)
    assert all(level.process is process for level in grid)
    assert all(grid[i] is level for i, level in enumerate(grid))
    times = grid.t[inner(grid, name, options)]
    if options["final"] == "zero":
        assert (grid.sigma[-1], grid.lam[-1]) == (0, np.inf)
    if name in SPACED:
        start = options.get("start", process.t_max)
        assert (grid.t[0], times[-1]) == (start, options.get("end", process.t_min))
        assert times[0] == (start if np.isfinite(process.lam(start)) or name in OF_TIME else process.t_far)
    elif name in DISCRETE and options["final"] == "min":
        assert times[-1] == 1 / 1000


EVENLY: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "uniform_t": lambda t, _: t,
    "quadratic": lambda t, _: np.sqrt(t),
    "power": lambda t, options: t ** (1 / options["exponent"]),
    "uniform_lambda": lambda lam, _: lam,
    "exponential": lambda lam, _: lam,
    "uniform_sigma": lambda rho, _: rho,
    "karras": lambda rho, options: rho ** (1 / options["rho"]),
    "arctan": lambda rho, _: np.arctan(rho),
    "uniform_log_sigma": lambda sigma, _: np.log(sigma),
}
"""What the levels of a builder are equally spaced in, as a function of the variable that its parameter is called."""


@pytest.mark.parametrize("name", EVENLY)
@settings(max_examples=40)
@given(st.data())
def test_levels_are_spaced_evenly_in_what_the_name_says(name: str, data: st.DataObject) -> None:
    """Karras, exponential, uniform and arctan in ρ = σ/α on every process; quadratic and power in t."""
    _, grid, options = data.draw(built(name))
    variable = inspect.signature(EVENLY[name]).parameters
    values = getattr(grid, next(iter(variable)))[inner(grid, name, options)]
    warped = EVENLY[name](values, options)
    even = np.linspace(warped[0], warped[-1], len(warped))
    assert np.max(np.abs(warped - even)) <= 1e-12 * np.max(np.abs(warped))


@settings(max_examples=40)
@given(st.data())
def test_polyexponential_is_a_power_of_even_steps(data: st.DataObject) -> None:
    """λ goes along (1 − u)^rho from its first to its last value (k-diffusion's ramp)."""
    _, grid, options = data.draw(built("polyexponential"))
    lam = grid.lam[inner(grid, "polyexponential", options)]
    ramp = np.linspace(1, 0, len(lam)) ** options["rho"]
    assert np.max(np.abs(lam[-1] + ramp * (lam[0] - lam[-1]) - lam)) <= 8 * ULP * np.max(np.abs(lam))


@settings(max_examples=60)
@given(st.data(), st.floats(0.5, 3.0), st.floats(0.5, 3.0))
def test_beta_takes_the_quantiles_of_its_distribution(data: st.DataObject, a: float, b: float) -> None:
    """The share of the distribution below each time falls evenly from 1 to 0, by its distribution function."""
    process = data.draw(processes())
    options = data.draw(grid_options("beta", process))
    n = data.draw(st.integers(1, 30))
    grid = de.grids.beta(process, n, a=a, b=b, **options)
    share = (grid.t - grid.t[-1]) / (grid.t[0] - grid.t[-1])
    # quantiles are found by iteration, and a time is rounded
    slack = 1e-10 * share + 4 * ULP * np.max(np.abs(grid.t)) / (grid.t[0] - grid.t[-1])
    wanted = 1 - np.linspace(0, 1, n + 1)
    law = stats.beta(a, b)
    assert np.all(law.cdf(share - slack) <= wanted + 1e-12)
    assert np.all(law.cdf(share + slack) >= wanted - 1e-12)


@settings(max_examples=40)
@given(processes(), st.integers(3, 30), st.data())
def test_builders_with_two_names_are_one(process: Process, n: int, data: st.DataObject) -> None:
    """Polyexponential with rho 1 is exponential; power with exponent 1 is uniform in t, with 2 quadratic."""
    grids, ends = de.grids, data.draw(grid_options("uniform_t", process))
    ends["final"] = data.draw(st.sampled_from(["min", "zero"])) if reaches_zero(process) else "min"
    assert np.array_equal(grids.power(process, n, exponent=1.0, **ends).t, grids.uniform_t(process, n, **ends).t)
    assert np.array_equal(grids.power(process, n, exponent=2.0, **ends).t, grids.quadratic(process, n, **ends).t)
    assert np.array_equal(grids.kl_optimal(process, n, **ends).t, grids.arctan(process, n, **ends).t)
    assert np.array_equal(grids.exponential(process, n, **ends).t, grids.uniform_lambda(process, n, **ends).t)
    even, poly = grids.exponential(process, n, **ends).lam, grids.polyexponential(process, n, rho=1.0, **ends).lam
    assert np.array_equal(np.isinf(even), np.isinf(poly))
    finite = np.isfinite(even)
    assert np.max(np.abs(poly[finite] - even[finite])) <= 8 * ULP * np.max(np.abs(even[finite]))
    sharp = grids.karras(process, n, rho=1.0, **ends).rho[finite]
    assert np.allclose(sharp, grids.uniform_sigma(process, n, **ends).rho[finite], rtol=1e-12, atol=0)


@pytest.mark.parametrize("process", EXAMPLES.values(), ids=list(EXAMPLES))
@every_spacing
def test_few_steps_still_reach_the_end(name: str, process: Process) -> None:
    """One step goes from the start to the end; with a singular start and σ = 0 two steps pass the end."""
    grid = NAMES[name](process, 1)
    assert grid.t.tolist() == [process.t_max, process.t_min]
    if not reaches_zero(process):
        return
    if np.isfinite(grid.lam[0]) or name in OF_TIME:
        assert NAMES[name](process, 1, final="zero").sigma.tolist() == [process.sigma(process.t_max), 0]
    else:
        with pytest.raises(de.GridError, match=r"n=1 is too few for a singular start and final='zero'; use n=2"):
            NAMES[name](process, 1, final="zero")
        assert NAMES[name](process, 2, final="zero").t.tolist()[:2] == [process.t_max, process.t_min]


# --- tables and training times ----------------------------------------------------------------------------


LABELS: dict[tuple[str, str], Callable[[int, int], list[Fraction]]] = {
    ("linspace", "zero"): lambda n, total: [Fraction(i * (total - 1), max(n - 1, 1)) for i in range(n)][::-1],
    ("linspace", "min"): lambda n, total: [Fraction(i * (total - 1), n) for i in range(n + 1)][::-1],
    ("leading", "zero"): lambda n, total: [Fraction(i * (total // n)) for i in range(n)][::-1],
    ("leading", "min"): lambda n, total: [Fraction(i * (total // (n + 1))) for i in range(n + 1)][::-1],
    ("trailing", "zero"): lambda n, total: [total - Fraction(i * total, n) - 1 for i in range(n)],
    ("trailing", "min"): lambda n, total: [*(total - Fraction(i * total, n) - 1 for i in range(n)), Fraction(0)],
}
"""The training labels of diffusers before they are rounded: of its DDIM, and with "min" of its DPM-Solver."""


@pytest.mark.parametrize(("name", "final"), LABELS, ids=str)
@settings(max_examples=60)
@given(st.integers(2, 250), st.sampled_from([1000, 997, 400]))
def test_training_times_are_those_of_diffusers(name: str, final: str, n: int, total: int) -> None:
    """Labels of "linspace", "leading" and "trailing", in whole numbers; label i is the time (i + 1)/total."""
    grid = NAMES[name](de.VP.scaled_linear(), n, total=total, final=final)
    labels = grid.t * total - 1
    assert np.max(np.abs(labels - np.round(labels))) < 1e-9
    exact = LABELS[name, final](n, total)
    for found, wanted in zip(np.round(labels).astype(int), [*exact, -1][: n + 1], strict=True):
        halfway = 2 * wanted % 2 == 1  # rounded either way by the library, which divides in floats
        assert abs(found - wanted) * 2 == 1 if halfway else found == round(wanted)
    if name == "leading" and final == "zero":
        moved = NAMES[name](de.VP.scaled_linear(), n, total=total, offset=1)
        assert np.allclose(moved.t[:-1] * total, labels[:-1] + 2, rtol=1e-14)


def test_training_times_are_the_published_ones() -> None:
    """The timesteps that diffusers' DPM-Solver stored with final_sigmas_type="sigma_min"."""
    count = 0
    for case in read(Path(__file__).parent / "golden" / "data" / "diffusers.json.xz").cases:
        config = case.options["scheduler_config"]
        if case.solver != "DPMSolverMultistepScheduler" or config.get("final_sigmas_type") != "sigma_min":
            continue
        if config.get("use_karras_sigmas"):
            continue
        grid = de.grids.linspace(de.VP.scaled_linear(), case.options["num_inference_steps"], final="min")
        assert np.allclose(grid.t[:-1] * 1000 - 1, case.grid["timesteps"], rtol=0, atol=1e-9)
        count += 1
    assert count


@pytest.mark.parametrize("table", AYS_TABLES)
def test_align_your_steps_reproduces_its_tables(table: str) -> None:
    """At their own length the tables themselves, on every process that has these levels."""
    wanted = np.array(AYS_TABLES[table])
    for process in (de.EDM(), de.VE(), de.Flow(), de.VP.scaled_linear().zero_terminal_snr()):
        if wanted[0] < process.rho(process.t_far):
            found = de.grids.align_your_steps(process, len(wanted) - 1, table=table).rho
            assert np.allclose(found, wanted, rtol=1e-14, atol=0)


@pytest.mark.parametrize("table", GITS_TABLES)
def test_gits_reproduces_its_tables(table: str) -> None:
    """At their own lengths the tables themselves, also before a step to σ = 0; beyond the longest its ends."""
    for steps, wanted in GITS_TABLES[table].items():
        assert np.allclose(de.grids.gits(de.EDM(), steps, table=table).rho, wanted, rtol=1e-14, atol=0)
        assert np.allclose(de.grids.gits(de.EDM(), steps + 1, table=table, final="zero").rho[:-1], wanted, rtol=1e-14)
    longer = de.grids.gits(de.EDM(), 2 * max(GITS_TABLES[table]), table=table).rho
    assert np.allclose(longer[::2], GITS_TABLES[table][max(GITS_TABLES[table])], rtol=1e-14, atol=0)


def test_gits_lies_on_the_training_labels_of_stable_diffusion() -> None:
    """The levels of its table are those of the labels 9.99 k, to the digits of single precision."""
    grid = de.grids.gits(de.VP.scaled_linear(), 20)
    labels = (grid.t * 1000 - 1) / 9.99
    assert np.allclose(labels, np.round(labels), rtol=0, atol=2e-5)


def test_align_your_steps_starts_where_stable_diffusion_does() -> None:
    """The tables of Stable Diffusion are rounded; their first level is the noisiest of its process."""
    process = de.VP.scaled_linear()
    for table in ("sd1", "sdxl"):
        grid = de.grids.align_your_steps(process, 10, table=table)
        assert grid.lam[0] == process.lam(1.0) == pytest.approx(-np.log(AYS_TABLES[table][0]), abs=1e-4)
        assert np.allclose(grid.rho[1:], AYS_TABLES[table][1:], rtol=1e-14, atol=0)


@given(st.lists(st.floats(0.1, 2.0), min_size=1, max_size=12), st.integers(1, 5), st.booleans())
def test_tables_are_interpolated_in_their_logarithm(drops: list[float], between: int, zero: bool) -> None:
    """With k times as many steps every k-th level is the table's, and log(σ/α) is linear in between."""
    table = 50.0 * np.exp(-np.cumsum([0.0, *drops]))
    n = len(drops) * between
    grid = de.grids.align_your_steps(de.EDM(), n + zero, table=table.tolist(), final="zero" if zero else "min")
    rho = grid.rho[: n + 1]
    assert np.allclose(rho[::between], table, rtol=1e-13, atol=0)
    assert np.allclose(np.diff(-np.log(rho)), np.repeat(drops, between) / between, rtol=1e-9, atol=1e-13)


# --- explicit levels --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(processes(), st.lists(st.floats(0.02, 1.0), min_size=2, max_size=8), st.sampled_from(KNOWN_AS))
def test_listed_levels_are_kept_as_told(process: Process, gaps: list[float], name: str) -> None:
    """A list of times, λ, σ or ρ is the list of those levels; what was told stays as it was."""
    low, high = process.lam(process.t_far), min(process.lam(process.t_min), 30.0)
    lam = low + (high - low) * np.cumsum([0.0, *gaps[1:]]) / sum(gaps)
    levels = [process.level(lam=float(value)) for value in lam]
    told = [getattr(level, name) for level in levels]
    for given_as in (told, np.array(told), [np.float64(value) for value in told]):
        grid = de.TimeGrid(process, **{name: given_as})
        assert np.array_equal(getattr(grid, name), told) or name == "rho"
        assert grid.levels == tuple(process.level(**{name: float(value)}) for value in told)
        assert grid.steps == len(lam) - 1
        assert list(grid) == list(grid.levels)
    assert de.TimeGrid(process, levels=levels).levels == tuple(levels)


@settings(max_examples=40)
@given(processes(), st.integers(2, 8), st.floats(0.1, 0.9))
def test_one_level_per_sample(process: Process, n: int, share: float) -> None:
    """With arrays of times each sample has the grid that it would have alone, bit for bit."""
    end = process.t_min + share * (process.t_far - process.t_min) * 0.5
    alone = [de.grids.uniform_t(process, n, start=process.t_far, end=float(e)) for e in (process.t_min, end)]
    times = np.stack([grid.t for grid in alone], axis=1)[:, :, None]
    for told in (times, times.tolist(), list(times)):
        grid = de.TimeGrid(process, t=told)
        assert grid.t.shape == (n + 1, 2, 1)
        for name in ("t", "lam", "sigma", "alpha", "rho"):
            for i in range(2):
                assert np.array_equal(getattr(grid, name)[:, i, 0], getattr(alone[i], name)), name


@every_builder
@settings(max_examples=20)
@given(st.data())
def test_inversion_is_the_same_levels_backwards(name: str, data: st.DataObject) -> None:
    """`reversed` goes from data to noise through the same levels; twice is the grid itself."""
    process, grid, _ = data.draw(built(name))
    back = grid.reversed()
    assert back.levels == grid.levels[::-1]
    assert back.process is process
    assert all(a.lam > b.lam for a, b in pairwise(back))
    assert back.reversed().levels == grid.levels


@pytest.mark.parametrize("name", sorted(set(SPACED) - {"beta", "polyexponential"}))
def test_a_start_below_the_end_is_inversion(name: str) -> None:
    """Builders go either way between two times: even spacing has no direction."""
    for process in EXAMPLES.values():
        ends = process.t_min, 0.5 * (process.t_min + process.t_far)
        up, down = (NAMES[name](process, 7, start=a, end=b) for a, b in (ends, ends[::-1]))
        assert (up.t[0], up.t[-1]) == ends
        assert np.allclose(up.reversed().lam, down.lam, rtol=1e-9, atol=1e-9)


def test_a_grid_says_what_it_is() -> None:
    grid = de.grids.karras(de.EDM(), 3)
    assert repr(grid) == "TimeGrid(EDM(sigma_min=0.002, sigma_max=80.0), 3 steps, t from 80.0 to 0.002)"


# --- bad input --------------------------------------------------------------------------------------------

VP, EDM, build = de.VP(), de.EDM(), de.grids
TURN = np.array([[1, 1], [0.5, 0.5], [0.2, 0.7]])
UNKNOWN = [de.Level(1.0, 0.0, 1.0, -1.0), de.Level(np.nan, 1.0, 0.0, 1.0)]
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "one level": (lambda: de.TimeGrid(VP, t=[0.5]), "needs at least two levels, got 1; list the start and the end"),
    "no level": (lambda: de.TimeGrid(VP, lam=[]), "needs at least two levels, got 0"),
    "a number": (lambda: de.TimeGrid(VP, t=0.5), "t must list the levels, at least two, not 0.5"),
    "a word": (lambda: de.TimeGrid(VP, t="karras"), "t must list the levels, at least two, not 'karras'"),
    "nothing": (lambda: de.TimeGrid(VP), "exactly one of t, sigma, lam, rho, levels (got none)"),
    "two lists": (lambda: de.TimeGrid(VP, t=[1, 0.5], lam=[0, 1]), "exactly one of t, sigma, lam, rho, levels (got t"),
    "a turn": (lambda: de.TimeGrid(VP, t=[1, 0.5, 0.7]), "monotone, but t goes from 0.5 to 0.7 at step 1"),
    "a level twice": (lambda: de.TimeGrid(VP, t=[1, 0.5, 0.5]), "from 0.5 to 0.5 at step 1 (remove the repeated"),
    "one sample turns": (lambda: de.TimeGrid(VP, t=TURN), "monotone, but t goes from [0.5 … 0.5] to [0.2 … 0.7] at"),
    "not a number": (lambda: de.TimeGrid(VP, t=[1, np.nan]), "t=nan is outside VP("),
    "not a number first": (lambda: de.TimeGrid(EDM, sigma=[np.nan, 1]), "sigma=nan is outside EDM("),
    "a level without time": (lambda: de.TimeGrid(VP, levels=UNKNOWN), "level 1 is not a number (t=nan)"),
    "time outside": (lambda: de.TimeGrid(VP, t=[1.5, 0.5]), "t=1.5 is outside VP("),
    "noise outside": (lambda: de.TimeGrid(VP, sigma=[2.0, 0.5]), "sigma=2.0 is outside VP("),
    "λ outside": (lambda: de.TimeGrid(VP, lam=[-9.0, 0.5]), "(λ from -5.02"),
    "start outside": (lambda: build.karras(VP, 5, start=2), "start t=2.0 is outside VP("),
    "end outside": (lambda: build.karras(EDM, 5, end=-1), "end t=-1.0 is outside EDM("),
    "start not a number": (lambda: build.beta(EDM, 5, start=np.nan), "start t=nan is outside EDM("),
    "start a word": (lambda: build.karras(EDM, 5, start="x"), "start must be a time of the process, a number, not"),
    "start is end": (lambda: build.karras(EDM, 5, start=1, end=1), "t goes from 1.0 to 1.0 at step 0"),
    "no noise at the end": (lambda: build.karras(VP, 5, end=0), "end=0.0 has λ=inf, where rho cannot be spaced; use"),
    "no noise at the start": (lambda: build.arctan(VP, 5, start=0, end=1), "start=0.0 has λ=inf, where rho cannot"),
    "no data at the end": (lambda: build.exponential(de.Flow(), 5, start=0.1, end=1), "end=1.0 has λ=-inf, where lam"),
    "no steps": (lambda: build.uniform_t(VP, 0), "number of steps must be a whole number of at least 1, not n=0"),
    "half a step": (lambda: build.karras(VP, 2.5), "a whole number of at least 1, not n=2.5"),
    "steps in words": (lambda: build.linspace(VP, "3"), "a whole number of at least 1, not n='3'"),
    "true steps": (lambda: build.beta(VP, True), "a whole number of at least 1, not n=True"),
    "one step of two": (lambda: build.align_your_steps(EDM, 1, final="zero"), "of at least 2, not n=1"),
    "too many labels": (lambda: build.leading(VP, 2000), "n=2000 is more than the 1000 steps that total=1000"),
    "labels beyond": (lambda: build.leading(VP, 10, offset=100), "offset=100 leads outside the training times 0 … 99"),
    "final": (lambda: build.karras(EDM, 5, final="none"), "final must be 'min' or 'zero', not 'none'"),
    "final of a table": (lambda: build.align_your_steps(EDM, 5, final=0), "final must be 'min' or 'zero', not 0"),
    "final of labels": (lambda: build.trailing(VP, 5, final=None), "final must be 'min' or 'zero', not None"),
    "noise never ends": (lambda: build.karras(EXAMPLES["affine"], 5, final="zero"), "final='zero' needs a level with"),
    "karras": (lambda: build.karras(EDM, 5, rho=0), "rho must be a positive number, not rho=0"),
    "polyexponential": (lambda: build.polyexponential(EDM, 5, rho=-1), "rho must be a positive number, not rho=-1"),
    "power": (lambda: build.power(VP, 5, exponent=np.nan), "exponent must be a positive number, not exponent=nan"),
    "power below 0": (lambda: build.quadratic(de.VE(), 5, end=-1.0), "times that are not negative, not end=-1.0"),
    "beta": (lambda: build.beta(VP, 5, a=0), "a must be a positive number, not a=0"),
    "table": (lambda: build.align_your_steps(EDM, 5, table="sdx"), "no table named 'sdx'; did you mean 'sdxl'?"),
    "rising table": (lambda: build.align_your_steps(EDM, 5, table=[1, 2]), "positive and decreasing, not [1, 2]"),
    "table to 0": (lambda: build.align_your_steps(EDM, 5, table=[1, 0]), "positive and decreasing, not [1, 0]"),
    "table of another": (lambda: build.align_your_steps(VP, 5, table="svd"), "is outside VP("),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str) -> None:
    """A `GridError` that names the argument, its value and what to do."""
    act, says = BAD[case]
    with pytest.raises(de.GridError) as caught:
        act()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
