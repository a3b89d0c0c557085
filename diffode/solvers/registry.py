"""Finding solvers: by name, by name with options, or in a file.

The registry is what the family modules define: every `Solver` among their attributes, under its name. There is no
list to keep up.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from diffode.errors import SolverError
from diffode.solvers import tables
from diffode.solvers.base import Solver

FAMILIES = (
    "first_order", "runge_kutta", "implicit", "adams", "singlestep", "multistep", "unipc", "stochastic_adams",
    "refined", "exponential_rk", "exponential_pece", "momentum", "pseudo", "mean_reverting",
    "transforms", "seeds", "er_sde", "ancestral", "churn", "restart", "score_sde", "langevin",
    "cfg_pp", "reversible", "dpm_v3", "corrected",
    "dc_solver", "heunpp", "bespoke", "mean_direction", "unified",
)  # fmt: skip

SYSTEMS = ("gddim",)
"""Families of rules for systems, which no process of one state can run: known by name, apart from the others."""

MODULE_PREFIX = "diffode_file_"
"""How the modules made of users' files are named."""


def registry() -> dict[str, Solver]:
    """All registered solvers by name, in the order of the families."""
    return _members(FAMILIES)


def systems() -> dict[str, Solver]:
    """The solvers for systems (`de.CLD`) by name.

    >>> sorted(systems())[:3]
    ['euler_system', 'gddim', 'gddim_1']
    """
    return _members(SYSTEMS)


_members_of: dict[tuple[str, ...], dict[str, Solver]] = {}


def _members(families: tuple[str, ...]) -> dict[str, Solver]:
    if families in _members_of:
        return _members_of[families]
    found: dict[str, Solver] = {}
    modules = [importlib.import_module(f"diffode.solvers.{family}") for family in families]
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Solver):
                found.setdefault(value.name, value)
    if not any(getattr(module.__spec__, "_initializing", False) for module in modules):
        _members_of[families] = found  # else a family asks that is itself being imported, and has not all its members
    return found


def list_solvers() -> list[str]:
    """Names of all registered solvers.

    >>> "dpmpp_2m" in list_solvers()
    True
    """
    return list(registry())


def register(found: Any, name: str | None = None) -> Solver:
    """Give a solver, or the solver of a fit, a name in this process, as those of the package have one.

    Parameters
    ----------
    found : Solver, or anything with a `solver`
    name : str, optional
        Its own by default.

    Returns
    -------
    Solver
        Of that name.

    Raises
    ------
    SolverError
        If it is no solver, or the name is taken by another.

    Examples
    --------
    >>> mine = register(get_solver("ghvb(order=1.5)"), "mine")
    >>> get_solver("mine") is mine
    True
    >>> _ = registry().pop("mine")
    """
    made = getattr(found, "solver", found)
    if not isinstance(made, Solver):
        raise SolverError(f"register: needs a solver or a fit, not {found!r}; see `de.fit`")
    made = replace(made, name=name or made.name)
    if made.name in registry():
        raise SolverError(f"register: the name {made.name!r} is taken; give another, register(fit, name=…)")
    registry()[made.name] = made
    return made


def get_solver(name: str | Solver) -> Solver:
    """The solver that a name, a name with options, or a file stands for.

    Parameters
    ----------
    name : str or Solver
        "dpmpp_2m"; "ghvb_2.5" or "ghvb(order=2.5)"; "path/to/file.py" or "file.py:name"; "path/to/fit.json". A solver
        is returned as it is.

    Raises
    ------
    SolverError
        If there is none, with the nearest name.

    Examples
    --------
    >>> get_solver("ghvb(order=1.5)").order
    2
    >>> get_solver("dpmp_2m")
    Traceback (most recent call last):
    diffode.errors.SolverError: no solver named 'dpmp_2m'; did you mean 'dpmpp_2m'?
    """
    if isinstance(name, Solver):
        return name
    if not isinstance(name, str):
        raise SolverError(f"a solver is a name, a file or a solver itself, not {name!r}; see `diffode list`")
    known = {**registry(), **systems()}
    if name in known:
        return known[name]
    if name.endswith(".json"):
        return tables.load(Path(name))
    call = re.fullmatch(r"\s*(\w[\w.]*)\s*\((.*)\)\s*", name, re.DOTALL)
    if call and call[1] in known:  # before files: an option may be FILE.py:NAME
        return known[call[1]].configure(**_arguments(name))
    path, inside = split_file(name)
    if path.endswith(".py"):
        return _from_file(Path(path), inside)
    parts = re.fullmatch(r"(\w+?)_(\d+(?:\.\d+)?)", name)
    if parts and parts[1] in known and "order" in known[parts[1]].options:
        return known[parts[1]].configure(name, order=ast.literal_eval(parts[2]))
    if inside or "/" in name:
        raise SolverError(f"no solver named {name!r}; a file ends in .py, and its solver follows a colon: FILE.py:NAME")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see `diffode list`"
    raise SolverError(f"no solver named {name!r}; {hint}")


def split_file(name: str) -> tuple[str, str]:
    """A file and the name in it, of FILE.py:NAME.

    >>> split_file("a:b.py:mine"), split_file("a:b.py")
    (('a:b.py', 'mine'), ('a:b.py', ''))
    """
    path, _, inside = name.rpartition(":")
    return (name, "") if name.endswith(".py") or not path else (path, inside.strip())


def _arguments(name: str) -> dict[str, Any]:
    try:
        tree = ast.parse(name.strip(), mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args:
            raise ValueError
        return {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in tree.keywords}
    except (SyntaxError, ValueError):
        raise SolverError(
            f"cannot read the options of {name!r}; write them as keywords with plain values: name(order=2)"
        ) from None


def load_file(path: Path) -> dict[str, Solver]:
    """The solvers that a file defines, by name.

    Raises
    ------
    SolverError
        If the file is missing, does not run, or defines no solver.
    """
    module = run_file(path)
    mine = {
        value.name: value
        for value in vars(module).values()
        if isinstance(value, Solver) and value.rule.__module__ == module.__name__
    }
    if not mine:
        raise SolverError(f"{path}: the file defines no solver; decorate a step rule with @solver (see `diffode new`)")
    return mine


def run_file(path: Path) -> ModuleType:
    """The module that a user's file is.

    Raises
    ------
    SolverError
        If the file is missing or does not run.
    """
    if not path.is_file():
        raise SolverError(f"{path}: " + ("is a folder, not a file" if path.is_dir() else "no such file"))
    name = MODULE_PREFIX + path.stem
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:  # not by the import system, which would leave a cache beside the file, and trust one that is a second old
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except SyntaxError as problem:
        where = f"{path}, line {problem.lineno}" if problem.lineno else path
        raise SolverError(f"{where}: {problem.msg}") from problem
    except SolverError:
        raise
    except (Exception, SystemExit) as problem:
        raise SolverError(f"{path}: running the file failed: {type(problem).__name__}: {problem}") from problem
    return module


def _from_file(path: Path, inside: str) -> Solver:
    mine = load_file(path)
    if not inside:
        if len(mine) > 1:
            raise SolverError(f"{path} defines {', '.join(mine)}; say which: {path}:{next(iter(mine))}")
        return next(iter(mine.values()))
    if inside not in mine:
        raise SolverError(f"{path} defines no solver named {inside!r}; it defines {', '.join(mine)}")
    return mine[inside]
