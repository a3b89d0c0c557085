"""Correctors on other solvers, dynamic compensation and its fit, Heun++, and what became of Lawson's methods."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode import phi
from diffode.analysis.order.proof import prove_order
from diffode.analysis.order.whole import whole_run
from diffode.errors import DiffodeError, SolverError
from diffode.fitting.compensation import SD21, cascade, fit_compensation
from diffode.plan import Combine, Evaluate
from diffode.solvers import get_solver

EDM = de.EDM()
MODEL = de.GaussianMixture([0.4, 0.6], [[-1.0], [1.2]], [0.3, 0.5]).denoiser(EDM)
GRID = de.TimeGrid(EDM, sigma=[4.0, 3.1, 2.0, 1.2, 0.9, 0.5])
X = np.linspace(-6, 6, 7)[:, None]


def eps(x: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(MODEL.predict(x, EDM.level(sigma), "eps"))


def end(solver: str | de.Solver, grid: de.TimeGrid = GRID) -> np.ndarray:
    return de.sample(MODEL, solver, grid, X).x


# --- UniC on others -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "order", "reached"),
    [
        ("ddim", 3, 2), ("dpmpp_2m", 1, 2), ("dpmpp_2m", 3, 3), ("heun", 2, 3), ("dpmpp_3s", 3, 4), ("krogstad", 3, 4),
        ("dpm_solver_2", 2, 3), ("dpmpp_3m", 3, 3), ("unipc_1", 3, 3),
    ],
)  # fmt: skip
def test_one_order_more_than_the_base_but_no_more_than_the_corrector(base: str, order: int, reached: int) -> None:
    for mode in ("PEC", "PECE"):
        solver = get_solver(f"unic(base={base!r}, order={order}, mode={mode!r})")
        assert prove_order(solver).order == reached == solver.true_order


@pytest.mark.parametrize(
    "base", ["ddim", "euler", "dpmpp_2m", "dpm_solver_2m", "dpmpp_3s", "ipndm_4", "ghvb_2.5", "fon"]
)
@pytest.mark.parametrize("final", ["min", "zero"])
def test_correcting_costs_no_evaluation(base: str, final: Any) -> None:
    grid = de.grids.uniform_lambda(de.VP(), 7, final=final)
    corrected, alone = (get_solver(name).plan(grid) for name in (f"unic(base={base!r}, order=3)", base))
    assert corrected.nfe == alone.nfe
    assert corrected.rows != alone.rows


def test_a_one_step_base_is_corrected_as_soon_as_enough_values_are_known() -> None:
    """Not before: a corrector of lower order than the base would spoil its step."""
    names = "unic(base='dpmpp_3s', order=3)", "dpmpp_3s"
    states = [de.sample(MODEL, s, GRID, X, trajectory=True).trajectory for s in names]
    same = [bool(np.allclose(a, b, rtol=1e-13)) for a, b in zip(*states, strict=True)]
    assert same == [True, True, True] + [False] * (len(GRID) - 3)


def test_euler_and_the_trapezoidal_rule_by_hand() -> None:
    """PEC: the slope at the predicted point serves twice."""
    x, slope = X, eps(X, float(GRID.sigma[0]))
    for k, (a, b) in enumerate(pairwise(GRID.sigma)):
        new = eps(x + (b - a) * slope, b)
        x = x + (b - a) * (slope if k == len(GRID) - 2 else (slope + new) / 2)
        slope = new
    assert end("heun_pc") == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        ("unic(base='rk4_t')", "asks for 'velocity'"), ("unic(base='dpmpp_2m', variable='rho')", "noise predictions"),
        ("unic(base='edict')", "at its own state"), ("unic(base='ddim_inversion')", "at its own state"),
        ("unic(base=\"exponential_adams(start='derived')\")", "start='derived'"),
        ("unic(base='ddim(eta=1.0)')", "draws noise"), ("unic(mode='PC')", "mode is one of"),
        ("unic(variable='time')", "variable one of"), ("unic(order=0)", "outside its range"),
    ],
)  # fmt: skip
def test_what_cannot_be_corrected_is_refused(solver: str, said: str) -> None:
    with pytest.raises(SolverError, match=said):
        get_solver(solver).plan(GRID)


# --- dynamic compensation -------------------------------------------------------------------------------------


def test_compensation_by_hand() -> None:
    """On DDIM, of degree 1: each value is moved along the line through it and the compensated one before."""
    ratios = (1.0, 0.9, 1.2, 0.7, 1.1)
    x, before = X, None
    for ratio, (a, b) in zip(ratios, pairwise(GRID.sigma), strict=True):
        e = eps(x, a)
        e = e if before is None else before + ratio * (e - before)
        x, before = x + (b - a) * e, e
    assert end(f"dc_solver(base='ddim', degree=1, ratios={ratios})") == pytest.approx(x, rel=1e-12)


def test_ratios_of_one_are_the_base_and_others_cost_nothing() -> None:
    zero = de.grids.uniform_lambda(de.VP(), 5, final="zero")
    for base in ("unipc_3", "dpmpp_2m", "ddim"):
        made = get_solver("dc_solver").configure(base=base)
        ones, others = (made.configure(ratios=ratios) for ratios in ((1.0,) * 5, (1.0, 1.0, 0.9, 1.1, 1.2)))
        assert end(ones) == pytest.approx(end(base), rel=1e-12)
        assert np.max(np.abs(end(others) - end(base))) > 1e-4
        assert others.plan(zero).nfe == get_solver(base).plan(zero).nfe


def test_bad_ratios_are_refused() -> None:
    with pytest.raises(SolverError, match="ratios holds 3 numbers, one for each step, but the grid has 5"):
        get_solver("dc_solver(ratios=(1.0, 1.0, 0.9))").plan(GRID)
    with pytest.raises(SolverError, match="variable is one of"):
        get_solver("dc_solver(variable='sigma')").plan(GRID)
    with pytest.raises(SolverError, match="does not keep the values"):
        get_solver("dc_solver(base='ghvb_2.5', ratios=0.9)").plan(GRID)


def test_the_search_helps_on_states_that_it_has_not_seen() -> None:
    found = fit_compensation("mixture_1d", 6, samples=64, substeps=20)
    assert found.after < 0.7 * found.before
    options = found.solver.options
    assert options["ratios"][:2] == (1.0, 1.0)
    assert all(0.5 <= ratio <= 1.5 for ratio in options["ratios"])
    again = get_solver("dc_solver").configure(**options)
    assert again.plan(found.grid).rows == found.solver.plan(found.grid).rows


@pytest.mark.parametrize(
    ("options", "said"),
    [({"start": "heun"}, "more than one evaluation"), ({"width": 0.0}, "width"), ({"tolerance": 1.0}, "tolerance")],
)
def test_a_search_that_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DiffodeError, match=said):
        fit_compensation("mixture_1d", 6, samples=8, **options)


@pytest.mark.parametrize(("scale", "nfe"), [(7.5, 5), (3.0, 12)])
def test_the_cascade_is_three_polynomials_one_in_another(scale: float, nfe: int) -> None:
    in_steps = [np.polyval([np.polyval(row, nfe / 50) for row in rows], scale / 12) for rows in SD21.coefficients]
    wanted = np.polyval(in_steps[::-1], np.arange(3, nfe + 1) / nfe)
    assert SD21.ratios(scale, nfe) == pytest.approx([1.0, 1.0, *wanted], rel=1e-9)


def test_regression_returns_what_made_the_ratios_and_foretells_others() -> None:
    made = {(w, n): SD21.ratios(w, n) for w in (1.5, 4.5, 7.5) for n in (6, 8, 10)}
    assert cascade(made).ratios(6.0, 7) == pytest.approx(SD21.ratios(6.0, 7), abs=1e-6)
    with pytest.raises(DiffodeError, match="5 steps have 5 ratios, not 4"):
        cascade({(1.0, 5): (1.0,) * 4})
    with pytest.raises(DiffodeError, match="more than 2 steps"):
        cascade({(1.0, 2): (1.0, 1.0)})


# --- Heun++ ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [True, False])
def test_heunpp2_by_hand(published: bool) -> None:
    sigma, x = GRID.sigma, X
    for i, (a, b) in enumerate(pairwise(sigma)):
        ahead = sigma[i : i + min(3, len(sigma) - 1 - i)]
        slopes, there = [eps(x, a)], x
        for s, t in pairwise(ahead):
            there = there + (t - s) * slopes[-1]
            slopes.append(eps(there, t))
        later = ahead[1:]
        scale = len(ahead) * sigma[0] if published else 2 * np.sum(later * (later - a)) / (b - a) if len(later) else 1
        weights = later / scale
        mean = (1 - np.sum(weights)) * slopes[0] + sum(w * d for w, d in zip(weights, slopes[1:], strict=True))
        x = x + (b - a) * mean
    assert end("heunpp2" if published else "heunpp2_corrected") == pytest.approx(x, rel=1e-12)


def test_heunpp2_put_right_is_of_second_order_on_uneven_steps_too() -> None:
    """The proof is for equal steps; measured on a grid uniform in σ, that is, with step ratios in λ up to 1.6."""

    def off(name: str, n: int) -> float:
        grid = de.TimeGrid(EDM, sigma=np.linspace(4.0, 0.5, n + 1).tolist())
        return float(np.max(np.abs(end(name, grid) - de.reference(MODEL, X, grid, 1e-12).x)))

    for name, order in (("heunpp2", 1), ("heunpp2_corrected", 2)):
        assert np.log2(off(name, 80) / off(name, 160)) == pytest.approx(order, abs=0.25)


# --- Lawson ---------------------------------------------------------------------------------------------------


def test_the_modified_last_weight_is_that_of_the_literature() -> None:
    """φ_2/3 + φ_3 + φ_4 − (5/24) e^{z/2} with three values (EXPINT, modgenlawson43); unmodified 1/6."""
    h = 0.4
    grid = de.TimeGrid(EDM, lam=[h * k for k in range(5)])
    for name, wanted in (
        ("modified_lawson_3", phi.phi(2, h) / 3 + phi.phi(3, h) + phi.phi(4, h) - 5 / 24 * np.exp(h / 2)),
        ("generalised_lawson_3", 1 / 6),
    ):
        plan = get_solver(name).configure(prediction="eps").plan(grid)
        last = [row.out for row in plan.rows if isinstance(row, Evaluate)][-1]
        state = next(row for row in plan.rows if isinstance(row, Combine) and row.out == plan.states[-1])
        found = {register: c for c, register in state.terms}[last]
        assert found == pytest.approx(-float(grid.sigma[-1]) * h * wanted, rel=1e-11)


def test_adams_bashforth_lawson_is_adams_bashforth_in_the_turning_frame() -> None:
    """For the noise prediction: dy/dλ = −e^{−λ} ε, equal steps, weights 3/2 and −1/2."""
    h = 0.3
    grid = de.TimeGrid(EDM, lam=[-1.0 + h * k for k in range(6)])
    x, before = X, None
    for level in grid.levels[:-1]:
        slope = -np.exp(-level.lam) * eps(x, level.sigma)
        x, before = x + h * (slope if before is None else 1.5 * slope - 0.5 * before), slope
    assert end("ablawson(order=2, prediction='eps')", grid) == pytest.approx(x, rel=1e-12)


def test_a_derived_start_keeps_what_the_ramp_costs_from_order_6_on() -> None:
    rule = get_solver("modified_lawson_5")
    assert (rule.order, whole_run(rule), whole_run(rule.configure(start="derived"))) == (6, 5, 6)
