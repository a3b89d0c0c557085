"""`diffode certify`: what every solver claims, held against what it does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from diffode.cli import files, inputs, terminal

FEW = 20
"""As many solvers that were named are listed one by one."""


def certify(
    solvers: Annotated[
        list[str] | None, typer.Argument(metavar="SOLVER_OR_FILE", help="Names or files. [default: the registry]")
    ] = None,
    process: inputs.ProcessName = None,
    full: Annotated[bool, typer.Option("--full", help="Make all checks, not only those that tell the order.")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Processes. [default: one for each core]")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make anew what is kept from earlier runs.")] = False,
    json: inputs.Json = None,
) -> int:
    """Verify many solvers, and keep what was found.

    A certificate is kept by the content of its formula, so an interrupted run goes on where it stopped. A solver that
    is registered as short of its claim passes with the order that it admits to, and is always listed; of up to 20 that
    are named all are.

    Exit code: 0 when every solver is as it declares, 1 when one is not, 3 when some are INCONCLUSIVE and none is else.
    """
    from diffode.analysis.census import as_declared, certify, kept_in

    files.check_writable(json)
    if workers is not None:
        inputs.positive(workers, "--workers")
    names = list(solvers) if solvers else None
    with terminal.progress("certify") as update:
        found = certify(
            names, process, fast=not full, workers=workers or os.cpu_count() or 1, again=again, progress=update
        )
    files.write_json(json, list(found.values()))
    odd = [entry for name, entry in found.items() if not as_declared(name, entry)]
    if json != files.STDOUT:
        list_found(found, names is not None and len(found) <= FEW)
        show(odd)
        terminal.say(f"{len(found)} solvers, {len(found) - len(odd)} as they declare; kept in {kept_in()}")
    wrong = [entry for entry in odd if entry["verdict"] != "INCONCLUSIVE"]
    return 1 if wrong else 3 if odd else 0


def list_found(found: Mapping[str, Any], everyone: bool) -> None:
    """What was claimed and found: of every solver, or of those that are registered as short of their claim."""
    from diffode.analysis.census import as_declared
    from diffode.solvers import get_solver

    reaches = {name: get_solver(name).reaches for name in found}
    table = terminal.table(("name", "claimed", "found", "verdict"), right=("claimed", "found"))
    for name, entry in found.items():
        if everyone or reaches[name] is not None:
            order = "–" if entry["order"] is None else f"{entry['order']:g}"
            told = f" (registered as reaching {reaches[name]:g})" if reaches[name] is not None else ""
            verdict = terminal.Text("as declared") if as_declared(name, entry) else terminal.verdict(entry["verdict"])
            table.add_row(entry["solver"], f"{entry['claimed_order']:g}", order, verdict + told)
    if table.row_count:
        terminal.show(table)


def show(odd: list[Any]) -> None:
    """The solvers that are not as they declare, with the first check that says so."""
    for entry in odd:
        check = next(check for check in entry["checks"] if check["verdict"] != "PASS")
        title = f"{entry['solver']}: claimed order {entry['claimed_order']:g}: "
        terminal.say(terminal.Text(title) + terminal.verdict(check["verdict"]) + f" {check['name']}, {check['detail']}")
