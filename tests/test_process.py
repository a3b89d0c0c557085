"""Processes: every function against fifty digits, the identities that tie them, their inverses, ends and errors."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.process import Affine, CosineVP, DiscreteVP, Process, named
from tests.audit import DIGITS, Audit, exact, slope
from tests.strategies import EXAMPLES, OF_TIME, at_knot, processes, timed

every = pytest.mark.parametrize("process", EXAMPLES.values(), ids=list(EXAMPLES))

CONTINUOUS = ("alpha", "sigma", "log_alpha", "log_sigma", "lam", "rho", "anchor")
OF_LAM = ("t_of_lam", "log_alpha_of_lam", "log_sigma_of_lam")
ACCURACY = 1e-12  # what issue 2 asks: relative to the conditioning |t f′(t)| + |f(t)|


def numerically(process: Process) -> tuple[float, float]:
    """The λ that a process reaches, no farther than float64 has use for."""
    low, high = float(process.lam(process.t_far)), float(process.lam(process.domain[0]))
    return low, min(high, 300.0 if not isinstance(process, Affine) else 30.0)


@st.composite
def leveled(draw: Any) -> tuple[Process, float]:
    """A process with a λ that it reaches."""
    process = draw(processes())
    return process, draw(st.floats(*numerically(process)))


def condition_error(function: Any, value: float, absolute: float = 0.0, moved: float = 0.0) -> Any:
    """|f(x) in floats − f(x) in fifty digits| over |f| + |x f′| (+ an absolute share; + an absolute shift of x)."""
    with mpmath.workdps(DIGITS):
        true = function(exact(value))
        scale = abs(true) + (abs(exact(value)) + moved) * abs(slope(function, exact(value))) + absolute
        error = abs(exact(function(value)) - true)
        return error / scale if scale else error


def read(process: Process, name: str, asked: str, value: Any) -> Any:
    """One number of the level that another tells."""
    return getattr(process.level(**{name: value}), asked)


def rounding(process: Process, name: str) -> float:
    """The logarithm of a user's α or σ near 1 is as accurate as α or σ, absolutely."""
    return 1.0 if isinstance(process, Affine) and "log" in name else 0.0


def test_functions_of_time_hold_to_their_conditioning(record_property: Any) -> None:
    """α, σ, log α, log σ, λ, ρ, f, g² and all rates, over the whole range of times."""
    audit = Audit("processes, functions of t", ACCURACY, record_property)

    @settings(max_examples=150)
    @given(timed())
    def check(case: tuple[Process, float]) -> None:
        process, t = case
        for name in CONTINUOUS if at_knot(process, t) else OF_TIME:
            audit.note(condition_error(getattr(process, name), t, rounding(process, name)), f"{name}({t}) of {process}")

    check()
    audit.close()


def test_inverses_and_levels_hold_to_their_conditioning(record_property: Any) -> None:
    """t, α, σ and λ of a level told by λ, σ or ρ, wherever the process reaches."""
    audit = Audit("processes, levels told by λ, σ and ρ", ACCURACY, record_property)

    @settings(max_examples=100)
    @given(leveled())
    def check(case: tuple[Process, float]) -> None:
        process, lam = case
        told = {"lam": lam, "sigma": float(process.level(lam=lam).sigma), "rho": float(np.exp(-lam))}
        if told["sigma"] < 1e-300:
            return
        for name in OF_LAM:
            error = condition_error(getattr(process, name), lam, rounding(process, name), moved=1.0)
            audit.note(error, f"{name}({lam}) of {process}")
        for name, value in told.items():
            for asked in ("t", "alpha", "sigma", "lam"):
                function = partial(read, process, name, asked)
                error = condition_error(function, value, moved=1.0 if name == "lam" else 0.0)
                audit.note(error, f"level({name}={value}).{asked} of {process}")

    check()
    audit.close()


@settings(max_examples=60)
@given(timed())
def test_rates_are_the_derivatives(case: tuple[Process, float]) -> None:
    """f = (log α)′, g² = (σ²)′ − 2 f σ² = −2σ²λ′, and α′, σ′, λ′, b′ by differences in 150 digits."""
    process, t = case
    with mpmath.workdps(DIGITS):
        x = exact(t)
        if at_knot(process, t):
            return
        f, g2, sigma = process.f(x), process.g2(x), process.sigma(x)
        derived = {
            "f": (f, slope(process.log_alpha, x)),
            "dlam": (process.dlam(x), slope(process.lam, x)),
            "dalpha": (process.dalpha(x), slope(process.alpha, x)),
            "dsigma": (process.dsigma(x), slope(process.sigma, x)),
            "danchor": (process.danchor(x), slope(process.anchor, x)),
            "g2": (g2, slope(lambda u: process.sigma(u) ** 2, x) - 2 * f * sigma**2),
            "g2 by λ": (g2, -2 * sigma**2 * process.dlam(x)),
        }
        for name, (ours, true) in derived.items():
            assert abs(ours - true) <= mpmath.mpf(10) ** -30 * (abs(true) + abs(f) * sigma**2), (name, process, t)


@settings(max_examples=60)
@given(timed())
def test_alpha_sigma_lambda_are_one_curve(case: tuple[Process, float]) -> None:
    """log α, log σ, λ and ρ say the same as α and σ, to the last of fifty digits."""
    process, t = case
    with mpmath.workdps(DIGITS):
        x = exact(t)
        alpha, sigma = process.alpha(x), process.sigma(x)
        tiny = mpmath.mpf(10) ** (12 - DIGITS) * (1 + 1 / alpha)
        assert abs(process.log_alpha(x) - mpmath.log(alpha)) <= tiny
        assert abs(process.log_sigma(x) - mpmath.log(sigma)) <= tiny * (1 + 1 / sigma)
        assert abs(process.lam(x) - mpmath.log(alpha / sigma)) <= tiny * (1 + 1 / sigma)
        assert abs(process.rho(x) * alpha / sigma - 1) <= tiny * (1 + 1 / sigma)


@settings(max_examples=60)
@given(timed())
def test_inverses_undo(case: tuple[Process, float]) -> None:
    """t → λ, σ, ρ → t comes back in fifty digits; told by its λ, a level has the α and σ of its time."""
    process, t = case
    with mpmath.workdps(DIGITS):
        x = exact(t)
        level = process.level(x)
        tiny = mpmath.mpf(10) ** (14 - DIGITS) / min(level.alpha, level.sigma) ** 2
        for name in ("lam", "sigma", "rho"):
            told = process.level(**{name: getattr(level, name)})
            assert abs(told.t - x) <= tiny * (1 + 1 / abs(process.dlam(x))), (name, process, t)
            assert abs(told.alpha - level.alpha) <= tiny, (name, process, t)
            assert abs(told.sigma - level.sigma) <= tiny * (1 + level.sigma), (name, process, t)
        assert abs(process.t_of_sigma(level.sigma) - x) <= tiny * (1 + 1 / abs(process.dlam(x)))
        assert abs(process.t_of_rho(level.rho) - x) <= tiny * (1 + 1 / abs(process.dlam(x)))


@settings(max_examples=60)
@given(processes(), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from(["t", "lam", "sigma", "rho"]))
def test_arrays_are_scalars_bit_for_bit(process: Process, shares: list[float], name: str) -> None:
    """A level of arrays has in each entry the bits of the level of that entry."""
    low, high = numerically(process)
    lam = low + np.array(shares) * (min(high, 40.0) - low)
    values = np.array([float(getattr(process.level(lam=float(u)), name)) for u in lam])
    together = process.level(**{name: values[:, None]})
    for i, value in enumerate(values):
        alone = process.level(**{name: float(value)})
        for asked in ("t", "alpha", "sigma", "lam", "rho"):
            assert np.asarray(getattr(together, asked)).shape == (len(values), 1)
            assert getattr(together, asked)[i, 0] == getattr(alone, asked), (asked, process, value)
        for asked in OF_TIME:
            assert getattr(process, asked)(together.t)[i, 0] == getattr(process, asked)(alone.t), (asked, process)


@every
def test_a_float_gives_floats(process: Process) -> None:
    """What goes in as a float or an integer comes out as a float, not as a NumPy scalar."""
    for t in (0.5, 1):
        level = process.level(t)
        assert all(type(getattr(level, name)) is float for name in ("t", "alpha", "sigma", "lam", "rho"))
        assert all(type(getattr(process, name)(float(t))) is float for name in OF_TIME)


# --- ends --------------------------------------------------------------------------------------------------

LIMITS: dict[str, dict[float, dict[str, float]]] = {
    "vp": {0.0: dict(alpha=1, sigma=0, lam=np.inf, rho=0, f=-0.05, g2=0.1, dlam=-np.inf, dsigma=np.inf)},
    "vp_cosine": {1.0: dict(alpha=0, sigma=1, lam=-np.inf, rho=np.inf, f=-np.inf, g2=np.inf, dlam=-np.inf, dsigma=0)},
    "vp_zero_snr": {1.0: dict(alpha=0, sigma=1, lam=-np.inf, f=-np.inf, g2=np.inf, dsigma=0)},
    "subvp": {0.0: dict(alpha=1, sigma=0, lam=np.inf, g2=0, dsigma=0.1, dlam=-np.inf)},
    "ve": {-np.inf: dict(alpha=1, sigma=0, lam=np.inf, rho=0, g2=0, dsigma=0)},
    "edm": {0.0: dict(alpha=1, sigma=0, lam=np.inf, rho=0, g2=0, dsigma=1, dlam=-np.inf)},
    "flow_shifted": {
        0.0: dict(alpha=1, sigma=0, lam=np.inf, f=-3, g2=0, dalpha=-3, dsigma=3, dlam=-np.inf),
        1.0: dict(alpha=0, sigma=1, lam=-np.inf, rho=np.inf, f=-np.inf, g2=np.inf, dalpha=-1 / 3, dsigma=1 / 3),
    },
    "affine_singular": {
        0.0: dict(alpha=1, sigma=0, lam=np.inf, rho=0, f=-1, g2=0, dalpha=-1, dsigma=1),
        1.0: dict(alpha=0, sigma=1, lam=-np.inf, rho=np.inf, f=-np.inf, dalpha=-1, dsigma=1),
    },
    "mean_reverting": {0.0: dict(alpha=1, sigma=0, lam=np.inf, anchor=0, dsigma=np.inf)},
}


@pytest.mark.parametrize(("name", "end"), [(name, end) for name, ends in LIMITS.items() for end in ends])
@pytest.mark.parametrize("kind", [float, exact, lambda t: np.array([t])], ids=["float", "mpmath", "array"])
def test_singular_ends_are_exact_limits(name: str, end: float, kind: Any) -> None:
    """Where λ is ±∞ every function is its limit, in floats, arrays and mpmath, without a warning."""
    for asked, value in LIMITS[name][end].items():
        assert float(np.ravel(getattr(EXAMPLES[name], asked)(kind(end)))[0]) == pytest.approx(value, rel=1e-15), asked


@every
def test_the_end_of_the_noise_is_told_by_every_name(process: Process) -> None:
    """λ = ∞, σ = 0 and ρ = 0 are the same level, in floats and mpmath, where the process has it."""
    if np.isfinite(process.lam(process.domain[0])):
        pytest.skip("the process does not reach σ = 0")
    for told in (dict(lam=np.inf), dict(sigma=0.0), dict(rho=0.0), dict(sigma=exact(0)), dict(lam=exact(np.inf))):
        level = process.level(**told)
        assert level.singular
        assert (level.t, level.alpha, level.sigma, level.lam, level.rho) == (process.domain[0], 1, 0, np.inf, 0)


@every
def test_default_ends_lie_inside_and_in_order(process: Process) -> None:
    """Sampling goes from t_max (λ may be −∞) through t_far (finite) to t_min (finite)."""
    assert process.domain[0] <= process.t_min < process.t_far <= process.t_max <= process.domain[1]
    assert np.isfinite(process.lam(process.t_far))
    assert np.isfinite(process.lam(process.t_min))
    assert named("flow").name == "flow"


# --- bad input --------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "told",
    [dict(t=np.nan), dict(sigma=-1.0), dict(rho=-0.5), dict(lam=np.nan), dict(sigma=exact(-1)), dict(sigma=[0.5])],
    ids=str,
)
def test_levels_that_cannot_be_are_refused(process: Process, told: dict[str, Any]) -> None:
    """Not a number, negative noise, a list: an error that names what was told and its value."""
    if isinstance(next(iter(told.values())), list):
        told = {name: np.array([0.1, -3.0]) for name in told}
    (name, value), *_ = told.items()
    with pytest.raises(de.ProcessError, match=f"^{name}={re.escape(str(float(np.ravel(value)[-1])))} is outside"):
        process.level(**told)


@pytest.mark.parametrize("t", [-0.1, 1.1, np.inf, np.array([0.5, 1.5])], ids=str)
def test_times_outside_name_the_domain(t: Any) -> None:
    """The message says which time, of which process, and where it is defined."""
    with pytest.raises(de.ProcessError, match=r"is outside VP\(.*which is defined for t from 0\.0 to 1\.0"):
        de.VP().level(t)


@pytest.mark.parametrize("told", [{}, dict(t=0.5, lam=1.0)], ids=str)
def test_a_level_has_one_name(told: dict[str, float]) -> None:
    """None or several of t, lam, sigma, rho are refused."""
    with pytest.raises(de.ProcessError, match="exactly one of t, lam, sigma, rho"):
        de.VP().level(**told)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: de.VP(0.0, 1.0), "beta_min=0.0"),
        (lambda: de.VP(2.0, 1.0), "beta_max=1.0"),
        (lambda: de.SubVP(-1.0, 1.0), "beta_min=-1.0"),
        (lambda: de.VE(0.0, 1.0), "sigma_min=0.0"),
        (lambda: de.EDM(2.0, 1.0), "sigma_min=2.0"),
        (lambda: de.EDM(0.1, np.inf), "sigma_max=inf"),
        (lambda: de.Flow(0.0), "shift=0.0"),
        (lambda: de.Flow(np.nan), "shift=nan"),
        (lambda: CosineVP(0.0), "s=0.0"),
        (lambda: de.VP.discrete([0.1]), r"shape \(1,\)"),
        (lambda: de.VP.discrete([[0.1, 0.2]]), r"shape \(1, 2\)"),
        (lambda: de.VP.discrete([0.1, 1.0, 0.2]), "number 1 is 1.0"),
        (lambda: de.VP.discrete([0.1, -0.3]), "number 1 is -0.3"),
        (lambda: de.VP.discrete([np.nan, 0.3]), "number 0 is nan"),
        (lambda: de.VP.discrete([0.5, 1e-30, 0.2]), "must increase"),
        (lambda: DiscreteVP((0.1, 0.2)), "0.1, 0.2"),
        (lambda: de.MeanReverting(sigma_inf=0.0), "sigma_inf=0.0"),
        (lambda: de.MeanReverting(0.2, de.EDM()), "EDM"),
        (lambda: de.MeanReverting.from_schedule("cos"), "'cos'; there are constant, cosine, linear"),
        (lambda: de.MeanReverting.from_schedule(steps=0), "steps=0"),
        (lambda: de.MeanReverting.from_schedule(a_end=1.0), "a_end=1.0"),
        (lambda: Affine(lambda t: 1 - t, lambda t: 1 - t, 0.0, 0.5), "sigma/alpha must increase"),
        (lambda: Affine(lambda t: -t, lambda t: t, 0.1, 0.5), "sigma/alpha must increase"),
        (lambda: Affine(lambda t: float(t), lambda t: t, 0.1, 0.5), "must accept an array"),
        (lambda: named("vpp"), "'vpp'; there are vp"),
    ],
)  # fmt: skip
def test_bad_parameters_are_named_with_their_value(make: Any, says: str) -> None:
    """One line that names the argument and its value."""
    with pytest.raises(de.ProcessError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
