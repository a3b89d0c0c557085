"""Writing files: whole or not at all, and asked about before any work is done."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from diffode.errors import DiffodeError

STDOUT = "-"
"""The file name that stands for standard output."""


def check_writable(path: str | Path | None) -> None:
    """Raise DiffodeError where a file could not be written; nothing for None and standard output."""
    if path is None or path == STDOUT:
        return
    path = Path(path)
    try:
        if path.is_dir():
            raise DiffodeError(f"cannot write {path}: it is a folder; give the name of a file")
        if not path.parent.is_dir():
            raise DiffodeError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):
            raise DiffodeError(f"cannot write {path}: there is no permission; choose another place")
        if path.is_file() or not path.exists():  # as it will be written: permissions do not tell of all that can fail
            draft = _draft(path)
            draft.touch()
            draft.unlink()
    except OSError as problem:
        raise DiffodeError(f"cannot write {path}: {problem.strerror or problem}; choose another place") from None


def _draft(path: Path) -> Path:
    """The file that stands in for another while it is written."""
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")


def check_folder(path: Path) -> None:
    """Raise DiffodeError where a folder could not be made or written to."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise DiffodeError(f"cannot write to {path}: {there} is not a folder; choose another")
    if not os.access(there, os.W_OK):
        raise DiffodeError(f"cannot write to {path}: the folder {there} is read-only; choose another")


def check_suffix(path: Path | None, *suffixes: str) -> None:
    """Raise DiffodeError where a file name ends in none of the suffixes."""
    if path is not None and path.suffix not in suffixes:
        raise DiffodeError(f"cannot write {path}: the name must end in {' or '.join(suffixes)}")


@contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """A file in the same folder to write to; it takes the place of `path` once all went well, or disappears."""
    path = Path(path).resolve()
    if path.exists() and not path.is_file():  # a device or a pipe is written to, not replaced
        yield path
        return
    draft = _draft(path)
    try:
        yield draft
        draft.replace(path)
    except OSError as problem:
        raise DiffodeError(f"cannot write {path}: {problem.strerror or problem}; choose another place") from problem
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a file, or standard output for "-"."""
    if path == STDOUT:
        sys.stdout.write(text)
        return
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | None, value: Any) -> None:
    """Write a value as JSON, null where a number is not finite; nothing for None."""
    if path is not None:
        write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
