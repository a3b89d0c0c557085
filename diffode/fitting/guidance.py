"""LinearAG's weights: the unconditional branch as a linear combination of what was seen, by least squares."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import ModelError
from diffode.grids import TimeGrid
from diffode.models import LinearGuidance, Model
from diffode.models.base import Array, changed
from diffode.models.guidance import Weights
from diffode.plan import Level
from diffode.sampling import sample
from diffode.solvers import Solver, get_solver


class _Fitting(LinearGuidance):
    """Guidance that asks both branches everywhere, and finds the weights on its way.

    What follows an estimate sees the estimate, or as published the truth.
    """

    def __init__(
        self, conditional: Model, unconditional: Model, scale: float, chosen: Collection[int], published: bool
    ) -> None:
        super().__init__(conditional, unconditional, scale, {})
        self.chosen, self.published = chosen, published
        self.found: dict[int, Weights] = {}  # shared by the copies that runs work with

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        told, base = (branch.predict(x, level, "x0", at, to, output) for branch in (self.model, self.unconditional))
        self.seen.append(changed("x0", "eps", level, x, told))
        true, i = changed("x0", "eps", level, x, base), len(self.guesses)
        self.guesses.append(true)
        if i in self.chosen:
            columns = np.stack([value.ravel() for value in (*self.seen, *self.guesses[:i])], axis=1)
            beta = np.linalg.lstsq(columns, true.ravel(), rcond=1e-12)[0]
            self.found[i] = beta[: i + 1].tolist(), beta[i + 1 :].tolist()
            if not self.published:
                self.guesses[-1] = (columns @ beta).reshape(x.shape)
                base = changed("eps", "x0", level, x, self.guesses[-1])
        return base + self.scale * (told - base)


@catalogued(
    "fit",
    "arXiv:2312.12487, section 5.1 and appendix B (LinearAG)",
    slip="Coefficients that are fitted along runs with full guidance see other states than the run that uses them, "
    "which then diverges; fitted along that run they do not.",
    page="acceleration.md",
)
def fit_linear_guidance(
    conditional: Model,
    unconditional: Model,
    scale: float,
    solver: str | Solver,
    grid: TimeGrid,
    x_T: np.ndarray,
    evaluations: Collection[int] | None = None,
    *,
    published: bool = False,
    noise: Any = None,
) -> dict[int, Weights]:
    r"""The weights of `LinearGuidance`, found on runs with both branches.

        min_β ‖ε_u(i) − Σ_{j ≤ i} β^c_j ε_c(j) − Σ_{j < i} β^u_j ε_u(j)‖²   for every i, over all entries of all samples

    Of all least weights, where there is a choice, the shortest.

    Parameters
    ----------
    conditional, unconditional : Model
    scale : float
        w of the runs; the weights serve others near it.
    solver : str or Solver
    grid : TimeGrid
    x_T : ndarray, shape (batch, …)
        Where the runs start.
    evaluations : collection of int, optional
        Which to find weights for. By default the published policy: every other one in the first half, all in the
        second.
    published : bool
        Fit on runs with true guidance, as the paper does: each estimate is then used by later ones that were fitted to
        the truth, and the run can diverge. Otherwise the fit goes along the run that uses it.
    noise : int, generator or sequence of arrays
        See `diffode.sample`.

    Returns
    -------
    dict
        Index of an evaluation → (β^c, β^u).

    Raises
    ------
    ModelError
        If an index is not one of the evaluations of a run, or x_T is not a NumPy array.

    Examples
    --------
    >>> import diffode as de
    >>> from diffode.models import LinearGuidance
    >>> process = de.VP()
    >>> one, all_ = (de.Gaussian([0.0, 0.0], e).denoiser(process) for e in (0.2, 0.9))
    >>> grid, x = de.grids.uniform_lambda(process, 8), np.random.default_rng(0).standard_normal((16, 2))
    >>> weights = fit_linear_guidance(one, all_, 3.0, "dpmpp_2m", grid, x)
    >>> sorted(weights)
    [1, 3, 4, 5, 6, 7]
    >>> de.sample(LinearGuidance(one, all_, 3.0, weights), "dpmpp_2m", grid, x).passes
    10
    """
    if not isinstance(x_T, np.ndarray):
        raise ModelError(f"fit_linear_guidance: x_T must be a NumPy array, not {type(x_T).__name__}")
    count = get_solver(solver).plan(grid).nfe
    policy = [i for i in range(1, count) if i % 2 or 2 * i >= count]
    chosen = policy if evaluations is None else sorted(evaluations)
    for i in chosen:
        if not 0 <= i < count:
            raise ModelError(f"fit_linear_guidance: evaluation {i} is not one of the {count} of a run, from 0")
    fitting = _Fitting(conditional, unconditional, scale, chosen, published)
    sample(fitting, solver, grid, x_T, trajectory=False, noise=noise)
    return dict(fitting.found)
