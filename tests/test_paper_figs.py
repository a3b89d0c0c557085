"""The figures of a paper: each is drawn without a warning, the same on every run, and no text covers another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from diffode.analysis.style import look
from paper_figs import (
    convergence_exponential_multistep,
    deis_polynomial_variables,
    ghvb_interpolation,
    guidance_amplification,
    order_stars,
    searched_grids,
    stability_exponential,
    stability_momentum,
    work_precision_families,
)
from paper_figs.page import COLUMN, OUT, PAGE, TEXT, save

QUICK_SEARCHES = {
    "gits": {"nodes": 12}, "olss": {"nodes": 12, "rounds": 10}, "ays": {"nodes": 20}, "nonuniform": {"rounds": 10},
    "ld3": {"rounds": 2},
}  # fmt: skip

FIGURES: dict[ModuleType, Callable[[], Any]] = {
    convergence_exponential_multistep: lambda: convergence_exponential_multistep.compute(counts=(10, 20, 40, 80)),
    deis_polynomial_variables: lambda: deis_polynomial_variables.compute(samples=16),
    ghvb_interpolation: lambda: ghvb_interpolation.compute(counts=(10, 20, 40)),
    guidance_amplification: lambda: guidance_amplification.compute(scales=np.linspace(1.0, 10.0, 10), steps=10),
    order_stars: lambda: order_stars.compute(points=80),
    searched_grids: lambda: searched_grids.compute((5,), 16, 32, QUICK_SEARCHES),
    stability_exponential: lambda: stability_exponential.compute(points=80),
    stability_momentum: lambda: stability_momentum.compute(points=80),
    work_precision_families: lambda: work_precision_families.compute(("ddim", "heun", "ddpm"), (5, 10), samples=500),
}
"""Each figure, with a setting of its data that takes little time."""

LARGEST = 150_000
"""Bytes of an SVG that git keeps."""

each_figure = pytest.mark.parametrize("module", FIGURES, ids=lambda module: module.NAME)


@pytest.fixture(scope="module")
def data() -> dict[ModuleType, Any]:
    return {}


def drawn(module: ModuleType, data: dict[ModuleType, Any]) -> Any:
    """A figure; call it inside `look(TEXT)`."""
    if module not in data:
        data[module] = FIGURES[module]()
    return module.draw(data[module])


@each_figure
def test_files_are_vectors_and_the_same_on_every_run(module: ModuleType, data: dict[ModuleType, Any], tmp_path: Path):
    runs: list[list[bytes]] = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        with look(TEXT):
            files = save(drawn(module, data), module.NAME, folder)
        assert {file.name for file in files} == {f"{module.NAME}.svg", f"{module.NAME}.pdf"}
        runs.append([file.read_bytes() for file in files])
    assert runs[0] == runs[1]
    assert not [content for content in runs[0] if b"<image" in content or b"/Subtype /Image" in content]


@each_figure
def test_no_text_covers_another_or_leaves_the_page(module: ModuleType, data: dict[ModuleType, Any]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with look(TEXT):
        drawing = drawn(module, data)
        canvas = FigureCanvasAgg(drawing)
        canvas.draw()
        boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts(drawing)}
    assert drawing.bbox.width / drawing.dpi * 72 in (COLUMN, PAGE)
    for text, box in boxes.items():
        assert text.get_fontsize() >= 0.9 * TEXT, text
        assert box.x0 >= drawing.bbox.x0, text
        assert box.y0 >= drawing.bbox.y0, text
        assert box.x1 <= drawing.bbox.x1, text
        assert box.y1 <= drawing.bbox.y1, text
    for one, other in combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[other]), (one, other)


def texts(drawing: Any) -> Iterator[Any]:
    """All that can be read."""
    yield from drawing.texts
    for axes in drawing.axes:
        yield from axes.texts
        yield from (text for text in (axes._left_title, axes.xaxis.label, axes.yaxis.label) if text.get_text())
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            shown = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
            yield from (tick.label1 for tick in shown if tick.label1.get_visible())


@each_figure
def test_git_keeps_a_small_figure_and_the_readme_shows_it(module: ModuleType):
    file = OUT / f"{module.NAME}.svg"
    assert file.stat().st_size < LARGEST
    assert f"](out/{module.NAME}.svg)" in (OUT.parent / "README.md").read_text(encoding="utf-8")


def test_the_published_slip_is_told_apart():
    """The data, not the drawing, say which solver misses its claim."""
    panels = {"": {"dpmpp_2m": "2M", "dpmpp_3m": "3M"}}
    ((_, (good, slip)),) = convergence_exponential_multistep.compute(panels, (40, 80, 160, 320)).items()
    assert not good.short
    assert slip.short
    assert slip.slope.value == pytest.approx(2, abs=0.1)
