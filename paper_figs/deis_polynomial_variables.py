"""DEIS with its polynomial in t, in ρ and in λ: error against evaluations, by process and by grid.

Writes `out/deis_polynomial_variables.svg` and `.pdf`.

    python -m paper_figs.deis_polynomial_variables
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import diffode as de
from diffode.analysis.comparison import Builder, Row
from diffode.analysis.figures import log_ticks, names_at_ends
from diffode.analysis.style import COLOURS, MARKERS, MUTED, figure, look
from paper_figs.page import COLUMN, TEXT, heading, save

NAME = "deis_polynomial_variables"

VARIABLES = {"ddim": "DDIM", "deis_tab_3": "t", "deis_rhoab_3": "ρ", "deis_lambdaab_3": "λ"}
"""The solvers, by what their polynomial of degree 3 is in; DDIM is the one of degree 0."""

PROCESSES: dict[str, de.Process] = {"VP": de.VP(), "Flow": de.Flow()}
GRIDS: dict[str, Builder] = {"λ": de.grids.uniform_lambda, "t": de.grids.uniform_t}
"""Grids by the variable in which their steps are equal."""

BUDGETS = (5, 7, 10, 14, 20, 28, 40, 56, 80)
"""Evaluations, √2 apart."""

_LOOKS = {
    "DDIM": (MUTED, MARKERS[4]), "t": (COLOURS["blue"], MARKERS[0]), "ρ": (COLOURS["green"], MARKERS[1]),
    "λ": (COLOURS["vermilion"], MARKERS[2]),
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One process and one grid: rows of solvers × budgets."""

    process: str
    grid: str
    rows: list[Row]


def compute(budgets: Sequence[int] = BUDGETS, samples: int = 256) -> list[Panel]:
    """Root-mean-square distance to the end points of the exact flow, on the one-dimensional mixture.

    Parameters
    ----------
    budgets : sequence of int
        Numbers of evaluations.
    samples : int
        Starting states, drawn from the marginal at the first level.
    """
    return [
        Panel(process, grid, de.compare(list(VARIABLES), nfe=budgets, problem=problem, grid=builder, samples=samples))
        for grid, builder in GRIDS.items()
        for process, problem in ((name, de.problems.mixture_1d(process=process)) for name, process in PROCESSES.items())
    ]


def draw(data: list[Panel]) -> Any:
    """One row a grid, one column a process; the lines end with their variables."""
    drawing = figure(COLUMN, 265)
    panels = drawing.subplots(len(GRIDS), len(PROCESSES), sharex=True, sharey=True).ravel()
    ends: list[list[tuple[str, float, float, str]]] = []
    for axes, letter, panel in zip(panels, "abcdef", data, strict=False):
        ends.append(_lines(axes, panel.rows))
        axes.set(xscale="log", yscale="log")
        heading(axes, letter, f"{panel.process}, uniform in ${panel.grid}$")
    drawing.supxlabel("evaluations of the network", size=TEXT, color=MUTED)
    drawing.supylabel("root-mean-square error", size=TEXT, color=MUTED)
    for axes, names in zip(panels, ends, strict=True):  # once all have their limits, which they share
        log_ticks(axes)
        axes.set_xticks([5, 10, 20, 40, 80])
        names_at_ends(axes, names, lines=10)
    return drawing


def _lines(axes: Any, rows: Sequence[Row]) -> list[tuple[str, float, float, str]]:
    """Draw the lines of a panel; return where they end."""
    ends: list[tuple[str, float, float, str]] = []
    for solver, label in VARIABLES.items():
        points = [(row.spent, row.error) for row in rows if row.solver == solver and row.error is not None]
        nfe, error = np.array(points).T
        colour, marker = _LOOKS[label]
        axes.plot(nfe, error, marker=marker, color=colour)
        name = label if len(label) > 1 else f"${label}$"
        ends.append((name, float(nfe[-1]), float(error[-1]), colour))
    return ends


def main() -> None:
    """Compute, draw and write the figure; say what was found."""
    data = compute()
    for panel in data:
        for row in panel.rows:
            if row.nfe == BUDGETS[-1]:
                print(f"{panel.process:5} equal steps in {panel.grid}  {row.solver:16} {row.spent}: {row.error:.1e}")
    print(f"reference good to {max(row.uncertainty for panel in data for row in panel.rows):.0e}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
