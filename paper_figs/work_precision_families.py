"""Error in law against evaluations of every registered solver, a panel for each family.

Writes `out/work_precision_families.svg` and `.pdf`.

    python -m paper_figs.work_precision_families
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import diffode as de
from diffode.analysis.comparison import Row, Rows
from diffode.analysis.figures import log_ticks
from diffode.analysis.style import COLOURS, INK, MUTED, figure, look
from diffode.solvers import get_solver, registry
from paper_figs.page import PAGE, TEXT, save

NAME = "work_precision_families"

BUDGETS = (5, 10, 20, 40)

COLUMNS = 6

_BOUNDS = (5e-4, 3.0)
"""Errors that the panels show; what explodes is not of interest how far."""


def compute(solvers: Sequence[str] | str = "all", budgets: Sequence[int] = BUDGETS, samples: int | None = None) -> Rows:
    """Distances in law on `mixture_1d`, on Karras grids of VP.

    Parameters
    ----------
    solvers : "all" or sequence of str
    budgets : sequence of int
        Evaluations, at most.
    samples : int, optional
        For solvers with noise.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return de.compare(solvers, nfe=budgets, problem="mixture_1d", measure="law", samples=samples)


def draw(rows: Rows) -> Any:
    """A line for each solver, green where it draws noise; dashed, the best of all families."""
    families: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.error:
            found = registry().get(row.solver) or get_solver(row.solver)
            families.setdefault(found.family, {}).setdefault(row.solver, []).append(row)
    count = -(-len(families) // COLUMNS)
    drawing = figure(PAGE, 22 + 82 * count)
    panels = drawing.subplots(count, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(families) :]:
        axes.set_axis_off()
    for axes, (family, members) in zip(panels.flat, families.items(), strict=False):
        _panel(axes, family, members, rows)
    for axes in panels[:, 0]:
        axes.set_ylabel("error")
    log_ticks(panels[0, 0])
    panels[0, 0].set_yticks([1e-2, 1.0])
    panels[0, 0].set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
    return drawing


def _panel(axes: Any, family: str, members: dict[str, list[Row]], rows: Rows) -> None:
    budgets = sorted({row.nfe for row in rows})
    best = [min(row.error for row in rows if row.nfe == budget and row.error) for budget in budgets]
    axes.plot(budgets, best, "--", color=INK, linewidth=0.8, marker="none")
    for noisy, colour in ((False, COLOURS["vermilion"]), (True, COLOURS["green"])):
        curves = [curve for curve in members.values() if curve[0].stochastic == noisy]
        # one path with gaps: a path for each of hundreds of lines makes a large file
        points = [(r.spent, r.error) if r else (np.nan, np.nan) for curve in curves for r in (*curve, None)]
        if points:
            axes.plot(*zip(*points, strict=True), "-", color=colour, linewidth=0.6, marker="none")
    axes.set(xscale="log", yscale="log", ylim=_BOUNDS)
    axes.set_title(family.replace("_", " "), loc="left", color=MUTED)
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="x")


def main() -> None:
    """Compute, draw and write the figure; say which solvers are best."""
    rows = compute()
    for row in rows.front:
        print(f"{row.spent:3} evaluations: {row.solver}, {row.error:.2e}")
    with look(TEXT):
        print(*save(draw(rows), NAME), sep="\n")


if __name__ == "__main__":
    main()
