"""The errata: every registered method whose published formula or official code misses its claim.

Writes `docs/errata.md` from the registry and the study of orders; nothing in it is typed.

    python -m analysis.errata
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from analysis import orders
from diffode.catalogue import catalogue
from diffode.solvers import Solver, get_solver, registry

PAGE = Path(__file__).parents[1] / "docs" / "errata.md"

Certificates = Mapping[str, Mapping[str, Any]]


def certificates() -> Certificates:
    """What the study of orders found, by name."""
    return {entry["solver"]: entry for entry in json.loads(orders.CERTIFICATES.read_text(encoding="utf-8"))}


def linked(source: str) -> str:
    """A source with its arXiv numbers as links.

    >>> linked("arXiv:2211.01095, Algorithm 2")
    '[arXiv:2211.01095](https://arxiv.org/abs/2211.01095), Algorithm 2'
    """
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)


def page(found: Certificates) -> str:
    """The page in Markdown."""
    wrong = [solver for solver in registry().values() if solver.erratum is not None]
    lines = [
        "# Errata",
        "",
        "Methods that miss their claim as published: the paper's formula, or the official code where the two differ.",
        "They are registered as they are, beside the ones that put them right. Orders are proved for every process,",
        "and measured on a nonlinear mixture ([which order](orders.md)). Made from the registry by",
        "`python -m analysis.errata`.",
        "",
        "| as published | claims | reaches | measured | put right | proved | measured |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(solver, found) for solver in wrong),
        "",
    ]
    for slip, solvers in groupby(wrong, key=lambda solver: str(solver.erratum and solver.erratum.what)):
        lines += _entry(slip, list(solvers), found)
    lines += ["## Beside step rules", "", *_beside(), ""]
    return "\n".join(lines)


def _beside() -> Iterator[str]:
    """What is wrong with methods that are no step rules, and the page that measures it."""
    for entry in catalogue().values():
        if entry.slip:
            yield f"- `{entry.name}`, {linked(entry.source)}. {entry.slip} [See]({entry.page})."


def _row(solver: Solver, found: Certificates) -> str:
    right = solver.erratum.right if solver.erratum else ""
    cells = [f"`{solver.name}`", f"{solver.order:g}", f"{found[solver.name]['order']:g}", _measured(solver.name, found)]
    beside = [f"`{right}`", f"{_proved(right, found)}", _measured(right, found)] if right else ["–"] * 3
    return f"| {' | '.join([*cells, *beside])} |"


def _check(name: str, check: str, found: Certificates) -> Mapping[str, Any] | None:
    """A check of a solver; one named with options is not in the study, and has none."""
    return next((c for c in found[name]["checks"] if c["name"] == check), None) if name in found else None


def _proved(name: str, found: Certificates) -> str:
    check = _check(name, "order_proof", found)
    return "–" if check is None else f"{check['value']:g}"


def _measured(name: str, found: Certificates) -> str:
    check = _check(name, "order_mixture", found)
    return "–" if check is None else f"{check['value']:.2f}"


def _entry(slip: str, solvers: list[Solver], found: Certificates) -> Iterator[str]:
    yield f"## {', '.join(solver.name for solver in solvers)}"
    yield ""
    yield slip
    yield ""
    for solver in solvers:
        check = _check(solver.name, "order_proof", found) or _check(solver.name, "order_mixture", found)
        evidence = "" if check is None else f": {check['detail']}"
        yield f"- `{solver.name}`, {linked(solver.source)}{evidence}."
    right = dict.fromkeys(solver.erratum.right for solver in solvers if solver.erratum and solver.erratum.right)
    if right:
        yield f"- Put right by {', '.join(f'`{name}`, {linked(get_solver(name).source)}' for name in right)}."
    names = " ".join(f"'{name}'" if "(" in name else name for name in [solvers[0].name, *right])
    yield f"- See it: `diffode verify {names}`."
    yield ""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(certificates()), encoding="utf-8")


if __name__ == "__main__":
    main()
