"""Pictures of stability: filled regions with their boundaries, several methods in one, on light or dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffode.analysis.style import COLOURS, INK, LINE, MUTED, PAPER, figure, look

if TYPE_CHECKING:
    from diffode.analysis.stability.planes import Plane
    from diffode.analysis.stability.regions import Region

_DARK = {INK: "#ececf1", MUTED: "#a8a8b3", LINE: "#3a3a42", PAPER: "#17171b"}
"""What the page's colours become on a dark one."""

_STYLES = ("-", "--", "-.", (0, (4, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (6, 2)))
"""Beside the colours, so that a picture can be told apart in grey."""


def regions(
    found: Sequence[Region], names: Sequence[str] | None = None, *, width: float = 400.0, dark: bool = False
) -> Any:
    """Regions in one picture: each filled lightly, with its boundary, or the segment that it is.

    Parameters
    ----------
    found : sequence of Region
        The window is the union of theirs; equal units on both axes.
    names : sequence of str, optional
        For the legend, by default what tells the regions apart.
    width : float
        Of the figure, in points.
    dark : bool
        For a dark page.

    Returns
    -------
    matplotlib Figure
    """
    title, labels = _words(found)
    labels = list(names) if names is not None else labels
    across, up = (max(r[1] for r in ranges) - min(r[0] for r in ranges) for ranges in _ranges(found))
    with look():
        drawing = figure(width, float(np.clip((width - 60) * up / across + 80, 0.5 * width, 1.6 * width)))
        axes = drawing.add_subplot()
        handles = draw(axes, found)
        if title:
            axes.set_title(title, loc="left", color=INK)
        if len(found) > 1:
            columns = max(1, int(width / 6.5) // (max(map(len, labels)) + 6))
            drawing.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), columns))
        if dark:
            darken(drawing)
    return drawing


def draw(axes: Any, found: Sequence[Region], colours: Sequence[str] = tuple(COLOURS.values())) -> list[Any]:
    """Regions on given axes, inside `look()`; returns what stands for each in a legend."""
    handles = [_draw(axes, region, *_look(n, colours)) for n, region in enumerate(found)]
    across, up = _ranges(found)
    axes.set(
        xlim=(min(r[0] for r in across), max(r[1] for r in across)),
        ylim=(min(r[0] for r in up), max(r[1] for r in up)),
        aspect="equal",
    )
    unknown = "bh" if any(region.recursion.ch for region in found) else "z"
    axes.set(xlabel=f"Re ${unknown}$", ylabel=f"Im ${unknown}$")
    axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
    axes.axvline(0, color=MUTED, linewidth=0.6, zorder=1)
    return handles


def _ranges(found: Sequence[Region]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    return [region.re_range for region in found], [region.im_range for region in found]


def _words(found: Sequence[Region]) -> tuple[str, list[str]]:
    """A title with what is the same for all, and labels with what is not."""
    solvers, rates = [region.solver for region in found], [f"c h = {region.recursion.ch:g}" for region in found]
    same, alike = len(set(solvers)) == 1, len(set(rates)) == 1
    shown = [rates[0]] if alike and found[0].recursion.ch else []
    title = ", ".join([*([solvers[0]] if same else []), *shown])
    both = zip(solvers, rates, strict=True)
    return title, [a if alike else b if same else f"{a}, {b}" for a, b in both]


def _look(n: int, colours: Sequence[str]) -> tuple[Any, str]:
    """Style and colour of the n-th method: each round through the colours has them in the styles one further on."""
    turn, place = divmod(n, len(colours))
    return _STYLES[(place + turn) % len(_STYLES)], colours[place]


def _draw(axes: Any, region: Region, style: Any, colour: str) -> Any:
    """One region; returns what stands for it in a legend."""
    from matplotlib import rcParams
    from matplotlib.patches import Patch

    line = 0.9 * rcParams["lines.linewidth"]
    if (region.margin > 0).any():
        return _contour(axes, region.re, region.im, region.margin, style, colour)
    low, high = region.real_bounds  # no interior: the segment that is left
    y = min(region.imaginary_interval, region.im_range[1])
    axes.plot([max(low, region.re_range[0]), high], [0, 0], color=colour, marker="", linewidth=2 * line, zorder=3)
    axes.plot([0, 0], [-y, y], color=colour, marker="", linewidth=2 * line, zorder=3)
    return Patch(facecolor=(colour, 0.14), edgecolor=colour, linestyle=style, linewidth=line)


def _contour(axes: Any, x: np.ndarray, y: np.ndarray, margin: np.ndarray, style: Any, colour: str) -> Any:
    """Where a margin is positive: a light fill and its boundary."""
    from matplotlib import rcParams
    from matplotlib.patches import Patch

    line = 0.9 * rcParams["lines.linewidth"]
    near = np.clip(margin, -0.2, 0.2)
    _fill(axes, x, y, near, facecolor=(colour, 0.14), zorder=2)
    _line(axes, x, y, near, edgecolor=colour, linestyle=style, linewidth=line, zorder=3)
    return Patch(facecolor=(colour, 0.14), edgecolor=colour, linestyle=style, linewidth=line)


def _fill(axes: Any, x: np.ndarray, y: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """Where values, which are below 1, are positive, as one path."""
    _path(axes, x, y, axes.contourf(x, y, values, levels=[0, 1]), edgecolor="none", **look)


def _line(axes: Any, x: np.ndarray, y: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """Where values are 0, as one path."""
    _path(axes, x, y, axes.contour(x, y, values, levels=[0]), facecolor="none", **look)


def _path(axes: Any, x: np.ndarray, y: np.ndarray, drawn: Any, **look: Any) -> None:
    """A contour drawn anew with the points that can be told apart at 500 pixels across: a tenth of the file."""
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    pixels = Affine2D().scale(500 / np.ptp(x), 500 / np.ptp(y))
    for path in drawn.get_paths():
        short = path.cleaned(pixels, simplify=True)
        axes.add_patch(PathPatch(pixels.inverted().transform_path(short), **look))
    drawn.remove()


def draw_planes(axes: Any, found: Sequence[Plane], colours: Sequence[str] = tuple(COLOURS.values())) -> list[Any]:
    """Semilinear planes on given axes, inside `look()`, with the line b = c where the exact solution stays constant."""
    handles = [_contour(axes, plane.ch, plane.bh, plane.margin, *_look(n, colours)) for n, plane in enumerate(found)]
    (low, high), (bottom, top) = found[0].ch_range, found[0].bh_range
    axes.plot([low, high], [low, high], color=INK, marker="", linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=4)
    axes.set(xlim=(low, high), ylim=(bottom, top), xlabel="$ch$", ylabel="$bh$")
    axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
    axes.axvline(0, color=MUTED, linewidth=0.6, zorder=1)
    return handles


def draw_star(axes: Any, region: Region, colour: str = COLOURS["blue"]) -> None:
    """The order star on given axes, inside `look()`: where the largest |w| exceeds the exact |e^z|, and the region."""
    from matplotlib import rcParams

    line = 0.9 * rcParams["lines.linewidth"]
    star = np.clip(region.star, -0.5, 0.5)
    _fill(axes, region.re, region.im, star, facecolor=(colour, 0.25), zorder=2)
    _line(axes, region.re, region.im, star, edgecolor=colour, linewidth=0.7 * line, zorder=3)
    inside = np.clip(region.margin, -0.2, 0.2)
    _line(axes, region.re, region.im, inside, edgecolor=INK, linewidth=0.7 * line, linestyle="--", zorder=3)
    axes.set(xlim=region.re_range, ylim=region.im_range, aspect="equal", xlabel="Re $z$", ylabel="Im $z$")


def darken(drawing: Any) -> None:
    """The page's colours exchanged for those of a dark page."""
    from matplotlib.colors import to_hex

    dark = {to_hex(light): other for light, other in _DARK.items()}
    for artist in drawing.findobj():
        for kind in ("color", "edgecolor", "facecolor"):
            get, put = getattr(artist, f"get_{kind}", None), getattr(artist, f"set_{kind}", None)
            if get is None or put is None:
                continue
            value = get()
            if isinstance(value, str) or (isinstance(value, tuple) and len(value) in (3, 4)):
                known = dark.get(to_hex(value))
                if known is not None:
                    put(known)
    drawing.set_facecolor(_DARK[PAPER])


def save(drawing: Any, path: str | Path, *, dark: bool = False) -> None:
    """Write a figure to .png, .svg or .pdf, on white or on the dark ground."""
    with look():
        drawing.savefig(path, facecolor=_DARK[PAPER] if dark else PAPER)
