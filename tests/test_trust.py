"""What files of fits and checkpoints are trusted with: no code, no other problem, no half-written file."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.errors import DiffodeError, SolverError
from diffode.fitting.keeping import Keeper
from diffode.solvers.registry import get_solver, register, registry

_KEPT = {"format": "diffode-fit/1", "name": "fit", "provenance": {}}


def written(path: Path, **content: Any) -> str:
    path.write_text(json.dumps({**_KEPT, **content}), encoding="utf-8")
    return str(path)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that leaves a trace where it is run."""
    path = tmp_path / "program.py"
    path.write_text("from pathlib import Path\nPath('ran').touch()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        {"rule": "program.py", "options": {}},
        {"rule": "program.py:mine", "options": {}},
        {"rule": "unic", "options": {"base": "program.py"}},
        {"rule": "unic(base='program.py')", "options": {}},
        {"rule": "unic", "options": {"base": "dc_solver(base='prog' 'ram\\x2epy')"}},
        {"rule": "unic", "options": {"base": ["program.py"]}},
    ],
)
def test_a_fit_never_runs_a_file_that_it_names(content: dict[str, Any], program: Path) -> None:
    with pytest.raises(SolverError, match="a fit runs no Python file"):
        get_solver(written(program.with_name("fit.json"), **content))
    assert not program.with_name("ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"rule": "fit.json", "options": {}},
        {"rule": "unic", "options": {"base": "fit.json"}},
        {"table": {"lam": ["a", 1], "prediction": "x0", "steps": []}},
        {"table": 5},
    ],
)
def test_a_damaged_fit_is_told_as_one(content: dict[str, Any], program: Path) -> None:
    with pytest.raises(SolverError, match="the fit is damaged"):
        get_solver(written(program.with_name("fit.json"), **content))


def test_a_file_of_brackets_is_no_fit(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(SolverError, match="holds no fit"):
        get_solver(str(path))


@pytest.mark.parametrize(("method", "option"), [("dc", "start"), ("amed", "base")])
def test_a_base_that_its_file_cannot_name_is_refused_before_the_search(method: str, option: str) -> None:
    mine = get_solver("dpmpp_2m").configure("mine_only")
    with pytest.raises(SolverError, match="'mine_only' is not the name of this solver in the registry"):
        de.fit("mixture_1d", 4, method=method, samples=8, **{option: mine})
    other = get_solver("dpmpp_2m").configure("ddim")  # a name that is another's
    with pytest.raises(SolverError, match="is not the name of this solver"):
        de.fit("mixture_1d", 4, method=method, samples=8, **{option: other})


def test_a_registered_base_comes_back_from_the_file(tmp_path: Path) -> None:
    register(get_solver("dpmpp_2m").configure("mine_only"))
    try:
        found = de.fit("mixture_1d", 4, method="dc", samples=8, substeps=4, start=get_solver("mine_only"))
        found.save(tmp_path / "fit.json")
        assert get_solver(str(tmp_path / "fit.json")).plan(found.grid) == found.solver.plan(found.grid)
    finally:
        registry().pop("mine_only")


def mixture(mean: float, deviation: float) -> de.GaussianMixture:
    return de.GaussianMixture([0.5, 0.5], [[-mean], [mean]], [deviation, 0.5])


@pytest.mark.parametrize("options", [{"what": "grid", "method": "evolution"}, {"method": "amed", "iterations": 1}])
def test_a_checkpoint_of_other_data_under_the_same_name_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    """Nothing but the law of the data differs: its loss would be reported for the other's."""
    path = tmp_path / "checkpoint.json"
    de.fit(mixture(1.0, 0.3), 4, samples=8, checkpoint=path, **options)
    with pytest.raises(DiffodeError, match="is not a checkpoint of this fit"):
        de.fit(mixture(4.0, 0.1), 4, samples=8, checkpoint=path, **options)


def test_a_checkpoint_of_other_states_is_refused(tmp_path: Path) -> None:
    process, path = de.VP(), tmp_path / "checkpoint.json"
    model = mixture(1.0, 0.3).denoiser(process)
    x = np.random.default_rng(0).standard_normal((8, 1))
    de.fit(model, 4, "grid", method="ld3", x_T=x, rounds=1, checkpoint=path)
    with pytest.raises(DiffodeError, match="is not a checkpoint of this fit"):
        de.fit(model, 4, "grid", method="ld3", x_T=x + 0.1, rounds=1, checkpoint=path)


@pytest.mark.parametrize("options", [{"what": "grid", "method": "evolution"}, {"method": "amed", "iterations": 1}])
def test_a_model_that_remembers_is_not_fitted_to(options: dict[str, Any]) -> None:
    """The first fit would change the second."""
    inner = mixture(1.0, 0.3).denoiser(de.VP())
    x = np.random.default_rng(0).standard_normal((8, 1))
    for model in (de.ReusedOutputs(inner), de.Guided(de.ReusedOutputs(inner), inner, 2.0)):
        with pytest.raises(de.ModelError, match="answers by what it was asked before"):
            de.fit(model, 4, x_T=x, **options)
    de.fit(de.Guided(inner, inner, 2.0), 4, x_T=x, **options)


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, or the process ends, in the middle of a writing, the one before is still there."""
    path = tmp_path / "checkpoint.json"
    with Keeper({"method": "none"}, 2, checkpoint=path) as keeper:
        keeper.offer([1.0], 3.0)
    before, real = path.read_text(encoding="utf-8"), Path.write_text

    def half(self: Path, text: str, encoding: str | None = None) -> int:
        real(self, text[:9], encoding=encoding)
        raise OSError("no space left on device")

    keeper.offer([2.0], 1.0)
    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space"):
        keeper.write()
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("used", [False, True])
def test_statistics_go_to_other_processes(used: bool) -> None:
    lam = np.linspace(-2.0, 2.0, 9)
    found = de.ModelStatistics(lam, 0.5 + 0.1 * lam, 0 * lam, 0 * lam)
    if used:
        found.growth(-1.0, 1.0)
    again = pickle.loads(pickle.dumps(found))
    assert again.growth(-1.0, 1.0) == found.growth(-1.0, 1.0)
    assert again.provenance == found.provenance
