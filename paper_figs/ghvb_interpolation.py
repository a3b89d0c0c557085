"""What the real-valued order of GHVB means: errors and local slopes of orders from 1 to 3 on a nonlinear mixture.

Writes `out/ghvb_interpolation.svg` and `.pdf`.

    python -m paper_figs.ghvb_interpolation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import diffode as de
from diffode.analysis.convergence import order_mixture
from diffode.analysis.figures import log_ticks, names_at_ends
from diffode.analysis.style import COLOURS, INK, figure, look
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "ghvb_interpolation"

ORDERS = (1.0, 1.1, 1.25, 1.5, 2.0, 2.1, 2.25, 2.5, 3.0)

COUNTS = (10, 20, 40, 80, 160, 320, 640)
"""Numbers of equal steps in ρ; each doubles the one before, so that slopes are local."""

_FAMILY = {1: INK, 2: COLOURS["blue"], 3: COLOURS["vermilion"]}
"""Colours by ⌈order⌉, the number of velocities that a step weighs."""


@dataclass(frozen=True)
class Curve:
    """One order: numbers of steps, errors, and the slope between neighbours."""

    order: float
    steps: np.ndarray
    errors: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        return np.log2(self.errors[:-1] / self.errors[1:])

    @property
    def between(self) -> np.ndarray:
        """Where the slopes belong: the geometric middle of neighbouring numbers of steps."""
        return np.sqrt(self.steps[:-1] * self.steps[1:])


def compute(orders: Sequence[float] = ORDERS, counts: Sequence[int] = COUNTS) -> list[Curve]:
    """Errors from an exact past, on VP and equal steps in ρ."""
    return [_curve(order, counts) for order in orders]


def _curve(order: float, counts: Sequence[int]) -> Curve:
    solver = de.get_solver(f"ghvb(order={order})")
    found = order_mixture(solver, de.VP(), "uniform", "rho", counts)
    errors = found.errors[: len(counts)]  # it goes on to finer steps where a claim is missed
    return Curve(order, np.array(counts[: len(errors)], float), np.array(errors))


def draw(data: Sequence[Curve]) -> Any:
    """Errors on the left, local slopes on the right; whole orders are drawn bold."""
    drawing = figure(PAGE, 200)
    left, right = drawing.subplots(1, 2)
    ends: list[tuple[str, float, float, str]] = []
    for curve in data:
        whole = curve.order == round(curve.order)
        style = {"color": _FAMILY[int(np.ceil(curve.order))], "linewidth": 1.6 if whole else 0.9, "marker": "none"}
        left.plot(curve.steps, curve.errors, "-", **style)
        right.plot(curve.between, curve.slopes, "-", **style)
        ends.append((f"{curve.order:g}", float(curve.steps[-1]), float(curve.errors[-1]), style["color"]))
    for axes, letter, title in ((left, "a", "error by steps"), (right, "b", "local slope")):
        axes.set(xscale="log", xlabel=r"equal steps in $\rho$")
        heading(axes, letter, title)
    left.set(yscale="log", ylabel="root-mean-square error")
    right.set(ylabel="slope between neighbours")
    log_ticks(left)
    log_ticks(right)
    right.set_yticks([1, 2, 3], ["1", "2", "3"])
    names_at_ends(left, ends, lines=15)
    return drawing


def main() -> None:
    """Compute, draw and write the figure; say what was found."""
    data = compute()
    for curve in data:
        print(f"order {curve.order:<5g} local slopes {' '.join(f'{slope:.2f}' for slope in curve.slopes)}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
