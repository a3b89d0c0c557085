"""Errors, each one sentence that names the thing, its value and the remedy.

All of them are `ValueError` (or `ImportError` where something is not installed), so that code which
knows nothing of diffode can still catch them; the command line turns them into one line and exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The sentence for a name that is not known: the nearest one, or all.

    >>> unknown("grid", "karra", ["karras", "beta"]), unknown("grid", "x", ["karras", "beta"])
    ("no grid named 'karra'; did you mean 'karras'?", "no grid named 'x'; there are karras, beta")
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"no {kind} named {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}")


def placed(path: str | Path) -> Path:
    """A file to write; DiffodeError where its folder does not exist.

    >>> placed("nowhere/fit.json")
    Traceback (most recent call last):
    diffode.errors.DiffodeError: cannot write nowhere/fit.json: there is no folder nowhere; make it first
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DiffodeError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    return path


class DiffodeError(ValueError):
    """Something that the caller gave cannot be used; the message says what and how to mend it."""


class GridError(DiffodeError):
    """A time grid that is too short, not strictly monotone, or outside its process."""


class ProcessError(DiffodeError):
    """A forward process whose parameters, times or levels make no sense."""


class ModelError(DiffodeError):
    """A model whose output has the wrong shape, dtype or device, or is not finite."""


class SolverError(DiffodeError):
    """A step rule, or a name or file that should lead to one, that cannot be used."""


class PlanError(DiffodeError):
    """A plan that does not allow what is asked of it (a nonlinear row in a linear analysis, say)."""


class BranchError(SolverError):
    """A step rule compared a coefficient with another while its numbers had no definite value."""


class UnusedNoise(UserWarning):
    """Noise that was given to a solver that draws none."""


class MissingExtra(ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: python -m pip install 'diffode[{extra}]'")
