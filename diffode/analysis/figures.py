"""Figures: convergence, work–precision, trajectories in the plane, images. Each takes numbers and returns a figure.

Call them inside `diffode.analysis.style.look()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffode.analysis.slopes import Slope
from diffode.analysis.style import COLOURS, INK, LINE, MARKERS, MUTED, PAPER, figure, power_of_ten
from diffode.models import GaussianMixture

if TYPE_CHECKING:
    from diffode.analysis.comparison import Row

_ACCENT = COLOURS["blue"]
_PEERS = [colour for name, colour in COLOURS.items() if name != "blue"]


def convergence(slope: Slope, claim: float | None) -> Any:
    """Error against step size: what was measured, the fitted slope over its window, the floor, and the claim.

    Parameters
    ----------
    slope : Slope
    claim : float or None
        The order to draw for comparison.

    Returns
    -------
    Figure
    """
    drawing = figure()
    axes = drawing.subplots()
    h, error = np.array(slope.steps), np.array(slope.errors)
    shown = np.isfinite(error) & (error > 0)
    h, error = h[shown], error[shown]
    inside = (h >= slope.window[0] * 0.999) & (h <= slope.window[1] * 1.001)
    if inside.any():
        axes.axvspan(slope.window[0] / 1.08, slope.window[1] * 1.08, color=LINE, alpha=0.45, linewidth=0)
        _slopes(axes, slope, claim, h[inside], error[inside])
    floor = slope.floor > error.min(initial=1.0) / 100
    if floor:
        axes.axhline(slope.floor, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="floor")
    axes.plot(h[~inside], error[~inside], "o", color=_ACCENT, markerfacecolor=PAPER, markeredgewidth=1.2)
    axes.plot(h[inside], error[inside], "o", color=_ACCENT)
    low, high = min(error.min(initial=1.0), slope.floor if floor else np.inf), error.max(initial=1e-300)
    axes.set(xscale="log", yscale="log", xlabel="step size h (in λ)", ylabel="error", ylim=(low / 6, high * 40))
    log_ticks(axes)
    axes.legend(loc="upper left", borderaxespad=0.2)
    return drawing


def _slopes(axes: Any, slope: Slope, claim: float | None, h: np.ndarray, error: np.ndarray) -> None:
    """The fitted line over its window, and below it the slope of the claim."""
    ends = np.array(slope.window)
    fitted = error[-1] * (ends / h[-1]) ** slope.value
    label = f"slope {slope.value:.2f} ± {slope.interval:.2f}"
    axes.plot(ends, fitted, "-", color=_ACCENT, linewidth=1.8, marker="none", label=label)
    if claim is not None:
        longer = ends * np.array([1.0, 3.0])
        wanted = error[0] / 5 * (longer / h[0]) ** claim
        axes.plot(longer, wanted, "--", color=INK, linewidth=1.2, marker="none", label=f"claimed {claim:g}")


def work_precision(curves: Mapping[str, Sequence[tuple[int, float]]], subject: str, ylabel: str) -> Any:
    """Error against evaluations, one line for each solver, its name at the end of the line.

    Parameters
    ----------
    curves : mapping
        Name → (evaluations, error) pairs.
    subject : str
        The name whose line stands out.
    ylabel : str

    Returns
    -------
    Figure
    """
    drawing = figure(430, 320)
    axes = drawing.subplots()
    peers = [name for name in curves if name != subject]
    ends: list[tuple[str, float, float, str]] = []
    top = _sensible_top([error for points in curves.values() for _, error in points])
    for k, name in enumerate([*peers, subject]):
        colour = _ACCENT if name == subject else _PEERS[k % len(_PEERS)]
        marker = MARKERS[0] if name == subject else MARKERS[1 + k % (len(MARKERS) - 1)]
        nfe, error = (np.array(column, dtype=float) for column in zip(*curves[name], strict=True))
        style = {"linewidth": 2.6, "markersize": 6.5} if name == subject else {"linewidth": 1.3, "markersize": 4.5}
        axes.plot(nfe, error, marker=marker, color=colour, **style)
        ends.append((name, float(nfe[-1]), float(error[-1]), colour))
    axes.set(xscale="log", yscale="log", xlabel="evaluations of the network", ylabel=ylabel)
    axes.set_ylim(top=top)
    log_ticks(axes)
    axes.set_xticks([5, 10, 20, 40])
    names_at_ends(axes, ends, subject)
    return drawing


def pareto(rows: Sequence[Row], ylabel: str, named: int = 4) -> Any:
    """Every solver at every budget, a column each; the best of a column with their names.

    Parameters
    ----------
    rows : sequence of Row
        Of a comparison; those without an error are left out.
    ylabel : str
    named : int
        How many of a column are named.

    Returns
    -------
    Figure
    """
    drawing = figure(680, 400)
    axes = drawing.subplots()
    columns: dict[int, list[Row]] = {}
    for row in sorted((row for row in rows if row.error), key=lambda row: row.error or 0.0):
        columns.setdefault(row.nfe, []).append(row)
    axes.set(yscale="log", xlabel="evaluations of the network, at most", ylabel=ylabel)
    axes.set_ylim(
        0.8 * min(column[0].error or 1.0 for column in columns.values()),
        _sensible_top([row.error or 0.0 for column in columns.values() for row in column]),
    )
    for place, budget in enumerate(sorted(columns)):
        column = columns[budget]
        spread = place + 0.13 * np.sin(2.4 * np.arange(len(column)))  # apart, and the same on every run
        for noisy, label in ((False, "deterministic"), (True, "with noise")):
            chosen = [k for k, row in enumerate(column) if row.stochastic == noisy]
            style = {"color": _PEERS[noisy], "markersize": 3, "alpha": 0.6, "label": label if place == 0 else None}
            axes.plot(spread[chosen], [column[k].error for k in chosen], MARKERS[noisy], **style)
        best = {f"{row.error:.6e}": (row.solver, place + 0.2, row.error or 0.0, INK) for row in reversed(column)}
        axes.plot([place - 0.2, place + 0.2], [column[0].error] * 2, color=_ACCENT, linewidth=1.8, marker="none")
        names_at_ends(axes, [*best.values()][: -named - 1 : -1], column[0].solver, lines=26.0)
    drawing.legend(loc="outside upper right", ncols=2)
    axes.set_xlim(-0.3, len(columns) - 0.3)
    axes.set_xticks(range(len(columns)), [str(budget) for budget in sorted(columns)])
    return drawing


def _sensible_top(errors: Sequence[float]) -> float:
    """Leaves room above the errors, but not for those of a run that has exploded."""
    finite = np.array([e for e in errors if np.isfinite(e) and e > 0])
    return float(min(finite.max() * 1.5, np.median(finite) * 100))


def names_at_ends(
    axes: Any, ends: Sequence[tuple[str, float, float, str]], subject: str = "", lines: float = 17.0
) -> None:
    """Names right of the lines' ends, moved apart until none covers another.

    Parameters
    ----------
    axes : matplotlib Axes
        With a logarithmic y-axis, its limits set.
    ends : sequence of (name, x, y, colour)
    subject : str
        The name to write bold.
    lines : float
        How many lines of text the axes are high.
    """
    from matplotlib import rcParams

    low, high = (np.log(bound) for bound in axes.get_ylim())
    gap = (high - low) / lines
    order = sorted(ends, key=lambda end: end[2])
    places = [np.clip(np.log(error), low, high) for _, _, error, _ in order]
    for _ in range(200):
        places[0] = max(places[0], low + gap / 2)
        for k in range(len(places) - 1):
            overlap = gap - (places[k + 1] - places[k])
            if overlap > 0:
                places[k], places[k + 1] = places[k] - overlap / 2, places[k + 1] + overlap / 2
    right, size = max(x for _, x, _, _ in ends), rcParams["legend.fontsize"]
    for (name, _, _, colour), place in zip(order, places, strict=True):
        weight = "bold" if name == subject else "normal"
        axes.annotate(
            name, (right, np.exp(place)), (0.9 * size, 0), textcoords="offset points", va="center", color=colour,
            weight=weight, annotation_clip=False, size=size,
        )  # fmt: skip


def trajectories(
    law: GaussianMixture, paths: np.ndarray, exact: np.ndarray | None, cloud: np.ndarray | None = None
) -> Any:
    """Paths in the plane from noise to data, over the law of the data.

    Parameters
    ----------
    law : GaussianMixture
        Of two dimensions; its density is the ground.
    paths : ndarray, shape (levels, paths, 2)
        The solver's, scaled to unit size at every level.
    exact : ndarray or None, shape (times, paths, 2)
        The exact flow from the same starts, likewise.
    cloud : ndarray, optional, shape (samples, 2)
        End points of further runs.

    Returns
    -------
    Figure
    """
    drawing = figure(350, 350)
    axes = drawing.subplots()
    reach = 2.4
    _density(axes, law, reach)
    if exact is not None:
        axes.plot(exact[..., 0], exact[..., 1], "-", color=MUTED, linewidth=3.2, alpha=0.3, marker="none")
        axes.plot(*exact[-1].T, "o", color=MUTED, markerfacecolor="none", markersize=7.0, markeredgewidth=1.1)
    if cloud is not None:
        axes.plot(*cloud.T, "o", color=INK, markersize=1.8, alpha=0.7, markeredgewidth=0)
    axes.plot(paths[..., 0], paths[..., 1], "-", color=_ACCENT, linewidth=0.9, alpha=0.9, marker="none")
    axes.plot(*paths[1:-1].reshape(-1, 2).T, "o", color=_ACCENT, markersize=2.0, markeredgewidth=0)
    axes.plot(*paths[-1].T, "o", color=_ACCENT, markersize=4.2)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    return drawing


def _density(axes: Any, law: GaussianMixture, reach: float) -> None:
    x = np.linspace(-reach, reach, 161)
    points = np.stack(np.meshgrid(x, x), axis=-1)
    density = sum(
        w * np.exp(-0.5 * (((points - m) ** 2) / v).sum(-1)) / np.sqrt(np.prod(v * np.ones(2)))
        for w, m, v in zip(law.weights, law.means, law.eigenvalues, strict=True)
    )
    for share in (0.02, 0.15, 0.5):  # one over the other, so that the middle is the darkest
        axes.contourf(x, x, density, levels=[share * np.max(density), np.inf], colors=[COLOURS["orange"]], alpha=0.22)


def images(pictures: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Square pictures of values in [−1, 1] side by side: an array of ink from 0 to 1.

    Parameters
    ----------
    pictures : ndarray, shape (count, n, n)
    columns : int
    gap : int
        Pixels between them.

    Returns
    -------
    ndarray, shape (rows · (n + gap) − gap, columns · (n + gap) − gap)

    Examples
    --------
    >>> images(np.ones((4, 2, 2)), 2, gap=1).shape
    (5, 5)
    """
    count, n, _ = pictures.shape
    sheet = np.zeros((-(-count // columns) * (n + gap), columns * (n + gap)))
    for k, picture in enumerate(pictures):
        top, left = (place * (n + gap) for place in divmod(k, columns))
        sheet[top : top + n, left : left + n] = (picture + 1) / 2
    return np.clip(sheet[:-gap, :-gap], 0, 1)


def log_ticks(axes: Any) -> None:
    """Few ticks on two logarithmic axes, in plain characters."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        wide = np.log10(high / low) > 2.7
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=7 if wide else 12))
        axis.set_major_formatter(FuncFormatter(power_of_ten if wide else lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
