r"""`fit_grid`: what all learned and searched grids share: what they are found on, what is kept, and how it is saved.

A search is never worse than its start on the states that it was made on; what it is worth stands in
`provenance["held_out"]`, the same loss on states that it has not seen. Interrupted (Ctrl-C), it returns the best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import diffode
from diffode.analysis.derivation.spectra import eigenvalues
from diffode.analysis.endpoint import reference
from diffode.backends import execute, get_backend
from diffode.errors import DiffodeError, GridError, ModelError, placed, unknown
from diffode.fitting.fit import function_of
from diffode.fitting.keeping import Keeper
from diffode.grids import NAMES, TimeGrid
from diffode.grids.stored import dumps
from diffode.models import Anchored, Gaussian, GaussianMixture, Model
from diffode.plan import Level
from diffode.problems import Problem, get_problem
from diffode.process import VP, Process, named
from diffode.sampling import one_state
from diffode.solvers import Solver, get_solver

Array = Any

METHODS: dict[str, str] = {
    "gits": "diffode.fitting.gits:fit_gits",
    "ays": "diffode.fitting.ays:fit_ays",
    "ld3": "diffode.fitting.ld3:fit_ld3",
    "nonuniform": "diffode.fitting.nonuniform:fit_nonuniform",
    "olss": "diffode.fitting.timesearch:fit_olss_times",
    "evolution": "diffode.fitting.evolution:fit_evolution",
}
"""Name of a method → module:function, called as function(target, nfe, **options)."""


def fit_grid(target: Any, nfe: int, *, method: str = "gits", **options: Any) -> SearchedGrid:
    """A grid searched or learned for a model.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `target_of`.
    nfe : int
    method : {"gits", "ays", "ld3", "nonuniform", "olss", "evolution"}
    **options
        Of the method's function.

    Returns
    -------
    SearchedGrid

    Raises
    ------
    DiffodeError
        If there is no such method, the budget is too small, or the target is none.

    Examples
    --------
    >>> found = fit_grid("mixture_2d", 6, method="gits", samples=32, nodes=20)
    >>> found.grid.steps, found.after < found.before
    (6, True)
    """
    return function_of(method, METHODS, "method")(target, nfe, **options)


@dataclass(frozen=True)
class Target:
    """A model, and states at the first level: those to search on, and others to judge by.

    Attributes
    ----------
    name : str
    model : Model
        Of a process without an anchor, or with its anchor inside.
    first, last : Level
        Where grids begin and end, both with finite λ.
    train, held_out : array, shape (batch, …)
    law : GaussianMixture or None
        With the mean and covariance of the data, where known.
    data : GaussianMixture or None
        The law of the data itself, where known.
    """

    name: str
    model: Model
    first: Level
    last: Level
    train: Array = field(repr=False)
    held_out: Array = field(repr=False)
    law: GaussianMixture | None = field(default=None, repr=False)
    data: GaussianMixture | None = field(default=None, repr=False)

    @property
    def process(self) -> Process:
        return self.first.process

    def key(self, method: str, grid: TimeGrid, **facts: Any) -> dict[str, Any]:
        """What tells a search from others, in plain values, for its checkpoint."""
        return {
            "method": method, "problem": self.name, "samples": len(self.train), "lam": grid.lam.tolist(),
            "target": self.digest, **facts,
        }  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """What tells it from others of its name and process: the states, and what the model says of them."""
        said = self.model.predict(self.train, self.first, "x0")
        parts = (repr(self.process).encode(), *(flat(values).tobytes() for values in (self.train, said)))
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """End points of the probability-flow ODE from `train` and `held_out`, to 1e-8."""
        span = TimeGrid(self.process, levels=[self.first, self.last])
        train, held_out = (flat(reference(self.model, x, span, 1e-8).x) for x in (self.train, self.held_out))
        return train, held_out

    def grid(self, name: str | TimeGrid, steps: int) -> TimeGrid:
        """A named grid between the two levels, or one of the caller's own that fits them."""
        if isinstance(name, TimeGrid):
            ends = [abs(float(name.lam[k]) - float(end.lam)) for k, end in ((0, self.first), (-1, self.last))]
            if name.process != self.process or name.steps != steps or max(ends) > 1e-6:
                raise GridError(
                    f"fit_grid: the grid given must have {steps} steps of {self.process!r} from λ={self.first.lam:.6g} "
                    f"to λ={self.last.lam:.6g}; make one with a builder and start={self.first.t:.6g}"
                )
            return name
        if name not in NAMES:
            raise GridError(f"fit_grid: {unknown('grid', name, NAMES)}")
        built = NAMES[name](self.process, steps, start=float(self.first.t), end=float(self.last.t))
        return TimeGrid(self.process, levels=[self.first, *built.levels[1:-1], self.last])

    def run(self, solver: Solver, grid: TimeGrid, held_out: bool = False, noise: int | None = None) -> np.ndarray:
        """The last states of a solver, shape (batch, d)."""
        x, plan = self.held_out if held_out else self.train, solver.plan(grid)
        return flat(execute(backend_of(x), plan, self.model, [x], noise)[plan.states[-1]])

    def error(self, solver: Solver, grid: TimeGrid, held_out: bool = False) -> float:
        """Root-mean-square distance to the end points of the probability-flow ODE; ∞ where the run overflows."""
        try:
            with np.errstate(all="ignore"):
                off = self.run(solver, grid, held_out) - self.ends[held_out]
                found = float(np.sqrt(np.mean(off**2)))
        except ModelError:
            return np.inf
        return found if np.isfinite(found) else np.inf


def target_of(
    target: Any,
    *,
    process: Process | str | None = None,
    x_T: Array | None = None,
    held_out: Array | None = None,
    samples: int = 256,
    seed: int = 0,
    **others: Any,
) -> Target:
    """What a grid is to be found for.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        A model (with `x_T`), a problem or its name, data whose denoiser is exact, or the covariance eigenvalues of
        Gaussian data ("power:2", an array; see `optimize_grid`).
    process : Process or str, optional
        Of data and eigenvalues; VP by default.
    x_T, held_out : array, optional
        States at the first level for a model of one's own; without `held_out` the second half of `x_T` is held out.
        The first level is t_max, or where λ is −∞ there, `process.t_far`.
    samples, seed : int
        Otherwise: how many states are drawn for the search, as many are held out, and the seed.

    Raises
    ------
    DiffodeError
        If the target is none, a model comes without states or moves a system, or there is no such option (methods
        hand on those that are not theirs).
    """
    if others:
        raise DiffodeError(
            f"fit: no option named {next(iter(others))!r}; of every fit there are process, x_T, held_out, samples and "
            "seed, and those of a method stand in the docstring of its function"
        )
    for name, count, least in (("samples", samples, 2), ("seed", seed, 0)):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
            raise DiffodeError(f"fit_grid: {name} must be a whole number of at least {least}, not {count!r}")
    model = target.model if isinstance(target, Problem) else target
    if isinstance(model, Model) and model.remembers():
        raise ModelError(
            f"fit_grid: {model!r} answers by what it was asked before, so that it has no exact flow to fit to, and "
            "every run would leave something for the next; fit to the model inside"
        )
    if isinstance(target, Model):
        return _own(target, x_T, held_out)
    where = named(process) if isinstance(process, str) else process
    if isinstance(target, str) and not target.startswith("power"):
        target = get_problem(target, where)
    if not isinstance(target, Problem):
        if isinstance(target, GaussianMixture):
            data = target
        else:
            values = eigenvalues(target)
            data = Gaussian(np.zeros(len(values)), values)
        where = where or VP()
        target = Problem(
            f"{type(data).__name__} of dimension {data.dimension}", where, data.denoiser(where), data, data
        )
    one_state("fit", target.process)
    first, last = _span(target.process)
    both = target.initial(2 * samples, seed, first.t)
    model = target.model
    if target.mu is not None:
        anchored = Anchored(model, np.asarray(target.mu, dtype=both.dtype))
        model, both = anchored, both - anchored.shift(first, both)
    return Target(target.name, model, first, last, both[:samples], both[samples:], target.law, target.data)


def _own(model: Model, x_T: Array | None, held_out: Array | None) -> Target:
    if x_T is None or len(x_T) < 2:
        raise ModelError(
            "fit_grid: give the starting states x_T of your model, an array of shape (batch, …), two or more"
        )
    one_state("fit", model.process)
    if model.process.anchored:
        raise ModelError("fit_grid: give a problem for a process with an anchor, so that the anchor is known")
    half = len(x_T) if held_out is not None else (len(x_T) + 1) // 2
    first, last = _span(model.process)
    others = x_T[half:] if held_out is None else held_out
    return Target(type(model).__name__, model, first, last, x_T[:half], others)


def _span(process: Process) -> tuple[Level, Level]:
    first = process.level(process.t_max)
    return (process.level(process.t_far) if first.lam == -np.inf else first), process.level(process.t_min)


def backend_of(x: Array) -> Any:
    """The backend of an array."""
    return get_backend("torch" if type(x).__module__ == "torch" else "numpy")


def flat(x: Array) -> np.ndarray:
    """States as rows of float64 on the host, shape (batch, d)."""
    host = x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()
    return host.reshape(len(host), -1).astype(float)


def check_nfe(nfe: Any) -> int:
    """A budget of evaluations, a whole number of at least 1."""
    if isinstance(nfe, bool) or not isinstance(nfe, (int, np.integer)) or nfe < 1:
        raise DiffodeError(f"fit_grid: nfe must be a whole number of at least 1, not {nfe!r}")
    return int(nfe)


def steps_within(solver: Solver, target: Target, nfe: int) -> int:
    """The largest number of steps that a solver takes within a budget of evaluations."""
    for steps in range(check_nfe(nfe), 0, -1):
        if solver.plan(target.grid("uniform_lambda", steps)).nfe <= nfe:
            return steps
    raise DiffodeError(f"fit_grid: one step of {solver.name} takes more than {nfe} evaluations; raise nfe")


@dataclass(frozen=True)
class SearchedGrid:
    """A grid that a method has found, and where it comes from.

    Attributes
    ----------
    grid, start : TimeGrid
        What was found, and what the search began with.
    provenance : mapping
        `method`, `problem`, `process`, `version`, `loss` (what was made least), the options of the search; `train` and
        `held_out`, each with the loss `before` and `after` (None where the method looks at no states); `tried`, how
        many grids; `interrupted`.
    """

    grid: TimeGrid
    start: TimeGrid
    provenance: Mapping[str, Any]

    @staticmethod
    def of(
        method: str, target: Target, keeper: Keeper, judge: Callable[[TimeGrid, bool], float], start: TimeGrid,
        found: TimeGrid, *, unseen: bool = True, **facts: Any,
    ) -> SearchedGrid:  # fmt: skip
        """The outcome of a search: the start itself where what was found is no better.

        Parameters
        ----------
        method : str
        target : Target
        keeper : Keeper
        judge : callable
            judge(grid, held_out), the loss.
        start, found : TimeGrid
        unseen : bool
            False where the loss depends on no states.
        **facts
            Further provenance, the name of the loss among it.
        """
        before, after = judge(start, False), min(judge(found, False), keeper.loss)
        if not after < before:
            found, after = start, before
        told: dict[str, Any] = {
            "method": method, "problem": target.name, "process": repr(target.process), "version": diffode.__version__,
            **facts, "train": {"before": before, "after": after, "count": len(target.train) if unseen else 0},
            "held_out": None, "tried": keeper.tried, "interrupted": keeper.interrupted,
        }  # fmt: skip
        if unseen:
            ends = {"before": judge(start, True), "after": judge(found, True)}
            told["held_out"] = {**ends, "count": len(target.held_out)}
        return SearchedGrid(found, start, told)

    @property
    def before(self) -> float:
        """The loss at the start, on states that the search has not seen where it looks at states."""
        return float((self.provenance["held_out"] or self.provenance["train"])["before"])

    @property
    def after(self) -> float:
        """The loss of the grid, on states that the search has not seen where it looks at states."""
        return float((self.provenance["held_out"] or self.provenance["train"])["after"])

    @property
    def solver(self) -> Solver | None:
        """The solver that the grid was found for, where the method has one."""
        name = self.provenance.get("solver")
        return get_solver(name) if name else None

    def around(self, model: Model) -> Model:
        """The model that goes with the grid: where LD3 has learned what to tell the network, one that is told so."""
        shift = self.provenance.get("network_shift")
        if shift is None:
            return model
        from diffode.fitting.ld3 import ToldElsewhere

        return ToldElsewhere(model, self.grid.lam, np.asarray(shift))

    def to_json(self) -> str:
        """The grid file: what `de.grids.load` and `--grid FILE.json` read."""
        return dumps(self.grid, provenance=self.provenance)

    def save(self, path: str | Path) -> None:
        """Write the grid file."""
        placed(path).write_text(self.to_json(), encoding="utf-8")

    def __str__(self) -> str:
        facts, lines = self.provenance, [f"{self.provenance['method']} on {self.provenance['problem']}"]
        for part, words in (("train", "searched on"), ("held_out", "held out")):
            if facts[part]:
                lines.append(f"  {facts['loss']}, {words}: {facts[part]['before']:.4g} → {facts[part]['after']:.4g}")
        lines.append(f"  λ = {', '.join(f'{lam:.4g}' for lam in self.grid.lam)}")
        lines.append(f"  {facts['tried']} grids tried{', interrupted' if facts['interrupted'] else ''}")
        return "\n".join(lines)


def shares(grid: TimeGrid, variable: str) -> np.ndarray:
    """Logarithms of the steps' shares of the whole span in a variable, shape (steps,)."""
    steps = np.diff(getattr(grid, variable))
    return np.log(steps / steps.sum())


def of_shares(target: Target, logs: Sequence[float] | np.ndarray, variable: str) -> TimeGrid:
    """The grid whose steps have these shares, after a softmax: v_k = v_0 + (v_n − v_0) Σ_{j ≤ k} softmax(ξ)_j."""
    u = np.asarray(logs, dtype=float)
    parts = np.exp(u - u.max())
    parts = np.cumsum(parts)[:-1] / parts.sum()
    first, last = (float(getattr(end, variable)) for end in (target.first, target.last))
    inner = [target.process.level(**{variable: float(first + (last - first) * part)}) for part in parts]
    return TimeGrid(target.process, levels=[target.first, *inner, target.last])
