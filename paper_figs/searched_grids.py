"""Grids that are searched, learned or given: where their levels lie, and what solvers make of them on unseen states.

Writes `out/searched_grids.svg` and `.pdf`.

    python -m paper_figs.searched_grids
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import diffode as de
from diffode.analysis.figures import log_ticks
from diffode.analysis.style import COLOURS, INK, MUTED, figure, look
from diffode.fitting.grids import Target, fit_grid, target_of
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "searched_grids"

SOLVERS = {"ddim": "DDIM", "dpmpp_2m": "2M", "unipc_2": "UniPC-2"}
BUDGETS = (5, 10, 20)

SEARCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "GITS": ("gits", {}),
    "OLSS": ("olss", {}),
    "AYS": ("ays", {}),
    "NonUniform": ("nonuniform", {}),
    "LD3": ("ld3", {}),
}
"""Names → method of `fit_grid`, and options; those whose loss has a solver are searched for each one anew."""

GIVEN = {"EDM": "karras", "uniform λ": "uniform_lambda"}

OF_SOLVER = ("LD3",)

_LOOKS = {
    "EDM": (INK, "s"), "uniform λ": (MUTED, "D"), "GITS": (COLOURS["orange"], "^"), "OLSS": (COLOURS["green"], "v"),
    "AYS": (COLOURS["blue"], "o"), "NonUniform": (COLOURS["purple"], "P"), "LD3": (COLOURS["vermilion"], "X"),
}  # fmt: skip

SHOWN = ("dpmpp_2m", 10)
"""The solver and the budget whose levels are drawn."""


@dataclass(frozen=True)
class Found:
    """One grid: its levels, and the error of a solver on it."""

    grid: str
    solver: str
    nfe: int
    lam: list[float]
    error: float


def compute(
    budgets: Sequence[int] = BUDGETS, samples: int = 256, judged: int = 1024, options: Mapping[str, Any] | None = None
) -> list[Found]:
    """Grids on `mixture_2d`, and the rms distance to the end points of the exact flow from states of another seed.

    Parameters
    ----------
    budgets : sequence of int
        Numbers of evaluations.
    samples, judged : int
        States to search on, and to judge by.
    options : mapping, optional
        Method → options that override `SEARCHED`'s.
    """
    judge = target_of("mixture_2d", samples=judged, seed=1)
    found: list[Found] = []
    for nfe in budgets:
        grids = {label: judge.grid(name, nfe) for label, name in GIVEN.items()}
        for label in SEARCHED:
            if label not in OF_SOLVER:
                grids[label] = _searched(label, nfe, samples, options)
        for solver in SOLVERS:
            own = {label: _searched(label, nfe, samples, options, solver=solver) for label in OF_SOLVER}
            found += [_judged(label, solver, nfe, grid, judge) for label, grid in {**grids, **own}.items()]
    return found


def _searched(label: str, nfe: int, samples: int, options: Mapping[str, Any] | None, **more: Any) -> de.TimeGrid:
    method, known = SEARCHED[label]
    own = {**known, **(options or {}).get(method, {}), **more}
    return fit_grid("mixture_2d", nfe, method=method, samples=samples, **own).grid


def _judged(label: str, solver: str, nfe: int, grid: de.TimeGrid, judge: Target) -> Found:
    return Found(label, solver, nfe, grid.lam.tolist(), judge.error(de.get_solver(solver), grid, held_out=True))


def draw(data: list[Found]) -> Any:
    """Levels on the left, a line for each grid; errors against evaluations, a panel for each solver."""
    drawing = figure(PAGE, 200)
    levels, *panels = drawing.subplots(1, 1 + len(SOLVERS), width_ratios=[1.5, 1, 1, 1])
    _levels(levels, data)
    for axes in panels[1:]:
        axes.sharey(panels[0])
    for axes, letter, (solver, title) in zip(panels, "bcd", SOLVERS.items(), strict=True):
        for label, (colour, marker) in _LOOKS.items():
            rows = [one for one in data if (one.grid, one.solver) == (label, solver)]
            axes.plot(
                [one.nfe for one in rows], [one.error for one in rows], marker=marker, color=colour, linewidth=1.1
            )
        axes.set(xscale="log", yscale="log")
        heading(axes, letter, title)
    for axes in panels:
        log_ticks(axes)
        axes.set_xticks(sorted({one.nfe for one in data}))
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    panels[0].set_ylabel("rms error, unseen states")
    panels[1].set_xlabel("evaluations of the network")
    return drawing


def _levels(axes: Any, data: list[Found]) -> None:
    """A line of marks for each grid, its name at the left."""
    solver = SHOWN[0]
    nfe = SHOWN[1] if any(one.nfe == SHOWN[1] for one in data) else max(one.nfe for one in data)
    rows = {one.grid: one.lam for one in data if (one.solver, one.nfe) == (solver, nfe)}
    for place, label in enumerate(_LOOKS):
        colour, marker = _LOOKS[label]
        axes.plot(rows[label], [-place] * len(rows[label]), "-", marker=marker, color=colour, linewidth=0.7)
    axes.set_yticks([-place for place in range(len(_LOOKS))], [label.replace("λ", r"$\lambda$") for label in _LOOKS])
    axes.set(xlabel=r"levels $\lambda$")
    axes.grid(False, axis="y")
    heading(axes, "a", f"{nfe} steps")


def main() -> None:
    """Compute, draw and write the figure; say what was found."""
    data = compute()
    for one in data:
        print(f"{one.solver:10} {one.nfe:3} {one.grid:10} {one.error:.2e}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
