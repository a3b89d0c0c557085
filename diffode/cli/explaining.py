"""`diffode explain`: what a solver's error is made of."""

from __future__ import annotations

from typing import Annotated

import typer

from diffode.cli import inputs, terminal


def explain(
    solvers: Annotated[list[str], typer.Argument(metavar="SOLVER", help="Names or files.")],
) -> int:
    """The leading local error in words and symbols, the parent methods, and what changes if a coefficient is moved."""
    from diffode.analysis.explanation import explain

    for n, solver in enumerate(inputs.solvers(solvers)):
        if n:
            terminal.say()
        terminal.say(str(explain(solver)))
    return 0
