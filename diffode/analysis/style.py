"""The look of all figures, in reports and in papers: sizes, colours that the colour-blind can tell apart, and SVG.

Figures are drawn by matplotlib (the extra `plot`). In a page their colours are CSS variables, so that one drawing
serves light and dark.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from html import escape
from importlib.util import find_spec
from io import BytesIO, StringIO
from math import log10
from typing import Any

import numpy as np

from diffode.errors import MissingExtra

COLOURS = {
    "blue": "#0072b2", "vermilion": "#d55e00", "green": "#009e73", "purple": "#aa4499", "orange": "#e69f00",
    "sky": "#56b4e9",
}  # fmt: skip
"""Okabe and Ito's palette (its purple a little darker), in the order in which lines take it."""

INK, MUTED, LINE, PAPER = "#1d1d22", "#6a6a75", "#d8d8de", "#ffffff"
"""Text, what explains, hairlines, and the ground."""

MARKERS = ("o", "s", "^", "D", "v", "P")

_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper", **{v: k for k, v in COLOURS.items()}}
"""Which CSS variable stands for which colour."""

_RC: dict[str, Any] = {
    "font.family": ["sans-serif"], "font.size": 11.0, "axes.titlesize": 11.0, "axes.labelsize": 11.0,
    "xtick.labelsize": 10.0, "ytick.labelsize": 10.0, "legend.fontsize": 10.0,
    "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "axes.grid.which": "major", "axes.axisbelow": True, "grid.color": LINE, "grid.linewidth": 0.7,
    "xtick.major.size": 3.0, "ytick.major.size": 3.0, "xtick.minor.size": 0.0, "ytick.minor.size": 0.0,
    "lines.linewidth": 1.8, "lines.markersize": 5.0, "lines.solid_capstyle": "round",
    "legend.frameon": False, "legend.handlelength": 1.6,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "figure.dpi": 150.0,
    "svg.fonttype": "none", "pdf.fonttype": 42, "axes.unicode_minus": True,
}  # fmt: skip


_LENGTHS = ("size", "linewidth")
"""What the names of settings in points end with."""


def require_matplotlib() -> None:
    """Raise MissingExtra if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plot")


@contextmanager
def look(size: float = 11.0) -> Generator[None]:
    """Figures made and saved inside have the project's look.

    Parameters
    ----------
    size : float
        Of the text in points, 11 on a page and 8 in a paper; smaller text, lines and marks scale with it.

    Raises
    ------
    MissingExtra
        If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from cycler import cycler

    scaled = {key: value * (size / _RC["font.size"]) for key, value in _RC.items() if key.endswith(_LENGTHS)}
    settings: dict[Any, Any] = {**_RC, **scaled}
    settings["axes.prop_cycle"] = cycler(color=list(COLOURS.values())) + cycler(marker=list(MARKERS))
    with matplotlib.rc_context(settings):
        yield


@contextmanager
def fine(times: float = 16.0) -> Generator[None]:
    """Curves made and saved inside keep their shape when they are seen so many times closer."""
    import matplotlib

    with matplotlib.rc_context({"path.simplify_threshold": matplotlib.rcParams["path.simplify_threshold"] / times}):
        yield


def figure(width: float = 350.0, height: float = 270.0) -> Any:
    """An empty figure, its size in points (which are the pixels of the page)."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def svg(drawing: Any, name: str, title: str, description: str, zoom: bool = False) -> str:
    """A figure as an inline SVG element: colours by variables, identifiers of its own, a text for those who cannot see.

    Parameters
    ----------
    drawing : matplotlib Figure
        Made inside `look()`, as must be this call.
    name : str
        What its identifiers begin with; unlike any other on the page.
    title, description : str
        Read aloud in place of the drawing.
    zoom : bool
        Whether to say where its axes lie, so that a page's script can zoom into them.
    """
    import matplotlib

    text = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    element = inline(text.getvalue(), name, title, description)
    return element.replace("<svg ", f'<svg data-zoom="{_frame(drawing)}" ', 1) if zoom else element


def _frame(drawing: Any) -> str:
    """Left, top, width and height of the first axes in the drawing's units, and the bounds of x and y."""
    axes, (width, height) = drawing.axes[0], drawing.get_size_inches() * 72
    left, bottom, across, up = axes.get_position().bounds
    place = (left * width, (1 - bottom - up) * height, across * width, up * height)
    return " ".join(f"{float(value):.6g}" for value in (*place, *axes.get_xlim(), *axes.get_ylim()))


def inline(source: str, name: str, title: str, description: str) -> str:
    """An SVG document as an element of a page; see `svg`."""
    body = source[source.index("<svg") :].strip()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    width, height = (float(x) for x in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body).groups())  # type: ignore[union-attr]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body).replace("url(#", f"url(#{name}-")
    for colour, variable in _VARIABLES.items():
        body = re.sub(re.escape(colour), f"var(--{variable})", body, flags=re.IGNORECASE)
    opening = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    return opening + body[body.index(">") + 1 :]


def png(ink: np.ndarray) -> str:
    """A picture as a data URI: black ink on nothing, so that a dark page can invert it.

    Parameters
    ----------
    ink : ndarray, shape (rows, columns)
        From 0 to 1.
    """
    from matplotlib.image import imsave

    pixels = np.zeros((*ink.shape, 4))
    pixels[..., 3] = ink
    file = BytesIO()
    imsave(file, pixels, format="png", metadata=dict[str, Any](Software=None))
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(value: float, _: Any = None) -> str:
    """A tick of a logarithmic axis in characters that every font has.

    >>> power_of_ten(1e-3), power_of_ten(1.0)
    ('10⁻³', '1')
    """
    exponent = round(log10(value))
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPTS)
