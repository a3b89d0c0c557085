"""Convergence of the exponential multistep solvers on a nonlinear mixture, with fitted slopes.

Writes `out/convergence_exponential_multistep.svg` and `.pdf`.

    python -m paper_figs.convergence_exponential_multistep
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import diffode as de
from diffode.analysis.convergence import order_mixture
from diffode.analysis.figures import log_ticks, names_at_ends
from diffode.analysis.slopes import Slope, fit
from diffode.analysis.style import COLOURS, MARKERS, MUTED, PAPER, figure, look
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "convergence_exponential_multistep"

PANELS = {
    "DPM-Solver++": {
        "ddim": "DDIM", "dpmpp_2m": "2M", "dpmpp_3m": "3M published", "dpmpp_3m_corrected": "3M corrected",
    },
    "UniP and UniPC": {
        "unip_1": "UniP-1", "unip_2": "UniP-2", "unip_3": "UniP-3", "unipc_1": "UniPC-1", "unipc_2": "UniPC-2",
        "unipc_3": "UniPC-3",
    },
    "DEIS": {"deis_tab_0": "tAB0", "deis_tab_1": "tAB1", "deis_tab_2": "tAB2", "deis_tab_3": "tAB3"},
}  # fmt: skip
"""The solvers of each panel, and what the figure calls them."""

COUNTS = (5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240)
"""Numbers of steps from λ = −1.5 to λ = 1.5; multiples of five keep the shape of the rough grid."""

_BY_ORDER = {1: MUTED, 2: COLOURS["green"], 3: COLOURS["blue"], 4: COLOURS["purple"]}
_SHORT = COLOURS["vermilion"]
"""Colours by the order that is claimed, and of a solver that misses it."""


@dataclass(frozen=True)
class Curve:
    """One solver: its name in the figure, the order it claims, and what was measured."""

    label: str
    claim: float
    slope: Slope

    @property
    def short(self) -> bool:
        """Whether it misses its claim."""
        return self.slope.judge(self.claim) == "FAIL"


Data = dict[str, list[Curve]]


def compute(panels: Mapping[str, Mapping[str, str]] = PANELS, counts: Sequence[int] = COUNTS) -> Data:
    """Errors and slopes by panel: from an exact past, on VP, over steps of irregular ratio, the same for all.

    Parameters
    ----------
    panels : mapping
        Panel → solver → what the figure calls it.
    counts : sequence of int
        Numbers of steps.
    """

    def curve(name: str, label: str) -> Curve:
        solver = de.get_solver(name)
        found = order_mixture(solver, de.VP(), counts=counts)  # goes on to finer steps where a claim is missed
        return Curve(label, solver.order, fit(found.steps[: len(counts)], found.errors[: len(counts)], found.floor))

    return {title: [curve(*one) for one in solvers.items()] for title, solvers in panels.items()}


def draw(data: Data) -> Any:
    """One panel a family; each line ends with its name and its fitted slope."""
    drawing = figure(PAGE, 190)
    panels = drawing.subplots(1, len(data), sharex=True, sharey=True, squeeze=False)[0]
    ends: list[list[tuple[str, float, float, str]]] = []
    for axes, letter, (title, curves) in zip(panels, "abcdef", data.items(), strict=False):
        ends.append([_line(axes, curve) for curve in curves])
        axes.set(xscale="log", yscale="log", xlabel=r"steps per unit of $\lambda$")
        heading(axes, letter, title)
        axes.annotate("fitted slope", (1, 1), (3, 0), "axes fraction", "offset points", va="top", color=MUTED)
    panels[0].set_ylabel("root-mean-square error")
    for axes, names in zip(panels, ends, strict=True):  # once all have their limits, which they share
        log_ticks(axes)
        names_at_ends(axes, names, lines=15)
    return drawing


def _line(axes: Any, curve: Curve) -> tuple[str, float, float, str]:
    """Draw what was measured, filled where the slope is fitted; return where the line ends."""
    slope = curve.slope
    colour = _SHORT if curve.short else _BY_ORDER[round(curve.claim)]
    marker = MARKERS[round(curve.claim) - 1]
    n, error = 1 / np.array(slope.steps), np.array(slope.errors)
    fitted = (n >= 0.999 / slope.window[1]) & (n <= 1.001 / slope.window[0])
    axes.plot(n, error, "-", color=colour, marker="none")
    axes.plot(n[fitted], error[fitted], marker, color=colour)
    axes.plot(n[~fitted], error[~fitted], marker, color=colour, markerfacecolor=PAPER)
    return f"{curve.label}  {slope.value:.2f}", float(n[-1]), float(error[-1]), colour


def main() -> None:
    """Compute, draw and write the figure; say what was found."""
    data = compute()
    for title, curves in data.items():
        for curve in curves:
            print(f"{title:15} {curve.label:15} claimed {curve.claim:g}, slope {curve.slope}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
