r"""LD3: a grid learned so that few steps end where a teacher ends.

The steps' shares of the span are a softmax, so that levels stay ordered whatever the parameters are:

    v_k = v_0 + (v_n − v_0) Σ_{j ≤ k} softmax(ξ)_j

Distances to the teacher's end points are residuals, whose squares a Gauss–Newton method makes least. Derivatives are
differences of whole runs, so that any solver, any model and any backend serve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffode.backends import execute
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError, ModelError
from diffode.fitting.grids import (
    Array,
    SearchedGrid,
    Target,
    backend_of,
    flat,
    of_shares,
    shares,
    steps_within,
    target_of,
)
from diffode.fitting.keeping import Keeper, Progress, descend
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.models.wrappers import Wrapped
from diffode.plan import Level
from diffode.solvers import Solver, get_solver

VARIABLES = ("lam", "t", "rho")

_LOST = 1e6
"""What a run that overflows is off by."""

_BETWEEN = 4
"""Iterations between two moves of the starting states."""

Feature = Callable[[np.ndarray], np.ndarray]


class ToldElsewhere(Wrapped):
    r"""A model of which the network is told λ + δ(λ): LD3's decoupled times, δ linear between the levels of a grid.

    Parameters
    ----------
    model : Model
    lam : ndarray, shape (steps + 1,)
        The levels of the grid, rising.
    shift : ndarray, shape (steps + 1,)
        δ there.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> model = de.Denoiser(lambda x, t: t + 0 * x, de.EDM(), prediction="x0")
    >>> shifted = ToldElsewhere(model, np.array([-1.0, 1.0]), np.array([0.0, np.log(2.0)]))
    >>> told = shifted.predict(np.ones((1, 1)), de.EDM().level(sigma=1.0), "x0").item()  # half way up, √2 cleaner
    >>> round(told * 2**0.5, 12) == 1.0
    True
    """

    def __init__(self, model: Model, lam: np.ndarray, shift: np.ndarray) -> None:
        super().__init__(model)
        if lam.shape != shift.shape or np.any(np.diff(lam) <= 0):
            raise ModelError("ToldElsewhere: lam must rise, with one shift for each entry")
        self.lam, self.shift = lam, shift

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        if at is None:
            moved = level.lam + np.interp(level.lam, self.lam, self.shift)
            at = self.process.level(lam=moved if np.ndim(moved) else float(moved))
        return self.model.predict(x, level, "x0", at, to, output)


@dataclass(frozen=True)
class _Pupil:
    """What is learned: logarithmic shares of the steps, then where asked for the shifts of the network's levels."""

    target: Target
    solver: Solver
    variable: str
    window: float
    feature: Feature | None
    steps: int

    def grid(self, parameters: np.ndarray) -> TimeGrid:
        return of_shares(self.target, parameters[: self.steps], self.variable)

    def shift(self, parameters: np.ndarray, grid: TimeGrid) -> np.ndarray | None:
        """δ at the levels: within a part of the smallest step, 0 at the ends; None where it is not learned."""
        if not self.window:
            return None
        most = self.window * np.diff(grid.lam).min()
        return np.concatenate([[0.0], np.clip(parameters[self.steps :], -most, most), [0.0]])

    def ends(self, parameters: np.ndarray, x: Array) -> np.ndarray:
        """Where runs from x end, as the feature sees it, shape (batch, features)."""
        grid = self.grid(parameters)
        shift = self.shift(parameters, grid)
        model = self.target.model if shift is None else ToldElsewhere(self.target.model, grid.lam, shift)
        plan = self.solver.plan(grid)
        return self.seen(flat(execute(backend_of(x), plan, model, [x])[plan.states[-1]]))

    def seen(self, x: np.ndarray) -> np.ndarray:
        return x if self.feature is None else np.asarray(self.feature(x), dtype=float).reshape(len(x), -1)


def _relaxed(
    pupil: _Pupil, parameters: np.ndarray, wanted: np.ndarray, x: Array, radius: float, generator: np.random.Generator
) -> Array:
    """States near those of the target, within a ball, that the pupil carries nearer to `wanted`."""
    centre = pupil.target.train
    size = int(np.prod(x.shape[1:]))
    frame = np.linalg.qr(generator.standard_normal((size, min(size, 8))))[0]
    arrays = backend_of(x)
    off = pupil.ends(parameters, x) - wanted
    small = 1e-4 * radius
    slopes = [
        (pupil.ends(parameters, x + arrays.array(small * way).reshape(x.shape[1:])) - wanted - off) / small
        for way in frame.T
    ]
    jacobian = np.stack(slopes, axis=2)
    normal = np.swapaxes(jacobian, 1, 2) @ jacobian
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
    normal = normal + damping * np.eye(len(slopes))
    step = -np.linalg.solve(normal, np.einsum("bfk,bf->bk", jacobian, off)[..., None])[..., 0] @ frame.T
    moved = flat(x) + step - flat(centre)
    moved *= np.minimum(1.0, radius / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-300))
    proposed = centre + arrays.array(moved).reshape(x.shape)
    after = pupil.ends(parameters, proposed) - wanted
    better = np.sum(after**2, axis=1) < np.sum(off**2, axis=1)
    return centre + arrays.array(np.where(better[:, None], moved, flat(x) - flat(centre))).reshape(x.shape)


@catalogued(
    "fit",
    "arXiv:2405.15506; code: vinhsuhi/LD3, trainer.py",
    slip="In the code's mode 'lambda' the bound of the decoupled times is taken from the logits, which are all 1, and "
    "is 0: the times stay coupled.",
    page="searched-grids.md",
)
def fit_ld3(
    target: Any,
    nfe: int,
    *,
    solver: str | Solver = "dpmpp_2m",
    variable: str = "lam",
    decoupled: float = 0.0,
    radius: float = 0.0,
    feature: Feature | None = None,
    start: str | TimeGrid = "uniform_lambda",
    rounds: int = 30,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> SearchedGrid:
    r"""LD3: levels, and if asked for the levels told to the network, that bring a solver's end points to the teacher's.

        min_ξ E min_{|x′ − x_T| ≤ r σ_T} |f(Ψ_ξ(x′)) − f(Ψ*(x_T))|²

    Ψ* is the exact flow (`de.reference`), f a feature. The authors' loss is LPIPS, their descent RMSprop through the
    network; in their code the bound on the shifts is taken from the logits where levels are learned in λ, and is 0 at
    first, so that shifts stay 0. Here it is a share of the shortest step.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        The largest number of whole steps within it is taken.
    solver : str or Solver
        Deterministic.
    variable : {"lam", "t", "rho"}
        What the shares are of.
    decoupled : float
        w > 0: the network is told λ_k + ξ_k, with |ξ_k| at most this share of the shortest step.
        `found.around(model)` is the model that does so.
    radius : float
        r: every few iterations the starting states are moved within a ball. The loss of `train` is then that from the
        moved states; that of `held_out` always is from states as they are.
    feature : callable, optional
        f, from states of shape (batch, d) on the host to features.
    start : str or TimeGrid
    rounds : int
        Iterations.
    seed : int
    progress, checkpoint : optional
        See `diffode.fitting.keeping.Keeper`.
    **options
        `process`, `x_T`, `held_out`, `samples` of `target_of`.

    Returns
    -------
    SearchedGrid

    Raises
    ------
    DiffodeError
        If the solver draws noise, the variable is none of the three, or a share or radius is negative.

    Examples
    --------
    >>> found = fit_ld3("mixture_2d", 5, samples=32, rounds=5)
    >>> found.after < found.before, found.grid.steps
    (True, 5)
    """
    if variable not in VARIABLES:
        raise DiffodeError(f"fit_ld3: variable must be one of {', '.join(VARIABLES)}, not {variable!r}")
    if not 0 <= decoupled <= 1 or not 0 <= radius < np.inf:
        raise DiffodeError(f"fit_ld3: decoupled must lie in [0, 1] and radius be at least 0, not {decoupled}, {radius}")
    rule, where = get_solver(solver), target_of(target, seed=seed, **options)
    steps = steps_within(rule, where, nfe)
    begin = where.grid(start, steps)
    if not rule.plan(begin).is_deterministic:
        raise DiffodeError(f"fit_ld3: {rule.name} draws noise, so its end points are not its teacher's; take another")
    pupil = _Pupil(where, rule, variable, decoupled, feature, steps)
    first = np.concatenate([shares(begin, variable), np.zeros(steps - 1 if decoupled else 0)])
    x, generator = where.train, np.random.default_rng(seed)
    facts: dict[str, Any] = {
        "nfe": nfe,
        "seed": seed,
        "solver": rule.name,
        "variable": variable,
        "decoupled": decoupled,
        "radius": radius,
    }
    key = where.key("ld3", begin, rounds=rounds, **facts)
    keeper = Keeper(key, rounds * (len(first) + 1), progress, checkpoint)
    wanted, unseen = (pupil.seen(x) for x in where.ends)

    def off(parameters: np.ndarray, x: Array, wanted: np.ndarray) -> np.ndarray:
        try:
            with np.errstate(all="ignore"):
                found = pupil.ends(parameters, x) - wanted
        except DiffodeError:  # levels have come too near, or a run overflows
            return np.full(wanted.size, _LOST)
        return np.nan_to_num(found, nan=_LOST, posinf=_LOST, neginf=-_LOST).ravel()

    best = descend(lambda u: off(u, x, wanted), keeper, rounds if not radius else _BETWEEN, first)
    for _ in range(_BETWEEN, rounds if radius else 0, _BETWEEN):
        if keeper.interrupted:
            break
        x = _relaxed(pupil, best, wanted, x, radius * float(where.first.sigma), generator)
        best = descend(lambda u, x=x: off(u, x, wanted), keeper, _BETWEEN, first)
    found = pupil.grid(best)
    shift = pupil.shift(best, found)
    told = {} if shift is None else {"network_shift": shift.tolist()}

    def loss(grid: TimeGrid, held_out: bool) -> float:
        states, ends = (where.held_out, unseen) if held_out else (where.train, wanted)
        residual = off(best if grid is found else first, states, ends)
        return float(np.sqrt(np.mean(residual**2)))

    return SearchedGrid.of(
        "ld3", where, keeper, loss, begin, found, loss="rms distance to the teacher", **facts, **told
    )
