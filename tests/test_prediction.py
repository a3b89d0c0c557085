"""Predictions: every change to every other against fifty digits, its round trips, its limits, the flow, bad names."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.plan import Level
from diffode.prediction import NAMES, basis, change, check
from diffode.process import Process
from tests.audit import DIGITS, ULP, Audit, exact, slope
from tests.strategies import EXAMPLES, KINDS, at_knot, powers, signed, span, timed

PAIRS = list(permutations(NAMES, 2))
RATES = {"velocity"}
"""Predictions that need α′ and σ′."""


class Rates:
    """What a level asks its process for, as numbers."""

    def __init__(self, dalpha: Any, dsigma: Any) -> None:
        self.dalpha, self.dsigma = (lambda _: dalpha), (lambda _: dsigma)


def same(level: Level, rated: bool) -> Level:
    """The floats of a level as numbers of fifty digits, exactly; its rates too, where they exist."""
    rates = [exact(rate) for rate in (level.dalpha, level.dsigma)] if rated else [0, 0]
    return Level(exact(level.t), exact(level.alpha), exact(level.sigma), exact(level.lam), Rates(*rates))


def parts(name: str, level: Level) -> tuple[Any, Any]:
    """What a prediction is made of: its coefficients of the clean data and of the noise."""
    alpha, sigma = level.alpha, level.sigma
    return {
        "x0": lambda: (1, 0),
        "eps": lambda: (0, 1),
        "v": lambda: (-sigma, alpha),
        "score": lambda: (0, -1 / sigma),
        "velocity": lambda: (level.dalpha, level.dsigma),
    }[name]()


def solved(source: str, target: str, level: Level) -> list[Any]:
    """A and B by definition, each with its size term by term: target = A (α x_0 + σ ε) + B source for all x_0 and ε."""
    (p1, p2), (q1, q2) = parts(source, level), parts(target, level)
    alpha, sigma = level.alpha, level.sigma
    determinant = alpha * p2 - sigma * p1
    a = mpmath.fdot([(q1, p2), (-q2, p1)]) / determinant
    b = mpmath.fdot([(alpha, q2), (-sigma, q1)]) / determinant
    assert abs(a * alpha + b * p1 - q1) + abs(a * sigma + b * p2 - q2) <= mpmath.mpf(10) ** (15 - DIGITS) * (
        abs(a) * (alpha + sigma) + abs(b) * (abs(p1) + abs(p2))
    )
    return [
        (a, (abs(q1 * p2) + abs(q2 * p1)) / abs(determinant)),
        (b, (abs(alpha * q2) + abs(sigma * q1)) / abs(determinant)),
    ]


def squared() -> st.SearchStrategy[Any]:
    """A process and a time where 1/α² and 1/σ² do not overflow."""
    return timed().filter(lambda case: min(case[0].alpha(case[1]), case[0].sigma(case[1])) > 1e-150)


def possible(process: Process, t: float) -> list[tuple[str, str]]:
    """The changes at a time: none with rates at the knot of a table."""
    return [pair for pair in PAIRS if not (at_knot(process, t) and RATES & set(pair))]


# --- accuracy --------------------------------------------------------------------------------------------


def test_changes_are_right_to_four_units(record_property: Any) -> None:
    """A and B of every change on every process, in round-offs times the sums of absolute terms over |Δ|."""
    audit = Audit("changes of prediction, ulp of their terms", 4.0, record_property)

    @settings(max_examples=150)
    @given(squared())
    def verify(case: tuple[Process, float]) -> None:
        process, t = case
        level = process.level(t)
        with mpmath.workdps(DIGITS):
            for source, target in possible(process, t):
                true = solved(source, target, same(level, bool(RATES & {source, target})))
                for name, ours, (value, size) in zip("AB", change(source, target, level), true, strict=True):
                    error = abs(exact(ours) - value) / (size * ULP) if size else abs(exact(ours))
                    audit.note(error, f"{name} of {source} → {target} at t = {t!r} of {process}")

    verify()
    audit.close()


def test_changes_in_floats_are_those_of_fifty_digits(record_property: Any) -> None:
    """The same from the time alone, as accurate as α, σ, α′ and σ′ can be: relative to 1 + |t u′/u| of each."""
    audit = Audit("changes of prediction from t", 1e-14, record_property)

    def feel(process: Process, name: str, x: Any) -> Any:
        value = getattr(process, name)(x)
        return abs(x * slope(getattr(process, name), x) / value) if value else 0

    @settings(max_examples=60)
    @given(squared())
    def verify(case: tuple[Process, float]) -> None:
        process, t = case
        with mpmath.workdps(DIGITS):
            x = exact(t)
            true = process.level(x)
            felt = 1 + max(feel(process, name, x) for name in ("alpha", "sigma"))
            if not at_knot(process, t):
                felt += max(feel(process, name, x) for name in ("dalpha", "dsigma"))
            for source, target in possible(process, t):
                ours = change(source, target, process.level(t))
                for name, got, (value, size) in zip("AB", ours, solved(source, target, true), strict=True):
                    error = abs(exact(got) - value) / (size * felt) if size else abs(exact(got))
                    audit.note(error, f"{name} of {source} → {target} at t = {t!r} of {process}")

    verify()
    audit.close()


def test_round_trips_err_as_the_docstring_says(record_property: Any) -> None:
    """There and back in floats: units of |A_qp| |x| + |B_qp| (|A_pq| |x| + |B_pq| |p|), taken term by term."""
    audit = Audit("round trips, ulp", 8.0, record_property)

    @settings(max_examples=150)
    @given(squared(), signed(powers(1e-6, 1e6)), signed(powers(1e-6, 1e6)))
    def verify(case: tuple[Process, float], x: float, p: float) -> None:
        process, t = case
        level = process.level(t)
        for source, target in possible(process, t):
            a, b = change(source, target, level)
            back_a, back_b = change(target, source, level)
            error = abs(exact(back_a * x + back_b * (a * x + b * p)) - exact(p))
            with mpmath.workdps(DIGITS):
                numbers = same(level, bool(RATES & {source, target}))
                (_, size_a), (_, size_b) = solved(source, target, numbers)
                (_, size_back_a), (_, size_back_b) = solved(target, source, numbers)
                size = size_back_a * abs(x) + size_back_b * (size_a * abs(x) + size_b * abs(p))
                audit.note(error / (size * ULP), f"{source} → {target} → {source} at t = {t!r} of {process}")

    verify()
    audit.close()


@settings(max_examples=40)
@given(squared(), signed(powers(0.01, 2.0)), powers(0.05, 4.0), signed(powers(0.1, 3.0)))
def test_velocity_is_that_of_the_flow(case: tuple[Process, float], m: float, e: float, z: float) -> None:
    """Along the exact flow x = α m + √(α² e + σ²) z of Gaussian data every prediction tells every other, and dx/dt."""
    process, t = case
    if at_knot(process, t):
        return
    with mpmath.workdps(2 * DIGITS):
        time = exact(t)
        level = process.level(time)
        alpha, sigma, m, e, z = level.alpha, level.sigma, exact(m), exact(e), exact(z)

        def path(u: Any) -> Any:
            return process.alpha(u) * m + mpmath.sqrt(process.alpha(u) ** 2 * e + process.sigma(u) ** 2) * z

        x, root = path(time), mpmath.sqrt(alpha**2 * e + sigma**2)
        told = {"x0": m + alpha * e * z / root, "eps": sigma * z / root, "score": -z / root}
        told |= {"v": alpha * told["eps"] - sigma * told["x0"], "velocity": slope(path, time)}
        for source, target in PAIRS:
            a, b = change(source, target, level)
            size = abs(a * x) + abs(b * told[source])
            gap = abs(a * x + b * told[source] - told[target])
            assert gap <= mpmath.mpf(10) ** -DIGITS * size, (source, target, case)


# --- ends ------------------------------------------------------------------------------------------------

ENDS = [
    pytest.param(process, end, sign, id=f"{name}, t={end}")
    for name, process in EXAMPLES.items()
    for end, sign in zip(process.domain, (1, -1), strict=True)
    if np.isfinite(end) and process.level(end).singular
]
CLOSE = (60, 80)


@pytest.mark.parametrize(("process", "end", "sign"), ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_singular_ends_are_limits_or_errors(process: Process, end: float, sign: int, kind: str) -> None:
    """Where λ = ±∞ every change is its limit from inside, or where that is infinite an error that names the change."""
    level = process.level(KINDS[kind](end))
    assert level.singular
    for source, target in PAIRS:
        with mpmath.workdps(400):
            far, near = (change(source, target, process.level(end + sign * mpmath.mpf(10) ** -k)) for k in CLOSE)
        if max(abs(c) for c in near) > 1e8:  # grows as 10^10 or more between the two
            assert max(abs(c) for c in near) > 1e9 * max(abs(c) for c in far)
            with pytest.raises(de.ModelError, match=f"predicts '{source}' cannot tell '{target}' at t={end}") as caught:
                change(source, target, level)
            assert "\n" not in str(caught.value)
            continue
        for ours, limit in zip(change(source, target, level), near, strict=True):
            assert np.ravel(ours).astype(float) == pytest.approx(float(limit), rel=1e-13, abs=1e-25), (source, target)


def test_a_vanishing_velocity_tells_nothing() -> None:
    """VE reaches σ = 0 at t = −∞, where its velocity is 0 whatever the data."""
    level = de.VE().level(lam=np.inf)
    assert basis("velocity", level) == (0, 0)
    for target in set(NAMES) - {"velocity"}:
        with pytest.raises(de.ModelError, match=f"cannot tell '{target}' at t=-inf"):
            change("velocity", target, level)
    assert change("v", "x0", level) == change("eps", "x0", level) == (1, 0)


@settings(max_examples=60)
@given(squared(), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_levels_per_sample_are_those_of_each_bit_for_bit(case: tuple[Process, float], shares: list[float]) -> None:
    """A level of arrays changes each sample as the level of that sample does."""
    process, t = case
    low, high = span(process)
    times = np.array([t, *(t + 0.5 * share * (max(low, -4.0) + 0.5 * (high - low) - t) for share in shares)])
    level = process.level(times[:, None])
    for source, target in PAIRS:
        together = [np.broadcast_to(c, level.alpha.shape) for c in change(source, target, level)]
        for i, time in enumerate(times):
            alone = change(source, target, process.level(float(time)))
            assert (together[0][i, 0], together[1][i, 0]) == alone, (source, target, process, time)


def test_one_impossible_sample_is_named() -> None:
    """The error of a batch of levels names the one that cannot be."""
    level = de.Flow().level(np.array([[0.5], [1.0], [0.2]]))
    with pytest.raises(de.ModelError, match=r"cannot tell 'x0' at t=1\.0 \(α=0\.0, σ=1\.0\); use a model"):
        change("eps", "x0", level)
    assert change("v", "x0", level)[1].tolist() == [[-0.5 / 0.5], [-1.0], [-0.2 / (0.8**2 + 0.2**2)]]


@given(squared())
def test_a_prediction_tells_itself(case: tuple[Process, float]) -> None:
    """No change at all, also where no level is told its process."""
    process, t = case
    for name in NAMES:
        assert change(name, name, process.level(t)) == (0.0, 1.0)
    bare = replace(process.level(t), process=None)
    for source, target in PAIRS:
        if not RATES & {source, target}:
            assert change(source, target, bare) == change(source, target, process.level(t))


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("epsilon", "did you mean 'eps'?"),
        ("x_0", "did you mean 'x0'?"),
        ("velocty", "did you mean 'velocity'?"),
        ("Score", "did you mean 'score'?"),
        ("noise", "there are eps, x0, v, score, velocity"),
        (None, "there are eps"),
    ],
)
def test_a_wrong_name_gets_the_nearest(wrong: Any, hint: str) -> None:
    """Wherever a prediction is named: one line with the name, and the nearest or all."""
    level = de.VP().level(0.5)
    for act in (
        lambda: check(wrong, "here"),
        lambda: basis(wrong, level),
        lambda: change(wrong, "eps", level),
        lambda: change("eps", wrong, level),
        lambda: change(wrong, wrong, level),
        lambda: de.Denoiser(lambda x, t: x, de.VP(), prediction=wrong),
    ):
        with pytest.raises(de.ModelError) as caught:
            act()
        assert f"no prediction named {wrong!r}; {hint}" in str(caught.value)
        assert "\n" not in str(caught.value)
