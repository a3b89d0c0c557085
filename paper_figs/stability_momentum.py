"""Regions of linear stability of Adams–Bashforth with momentum: heavy ball, Nesterov, GHVB.

Writes `out/stability_momentum.svg` and `.pdf`.

    python -m paper_figs.stability_momentum
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import diffode as de
from diffode.analysis.stability import Region
from diffode.analysis.stability.plots import draw as draw_regions
from diffode.analysis.style import COLOURS, MUTED, figure, look
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "stability_momentum"

BETA = 0.8
"""Share of the newest output in the velocity."""

STEPS = (2, 3, 4)
"""k of the Adams–Bashforth methods, a panel each."""


def adams_bashforth(k: int) -> de.Solver:
    """Adams–Bashforth on equal steps, over what there is of the past."""
    return de.get_solver("pndm").configure(order=k, warmup="ramp", variable="rho")


def with_momentum(k: int, kind: str, beta: float = BETA) -> de.Solver:
    """Momentum on Adams–Bashforth."""
    return de.get_solver("momentum").configure(base=adams_bashforth(k), kind=kind, beta=beta)


METHODS: dict[str, Callable[[int], Any]] = {
    "PLMS": adams_bashforth,
    "heavy ball": partial(with_momentum, kind="heavy_ball"),
    "Nesterov": partial(with_momentum, kind="nesterov"),
    "GHVB": lambda k: f"ghvb(order={k - 1 + BETA})",
}
"""Each by the number of its Adams–Bashforth steps."""

_COLOURS = (MUTED, COLOURS["vermilion"], COLOURS["green"], COLOURS["blue"])
_WINDOWS = {2: (-1.65, 0.25, 1.15), 3: (-1.2, 0.452, 1.0), 4: (-0.8, 0.324, 0.68)}
"""Left and right end and top, by k: all in the same proportion."""


# --- the figure ----------------------------------------------------------------------------------------------


def compute(points: int = 300) -> dict[int, list[Region]]:
    """A region for each method, by k."""
    found: dict[int, list[Region]] = {}
    for k in STEPS:
        left, right, top = _WINDOWS[k]
        region = partial(de.stability, re=(left, right), im=(-top, top), points=points)
        found[k] = [region(method(k)) for method in METHODS.values()]
    return found


def draw(data: dict[int, list[Region]]) -> Any:
    """One panel for each k; the legend above holds for all."""
    drawing = figure(PAGE, 220)
    panels: Sequence[Any] = drawing.subplots(1, len(data))
    handles: list[Any] = []
    for axes, letter, (k, regions) in zip(panels, "abc", data.items(), strict=True):
        handles = draw_regions(axes, regions, _COLOURS)
        axes.set_ylabel("Im $z$" if letter == "a" else "")
        axes.locator_params(nbins=5)
        heading(axes, letter, f"Adams–Bashforth {k}")
    drawing.legend(handles, list(METHODS), loc="outside upper center", ncols=len(METHODS))
    return drawing


def main() -> None:
    """Compute, draw and write the figure; print the real intervals."""
    data = compute()
    for k, regions in data.items():
        for name, region in zip(METHODS, regions, strict=True):
            print(f"AB{k} {name:10} real {region.real_interval:.6f}  imaginary {region.imaginary_interval:.6f}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
