"""`Fit`: what a fit leaves, a solver with its grid and where both come from; as a file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffode
from diffode.errors import placed
from diffode.grids import TimeGrid
from diffode.grids import load as load_grid
from diffode.grids.grid import level_of
from diffode.grids.stored import dumps
from diffode.process import Process
from diffode.solvers import Solver
from diffode.solvers.tables import FORMAT, from_content, read


@dataclass(frozen=True)
class Fit:
    """A fitted solver, the grid that it was fitted on, and where it comes from.

    Attributes
    ----------
    name : str
    solver : Solver
        To be given to `sample` and to all else that takes a solver, with the grid.
    grid : TimeGrid
    provenance : mapping
        `method`, `problem`, `process`, `nfe`, `seed`, `version`, `options`; `train` and `held_out`, each with the
        root-mean-square distance to the end points of the teacher `before` and `after` the fit.
    content : mapping
        What makes the solver: a `table`, or a `rule` of the registry with `options`.
    """

    name: str
    solver: Solver
    grid: TimeGrid
    provenance: Mapping[str, Any]
    content: Mapping[str, Any] = field(repr=False)

    @staticmethod
    def of(name: str, content: Mapping[str, Any], grid: TimeGrid, provenance: Mapping[str, Any]) -> Fit:
        """The fit of a content: a `table` (`CoefficientTable.as_dict`), or a `rule` with `options` in plain values.

        The levels are made again from their λ, as those of a file are, so that a file brings back every bit.
        """
        levels = [x if x.singular else level_of(grid.process, "lam", float(x.lam)) for x in grid]
        grid = TimeGrid(grid.process, levels=levels)
        known = {"version": diffode.__version__, "process": repr(grid.process), **provenance}
        made = from_content({**content, "name": name, "provenance": known}, name)
        return Fit(name, made, grid, known, content)

    @property
    def before(self) -> float:
        """The error of the start on states that the fit has not seen."""
        return float(self.provenance["held_out"]["before"])

    @property
    def after(self) -> float:
        """The error of the fit on states that it has not seen."""
        return float(self.provenance["held_out"]["after"])

    def to_json(self) -> str:
        """The JSON text; it is a grid file as well."""
        return dumps(self.grid, **{"format": FORMAT, "name": self.name, "provenance": self.provenance, **self.content})

    def save(self, path: str | Path) -> None:
        """Write the JSON file: `de.get_solver(path)` is the solver, `de.grids.load(path, process)` the grid."""
        placed(path).write_text(self.to_json(), encoding="utf-8")

    def __str__(self) -> str:
        facts = self.provenance
        lines = [f"{self.name}: {facts['method']} on {facts['problem']}, {facts['nfe']} evaluations"]
        for part, words in (("train", "states that were fitted"), ("held_out", "states held out")):
            error = facts[part]
            lines.append(f"  {error['before']:.4g} → {error['after']:.4g} on {error['count']} {words}")
        return "\n".join(lines)


def load(path: str | Path, process: Process) -> Fit:
    """The fit of a file, on a process that reaches its levels.

    Parameters
    ----------
    path : str or Path
    process : Process

    Raises
    ------
    SolverError
        If there is no such file, or it holds no fit.
    GridError
        If the process does not reach its levels.
    """
    content = read(Path(path))
    kept = {name: content[name] for name in ("table", "rule", "options") if name in content}
    made = from_content(content, str(path))
    return Fit(content["name"], made, load_grid(path, process), content["provenance"], kept)
