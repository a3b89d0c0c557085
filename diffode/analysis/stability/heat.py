"""Pictures: where a solver amplifies along a schedule, and where its second moments stay bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from diffode.analysis.style import COLOURS, INK, figure

if TYPE_CHECKING:
    from diffode.analysis.stability.mean_square import MeanSquare
    from diffode.analysis.stability.schedule import AmplificationMap

SPAN = 4.0
"""Amplifications from 1/SPAN to SPAN have colours of their own."""

COLOURING: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -np.log2(SPAN), "vmax": np.log2(SPAN)}
"""How log₂ of an amplification is coloured: red where it grows, blue where it fades."""


def heat_map(found: AmplificationMap) -> Any:
    """The heat map over (step, eigenvalue), and below it the steps beside the largest stable ones.

    Parameters
    ----------
    found : AmplificationMap

    Returns
    -------
    matplotlib Figure
    """
    drawing = figure(430, 360)
    above, below = drawing.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    order = np.argsort(found.eigenvalues)
    mesh = heat(above, np.arange(len(found.levels)), found.eigenvalues[order], found.values[order])
    bar = drawing.colorbar(mesh, ax=above, ticks=[-2, -1, 0, 1, 2], pad=0.02)
    bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    bar.set_label("amplification")
    above.set(ylabel="eigenvalue", title=f"{found.solver}, guidance {found.guidance:g}")
    _steps(below, found)
    return drawing


def heat(axes: Any, edges: np.ndarray, rows: np.ndarray, values: np.ndarray) -> Any:
    """Amplifications in colours about 1, with a line where they are 1; rows on a logarithmic axis where they can be.

    Parameters
    ----------
    axes : matplotlib Axes
    edges : ndarray, shape (columns + 1,)
    rows : ndarray, shape (rows,)
        Ascending.
    values : ndarray, shape (rows, columns)

    Returns
    -------
    matplotlib QuadMesh
        Of log₂ of the values.
    """
    with np.errstate(divide="ignore"):
        shown = np.clip(np.log2(values), -np.log2(SPAN), np.log2(SPAN))
    logarithmic = bool(rows[0] > 0) and len(rows) > 1
    places = np.log10(rows) if logarithmic else np.arange(len(rows), dtype=float)
    middles = (places[1:] + places[:-1]) / 2
    outer = (
        places[:1] - (middles[0] - places[0] if len(rows) > 1 else 0.5),
        places[-1:] + (places[-1] - middles[-1] if len(rows) > 1 else 0.5),
    )
    ends = np.concatenate([outer[0], middles, outer[1]])
    mesh = axes.pcolormesh(edges, 10**ends if logarithmic else ends, shown, rasterized=True, linewidth=0, **COLOURING)
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_yticks(places, [f"{row:g}" for row in rows])
    axes.grid(visible=False)
    return mesh


def _steps(axes: Any, found: AmplificationMap) -> None:
    """The steps of the grid, and the largest stable ones."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    edges, steps = np.arange(len(found.levels)), found.steps
    finite = np.isfinite(steps)
    largest = np.where(np.isfinite(found.largest_stable_step), found.largest_stable_step, np.nan)
    axes.stairs(np.where(finite, steps, np.nan), edges, baseline=None, color=INK, linewidth=1.6, label="step")
    axes.stairs(largest, edges, baseline=None, color=COLOURS["vermilion"], linewidth=1.6, label="largest stable")
    too_long = finite & (steps > np.nan_to_num(largest, nan=np.inf))
    for n in np.flatnonzero(too_long):
        axes.axvspan(n, n + 1, color=COLOURS["vermilion"], alpha=0.12, linewidth=0)
    tops = np.concatenate([steps[finite], largest[np.isfinite(largest)], [1e-3]])
    axes.set(xlabel="step", ylabel="in λ", yscale="log", ylim=(None, 3 * np.max(tops)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", ncols=2, borderaxespad=0.2)


def mean_square_region(found: MeanSquare) -> Any:
    """Where second moments stay bounded; in the additive test the stationary variance over the exact one, in colours.

    Parameters
    ----------
    found : MeanSquare

    Returns
    -------
    matplotlib Figure
    """
    drawing = figure(400, 300)
    axes = drawing.subplots()
    stable, h, kappa = found.stable.T, found.steps, found.rates
    if found.test == "additive":
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(stable & found.exact[:, None], found.variance.T / found.exact_variance[:, None], np.nan)
            shown = np.clip(np.log2(ratio), -np.log2(SPAN), np.log2(SPAN))
        mesh = axes.pcolormesh(h, kappa, shown, shading="nearest", rasterized=True, **COLOURING)
        bar = drawing.colorbar(mesh, ax=axes, ticks=[-2, -1, 0, 1, 2], pad=0.02)
        bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
        bar.set_label("variance, as a multiple of the exact one")
    else:
        axes.contourf(h, kappa, stable, levels=[0.5, 1.5], colors=[COLOURS["blue"]], alpha=0.25)
    axes.contour(h, kappa, found.radius.T, levels=[1.0], colors=[INK], linewidths=1.4)
    edge = (1 + (found.tau * found.noise) ** 2) / (1 + found.tau**2)
    label = "the equation is stable above"
    axes.axhline(edge, color=COLOURS["vermilion"], linestyle="--", linewidth=1.4, marker="none", label=label)
    axes.legend(loc="upper right")
    axes.set(xscale="log", xlabel="step h in λ", ylabel="rate κ (guidance, on data at a point)")
    axes.set(ylim=(min(0.0, kappa[0]), kappa[-1]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    noise = f", μ = {found.noise:g}" if found.test == "multiplicative" else ""
    axes.set_title(f"{found.solver}: mean square, {found.test}{noise}")
    return drawing
