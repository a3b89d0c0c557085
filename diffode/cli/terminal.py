"""What the commands print: plain tables, verdicts coloured on a terminal only, a progress line on standard error."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDE = 200
"""Columns where the output is a file or a pipe, so that a line there is whole."""

STYLES = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow"}


def console(stderr: bool = False) -> Console:
    """Standard output or error; brackets and colons are printed as they stand ("[λλ]" is a tree, not a style)."""
    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDE
    return made


def say(text: str | Text = "") -> None:
    """One line, never broken."""
    console().print(text, soft_wrap=True)


def show(made: Table) -> None:
    """A table; in a file or a pipe its lines end with their last character."""
    to = console()
    if to.is_terminal:
        to.print(made)
        return
    with to.capture() as capture:
        to.print(made)
    for line in capture.get().splitlines():
        to.print(line.rstrip(), soft_wrap=True)


def wrote(path: object, json: str | None) -> None:
    """That a file was written; on standard error where the output is JSON."""
    console(stderr=json == "-").print(f"wrote {path}", soft_wrap=True)


def verdict(word: str) -> Text:
    """A verdict in its colour."""
    return Text(word, style=STYLES[word])


def table(columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    """An empty table without rules; where the line is too short, the last column gives way.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    right : sequence of str
        Those to be set flush right.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        last = name == columns[-1]
        made.add_column(name, justify="right" if name in right else "left", no_wrap=not last, overflow="fold")
    return made


def cut(text: str) -> Text:
    """A cell that is cut where it does not fit, in place of wrapping."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def step(text: str, count: int) -> None:
    """One of several long things begins: a plain line where standard error is a file or a pipe."""
    to = console(stderr=True)
    if count > 1 and not to.is_terminal:
        to.print(text, soft_wrap=True)


@contextmanager
def progress(title: str) -> Generator[Callable[[str, int, int], None]]:
    """A progress line on a terminal, gone when all is done; nothing elsewhere.

    Yields a function of (what is being done, how many are done, how many there are).
    """
    to = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=to, transient=True, disable=not to.is_terminal) as line:
        task = line.add_task(title)

        def update(what: str, done: int, total: int) -> None:
            line.update(task, description=f"{title}: {what}" if what else title, completed=done, total=total)

        yield update
