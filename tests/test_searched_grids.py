"""Searched and learned grids, whatever the method: inside the span, files, interrupts, checkpoints, misuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import diffode as de
from diffode.errors import DiffodeError
from diffode.fitting import gits
from diffode.fitting.fit import fit
from diffode.fitting.grids import METHODS, Target, of_shares, shares, target_of
from tests.fits import searched, some_processes
from tests.strategies import EXAMPLES

each_method = pytest.mark.parametrize("method", METHODS)


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


def test_a_spectrum_and_data_are_targets_too() -> None:
    """Eigenvalues and data of the same law give the same grid."""
    values = np.array([1.0, 0.25])
    grids = [searched("ays", target).grid.lam for target in (values, de.Gaussian(np.zeros(2), values))]
    assert np.array_equal(*grids)
    assert isinstance(target_of("power:2", samples=2), Target)


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
