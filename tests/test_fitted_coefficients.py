"""Fitted coefficients, whatever the method: no worse than their start, files, seeds, interrupts, misuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.errors import DiffodeError, SolverError
from diffode.fitting import outcome
from diffode.fitting.coefficients import refined
from diffode.fitting.fit import fit
from diffode.fitting.grids import target_of
from diffode.fitting.keeping import Keeper
from diffode.solvers import register, registry
from tests.fits import PROBE, QUICK_COEFFICIENTS, fitted, some_processes
from tests.strategies import EXAMPLES

each_method = pytest.mark.parametrize("method", QUICK_COEFFICIENTS)


# --- what all fits share --------------------------------------------------------------------------------------


@each_method
@some_processes
def test_fits_are_no_worse_than_their_start_where_they_were_made(method: str, name: str) -> None:
    """On every kind of process, singular starts and anchors among them; the held-out error is what a run measures."""
    process = EXAMPLES[name]
    mu = np.array([0.3, -0.2]) if process.anchored else None
    problem = de.problems.get_problem("mixture_2d", process, mu=mu)
    found = fitted(method, problem)
    train, held_out = found.provenance["train"], found.provenance["held_out"]
    assert train["after"] <= train["before"]
    assert found.solver.plan(found.grid).nfe == 4
    target = target_of(problem, samples=24)
    assert held_out["after"] == target.error(found.solver, found.grid, held_out=True) == found.after
    assert train["after"] == target.error(found.solver, found.grid)
    start = de.get_solver(found.provenance["start"])
    assert train["before"] == pytest.approx(
        target.error(start, target.grid("uniform_lambda", 2 if method in ("amed", "bespoke") else 4))
    )


@each_method
def test_fits_bring_the_error_down_on_states_held_out(method: str) -> None:
    enough = {"s4s": dict(iterations=6), "bns": dict(iterations=6), "usf": dict(runs=32), "bespoke": dict(iterations=5)}
    found = fitted(method, nfe=6, samples=64, **enough.get(method, {}))
    assert found.after < 0.9 * found.before


@each_method
def test_files_bring_back_the_solver_and_the_grid(method: str, tmp_path: Path) -> None:
    found, path = fitted(method), tmp_path / "fit.json"
    found.save(path)
    process = found.grid.process
    again = outcome.load(path, process)
    assert again.to_json() == found.to_json()
    assert again.solver.plan(again.grid) == found.solver.plan(found.grid)
    by_name = de.get_solver(str(path))
    assert by_name.plan(de.grids.load(path, process)) == found.solver.plan(found.grid)
    assert de.get_solver(by_name) is by_name
    facts = json.loads(path.read_text())["provenance"]
    assert {"method", "problem", "process", "nfe", "seed", "version", "train", "held_out", "start"} <= set(facts)


@each_method
def test_the_same_seed_gives_the_same_fit(method: str) -> None:
    one, two, other = (fitted(method, seed=seed).to_json() for seed in (3, 3, 4))
    assert one == two != other


def test_a_fit_is_a_name_of_the_registry_once_it_is_registered() -> None:
    found = fitted("olss", name="mine_4")
    try:
        made = register(found)
        assert de.get_solver("mine_4") is made
        assert "mine_4" in de.list_solvers()
        model, x = de.problems.get_problem("mixture_2d").model, 20.0 * np.ones((1, 2))
        assert de.sample(model, "mine_4", found.grid, x).nfe == 4
        with pytest.raises(SolverError, match="the name 'mine_4' is taken"):
            register(found)
    finally:
        registry().pop("mine_4", None)
    with pytest.raises(SolverError, match="the name 'ddim' is taken"):
        register(found, "ddim")
    with pytest.raises(SolverError, match="needs a solver or a fit"):
        register(3)


@pytest.mark.parametrize("method", ["bns", "s4s", "bespoke", "amed", "usf"])
def test_an_interrupted_fit_keeps_its_best_and_goes_on_from_it(method: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    losses: list[float] = []

    def stop(done: int, total: int, loss: float) -> None:
        assert 0 <= done <= total
        losses.append(loss)
        if len(losses) == 7:
            raise KeyboardInterrupt

    broken = fitted(method, progress=stop, checkpoint=path)
    assert broken.provenance["interrupted"]
    assert broken.provenance["train"]["after"] <= broken.provenance["train"]["before"]
    kept = json.loads(path.read_text())["loss"]
    assert kept == min(losses)
    losses.clear()
    resumed = fitted(method, progress=lambda done, total, loss: losses.append(loss), checkpoint=path)
    assert losses[0] <= kept
    assert resumed.provenance["train"]["after"] <= broken.provenance["train"]["after"]
    with pytest.raises(DiffodeError, match="is not a checkpoint of this fit"):
        fitted(method, seed=1, checkpoint=path)


@pytest.mark.parametrize(
    "call",
    [
        *(
            lambda method=method, **told: fitted(method, **told)
            for method in ("bns", "s4s", "bespoke", "amed", "usf", "dc")
        ),
        *(
            lambda method=method, **told: fit("mixture_1d", 4, "grid", method=method, samples=8, **told)
            for method in ("ld3", "evolution")
        ),
    ],
)
def test_progress_is_told_before_the_teacher_and_an_interrupt_there_goes_through(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, float]] = []

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffode.fitting.grids.reference", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call(progress=lambda done, total, loss: calls.append((done, loss)))
    assert calls == [(0, float("inf"))]


def test_a_keeper_without_a_candidate_lets_the_interrupt_through() -> None:
    with pytest.raises(KeyboardInterrupt), Keeper({}, 1):
        raise KeyboardInterrupt


def test_a_network_of_torch_is_fitted() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchdiffeq")
    problem = de.problems.get_problem("mixture_1d")
    model = de.Denoiser(lambda x, t: problem.model(x, t), problem.process, prediction="x0")
    assert problem.model.prediction == "x0"
    x_T = torch.as_tensor(problem.initial(32, 0))
    found = fitted("olss", model, x_T=x_T, forcing="student")
    assert found.after < found.before
    assert tuple(de.sample(model, found.solver, found.grid, x_T, backend="torch").x.shape) == (32, 1)


def test_a_spectrum_is_fitted() -> None:
    found = fitted("bns", "power:2", process=de.EDM(0.02, 20.0), iterations=6)
    assert found.provenance["train"]["after"] < found.provenance["train"]["before"] / 2


# --- misuse ---------------------------------------------------------------------------------------------------


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "method": (lambda: fit("mixture_2d", 4, method="ols"), "no method named 'ols'; did you mean 'olss'?"),
    "nfe": (lambda: fit("mixture_2d", 0), "nfe must be a whole number of at least 1, not 0"),
    "odd": (lambda: fitted("amed", nfe=5), "each step takes 2 evaluations, so nfe must be a multiple, not 5"),
    "noise": (lambda: fitted("olss", start="ddpm"), "ddpm draws noise; begin at a deterministic solver"),
    "forcing": (lambda: fitted("olss", forcing="both"), "forcing is 'teacher' or 'student', not 'both'"),
    "ridge": (lambda: fitted("olss", ridge=-1.0), "ridge must not be negative, as -1.0 is"),
    "substeps": (lambda: fitted("olss", substeps=0), "substeps must be a whole number of at least 1, not 0"),
    "history": (lambda: fitted("s4s", history=0), "history must be a whole number of at least 1, not 0"),
    "prediction": (lambda: fitted("s4s", prediction="v"), "prediction must be 'x0' or 'eps', not 'v'"),
    "stages": (lambda: fitted("bespoke", stages=3), "stages is 1 or 2, not 3"),
    "base": (lambda: fitted("amed", base="heun"), "heun evaluates more than once a step"),
    "first": (lambda: fitted("usf", first=1), "first must be a whole number of at least 4, not 1"),
    "option": (lambda: fitted("bns", iterationz=3), "no option named 'iterationz'"),
    "grid option": (lambda: fit("mixture_2d", 4, "grid", method="ld3", iterationz=3), "no option named 'iterationz'"),
    "checkpoint": (lambda: fitted("bns", checkpoint="none/it.json"), "there is no folder none"),
    "NaN": (
        lambda: fit(de.Denoiser(lambda x, t: x * np.nan, de.VP()), 4, method="bns", x_T=np.ones((4, 2))),
        "the model returned NaN at t=1.0",
    ),
    "system": (
        lambda: fit(de.Gaussian(0.0, 1.0).denoiser(de.CLD()), 4, x_T=np.ones((4, 2, 1))),
        "is a system, and this is for one state",
    ),
    "file": (lambda: de.get_solver("none.json"), "none.json: no such file"),
    "schedule": (lambda: de.get_solver("usf(schedule=())"), "a sequence with a mapping for each step"),
    "choice": (lambda: de.get_solver("usf(schedule=({'orders': 2},))"), "a mapping of prediction, order, difference"),
    "order": (
        lambda: de.get_solver("usf(schedule=({'order': 7},))"),
        "order must be a whole number from 1 to 6, not 7",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what: str) -> None:
    call, words = WRONG[what]
    with pytest.raises(DiffodeError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "diffode-fit/1"}', '{"format": "diffode-grid/1", "lam": [0, 1]}']
)
def test_files_that_hold_no_fit_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(SolverError, match=r"holds no fit; write one with fit\.save"):
        de.get_solver(str(path))


def test_a_damaged_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    content = json.loads(fitted("olss").to_json())
    for damage in ({"table": {"lam": [0.0]}}, {"table": 3}):
        path.write_text(json.dumps({**content, **damage}))
        with pytest.raises(SolverError, match="the fit is damaged"):
            de.get_solver(str(path))


def test_levels_between_levels_are_equally_far_apart() -> None:
    fine = refined(PROBE, 4)
    assert np.allclose(np.diff(fine.lam), np.diff(PROBE.lam).repeat(4) / 4)
    assert np.array_equal(fine.lam[::4], PROBE.lam)
