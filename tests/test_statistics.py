"""Model statistics and DPM-Solver-v3: exact where they are exact, estimated right, kept in files; plans with a bias."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import diffode as de
from diffode.analysis.moments import amplification
from diffode.analysis.order import checker
from diffode.analysis.order.proof import prove, prove_order
from diffode.backends import execute, get_backend
from diffode.fitting.statistics import fit_statistics
from diffode.plan import Constant, Linear
from diffode.solvers import Solver, registry
from diffode.statistics import NAMED, ConstantStatistics, GaussianStatistics, ModelStatistics, Statistics, resolved
from diffode.trace import Step
from tests.strategies import grids, powers, processes

VP = de.VP()
LAM = np.linspace(-5.1, 4.6, 98)
MIXTURE = de.GaussianMixture([0.3, 0.3, 0.4], [-1.2, 0.4, 1.5], [0.35, 0.25, 0.4])
FAMILY = [solver for solver in registry().values() if solver.family == "dpm_v3"]

few = settings(max_examples=20)
numbers = st.floats(-1, 1)
closed = st.one_of(
    st.builds(ConstantStatistics, numbers, numbers, numbers),
    st.builds(GaussianStatistics, powers(1e-3, 10.0), numbers, numbers),
)


def on_knots(known: Statistics, lam: np.ndarray = LAM, integration: str = "spline") -> ModelStatistics:
    """Statistics as a table; b = c′ where c starts, by differences of fourth order."""
    lines = np.array([float(known.linear(value)) for value in lam.tolist()])
    stencil = {-0.02: 1, -0.01: -8, 0.01: 8, 0.02: -1}
    biases = [sum(w * known.growth(v, v + u).bias for u, w in stencil.items()) / 0.12 for v in lam.tolist()]
    return ModelStatistics(lam, lines, np.full(lam.shape, known.s), biases, integration)


def run(solver: Solver, grid: de.TimeGrid, data: de.GaussianMixture, x: Any, backend: str = "numpy") -> Any:
    return de.sample(data.denoiser(grid.process), solver, grid, x, backend=backend).x


def rule(name: str = "dpm_v3", **options: Any) -> Solver:
    return de.get_solver(name).configure(**options)


# --- the integrals of statistics ----------------------------------------------------------------------------


@few
@given(closed, st.booleans(), st.floats(-3, 0), st.floats(0.1, 1.5), st.floats(0.1, 1.5))
def test_growth_over_two_steps_is_the_product(known: Any, tabled: bool, a: float, h: float, k: float) -> None:
    """e^{ΔL} and e^{ΔS} multiply; c(a → c) = c(a → b) + e^{S_a − S_b} c(b → c)."""
    statistics = on_knots(known) if tabled else known
    one, two, both = (statistics.growth(*ends) for ends in ((a, a + h), (a + h, a + h + k), (a, a + h + k)))
    assert both.linear == pytest.approx(one.linear * two.linear, rel=1e-11)
    assert both.slope == pytest.approx(one.slope * two.slope, rel=1e-11)
    assert both.bias == pytest.approx(one.bias + two.bias / one.slope, rel=1e-9, abs=1e-11)


@few
@given(closed, st.booleans(), st.floats(-3, 0), st.floats(0.1, 2))
def test_moments_are_integrals_of_the_growth(known: Any, tabled: bool, a: float, h: float) -> None:
    statistics = on_knots(known) if tabled else known

    def density(u: float, k: int) -> float:
        growth = statistics.growth(a, a + u)
        return growth.linear * growth.slope * (growth.bias if k == 3 else u**k)

    found = statistics.moments(a, a + h, 2)
    assert len(found) == 4
    for k, value in enumerate(found):
        assert value == pytest.approx(quad(density, 0, h, args=(k,), limit=200)[0], rel=1e-7, abs=1e-8)


def test_a_spline_has_the_fourth_order_and_the_official_trapezoids_the_second() -> None:
    """Against the closed form; both are there to fail if the grid is coarse."""
    exact = GaussianStatistics(0.25, 0.5, -0.25)

    def gap(knots: int, integration: str) -> float:
        table = on_knots(exact, np.linspace(-3, 3, knots), integration)
        return float(np.max(np.abs(np.array(table.moments(-3.0, 3.0, 2)) / exact.moments(-3.0, 3.0, 2) - 1)))

    for integration, order in (("spline", 4), ("published", 2)):
        coarse, fine = gap(31, integration), gap(61, integration)
        assert order - 0.5 < np.log2(coarse / fine) < order + 1.5, (integration, coarse, fine)


# --- exact steps --------------------------------------------------------------------------------------------


@few
@given(st.data(), st.sampled_from(FAMILY), powers(0.01, 3.0), numbers, numbers)
def test_with_their_own_statistics_gaussian_data_are_sampled_exactly(
    data: st.DataObject, solver: Solver, variance: float, mean: float, s: float
) -> None:
    """Every step of every order, whatever s is; with another mean no step is."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    gaussian = de.Gaussian(mean, variance)

    def error(guess: float) -> float:
        plan = solver.configure(statistics=GaussianStatistics(variance, guess, s)).plan(grid)
        law = de.law(plan, gaussian)
        scale = amplification(plan) * (1 + float(grid.sigma[0]))
        return float(abs(law.mean - law.exact.mean)[0] + abs(law.variance - law.exact.variance)[0] / scale) / scale

    assert error(mean) < 1e-11
    assert error(mean + 1) > 1e-7


def test_coordinates_with_statistics_of_their_own_are_sampled_by_themselves() -> None:
    """Per-coordinate statistics are those runs side by side, on both backends; other shapes are refused."""
    gaussian = de.Gaussian([0.5, -0.2, 0.0], [0.25, 1.0, 0.04])
    own = fit_statistics(gaussian.denoiser(VP), gaussian, LAM[1:-1], samples=16)
    assert own.shape == (3,)
    assert np.max(np.abs(own.s)) == 0
    grid = de.grids.uniform_lambda(VP, 6, start=0.95, end=0.01)
    x = np.random.default_rng(0).standard_normal((4, 3))
    found = run(rule(statistics=own), grid, gaussian, x)
    for j, (mean, variance) in enumerate(zip((0.5, -0.2, 0.0), (0.25, 1.0, 0.04), strict=True)):
        alone = ModelStatistics(own.lam, own.l[:, j], own.s[:, j], own.b[:, j])
        one = run(rule(statistics=alone), grid, de.Gaussian(mean, variance), x[:, [j]])
        assert np.max(np.abs(one - found[:, [j]])) < 1e-13
    torch = pytest.importorskip("torch")
    other = run(rule(statistics=own), grid, gaussian, torch.as_tensor(x), "torch")
    assert np.max(np.abs(other.numpy() - found)) < 1e-13
    with pytest.raises(de.PlanError, match=r"coefficients of shape \(3,\).*a state of shape \(4, 1\).*other data"):
        run(rule(statistics=own), grid, de.Gaussian(0.0, 1.0), x[:, :1])


# --- order and limits ---------------------------------------------------------------------------------------

VARYING = GaussianStatistics(0.25, 0.5, -0.25)
CASES: list[tuple[dict[str, Any], int]] = [
    ({"order": 1, "corrector": None}, 1),
    ({"order": 2, "corrector": "same"}, 2),
    ({"order": 2, "corrector": "raised"}, 3),
    ({"order": 3, "corrector": None}, 3),
    ({"order": 3, "corrector": None, "pseudo": True}, 2),
    ({"order": 3, "corrector": "same", "pseudo": True}, 3),
    ({"order": 1, "corrector": "raised", "pseudo_corrector": True}, 2),
    ({"order": 2, "corrector": "raised", "pseudo_corrector": True}, 2),
]


@pytest.mark.parametrize(("options", "order"), CASES, ids=str)
def test_orders_hold_for_statistics_that_change_with_the_level(options: dict[str, Any], order: int) -> None:
    solver = rule(statistics=VARYING, **options)
    assert solver.true_order == order
    assert prove_order(solver).order == order


def test_the_raised_corrector_on_data_is_that_of_unipc() -> None:
    grid, x = de.grids.uniform_lambda(VP, 8), np.linspace(-2, 2, 5)[:, None]
    for prediction in ("eps", "x0"):
        solver = rule(order=3, statistics="data", corrector="raised", prediction=prediction)
        parent = rule("unipc", order=3, variant="exact")
        assert np.max(np.abs(run(solver, grid, MIXTURE, x) - run(parent, grid, MIXTURE, x))) < 1e-12


def test_a_half_corrector_corrects_where_t_is_large() -> None:
    grid, x = de.grids.uniform_t(VP, 8), np.linspace(-2, 2, 5)[:, None]
    model = MIXTURE.denoiser(VP)

    def states(**options: Any) -> np.ndarray:
        return np.array(de.sample(model, rule(**options), grid, x).trajectory)

    half, whole, none = states(above=0.5), states(), states(corrector=None)
    first = int(np.argmax(grid.t <= 0.5))
    assert np.array_equal(half[:first], whole[:first])
    assert not np.array_equal(half[first], whole[first])
    assert np.array_equal(states(above=2.0), none)
    assert np.array_equal(states(above=-1.0), whole)


@pytest.mark.parametrize("name", ["dpm_v3_2", "dpm_v3_3_raised"])
def test_a_step_to_the_end_takes_no_further_evaluation(name: str) -> None:
    grid = de.grids.karras(de.EDM(), 6, final="zero")
    plan = de.get_solver(name).plan(grid)
    assert plan.nfe == len(grid) - 1


# --- estimation ---------------------------------------------------------------------------------------------


def black_box(x: Any, t: float) -> Any:
    return MIXTURE.denoiser(VP).predict(x, VP.level(t), "eps")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
def test_estimates_from_derivatives_agree_with_closed_forms() -> None:
    """The exact denoiser's derivatives, differences of a function in NumPy, and Jacobian-vector products in torch."""
    torch, lam = pytest.importorskip("torch"), np.linspace(-3, 3, 13)
    model, wrapped = MIXTURE.denoiser(VP), de.Denoiser(black_box, VP)
    exact, differences = (fit_statistics(m, MIXTURE, lam) for m in (model, wrapped))
    samples = MIXTURE.sample(64, 0)
    drawn = fit_statistics(model, samples, lam)
    products = fit_statistics(wrapped, torch.as_tensor(samples), lam)
    for one, two in ((exact, differences), (drawn, products)):
        assert np.max(np.abs(one.l - two.l)) < 1e-10
        assert np.max(np.abs(one.s - two.s)) < 1e-6
        assert np.max(np.abs(one.b - two.b)) < 1e-6
    assert np.max(np.abs(exact.s - drawn.s)) > 1e-3


def test_the_estimate_is_what_its_definition_says() -> None:
    """l by the density, in one dimension: E[σ ∂ε/∂x] = −σ² ∫ (log p)″ p dx; s and b leave the least squares."""
    lam = np.linspace(-2, 2, 9)
    found = fit_statistics(MIXTURE.denoiser(VP), MIXTURE, lam)
    level, model = VP.level(lam=0.0), MIXTURE.denoiser(VP)

    def integrand(x: float) -> float:
        at = np.array([[x]])
        return float(
            -(level.sigma**2) * model.hessian_trace(at, level.t)[0] * np.exp(model.log_density(at, level.t)[0])
        )

    assert found.l[4, 0] == pytest.approx(quad(integrand, -12, 12, limit=300)[0], abs=1e-4)


@few
@given(powers(0.05, 2.0), numbers)
def test_gaussian_data_have_the_closed_form(variance: float, mean: float) -> None:
    gaussian, known = de.Gaussian(mean, variance), GaussianStatistics(variance, mean)
    lam = np.linspace(-3, 3, 61)
    found = fit_statistics(gaussian.denoiser(VP), gaussian, lam, nodes=4)
    assert np.max(np.abs(found.l[:, 0] - known.linear(lam))) < 1e-12
    assert not found.s.any()
    growth, exact = found.growth(-2.0, 2.0), known.growth(-2.0, 2.0)
    assert np.allclose(growth, exact, rtol=1e-5, atol=1e-5)


def test_noise_is_not_that_of_samples_drawn_with_the_same_seed() -> None:
    """x = α x_0 + σ ε has variance α² + σ² for data of variance 1, and not (α + σ)²."""
    process, seen = de.VP(), list[float]()

    def fn(x: np.ndarray, t: Any) -> np.ndarray:
        seen.append(float(np.mean(x * x)))
        return 0.5 * x

    samples = np.random.default_rng(0).standard_normal((2000, 3))
    fit_statistics(de.Denoiser(fn, process, prediction="x0"), samples, lam=np.linspace(-1.0, 1.0, 5), seed=0)
    assert seen == pytest.approx(np.ones(len(seen)), rel=0.1)


def test_random_signs_find_the_diagonal_on_average() -> None:
    generator = np.random.default_rng(0)
    root = generator.standard_normal((10, 10)) / 3
    gaussian = de.Gaussian(np.zeros(10), root @ root.T + 0.1 * np.eye(10))
    lam, level = np.linspace(-1, 1, 4), VP.level(lam=-1.0)
    found = fit_statistics(gaussian.denoiser(VP), gaussian, lam, samples=400, probes=4)
    exact = level.sigma**2 * np.diag(np.linalg.inv(level.alpha**2 * gaussian.covariance + level.sigma**2 * np.eye(10)))
    assert found.shape == (10,)
    assert np.max(np.abs(found.l[0] - exact)) < 0.05
    assert np.max(np.abs(found.l[0] - exact)) > 1e-6


# --- files and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("integration", ["spline", "published"])
def test_files_give_back_what_was_saved(tmp_path: Path, suffix: str, integration: str) -> None:
    path = tmp_path / f"known{suffix}"
    saved = on_knots(VARYING, integration=integration)
    saved = ModelStatistics(saved.lam, saved.l, saved.s, saved.b, integration, {"model": "ε by hand", "seed": 3})
    saved.save(path)
    found = ModelStatistics.load(path)
    for name in ("lam", "l", "s", "b"):
        assert np.array_equal(getattr(found, name), getattr(saved, name))
    assert (found.integration, dict(found.provenance)) == (integration, {"model": "ε by hand", "seed": 3})
    grid = de.TimeGrid(VP, lam=saved.snapped(np.linspace(-4, 4, 6)))
    named = de.get_solver(f"dpm_v3(statistics={str(path)!r})")
    assert named.plan(grid).rows == rule(statistics=saved).plan(grid).rows


REFUSED: dict[str, tuple[Any, str]] = {
    "shape": (lambda: ModelStatistics(LAM, LAM, LAM[1:], LAM), r"s has shape \(97,\)"),
    "knots": (lambda: ModelStatistics(LAM[::-1], LAM, LAM, LAM), "numbers that increase"),
    "NaN": (lambda: ModelStatistics(LAM, LAM, LAM * np.nan, LAM), "s must be finite"),
    "words": (lambda: ModelStatistics(LAM, "l", LAM, LAM), "l must be an array of numbers"),
    "integration": (lambda: ModelStatistics(LAM, LAM, LAM, LAM, "splin"), "did you mean 'spline'"),
    "range": (lambda: on_knots(VARYING).linear(4.7), "λ=4.7 is outside the statistics, .* from λ=-5.1 to 4.6"),
    "no knot": (lambda: on_knots(VARYING, integration="published").linear(0.05), "no knot .*snapped"),
    "kind": (lambda: on_knots(VARYING).linear(np.zeros(2)), "known in floats, .* not at ndarrays"),
    "name": (lambda: resolved("dta"), "no statistics named 'dta'; did you mean 'data'"),
    "type": (lambda: resolved(3), "a name, a file or a Statistics object, not 3"),  # type: ignore[arg-type]
    "no file": (lambda: resolved("nowhere.npz"), "nowhere.npz: cannot read statistics"),
    "suffix": (lambda: on_knots(VARYING).save("known.txt"), "named .json or .npz"),
    "variance": (lambda: GaussianStatistics(-1.0), "variance must be at least 0, not -1.0"),
    "infinite": (lambda: ConstantStatistics(float("inf")), "l must be a finite number, not inf"),
    "corrector": (lambda: rule(corrector="raise").plan(de.grids.uniform_lambda(VP, 3)), "corrector is None, 'same'"),
    "model": (lambda: fit_statistics(black_box, MIXTURE), "needs a model"),  # type: ignore[arg-type]
    "count": (lambda: fit_statistics(MIXTURE.denoiser(VP), MIXTURE, nodes=0), "nodes must be a whole number"),
    "system": (
        lambda: fit_statistics(de.Gaussian(0.0, 1.0).denoiser(de.CLD()), MIXTURE),
        "fit_statistics: CLD.* is a system, and this is for one state",
    ),
    "falling λ": (lambda: fit_statistics(MIXTURE.denoiser(VP), MIXTURE, LAM[::-1]), "numbers that increase"),
    "NaN model": (
        lambda: fit_statistics(de.Denoiser(lambda x, t: x * np.nan, VP), MIXTURE.sample(9, 0)),
        "the model returned NaN or ∞ near t=",
    ),
    "data": (lambda: fit_statistics(MIXTURE.denoiser(VP), [1.0]), "a mixture or an array of samples, not list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(de.DiffodeError, match=message):
        make()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "diffode-plan/1", "lam": [], "l": [], "s": [], "b": []}'])
def test_other_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    for suffix in (".json", ".npz"):
        path = tmp_path / f"other{suffix}"
        path.write_text(text)
        with pytest.raises(de.SolverError, match=re.escape(str(path))):
            ModelStatistics.load(path)


def test_names_are_those_of_the_documentation() -> None:
    assert set(NAMED) == {"data", "noise", "between"}
    assert {name for name, known in NAMED.items() if known.biased} == {"between"}


# --- constants in plans -------------------------------------------------------------------------------------


def biased(base: str, power: int) -> Solver:
    """Another rule with h^power added in every entry."""
    parent = de.get_solver(base)

    @de.solver(order=parent.order, prediction=parent.prediction, history=parent.history)
    def shifted(step: Step) -> Linear:
        shift: Any = 1
        for _ in range(power):
            shift = shift * step.h
        return parent(step) + step.constant(shift)

    return shifted


@pytest.mark.parametrize("base", ["ddim", "unip_2", "dpmpp_2s"])
def test_a_constant_costs_the_order_that_it_should(base: str) -> None:
    """h^{p+1} in every step is an error of order p; of h^p the proof says that it is less, or that it cannot tell."""
    order = int(de.get_solver(base).order)
    assert [prove_order(biased(base, power)).order for power in (order + 1, order + 2)] == [order, order]
    with suppress(de.PlanError):
        assert prove_order(biased(base, order)).order < order


def test_a_proof_with_constants_stands_in_a_file() -> None:
    proof = json.loads(prove("dpm_v3_2").to_json())
    assert "order 2" in checker.check(proof)
    with pytest.raises(ValueError, match="claims"):
        checker.check({**proof, "order": 3})


def test_a_constant_turns_with_the_basis_of_the_data() -> None:
    """The exact law in the eigenbasis is the executed mean in the coordinates of the data."""
    gaussian = de.Gaussian([0.5, -0.3], [[1.0, 0.4], [0.4, 0.3]])
    plan = de.get_solver("dpm_v3_3").plan(de.grids.uniform_lambda(VP, 5))
    start = float(plan.levels[0].alpha) * gaussian.mean
    final = execute(get_backend("numpy"), plan, gaussian.denoiser(VP), [start[None]])[plan.states[-1]]
    assert np.max(np.abs(final[0] - de.law(plan, gaussian).mean)) < 1e-12


def test_a_reversible_rule_with_a_constant_is_undone() -> None:
    @de.solver(order=1, prediction="eps", reversible=True)
    def shifted(step: Step) -> Linear:
        second = step.memory.get("second", step.x)
        step.memory["second"] = step.x
        return second + (step.next.sigma - step.now.sigma) * step.model(step.x, step.now) + step.constant(0.25)

    plan = shifted.plan(de.grids.uniform_lambda(de.EDM(), 4, start=5.0, end=0.1))
    undone = de.invert(plan)
    assert any(isinstance(row, Constant) for row in undone.rows)
    model, backend = MIXTURE.denoiser(de.EDM()), get_backend("numpy")
    x = np.linspace(-5, 5, 4)[:, None]
    out = execute(backend, plan, model, [x], keep=undone.inputs)
    back = execute(backend, undone, model, [out[name] for name in undone.inputs])
    assert np.max(np.abs(back[undone.states[-1]] - x)) < 1e-12
