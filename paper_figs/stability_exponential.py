"""Semilinear stability of the exponential multistep family: regions in b h, and the real (c h, b h) plane.

Writes `out/stability_exponential.svg` and `.pdf`.

    python -m paper_figs.stability_exponential
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import diffode as de
from diffode.analysis.stability import Region
from diffode.analysis.stability.planes import Plane, semilinear_plane
from diffode.analysis.stability.plots import draw as draw_regions
from diffode.analysis.stability.plots import draw_planes
from diffode.analysis.style import COLOURS, MUTED, figure, look
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "stability_exponential"

SOLVERS = {"dpmpp_2m": "DPM-Solver++(2M)", "dpmpp_3m_corrected": "3M, corrected", "unipc_2": "UniPC-2"}
"""A panel of regions each."""

RATES = (-0.4, 0.0, 1.0, 2.0)
"""c h of the regions."""

PLANES = {"ddim": "DDIM", **SOLVERS}

_RE, _IM = (-1.7, 2.3), (-1.75, 1.75)
_COLOURS = (COLOURS["purple"], MUTED, COLOURS["blue"], COLOURS["vermilion"])
_PLANE_COLOURS = (MUTED, COLOURS["blue"], COLOURS["green"], COLOURS["vermilion"])


@dataclass(frozen=True)
class Data:
    """Regions by solver, one for each of `RATES`; and the planes."""

    regions: dict[str, list[Region]]
    planes: list[Plane]


def compute(points: int = 300) -> Data:
    """Read the polynomials off the plans and test them on grids."""
    regions: dict[str, list[Region]] = {}
    for name in SOLVERS:
        regions[name] = [de.stability(name, re=_RE, im=_IM, ch=ch, points=points) for ch in RATES]
    return Data(regions, [semilinear_plane(name, (-3, 3), (-4, 3), points) for name in PLANES])


def draw(data: Data) -> Any:
    """Three panels of regions above the legend of c h; the plane with its own."""
    drawing = figure(PAGE, 160)
    panels = drawing.subplots(1, 4)
    handles: list[Any] = []
    for axes, letter, (name, regions) in zip(panels[:3], "abc", data.regions.items(), strict=True):
        handles = draw_regions(axes, regions, _COLOURS)
        axes.set_ylabel("Im $bh$" if letter == "a" else "")
        axes.set(xticks=[-1, 0, 1, 2], yticks=[-1, 0, 1])
        heading(axes, letter, SOLVERS[name])
    drawing.legend(handles, [f"$ch={ch:g}$" for ch in RATES], loc="outside lower left", ncols=len(RATES))
    lines = draw_planes(panels[3], data.planes, _PLANE_COLOURS)
    panels[3].set_box_aspect((_IM[1] - _IM[0]) / (_RE[1] - _RE[0]))
    heading(panels[3], "d", "real plane")
    drawing.legend(lines, ["DDIM", "2M", "3M", "UniPC"], loc="outside lower right", ncols=4)
    return drawing


def main() -> None:
    """Compute, draw and write the figure; print the real intervals."""
    data = compute()
    for regions in data.regions.values():
        for region in regions:
            low, high = region.real_bounds
            print(f"{region.solver:20} c h = {region.recursion.ch:4g}: {low:.6f} … {high:.6f}")
    with look(TEXT):
        print(*save(draw(data), NAME), sep="\n")


if __name__ == "__main__":
    main()
