"""Which method is a limit of which: the laws of the registry as a graph of rules.

A law says that a rule, with some of its options fixed, is another registered solver. Rules that are limits of each
other share their methods, and are one clan; between clans the laws lead from the general to the special, without a
circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np

from diffode.analysis.moments import amplification
from diffode.backends import execute, get_backend
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.solvers import Limit, Solver, get_solver, registry

_CROWD = 9
"""Clans of one generation that a line has room for."""


@dataclass(frozen=True)
class Kin:
    """One law: at these options the rule `child` is the solver `parent`.

    Attributes
    ----------
    child : str
        The name of a rule.
    parent : str
        A solver.
    law : Limit
    """

    child: str
    parent: str
    law: Limit

    @property
    def rule(self) -> str:
        """The rule that the parent is a configuration of."""
        return get_solver(self.parent).rule.__name__

    @property
    def condition(self) -> str:
        """The options in words."""
        said = [f"{key}={_short(value)}" for key, value in self.law.options.items()]
        return ", ".join([*said, *([f"equal steps in {self.law.uniform}"] if self.law.uniform else [])])

    def gap(self, grid: TimeGrid, model: Model, x_T: np.ndarray, seed: int = 0) -> float:
        """How far child and parent end apart, over what rounding can make of the parent's run.

        That bound is 10⁻¹² times the plan's amplification times its largest value; a law holds where the gap is at
        most 1.
        """
        child = registry()[self.child].configure(**self.law.options).plan(grid)
        parent = get_solver(self.parent).plan(grid)
        backend = get_backend("numpy")
        ends = [execute(backend, plan, model, [x_T], seed, plan.states) for plan in (child, parent)]
        largest = max(float(np.max(np.abs(state))) for state in ends[1].registers.values())
        apart = np.max(np.abs(ends[0][child.states[-1]] - ends[1][parent.states[-1]]))
        return float(apart / (1e-12 * amplification(parent) * largest))


def _short(value: Any) -> str:
    if isinstance(value, Solver):
        return value.name
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"


def kinship() -> list[Kin]:
    """All laws of the registry, each once.

    >>> [kin.condition for kin in kinship() if (kin.child, kin.parent) == ("euler_ancestral", "ddim")]
    ['eta=0']
    """
    rules = [solver for solver in registry().values() if solver.name == solver.rule.__name__]
    return [Kin(solver.name, law.parent, law) for solver in rules for law in solver.limits]


@dataclass(frozen=True)
class Clan:
    """Rules that are limits of each other, directly or through others.

    Attributes
    ----------
    rules : tuple of str
    generation : int
        The longest chain of laws from here to a clan that has no parent, which is of generation 0.
    parents : mapping
        Index of a parent clan → the laws that lead there.
    """

    rules: tuple[str, ...]
    generation: int
    parents: Mapping[int, Sequence[Kin]]


def clans(laws: Sequence[Kin] | None = None) -> list[Clan]:
    """The strongly connected components of the graph of rules, with the laws between them.

    >>> found = clans()
    >>> all(found[parent].generation < clan.generation for clan in found for parent in clan.parents)
    True
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = kinship() if laws is None else laws
    rules = list(dict.fromkeys([name for kin in known for name in (kin.child, kin.rule)]))
    index = {name: k for k, name in enumerate(rules)}
    ends = [(index[kin.child], index[kin.rule]) for kin in known]
    graph = coo_array((np.ones(len(ends)), tuple(zip(*ends, strict=True))), shape=(len(rules), len(rules)))
    count, label = connected_components(graph, directed=True, connection="strong")
    parents: list[dict[int, list[Kin]]] = [{} for _ in range(count)]
    for (child, parent), kin in zip(ends, known, strict=True):
        if label[child] != label[parent]:
            parents[label[child]].setdefault(int(label[parent]), []).append(kin)

    def generation(clan: int) -> int:
        return 1 + max((generation(parent) for parent in parents[clan]), default=-1)

    members = [tuple(name for name, own in zip(rules, label, strict=True) if own == clan) for clan in range(count)]
    return [Clan(members[clan], generation(clan), parents[clan]) for clan in range(count)]


def draw(found: Sequence[Clan], width: float = 760.0) -> Any:
    """The clans, general above special; call it inside `diffode.analysis.style.look()`.

    A line stands for one or more laws, and is left out where others lead the same way.

    Parameters
    ----------
    found : sequence of Clan
    width : float
        Of the figure, in points.

    Returns
    -------
    matplotlib Figure
    """
    from diffode.analysis.style import COLOURS, INK, MUTED, PAPER, figure

    layers = _layers(found)
    drawing = figure(width, 100.0 * len(layers))
    axes = drawing.subplots()
    axes.set_axis_off()
    place: dict[int, tuple[float, float]] = {}
    for y, layer in enumerate(layers):
        for k, clan in enumerate(layer):
            step = (k % 3 - 1) * 0.24 if len(layer) > _CROWD else 0.0
            place[clan] = ((k + 0.5) / len(layer), y + step)
    for child, clan in enumerate(found):
        for parent in clan.parents:
            if not any(parent in _ancestors(found, other) for other in clan.parents):
                (x0, y0), (x1, y1) = place[child], place[parent]
                axes.plot([x0, x1], [y0, y1], "-", color=MUTED, linewidth=0.6, marker="none", zorder=0)
    for clan, (x, y) in place.items():
        names = found[clan].rules
        colour = COLOURS["blue"] if len(names) > 1 else INK
        box = {"boxstyle": "round,pad=0.3", "facecolor": PAPER, "edgecolor": colour, "linewidth": 0.8}
        words = [name.replace("_", " ") for name in names]
        text = "\n".join(words) if len(words) > 1 else fill(words[0], 12)
        axes.text(x, y, text, ha="center", va="center", color=colour, bbox=box)
    axes.set(xlim=(0, 1), ylim=(-0.5, len(layers) - 0.5))
    return drawing


def _ancestors(found: Sequence[Clan], clan: int) -> set[int]:
    """All clans that laws lead to from one."""
    parents = found[clan].parents
    return set(parents).union(*(_ancestors(found, parent) for parent in parents))


def _layers(found: Sequence[Clan], sweeps: int = 12) -> list[list[int]]:
    """The clans by generation, each layer ordered by where its kin stand in the others (barycentres)."""
    layers: list[list[int]] = [[] for _ in range(1 + max(clan.generation for clan in found))]
    kin: list[set[int]] = [set(clan.parents) for clan in found]
    for clan, parents in enumerate([set(one) for one in kin]):
        layers[found[clan].generation].append(clan)
        for parent in parents:
            kin[parent].add(clan)
    for _ in range(sweeps):
        for layer in layers:
            at = {clan: (k + 0.5) / len(row) for row in layers for k, clan in enumerate(row)}
            layer.sort(key=lambda clan: float(np.mean([at[other] for other in kin[clan]])) if kin[clan] else 0.5)
    return layers
