"""The wheel and the sdist: what is in them, and that the wheel works beside the core dependencies alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import diffode

ROOT = Path(__file__).parent.parent
EXTRAS = {"torch", "torchdiffeq", "torchsde", "matplotlib", "sklearn", "pytest"}

SAMPLE = """
import json, sys
import numpy as np
import diffode as de
process = de.EDM()
model = de.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.2]).denoiser(process)
out = de.sample(model, "dpmpp_2m", de.grids.karras(process, 8), 80.0 * np.linspace(-1, 1, 5)[:, None])
print(json.dumps({"file": de.__file__, "nfe": out.nfe, "x": out.x[:, 0].tolist(), "loaded": sorted(sys.modules)}))
"""


def run(*command: str | Path, **options: object) -> str:
    """What a command prints; its messages are shown where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


def package_files() -> set[str]:
    """The files of the package, as they lie in the repository."""
    files = (path for path in (ROOT / "diffode").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_holds_the_package_and_nothing_else(built: Path):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    outside = {name for name in names if not name.startswith("diffode/")}
    assert names - outside == package_files()
    assert "diffode/py.typed" in names
    assert all(name.startswith(f"diffode-{diffode.__version__}.dist-info/") for name in outside)
    assert any(name.endswith("/LICENSE") for name in outside)


def test_the_sdist_holds_what_builds_the_wheel(built: Path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert package_files() <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "PKG-INFO"} <= names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
def test_the_wheel_works_beside_the_core_dependencies_alone(built: Path, tmp_path: Path):
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", wheel, cwd=tmp_path)
    outcome = json.loads(run(python, "-I", "-c", SAMPLE, cwd=tmp_path))
    assert Path(outcome["file"]).is_relative_to(tmp_path)
    assert outcome["nfe"] == 8
    assert [round(x) for x in outcome["x"]] == [-1, -1, 0, 1, 1]
    assert not EXTRAS & set(outcome["loaded"])
    listed = json.loads(run(python, "-I", "-m", "diffode.cli", "list", "--json", cwd=tmp_path))
    assert "dpmpp_2m" in {entry["name"] for entry in listed}


def test_one_version_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {diffode.__version__}\n" in citation
    assert f"\n## [{diffode.__version__}]" in changes


def test_core_dependencies_are_the_promised_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {requirement.partition(">=")[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "scipy", "numba", "sympy", "mpmath", "typer", "rich", "jinja2"}
