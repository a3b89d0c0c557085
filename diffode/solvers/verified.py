"""Verified orders: what the study of orders found, shipped with the package.

An entry belongs to the formula that was verified and to no other: it carries a fingerprint of what the formula is made
of, and where that has changed since, the solver counts as not verified.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypedDict

from diffode.errors import SolverError
from diffode.solvers.base import Solver

FILE = Path(__file__).with_name("orders.json")
"""Written by the study of orders, `analysis/orders.py`."""

_SHARED = ("exponential.py", "first_order.py", "starts.py", "../phi.py", "../quadrature.py")
"""What rules of several families are built from."""


class Entry(TypedDict):
    """What was found of one solver.

    order : the order that was proved, or measured where the rule draws noise; None where that is open.
    verdict : "PASS", "FAIL" or "INCONCLUSIVE".
    fingerprint : of the formula that was verified.
    """

    order: float | None
    verdict: str
    fingerprint: str


def fingerprint(solver: Solver) -> str:
    """A digest of what a solver's formula depends on: its options, and the code of its module, of those that this
    takes formulas and tables from, and of what all families share.

    Comments and docstrings do not count.

    Parameters
    ----------
    solver : Solver

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    SolverError
        If the rule has no source file (it was typed in).

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> fingerprint(get_solver("ddim")) == fingerprint(get_solver("ddim(eta=0.5)"))
    False
    """
    path = inspect.getsourcefile(solver.rule)
    if path is None or not Path(path).is_file():
        raise SolverError(f"{solver.name}: the rule has no source file; write it to a file to have its fingerprint")
    files = _needed(Path(path))
    parts = [
        solver.rule.__qualname__,
        repr(sorted(solver.options.items())),
        *(_code(file.read_text(encoding="utf-8")) for file in files),
        *(fingerprint(base) for base in _bases(solver)),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _bases(solver: Solver) -> list[Solver]:
    """The solvers that a transform is made of, told by themselves or by their names."""
    from diffode.solvers.registry import get_solver  # which needs the families, and these this package

    named = [get_solver(value) for key, value in solver.options.items() if key == "base" and isinstance(value, str)]
    return [*(value for value in solver.options.values() if isinstance(value, Solver)), *named]


def _needed(path: Path) -> tuple[Path, ...]:
    """A rule's file, the modules of formulas that it imports, directly or not, and those that families share."""
    here = Path(__file__).parent
    shared = [here / name for name in _SHARED]
    found = [path]
    for file in found:
        text = file.read_text(encoding="utf-8")
        names = re.findall(r"^from diffode\.solvers\.(\w+) import", text, re.MULTILINE)
        more = [here / f"{name}.py" for name in names if name not in ("base", "registry")]
        if re.search(r"^from diffode\.statistics\b", text, re.MULTILINE):
            more += sorted((here.parent / "statistics").glob("*.py"))
        found += [file for file in dict.fromkeys(more) if file not in (*found, *shared)]
    return (*found, *shared)


@cache
def _code(text: str) -> str:
    """What a program does, without what it says."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def load() -> dict[str, Entry]:
    """All entries by the solver's name, those of changed formulas too; none where the study was not run."""
    if not FILE.is_file():
        return {}
    return json.loads(FILE.read_text(encoding="utf-8"))


def save(entries: Mapping[str, Entry]) -> None:
    """Write the file of entries.

    Parameters
    ----------
    entries : mapping of str to Entry
    """
    FILE.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def verified_order(solver: Solver, entries: Mapping[str, Entry]) -> float | None:
    """The order that was verified of this very formula; None where there is no entry, or one of another formula.

    Parameters
    ----------
    solver : Solver
    entries : mapping of str to Entry
        As `load` gives them.
    """
    entry = entries.get(solver.name)
    if entry is None or entry["fingerprint"] != fingerprint(solver):
        return None
    return entry["order"]
