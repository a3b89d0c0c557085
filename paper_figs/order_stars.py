"""Order stars: where a method's growth exceeds that of the exact solution.

Writes `out/order_stars.svg` and `.pdf`.

    python -m paper_figs.order_stars
"""

from __future__ import annotations

from typing import Any

import diffode as de
from diffode.analysis.stability import Region
from diffode.analysis.stability.plots import draw_star
from diffode.analysis.style import figure, look
from paper_figs.page import COLUMN, TEXT, heading, save

NAME = "order_stars"

PANELS = {"heun": ("Heun", 0.0), "rk4": ("RK4", 0.0), "dpmpp_2s": ("2S, $ch=1$", 1.0), "dpmpp_3s": ("3S, $ch=1$", 1.0)}
"""Solver → title and c h."""


def compute(points: int = 300) -> list[Region]:
    """A region each, with its window."""
    return [de.stability(name, re=(-4, 3), im=(-3.5, 3.5), ch=ch, points=points) for name, (_, ch) in PANELS.items()]


def draw(data: list[Region]) -> Any:
    """Two rows: the linear test, the semilinear one."""
    drawing = figure(COLUMN, 250)
    panels = drawing.subplots(2, 2)
    for axes, letter, region, (title, ch) in zip(panels.ravel(), "abcd", data, PANELS.values(), strict=True):
        draw_star(axes, region)
        unknown = "bh" if ch else "z"
        axes.set(xlabel=f"Re ${unknown}$", ylabel=f"Im ${unknown}$" if letter in "ac" else "")
        axes.set(xticks=[-4, -2, 0, 2], yticks=[-2, 0, 2])
        heading(axes, letter, title)
    return drawing


def main() -> None:
    """Compute, draw and write the figure."""
    with look(TEXT):
        print(*save(draw(compute()), NAME), sep="\n")


if __name__ == "__main__":
    main()
