"""Bad input on the command line: one line that names the thing and the remedy, exit code 2, and no traces."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from diffode.cli import inputs
from diffode.cli.files import replacing

MODEL = """
import numpy as np
import diffode as de

model = de.Denoiser(lambda x, t: {}, de.EDM(), prediction="x0")
"""
RULE = """
from diffode import solver

@solver(order=1, prediction="x0")
def mine(step):
    d = step.model(step.x, step.now)
    return {}
"""
FILES = {
    "syntax.py": "def f(:\n",
    "empty.py": "x = 1\n",
    "number.py": RULE.format("1.0"),
    "past.py": RULE.format("step.x + step.past(1)"),
    "slip.py": RULE.format("step.x + foo"),
    "far.py": RULE.format("step.x + step.model(step.x, step.level(sigma=50.0))"),
    "stops.py": "raise SystemExit(0)\n",
    "shape.py": MODEL.format("x[:, :1]"),
    "dtype.py": MODEL.format("x.astype(np.float32)"),
    "nan.py": MODEL.format("x / (t > 1)"),
    "raises.py": MODEL.format("x @ x"),
    "device.py": MODEL.format("x.to('meta')"),
    "two_models.py": MODEL.format("x") + "other = model\n",
}
STATES = {
    "x.npy": np.ones((3, 2)),
    "whole.npy": np.ones((3, 2), int),
    "wide.npy": np.ones((3, 3)),
    "point.npy": np.ones(()),
}

BAD = {
    # a solver file, or a name
    "verify syntax.py": "syntax.py, line 1: invalid syntax",
    "verify empty.py": "empty.py: the file defines no solver; decorate a step rule with @solver",
    "verify number.py": "mine: the rule must return the new state",
    "verify past.py": "step.past(1) was used, but the solver declares history=0; declare history=1",
    "verify slip.py": "slip.py, line 7: NameError: name 'foo' is not defined",
    "verify stops.py": "stops.py: running the file failed: SystemExit",
    "verify nowhere.py": "nowhere.py: no such file",
    "verify number.py:nobody": "no solver named 'nobody'; it defines mine",
    "verify dpmp_2m": "no solver named 'dpmp_2m'; did you mean 'dpmpp_2m'?",
    "verify ddim ddim(eta=2)": "eta=2 is outside its range",
    "sample number.py": "the rule must return",
    "list --family uni": "no family named 'uni'; did you mean 'unipc'?",
    # a process, a grid, a problem
    "verify ddim --process vpp": "no process named 'vpp'; there are vp,",
    "verify far.py": "sigma=50.0 is outside VP",
    "sample ddim --process mean_reverting": "it has an anchor",
    "sample ddim --grid karra": "did you mean 'karras'?",
    "sample ddim --grid t=1": "needs at least two levels, got 1",
    "sample ddim --grid t=3,1,2": "strictly monotone, but t goes from 1.0 to 2.0 at step 1",
    "sample ddim --grid t=1,1": "strictly monotone",
    "sample ddim --process vp --grid t=1.5,0.5": "t=1.5 is outside VP",
    "sample ddim --grid u=1,2": "--grid: levels are listed as t=",
    "sample ddim --grid t=1,x": "--grid: 'x' is not a number",
    "sample ddim --grid t=1,0.5 --steps 3": "leave out --steps",
    "sample ddpm --grid t=1,2": "ddpm draws noise, so it cannot run from data to noise",
    "sample ddim --steps 0": "--steps: must be at least 1, not 0",
    "sample ddim --samples 0": "--samples: must be at least 1, not 0",
    "sample ddim --seed -1": "--seed: must be at least 0, not -1",
    "sample ddim --problem digit": "no problem named 'digit'; did you mean 'digits'?",
    "sample ddim --backend jax": "no backend named 'jax'; there are numpy, torch",
    "law ddim --problem mixture_2d": "--problem mixture_2d: its data are not Gaussian",
    "law ddim --problem gaussian --eigenvalues 1,2": "--eigenvalues: --problem gaussian has its own covariance",
    "law ddim --eigenvalues 1,0": "--eigenvalues: those of a covariance are positive, not 0",
    "law ddim --start middle": "start must be 'marginal' or 'prior', not 'middle'",
    "compare ddim --nfe 5,x": "--nfe: 'x' is not a positive whole number",
    "compare ddim --nfe 5,-1": "--nfe: '-1' is not a positive whole number",
    "compare ddpm --plot x.svg": "--plot: no solver has an error here",
    "compare heun --nfe 1": "one step of heun takes more than 1 evaluations; raise nfe",
    "compare ddim --grid t=1,0.5 --nfe 5": "--nfe: the levels of --grid are listed",
    "compare ddim --grid t=1,x": "--grid: 'x' is not a number",
    # too much
    "sample ddim --samples 1000000000000": "--samples 1000000000000: the states take about 1.79e+05 GB, and",
    "compare ddim --samples 1000000000000": "--samples 1000000000000: the states take about",
    "sample ddim --steps 1000000000000": "--steps 1000000000000: the steps take about",
    # starting states and models
    "sample ddim --states whole.npy": "x_T must hold floating-point numbers, not int64; convert it",
    "sample ddim --states wide.npy": "x has shape (3, 3); its last axis must be the dimension",
    "sample ddim --states point.npy": "x_T must have shape (batch, …), not ()",
    "sample ddim --states nowhere.npy": "nowhere.npy: no such file",
    "sample ddim --states empty.py": "empty.py holds no array; write one with numpy.save",
    "sample ddim --problem nan.py": "give starting states, --states FILE.npy",
    "sample ddim --problem empty.py": "the file defines no problem or model",
    "sample ddim --problem two_models.py": "defines model, other; say which: two_models.py:model",
    "sample ddim --problem shape.py --states x.npy": "ddim, step 0: the model returned shape (3, 1) at t=80.0",
    "sample ddim --problem dtype.py --states x.npy": "ddim, step 0: the model returned dtype float32 at t=80.0",
    "sample ddim --problem nan.py --states x.npy": "the model returned NaN or ∞ at step 12, t=0.96",
    "sample ddim --problem raises.py --states x.npy": "raises.py, line 5: ValueError: matmul",
    "sample ddim --problem device.py --states x.npy --backend torch": "step 0: the model returned an array on meta",
    # where to write
    "verify ddim --json no/out.json": "cannot write no/out.json: there is no folder no; make it first",
    "verify ddim --json .": "cannot write .: it is a folder",
    "verify ddim --json /proc/out.json": "cannot write /proc/out.json: ",
    f"verify ddim --json {'x' * 300}.json": "File name too long; choose another place",
    "verify ddim:": "no solver named 'ddim:'",
    "verify mine:rule": "no solver named 'mine:rule'; a file ends in .py, and its solver follows a colon: FILE.py:NAME",
    "verify ddim --report empty.py": "empty.py is not a folder; choose another",
    "sample ddim --out x.txt": "cannot write x.txt: the name must end in .npz",
    "sample ddim --out no/x.npz": "there is no folder no; make it first",
    "compare ddim --plot x.doc": "the name must end in .png or .svg or .pdf",
    "new mine.txt": "the name must end in .py",
    "new 2nd.py": "'2nd' is no Python name",
    "demo --out empty.py": "empty.py is not a folder",
    # the words themselves
    "verify": "Missing argument",
    "verify ddim --jsn x": "--jsn",
    "sample ddim --steps many": "--steps",
    "frobnicate": "No such command 'frobnicate'",
}


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, bytes]:
    """The files that bad input is about, and what is in the folder then."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, array in STATES.items():
        np.save(tmp_path / name, array)
    return contents(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line(run, scene: dict[str, bytes], tmp_path: Path, line: str):
    if "torch" in line:
        pytest.importorskip("torch")
    done = run(line)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert BAD[line] in done.err
    assert done.out == ""
    assert contents(tmp_path) == scene


@pytest.mark.parametrize("line", ["--debug verify past.py", "verify past.py --debug", "verify --debug slip.py"])
def test_debug_shows_where(run, scene: dict[str, bytes], line: str):
    done = run(line)
    assert done.code == 2
    assert done.err.startswith("Traceback (most recent call last):")
    assert done.err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("line", "package", "extra"),
    [
        ("sample ddim --backend torch", "torch", "torch"),
        ("compare ddim --plot x.svg", "matplotlib", "plot"),
        ("verify ddim --report out", "matplotlib", "plot"),
        ("demo", "matplotlib", "plot"),
    ],
)
def test_a_missing_extra_is_named(run, tmp_path: Path, monkeypatch, line: str, package: str, extra: str):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "diffode.backends.torch", raising=False)
    done = run(line)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {package} is not installed; install it with: python -m pip install 'diffode[{extra}]'\n"
    assert contents(tmp_path) == {}


def test_interrupted(run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inputs, "builder", interrupt)
    done = run("sample ddim")
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")


def test_a_fault_of_its_own_is_one_line_too(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inputs, "builder", lambda _: {}["karras"])
    done = run("sample ddim")
    assert done.code == 2
    assert done.err.startswith("error: a fault of diffode, KeyError")
    assert done.err.count("\n") == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "kept.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError), replacing(path) as draft:
        draft.write_text("half λ", encoding="ascii")
    assert contents(tmp_path) == {"kept.txt": b"old"}
    with replacing(path) as draft:
        draft.write_text("new", encoding="utf-8")
    assert contents(tmp_path) == {"kept.txt": b"new"}
