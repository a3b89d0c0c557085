"""The commands put together, and errors turned into one line.

Exit codes: 0 done (every verdict PASS), 1 a verdict is FAIL, 2 bad input, 3 a verdict is INCONCLUSIVE and none FAIL,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from diffode.cli import (
    certifying,
    comparing,
    deriving,
    explaining,
    files,
    laws,
    listing,
    optimising,
    running,
    scaffold,
    showcase,
    stability,
    verifying,
)
from diffode.errors import DiffodeError, MissingExtra

BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


class _Phrases(TyperGroup):
    """Commands, of which some have names of two words."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        phrase = " ".join(args[:2])
        if len(args) > 1 and phrase in self.commands:
            return phrase, self.commands[phrase], args[2:]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Phrases,
    help="Derive and verify solvers for diffusion models.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(listing.list_solvers)
app.command("verify")(verifying.verify)
app.command("certify")(certifying.certify)
app.command("compare")(comparing.compare)
app.command("law")(laws.law)
app.command("stability")(stability.stability)
app.command("sample")(running.sample)
app.command("derive")(deriving.derive)
app.command("derive optimize")(optimising.optimize)
app.command("explain")(explaining.explain)
app.command("new")(scaffold.new)
app.command("demo")(showcase.demo)

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for options and arguments that it cannot read; it exports this child of it alone."""


def _version(wanted: bool) -> None:
    if wanted:
        from diffode import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; stands before or after the command.")
    ] = False,
) -> None:
    """Derive and verify solvers for diffusion models."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after `diffode`; those of this process by default.

    Examples
    --------
    >>> main(["verify", "ddim", "--jso"])
    2
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a λ that the terminal cannot print is no reason to stop
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            return _run(list(_whole(word for word in words if word != "--debug")))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more as it leaves
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as problem:
        if debug:
            traceback.print_exc()
        print(f"error: {' '.join(_explain(problem).split())}", file=sys.stderr)
        return BAD_INPUT


def _run(words: list[str]) -> int:
    command = typer.main.get_command(app)
    code = command.main(words or ["--help"], prog_name="diffode", standalone_mode=False)
    sys.stdout.flush()
    if code == INTERRUPTED:  # typer has caught it
        raise KeyboardInterrupt
    return code or 0


def _whole(words: Iterator[str]) -> Iterator[str]:
    """The words, with the file that `--json` may leave out."""
    pending = False
    for word in words:
        if pending and word.startswith("-") and word != files.STDOUT:
            yield files.STDOUT
        yield word
        pending = word == "--json"
    if pending:
        yield files.STDOUT


def _explain(problem: Exception) -> str:
    """One line about an exception: what it is, and whose."""
    if isinstance(problem, (DiffodeError, MissingExtra)):
        return str(problem)
    if isinstance(problem, UsageError):
        usage: Any = problem
        command = usage.ctx.command_path if usage.ctx else "diffode"
        return f"{usage.format_message().rstrip('.')} (see `{command} --help`)"
    where = _own_line(problem)
    if where:
        return f"{where}: {type(problem).__name__}: {problem}"
    if isinstance(problem, OSError) and problem.filename:
        return f"{problem.filename}: {problem.strerror}"
    return f"a fault of diffode, {type(problem).__name__}: {problem}; run it again with --debug to see where"


def _own_line(problem: Exception) -> str:
    """The line of the user's own file in which an exception was raised, if it was."""
    from diffode.solvers.registry import MODULE_PREFIX

    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(problem.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(MODULE_PREFIX)
    ]
    return "{}, line {}".format(*frames[-1]) if frames else ""
