"""The notebooks run from top to bottom without torch, say nothing on stderr, and are kept as text without outputs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import jupytext
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.md"))

LAST = """
import sys
assert "torch" not in sys.modules, "a notebook needs no torch"
"""


COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class ThisPython(AsyncKernelManager):
    """A kernel of the Python that runs the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )


def execute(source: str, name: str, folder: Path, scratch: Path) -> None:
    """Run a notebook in a folder; fail where a cell raises or warns, and name it.

    Temporary files go into `scratch`, and so does IPython's profile: that of the user is not read.
    """
    notebook = jupytext.reads(source, fmt="md")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    client = NotebookClient(
        notebook, kernel_manager_class=ThisPython, timeout=300, resources={"metadata": {"path": str(folder)}}
    )
    failure = ""
    try:
        client.execute(env={**os.environ, "TMPDIR": str(scratch), "IPYTHONDIR": str(scratch / "ipython")})
    except CellExecutionError as error:
        failure = COLOURS.sub("", str(error))
    for number, cell in enumerate(cells, 1):
        title = f"{name}, code cell {number} ({cell.source.strip().splitlines()[0]})"
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                pytest.fail(f"{title} raises\n{failure}", pytrace=False)
            if output.get("name") == "stderr":
                pytest.fail(f"{title} says on stderr\n{output.text}", pytrace=False)
    assert not failure, f"{name}: {failure}"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path):
    import matplotlib.font_manager  # on a new machine builds a list of fonts, and says so on stderr

    assert matplotlib.font_manager.fontManager
    folder, scratch = tmp_path / "a folder", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    source = path.read_text(encoding="utf-8")
    execute(f"{source}\n```python{LAST}```\n", path.name, folder, scratch)
    assert not list(folder.iterdir()), f"{path.name} leaves files where it is opened"


@pytest.mark.parametrize(
    ("cell", "said"), [("1 / 0", "ZeroDivisionError"), ("import warnings; warnings.warn('look out')", "look out")]
)
def test_a_cell_that_fails_is_named(cell: str, said: str, tmp_path: Path):
    source = f"# Title\n\n```python\nx = 1\n```\n\n```python\n{cell}\n```\n"
    with pytest.raises(pytest.fail.Exception) as failure:
        execute(source, "some.md", tmp_path, tmp_path)
    assert "some.md, code cell 2" in str(failure.value)
    assert said in str(failure.value)


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_notebooks_are_text_without_outputs():
    strangers = [path.name for path in FOLDER.rglob("*") if path.is_file() and path not in NOTEBOOKS]
    assert not [name for name in strangers if not name.startswith(".")]
    for path in NOTEBOOKS:
        cells = jupytext.read(path).cells
        assert any(cell.cell_type == "code" for cell in cells), path.name
        assert not any(cell.get("outputs") for cell in cells), path.name
        assert "data:image" not in path.read_text(encoding="utf-8"), path.name
