"""Hypothesis profiles: the same examples on every run, or new ones on request; and a command line to type at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# a coefficient's first use compiles, plans or imports something, so that no example has a time limit
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A function that runs a command line in an empty folder, in this process."""
    from diffode.cli import main

    monkeypatch.chdir(tmp_path)

    def runner(line: str) -> Done:
        code = main(line.split())
        streams = capsys.readouterr()
        return Done(code, streams.out, streams.err)

    return runner
