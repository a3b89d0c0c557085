"""`diffode demo`: what `make demo` runs, the main job from a new file to its report."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffode.cli import files, inputs, running, scaffold, terminal, verifying

if TYPE_CHECKING:
    from diffode.analysis.certificate import Certificate


@dataclass(frozen=True)
class Act:
    """A solver of the demonstration, and what should come out."""

    solver: str
    verdict: str
    order: float
    words: str


OWN = "my_solver.py"
ACTS = (
    Act(OWN, "PASS", 2, "A formula in a file of its own"),
    Act("dpmpp_3m", "FAIL", 2, "The published third-order multistep DPM-Solver++"),
    Act("dpmpp_3m_corrected", "PASS", 3, "The same with its second derivative put right"),
)
SLOWEST_FIRST = (1, 2, 0)


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the solver file and the reports go.")] = Path(
        "reports"
    ),
) -> int:
    """The main job, from a new file to its report.

    Writes a solver, verifies it beside a published one and its correction, samples digits with it, writes reports.
    Exit code: 0 when all came out as they should, else 1.
    """
    began = time.perf_counter()
    inputs.require("matplotlib", "plot")
    files.check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    own = out / OWN
    if own.exists():
        terminal.say(f"{own} is there already, and stays as it is")
    else:
        scaffold.write(own)
        terminal.say(f"wrote {own}")
    terminal.say()
    as_expected = [_shown(act, certificate) for act, certificate in zip(ACTS, _certificates(out), strict=True)]
    _digits(own)
    terminal.say(f"\nreports, after {time.perf_counter() - began:.0f} s:")
    for act in ACTS:
        terminal.say(f"  {out / Path(act.solver).stem}.html")
    return 0 if all(as_expected) else 1


def _certificates(out: Path) -> list[Certificate]:
    """The certificates of all acts, made side by side, with their reports in a folder."""
    workers = min(len(ACTS), os.cpu_count() or 1)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, _leave_interrupts) as pool, terminal.progress("verify") as update:
        update("three solvers with their reports", 0, len(ACTS))
        names = [str(out / act.solver) if act.solver == OWN else act.solver for act in ACTS]
        running = {i: pool.apply_async(_certify, (names[i], out)) for i in SLOWEST_FIRST}
        found: list[Certificate] = []
        for i in range(len(ACTS)):
            found.append(running[i].get())
            update("three solvers with their reports", len(found), len(ACTS))
        return found


def _leave_interrupts() -> None:
    """Ctrl-C goes to every process of the terminal; the parent alone answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _certify(name: str, folder: Path) -> Certificate:
    from diffode.analysis.verification import verify

    certificate = verify(name)
    verifying.write_report(certificate, folder)
    return certificate.portable()


def _shown(act: Act, certificate: Certificate) -> bool:
    """Show a certificate, and tell whether it is as it should be."""
    terminal.say(terminal.Text(act.words, style="bold"))
    verifying.show(certificate)
    if (certificate.verdict, certificate.order) == (act.verdict, act.order):
        return True
    terminal.say(f"expected: {act.verdict} with order {act.order:g}\n")
    return False


def _digits(own: Path) -> None:
    """Sample the learned problem with the solver of the new file."""
    from diffode.solvers import get_solver

    solver = get_solver(str(own))
    subject = inputs.subject("digits", None, None, samples=4, seed=0)
    grid = inputs.grid(subject.model.process, "karras", 10)
    result, x = running.run(subject, solver, grid, "numpy", seed=0)
    terminal.say(terminal.Text(f"Handwritten digits by {solver.name}, {result.nfe} evaluations", style="bold"))
    terminal.say(running.picture(x))
