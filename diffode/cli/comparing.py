"""`diffode compare`: solvers at equal numbers of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError, unknown

if TYPE_CHECKING:
    from diffode.analysis.comparison import Row, Rows

_MANY = 12
"""Solvers that a picture bears as lines."""


def compare(
    solvers: Annotated[list[str], typer.Argument(metavar="SOLVER", help="Names or files; `all`: all for one state.")],
    problem: inputs.ProblemName = "mixture_2d",
    nfe: Annotated[
        str | None, typer.Option("--nfe", metavar="LIST", help="Budgets of evaluations. [default: 5,10,20]")
    ] = None,
    grid: Annotated[
        str, typer.Option("--grid", metavar="G", help="karras, uniform_lambda, …, FILE.json, or t=1,0.5,0.1.")
    ] = "karras",
    process: inputs.ProcessName = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", help="Starting states. [default: 256; 65536 for --measure law]"),
    ] = None,
    states: inputs.States = None,
    seed: inputs.Seed = 0,
    measure: Annotated[
        str, typer.Option("--measure", metavar="M", help="path: error of the end points; law: of their law (1-d data).")
    ] = "path",
    json: inputs.Json = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw error against evaluations (png, svg or pdf).")
    ] = None,
) -> int:
    """Errors of solvers at equal cost.

    Exact on Gaussian data, else against a reference that is converged to a stated error. More than a dozen solvers are
    drawn as a Pareto plot.
    """
    from diffode.analysis.comparison import MEASURES, compare
    from diffode.analysis.judging import MANY

    chosen, listed = "all" if solvers == ["all"] else inputs.solvers(solvers), "=" in grid
    if measure not in MEASURES:
        raise DiffodeError(f"--measure: {unknown('measure', measure, MEASURES)}")
    if listed and nfe is not None:
        raise DiffodeError("--nfe: the levels of --grid are listed, and every solver runs on them; leave out --nfe")
    budgets = inputs.counts(nfe or "5,10,20", "--nfe")
    builder = None if listed else inputs.builder(grid)
    files.check_writable(json)
    if plot is not None:
        inputs.require("matplotlib", "plot")
    files.check_writable(plot)
    files.check_suffix(plot, ".png", ".svg", ".pdf")
    count = (256 if measure == "path" else MANY) if samples is None else samples
    subject = inputs.subject(problem, process, states, count, seed)
    with terminal.progress("compare") as update:
        rows = compare(
            chosen,
            None if subject.problem else subject.model,
            budgets,
            problem=subject.problem,
            x_T=subject.x_T,
            grid=builder or inputs.grid(subject.model.process, grid, None),
            seed=seed,
            measure=measure,
            progress=lambda done, total: update("", done, total),
        )
    if plot is not None:
        with files.replacing(plot) as draft:
            draw(rows, draft)
        terminal.wrote(plot, json)
    files.write_json(json, [row.as_dict() for row in rows])
    if json != files.STDOUT:
        show(rows)
    return 0


def draw(rows: list[Row], path: Path) -> None:
    """Error against evaluations, a line for each solver, the first standing out; of many, a column for each budget."""
    from diffode.analysis.figures import pareto, work_precision
    from diffode.analysis.style import look

    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.error:
            curves.setdefault(row.solver, []).append((row.spent, row.error))
    if not curves:
        raise DiffodeError("--plot: no solver has an error here; take Gaussian data, or solvers without noise")
    ylabel = f"error on {rows[0].problem}"
    with look():
        figure = pareto(rows, ylabel) if len(curves) > _MANY else work_precision(curves, next(iter(curves)), ylabel)
        figure.savefig(path, facecolor="white")


def show(rows: Rows) -> None:
    """The errors as a table: a line for each solver, a column for each budget, and what cannot be told in it."""
    terminal.say(str(rows))
    for noisy, what in ((False, "reference known to"), (True, "as many exact draws are off by")):
        uncertainty = max((row.uncertainty for row in rows if row.stochastic == noisy), default=0.0)
        if uncertainty:
            terminal.say(f"{what} {uncertainty:.0e}")
    if len(rows.front) < len(rows):
        terminal.say("best at their cost: " + ", ".join(f"{row.solver} ({row.spent})" for row in rows.front))
    for solver, note in dict.fromkeys((row.solver, row.note) for row in rows if row.note):
        terminal.say(f"{solver} {note}")
