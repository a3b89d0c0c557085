"""Laws over the registry: every solver obeys them, and one that enters the registry is tested with no new test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.kinship import Kin, kinship
from diffode.analysis.moments import Spectrum, affine, amplification, law
from diffode.analysis.order.proof import prove_order
from diffode.analysis.soundness import consistency, zero_stability
from diffode.analysis.stochastic import weak_order, weak_order_mixture
from diffode.backends import execute, get_backend
from diffode.solvers import Solver, registry
from tests.strategies import grids, mixtures, processes

pytestmark = pytest.mark.filterwarnings("ignore::diffode.errors.UnusedNoise")  # one call for all solvers

SOLVERS = list(registry().values())
DETERMINISTIC = [s for s in SOLVERS if s.plan(de.grids.uniform_lambda(de.EDM(), 4)).is_deterministic]
STOCHASTIC = [s for s in SOLVERS if s not in DETERMINISTIC]

every = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
every_deterministic = pytest.mark.parametrize("solver", DETERMINISTIC, ids=lambda s: s.name)
every_stochastic = pytest.mark.parametrize("solver", STOCHASTIC, ids=lambda s: s.name)

FAMILIES = {family: [s for s in SOLVERS if s.family == family] for family in dict.fromkeys(s.family for s in SOLVERS)}
every_family = pytest.mark.parametrize("solvers", FAMILIES.values(), ids=FAMILIES)
"""Laws of drawn processes and grids: what is drawn serves a whole family, since to draw costs as much as to run."""

few = settings(max_examples=settings().max_examples // 3)
"""The registry is long, and all its families meet the same examples: a third of them for each."""


# --- claims -------------------------------------------------------------------------------------------------


@every
def test_integrates_constant_data_as_it_claims(solver: Solver) -> None:
    check = consistency(solver, de.VP())
    assert check.verdict == "PASS", check.detail


@every
def test_is_zero_stable(solver: Solver) -> None:
    check = zero_stability(solver, de.VP())
    assert check.verdict == "PASS", check.detail


@every_deterministic
def test_proved_order_is_the_claim_neither_less_nor_more(solver: Solver) -> None:
    proof = prove_order(solver, spacing="uniform" if solver.uniform else "rough", variable=solver.uniform or "lam")
    assert proof.complete
    assert proof.order == solver.true_order, [str(f) for f in proof.failures]


@every_stochastic
def test_weak_order_is_the_claim_neither_less_nor_more(solver: Solver) -> None:
    true = solver.true_order
    for slope in (weak_order(solver, de.VP()), weak_order_mixture(solver, de.VP())):
        assert slope.judge(true) == "PASS", slope
        assert slope.value - slope.interval < true + 0.5, slope


@every
def test_what_misses_its_claim_says_why_and_what_puts_it_right(solver: Solver) -> None:
    assert (solver.reaches is None) == (solver.erratum is None)
    if solver.erratum is not None and solver.erratum.right:
        right = de.get_solver(solver.erratum.right)
        assert right.reaches is None
        assert right.order >= solver.order


# --- exact law = executed law ---------------------------------------------------------------------------


@every_family
@few
@given(st.data())
def test_exact_law_is_the_executed_law(solvers: list[Solver], data: st.DataObject) -> None:
    """The affine map that the moments give is the map that the backend executes, input by input and noise by noise."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    gaussian = de.Gaussian(0.4, data.draw(st.floats(1e-3, 3.0)))
    for solver in solvers:
        _executes_its_law(solver.plan(grid), gaussian, process, grid)


def _executes_its_law(plan: de.Plan, gaussian: de.Gaussian, process: de.Process, grid: de.TimeGrid) -> None:
    column = affine(plan, Spectrum.of(gaussian))[plan.states[-1]][:, 0]
    model, backend = gaussian.denoiser(process), get_backend("numpy")
    scale = float(np.hypot(grid.alpha[0], grid.sigma[0]))

    def final(x: float, hot: int | None = None) -> float:
        noise = [np.full((1, 1), 0.0) for _ in plan.noises]
        if hot is not None:
            for k, row in enumerate(plan.noises):
                noise[k] = np.full((1, 1), _mix(plan)[row.out].get(hot, 0.0))
        return float(execute(backend, plan, model, [np.array([[x]])], noise)[plan.states[-1]][0, 0])

    base = final(0.0)
    found = [final(scale) - base, base, *(final(0.0, k) - base for k in range(len(plan.noises)))]
    expected = [column[0] * scale, *column[1:]]
    size = amplification(plan) * (1 + np.max(np.abs(expected)))
    assert np.max(np.abs(np.array(found) - expected)) <= 1e-13 * size * scale, plan.solver


def _mix(plan: de.Plan) -> dict[str, dict[int, float]]:
    from diffode.brownian import factors

    return factors(plan)


@every_stochastic
def test_sampled_variance_is_the_exact_one(solver: Solver) -> None:
    """Drawn noise has the covariances that the law assumes (4 standard errors of 40,000 draws)."""
    process, gaussian = de.EDM(), de.Gaussian(0.0, 1.0)
    grid = de.grids.karras(process, 4, start=5.0, end=0.1)
    exact = law(solver.plan(grid), gaussian)
    x = np.sqrt(26.0) * np.random.default_rng(0).standard_normal((40_000, 1))
    out = de.sample(gaussian.denoiser(process), solver, grid, x, noise=1, trajectory=False)
    assert abs(out.x.var() / exact.variance[0] - 1) < 4 * np.sqrt(2 / 40_000)


# --- backends -------------------------------------------------------------------------------------------


@every_family
@few
@given(st.data())
def test_backends_agree(solvers: list[Solver], data: st.DataObject) -> None:
    """NumPy and torch differ by 1e-12 times the plan's amplification times its largest register at most."""
    torch = pytest.importorskip("torch")
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 8)))
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(7).standard_normal((5, 2))
    for solver in solvers:
        plan = solver.plan(grid)
        registers = [row.out for row in plan.rows]
        one = execute(get_backend("numpy"), plan, model, [x], 3, registers)
        two = execute(get_backend("torch"), plan, model, [torch.as_tensor(x)], 3, registers)
        largest = max(float(np.max(np.abs(value))) for value in one.registers.values())
        final = plan.states[-1]
        gap = float(np.max(np.abs(one[final] - two[final].numpy())))
        assert gap <= 1e-12 * amplification(plan) * largest, solver.name


# --- limits to the parent method ------------------------------------------------------------------------

KIN = kinship()


@pytest.mark.parametrize("kin", KIN, ids=[f"{kin.child}→{kin.parent}" for kin in KIN])
@given(st.data())
def test_limits_give_the_parent(kin: Kin, data: st.DataObject) -> None:
    limit = kin.law
    process = data.draw(processes(tame=True))
    if limit.uniform:
        level = [process.level(lam=lam) for lam in (-1.5, 1.5)]
        ends = [float(getattr(v, limit.uniform)) for v in level]
        grid = de.TimeGrid(process, **{limit.uniform: np.linspace(*ends, 8).tolist()})
    else:
        grid = data.draw(grids(process, steps=st.integers(2, 8)))
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 2))
    assert kin.gap(grid, model, x, seed=5) <= 1


# --- equivariance ---------------------------------------------------------------------------------------


@every_family
@few
@given(st.data())
def test_rotations_commute_with_sampling(solvers: list[Solver], data: st.DataObject) -> None:
    """Sampling rotated data from a rotated start is the rotated sample."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    mixture = data.draw(mixtures(dimension=2, kind="isotropic"))
    angle = data.draw(st.floats(0.1, 3.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = de.GaussianMixture(mixture.weights, mixture.means @ turn.T, np.sqrt(mixture.eigenvalues[:, 0]))
    for solver in solvers:
        plan = solver.plan(grid)
        if not plan.is_homogeneous:  # a bias has a direction
            continue
        generator = np.random.default_rng(1)
        x = float(grid.sigma[0]) * generator.standard_normal((4, 2))
        noise = [generator.standard_normal((4, 2)) for _ in plan.noises]
        backend = get_backend("numpy")
        plain = execute(backend, plan, mixture.denoiser(process), [x], noise)[plan.states[-1]]
        rotated = execute(backend, plan, turned.denoiser(process), [x @ turn.T], [z @ turn.T for z in noise])
        size = amplification(plan) * max(1.0, float(np.max(np.abs(plain))), float(grid.sigma[0]))
        assert np.max(np.abs(plain @ turn.T - rotated[plan.states[-1]])) <= 1e-12 * size, solver.name


def _names_t_or_sigma(solver: Solver) -> bool:
    """Whether a rule names t or σ, or has states at another α than its levels'."""
    named = solver.options.get("variable") in ("t", "sigma") or solver.options.get("inner") in ("t", "sqrt_t")
    if solver.options.get("over_sigma") or "difference" in solver.options or solver.family in ("score_sde", "langevin"):
        return True
    return named or solver.options.get("of") == "x" or solver.rule.__name__ in ("edict", "ddim_inversion")


@every_family
@few
@given(st.data())
def test_processes_with_equal_noise_give_equal_samples(solvers: list[Solver], data: st.DataObject) -> None:
    """In y = x/α and λ all processes are one: a rule that does not name t or σ cannot tell them apart."""
    process = data.draw(processes(tame=True))
    lam = np.cumsum([-1.6, *data.draw(st.lists(st.floats(0.1, 0.9), min_size=2, max_size=5))])
    mixture = data.draw(mixtures(dimension=1))
    y = np.random.default_rng(9).standard_normal((4, 1)) * np.exp(1.6)
    places = [(de.TimeGrid(where, lam=lam.tolist()), mixture.denoiser(where)) for where in (de.EDM(), process)]
    for solver in solvers:
        if _names_t_or_sigma(solver):
            continue
        ends: list[np.ndarray] = []
        for grid, model in places:
            plan = solver.plan(grid)
            noise = [np.random.default_rng(k).standard_normal((4, 1)) for k in range(len(plan.noises))]
            run = execute(get_backend("numpy"), plan, model, [float(grid.alpha[0]) * y], noise)
            ends.append(run[plan.states[-1]] / float(grid.alpha[-1]))
        assert np.max(np.abs(ends[0] - ends[1])) <= 1e-9 * (1 + np.max(np.abs(ends[0]))), solver.name


# --- every process, every grid ----------------------------------------------------------------------------


@every_family
@few
@given(st.data())
def test_runs_on_every_process_and_every_grid(solvers: list[Solver], data: st.DataObject) -> None:
    """Whatever process and grid are drawn, singular ends included, coefficients and states are finite."""
    process = data.draw(processes())
    grid = data.draw(grids(process, steps=st.integers(2, 7), singular=True))
    mixture = data.draw(mixtures(dimension=1))
    x = float(grid.sigma[0]) * np.random.default_rng(0).standard_normal((3, 1))
    mu = np.full((1, 1), 0.3) if process.anchored else None
    for solver in solvers:
        plan = solver.plan(grid)
        assert len(plan.states) == len(grid), solver.name
        out = de.sample(mixture.denoiser(process, mu), solver, grid, x, noise=0, mu=mu)
        assert all(np.isfinite(state).all() for state in out.trajectory), solver.name
        assert out.nfe == plan.nfe, solver.name


@every_deterministic
def test_inversion_undoes_sampling_as_the_steps_shrink(solver: Solver) -> None:
    """There and back again: the round-trip error falls at least in proportion to the step."""
    process, gaussian = de.VP(), de.Gaussian(0.2, 0.6)
    model = gaussian.denoiser(process)
    x = np.linspace(-2, 2, 5)[:, None]

    def gap(steps: int) -> float:
        grid = de.TimeGrid(process, lam=np.linspace(-1.5, 1.5, steps + 1).tolist())
        clean = de.sample(model, solver, grid, x).x
        return float(np.max(np.abs(de.sample(model, solver, grid.reversed(), clean).x - x)))

    coarse, fine = max(gap(16), gap(24)), gap(96)  # a single error may be small because it changes sign there
    assert fine < max(0.4 * coarse, 1e-12)
