"""Named noise: covariances against their integral, and what is drawn against the covariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.backends import execute, get_backend
from diffode.brownian import Clock, ClockLike, Increment, covariance, factors
from diffode.plan import Level, Linear, Plan
from diffode.process import Process
from diffode.solvers import Solver
from diffode.trace import Step
from tests.strategies import EXAMPLES, processes

DRAWS = 60_000


def clean(level: Level) -> Any:
    """A clock of one's own: time, turned round."""
    return -level.t


def ratio(level: Level) -> Any:
    """Another, which falls."""
    return level.sigma / (level.alpha + level.sigma)


CLOCKS: list[ClockLike] = ["snr", "rho2", "lam", "sigma", 0.5, -3.0, clean, ratio]
TAME = processes(tame=True).filter(lambda p: not isinstance(p, de.Affine) and len(p.kinks(-3.0, 3.0)) < 200)
"""Those whose levels are found fast: a clock of one's own asks for many of them."""
SMOOTH = {name: EXAMPLES[name] for name in ("vp", "vp_cosine", "ve", "edm", "flow", "subvp")}
BACKEND = get_backend("numpy")
ROUNDING = 2e-12
"""Of a covariance: a quadrature to 1e-13, and a clock's numerical derivative to 1e-12."""


@st.composite
def stretches(draw: Any, of: st.SearchStrategy[Process], pieces: int = 3) -> list[Increment]:
    """Increments over a process of any clock, moment and direction; their ends among five levels."""
    process = draw(of)
    lam = draw(st.floats(-2.0, 0.0)) + np.cumsum(draw(st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4)))
    assume(process.lam(process.t_far) < lam[0] and lam[-1] < process.lam(process.domain[0]))
    levels = [process.level(lam=float(u)) for u in lam]
    ends = st.lists(st.sampled_from(levels), min_size=2, max_size=2, unique_by=lambda level: level.lam)
    return [
        Increment(*draw(ends), Clock.of(draw(st.sampled_from(CLOCKS))), draw(st.integers(0, 3))) for _ in range(pieces)
    ]


def gram(pieces: list[Increment]) -> np.ndarray:
    return np.array([[covariance(p, q) for q in pieces] for p in pieces], dtype=float)


# --- the covariance ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(stretches(TAME, pieces=6))
def test_covariances_are_symmetric_positive_semidefinite_with_unit_variance(pieces: list[Increment]) -> None:
    matrix = gram(pieces)
    assert np.max(abs(matrix - matrix.T)) <= ROUNDING
    assert np.max(abs(np.diag(matrix) - 1)) <= ROUNDING
    assert np.linalg.eigvalsh(matrix)[0] >= -len(pieces) * ROUNDING


@settings(max_examples=20)
@given(stretches(st.sampled_from(list(SMOOTH.values())), pieces=2))
def test_the_covariance_is_the_integral_of_the_weights(pieces: list[Increment]) -> None:
    """∫ w_1 w_2 √(c_1′ c_2′) dλ over what both stretches share, in thirty digits from the definition."""
    low, high = _overlap(pieces)
    process = pieces[0].a.process

    def value(piece: Increment, lam: Any) -> Any:
        c = piece.clock
        return mpmath.exp(c.rate * lam) if c.rate is not None else c.function(process.level(lam=lam))  # type: ignore[misc]

    def density(piece: Increment, lam: Any) -> Any:
        start, end = (value(piece, mpmath.mpf(level.lam)) for level in (piece.a, piece.b))
        slope = mpmath.diff(lambda u: value(piece, u), lam)
        return ((value(piece, lam) - start) / (end - start)) ** piece.moment * mpmath.sqrt(abs(slope))

    with mpmath.workdps(30):
        true = mpmath.mpf(0)
        if low < high:
            spreads = [abs(mpmath.quad(lambda u, p=p: density(p, u) ** 2, [p.a.lam, p.b.lam])) for p in pieces]
            shared = mpmath.quad(lambda u: density(pieces[0], u) * density(pieces[1], u), [low, high])
            true = shared / mpmath.sqrt(spreads[0] * spreads[1])
        assert abs(covariance(*pieces) - true) <= ROUNDING


def _overlap(pieces: list[Increment]) -> tuple[float, float]:
    ends = [sorted((piece.a.lam, piece.b.lam)) for piece in pieces]
    return max(low for low, _ in ends), min(high for _, high in ends)


@settings(max_examples=60)
@given(stretches(TAME, pieces=2), st.floats(0.1, 0.9))
def test_adjacent_stretches_add_up(pieces: list[Increment], share: float) -> None:
    """W(a → c) = W(a → b) + W(b → c), seen from any other increment, before scaling to unit variance."""
    one, other = pieces
    middle = one.a.process.level(lam=one.a.lam + share * (one.b.lam - one.a.lam))
    whole, first, second = (
        Increment(a, b, one.clock) for a, b in ((one.a, one.b), (one.a, middle), (middle, one.b))
    )  # fmt: skip
    sizes = [np.sqrt(piece.variance) for piece in (whole, first, second)]
    seen = [size * covariance(piece, other) for size, piece in zip(sizes, (whole, first, second), strict=True)]
    assert abs(seen[0] - seen[1] - seen[2]) <= 2 * ROUNDING * sizes[0]
    assert abs(covariance(first, second)) == 0
    assert whole.variance == pytest.approx(first.variance + second.variance, rel=1e-12)


ENDS = st.lists(st.integers(-8, 8), min_size=2, max_size=2, unique=True)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(ENDS, ENDS), min_size=2, max_size=4), *[st.sampled_from(CLOCKS)] * 2, *[st.integers(0, 2)] * 2
)
def test_arrays_of_levels_are_their_entries(
    cases: list[tuple[list[int], list[int]]], clock: ClockLike, other: ClockLike, moment: int, more: int
) -> None:
    """Also where some entries of two stretches overlap, others are apart, and others lie the other way round."""

    def both(lam: np.ndarray) -> Any:
        (a, b), (p, q) = ([de.VP().level(lam=end if np.ndim(end) else float(end)) for end in piece] for piece in lam)
        return covariance(Increment(a, b, Clock.of(clock), moment), Increment(p, q, Clock.of(other), more))

    lam = 0.3 * np.array(cases)
    together = both(np.moveaxis(lam, 0, -1)) + np.zeros(len(cases))
    assert np.max(abs(together - [both(case) for case in lam])) <= ROUNDING


def test_clocks_reach_to_the_ends_of_their_process() -> None:
    """At the noisiest level, and across the knots of a table, where a clock of one's own has no derivative."""
    for process in (de.VP(), de.Flow(), de.CosineVP(), EXAMPLES["vp_table"], EXAMPLES["mean_reverting"]):
        whole = process.level(process.t_far), process.level(0.5 * process.t_far)
        pieces = [Increment(*whole, Clock.of(clock)) for clock in CLOCKS]
        matrix = gram(pieces)
        assert np.linalg.eigvalsh(matrix)[0] >= -len(pieces) * ROUNDING
        t = np.linspace(*(level.t for level in whole), 200_001)  # the same by the sum of many small cells
        lam = process.lam(t)
        runs = [pieces[k].clock.value(process.level(lam=lam)) for k in range(len(pieces))]
        cells = [np.sqrt(abs(np.diff(run))) for run in runs]
        sums = np.array([[np.sum(p * q) / np.sqrt(np.sum(p * p) * np.sum(q * q)) for q in cells] for p in cells])
        assert np.max(abs(matrix - sums)) <= 1e-5  # the sum errs by (Δt)², by Δt in the cell of a knot


# --- rows that share noise --------------------------------------------------------------------------------


def drawing(asked: Callable[[Step], list[Linear]]) -> Solver:
    """A rule that asks for noise and adds it up."""
    return de.solver(order=1, prediction="x0")(lambda step: sum(asked(step), step.model(step.x, step.now)))


def wanted(plan: Plan) -> np.ndarray:
    """The covariances of a plan's noise rows, as the rows tell them."""
    position = {row.out: k for k, row in enumerate(plan.noises)}
    matrix = np.eye(len(position))
    for row in plan.noises:
        for name, c in getattr(row, "covariances", ()):
            matrix[position[row.out], position[name]] = matrix[position[name], position[row.out]] = c
    return matrix


def lower(plan: Plan) -> np.ndarray:
    weights = factors(plan)
    matrix = np.zeros((len(weights), len(weights)))
    for k, row in enumerate(plan.noises):
        for j, w in weights[row.out].items():
            matrix[k, j] = w
    return matrix


GRID = de.TimeGrid(de.VP(), lam=[-2.0, -1.2, -0.3, 0.4, 1.5])


def test_a_stretch_has_one_noise() -> None:
    """The same stretch, clock and moment is the same register; each of them changed is another."""
    other: ClockLike = lambda level: level.lam  # noqa: E731
    same: ClockLike = lambda level: level.alpha  # noqa: E731  its name is that of the one before

    def asked(step: Step) -> list[Linear]:
        a, b = step.now, step.next
        found = [step.noise(a, b), step.noise(a, b, clock="snr"), step.noise(a, b, clock=2.0),
                 step.noise(step.level(lam=a.lam), b)]  # fmt: skip
        assert {tuple(w.terms) for w in found} == {tuple(found[0].terms)}
        others = [step.noise(a, b, moment=1), step.noise(a, b, clock="rho2"), step.noise(a, b, stream=1),
                  step.noise(a, step.level(lam=0.5 * (a.lam + b.lam))), step.noise(a, b, clock=other),
                  step.noise(a, b, clock=same), step.normal(), step.normal("other")]  # fmt: skip
        assert step.normal("other").terms == others[-1].terms
        assert len({tuple(w.terms) for w in (found[0], *others)}) == 9
        return [*found, *others]

    plan = drawing(asked).plan(GRID)
    matrix = wanted(plan)
    assert matrix.shape == (36, 36)
    assert np.all(matrix[:9, 9:] == 0)  # other steps
    independent = [k for k, row in enumerate(plan.noises) if getattr(row, "stream", 1)]
    assert np.all(matrix[independent] == np.eye(36)[independent])
    assert np.all(matrix[0, [1, 2, 4, 5, 6]] > 0.3)


@settings(max_examples=40)
@given(st.data())
def test_rows_carry_all_their_covariances_and_factors_reproduce_them(data: st.DataObject) -> None:
    """Stretches of any length asked for at any step, overlapping, nested, disjoint inside a third, and repeated."""
    clocks = st.sampled_from(CLOCKS[: data.draw(st.sampled_from([1, 8]))])
    ends = st.integers(0, 4), st.integers(0, 4)
    piece = st.tuples(*ends, clocks, st.integers(0, 2), st.integers(0, 1))
    asked = [data.draw(st.lists(piece.filter(lambda p: p[0] != p[1]), min_size=1, max_size=4)) for _ in range(4)]

    def rule(step: Step) -> list[Linear]:
        return [step.noise(step.grid[i], step.grid[j], c, m, stream=k) for i, j, c, m, k in asked[step.index]]

    plan = drawing(rule).plan(GRID)
    rows = list(plan.noises)
    clock = {Clock.of(c).name: Clock.of(c) for c in CLOCKS}
    pieces = [Increment(row.a, row.b, clock[row.clock], row.moment) for row in rows]
    apart = np.array([[p.stream != q.stream for q in rows] for p in rows])
    matrix = wanted(plan)
    assert np.max(abs(matrix - np.where(apart, 0.0, gram(pieces)))) <= ROUNDING
    root = lower(plan)
    # a row with less than 1e-14 of its own counts as a combination of others, which drops up to √1e-14 of a covariance
    assert np.max(abs(root @ root.T - matrix)) <= (1e-11 if np.all(np.diag(root)) else 1e-7)
    assert np.max(abs(np.sum(root**2, axis=1) - 1)) <= 1e-11


def nested(step: Step) -> list[Linear]:
    """Two halves, the whole that they make up, and a moment of it: three normals for four rows."""
    middle = step.level(lam=0.5 * (step.now.lam + step.next.lam))
    halves = step.noise(step.now, middle), step.noise(middle, step.next)
    return [*halves, step.noise(step.now, step.next), step.noise(step.now, step.next, moment=1)]


def test_a_whole_is_its_halves() -> None:
    plan = drawing(nested).plan(GRID)
    root = lower(plan)[:4, :4]
    assert root[2, 2] == 0
    assert np.max(abs(root)) <= 1
    noise = [row.out for row in plan.noises[:3]]
    drawn = execute(BACKEND, plan, de.Gaussian(0.0, 1.0).denoiser(de.VP()), [np.ones((9, 1))], 5, noise)
    snr = np.exp(2 * np.array([GRID.lam[0], GRID.lam[0] + 0.4, GRID.lam[1]]))
    first, second, whole = (drawn[name] for name in noise)
    parts = np.sqrt(snr[1] - snr[0]) * first + np.sqrt(snr[2] - snr[1]) * second
    assert np.max(abs(np.sqrt(snr[2] - snr[0]) * whole - parts)) <= 1e-14


def test_factors_over_arrays_and_in_many_digits() -> None:
    rows = np.linspace([-2.0, -1.0], [0.5, 2.5], 5)[:, :, None]
    plan = drawing(nested).plan(de.TimeGrid(de.VP(), lam=rows))
    alone = [factors(drawing(nested).plan(de.TimeGrid(de.VP(), lam=rows[:, k, 0]))) for k in (0, 1)]
    for name, mix in factors(plan).items():
        for j, w in mix.items():
            entries = np.broadcast_to(w, (2, 1))[:, 0]
            assert np.max(abs(entries - [one[name].get(j, 0.0) for one in alone])) <= 1e-13
    with mpmath.workdps(40):
        exact = drawing(nested).plan(de.TimeGrid(de.VP(), lam=[mpmath.mpf(u) / 5 for u in (-10, -6, -1)]))
        mixes = factors(exact)
        for row in exact.noises:
            for name, c in row.covariances:
                shared = sum(w * mixes[name].get(j, 0) for j, w in mixes[row.out].items())
                assert abs(shared - c) <= mpmath.mpf(10) ** -19  # half the digits: √ of what counts as nothing
            assert abs(sum(w * w for w in mixes[row.out].values()) - 1) <= mpmath.mpf(10) ** -37


# --- what is drawn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_drawn_noise_has_these_covariances(backend: str) -> None:
    """Four standard errors √((1 + c²)/n) of 60,000 draws, at a fixed seed."""

    def rule(step: Step) -> list[Linear]:
        far = step.grid[min(step.index + 2, 4)]
        return [*nested(step), step.noise(step.now, far, clock="rho2"), step.noise(step.next, step.now, clean, 1),
                step.noise(step.now, step.next, stream=1), step.normal()]  # fmt: skip

    pytest.importorskip(backend)
    arrays = get_backend(backend)
    plan = drawing(rule).plan(GRID)
    model = de.Denoiser(lambda x, t: 0 * x, de.VP(), prediction="x0")
    start = arrays.array(np.zeros((DRAWS, 1)))
    run = execute(arrays, plan, model, [start], 11, [row.out for row in plan.noises])
    drawn = np.stack([np.asarray(run[row.out])[:, 0] for row in plan.noises])
    matrix = wanted(plan)
    error = np.sqrt((1 + matrix**2) / DRAWS)
    off = abs(drawn @ drawn.T / DRAWS - matrix) / error
    assert off.max() < 4.5  # the largest of 32²/2 of them: one seed in three hundred misses
    assert np.max(abs(drawn.mean(axis=1))) * np.sqrt(DRAWS) < 4


def test_noise_without_a_finite_variance_is_refused() -> None:
    """Up to σ = 0 in a clock that is infinite there; in one that is not, it is drawn."""
    grid = de.TimeGrid(de.Flow(), t=[0.8, 0.4, 0.0])

    def to(clock: str) -> Plan:
        def rule(step: Step) -> list[Linear]:
            assert step.singular == (step.index == 1)
            return [step.noise(step.now, step.next, clock)]

        return drawing(rule).plan(grid)

    with pytest.raises(de.SolverError, match=r"at step 1 \(t=0.4 → 0.0\) has the variance inf in the clock 'snr'"):
        to("snr")
    assert len(to("sigma").noises) == len(to("rho2").noises) == 2
