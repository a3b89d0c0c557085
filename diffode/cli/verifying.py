"""`diffode verify`: certificates."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError

if TYPE_CHECKING:
    from diffode.analysis.certificate import Certificate


def verify(
    solvers: Annotated[
        list[str], typer.Argument(metavar="SOLVER_OR_FILE", help="Names, FILE.py (all solvers in it), FILE.py:NAME.")
    ],
    process: inputs.ProcessName = None,
    json: inputs.Json = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Write DIR/SOLVER.html, a report in one file.")
    ] = None,
    proof: Annotated[
        str | None, typer.Option("--proof", metavar="FILE", help="Write the proof of order, for anyone to check.")
    ] = None,
) -> int:
    """Prove and measure the order of solvers.

    Exit code: 0 when every verdict is PASS, 1 when one is FAIL, 2 for bad input, 3 when some are INCONCLUSIVE and none
    FAIL.
    """
    from diffode.analysis.order.butcher import tableau_for
    from diffode.analysis.order.fixed_point import probe
    from diffode.analysis.verification import verify
    from diffode.process import named
    from diffode.solvers.registry import SYSTEMS

    chosen, where = inputs.solvers(solvers), None if process is None else named(process)
    files.check_writable(json)
    files.check_writable(proof)
    if proof is not None and len(chosen) > 1:
        raise DiffodeError(f"--proof {proof}: a file holds one proof; verify the {len(chosen)} solvers one by one")
    if proof is not None and not probe(chosen[0]).is_deterministic:
        raise DiffodeError(f"--proof {proof}: {chosen[0].name} draws noise, so its order is measured, not proved")
    if proof is not None and chosen[0].family in SYSTEMS:
        raise DiffodeError(f"--proof {proof}: {chosen[0].name} moves a system, so its order is measured, not proved")
    if report is not None and any(solver.family in SYSTEMS for solver in chosen):
        raise DiffodeError(f"--report {report}: a report is about one state, and a solver here moves a system")
    if proof is not None and tableau_for(chosen[0], ceil(chosen[0].order) + 1) is not None:
        raise DiffodeError(
            f"--proof {proof}: the order of {chosen[0].name} is proved by the conditions of its tableau, for which no "
            "file is written; leave out --proof"
        )
    if report is not None:
        inputs.require("matplotlib", "plot")
        files.check_folder(report)
    certificates: list[Certificate] = []
    for n, solver in enumerate(chosen, 1):
        terminal.step(f"verify {n}/{len(chosen)}: {solver.name}", len(chosen))
        with terminal.progress(solver.name) as update:
            certificates.append(verify(solver, where, progress=update))
        if json != files.STDOUT:
            show(certificates[-1])
        if report is not None:
            path = write_report(certificates[-1], report)
            terminal.console(stderr=json == files.STDOUT).print(f"report: {path}", soft_wrap=True)
    if proof is not None:
        write_proof(certificates[0], proof)
    found = [certificate.as_dict() for certificate in certificates]
    files.write_json(json, found[0] if len(found) == 1 else found)
    return exit_code([certificate.verdict for certificate in certificates])


def write_proof(certificate: Certificate, path: str) -> None:
    """The proof of order in a file, and how to check it."""
    from diffode.analysis.order import checker

    found = next((check.proof for check in certificate.checks if check.proof is not None), None)
    if found is None:
        why = certificate["order_proof"].detail
        raise DiffodeError(f"--proof {path}: the order of {certificate.solver} is not proved: {why}")
    files.write_text(path, found.to_json())
    if path != files.STDOUT:
        terminal.console(stderr=True).print(
            f"proof: {path}; check it: python {checker.__file__} {path}", soft_wrap=True
        )


def exit_code(verdicts: list[str]) -> int:
    """What the shell is told of several verdicts."""
    return 1 if "FAIL" in verdicts else 3 if "INCONCLUSIVE" in verdicts else 0


def show(certificate: Certificate) -> None:
    """A certificate as a table."""
    claimed = f"claimed order {certificate.claimed_order:g}, {certificate.finding}"
    title = f"{certificate.solver}: {claimed}, on {certificate.process}: "
    terminal.say(terminal.Text(title) + terminal.verdict(certificate.verdict))
    if certificate.disagreement:
        terminal.say(terminal.Text(certificate.disagreement, style="bold red"))
    checks = terminal.table(("check", "verdict", "value", "evidence"), right=("value",))
    for check in certificate.checks:
        value = "" if check.value is None else f"{check.value:z.2f}"
        checks.add_row(check.name, terminal.verdict(check.verdict), value, check.detail)
    terminal.show(checks)
    for proved in certificate.facts.get("theory", ()):
        terminal.say(f"proved besides: {proved}")
    terminal.say(f"in floats: {certificate.facts['coefficients']}")
    terminal.say()


def write_report(certificate: Certificate, folder: Path) -> Path:
    """The report of a certificate in a folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{certificate.solver}.html"
    with files.replacing(path) as draft:
        certificate.to_html(draft)
    return path
