"""Amplification along a schedule against guidance scale: where a step amplifies, and where the run breaks.

python -m paper_figs.guidance_amplification
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import diffode as de
from diffode.analysis.comparison import Builder
from diffode.analysis.stability.heat import COLOURING, SPAN
from diffode.analysis.style import INK, MUTED, PAPER, figure, look
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "guidance_amplification"

SOLVERS = {"ddim": "DDIM", "dpmpp_2m": "DPM-Solver++(2M)", "unipc_2": "UniPC-2"}
GRIDS: dict[str, Builder] = {r"\lambda": de.grids.uniform_lambda, "t": de.grids.uniform_t}
"""Grids by the variable in which their steps are equal."""

STEPS = 20
SPECTRUM = np.geomspace(1e-3, 1.0, 13)
"""Covariance eigenvalues of the data."""

BANDS = [-2.0, -1.0, -0.2, 0.2, 1.0, 2.0]
"""log₂ of an amplification, in bands; the middle one is no amplification to speak of."""

SCALES = np.linspace(1.0, 10.0, 31)


@dataclass(frozen=True)
class Panel:
    """One solver on one grid: the largest amplification over the spectrum, shape (scales, steps), and the limit."""

    solver: str
    grid: str
    scales: np.ndarray
    values: np.ndarray
    limit: float


def compute(solvers: Mapping[str, str] = SOLVERS, scales: np.ndarray = SCALES, steps: int = STEPS) -> list[Panel]:
    """Amplifications of every step at every scale, on the process VP.

    Parameters
    ----------
    solvers : mapping
        Solver → what the figure calls it.
    scales : ndarray
        Guidance scales.
    steps : int
    """
    process, out = de.VP(), list[Panel]()
    for grid, build in GRIDS.items():
        levels = build(process, steps)
        for solver, label in solvers.items():
            values = [de.analysis.amplification_map(solver, SPECTRUM, levels, w).values.max(axis=0) for w in scales]
            limit = de.guidance_limit(solver, SPECTRUM, levels)
            out.append(Panel(label, grid, scales, np.array(values), float(limit)))
    return out


def draw(data: list[Panel]) -> Any:
    """One row a grid, one column a solver; a line where the run breaks."""
    drawing = figure(PAGE, 250)
    columns = len(data) // len(GRIDS)
    panels = drawing.subplots(len(GRIDS), columns, sharex=True, sharey=True, squeeze=False)
    filled: Any = None
    for axes, letter, panel in zip(panels.ravel(), "abcdefgh", data, strict=False):
        filled = _panel(axes, panel)
        heading(axes, letter, panel.solver)
    for axes, panel in zip(panels[:, 0], data[::columns], strict=True):
        axes.set_ylabel(f"guidance scale\n(equal steps in ${panel.grid}$)")
    drawing.supxlabel("step", size=TEXT, color=MUTED)
    bar = drawing.colorbar(filled, ax=panels, ticks=[-2, -1, 0, 1, 2], pad=0.015, aspect=36)
    bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    bar.set_label("amplification of a step")
    return drawing


def _panel(axes: Any, panel: Panel) -> Any:
    """Amplifications in bands, each step drawn as far as its neighbours; the limit above them."""
    steps, span = panel.values.shape[1], np.log2(SPAN)
    at = np.concatenate([[0.0], np.arange(steps) + 0.5, [steps]])
    shown = np.clip(np.log2(panel.values), -span, span)[:, [0, *range(steps), steps - 1]]
    filled = axes.contourf(at, panel.scales, shown, levels=BANDS, **COLOURING)
    axes.axhline(panel.limit, color=INK, linewidth=1.3, marker="none")
    axes.annotate(
        f"breaks at {panel.limit:.2f}", (0.5, panel.limit), (0, 5.5), ("axes fraction", "data"), "offset points",
        ha="center", color=INK, bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
    )  # fmt: skip
    axes.set(xlim=(0, steps), ylim=(panel.scales[0], panel.scales[-1]), xticks=range(0, steps + 1, 5))
    axes.set_yticks([1, 2, 4, 6, 8, 10])
    axes.grid(visible=False)
    return filled


def main() -> None:
    """Compute, draw and write the figure; say what was found."""
    data = compute()
    for panel in data:
        print(f"equal steps in {panel.grid:8} {panel.solver:18} breaks at w = {panel.limit:.4f}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
