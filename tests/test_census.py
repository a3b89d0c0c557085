"""Certificates of many solvers: kept by content, made anew where it changed."""

from __future__ import annotations

import json
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.analysis import census
from diffode.cli import main
from diffode.cli.certifying import list_found

RULE = """
from diffode import phi, solver


@solver(order=1, prediction="x0", exponential=True)
def mine(step):
    d = step.model(step.x, step.now)
    return (step.next.sigma / step.now.sigma) * step.x - step.next.alpha * phi.expm1(-step.h) * d
"""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The solvers that were verified, and not only looked up."""
    done: list[str] = []
    verify = census.verify

    def noting(name: str, *args: Any, **options: Any) -> Any:
        done.append(name)
        return verify(name, *args, **options)

    monkeypatch.setattr(census, "verify", noting)
    return done


def test_what_is_kept_is_not_done_again(tmp_path: Path, counted: list[str]) -> None:
    first = de.certify(["ddim", "heun"], folder=tmp_path)
    assert counted == ["ddim", "heun"]
    assert de.certify(["heun", "ddim"], folder=tmp_path) == first
    assert counted == ["ddim", "heun"]
    de.certify(["ddim"], folder=tmp_path, again=True)
    assert counted == ["ddim", "heun", "ddim"]


def test_another_formula_claim_process_or_judge_is_another_certificate(
    tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"

    def run(text: str, **options: Any) -> int:
        file.write_text(text, encoding="utf-8")
        de.certify([str(file)], folder=tmp_path / "kept", **options)
        return len(counted)

    assert run(RULE) == 1
    assert run(RULE + "\n# a comment is no formula\n") == 1
    assert run(RULE.replace("step.next.alpha *", "1.0 * step.next.alpha *")) == 2
    assert run(RULE.replace("order=1", "order=2")) == 3
    assert run(RULE, process="edm") == 4
    monkeypatch.setattr(census, "judges", lambda: "another")
    assert run(RULE) == 5


def test_what_options_name_belongs_to_the_formula(tmp_path: Path, counted: list[str]) -> None:
    """A transform's base in a file of its own, however deep, and a file of statistics."""
    file, kept = tmp_path / "mine.py", tmp_path / "kept"
    name = f'unic(base="{file}", order=1)'
    deep = f"""dc_solver(base='unic(base="{file}", order=1)')"""
    for text, made in ((RULE, 2), (RULE + "\n# a comment\n", 2), (RULE.replace("* d", "* 1.0 * d"), 4)):
        file.write_text(text, encoding="utf-8")
        de.certify([name, deep], folder=kept)
        assert len(counted) == made


def test_a_file_that_an_option_names_belongs_to_the_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lam, done = tmp_path / "statistics.json", np.linspace(-12.0, 12.0, 97), list[str]()

    def noting(name: str, *args: Any, **options: Any) -> Any:
        done.append(name)
        return SimpleNamespace(as_dict=dict)

    monkeypatch.setattr(census, "verify", noting)
    for slope, made in ((0.0, 1), (0.0, 1), (0.1, 2)):
        de.ModelStatistics(lam, 0.5 + slope * np.tanh(lam), 0 * lam, 0 * lam).save(path)
        de.certify([f'dpm_v3(statistics="{path}")'], folder=tmp_path / "kept")
        assert len(done) == made


def test_an_interrupted_run_keeps_what_it_finished(
    tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if name == "ddim":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        de.certify(["ddim", "heun"], folder=tmp_path, progress=stop)
    de.certify(["ddim", "heun"], folder=tmp_path)
    assert counted == ["ddim", "heun"]


def test_a_broken_file_is_made_anew(tmp_path: Path, counted: list[str]) -> None:
    first = de.certify(["ddim"], folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text("{", encoding="utf-8")
    assert de.certify(["ddim"], folder=tmp_path) == first
    assert counted == ["ddim", "ddim"]


def test_one_that_cannot_be_verified_does_not_cost_the_others(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(RULE.replace("phi.expm1(-step.h)", "step.past(1)"), encoding="utf-8")
    with pytest.raises(de.DiffodeError, match=r"past\(1\)"):
        de.certify([str(file), "ddim"], folder=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_processes_side_by_side_find_the_same(tmp_path: Path) -> None:
    names = ["ddim", "dpmpp_2m_sde", "dpmpp_3m"]
    assert de.certify(names, folder=tmp_path / "2", workers=2) == de.certify(names, folder=tmp_path / "1")


def test_an_interrupt_ends_the_processes_at_once(tmp_path: Path) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if name:
            raise KeyboardInterrupt

    others = active_children()
    with pytest.raises(KeyboardInterrupt):
        de.certify(["ddim", "dpmpp_2m_sde", "seeds_3", "dpmpp_3m"], folder=tmp_path, workers=2, progress=stop)
    assert len(list(tmp_path.iterdir())) == 1
    assert active_children() == others


@pytest.mark.parametrize("name", ["dpmpp_3m", "ghvb_1.5", "dpmpp_2m_sde"])
def test_fast_checks_are_those_of_the_whole_certificate(name: str) -> None:
    fast, whole = de.verify(name, fast=True), de.verify(name)
    assert (fast.order, fast.proved) == (whole.order, whole.proved)
    for check in fast.checks:
        assert check.as_dict() == whole[check.name].as_dict()


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DIFFODE_CERTIFICATES", str(tmp_path / "kept"))
    assert main(["certify", "ddim", "dpmpp_3m", "--workers", "1", "--json", str(tmp_path / "out.json")]) == 0
    assert [e["order"] for e in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))] == [1.0, 2.0]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["name", "claimed", "found", "verdict"]
    assert lines[1] == ["ddim", "1", "1", "as", "declared"]
    assert lines[2] == ["dpmpp_3m", "3", "2", "as", "declared", "(registered", "as", "reaching", "2)"]
    assert lines[3][:6] == ["2", "solvers,", "2", "as", "they", "declare;"]
    file = tmp_path / "mine.py"
    file.write_text(RULE.replace("order=1", "order=2"), encoding="utf-8")
    assert main(["certify", str(file), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "mine: claimed order 2: FAIL order_proof, order 1" in said
    assert ["mine", "2", "1", "FAIL"] in [line.split() for line in said.splitlines()]
    assert main(["certify", "ddim", "--workers", "0"]) == 2
    assert main(["certify", "dim"]) == 2


def test_of_many_those_short_of_their_claim_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["ddim", "dpmpp_3m"]
    list_found({name: de.verify(name, fast=True).as_dict() for name in names}, everyone=False)
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [["dpmpp_3m", "3", "2"]]
