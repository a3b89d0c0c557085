"""Momentum on every solver of the registry, and what warm-ups of pseudo-numerical methods are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.moments import amplification
from diffode.analysis.order.proof import prove_order
from diffode.analysis.stochastic import weak_order
from diffode.backends import execute, get_backend
from diffode.errors import SolverError
from diffode.solvers import Solver, get_solver, registry
from tests.strategies import grids, mixtures, processes

PROCESS = de.VP()
BASES = [s for s in registry().values() if s.name == s.rule.__name__ and s.name != "momentum"]
"""One configuration of every rule."""
NOISY = [s for s in BASES if not s.plan(de.grids.uniform_lambda(de.EDM(), 4)).is_deterministic]
KINDS = ("heavy_ball", "nesterov", "ghvb")

every = pytest.mark.parametrize("base", BASES, ids=lambda s: s.name)


def momentum(base: Solver | str, **options: object) -> Solver:
    return get_solver("momentum").configure(base=base, **options)


def finals(solvers: list[Solver], grid: de.TimeGrid, model: de.Model) -> tuple[list[np.ndarray], float]:
    """Where the solvers end with equal noise, and how far rounding may put them apart."""
    plans = [solver.plan(grid) for solver in solvers]
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 2))
    runs = [execute(get_backend("numpy"), plan, model, [x], 5, plan.states) for plan in plans]
    largest = max(float(np.max(np.abs(state))) for state in runs[0].registers.values())
    ends = [run[plan.states[-1]] for run, plan in zip(runs, plans, strict=True)]
    return ends, 1e-12 * amplification(plans[0]) * largest


# --- momentum on everything ---------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2)
@given(st.data())
def test_without_momentum_it_is_the_base(base: Solver, kind: str, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 7)))
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    (alone, moved), slack = finals([base, momentum(base, beta=1.0, kind=kind)], grid, model)
    assert np.max(np.abs(alone - moved)) <= slack


@every
@pytest.mark.parametrize("kind", KINDS)
def test_momentum_costs_no_evaluation_and_no_noise(base: Solver, kind: str) -> None:
    grid = de.grids.uniform_lambda(PROCESS, 7)
    moved, alone = (s.plan(grid) for s in (momentum(base, beta=0.5, kind=kind), base))
    assert (moved.nfe, len(moved.noises)) == (alone.nfe, len(alone.noises))
    assert moved.states != alone.states or moved.rows != alone.rows


@pytest.mark.parametrize("beta", [0.3, 0.8])
@pytest.mark.parametrize(
    ("base", "kind", "order"),
    [
        ("heun", "heavy_ball", 1), ("dpmpp_2s", "nesterov", 1), ("dpmpp_3m_corrected", "heavy_ball", 1),
        ("heun", "ghvb", 2), ("dpmpp_3m_corrected", "ghvb", 3), ("unipc_2", "ghvb", 3), ("dpmpp_3m", "ghvb", 2),
    ],
)  # fmt: skip
def test_order_with_momentum(base: str, kind: str, order: int, beta: float) -> None:
    solver = momentum(base, beta=beta, kind=kind)
    assert solver.true_order == order
    assert prove_order(solver, spacing="uniform", variable=solver.uniform or "lam").order == order


@pytest.mark.parametrize(("base", "order"), [("unipc_1", 2), ("unipc_2", 2), ("unipc_4", 2), ("ddim", 1), ("heun", 2)])
def test_a_predictor_with_momentum_costs_what_exceeds_second_order(base: str, order: int) -> None:
    solver = momentum(base, beta=1.0, predictor=0.5)
    assert solver.order == prove_order(solver, spacing="uniform", variable=solver.uniform).order == order


@pytest.mark.parametrize("values", [1, 2, 3, 4])
@settings(max_examples=5)
@given(st.data())
def test_ghvb_on_adams_is_ghvb(values: int, data: st.DataObject) -> None:
    """As it is written elsewhere, with weights of velocities: from the first step on, on any grid."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 8)))
    beta = data.draw(st.sampled_from([0.25, 0.5, 0.75]))
    base = get_solver("pndm").configure(order=values, warmup="ramp", variable="rho")
    pair = [get_solver(f"ghvb(order={values - 1 + beta})"), momentum(base, beta=beta, kind="ghvb")]
    (one, two), slack = finals(pair, grid, data.draw(mixtures(dimension=2)).denoiser(process))
    assert np.max(np.abs(one - two)) <= slack


def test_transforms_nest() -> None:
    """Twice the heavy ball on DDIM: two velocities, by hand."""
    grid = de.TimeGrid(de.EDM(), sigma=[4.0, 3.0, 1.5, 1.0, 0.4])
    model = de.Gaussian([0.3, -0.2], 0.7).denoiser(de.EDM())
    outer = momentum(momentum("euler", beta=0.5), beta=0.25)
    x = np.array([[1.0, -2.0], [3.0, 0.5]])
    wanted, inner, v = x, None, None
    for a, b in pairwise(grid):
        eps = model.predict(wanted, a, "eps")
        inner = eps if inner is None else 0.5 * inner + 0.5 * eps
        v = inner if v is None else 0.75 * v + 0.25 * inner
        wanted = wanted + (b.sigma - a.sigma) * v
    assert de.sample(model, outer, grid, x).x == pytest.approx(wanted, rel=1e-13)


def test_noise_is_left_alone() -> None:
    """Its weights are those of the base, and the law is right to first order still."""
    grid = de.grids.uniform_lambda(PROCESS, 6)
    gaussian = de.Gaussian(0.0, 0.0).denoiser(PROCESS)
    for base in (get_solver("dpmpp_2m_sde"), get_solver("ddim(eta=1.0)")):
        solver = momentum(base, beta=0.5)
        x, noise = np.zeros((1, 1)), [np.zeros((1, 1)) for _ in solver.plan(grid).noises]
        noise[-1] = np.ones((1, 1))
        ends = [float(de.sample(gaussian, s, grid, x, noise=noise).x[0, 0]) for s in (solver, base)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-12)
        assert weak_order(solver, de.EDM()).judge(1) == "PASS"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "adam"}, "kind is one of"), ({"steps": "some"}, "steps one of"),
        ({"base": "dpmpp_2mm"}, "did you mean"),
        ({"beta": 0.0}, "outside its range"), ({"beta": 1.5}, "outside its range"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(SolverError, match=said):
        get_solver("momentum").configure(**options).plan(de.grids.uniform_lambda(PROCESS, 3))


# --- pseudo-numerical methods --------------------------------------------------------------------------------


@settings(max_examples=5)
@given(st.data())
@pytest.mark.parametrize(("warmup", "steps", "one_step"), [("pie", 1, "pie"), ("prk", 3, "prk"), ("fon", 3, "rk4_t")])
def test_a_warm_up_is_the_one_step_method(warmup: str, steps: int, one_step: str, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.just(steps)))
    rule = get_solver("fon") if warmup == "fon" else get_solver("pndm").configure(warmup=warmup)
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    (one, two), slack = finals([get_solver(one_step), rule], grid, model)
    assert np.max(np.abs(one - two)) <= slack


def test_the_published_stages_of_fon_leave_first_order() -> None:
    model = de.GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.4, 0.5]).denoiser(PROCESS)
    x = np.linspace(-2, 2, 9)[:, None]

    def power(name: str) -> float:
        """Of the length of one step, in its error."""
        errors: list[float] = []
        for length in (0.02, 0.01):
            grids = [de.TimeGrid(PROCESS, t=np.linspace(0.5, 0.5 - length, n + 1).tolist()) for n in (1, 8)]
            one, many = (de.sample(model, s, g, x).x for s, g in zip((name, "rk4_t"), grids, strict=True))
            errors.append(float(np.max(np.abs(one - many))))
        return float(np.log2(errors[0] / errors[1]))

    assert power("fon") == pytest.approx(5, abs=0.3)
    assert power("fon_published") == pytest.approx(2, abs=0.3)


def test_weights_of_the_published_ipndm_v_add_up_to_another_number() -> None:
    """On steps of irregular ratio; one step of a constant output shows it."""
    constant = de.Denoiser(lambda x, t: np.ones_like(x), de.EDM(), "eps")
    x = np.zeros((1, 1))

    def mean(name: str, levels: list[float]) -> float:
        out = de.sample(constant, name, de.TimeGrid(de.EDM(), sigma=levels), x, trajectory=True)
        return float((out.trajectory[-1] - out.trajectory[-2])[0, 0]) / (levels[-1] - levels[-2])

    even, odd = [5.0, 4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 4.0, 3.0, 1.0]
    assert mean("ipndm_v_published", even) == pytest.approx(1, abs=1e-14)
    assert mean("ipndm_v_4", odd) == pytest.approx(1, abs=1e-14)
    assert abs(mean("ipndm_v_published", odd) - 1) > 0.1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("pndm", {"warmup": "slow"}, "no warmup 'slow'"), ("prk", {"variable": "time"}, "no variable named 'time'"),
        ("prk", {"tableau": "rk5"}, "no tableau named 'rk5'"), ("fon", {"stages": "last"}, "no stages 'last'"),
    ],
)  # fmt: skip
def test_unknown_names_are_refused(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(SolverError, match=said):
        get_solver(name).configure(**options).plan(de.grids.uniform_lambda(PROCESS, 3))
