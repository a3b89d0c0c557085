"""Derived starts and ends: laws over every rule that offers them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.convergence import order_started, quantile_flow
from diffode.analysis.moments import amplification
from diffode.analysis.order.whole import whole_run
from diffode.backends import execute, get_backend
from diffode.errors import SolverError
from diffode.problems.named import MIXTURE_1D
from diffode.solvers import Solver, get_solver, registry
from tests.strategies import grids, processes

KEPT = {"start": "derived", "lower_order_final": "derived"}
PROCESS = de.VP()


def _once(solvers: list[Solver]) -> list[Solver]:
    """Without second names for the same configuration."""
    return list({(s.rule.__name__, str(sorted(s.options.items()))): s for s in reversed(solvers)}.values())


OFFERING = _once([s for s in registry().values() if {"start", "lower_order_final"} <= set(s.options) and s.history])
DETERMINISTIC = [s for s in OFFERING if s.strong_order is None]
STOCHASTIC = [s for s in OFFERING if s.strong_order is not None]
HIGHER = [s for s in DETERMINISTIC if s.order > 2 and s.reaches is None and not s.uniform]
PROVED = [get_solver(n) for n in ("dpmpp_3m_corrected", "unipc_2", "unipc_3", "deis_rhoab_3", "ghvb_2.5", "ghvb_3.5")]

every = pytest.mark.parametrize("solver", OFFERING, ids=lambda s: s.name)
every_deterministic = pytest.mark.parametrize("solver", DETERMINISTIC, ids=lambda s: s.name)


def test_every_family_of_multistep_rules_offers_them() -> None:
    families = {"adams", "multistep", "unipc", "stochastic_adams", "refined", "momentum", "exponential_pece"}
    lacking = [s.name for s in registry().values() if s.family in families and s.history and s.name not in _names()]
    assert not lacking


def _names() -> set[str]:
    return {s.name for s in registry().values() if {"start", "lower_order_final"} <= set(s.options)}


# --- order --------------------------------------------------------------------------------------------------


@every_deterministic
def test_the_whole_run_has_the_order_of_the_rule(solver: Solver) -> None:
    """Proved, and measured where the steps are fine enough for order 5."""
    order, kept = solver.true_order, solver.configure(**KEPT)
    assert whole_run(kept) == order
    assert order_started(kept, PROCESS, [120, 160, 240, 320, 480]).judge(order) == "PASS"


@pytest.mark.parametrize("solver", PROVED, ids=lambda s: s.name)
def test_a_whole_run_errs_by_the_power_claimed_and_the_published_one_by_less(solver: Solver) -> None:
    """For every model and process, on any grid; order 3 of UniPC is kept by the published start, not by its end."""
    assert whole_run(solver.configure(**KEPT)) == solver.order
    assert whole_run(solver.configure(start="derived", lower_order_final=True)) == 2
    corrects = bool(solver.options.get("corrector"))
    assert whole_run(solver.configure(start="ramp", lower_order_final="derived")) == 2 + corrects


def test_what_accumulates_between_start_and_end_counts() -> None:
    """One step of the published third-order rule errs by h^3; and a rule of order 1 has it in whole runs, too."""
    assert whole_run(get_solver("dpmpp_3m").configure(**KEPT)) == 2
    assert whole_run(get_solver("euler"), 4) == 1


@pytest.mark.parametrize("name", ["dpmpp_3m_corrected", "unipc_2", "deis_rhoab_2", "exponential_pece_4"])
def test_an_exact_start_keeps_the_order_too(name: str) -> None:
    solver = get_solver(name)
    assert whole_run(solver.configure(start="exact", lower_order_final="derived")) == solver.order


@pytest.mark.parametrize("name", ["deis_rhoab_2", "deis_rhoab_3", "ghvb_2.5", "ghvb_3.5"])
def test_the_derived_end_keeps_three_orders_to_the_very_end(name: str) -> None:
    """Equal steps in ρ down to σ = 0, where the limit of the one-step formula is of second order."""
    quantiles = (np.arange(16) + 0.5) / 16

    def error(steps: int, end: bool | str) -> float:
        grid = de.TimeGrid(PROCESS, rho=np.linspace(1.0, 0.0, steps + 1).tolist())
        plan = get_solver(name).configure(start="derived", lower_order_final=end).plan(grid)
        first, last = quantile_flow(PROCESS, [grid[0], PROCESS.level(rho=1e-9)], quantiles)
        final = execute(get_backend("numpy"), plan, MIXTURE_1D.denoiser(PROCESS), [first])[plan.states[-1]]
        return float(np.sqrt(np.mean((final - last) ** 2)))

    assert np.log2(error(40, "derived") / error(160, "derived")) / 2 > 2.6
    assert np.log2(error(40, False) / error(160, False)) / 2 < 2.4


# --- runs that are cut ----------------------------------------------------------------------------------------


def _cut(solver: Solver, grid: de.TimeGrid, cut: int, x: np.ndarray) -> np.ndarray:
    """The end of a run in two parts."""
    model = MIXTURE_1D.denoiser(PROCESS)
    first = de.sample(model, solver, de.TimeGrid(PROCESS, levels=grid.levels[: cut + 1]), x, open_end=True)
    rest = de.TimeGrid(PROCESS, levels=grid.levels[cut:])
    return de.sample(model, solver, rest, first.x, memory=first.memory).x


def _ends(solver: Solver) -> int:
    """How many steps the end has: those that change with it."""
    grid = de.grids.uniform_lambda(PROCESS, 9)
    plans = (solver.plan(grid), solver.configure(lower_order_final="derived").plan(grid))
    states = [[plan.rows[[row.out for row in plan.rows].index(x)] for x in plan.states[1:]] for plan in plans]
    return len(states[0]) - next(i for i, (a, b) in enumerate(zip(*states, strict=True)) if repr(a) != repr(b))


@every_deterministic
def test_a_cut_run_is_the_whole_run_until_the_end_begins(solver: Solver) -> None:
    """Bit for bit. A first part is not told where the second ends, so that it takes no step of the end itself."""
    grid, x = de.grids.uniform_lambda(PROCESS, 9), np.array([[-1.3], [0.2], [1.1]])
    kept = solver.configure(**KEPT)
    whole = de.sample(MIXTURE_1D.denoiser(PROCESS), kept, grid, x).x
    for cut in range(1, grid.steps - _ends(solver) + 1):
        assert np.array_equal(_cut(kept, grid, cut, x), whole)


@pytest.mark.parametrize("solver", HIGHER, ids=lambda s: s.name)
def test_a_cut_within_the_end_keeps_the_order(solver: Solver) -> None:
    """One step is left to the second part; it leans on what the first remembers, not on its own state alone."""
    kept, quantiles = solver.configure(**KEPT), (np.arange(8) + 0.5) / 8
    errors: list[float] = []
    for steps in (120, 240):
        grid = de.TimeGrid(PROCESS, lam=np.linspace(-1.5, 1.5, steps + 1))
        first, last = quantile_flow(PROCESS, [grid[0], grid[-1]], quantiles)
        errors.append(float(np.sqrt(np.mean((_cut(kept, grid, steps - 1, first) - last) ** 2))))
    assert np.log2(errors[0] / errors[1]) > solver.order - 0.4


# --- constant data ------------------------------------------------------------------------------------------


@every_deterministic
@settings(max_examples=6)
@given(st.data())
def test_constant_data_are_hit_exactly(solver: Solver, data: st.DataObject) -> None:
    if solver.rule.__name__ == "ablawson":  # its own steps do not keep them
        return
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(1, 9)))
    plan = solver.configure(**KEPT).plan(grid)
    x = float(grid.sigma[0]) * np.array([[-1.0], [0.3], [2.0]])
    model = de.Gaussian(0.7, 0.0).denoiser(process)
    final = execute(get_backend("numpy"), plan, model, [x])[plan.states[-1]]
    exact = grid.alpha[-1] * 0.7 + grid.sigma[-1] / grid.sigma[0] * (x - grid.alpha[0] * 0.7)
    assert np.max(abs(final - exact)) <= 1e-13 * amplification(plan) * (1 + np.max(abs(x)))


@every
@settings(max_examples=6)
@given(st.data())
def test_every_process_and_every_grid_has_finite_coefficients(solver: Solver, data: st.DataObject) -> None:
    process = data.draw(processes())
    grid = data.draw(grids(process, steps=st.integers(1, 7), singular=True))
    plan = solver.configure(**KEPT).plan(grid)
    assert len(plan.states) == len(grid)


# --- cost ---------------------------------------------------------------------------------------------------


@every
def test_evaluations_are_as_many_as_stated(solver: Solver) -> None:
    """The start's own, less the corrections that a rule does not make in steps that are put right anyway."""
    grid = de.grids.uniform_lambda(PROCESS, 12)
    order = 2 if solver.strong_order else max(int(solver.order), 2)
    ramp = solver.configure(lower_order_final="derived")
    saved = (order - 2) * solver.options.get("corrections", 0)
    assert solver.configure(**KEPT).plan(grid).nfe - ramp.plan(grid).nfe == (order - 2) * (order - 3) // 2 - saved


@pytest.mark.parametrize("solver", STOCHASTIC, ids=lambda s: s.name)
def test_with_noise_the_ramp_is_the_derived_start(solver: Solver) -> None:
    grid = de.grids.uniform_lambda(PROCESS, 8)
    assert solver.configure(start="derived").plan(grid).rows == solver.plan(grid).rows


# --- guidance -----------------------------------------------------------------------------------------------

DATA, BROAD = [1.0, 0.1, 0.01], de.Gaussian([0.0, 0.0, 0.0], [1.5, 0.2, 0.05])


@pytest.mark.parametrize("solver", [s for s in HIGHER if s.order < 5], ids=lambda s: s.name)
def test_guidance_is_borne_as_with_the_ramp(solver: Solver) -> None:
    """At 10 steps a derived start and end bear at least 0.95 of the guidance that ramp and full end bear."""
    grid = de.grids.uniform_lambda(PROCESS, 10)
    derived, ramp = (
        de.guidance_limit(solver.configure(**options), DATA, grid, BROAD)
        for options in (KEPT, {"start": "ramp", "lower_order_final": False})
    )
    assert derived >= 0.95 * ramp


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("unipc_3", {"start": "slow"}, "no start 'slow'; there are ramp, exact, derived"),
        ("ghvb_2.5", {"start": "exact"}, "no start 'exact'; there are ramp, derived"),
        ("dpmpp_2m", {"lower_order_final": "late"}, "no lower_order_final='late'; there are False, True, 'last'"),
    ],
)
def test_unknown_names_are_refused(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(SolverError, match=said):
        get_solver(name).configure(**options).plan(de.grids.uniform_lambda(PROCESS, 3))
