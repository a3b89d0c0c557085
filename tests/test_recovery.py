"""Recovering a method from a black box: what comes back is the plan that ran, and what is not linear is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.moments import amplification
from diffode.analysis.recovery import Recovered, Table, order_from_outside
from diffode.backends import execute, get_backend
from diffode.solvers import Solver, registry
from tests.strategies import AFFINE, grids, processes

pytestmark = pytest.mark.filterwarnings("ignore::diffode.errors.UnusedNoise")  # one call for all solvers

SOLVERS = list(registry().values())
SIGMAS = [*(np.geomspace(80, 0.02, 8)).tolist(), 0.0]

BIASED = [s for s in SOLVERS if not s.plan(de.grids.uniform_lambda(de.EDM(), 2)).is_homogeneous]
every = pytest.mark.parametrize("solver", [s for s in SOLVERS if s not in BIASED], ids=lambda s: s.name)


def test_a_sampler_may_work_in_place() -> None:
    def euler(model: Any, x: Any, fresh: bool = False) -> Any:
        for a, b in ((80.0, 2.0), (2.0, 0.0)):
            step = (b - a) * model(x, a)
            if fresh:
                x = x + step
            else:
                x += step
        return x

    for backend in ("numpy", "torch"):
        if backend == "torch":
            pytest.importorskip("torch")
        there = de.recover(euler, backend=backend)
        anew = de.recover(lambda model, x: euler(model, x, fresh=True), backend=backend)
        assert np.array_equal(there.table.rows, anew.table.rows)
        assert there.matches(["ddim"])[0].exact


# --- the registry ---------------------------------------------------------------------------------------


@every
@settings(max_examples=15)
@given(st.data())
def test_what_is_recovered_is_the_plan_that_ran(solver: Solver, data: st.DataObject) -> None:
    """Every input of the model and the final state, in any prediction, on any process and grid, noise included."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    prediction = data.draw(st.sampled_from(["eps", "x0", "v"]))
    plan = solver.plan(grid)
    expected = Table.of(plan, prediction).rows
    size, grows = np.abs(expected).max(), amplification(plan)

    def sampler(model: Any, x: np.ndarray) -> np.ndarray:
        return execute(get_backend("numpy"), plan, model, [x], 0)[plan.states[-1]]

    found = de.recover(sampler, grid=grid, prediction=prediction, tolerance=1e-9 + 1e-15 * grows)
    assert found.table.rows.shape == expected.shape
    assert np.max(np.abs(found.table.rows - expected)) <= 1e-15 * grows * size
    again = Table.of(found, prediction).rows  # the short rows of the plan are the table
    assert np.max(np.abs(again[:, : 1 + plan.nfe] - expected[:, : 1 + plan.nfe])) <= 1e-12 * grows * size
    assert (found.nfe, found.is_deterministic) == (plan.nfe, plan.is_deterministic)


@pytest.mark.parametrize("solver", BIASED[:1], ids=lambda s: s.name)
def test_a_constant_is_no_row_of_a_table(solver: Solver) -> None:
    grid = de.grids.uniform_lambda(de.VP(), 5)
    with pytest.raises(de.SolverError, match="the sampler adds a constant"):
        de.recover(lambda model, x: de.sample(model, solver, grid, x).x, grid=grid)
    with pytest.raises(de.PlanError, match="without constants, but row k0"):
        Table.of(solver.plan(grid), "eps")


@every
def test_the_law_of_the_recovered_plan_is_the_law_of_the_plan(solver: Solver) -> None:
    process, data = de.VP(), de.Gaussian(0.4, 0.3)
    grid = de.grids.uniform_lambda(process, 5)
    plan = solver.plan(grid)
    found = de.recover(lambda model, x: de.sample(model, solver, grid, x, noise=0).x, grid=grid)
    one, two = de.law(plan, data), de.law(found, data)
    assert abs(one.mean - two.mean)[0] <= 1e-12 * amplification(plan)
    assert abs(one.variance - two.variance)[0] <= 1e-12 * amplification(plan)


@every
def test_a_solver_is_found_by_its_coefficients(solver: Solver) -> None:
    """Among those that fit exactly; the grid is not told, only where it ends, unless starts of its steps are hidden."""
    grid = de.grids.uniform_t(de.VP(), 6)
    # churn moves the start of every step; a rule that is told where a step ends never tells where the first begins
    hidden = solver.family == "churn" or grid[0] not in Table.of(solver.plan(grid), "eps").levels
    found = de.recover(
        lambda model, x: de.sample(model, solver, grid, x, noise=0).x, de.VP(), final=grid[-1], name="unknown"
    )
    best = found.matches([solver, "ddim"], grid if hidden else None)[0]
    assert best.exact
    assert best.gap <= 1e-12


# --- samplers written by hand ---------------------------------------------------------------------------


def k_euler_ancestral(model: Any, x: Any, sigmas: list[float] = SIGMAS) -> Any:
    """sample_euler_ancestral of k-diffusion, the model being told σ and giving the data."""
    import torch

    for a, b in pairwise(sigmas):
        up = min(b, (b**2 * (a**2 - b**2) / a**2) ** 0.5)
        down = (b**2 - up**2) ** 0.5
        x = x + (x - model(x, x.new_tensor([a]))) / a * (down - a)
        if b > 0:
            x = x + torch.randn_like(x) * up
    return x


def k_dpmpp_2m(model: Any, x: np.ndarray) -> np.ndarray:
    """sample_dpmpp_2m of k-diffusion."""
    old = None
    for i, (a, b) in enumerate(pairwise(SIGMAS)):
        d = model(x, np.full(len(x), a))
        h = np.log(a / b) if b else np.inf
        if old is None or b == 0:
            x = b / a * x - np.expm1(-h) * d
        else:
            r = np.log(SIGMAS[i - 1] / a) / h
            x = b / a * x - np.expm1(-h) * ((1 + 1 / (2 * r)) * d - old / (2 * r))
        old = d
    return x


def test_a_deterministic_sampler_is_recognised() -> None:
    found = de.recover(k_dpmpp_2m, de.EDM(), prediction="x0")
    best = found.matches()[0]
    assert best.exact
    assert best.solver in ("dpm_multistep", "dpmpp_2m")
    assert best.gap < 1e-13
    assert [level.sigma for level in found.levels] == SIGMAS


def test_a_stochastic_sampler_with_noise_of_its_own_is_recognised() -> None:
    pytest.importorskip("torch")
    found = de.recover(k_euler_ancestral, de.EDM(), prediction="x0", backend="torch")
    assert not found.is_deterministic
    assert len(found.noises) == len(SIGMAS) - 2
    best = found.matches()[0]
    assert best.exact
    assert best.solver in ("ddpm", "euler_ancestral")


def test_noise_that_is_an_argument() -> None:
    def sampler(model: Any, x: np.ndarray, noise: Any) -> np.ndarray:
        for a, b in pairwise(SIGMAS[:-1]):
            x = x + (b - a) * (1 + (b / a)) * model(x, a) + b * np.sqrt(1 - (b / a) ** 2) * noise(a, b)
        return x

    found = de.recover(sampler, de.EDM(), final=SIGMAS[-2])
    assert len(found.noises) == 7
    assert found.matches()[0].solver == "ddpm"
    assert found.matches()[0].exact


def test_a_seed_that_is_used_twice_gives_one_noise_twice() -> None:
    def sampler(model: Any, x: np.ndarray) -> np.ndarray:
        for a, b in pairwise(SIGMAS):
            x = x + (b - a) * model(x, a) + np.random.default_rng(7).standard_normal(x.shape)
        return x

    assert len(de.recover(sampler, de.EDM()).noises) == 1


def test_a_brownian_tree_is_one_normal_for_each_step() -> None:
    """Noise made of many draws, some of them shared, has the law of as many normals as there are steps."""

    def sampler(model: Any, x: np.ndarray, tree: bool = True) -> np.ndarray:
        generator = np.random.default_rng(0)
        for a, b in pairwise(SIGMAS[:-1]):
            parts = [generator.standard_normal(x.shape) for _ in range(4 if tree else 1)]
            scale = b * np.sqrt(1 - (b / a) ** 2) / np.sqrt(len(parts))
            x = x + (b - a) * (1 + b / a) * model(x, a) + scale * sum(parts)
        return x

    tree, plain = (
        de.recover(lambda model, x, kind=kind: sampler(model, x, kind), de.EDM(), final=SIGMAS[-2])
        for kind in (True, False)
    )
    assert len(tree.noises) == len(plain.noises) == len(tree) - 2 * tree.nfe
    assert np.max(np.abs(tree.table.rows - plain.table.rows)) < 1e-13
    assert tree.matches(["ddpm"])[0].exact


def test_a_start_that_differs_does_not_hide_the_rest() -> None:
    def sampler(model: Any, x: np.ndarray) -> np.ndarray:
        past: list[np.ndarray] = []
        for i, (a, b) in enumerate(pairwise(SIGMAS)):
            past.append(model(x, a))
            slope = past[-1] if i != 2 else 1.25 * past[-1]
            x = x + (b - a) * slope
        return x

    best = de.recover(sampler, de.EDM()).matches()[0]
    assert best.solver == "ddim"
    assert best.differs == (3,)
    assert str(best).endswith("but for what evaluation 3 sees (by up to 0.2)")


def test_a_scaled_input_is_part_of_the_table() -> None:
    """A sampler in x/α with a network that wants x: what the network sees is the process's state."""

    def sampler(model: Any, x: np.ndarray) -> np.ndarray:
        for a, b in pairwise(SIGMAS):
            x = x + (b - a) * model(x / np.sqrt(1 + a * a), a)
        return x

    process = de.VP(0.1, 60.0)
    found = de.recover(sampler, process, level="rho")
    assert abs(found.scale * np.hypot(1, 80) - 1) < 1e-15
    assert found.matches()[0].solver == "ddim"
    assert found.matches()[0].exact
    grid = de.TimeGrid(process, levels=found.levels)
    gaussian = de.Gaussian(0.3, 0.5)
    wanted = de.law(de.compile("ddim", process, grid), gaussian)
    assert abs(de.law(found, gaussian).variance - wanted.variance)[0] < 1e-13


def test_an_example_of_the_state_too_small_for_one_run_takes_several() -> None:
    shapes: list[tuple[int, ...]] = []

    def sampler(model: Any, x: np.ndarray) -> np.ndarray:
        shapes.append(x.shape)
        return k_dpmpp_2m(model, x)

    found = de.recover(sampler, de.EDM(), prediction="x0", like=np.zeros((1, 2)))
    wide = de.recover(k_dpmpp_2m, de.EDM(), prediction="x0")
    assert set(shapes) == {(1, 2)}
    assert np.array_equal(found.table.rows, wide.table.rows)


DRAWS = {
    "randn": lambda torch, x: torch.randn(x.shape, dtype=x.dtype),
    "randn of a generator": lambda torch, x: torch.randn(
        x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype
    ),
    "randn_like": lambda torch, x: torch.randn_like(x),
    "normal": lambda torch, x: torch.normal(torch.zeros_like(x), 1.0),
    "normal of a size": lambda torch, x: torch.normal(0.0, 1.0, x.shape, dtype=x.dtype),
    "normal_": lambda torch, x: torch.empty_like(x).normal_(),
    "numpy randn": lambda torch, x: x.new_tensor(np.random.randn(*x.shape)),  # noqa: NPY002
    "numpy normal": lambda torch, x: x.new_tensor(np.random.normal(0.0, 1.0, x.shape)),  # noqa: NPY002
    "numpy standard_normal": lambda torch, x: x.new_tensor(np.random.standard_normal(x.shape)),  # noqa: NPY002
    "numpy generator": lambda torch, x: x.new_tensor(np.random.default_rng(1).normal(size=x.shape)),
}


@pytest.mark.parametrize("way", DRAWS)
def test_every_way_to_draw_is_seen(way: str) -> None:
    torch = pytest.importorskip("torch")

    def sampler(model: Any, x: Any) -> Any:
        return x - 2.0 * model(x, 2.0) + 0.25 * DRAWS[way](torch, x)

    rows = de.recover(sampler, de.EDM(), final=1.0, backend="torch").table.rows
    assert np.array_equal(rows, [[1.0, 0.0, 0.0], [1.0, -2.0, 0.25]])


def test_generators_are_as_before() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    wanted = [torch.randn(1).item(), np.random.randn()]  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    de.recover(k_euler_ancestral, de.EDM(), prediction="x0", backend="torch")
    assert [torch.randn(1).item(), np.random.randn()] == wanted  # noqa: NPY002


# --- what is refused ------------------------------------------------------------------------------------


def euler(change: Any) -> Any:
    """Euler's method with a change of its output."""

    def sampler(model: Any, x: np.ndarray) -> Any:
        for a, b in pairwise(SIGMAS):
            x = x + (b - a) * change(model(x, a), a)
        return x

    return sampler


def adaptive(model: Any, x: np.ndarray) -> np.ndarray:
    t = 80.0
    while t > 0.02:
        d = model(x, t)
        s = t / (2.0 + min(float(np.abs(d).max()), 3.0))
        x, t = x + (s - t) * d, s
    return x


def placed(model: Any, x: np.ndarray) -> np.ndarray:
    d = model(x, 80.0)
    middle = 40.0 if np.abs(d).max() < 0.5 else 30.0
    return x - 80.0 * model(x - middle * d, middle)


unseen = np.random.default_rng(0)  # made outside, so that its draws are out of reach

REFUSED: dict[str, tuple[Any, str]] = {
    "clipping": (euler(lambda d, t: np.clip(d, -1.5, 1.5)), "not linear in the model's output: with random outputs"),
    "a floor": (euler(lambda d, t: np.where(np.abs(d) < 1e-2, 0.0, d)), "with random outputs of size 0.001"),
    "normalised": (euler(lambda d, t: d / (1 + np.linalg.norm(d))), "not linear in the model's output"),
    "divided": (euler(lambda d, t: d / np.abs(d)), "is nan: not linear"),
    "mixed": (euler(lambda d, t: d - d.mean()), "coordinates that are mixed"),
    "adaptive": (adaptive, "it chooses its steps by what it sees"),
    "placed": (placed, "evaluation 1 is at t=40 where all outputs are 0, and at t=30 with"),
    "constant": (euler(lambda d, t: d + 0.5), "all outputs 0 and all normals 0, the input of evaluation 1"),
    "unseen noise": (euler(lambda d, t: d + unseen.standard_normal(d.shape)), "not deterministic: with x_T = 0"),
    "no model": (lambda model, x: 0 * x, "never called the model"),
    "a list": (lambda model, x: [model(x, 1.0)], "returned a list, not a ndarray like x_T"),
    "another shape": (lambda model, x: model(x, 1.0)[:, :1], "returned shape (1, 1) for x_T of shape (1, 4)"),
    "a doubled batch": (lambda model, x: model(np.vstack([x, x]), 1.0)[:1], "with shape (2, 4) at evaluation 0"),
    "several times": (lambda model, x: model(x, np.array([1.0, 2.0])), "told the model 2 different times at once"),
    "no time": (lambda model, x: model(x), "told the model no time"),
    "a time outside": (lambda model, x: model(x, -1.0), "t=-1.0 is outside EDM"),
    "a fault": (lambda model, x: x.no_such_thing, "the sampler failed: AttributeError"),
    "no callable": (3, "must be callable as sampler(model, x_T), not int"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_evidence(case: str) -> None:
    sampler, message = REFUSED[case]
    with pytest.raises(de.DiffodeError) as problem:
        de.recover(sampler)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_an_end_that_is_not_told_must_be() -> None:
    with pytest.raises(de.SolverError, match="give final="):
        de.recover(lambda model, x: model(x, 0.5), AFFINE["trigonometric"])


def test_single_precision_is_told_from_nonlinearity() -> None:
    def single(model: Any, x: np.ndarray) -> np.ndarray:
        return k_dpmpp_2m(lambda x, t: model(x.astype(np.float64), t), x.astype(np.float32)).astype(np.float64)

    with pytest.raises(
        de.SolverError, match=r"seems to compute in float32: .* by \d\.\de-0[78] .* give tolerance=1e-4"
    ):
        de.recover(single, de.EDM(), prediction="x0")
    found = de.recover(single, de.EDM(), prediction="x0", tolerance=1e-5)
    assert 1e-9 < found.precision < 1e-6
    assert found.matches()[0].exact

    def clipped(model: Any, x: np.ndarray) -> np.ndarray:
        return single(lambda x, t: np.clip(model(x, t), -1e2, 1e2), x)

    with pytest.raises(de.SolverError, match=r"not linear .* of size 1000"):
        de.recover(clipped, de.EDM(), prediction="x0", tolerance=1e-4)


# --- order from outside ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "unipc_2", "ddpm", "dpm_solver_2"])
def test_order_from_outside_is_that_of_the_solver(name: str) -> None:
    """On steps equal in λ, with the rule's own start."""
    process, solver = de.VP(), de.get_solver(name)

    def make(steps: int) -> Recovered:
        grid = de.TimeGrid(process, lam=np.linspace(-1.5, 1.5, steps + 1).tolist())
        return de.recover(lambda model, x: de.sample(model, solver, grid, x, noise=0).x, grid=grid)

    measured = order_from_outside(make)
    assert (measured.mixture is None) == (name == "ddpm")
    for slope in (measured.mixture, measured.gaussian):
        assert slope is None or slope.judge(solver.true_order) == "PASS", slope
