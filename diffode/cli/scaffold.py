"""`diffode new`: a commented solver file to start from."""

from __future__ import annotations

import ast
from keyword import iskeyword
from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import files, terminal
from diffode.errors import DiffodeError

TEMPLATE = Path(__file__).with_name("template.py.txt")
NAME = "my_solver"
"""The name of the rule in the template."""


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, my_solver.py for instance.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> int:
    """Write a commented solver file to start from.

    `diffode verify FILE` passes it as it is.
    """
    write(file, force)
    terminal.say(f"wrote {file}; next: diffode verify {file}")
    return 0


def write(file: Path, force: bool = False) -> None:
    """The template under the name of a file."""
    check(file, force)
    template = TEMPLATE.read_text(encoding="utf-8")
    check_name(file, template)
    files.write_text(file, template.replace(NAME, file.stem))


def check(file: Path, force: bool = False) -> None:
    """Raise DiffodeError where a solver file could not be written."""
    files.check_suffix(file, ".py")
    files.check_writable(file)
    if not file.stem.isidentifier() or iskeyword(file.stem):
        raise DiffodeError(
            f"cannot write {file}: the solver takes the file's name, and {file.stem!r} is no Python name"
        )
    if file.exists() and not force:
        raise DiffodeError(f"{file} is there already; choose another name, or --force to replace it")


def check_name(file: Path, source: str) -> None:
    """Raise DiffodeError where the solver, which takes the file's name, would hide what its own source uses."""
    if file.stem in used(source):
        raise DiffodeError(
            f"cannot write {file}: the solver takes the file's name, and its source uses {file.stem!r} for something "
            "else; choose another name"
        )


def used(source: str) -> set[str]:
    """The names that a program uses or binds, the modules it imports from among them; not those that it defines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
