"""The shipped golden trajectories, and that the comparison with them can fail."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffode.plan import Linear
from diffode.trace import Step
from tests.golden.__main__ import main
from tests.golden.cases import Case, File, read
from tests.golden.runner import Summary, compare, compare_file, distance, judge
from tests.golden.setup import Flow, Setup
from tests.golden.sources import ADAPTERS

DATA = Path(__file__).parent / "golden" / "data"
FILES = sorted(DATA.glob("*.json.xz"))

COMPLETE = (
    "bdia",
    "belm",
    "dc_solver",
    "deis",
    "diff_sampler",
    "diffusers",
    "dpm_solver",
    "dpm_solver_v3",
    "edm",
    "exact_flow",
    "gddim_cld",
    "k_diffusion",
    "momentum",
    "momentum_dpm_unipc",
    "mr_sampler",
    "pndm",
    "sa_solver",
    "ts_dpm",
    "unipc",
)
"""Files whose every case must match, apart from `LATER`."""

LATER: dict[str, set[str]] = {}
"""Solvers that the package does not have yet; runs with churn are left out too."""

ELSEWHERE = {
    "pfgmpp": {"edm_heun_pfgmpp"},
}
"""Solvers of the package in the files of others."""

UNRECORDED = {"edm/ablation_sampler/g1/discretization=edm_num_steps=10_scaling=vp_schedule=vp_solver=heun"}
"""Runs into which rounding let noise that was not recorded."""


@cache
def file(name: str) -> File:
    return read(DATA / f"{name}.json.xz")


@cache
def summary(name: str) -> Summary:
    return compare_file(file(name))


def first_of_each_solver(name: str) -> list[Case]:
    """The first matched case of every solver in a file."""
    found: dict[str, Case] = {}
    for case, result in zip(file(name).cases, summary(name).results, strict=True):
        if result.verdict == "matched":
            found.setdefault(case.solver, case)
    return list(found.values())


def churns(case: Case) -> bool:
    options = {**case.options, **case.options.get("step_kwargs", {})}
    return bool(options.get("S_churn") or options.get("s_churn"))


# --- the shipped files match ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_no_case_misses(path: Path) -> None:
    missed = [r for r in summary(path.name.partition(".")[0]).results if r.verdict == "missed"]
    assert not missed, [f"{r.id}: {r.reason}" for r in missed[:5]]


@pytest.mark.parametrize("name", [*COMPLETE, *ELSEWHERE])
def test_every_case_of_the_families_at_hand_matches(name: str) -> None:
    for case, result in zip(file(name).cases, summary(name).results, strict=True):
        wanted = case.solver in ELSEWHERE[name] if name in ELSEWHERE else case.solver not in LATER.get(name, ())
        if wanted and not churns(case) and case.id not in UNRECORDED:
            assert result.verdict == "matched", f"{case.id}: {result.reason}"


def test_no_case_is_dropped() -> None:
    for path in FILES:
        content = file(path.name.partition(".")[0])
        assert [r.id for r in summary(content.name).results] == [case.id for case in content.cases]
    assert sum(len(summary(path.name.partition(".")[0]).results) for path in FILES) == 2084


# --- and could miss ---------------------------------------------------------------------------------------


def nudged(rule: Callable[..., Linear]) -> Callable[..., Linear]:
    def other(step: Step, **options: Any) -> Linear:
        return rule(step, **options) * (1 + 1e-6)

    return other


def with_nudged_coefficients(setup: Setup) -> Setup:
    """Every coefficient of the new state 1e-6 too large."""
    parts = [
        part if isinstance(part, Flow) else replace(part, solver=replace(part.solver, rule=nudged(part.solver.rule)))
        for part in setup.segments
    ]
    return replace(setup, segments=tuple(parts), unrecorded=0.0)


@pytest.mark.parametrize("name", [n for n in (*COMPLETE, *ELSEWHERE) if n != "exact_flow"])
def test_a_coefficient_that_is_off_makes_every_solver_miss(name: str) -> None:
    for case in first_of_each_solver(name):
        result = judge(case, with_nudged_coefficients(ADAPTERS[file(name).repository](case)))
        assert result.verdict == "missed", case.id
        assert "x_final differs" in result.reason


@pytest.mark.parametrize("name", [*COMPLETE, *ELSEWHERE])
def test_another_published_state_is_missed(name: str) -> None:
    for case in first_of_each_solver(name):
        shifted = replace(case, record={**case.record, "x_final": (case.x_final * (1 + 1e-6) + 1e-6).tolist()})
        assert compare(shifted, file(name).repository).verdict == "missed"


def test_labels_evaluations_and_grids_are_compared() -> None:
    case = file("k_diffusion").cases[0]
    repository = file("k_diffusion").repository

    def reason(**changes: Any) -> str:
        return compare(replace(case, record={**case.record, **changes}), repository).reason

    labels, sigmas = case.record["eval_labels"], case.grid["sigma"]
    assert reason() == ""
    assert "eval_labels differ" in reason(eval_labels=[labels[0] * (1 + 1e-11), *labels[1:]])
    assert "evaluations" in reason(nfe=case.nfe + 1, eval_labels=[*labels, labels[-1]])
    assert "grid's sigmas differ" in reason(grid={"sigma": [sigmas[0], sigmas[1] * (1 + 1e-11), *sigmas[2:]]})


def test_distance_is_relative_to_each_level() -> None:
    assert distance(np.array([2.0, 0.5]), np.array([2.0, 0.5 + 1e-3])) == pytest.approx(2e-3)
    assert distance(np.array([2.0, 0.5]), np.array([2.0, 0.5 + 1e-3]), floor=1.0) == pytest.approx(1e-3)
    assert distance(np.array([1.0]), np.array([1.0, 2.0])) == float("inf")


# --- the command ------------------------------------------------------------------------------------------


def small(folder: Path, name: str, *solvers: str, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """A folder with one file of one case per solver, as plain JSON."""
    with lzma.open(DATA / f"{name}.json.xz", "rt", encoding="utf-8") as stream:
        content = json.load(stream)
    content["cases"] = [next(c for c in content["cases"] if c["solver"] == solver) for solver in solvers]
    if change is not None:
        change(content["cases"][0])
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def spoil(case: dict[str, Any]) -> None:
    case["x_final"][0][0] += 1e-3


def unheard_of(case: dict[str, Any]) -> None:
    case["solver"] = "unheard_of"


def test_exit_code_is_0_where_all_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(small(tmp_path, "k_diffusion", "euler", "heun"))]) == 0
    line = capsys.readouterr().out.split()
    assert line[:7] == ["k_diffusion", "2", "cases", "2", "matched", "0", "missing"]


def test_exit_code_is_1_where_a_case_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(small(tmp_path, "k_diffusion", "euler", "dpm_adaptive", change=spoil))
    assert main([folder]) == main([folder, "--skip-missing"]) == 1
    assert "MISSED k-diffusion/sample_euler" in capsys.readouterr().out


def test_exit_code_is_2_where_a_solver_is_missing(tmp_path: Path) -> None:
    folder = str(small(tmp_path, "k_diffusion", "euler", "dpm_adaptive", change=unheard_of))
    assert main([folder]) == 2
    assert main([folder, "--skip-missing"]) == 0


def test_exit_code_is_2_for_what_is_no_golden_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(tmp_path)]) == 2
    (tmp_path / "broken.json").write_text('{"format": "diffode-golden/1"}', encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_json_summary(tmp_path: Path) -> None:
    folder = small(tmp_path / "data", "k_diffusion", "euler", "dpm_adaptive", change=unheard_of)
    small(folder, "ts_dpm", "ts_euler", change=lambda case: case.update(solver="unheard_of"))
    assert main([str(folder), "--skip-missing", "--json", str(tmp_path / "out.json")]) == 0
    first, second = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert set(first) == {"source", "cases", "matched", "missing", "worst"}
    assert [first[key] for key in ("source", "cases", "matched", "missing")] == ["k_diffusion", 2, 1, 1]
    assert 0 <= first["worst"] < 1e-9
    assert second == {"source": "ts_dpm", "cases": 1, "matched": 0, "missing": 1, "worst": None}


def test_plain_and_compressed_files_read_the_same(tmp_path: Path) -> None:
    text = (small(tmp_path, "k_diffusion", "euler") / "k_diffusion.json").read_bytes()
    (tmp_path / "k.json.xz").write_bytes(lzma.compress(text))
    (tmp_path / "k.json.gz").write_bytes(gzip.compress(text))
    records = [[case.record for case in read(path).cases] for path in sorted(tmp_path.iterdir())]
    assert records[0] == records[1] == records[2]
    assert {read(path).name for path in tmp_path.iterdir()} == {"k_diffusion", "k"}
