"""Few-step maps: exact laws with exact maps, the trivial map, the boundary of consistency functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.models.maps import ConsistencyMap, FlowMap, GaussianMap, moved
from diffode.runners.maps import consistency, ctm
from tests.strategies import mixtures, powers, processes
from tests.test_acceleration import close, inside, states

CHEAP = settings(max_examples=40, deadline=None)
PROCESSES = processes(tame=True).filter(lambda process: not process.anchored)


def ends(process: de.Process) -> bool:
    """Whether the process has a level without noise."""
    try:
        return process.level(lam=float("inf")).sigma == 0
    except de.ProcessError:
        return False


ENDING = PROCESSES.filter(ends)
GAUSSIANS = st.one_of(*(mixtures(d, "gaussian") for d in (1, 2, 3)))
GAMMAS = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0))


def covariance(data: de.GaussianMixture, level: de.Level) -> np.ndarray:
    q = np.eye(data.dimension) if data.bases is None else data.bases[0]
    return level.alpha**2 * (q * data.eigenvalues[0]) @ q.T + level.sigma**2 * np.eye(data.dimension)


def affine(model: de.Model, solver: de.Solver, grid: de.TimeGrid, d: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The matrices with which the start and every noise enter, and what is added: a run of an affine map of them."""
    count = len(solver.plan(grid).noises)
    inputs = np.zeros((count + 1, d * (count + 1) + 1, d))
    for k in range(count + 1):
        inputs[k, 1 + k * d : 1 + (k + 1) * d] = np.eye(d)
    out = de.sample(model, solver, grid, inputs[0], noise=list(inputs[1:]) or None).x
    shift, rest = out[0], out[1:] - out[0]
    return [rest[k * d : (k + 1) * d].T for k in range(count + 1)], shift


@CHEAP
@given(ENDING, GAUSSIANS, st.integers(1, 5), st.one_of(GAMMAS, st.just("consistency")))
def test_exact_maps_give_the_exact_law_in_any_number_of_steps(
    process: de.Process, data: de.GaussianMixture, steps: int, gamma: Any
) -> None:
    """Mean and covariance at the end, read off the affine map that the run is."""
    grid, d = inside(process, steps), data.dimension
    solver = consistency if gamma == "consistency" else ctm.configure(gamma=gamma)
    (first, *others), shift = affine(GaussianMap(data, process), solver, grid, d)
    start, right = covariance(data, grid[0]), covariance(data, grid[-1])
    law = first @ start @ first.T + sum((b @ b.T for b in others), np.zeros((d, d)))
    assert np.abs(law - right).max() < 1e-9 * np.abs(right).max()
    mean = first @ (grid[0].alpha * data.means[0]) + shift
    assert np.abs(mean - grid[-1].alpha * data.means[0]).max() < 1e-9 * (1 + np.abs(data.means).max())


def test_the_trivial_map_does_not_give_the_exact_law() -> None:
    process, data = de.VP(), de.Gaussian(0.3, 0.25)
    grid = inside(process, 4)
    (first, *others), _ = affine(data.denoiser(process), ctm.configure(gamma=0.5), grid, 1)
    law = first @ covariance(data, grid[0]) @ first.T + sum(b @ b.T for b in others)
    assert abs(law / covariance(data, grid[-1]) - 1).max() > 0.05


@CHEAP
@given(PROCESSES, GAUSSIANS)
def test_exact_maps_are_a_flow(process: de.Process, data: de.GaussianMixture) -> None:
    """One jump or two lead to the same state, and there and back leads nowhere."""
    exact, grid, x = GaussianMap(data, process), inside(process, 2), states(4, data.dimension)
    there = exact.move(x, grid[0], grid[2])
    assert close(exact.move(exact.move(x, grid[0], grid[1]), grid[1], grid[2]), there, 1e-10)
    assert close(exact.move(there, grid[2], grid[0]), x, 1e-8)
    assert close(de.sample(exact, ctm, grid, x).x, there, 1e-10)


@settings(max_examples=8, deadline=None)
@given(PROCESSES, GAUSSIANS)
def test_exact_maps_go_the_way_of_the_ode(process: de.Process, data: de.GaussianMixture) -> None:
    exact, grid, x = GaussianMap(data, process), inside(process, 1), states(2, data.dimension)
    right = de.reference(data.denoiser(process), x, grid, 1e-8)
    assert close(right.x, exact.move(x, grid[0], grid[1]), 1e-6)


@CHEAP
@given(PROCESSES, mixtures(2), st.integers(1, 6))
def test_a_denoiser_is_the_trivial_map(process: de.Process, data: de.GaussianMixture, steps: int) -> None:
    """γ = 0 is DDIM; a map may be asked for as a callable."""
    model, grid, x = data.denoiser(process), inside(process, steps), states(4, 2)
    right = de.sample(model, "ddim", grid, x)
    assert close(de.sample(model, ctm, grid, x).x, right.x, 1e-10)
    fn = FlowMap(lambda x, s, t: moved(model, x, s, t), process)
    out = de.sample(fn, ctm, grid, x)
    assert close(out.x, right.x, 1e-9)
    assert out.nfe == out.passes == steps


@CHEAP
@given(PROCESSES, mixtures(2), st.floats(0.0, 1.0))
def test_gamma_is_a_share_of_the_noise_of_ddim(process: de.Process, data: de.GaussianMixture, eta: float) -> None:
    """γ = η √(1 − e^{−2h}) with the trivial map is DDIM(η)."""
    model, grid, x, z = data.denoiser(process), inside(process, 4), states(4, 2), states(4, 2, seed=1)
    pair = de.TimeGrid(process, levels=grid.levels[:3])  # a step that is not the last, and the last
    first = de.TimeGrid(process, levels=grid.levels[:2])
    h = float(pair.lam[1] - pair.lam[0])
    gamma = eta * float(np.sqrt(-np.expm1(-2 * h)))
    middle = de.sample(model, ctm.configure(gamma=gamma), pair, x, noise=[z] if gamma else None).trajectory[1]
    right = de.sample(model, de.get_solver("ddim").configure(eta=eta), first, x, noise=[z] if eta else None).x
    assert close(middle, right, 1e-8)


@CHEAP
@given(ENDING, GAUSSIANS, st.integers(1, 4))
def test_consistency_sampling_to_the_data_is_gamma_1(process: de.Process, data: de.GaussianMixture, steps: int) -> None:
    inner = inside(process, steps)
    grid = de.TimeGrid(process, levels=[*inner.levels[:-1], process.level(lam=float("inf"))])
    exact, x = GaussianMap(data, process), states(4, data.dimension)
    one, two = (
        de.sample(exact, s, grid, x, noise=0 if steps > 1 else None) for s in (consistency, ctm.configure(gamma=1.0))
    )
    assert close(one.x, two.x, 1e-9)


def test_any_map_of_a_mixture_gives_its_law() -> None:
    """The flow of a mixture by de.reference as the map: the law at the end, which the trivial map misses."""
    process = de.VP()
    problem = de.problems.get_problem("mixture_1d", process)
    grid = de.TimeGrid(process, t=[1.0, 0.6, 0.3, 0.01])
    exact = FlowMap(
        lambda x, s, t: de.reference(problem.model, x, de.TimeGrid(process, levels=[s, t]), 1e-4).x, process
    )
    count = 4000
    x, end = problem.initial(count, seed=0, t=1.0), grid[-1]
    true = problem.initial(100_000, seed=1, t=end.t)[:, 0]

    def distance(model: de.Model, gamma: float) -> float:
        found = np.sort(de.sample(model, ctm.configure(gamma=gamma), grid, x, noise=0).x[:, 0])
        share = np.searchsorted(np.sort(true), found) / len(true)
        return float(np.abs(share - (np.arange(count) + 0.5) / count).max())

    for gamma in (0.3, 1.0):
        assert distance(exact, gamma) < 0.03 < 0.1 < distance(problem.model, gamma)


# --- consistency functions --------------------------------------------------------------------------------


@CHEAP
@given(PROCESSES, mixtures(2), powers(0.1, 3.0))
def test_a_consistency_function_stays_where_it_ends(process: de.Process, data: de.GaussianMixture, s: float) -> None:
    """f is the identity at the last level; the nearer, the more so."""
    grid, x = inside(process, 3), states(4, 2)
    f = ConsistencyMap(data.denoiser(process), grid[-1], s)
    gaps = []
    for near in (1e-3, 1e-5):
        level = process.level(lam=float(grid[-1].lam) - near)
        gaps.append(np.abs(moved(f, x, level, f.end) - x).max())
    assert gaps[1] < 1e-3 * (1 + np.abs(x).max() + gaps[0])
    assert gaps[1] < 0.05 * gaps[0] + 1e-9


@CHEAP
@given(PROCESSES, mixtures(2), powers(0.1, 3.0))
def test_a_consistency_function_is_the_published_parametrisation(
    process: de.Process, data: de.GaussianMixture, s: float
) -> None:
    """f = c_skip y + c_out F with the F of EDM inside D; at ρ_e = 0 it is D."""
    grid, x, model = inside(process, 3), states(4, 2), data.denoiser(process)
    level, end = grid[1], grid[-1]
    y, rho, near = x / level.alpha, level.rho, end.rho
    d = model.predict(x, level, "x0")
    network = (d - s**2 / (rho**2 + s**2) * y) * np.sqrt(rho**2 + s**2) / (s * rho)
    f = s**2 / ((rho - near) ** 2 + s**2) * y + s * (rho - near) / np.sqrt(rho**2 + s**2) * network
    assert close(moved(ConsistencyMap(model, end, s), x, level, end), end.alpha * f, 1e-8)
    if ends(process):
        clean = process.level(lam=float("inf"))
        assert close(ConsistencyMap(model, clean, s).predict(x, level, "x0"), d, 1e-10)


def test_a_consistency_function_is_finite_at_pure_noise() -> None:
    process = de.Flow()
    f = ConsistencyMap(de.Gaussian([0.2, 0.4], 0.5).denoiser(process), process.level(0.01))
    grid = de.TimeGrid(process, t=[1.0, 0.5, 0.01])
    out = de.sample(f, consistency, grid, states(3, 2), noise=0)
    assert out.nfe == out.passes == 2
    assert np.isfinite(out.x).all()


def test_torch_runs_the_same_maps() -> None:
    torch = pytest.importorskip("torch")
    process = de.VP()
    grid, x = inside(process, 3), states(4, 2)
    data = de.Gaussian([0.2, -0.4], [[0.5, 0.2], [0.2, 0.4]])
    for model in (GaussianMap(data, process), ConsistencyMap(data.denoiser(process), grid[-1])):
        one = de.sample(model, consistency, grid, x, noise=0)
        two = de.sample(model, consistency, grid, torch.as_tensor(x), noise=0, backend="torch")
        assert close(two.x.numpy(), one.x)


# --- misuse -----------------------------------------------------------------------------------------------

PROCESS = de.VP()
MODEL = de.Gaussian(0.0, 1.0).denoiser(PROCESS)
EARLY, LATE, ONE = PROCESS.level(0.9), PROCESS.level(0.1), np.ones((1, 1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FlowMap(3, PROCESS), "fn must be callable"),  # pyright: ignore[reportArgumentType]
        (lambda: FlowMap(lambda x, s, t: x, de.MeanReverting.from_schedule("cosine")), "has an anchor"),
        (lambda: GaussianMap(de.GaussianMixture([1, 1], [0.0, 1.0], [1.0, 1.0]), PROCESS), "2 components"),
        (lambda: ConsistencyMap(MODEL, PROCESS.level(0.1), 0.0), "deviation must be a positive number"),
        (lambda: moved(ConsistencyMap(MODEL, LATE), ONE, EARLY, PROCESS.level(0.5)), "goes to t=0.1 only"),
        (lambda: GaussianMap(de.Gaussian(0.0, 1.0), PROCESS).move(ONE, LATE, LATE), "to the same level"),
        (lambda: ctm.configure(gamma=1.5), "outside its range"),
        (lambda: ConsistencyMap(MODEL, 0.1), "end must be a level"),  # pyright: ignore[reportArgumentType]
        (lambda: FlowMap(lambda x, s, t: x[:, :0], PROCESS).move(ONE, EARLY, LATE), r"shape \(1, 0\) at t=0.9"),
        (lambda: FlowMap(lambda x, s, t: None, PROCESS).move(ONE, EARLY, LATE), "returned a NoneType"),
    ],
)  # fmt: skip
def test_misuse_is_told(make: Any, words: str) -> None:
    with pytest.raises(de.DiffodeError, match=words):
        make()
