"""Regions of linear stability of Adams–Bashforth with momentum: heavy ball, Nesterov, GHVB.

Writes `out/stability_momentum.svg` and `.pdf`.

    python -m paper_figs.stability_momentum
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import comb
from typing import Any

import diffode as de
from diffode.analysis.stability import Region
from diffode.analysis.stability.plots import draw as draw_regions
from diffode.analysis.style import COLOURS, MUTED, figure, look
from diffode.plan import Linear
from diffode.solvers.momentum import adams_bashforth
from diffode.trace import Step
from paper_figs.page import PAGE, TEXT, heading, save

NAME = "stability_momentum"

BETA = Fraction(4, 5)
"""Share of the newest output in the velocity."""

STEPS = (2, 3, 4)
"""k of the Adams–Bashforth methods, a panel each."""


# --- the methods that momentum is added to by Wizadwongsa et al., arXiv:2307.11118 ---------------------------


def plms(step: Step, d: Linear, k: int) -> Linear:
    """Σ_j a_j ε_{n−j} with the weights of Adams–Bashforth on equal steps, over what there is of the past."""
    k = min(k, step.depth + 1)
    gammas, values = adams_bashforth(k), [d, *(step.past(j) for j in range(1, k))]
    weights = (sum((-1) ** m * comb(j, m) * gammas[j] for j in range(m, k)) for m in range(k))
    return sum((a * value for a, value in zip(weights, values, strict=True)), Linear({}))


def move(step: Step, slope: Linear) -> Linear:
    """y′ = y + Δρ·slope, in x = α y."""
    return (step.next.alpha / step.now.alpha) * step.x + step.next.alpha * (step.next.rho - step.now.rho) * slope


@de.solver(order=lambda k, beta: k if beta == 1 else 1, prediction="eps", history=lambda k: k - 1, uniform="rho")
def heavy_ball(step: Step, k: int = 2, beta: Fraction = BETA) -> Linear:
    """Polyak's heavy ball: v′ = (1 − β) v + β PLMS_k,  y′ = y + Δρ v′."""
    p = plms(step, step.model(step.x, step.now), k)
    v = (1 - beta) * step.memory.get("v", p) + beta * p
    step.memory["v"] = v
    return move(step, v)


@de.solver(order=lambda k, beta: k if beta == 1 else 1, prediction="eps", history=lambda k: k - 1, uniform="rho")
def nesterov(step: Step, k: int = 2, beta: Fraction = BETA) -> Linear:
    """Nesterov's momentum: v′ = (1 − β) v + β PLMS_k,  y′ = y + Δρ ((1 − β) v′ + β PLMS_k)."""
    p = plms(step, step.model(step.x, step.now), k)
    v = (1 - beta) * step.memory.get("v", p) + beta * p
    step.memory["v"] = v
    return move(step, (1 - beta) * v + beta * p)


METHODS: dict[str, Callable[[int], Any]] = {
    "PLMS": lambda k: heavy_ball.configure(k=k, beta=Fraction(1)),
    "heavy ball": lambda k: heavy_ball.configure(k=k),
    "Nesterov": lambda k: nesterov.configure(k=k),
    "GHVB": lambda k: f"ghvb(order={float(k - 1 + BETA)})",
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
