"""`diffode compare`: solvers at equal numbers of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError

if TYPE_CHECKING:
    from diffode.analysis.comparison import Row


def compare(
    solvers: Annotated[list[str], typer.Argument(metavar="SOLVER", help="Names or files.")],
    problem: inputs.ProblemName = "mixture_2d",
    nfe: Annotated[str, typer.Option("--nfe", metavar="LIST", help="Budgets of evaluations.")] = "5,10,20",
    grid: Annotated[str, typer.Option("--grid", metavar="G", help="karras, uniform_lambda, …")] = "karras",
    process: inputs.ProcessName = None,
    samples: inputs.Samples = 256,
    states: inputs.States = None,
    seed: inputs.Seed = 0,
    json: inputs.Json = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw error against evaluations (png, svg or pdf).")
    ] = None,
) -> int:
    """Errors of solvers at equal cost.

    Exact on Gaussian data, else against a reference that is converged to a stated error.
    """
    from diffode.analysis.comparison import compare

    chosen, budgets, levels = inputs.solvers(solvers), inputs.counts(nfe, "--nfe"), inputs.builder(grid)
    files.check_writable(json)
    if plot is not None:
        inputs.require("matplotlib", "plot")
    files.check_writable(plot)
    files.check_suffix(plot, ".png", ".svg", ".pdf")
    subject = inputs.subject(problem, process, states, samples, seed)
    with terminal.progress("compare") as update:
        rows = compare(
            chosen,
            None if subject.problem else subject.model,
            budgets,
            problem=subject.problem,
            x_T=subject.x_T,
            grid=levels,
            progress=lambda done, total: update("", done, total),
        )
    if plot is not None:
        with files.replacing(plot) as draft:
            draw(rows, draft)
    files.write_json(json, [row.as_dict() for row in rows])
    if json != files.STDOUT:
        show(rows, budgets)
    return 0


def draw(rows: list[Row], path: Path) -> None:
    """Error against evaluations, a line for each solver; the first stands out."""
    from diffode.analysis.figures import work_precision
    from diffode.analysis.style import look

    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.error:
            curves.setdefault(row.solver, []).append((row.spent, row.error))
    if not curves:
        raise DiffodeError("--plot: no solver has an error here; take Gaussian data, or solvers without noise")
    with look():
        figure = work_precision(curves, next(iter(curves)), f"error on {rows[0].problem}")
        figure.savefig(path, facecolor="white")


def show(rows: list[Row], budgets: list[int]) -> None:
    """The errors as a table: a line for each solver, a column for each budget."""
    title = f"error on {rows[0].problem} with at most so many evaluations"
    headings = [str(budget) for budget in budgets]
    errors = terminal.table(("solver", *headings), right=headings)
    lines = [rows[i : i + len(budgets)] for i in range(0, len(rows), len(budgets))]
    for line in lines:
        errors.add_row(line[0].solver, *("–" if row.error is None else f"{row.error:.2e}" for row in line))
    terminal.say(title)
    terminal.console().print(errors)
    uncertainty = max(row.uncertainty for row in rows)
    if uncertainty:
        terminal.say(f"reference known to {uncertainty:.0e}")
    for line in lines:
        if line[0].note:
            terminal.say(f"{line[0].solver} {line[0].note}")
