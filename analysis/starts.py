"""Starts and ends of multistep rules: what the published ramp and lowered end cost, and where they win all the same.

Writes `results/starts.md`: for rules that offer both starts, the slope of the error on a mixture in two dimensions on
equal steps in λ, and the errors at 5 to 10 evaluations.

    python -m analysis.starts
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import diffode as de
from diffode.errors import DiffodeError

RESULTS = Path(__file__).parent / "results"
RULES = ("dpmpp_3m_corrected", "unip_4", "unipc_2", "unipc_3", "deis_lambdaab_2", "deis_rhoab_2", "deis_tab_3")
VARIANTS = {
    "ramp, lowered end": {"lower_order_final": True},
    "ramp, full end": {"lower_order_final": False},
    "exact start, lowered end": {"start": "exact", "lower_order_final": True},
    "exact start, full end": {"start": "exact", "lower_order_final": False},
}
FEW, MANY = (5, 6, 8, 10), (40, 57, 80, 113, 160)


def errors(solver: de.Solver, budgets: tuple[int, ...]) -> dict[int, float]:
    """The error for each budget of evaluations; without those in which the rule cannot take a step."""
    found: dict[int, float] = {}
    for nfe in budgets:
        try:
            (row,) = de.compare([solver], problem="mixture_2d", nfe=[nfe], grid=de.grids.uniform_lambda)
        except DiffodeError:
            continue
        found[nfe] = row.error
    return found


def table() -> str:
    """The table in Markdown."""
    head = " | ".join(f"error at {nfe}" for nfe in FEW)
    lines = [
        "# Starts and ends: what they cost",
        "",
        "Error on the mixture in two dimensions, equal steps in λ; the slope is that from 40 to 160 evaluations, where",
        "what the ramp costs does not yet show in full. The best of each rule at a budget is bold. An exact start",
        "pays its evaluations once, within the budget. Made by `python -m analysis.starts`.",
        "",
        f"| rule | start and end | slope | {head} |",
        "| --- | --- | --- |" + " --- |" * len(FEW),
    ]
    for name in RULES:
        rows = {what: de.get_solver(name).configure(name, **options) for what, options in VARIANTS.items()}
        few = {what: errors(solver, FEW) for what, solver in rows.items()}
        best = {nfe: min((found[nfe] for found in few.values() if nfe in found), default=0.0) for nfe in FEW}
        for what, solver in rows.items():
            many = errors(solver, MANY)
            slope = -np.polyfit(np.log(list(many)), np.log(list(many.values())), 1)[0]
            cells = [_cell(few[what].get(nfe), best[nfe]) for nfe in FEW]
            lines.append(f"| {name} | {what} | {slope:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(error: float | None, best: float) -> str:
    if error is None:
        return "–"
    return f"**{error:.2e}**" if error == best else f"{error:.2e}"


def main() -> None:
    """Run the study."""
    path = RESULTS / "starts.md"
    path.write_text(table(), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
