"""Parameters and grids that are best for something: known optima, derivatives, reproducibility, misuse."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import cache
from math import factorial
from pathlib import Path

import numpy as np
import pytest

import diffode as de
from diffode.analysis.derivation.bearing import Interval, LongestStep
from diffode.analysis.derivation.constants import error_constants
from diffode.analysis.derivation.gridding import GaussianError, GridOptimum
from diffode.analysis.derivation.optimizing import Objective, Optimum
from diffode.analysis.derivation.parameters import subject
from diffode.analysis.order.conditions import order_conditions
from diffode.analysis.stability.longest import largest_rate
from diffode.errors import DiffodeError, GridError, SolverError
from diffode.grids import NAMES

TWO = ("exp-rk", {"stages": 2})
THREE = ("exp-rk", {"stages": 3})
IN_RHO = ("exp-rk", {"stages": 2, "variable": "rho", "prediction": "eps"})
EXTRA = ("exp-multistep", {"order": 2, "history": 2})
NOISY = ("exp-multistep", {"order": 2, "history": 2, "prediction": "eps"})
HYBRID = ("hybrid", {})
VELOCITY = ("momentum", {"order": 2})

CASES = {
    "two": (TWO, "error-constant", {}),
    "three": (THREE, "error-constant", {}),
    "momentum": (VELOCITY, "error-constant", {}),
    "interval": (EXTRA, "stability-interval", {}),
    "guided": (EXTRA, "guidance", {"step": 0.5}),
    "guided noise": (NOISY, "guidance", {"step": 0.5}),
}


@cache
def optimum(name: str) -> Optimum:
    (what, structure), objective, options = CASES[name]
    return de.optimize(what, objective, starts=2, **structure, **options)


@cache
def goal(name: str) -> tuple[Objective, int]:
    """The objective of a case as a function, and whether more (1) or less (−1) of it is better."""
    (what, structure), objective, options = CASES[name]
    chosen = subject(what, **structure)
    if objective == "error-constant":
        return error_constants(chosen), -1
    return Interval(chosen, "real", Fraction(options.get("step", 0))), 1


def drawn(best: Optimum, count: int, seed: int) -> list[tuple[Fraction, ...]]:
    """Parameters in the ranges; within 1 of the best where there is none."""
    generator = np.random.default_rng(seed)
    low = [max(best.ranges[name][0], value - 1) for name, value in best.parameters.items()]
    high = [min(best.ranges[name][1], value + 1) for name, value in best.parameters.items()]
    return [tuple(Fraction(float(v)) for v in generator.uniform(low, high)) for _ in range(count)]


# --- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_no_parameters_that_are_drawn_are_better(name: str) -> None:
    objective, sign = goal(name)
    best = optimum(name)
    assert sign * best.after >= sign * best.before
    values = [objective.value(v) for v in drawn(best, 50, 1)]
    assert sign * best.after >= max(sign * v for v in values) - 1e-12
    assert len(set(values)) > 10


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_differences(name: str) -> None:
    objective, _ = goal(name)
    for at in drawn(optimum(name), 2, 2):
        slopes = objective.gradient(at)
        for k, slope in enumerate(slopes):
            small = Fraction(1, 10**5)
            up, down = (tuple(v + s * small * (i == k) for i, v in enumerate(at)) for s in (1, -1))
            if isinstance(objective, Interval) and not objective.value(at):
                assert np.isnan(slope)
                continue
            quotient = (objective.value(up) - objective.value(down)) / float(2 * small)
            assert slope == pytest.approx(quotient, rel=1e-5, abs=1e-6)


def test_ralston() -> None:
    """Ralston (Math. Comp. 16, 1962): the second stage at 2/3 has the least error; it does with exponentials too."""
    for what, structure in (TWO, IN_RHO, ("dpm_solver_2", {})):
        best = de.optimize(what, **structure)
        assert list(best.parameters.values()) == [2 / 3]
        assert best.proved
        assert list(best.gradient.values()) == [0.0]


@pytest.mark.parametrize(("what", "structure"), [TWO, HYBRID])
def test_an_error_constant_is_that_of_the_table_of_conditions(what: str, structure: dict[str, int]) -> None:
    """At numbers, by a trace without symbols; the λ-leaves of the tree [λ…λ] have order! symmetries."""
    chosen = subject(what, **structure)
    constants = error_constants(chosen)
    at = (Fraction(2, 5),)
    other = order_conditions(chosen.at(at), constants.order + 1, "uniform").error_constants
    assert set(constants.residuals) == set(other)
    plain = "[" + "λ" * constants.order + "]"
    residual = constants.residuals[plain].subs(constants.symbols[0], "2/5")
    assert residual * factorial(constants.order) == other[plain]


def test_a_free_weight_finds_the_higher_order() -> None:
    """With one weight more than order 2 needs the least error constant is 0, at the weights of order 3."""
    best = de.optimize("exp-multistep", order=2, history=2)
    assert best.after == 0
    assert order_conditions(best.solver, 3, "uniform").order >= 3


@pytest.mark.parametrize(("order", "history"), [(1, 1)])
def test_guidance_in_small_steps_is_the_barrier(order: int, history: int) -> None:
    best = de.optimize("exp-multistep", "guidance", order=order, history=history)
    barrier = de.analysis.guidance_barrier(history + 1, order)
    assert best.after == pytest.approx(barrier.length, rel=1e-9)
    assert list(best.parameters.values()) == pytest.approx([float(b) for b in barrier.weights[order:]], rel=1e-9)


def test_guidance_is_what_equal_steps_bear() -> None:
    for name in ("guided", "guided noise"):
        assert largest_rate(optimum(name).solver, 0.5) == pytest.approx(optimum(name).after, rel=1e-6)


def test_the_longest_step_for_a_guidance_scale() -> None:
    chosen = subject(*TWO[:1], **TWO[1])
    longest, at = LongestStep(chosen, 5.0), (Fraction(7, 10),)
    h = longest.value(at)
    assert largest_rate(chosen.configured(at), h) == pytest.approx(5.0, rel=1e-6)
    near = (longest.value((at[0] + Fraction(1, 10**5),)) - longest.value((at[0] - Fraction(1, 10**5),))) * 5e4
    assert longest.gradient(at)[0] == pytest.approx(near, rel=1e-4)


def test_the_outcome_is_verified_written_and_the_same_again(tmp_path: Path) -> None:
    best = optimum("guided")
    again = optimum.__wrapped__("guided")
    assert (again.parameters, again.after, again.tried) == (best.parameters, best.after, best.tried)
    best.save(tmp_path / "mine.py")
    assert dict(de.get_solver(str(tmp_path / "mine.py")).options) == pytest.approx(dict(best.parameters), rel=1e-15)
    assert best.certificate.verdict == "PASS"
    content = json.loads(best.to_json())
    assert content["certificate"]["verdict"] == "PASS"
    assert content["after"] == best.after


MISUSE = {
    "prediction must be eps": lambda: de.optimize("exp-rk", stages=2, variable="rho"),
    "2 weights meet 2 conditions": lambda: de.optimize("exp-multistep", order=2),
    "history=2": lambda: de.optimize("exp-multistep", order=2),
    "stages=2 or 3": lambda: de.optimize("exp-rk", stages=1),
    "heun has no free parameter": lambda: de.optimize("heun"),
    "no objective named 'speed'": lambda: de.optimize("exp-rk", "speed"),
    "fitted to a linear problem": lambda: de.optimize("exp-rk", "gaussian"),
    "outside its range 0 (excluded) … 1": lambda: de.optimize("exp-rk", ranges={"c2": (0.5, 1.5)}),
    "the lower first": lambda: de.optimize("exp-rk", ranges={"c2": (0.5, 0.2)}),
    "free parameter named 'c9'": lambda: de.optimize("dpm_solver_2", free="c9"),
    "draws noise": lambda: de.optimize("exp-multistep", "stability-interval", order=2, history=2, stochastic=1.0),
    "whatever c2 may be": lambda: de.optimize("exp-rk", "stability-interval", stages=2),
    "no such interval": lambda: de.optimize("exp-rk", "imaginary-interval", stages=2),
    "go with objective='guidance'": lambda: de.optimize("exp-rk", step=0.1),
    "not both": lambda: de.optimize("exp-rk", "guidance", step=0.1, guidance=2.0),
    "guidance must be a positive number": lambda: de.optimize("exp-rk", "guidance", guidance=-1.0),
    "seed must be a whole number": lambda: de.optimize("exp-rk", seed=-1),
    "describes a family": lambda: de.optimize("dpm_solver_2", stages=2),
    "cannot be negative": lambda: de.optimize_grid("ddim", spectrum=[1.0, -1.0]),
    "not finite": lambda: de.optimize_grid("ddim", spectrum=[1.0, np.nan]),
    "all of one length": lambda: de.optimize_grid("ddim", spectrum=[[1.0, 2.0], [3.0]]),
    "at least two rows": lambda: de.optimize_grid("ddim", spectrum=[[1.0, 2.0]]),
    "all eigenvalues are 0": lambda: de.optimize_grid("ddim", spectrum=[0.0]),
    "'power:A'": lambda: de.optimize_grid("ddim", spectrum="power:-1"),
    "no such file": lambda: de.optimize_grid("ddim", spectrum="nowhere.npy"),
    "takes 2 evaluations, more than nfe=1": lambda: de.optimize_grid("heun", nfe=1),
    "loss must be": lambda: de.optimize_grid("ddim", loss="l1"),
    "nfe must be": lambda: de.optimize_grid("ddim", nfe=0),
}


@pytest.mark.parametrize("message", MISUSE)
def test_what_cannot_be_is_said_in_a_line(message: str) -> None:
    with pytest.raises(DiffodeError) as caught:
        MISUSE[message]()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- grids ------------------------------------------------------------------------------------------------------------

EIGENVALUES = np.geomspace(1.0, 1e-3, 6)
GRIDS = {
    "edm": ("dpmpp_2m", de.EDM(), 6, {}),
    "few": ("heun", de.VP(), 7, {}),
    "noise": ("dpmpp_2m_sde", de.VP(), 6, {"loss": "kl"}),
    "flow": ("ddim", de.Flow(), 5, {}),
    "zero": ("dpmpp_2m", de.VP(), 6, {"final": "zero"}),
}


@pytest.fixture(scope="module")
def grids() -> dict[str, GridOptimum]:
    return {
        name: de.optimize_grid(solver, process, nfe, EIGENVALUES, **options)
        for name, (solver, process, nfe, options) in GRIDS.items()
    }


@pytest.mark.parametrize("name", GRIDS)
def test_no_shipped_grid_is_better(grids: dict[str, GridOptimum], name: str) -> None:
    """By the exact law of the plan, which knows nothing of how the grid was found."""
    solver, process, nfe, options = GRIDS[name]
    best, data = grids[name], de.Gaussian(np.zeros(6), EIGENVALUES)

    def error(grid: de.TimeGrid) -> float:
        law = de.law(de.compile(solver, process, grid), data)
        return law.kl() if options.get("loss") == "kl" else law.w2()

    assert error(best.grid) == pytest.approx(best.after, rel=1e-9)
    assert best.after < best.before
    assert best.spent <= nfe
    for other in best.shipped:
        shipped = NAMES[other](process, best.grid.steps, final=options.get("final", "min"))
        assert error(shipped) == pytest.approx(best.shipped[other], rel=1e-9)
        assert best.after < best.shipped[other]


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_the_derivative_of_its_error(grids: dict[str, GridOptimum], name: str) -> None:
    solver, process, _, options = GRIDS[name]
    grid = NAMES["uniform_lambda"](process, grids[name].grid.steps, final=options.get("final", "min"))
    error = GaussianError(
        de.get_solver(solver), (grid[0], grid[-1]), EIGENVALUES[::-1], np.ones(6), options.get("loss", "w2")
    )
    low, high = error.bounds
    lam = np.linspace(low, high, len(grid.lam))[1:-1] + 0.1
    value, slopes = error.value_and_gradient(lam)
    assert value == pytest.approx(error.value(lam), rel=1e-11)
    for k, slope in enumerate(slopes):
        shift = 1e-5 * (np.arange(len(lam)) == k)
        assert slope == pytest.approx((error.value(lam + shift) - error.value(lam - shift)) / 2e-5, rel=1e-5, abs=1e-8)


def test_a_grid_is_the_same_again_and_stationary(grids: dict[str, GridOptimum]) -> None:
    best = grids["few"]
    again = de.optimize_grid("heun", de.VP(), 7, EIGENVALUES)
    assert again.grid.lam.tolist() == best.grid.lam.tolist()
    assert again.after == best.after
    assert best.gradient < 1e-4


def test_data_stand_for_their_spectrum(tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((40, 3)) * [1.0, 0.3, 0.1]
    values = np.linalg.eigvalsh(np.cov(data.T))
    np.save(tmp_path / "data.npy", data)
    of_data = de.optimize_grid("ddim", de.EDM(), 4, tmp_path / "data.npy")
    assert of_data.after == pytest.approx(de.optimize_grid("ddim", de.EDM(), 4, values).after, rel=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_grids_come_back_from_their_file(grids: dict[str, GridOptimum], name: str, tmp_path: Path) -> None:
    best, path = grids[name], tmp_path / "grid.json"
    best.save(path)
    back = de.grids.load(path, best.grid.process)
    assert back.lam.tolist() == best.grid.lam.tolist()
    longer = de.grids.load(path, best.grid.process, 2 * best.grid.steps)
    assert longer.steps == 2 * best.grid.steps
    assert (longer.lam[0], longer.lam[-1]) == (back.lam[0], back.lam[-1])


def test_files_that_hold_no_grid(tmp_path: Path) -> None:
    path = tmp_path / "grid.json"
    for text in (
        "",
        "[]",
        "{}",
        '{"format": "diffode-grid/1", "lam": [1.0]}',
        '{"format": "diffode-grid/1", "lam": [1, null, 2]}',
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(GridError, match="grid"):
            de.grids.load(path, de.VP())
    with pytest.raises(GridError, match="no such file"):
        de.grids.load(tmp_path / "none.json", de.VP())


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_chooses_parameters(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "ralston.py"
    done = run(f"derive optimize exp-rk --stages 2 --out {path} --json {tmp_path / 'found.json'}")
    assert done.code == 0
    assert "2/3" in done.out
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["parameters"] == {"c2": 2 / 3}
    assert de.get_solver(str(path)).options["c2"] == 2 / 3
    assert run("derive optimize exp-rk --nfe 5").code == 2
    assert run("derive optimize exp-rk --range c2").code == 2
    assert run("derive exp-rk --stages 2").code == 0


def test_the_command_chooses_a_grid(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "grid.json"
    done = run(f"derive optimize ddim --grid --nfe 4 --process edm --spectrum power:2 --dimension 4 --out {path}")
    assert done.code == 0
    assert run(f"sample ddim --problem gaussian --process edm --grid {path}").code == 0
    assert run(f"compare ddim --nfe 4,8 --problem gaussian --process edm --grid {path}").code == 0
    assert run(f"derive optimize ddim --grid --nfe 4 --out {path}").code == 2
    assert run("derive optimize ddim --grid --guidance 3").code == 2


def test_errors_are_of_their_class() -> None:
    with pytest.raises(SolverError):
        de.optimize("exp-rk", "speed")
