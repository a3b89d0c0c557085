"""Grids that are searched and learned: known optima, brute force, official numbers, files, interrupts, misuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import diffode as de
from diffode import prediction
from diffode.errors import DiffodeError
from diffode.fitting import ays, evolution, gits, ld3, nonuniform, timesearch
from diffode.fitting.fit import fit
from diffode.fitting.grids import METHODS, SearchedGrid, Target, of_shares, shares, target_of
from diffode.plan import Combine, Evaluate
from tests.strategies import EXAMPLES, powers

QUICK: dict[str, dict[str, Any]] = {
    "gits": dict(nodes=16),
    "ays": dict(nodes=24),
    "ld3": dict(rounds=4),
    "nonuniform": dict(rounds=20),
    "olss": dict(nodes=16, rounds=12),
    "evolution": dict(nodes=16, generations=2, population=8, mutations=3, crossings=2),
}
"""Options with which each method takes little time."""

each_method = pytest.mark.parametrize("method", METHODS)
some_processes = pytest.mark.parametrize("name", ["vp", "edm", "flow", "vp_zero_snr", "mean_reverting"])


def searched(method: str, target: Any = "mixture_2d", nfe: int = 5, **options: Any) -> SearchedGrid:
    return fit(target, nfe, "grid", **{"method": method, "samples": 12, **QUICK[method], **options})


# --- what all share ---------------------------------------------------------------------------------------


@each_method
@some_processes
def test_grids_rise_inside_the_span_and_are_no_worse_than_their_start(method: str, name: str) -> None:
    """On every kind of process, singular starts and anchors among them."""
    process = EXAMPLES[name]
    mu = np.array([0.3, -0.2]) if process.anchored else None
    problem = de.problems.get_problem("mixture_2d", process, mu=mu)
    found = searched(method, problem)
    lam = found.grid.lam
    assert np.all(np.diff(lam) > 0)
    assert found.grid.steps == found.start.steps == 5
    ends = [process.t_far, process.t_min]
    assert [found.grid[k].t for k in (0, -1)] == [found.start[k].t for k in (0, -1)] == ends
    train = found.provenance["train"]
    assert train["after"] <= train["before"] < np.inf
    again = searched(method, problem)
    assert again.to_json() == found.to_json()


@each_method
def test_the_file_gives_the_grid_back(method: str, tmp_path: Path) -> None:
    """`de.grids.load` reads it, for other numbers of steps too, and it says where the grid comes from."""
    found = searched(method, seed=3) if method != "nonuniform" else searched(method)
    found.save(tmp_path / "grid.json")
    assert np.allclose(
        de.grids.load(tmp_path / "grid.json", found.grid.process).lam, found.grid.lam, rtol=0, atol=1e-12
    )
    assert de.grids.load(tmp_path / "grid.json", found.grid.process, 10).lam[::2] == pytest.approx(found.grid.lam)
    told = json.loads((tmp_path / "grid.json").read_text(encoding="utf-8"))["provenance"]
    assert told == json.loads(json.dumps(found.provenance))
    assert told["method"] == method
    assert told["nfe"] == 5
    assert told["problem"] == "mixture_2d"
    assert (told["held_out"] is None) == (method == "nonuniform")
    assert method in str(found)


@pytest.mark.parametrize("method", ["olss", "evolution", "ld3", "nonuniform"])
def test_an_interrupt_keeps_the_best_so_far(method: str) -> None:
    calls: list[tuple[int, int, float]] = []

    def stop(done: int, total: int, best: float) -> None:
        calls.append((done, total, best))
        if done == 7:
            raise KeyboardInterrupt

    found = searched(method, progress=stop)
    assert found.provenance["interrupted"]
    assert found.provenance["tried"] == 7
    assert found.provenance["train"]["after"] <= calls[-1][2] * (1 + 1e-12)
    assert [best for *_, best in calls] == sorted((best for *_, best in calls), reverse=True)
    assert not searched(method).provenance["interrupted"]


@pytest.mark.parametrize("method", ["olss", "evolution", "ld3", "nonuniform"])
def test_a_search_goes_on_from_its_checkpoint_and_from_no_other(method: str, tmp_path: Path) -> None:
    def stop(done: int, total: int, best: float) -> None:
        if done == 7:
            raise KeyboardInterrupt

    file = tmp_path / "search.json"
    first = searched(method, progress=stop, checkpoint=file)
    again = searched(method, checkpoint=file)
    assert again.provenance["train"]["after"] <= first.provenance["train"]["after"] * (1 + 1e-12)
    with pytest.raises(DiffodeError, match=r"is not a checkpoint of this fit"):
        searched(method, "gaussian_4d", checkpoint=file)


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12), st.sampled_from(["lam", "t", "rho"]))
def test_shares_go_through_a_grid_and_back(logs: list[float], variable: str) -> None:
    target = target_of("gaussian", samples=2)
    grid = of_shares(target, logs, variable)
    assume(np.diff(grid.lam).min() > 1e-6)
    wanted = np.array(logs) - np.log(np.sum(np.exp(logs)))
    assert np.allclose(shares(grid, variable), wanted, rtol=0, atol=1e-6)


def test_a_model_of_ones_own_on_torch_is_fitted_as_on_numpy() -> None:
    torch = pytest.importorskip("torch")
    problem = de.problems.get_problem("mixture_2d")
    x = problem.initial(12, seed=1)
    for method in ("gits", "ld3", "olss", "evolution"):
        grids = [searched(method, problem.model, x_T=states).grid.lam for states in (x, torch.as_tensor(x))]
        assert np.allclose(*grids, rtol=0, atol=1e-5), method


# --- GITS -------------------------------------------------------------------------------------------------


def test_one_data_law_examples_serve_a_network() -> None:
    """Where the data are a file of examples, AYS asks for them, and holds half of them out."""
    problem = de.problems.get_problem("digits")
    found = searched("ays", problem, data=problem.law.sample(40, 0).reshape(40, -1))
    assert found.provenance["held_out"]["after"] < found.provenance["held_out"]["before"]


@st.composite
def cost_matrices(draw: Any) -> tuple[np.ndarray, int, float]:
    nodes = draw(st.integers(2, 8))
    values = draw(st.lists(st.floats(-1.0, 4.0), min_size=nodes**2 + 2 * nodes + 1, max_size=nodes**2 + 2 * nodes + 1))
    cost = np.where(np.triu(np.ones((nodes + 1, nodes + 1)), 1) > 0, np.reshape(values, (nodes + 1, nodes + 1)), np.inf)
    return cost, draw(st.integers(1, nodes)), draw(st.floats(0.7, 1.5))


@given(cost_matrices())
def test_the_programme_finds_what_brute_force_finds(case: tuple[np.ndarray, int, float]) -> None:
    """The cheapest of all ways, with the cost that it says."""
    cost, steps, gamma = case
    way, least = gits.cheapest(cost, steps, gamma)
    last = len(cost) - 1
    ways = [[0, *inner, last] for inner in combinations(range(1, last), steps - 1)]
    assert least == pytest.approx(min(gits.cost_of(cost, other, gamma) for other in ways), abs=1e-12)
    assert gits.cost_of(cost, way, gamma) == pytest.approx(least, abs=1e-12)
    assert way in ways


@given(st.integers(0, 2**32 - 1), st.sampled_from(gits.METRICS))
@settings(max_examples=20)
def test_costs_are_those_of_the_official_formula(seed: int, metric: str) -> None:
    """Written out with loops; along a straight trajectory nothing costs."""
    generator = np.random.default_rng(seed)
    rho = np.sort(generator.uniform(0.1, 5.0, 5))[::-1]
    y, d = generator.standard_normal((5, 3, 2)), generator.standard_normal((4, 3, 2))
    found = gits.costs(y, d, rho, metric)

    def deviation(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        ac, bc = c - a, c - b
        unit = bc / np.linalg.norm(bc)
        return float(np.linalg.norm(ac - (ac @ unit) * unit))

    for i, j in combinations(range(5), 2):
        each: list[float] = []
        for sample in range(3):
            jump = y[i, sample] + (rho[j] - rho[i]) * (y[i, sample] - d[i, sample]) / rho[i]
            ends = y[0, sample], y[-1, sample]
            if metric == "dev":
                each.append(deviation(jump, *ends) - (deviation(y[j, sample], *ends) if j < 4 else 0.0))
            else:
                each.append(float(np.linalg.norm(jump - y[j, sample], ord=1 if metric == "l1" else 2)))
        assert found[i, j] == pytest.approx(np.mean(each), abs=1e-12)
    straight = np.stack([(1.0 + r) * y[0] for r in rho])
    slopes = np.broadcast_to(y[0], (4, 3, 2))
    assert np.allclose(gits.costs(straight, slopes, rho, metric)[np.triu_indices(5, 1)], 0.0, atol=1e-12)


# --- align your steps -------------------------------------------------------------------------------------


@given(powers(0.05, 10.0), st.integers(1, 12))
@settings(max_examples=25)
def test_ays_finds_the_tangent_grid_on_gaussian_data(c: float, n: int) -> None:
    """Theorem 3.1: equal steps of arctan(ρ/c), after which DDIM's standard deviation is cosⁿ of one of them."""
    process = de.EDM()
    found = ays.fit_ays(de.Gaussian(0.0, c * c), n, flow="ode", process=process)
    angle = np.arctan(found.grid.rho / c)
    step = (angle[0] - angle[-1]) / n
    assert np.allclose(-np.diff(angle), step, rtol=1e-4, atol=0)
    assert np.exp(-found.after) == pytest.approx(np.cos(step) ** n, rel=1e-9)
    law = de.law(de.compile("ddim", process, found.grid), de.Gaussian(0.0, c * c))
    exact = np.sqrt(c * c + process.level(process.t_min).rho ** 2)
    assert np.sqrt(law.variance[0]) / exact == pytest.approx(np.cos(step) ** n, rel=1e-9)


def test_the_formula_sheets_numbers_of_ays() -> None:
    """c = 0.5, ρ from 80 to 0.002 in ten steps: 0.88492; on Karras's grid 0.75278."""
    found = ays.fit_ays(de.Gaussian(0.0, 0.25), 10, flow="ode", process=de.EDM())
    assert np.exp(-found.after) == pytest.approx(0.88492, abs=5e-6)
    assert np.exp(-found.before) == pytest.approx(0.75278, abs=5e-6)


@given(powers(0.1, 5.0), st.integers(2, 12))
@settings(max_examples=25)
def test_klub_is_stationary_where_its_derivative_says(c: float, n: int) -> None:
    """t²(t² − p²)/(p²(c² + t²)) = (q² − t²)/(c² + q²) at every inner level t between p < t < q."""
    rho = ays.fit_ays(de.Gaussian(0.0, c * c), n, process=de.EDM()).grid.rho[::-1]
    p, t, q = rho[:-2], rho[1:-1], rho[2:]
    left, right = t**2 * (t**2 - p**2) / (p**2 * (c**2 + t**2)), (q**2 - t**2) / (c**2 + q**2)
    assert np.allclose(left, right, rtol=1e-3, atol=0)


def test_klub_and_the_tangent_grid_are_not_the_same_optimum() -> None:
    """The best grid with noise has its levels as 1/(ρ (c² + ρ²)) in the limit, that of DDIM as 1/(c² + ρ²)."""
    c, n = 1.0, 160
    data, process = de.Gaussian(0.0, c * c), de.EDM(0.05, 20.0)
    rho = ays.fit_ays(data, n, process=process).grid.rho[::-1]
    middle = np.sqrt(rho[1:] * rho[:-1])
    density = 1 / np.diff(rho)
    fine = middle < 2.0  # where steps are short
    flat = density * middle * (c * c + middle**2)
    assert np.ptp(np.log(flat[fine])) < 0.03
    assert np.ptp(np.log((density * (c * c + middle**2))[fine])) > 3


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_the_bound_is_the_mean_square_along_the_process(seed: int) -> None:
    """∫ ρ^{−3} E|D(y_ρ) − D(y_b)|² with both states on one path, against what only denoising errors are asked for."""
    problem = de.problems.get_problem("mixture_2d")
    target = target_of(problem, samples=4000, seed=seed)
    klub = ays.measured_klub(target, problem.data.sample(4000, seed), 60, seed)
    generator = np.random.default_rng(seed)
    a, b = 0.3, 2.5
    x_0 = problem.data.sample(4000, generator)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    rho = np.exp(np.log(a) + (nodes + 1) / 2 * np.log(b / a))
    path, y, before = [], x_0, 0.0
    for level in (*rho, b):
        y = y + np.sqrt(level**2 - before**2) * generator.standard_normal(y.shape)
        path.append(problem.model.predict(y, problem.process.level(sigma=float(level)), "x0"))
        before = level
    squares = np.array([np.mean(np.sum((here - path[-1]) ** 2, axis=1)) for here in path[:-1]])
    direct = np.log(b / a) / 2 * np.sum(weights * rho**-2 * squares)
    assert klub(np.array([a]), np.array([b]))[0] == pytest.approx(direct, rel=0.08)
    assert klub(np.array([a]), np.array([a]))[0] == 0


def test_the_measured_bound_comes_to_the_closed_one() -> None:
    data, process = de.Gaussian(np.zeros(2), np.array([1.0, 0.04])), de.EDM(0.02, 20.0)
    target = target_of(data, process=process, samples=2)
    exact = ays.gaussian_klub(np.array([1.0, 0.04]))
    measured = ays.measured_klub(target, data.sample(20_000, 0), 120, 1)
    rho = np.geomspace(0.02, 20.0, 9)
    assert np.allclose(measured(rho[:-1], rho[1:]), exact(rho[:-1], rho[1:]), rtol=0.1)
    assert np.all(exact(rho[:-1], rho[1:]) > 0)


# --- LD3 --------------------------------------------------------------------------------------------------


def test_ld3_finds_a_grid_that_is_known_to_be_best() -> None:
    """DDIM on one Gaussian ends exactly at its teacher's width only where the width is greatest: the tangent grid."""
    data, process = de.Gaussian(0.0, 1.0), de.EDM(0.02, 20.0)
    found = ld3.fit_ld3(data, 5, solver="ddim", process=process, samples=8, rounds=60)
    assert np.allclose(found.grid.rho, de.grids.arctan(process, 5).rho, rtol=2e-3)
    assert found.after < found.before


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun", "unipc_2", "dpm_solver_2"])
def test_ld3_helps_any_solver_on_states_that_it_has_not_seen(solver: str) -> None:
    found = ld3.fit_ld3("mixture_2d", 8, solver=solver, samples=64, rounds=8)
    assert found.after < 0.9 * found.before
    problem = de.problems.get_problem("mixture_2d")
    assert found.solver is not None
    out = de.sample(problem.model, found.solver, found.grid, problem.initial(2, seed=0))
    assert out.nfe <= 8


def test_what_the_network_is_told_is_learned_and_saved() -> None:
    """Decoupled levels leave the ends alone, stay within their share of the shortest step, and go with the model."""
    problem = de.problems.get_problem("mixture_2d")
    found = ld3.fit_ld3(problem, 5, decoupled=0.4, samples=32, rounds=6)
    shift = np.array(found.provenance["network_shift"])
    assert shift[0] == shift[-1] == 0
    assert 0 < np.abs(shift).max() <= 0.4 * np.diff(found.grid.lam).min() * (1 + 1e-12)
    target = target_of(problem, samples=32)
    told = found.around(problem.model)
    x = de.sample(told, "dpmpp_2m", found.grid, target.held_out).x
    assert np.sqrt(np.mean((x - target.ends[1]) ** 2)) == pytest.approx(found.after, rel=1e-12)
    plain = ld3.fit_ld3(problem, 5, samples=32, rounds=6)
    assert plain.around(problem.model) is problem.model
    assert "network_shift" not in plain.provenance


def test_moved_states_lower_the_loss_and_stay_in_their_ball(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[np.ndarray] = []
    relaxed = ld3._relaxed

    def watched(pupil: Any, parameters: np.ndarray, wanted: np.ndarray, x: Any, *rest: Any) -> Any:
        moved = relaxed(pupil, parameters, wanted, x, *rest)
        before, after = (np.linalg.norm(pupil.ends(parameters, at) - wanted, axis=1) for at in (x, moved))
        assert np.all(after <= before)
        assert np.mean(after) < np.mean(before)
        rounds.append(np.linalg.norm(moved - pupil.target.train, axis=1))
        return moved

    monkeypatch.setattr(ld3, "_relaxed", watched)
    found = ld3.fit_ld3("mixture_2d", 5, radius=0.01, samples=24, rounds=9)
    assert len(rounds) == 2
    assert 0 < rounds[-1].max() <= 0.01 * 20.0 * (1 + 1e-9)
    assert found.provenance["train"]["after"] < found.provenance["train"]["before"]
    assert found.after < found.before


def test_a_feature_is_what_the_loss_sees() -> None:
    """A feature that sees the first coordinate is served there, at the cost of the other if need be."""
    first = ld3.fit_ld3("mixture_2d", 4, feature=lambda x: x[:, :1], samples=24, rounds=6)
    blind = ld3.fit_ld3("mixture_2d", 4, feature=lambda x: 0 * x, samples=24, rounds=6)
    assert first.provenance["train"]["after"] < first.provenance["train"]["before"]
    assert blind.provenance["train"] == {"before": 0.0, "after": 0.0, "count": 24}


# --- DM-NonUniform ----------------------------------------------------------------------------------------

UNIP = de.get_solver("unip_3").configure(variant="exact", lower_order_final=True)
"""What the official code has written into its objective."""

OFFICIAL: dict[tuple[float, ...], tuple[float, float]] = {
    (-2.0, -0.5, 0.3, 1.9): (67.18037788126232, 67.15216609989096),
    (-3.0, -1.75, -1.0, 0.5, 1.25, 2.0, 3.5): (65.02130745871324, 70.50037681686184),
    (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0): (31.51285300055042, 25.378262543859964),
}
"""Inner λ on VP from t = 1 to 10⁻³ → the objective of step_optim.py (scxue/DM-NonUniform 95d4ac6, in float64), as it
stands (σ²/α, truncNum = 3), and with what its comments advise for pixels and many steps (σ/α, truncNum = 0)."""

OPTIMA: dict[int, tuple[list[float], float]] = {
    4: ([-5.024978, -1.99116, -0.790986, 0.889947, 4.557715], 60.8376893384803),
    5: ([-5.024978, -2.181826, -1.215823, -0.257793, 1.064631, 4.557715], 49.9048192184469),
    6: ([-5.024978, -2.544975, -1.423338, -0.811163, 0.099666, 1.257141, 4.557715], 38.347715000734624),
}
"""Steps → what the same code comes to from uniform λ, and its objective there."""


@pytest.mark.parametrize("inner", OFFICIAL)
def test_the_bound_is_that_of_the_official_code(inner: tuple[float, ...]) -> None:
    ends = de.VP().level(1.0), de.VP().level(1e-3)
    for options, wanted in zip((dict(apart=3), dict(power=1.0, apart=0)), OFFICIAL[inner], strict=True):
        error = nonuniform.CoefficientError(UNIP, ends, **options)
        assert error.value(np.array(inner)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("steps", OPTIMA)
def test_the_grid_is_that_of_the_official_code(steps: int) -> None:
    found = nonuniform.fit_nonuniform("gaussian", steps, solver=UNIP, apart=3)
    wanted, least = OPTIMA[steps]
    assert np.allclose(found.grid.lam, wanted, rtol=0, atol=1e-3)
    assert found.after == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize(
    "solver", ["ddim", "dpmpp_2m", "unip_3", "unipc_3", "heun", "dpm_solver_3", "ipndm_4", "o_belm"]
)
def test_contributions_are_the_derivatives_by_what_the_network_returns(solver: str) -> None:
    """Evaluations replaced by given numbers: the last state is a x_T + Σ c_n d_n."""
    plan = de.compile(solver, de.VP(), de.grids.uniform_lambda(de.VP(), 7))
    given_ = {row.out: np.sin(3.0 * k + 1.0) for k, row in enumerate(plan.rows) if isinstance(row, Evaluate)}

    def last(values: dict[str, float]) -> float:
        known = dict.fromkeys(plan.inputs, 0.0) | values
        for row in plan.rows:
            if isinstance(row, Combine):
                known[row.out] = sum(float(c) * known[name] for c, name in row.terms)
        return known[plan.states[-1]]

    steps = nonuniform.contributions(plan)
    assert len(steps) == 7
    found = sum(c * given_[name] for step in steps for name, c in step.items())
    assert found == pytest.approx(last(given_), rel=1e-11)
    for name in given_:
        alone = sum(step.get(name, 0.0) for step in steps)
        assert alone == pytest.approx(last({**dict.fromkeys(given_, 0.0), name: 1.0}), rel=1e-9, abs=1e-12)


@given(powers(0.05, 10.0), st.sampled_from(prediction.NAMES), st.floats(0.0, 3.0))
def test_the_assumed_error_is_one_of_the_data_in_every_prediction(rho: float, name: str, power: float) -> None:
    level = de.VP().level(lam=-np.log(rho))
    error = nonuniform.CoefficientError(UNIP, (level, level), power)
    found = error.assumed(Evaluate("d", "x", level, name))
    assert found == pytest.approx(prediction.change("x0", name, level)[1] * level.sigma**power / level.alpha, rel=1e-9)


# --- OLSS's times -----------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=20)
def test_the_greedy_way_with_the_least_bound_is_the_best_of_all_ways(seed: int, steps: int) -> None:
    """On trajectories whose fits err more the farther they go, halving finds the optimum of brute force."""
    generator = np.random.default_rng(seed)
    y, d = generator.standard_normal((8, 6, 2)), generator.standard_normal((7, 6, 2))
    fits = timesearch.Fits(y, d)
    lengths = np.cumsum(generator.uniform(0.1, 2.0, 8))

    def error(way: list[int], goals: int) -> float:
        return float(lengths[goals] - lengths[way[-1]])

    fits.error = error  # type: ignore[method-assign]
    best = min(fits.worst([0, *inner, 7]) for inner in combinations(range(1, 7), steps - 1))
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits.greedy(steps, middle) is None else (low, middle)
    assert high == pytest.approx(best, rel=1e-9)
    way = fits.greedy(steps, high)
    assert way is not None
    full = timesearch.filled(way, steps)
    assert len(full) == steps + 1
    assert set(way) <= set(full)
    assert fits.worst(full) <= best * (1 + 1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_errors_are_those_of_least_squares(seed: int) -> None:
    generator = np.random.default_rng(seed)
    y, d = generator.standard_normal((6, 5, 2)), generator.standard_normal((5, 5, 2))
    fits, way = timesearch.Fits(y, d), [0, 2, 3]
    known = np.stack([y[3].ravel(), *(d[k].ravel() for k in way)], axis=1)
    left = y[5].ravel() - known @ np.linalg.lstsq(known, y[5].ravel(), rcond=None)[0]
    assert float(fits.error(way, 5)) == pytest.approx(float(np.mean(left**2)), rel=1e-9)


# --- evolution --------------------------------------------------------------------------------------------


def test_evolution_finds_the_best_of_few_grids_and_judges_none_twice() -> None:
    """With ten possible grids all are tried; with generations enough the best is brute force's."""
    target = target_of("mixture_2d", samples=12, seed=0)
    lattice = target.grid("uniform_lambda", 6)
    errors = {
        inner: target.error(
            de.get_solver("ddim"), de.TimeGrid(target.process, levels=[lattice[k] for k in (0, *inner, 6)])
        )
        for inner in combinations(range(1, 6), 2)
    }
    seen: list[float] = []

    def fitness(x: np.ndarray) -> float:
        seen.append(float(np.sum(x)))
        return float(np.sqrt(np.mean((x - target.ends[0]) ** 2))) if len(x) == 12 else 0.0

    found = searched("evolution", nfe=3, nodes=6, fitness=fitness, generations=12)
    assert found.provenance["train"]["after"] == pytest.approx(min(errors.values()), rel=1e-9)
    assert found.provenance["tried"] == len(errors)
    inside = [int(np.argmin(np.abs(lattice.lam - lam))) for lam in found.grid.lam[1:-1]]
    assert tuple(inside) == min(errors, key=errors.__getitem__)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=30)
def test_mutants_and_crossings_are_ways(seed: int, steps: int) -> None:
    pool = evolution._Population(12, steps, np.random.default_rng(seed))
    one, other = pool.drawn(), pool.drawn()
    assert pool.mutated(one, 1e-12) == one
    for way in (one, other, pool.mutated(one, 0.5), pool.mutated(one, 1.0)):
        assert len(way) == steps + 1
    crossed = pool.crossed(one, other)
    assert set(crossed) <= set(one) | set(other)
    for way in (one, other, crossed, pool.mutated(one, 0.9)):
        assert way == tuple(sorted(set(way)))
        assert way[0] == 0
        assert way[-1] == 12
    assert not set(pool.mutated(one, 1.0)[1:-1]) & set(one[1:-1]) or steps > 6


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=20)
def test_frechet_is_the_distance_of_gaussian_laws(seed: int, dimension: int) -> None:
    """Against the exact distance of two normal laws, one with the samples' own mean and covariance."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((30, dimension)) * generator.uniform(0.2, 2.0, dimension)
    mean, spread = generator.standard_normal(dimension), generator.uniform(0.1, 2.0, dimension)
    own = evolution.frechet(x, x.mean(axis=0), np.atleast_2d(np.cov(x.T, bias=True)))
    assert own == pytest.approx(0.0, abs=1e-6)
    found = evolution.frechet(x, mean, np.diag(spread))
    if dimension == 1:
        assert found**2 == pytest.approx((x.mean() - mean[0]) ** 2 + (x.std() - np.sqrt(spread[0])) ** 2, rel=1e-9)
    moved = evolution.frechet(x + 3.0, mean + 3.0, np.diag(spread))
    assert moved == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler_ancestral"])
def test_evolution_judges_by_the_law_of_the_samples(solver: str) -> None:
    found = searched("evolution", solver=solver, fitness="w2")
    assert found.provenance["loss"] == "w2"
    assert found.provenance["train"]["after"] < found.provenance["train"]["before"]


# --- misuse -----------------------------------------------------------------------------------------------

MODEL = de.problems.get_problem("mixture_2d").model

MISUSE: dict[str, tuple[Callable[[], Any], str]] = {
    "method": (lambda: fit("mixture_2d", 5, "grid", method="git"), "no method named 'git'; did you mean 'gits'?"),
    "budget": (lambda: gits.fit_gits("mixture_2d", 0), "nfe must be a whole number of at least 1, not 0"),
    "samples": (lambda: searched("gits", samples=1), "samples must be a whole number of at least 2, not 1"),
    "no states": (lambda: gits.fit_gits(MODEL, 5), "give the starting states x_T of your model"),
    "metric": (lambda: searched("gits", metric="l3"), "no metric named 'l3'; there are dev, l1, l2"),
    "one dimension": (lambda: searched("gits", "gaussian"), "metric='dev' is 0 in one dimension; use metric='l2'"),
    "gamma": (lambda: searched("gits", gamma=0.0), "gamma must be a positive number, not 0.0"),
    "noisy teacher": (lambda: searched("gits", teacher="ddpm"), "the teacher ddpm draws noise"),
    "few nodes": (lambda: searched("gits", nodes=4), "5 steps need as many nodes, not nodes=4; raise it"),
    "few nodes to search": (lambda: searched("olss", nodes=4), "5 steps need as many nodes, not nodes=4; raise it"),
    "flow": (lambda: searched("ays", flow="pde"), "flow must be 'sde' or 'ode', not 'pde'"),
    "tangent of a mixture": (lambda: searched("ays", flow="ode"), "needs Gaussian data of one variance"),
    "no data": (lambda: searched("ays", "digits"), "give examples as data=, shape (n, …)"),
    "variable": (lambda: searched("ld3", variable="s"), "variable must be one of lam, t, rho, not 's'"),
    "share": (lambda: searched("ld3", decoupled=-1.0), "decoupled must lie in [0, 1]"),
    "noisy pupil": (lambda: searched("ld3", solver="ddpm"), "ddpm draws noise, so its end points are not"),
    "budget of a step": (lambda: searched("ld3", solver="dpm_solver_3", nfe=2), "more than 2 evaluations; raise nfe"),
    "apart": (lambda: searched("nonuniform", apart=-1), "apart must be a number of steps or None, not -1"),
    "fitness": (lambda: searched("evolution", fitness="fid"), "fitness must be 'error', 'w2' or a function"),
    "noisy error": (lambda: searched("evolution", solver="ddpm"), "has no end points; use fitness='w2'"),
    "chance": (lambda: searched("evolution", chance=0.0), "chance must lie in (0, 1], not 0.0"),
    "population": (lambda: searched("evolution", population=0), "population must be a whole number of at least 1"),
    "start": (lambda: searched("ld3", start="karas"), "no grid named 'karas'; did you mean 'karras'?"),
    "start of another length": (
        lambda: searched("ld3", start=de.grids.karras(de.EDM(0.02, 20.0), 7)), "the grid given must have 5 steps of"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_told_before_any_work(case: str) -> None:
    call, words = MISUSE[case]
    with pytest.raises(DiffodeError, match=re.escape(words)):
        call()


def test_a_spectrum_and_data_are_targets_too() -> None:
    """Eigenvalues and data of the same law give the same grid."""
    values = np.array([1.0, 0.25])
    grids = [searched("ays", target).grid.lam for target in (values, de.Gaussian(np.zeros(2), values))]
    assert np.array_equal(*grids)
    assert isinstance(target_of("power:2", samples=2), Target)
