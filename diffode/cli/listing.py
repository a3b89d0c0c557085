"""`diffode list`: every solver, with what it claims and what was verified of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError, unknown


def list_solvers(
    family: Annotated[str | None, typer.Option("--family", metavar="F", help="Only the solvers of one family.")] = None,
    json: inputs.Json = None,
) -> int:
    """Every solver: order, cost, noise, source.

    The order is told as claimed and as verified; – where that has not been done for the present formula.
    """
    from diffode.solvers.registry import registry, systems
    from diffode.solvers.verified import load

    files.check_writable(json)
    known = (*registry().values(), *systems().values())
    families = {solver.family: None for solver in known}
    if family is not None and family not in families:
        raise DiffodeError(unknown("family", family, families))
    entries = load()
    rows = [_row(solver, entries) for solver in known if family in (None, solver.family)]
    files.write_json(json, rows)
    if json != files.STDOUT:
        show(rows)
    return 0


def _row(solver: Any, entries: Any) -> dict[str, Any]:
    from diffode.analysis.order.fixed_point import probe
    from diffode.analysis.verification import evaluations_per_step
    from diffode.solvers.verified import verified_order

    return {
        "name": solver.name,
        "family": solver.family,
        "order_claimed": float(solver.order),
        "order_verified": verified_order(solver, entries),
        "stiff_order_claimed": solver.stiff_order,
        "evaluations_per_step": evaluations_per_step(solver),
        "stochastic": not probe(solver).is_deterministic,
        "prediction": solver.prediction,
        "source": solver.source,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """The solvers as a table, family by family."""
    columns = ("name", "claimed", "verified", "stiff", "nfe", "noise", "predicts", "source")
    solvers = terminal.table(columns, right=("claimed", "verified", "stiff", "nfe"))
    families = {row["family"]: None for row in rows}
    for family in families:
        solvers.add_row(terminal.Text(family, style="bold"))
        for row in rows:
            if row["family"] == family:
                solvers.add_row(*_cells(row))
    terminal.show(solvers)


def _cells(row: dict[str, Any]) -> tuple[str | terminal.Text, ...]:
    claimed, verified = row["order_claimed"], row["order_verified"]
    style = "" if verified is None else "green" if verified >= claimed else "bold red"
    return (
        f"  {row['name']}",
        f"{claimed:g}",
        terminal.Text("–" if verified is None else f"{verified:g}", style=style),
        str(row["stiff_order_claimed"] or ""),
        str(row["evaluations_per_step"]),
        "yes" if row["stochastic"] else "no",
        row["prediction"],
        terminal.cut(row["source"]),
    )
