"""The commands that compute: compare, stability, law and sample, what they print and the files they write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffode.cli import running


def test_compare(run, tmp_path: Path):
    done = run("compare ddim dpmpp_2m --problem gaussian --nfe 4,8 --json rows.json --plot rows.svg")
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert done.code == 0
    assert [(row["solver"], row["problem"], row["nfe"]) for row in rows] == [
        ("ddim", "gaussian", 4), ("ddim", "gaussian", 8), ("dpmpp_2m", "gaussian", 4), ("dpmpp_2m", "gaussian", 8),
    ]  # fmt: skip
    assert rows[0]["error"] > rows[1]["error"] > 0
    assert "dpmpp_2m" in done.out
    assert (tmp_path / "rows.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_compare_on_listed_levels(run):
    import diffode as de

    done = run("compare ddim heun --grid sigma=40,10,2,0.5,0.1 --problem gaussian --process edm --json")
    rows = json.loads(done.out)
    assert [(row["solver"], row["nfe"], row["spent"]) for row in rows] == [("ddim", 4, 4), ("heun", 8, 8)]
    process, problem = de.EDM(), de.problems.get_problem("gaussian", de.EDM())
    plan = de.compile("ddim", process, de.TimeGrid(process, sigma=[40, 10, 2, 0.5, 0.1]))
    assert rows[0]["error"] == de.law(plan, problem.data).w2()


def test_files_that_were_written_are_named(run, tmp_path: Path):
    for line, name in (
        ("compare ddim --problem gaussian --nfe 4 --plot a.svg", "a.svg"),
        ("stability ddim --plot b.svg", "b.svg"),
        ("sample ddim --steps 3 --samples 2 --out c.npz", "c.npz"),
    ):
        assert f"wrote {name}\n" in run(line).out
        done = run(f"{line} --json")
        json.loads(done.out)
        assert f"wrote {name}\n" in done.err


def test_piped_tables_have_no_trailing_blanks(run):
    lines = [
        "list --family unipc",
        "law ddim --steps 3",
        "stability ddim rk4",
        "compare ddim --problem gaussian --nfe 4",
    ]
    for line in lines:
        printed = run(line).out.splitlines()
        assert len(printed) > 1
        assert printed == [text.rstrip() for text in printed]


def test_stability_says_what_a_table_does_not(run):
    said = run("stability ddpm").out
    assert "ddpm draws noise: this is its drift part" in said
    assert "mean_square" in said
    for solver, wrong, words in (("dpmpp_2m", -0.5, "predicts the data"), ("dpm_solver_2m", 0.5, "predicts the noise")):
        assert words in run(f"stability {solver} --ch {wrong}").out
        assert words not in run(f"stability {solver} --ch {-wrong}").out


MODEL = """
import numpy as np
import diffode as de

model = de.Denoiser(lambda x, t: {}, de.EDM(), prediction="x0")
"""


def test_compare_on_a_model_of_ones_own(run, tmp_path: Path):
    (tmp_path / "net.py").write_text(MODEL.format("np.tanh(x)"), encoding="utf-8")
    np.save(tmp_path / "x.npy", np.array([[40.0, -10.0]]))
    rows = json.loads(run("compare ddim heun --problem net.py --states x.npy --nfe 40,80 --json").out)
    errors = {(row["solver"], row["nfe"]): row["error"] for row in rows}
    assert errors["ddim", 40] > errors["ddim", 80] > errors["heun", 80] > 0


def test_law_is_what_de_law_says(run):
    import diffode as de

    found = json.loads(run("law ddim --eigenvalues 0.25,1 --process edm --steps 6 --json").out)
    process, data = de.EDM(), de.Gaussian([0.0, 0.0], [0.25, 1.0])
    law = de.law(de.compile("ddim", process, de.grids.karras(process, 6)), data)
    assert (found["w2"], found["kl"], found["nfe"]) == (law.w2(), law.kl(), 6)
    assert found["covariance"] == law.covariance.tolist()
    table = run("law ddim --eigenvalues 0.25,1 --process edm --steps 6")
    assert table.code == 0
    assert f"W2 {law.w2():.3e}" in table.out


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_sample(run, tmp_path: Path, backend: str):
    if backend == "torch":
        pytest.importorskip("torch")
    done = run(f"sample ddpm --problem gaussian_4d --steps 5 --samples 7 --backend {backend} --out x.npz")
    assert done.code == 0
    assert "7 × 4 float64" in done.out
    with np.load(tmp_path / "x.npz") as kept:
        assert kept["x"].shape == kept["x_T"].shape == (7, 4)
        assert (len(kept["t"]), int(kept["nfe"])) == (6, 5)
        x = kept["x"]
    facts = json.loads(run("sample ddpm --problem gaussian_4d --steps 5 --samples 7 --json").out)
    assert facts["shape"] == [7, 4]
    assert facts["mean"] == pytest.approx(x.mean(), rel=1e-12)


def test_listed_levels_are_the_grid(run):
    facts = json.loads(run("sample ddim --grid sigma=10,1,0.1 --json").out)
    assert (facts["steps"], facts["nfe"]) == (2, 2)


def test_sample_with_a_tolerance(run, tmp_path: Path):
    facts = json.loads(run("sample dpm_solver_3 --rtol 1e-3 --samples 5 --json --out x.npz").out)
    finer = json.loads(run("sample dpm_solver_3 --rtol 1e-5 --samples 5 --json").out)
    assert 0 < facts["rejected"] < facts["nfe"] < finer["nfe"]
    assert facts["nfe"] == 3 * facts["steps"] + facts["rejected"]
    with np.load(tmp_path / "x.npz") as kept:
        assert len(kept["t"]) == facts["steps"] + 1
    assert "of them rejected" in run("sample heun --rtol 1e-2 --samples 5").out
    assert "--steps 5: with --rtol steps are not counted but chosen" in run("sample heun --rtol 1e-2 --steps 5").err
    assert "dpmpp_2m has no embedded results" in run("sample dpmpp_2m --rtol 1e-2").err


def test_a_picture_of_digits():
    black, white = -np.ones(64), np.ones(64)
    lines = running.picture(np.stack([black, white])).splitlines()
    assert lines == [16 * " " + "  " + 16 * "█"] * 8
