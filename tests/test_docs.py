"""The README and the docs do what they say: their Python and their commands run, their links lead somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
PROGRAMS = ("python", "pycon")
SHELLS = ("sh", "bash", "console")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, languages: tuple[str, ...]) -> list[str]:
    """The fenced blocks of a page in some languages."""
    return [code for language, code in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


@each_page
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One page is one session: a block sees the names of those before it; `>>>` lines are compared."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for number, code in enumerate(blocks(page, PROGRAMS)):
        if not code.lstrip().startswith(">>>"):
            exec(compile(code, f"{page.name}, block {number}", "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(code, names, page.name, page.name, 0)
        outcome = doctest.DocTestRunner(optionflags=flags).run(test, clear_globs=False)
        assert not outcome.failed
        names.update(test.globs)


@each_page
def test_commands_run(page: Path, tmp_path: Path):
    """`diffode …` in a shell block ends with a verdict (0, 1 or 3), never with bad input or a traceback."""
    for line in "".join(blocks(page, SHELLS)).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] != ["diffode"]:
            continue
        done = subprocess.run(
            [sys.executable, "-m", "diffode.cli", *words[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode in (0, 1, 3), f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"


@each_page
def test_links_lead_somewhere(page: Path):
    """A link inside the repository names a file that is there, and a heading that is in it."""
    for path, heading in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {path}, which is not there"
        if heading and target.suffix == ".md":
            assert heading in headings(target), f"{page.name} links to {path}#{heading}, which is not there"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings: lower case, no punctuation, hyphens for blanks."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
