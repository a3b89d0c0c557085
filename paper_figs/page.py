"""What the figures share: the width of a column, the size of the text, and files that are the same on every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out"

TEXT = 8.0
"""Size of the text in points; draw inside `diffode.analysis.style.look(TEXT)`."""

COLUMN, PAGE = 3.3 * 72, 7.0 * 72
"""Width of one column and of the whole page in points, for `diffode.analysis.style.figure`."""

ABOUT = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "svg": {"Date": None, "Creator": None}}


def heading(axes: Any, letter: str, title: str) -> None:
    """A letter to cite a panel by, and what it shows, above its left edge."""
    axes.set_title(rf"$\bf{{{letter}}}$  {title}", loc="left")


def save(drawing: Any, name: str, folder: Path = OUT) -> list[Path]:
    """Write a figure as PDF and SVG, with its text as outlines in the SVG, so that it looks the same everywhere.

    Parameters
    ----------
    drawing : matplotlib Figure
        Made inside `look(TEXT)`, as must be this call.
    name : str
        Of the files.
    folder : Path

    Returns
    -------
    list of Path
    """
    import matplotlib

    folder.mkdir(exist_ok=True)
    files = [folder / f"{name}.{suffix}" for suffix in ABOUT]
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        for file in files:
            drawing.savefig(file, facecolor="white", metadata=ABOUT[file.suffix[1:]])
    return files
