"""The command line: starting, list, verify, new, demo; what they print and write, exit codes, streams."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from diffode.analysis.order import checker
from diffode.cli import app, inputs, scaffold, showcase, verifying
from diffode.solvers import get_solver, list_solvers, verified
from diffode.solvers.registry import systems

ROOT = Path(__file__).parent.parent


def python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A Python of its own, with pipes for streams."""
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=path, capture_output=True, text=True)


# --- starting ---


LISTED = "from diffode.cli import main; code = main({!r}); import sys; print(code, *sys.modules, file=sys.stderr)"


@pytest.mark.parametrize("words", [["--help"], ["list"], ["verify", "--help"]], ids=" ".join)
def test_starting_loads_nothing_heavy(words: list[str]):
    code, *loaded = python("-c", LISTED.format(words)).stderr.split()
    assert code == "0"
    assert "diffode.cli.app" in loaded
    assert not {"torch", "sympy", "matplotlib", "numba", "scipy", "mpmath"} & set(loaded)


@pytest.mark.parametrize("module", ["diffode", "diffode.cli"])
def test_modules_are_programs(module: str):
    done = python("-m", module, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == get_version()
    assert python("-m", module, "verify", "nobody").returncode == 2


def get_version() -> str:
    import diffode

    return diffode.__version__


def test_no_command_is_a_question(run):
    done = run("")
    assert done.code == 0
    for command in ("list", "verify", "compare", "law", "sample", "new", "demo"):
        assert f"\n  {command} " in done.out


# --- systems ---


def test_a_rule_for_systems_is_verified_by_measurement(run):
    done = run("verify gddim_2 --json")
    found = json.loads(done.out)
    assert (done.code, found["verdict"], [check["name"] for check in found["checks"]]) == (0, "PASS", ["order_mixture"])
    assert "moves a system" in run("verify gddim_2 --proof x.json").err
    assert "moves a system" in run("verify gddim_2 --report x").err
    assert "gddim_2" in run("list --family gddim").out


# --- list ---


def test_list_as_json(run):
    rows = json.loads(run("list --json").out)
    assert [row["name"] for row in rows] == [*list_solvers(), *systems()]
    keys = ["name", "family", "order_claimed", "order_verified", "stiff_order_claimed", "evaluations_per_step"]
    assert all(list(row) == [*keys, "stochastic", "prediction", "source"] for row in rows)
    heun = next(row for row in rows if row["name"] == "heun")
    assert (heun["order_claimed"], heun["evaluations_per_step"], heun["stochastic"]) == (2.0, 2, False)
    assert next(row for row in rows if row["name"] == "ddpm")["stochastic"] is True


def test_list_as_a_table(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("list --family unipc").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "unipc_3" in [line.split()[0] for line in lines]
    assert "ddim" not in [line.split()[0] for line in lines]


def test_an_order_is_verified_of_one_formula_only(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(verified, "FILE", tmp_path / "orders.json")
    assert {row["order_verified"] for row in json.loads(run("list --json").out)} == {None}
    right, wrong = (verified.fingerprint(get_solver(name)) for name in ("ddim", "heun"))
    verified.save(
        {
            "ddim": {"order": 1.0, "verdict": "PASS", "fingerprint": right},
            "ddpm": {"order": 1.0, "verdict": "PASS", "fingerprint": wrong},
        }
    )
    found = {row["name"]: row["order_verified"] for row in json.loads(run("list --json").out)}
    assert (found["ddim"], found["ddpm"], found["heun"]) == (1.0, None, None)


def test_a_changed_formula_has_another_fingerprint(tmp_path: Path):
    path = tmp_path / "mine.py"
    scaffold.write(path)
    before = verified.fingerprint(get_solver(str(path)))
    assert before == verified.fingerprint(get_solver(str(path)))
    path.write_text(path.read_text(encoding="utf-8").replace("phi.phi(2, -h)", "phi.phi(3, -h)"), encoding="utf-8")
    assert before != verified.fingerprint(get_solver(str(path)))


# --- verify ---


NAMES = [
    "consistency", "order_proof", "zero_stability", "order_gaussian", "order_mixture", "order_started", "agreement",
]  # fmt: skip


def test_verify_one_solver(run):
    done = run("verify ddim --json")
    found = json.loads(done.out)
    assert done.code == 0
    assert {"solver", "claimed_order", "verdict", "checks"} <= set(found)
    assert (found["solver"], found["claimed_order"], found["verdict"]) == ("ddim", 1.0, "PASS")
    names = [check["name"] for check in found["checks"]]
    assert names == NAMES
    assert all(
        {"name", "verdict", "value", "expected", "window", "detail"} == set(check) - {"proof"}
        for check in found["checks"]
    )


def test_verify_writes_a_proof(run, tmp_path: Path):
    done = run("verify ddim --proof proof.json")
    assert done.code == 0
    assert f"python {checker.__file__} proof.json" in done.err
    assert checker.check(json.loads((tmp_path / "proof.json").read_text(encoding="utf-8"))).startswith(
        "ddim has order 1"
    )
    for words, reason in (
        ("ddim euler", "a file holds one proof"),
        ("ddpm", "draws noise"),
        ("fehlberg8", "by the conditions of its tableau, for which no file is written"),
    ):
        refused = run(f"verify {words} --proof other.json")
        assert refused.code == 2
        assert reason in refused.err
        assert not refused.out  # before the work
        assert not (tmp_path / "other.json").exists()


def test_verify_prints_a_table_without_colour_when_piped(tmp_path: Path):
    done = python("-m", "diffode", "verify", "ddim", "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert not set("│┃━─┏") & set(done.stdout)
    assert done.stderr == ""
    assert "order_proof" in done.stdout
    assert "…" not in done.stdout
    assert len(done.stdout.strip().splitlines()) == 4 + len(NAMES)  # a line for each check, none broken
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["verdict"] == "PASS"


SECOND_CLAIMED = """
from diffode import solver
from diffode.phi import expm1

@solver(order=1, prediction="x0")
def right(step):
    d = step.model(step.x, step.now)
    return step.next.sigma / step.now.sigma * step.x - step.next.alpha * expm1(-step.h) * d

@solver(order=2, prediction="x0")
def wrong(step):
    return right.rule(step)
"""


def test_verify_a_file(run, tmp_path: Path):
    (tmp_path / "two.py").write_text(SECOND_CLAIMED, encoding="utf-8")
    done = run("verify two.py --json found.json --process edm")
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert done.code == 1
    assert [(entry["solver"], entry["verdict"]) for entry in found] == [("right", "PASS"), ("wrong", "FAIL")]
    assert found[0]["process"].startswith("EDM")
    assert [solver.name for solver in inputs.solvers(["two.py", "two.py:right"])] == ["right", "wrong", "right"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "two.py"]


def test_exit_codes_of_verdicts():
    assert verifying.exit_code(["PASS", "PASS"]) == 0
    assert verifying.exit_code(["PASS", "INCONCLUSIVE"]) == 3
    assert verifying.exit_code(["INCONCLUSIVE", "FAIL", "PASS"]) == 1


def test_verify_tells_a_log_where_it_is(run, monkeypatch: pytest.MonkeyPatch):
    from diffode.analysis import verification
    from diffode.analysis.certificate import Certificate

    monkeypatch.setattr(
        verification, "verify", lambda solver, *_, **__: Certificate(solver.name, 1, (), facts={"coefficients": ""})
    )
    assert run("verify ddim heun").err == "verify 1/2: ddim\nverify 2/2: heun\n"
    assert run("verify ddim").err == ""


# --- new ---


def test_new_writes_a_solver_that_passes(run, tmp_path: Path):
    assert run("new two_step.py").code == 0
    text = (tmp_path / "two_step.py").read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) < 30
    assert "def two_step(step" in text
    assert get_solver(str(tmp_path / "two_step.py")).history == 1
    assert run("verify two_step.py").code == 0


def test_new_imports_what_the_docs_import(run, tmp_path: Path):
    assert run("new my_solver.py").code == 0
    written = (tmp_path / "my_solver.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "writing-a-solver.md").read_text(encoding="utf-8")
    told = page.partition("# my_solver.py\n")[2].partition("\n\n")[0]
    assert [line for line in written.splitlines() if "import" in line.split()] == told.splitlines()


def test_new_replaces_nothing_unless_forced(run, tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("mine", encoding="utf-8")
    done = run("new mine.py")
    assert (done.code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in done.err
    assert run("new mine.py --force").code == 0
    assert "def mine(step" in path.read_text(encoding="utf-8")


def test_a_solver_does_not_take_a_name_that_its_file_uses(run, tmp_path: Path):
    derivations = {
        "exp-multistep --order 2": ("phi", "solver", "Step", "step", "Linear", "sum", "range", "diffode", "h"),
        "exp-multistep --order 2 --stochastic tau": ("form", "noise", "tau"),
        "exp-rk": ("Level", "advance_to", "zip"),
    }
    for line, names in derivations.items():
        for name in names:
            done = run(f"derive {line} --out {name}.py")
            free = name == "advance_to"  # only the words themselves are taken
            assert done.code == (0 if free else 2), name
            assert free or (done.err.count("\n") == 1 and repr(name) in done.err and not done.out)
            assert (tmp_path / f"{name}.py").exists() == free
    for name in ("phi", "solver", "step", "diffode"):
        assert run(f"new {name}.py").code == 2
        assert not (tmp_path / f"{name}.py").exists()


# --- streams ---


def test_a_reader_who_leaves_is_no_error():
    line = f"{shlex.quote(sys.executable)} -m diffode list --json | head -c 1"
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[", "")


# --- demo ---


def test_every_command_says_what_it_is_for():
    for command in app.registered_commands:
        assert (command.callback.__doc__ or "").strip()


@pytest.mark.slow
def test_demo(run, tmp_path: Path):
    done = run("demo --out reports")
    assert done.code == 0, done.out + done.err
    for act in showcase.ACTS:
        report = tmp_path / "reports" / f"{Path(act.solver).stem}.html"
        assert report.read_text(encoding="utf-8").rstrip().endswith("</html>")
        assert f"reports/{report.name}" in done.out
    assert "dpmpp_3m: claimed order 3, verified 2" in done.out
    assert "fails the tree [λλ]" in done.out
