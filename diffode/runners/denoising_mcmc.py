r"""Denoising MCMC: a chain in state and noise level together, whose states are denoised by any solver.

    x | level    x ← x + e s + √(2e) z,    e = η/2, or η σ²/2
    level | x    drawn with probability p(level | x) ∝ p(x | level) p(level)

The chain's invariant law is that of a state of the forward process at a random one of finitely many levels, up to what
Langevin steps of size e leave. It stays near the data, so that every state is denoised in few steps; the noisy levels
take it from mode to mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffode.backends import Arrays, get_backend
from diffode.backends.base import seeded
from diffode.catalogue import catalogued
from diffode.errors import ModelError, SolverError
from diffode.grids import TimeGrid
from diffode.kinds import shown
from diffode.models import Model
from diffode.models.base import namespace
from diffode.models.exact import ExactDenoiser
from diffode.plan import Level
from diffode.sampling import one_state, sample
from diffode.solvers import Solver, get_solver
from diffode.solvers.langevin import langevin

Array = Any
Posterior = Callable[[Array, TimeGrid], np.ndarray]
"""(x, levels) → log p(level | x) up to a constant per sample, shape (batch, levels)."""


@dataclass(frozen=True)
class Chain:
    """What `denoising_mcmc` leaves.

    Attributes
    ----------
    samples : tuple of arrays, shape (batch, …) each
        The denoised draws.
    taken : ndarray of int, shape (draws, batch)
        The index of the level that each draw was denoised from.
    visited : ndarray of int, shape (sweeps + 1, batch)
        The index of the level of every chain after every sweep.
    x : array, shape (batch, …)
        The state of the chains at the end; with `visited[-1]`, where to go on.
    levels : TimeGrid
    nfe : int
        Evaluations of the model for one chain, the denoising included.
    """

    samples: tuple[Array, ...]
    taken: np.ndarray
    visited: np.ndarray
    x: Array
    levels: TimeGrid
    nfe: int

    @property
    def nfe_per_sample(self) -> float:
        """Evaluations for one denoised draw."""
        return self.nfe / len(self.samples)

    @property
    def occupancy(self) -> np.ndarray:
        """Share of the sweeps that the chains spent at each level, shape (levels,)."""
        return np.bincount(self.visited[1:].ravel(), minlength=len(self.levels)) / self.visited[1:].size

    @property
    def autocorrelation_time(self) -> float:
        r"""How many sweeps one independent draw of λ takes: 1 + 2 Σ_k r_k, summed while r_{2k} + r_{2k+1} > 0.

        Geyer, Statistical Science 7 (1992), section 3.3; the autocorrelations r_k are means over the chains.
        """
        trace = self.levels.lam[self.visited[1:]]
        trace = trace - trace.mean()
        count = len(trace)
        variance = float(np.mean(trace**2))
        if variance == 0:
            return float("inf")
        total = -1.0
        for k in range(0, count - 1, 2):
            pair = sum(float(np.mean(trace[: count - j] * trace[j:])) for j in (k, k + 1)) / variance
            if pair <= 0:
                break
            total += 2 * pair
        return max(total, 1.0)

    @property
    def spread(self) -> float:
        """R̂ of λ, 1 where all chains have forgotten where they began (Gelman and Rubin, 1992); more than one chain."""
        trace = self.levels.lam[self.visited[1:]]
        within, between = float(np.mean(np.var(trace, axis=0, ddof=1))), float(np.var(trace.mean(axis=0), ddof=1))
        return float(np.sqrt((len(trace) - 1) / len(trace) + between / within)) if within else float("inf")

    def __repr__(self) -> str:
        return (
            f"<denoising MCMC: {len(self.samples)} draws of shape {tuple(self.x.shape)} ({self.x.dtype}), "
            f"{len(self.visited) - 1} sweeps over {len(self.levels)} levels, nfe {self.nfe}>"
        )


@catalogued("runner", "arXiv:2209.14593, Algorithm 1 (denoising Langevin–Gibbs); official code Demo.ipynb")
def denoising_mcmc(
    model: Model,
    levels: TimeGrid,
    x: Array,
    *,
    seed: int,
    start: int = 0,
    draws: int = 1,
    skip: int = 10,
    burn: int = 0,
    eta: float = 0.1,
    scaled: bool = True,
    posterior: Posterior | None = None,
    likeliest: bool = False,
    smallest: bool = False,
    solver: str | Solver = "heun",
    steps: int = 8,
    end: float | None = None,
    backend: str = "numpy",
) -> Chain:
    r"""Draws by Langevin–Gibbs in (x, σ), each denoised from its own level.

    Parameters
    ----------
    model : Model
    levels : TimeGrid
        The levels of the chain, equally likely beforehand.
    x : array, shape (batch, …)
        The chains' first states, at level number `start`.
    seed : int
    start : int
    draws, skip, burn : int
        How many draws to denoise, one after every `skip` sweeps, once `burn` sweeps are over.
    eta : float
        η. Langevin steps are not corrected by acceptance: they leave an error of O(η).
    scaled : bool
        Whether the steps are η σ²/2, and not the published η/2.
    posterior : callable, optional
        (x, levels) → log p(level | x), up to a constant per sample: a noise classifier. By default the exact one, where
        the model has a density.
    likeliest : bool
        Take the likeliest level in place of a random one, as the official code does: not the law of the chain.
    smallest : bool
        Denoise, of each `skip` sweeps, the state of the smallest σ, as the official code does: not its law either.
    solver : str or Solver
    steps : int
        Steps of the denoising, equal in (σ/α)^{1/7} from each sample's own level.
    end : float, optional
        The time where it ends; the smallest positive level by default.
    backend : {"numpy", "torch"}

    Returns
    -------
    Chain

    Raises
    ------
    ModelError
        If x or the model are not what `sample` takes, x holds no state, the model moves a system or returns what is not
        finite (which sweep and t), or there is no posterior.
    SolverError
        If a number is out of its range, or the end is not below all levels.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process, data = de.EDM(), de.Gaussian(0.0, 1.0)
    >>> levels = de.TimeGrid(process, sigma=[3.0, 1.0, 0.3])
    >>> x = 3.0 * np.random.default_rng(0).standard_normal((2000, 1))
    >>> chain = denoising_mcmc(data.denoiser(process), levels, x, seed=1, burn=100)
    >>> chain.nfe, bool(abs(chain.samples[0].var() - 1) < 0.15)
    (126, True)
    """
    arrays = get_backend(backend)
    arrays.check_state(x)
    _check_numbers(levels, start=start, draws=draws, skip=skip, burn=burn, eta=eta, steps=steps, seed=seed)
    one_state("denoising_mcmc", levels.process, x)
    if not isinstance(model, Model) or model.process != levels.process or model.process.anchored:
        raise ModelError(f"denoising_mcmc: needs a model of {levels.process!r}, without an anchor, not {model!r}")
    last = levels.process.level(levels.process.t_min if end is None else end)
    if not last.lam > levels.lam.max():
        raise SolverError(f"denoising_mcmc: end={last.t} is not below all levels; take a smaller one")
    chain = _Gibbs(arrays, model, levels, _posterior(model, posterior), eta, scaled, likeliest, seed)
    state = (x, np.full(len(x), start))
    rule = get_solver(solver)
    draws_noise = not rule.plan(_down(levels, state, last, steps)).is_deterministic
    chain.visited.append(state[1])
    for _ in range(burn):
        state = chain.sweep(*state)
    samples, taken, nfe = list[Array](), list[np.ndarray](), 0
    for number in range(draws):
        state = best = chain.sweep(*state)
        for _ in range(skip - 1):
            state = chain.sweep(*state)
            best = _smaller(levels, best, state) if smallest else state
        grid = _down(levels, best, last, steps)
        noise = _other_seed(seed, number) if draws_noise else None
        out = sample(model, rule, grid, best[0], backend=backend, noise=noise, trajectory=False)
        samples.append(out.x)
        taken.append(best[1])
        nfe += out.nfe
    sweeps = len(chain.visited) - 1
    return Chain(tuple(samples), np.array(taken), np.array(chain.visited), state[0], levels, sweeps + nfe)


State = tuple[Array, np.ndarray]
"""The chains' states, and the indices of their levels."""


@dataclass
class _Gibbs:
    """The chain's own part: sweeps, and where they went."""

    arrays: Arrays
    model: Model
    levels: TimeGrid
    posterior: Posterior
    eta: float
    scaled: bool
    likeliest: bool
    seed: int
    visited: list[np.ndarray] = field(default_factory=list[np.ndarray])

    def sweep(self, x: Array, where: np.ndarray) -> State:
        """One Langevin step at the level, and one draw of the level; one evaluation."""
        count = len(self.visited)
        level = _level(self.levels, where, x)
        size = 0.5 * self.eta * (level.sigma**2 if self.scaled else np.ones_like(level.sigma))
        pull, push = langevin(size)
        score, z = self.model.predict(x, level, "score"), self.arrays.normal(self.seed, 2 * count, x)
        if not self.arrays.finite(score):
            odd = np.array([not self.arrays.finite(part) for part in score])
            at = shown(level.t.ravel()[odd][0])
            raise ModelError(f"denoising_mcmc: the model returned NaN or ∞ in sweep {count}, at t={at}")
        x = self.arrays.combine([(1.0, x), (pull, score), (push, z)])
        if not self.arrays.finite(x):
            raise ModelError(f"denoising_mcmc: the chain diverged in sweep {count}; take a smaller eta")
        odds = self.posterior(x, self.levels)
        if odds.shape != (len(x), len(self.levels)):
            shape = (len(x), len(self.levels))
            raise ModelError(f"denoising_mcmc: posterior must return shape {shape}, not {odds.shape}")
        if not self.likeliest:  # the largest of log p + Gumbel noise is at k with probability p_k
            odds = odds + seeded(self.seed, 2 * count + 1).gumbel(size=odds.shape)
        self.visited.append(odds.argmax(axis=1))
        return x, self.visited[-1]


def _level(levels: TimeGrid, where: np.ndarray, x: Array) -> Level:
    """The level of every sample, broadcasting against the state."""
    shape = (-1, *(1,) * (x.ndim - 1))
    t, alpha, sigma, lam = (getattr(levels, name)[where].reshape(shape) for name in ("t", "alpha", "sigma", "lam"))
    return Level(t, alpha, sigma, lam, levels.process)


def _down(levels: TimeGrid, state: State, last: Level, steps: int) -> TimeGrid:
    """Equal steps in (σ/α)^{1/7} from every sample's own level to one for all."""
    first = _level(levels, state[1], state[0])
    a, b = first.rho ** (1 / 7), last.rho ** (1 / 7)
    inner = [levels.process.level(rho=(a + u * (b - a)) ** 7) for u in np.linspace(0.0, 1.0, steps + 1)[1:-1]]
    same = np.ones_like(first.lam)
    ends = Level(last.t * same, last.alpha * same, last.sigma * same, last.lam * same, levels.process)
    return TimeGrid(levels.process, levels=[first, *inner, ends])


def _smaller(levels: TimeGrid, one: State, other: State) -> State:
    """Of two states of every chain, the one at the smaller σ; the first where they are at one level."""
    x, less = one[0], levels.lam[other[1]] > levels.lam[one[1]]
    taken = namespace(x).asarray(less.reshape(-1, *(1,) * (x.ndim - 1)), device=x.device)
    return namespace(x).where(taken, other[0], x), np.where(less, other[1], one[1])


def _other_seed(seed: int, number: int) -> int:
    """A seed for the denoising of a draw, apart from those of the chain."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _posterior(model: Model, given: Posterior | None) -> Posterior:
    if given is not None:
        return given
    if not isinstance(model, ExactDenoiser):
        raise ModelError(
            "denoising_mcmc: this model has no density; give posterior=, a function of (x, levels) that returns "
            "log p(level | x), shape (batch, levels)"
        )
    return lambda x, levels: np.stack([np.asarray(model.log_density(x, level.t)) for level in levels], axis=1)


def _check_numbers(levels: TimeGrid, eta: float, **counts: int) -> None:
    if not isinstance(levels, TimeGrid) or np.ndim(levels[0].lam) or not np.isfinite(levels.lam).all():
        raise SolverError(
            f"denoising_mcmc: levels must be a grid of finite levels, one for all samples, not {levels!r}"
        )
    if not 0 < eta < np.inf:
        raise SolverError(f"denoising_mcmc: eta must be a positive number, not {eta}")
    least = {"draws": 1, "skip": 1, "steps": 1}
    for name, value in counts.items():
        if not isinstance(value, (int, np.integer)) or value < least.get(name, 0):
            raise SolverError(
                f"denoising_mcmc: {name} must be a whole number of at least {least.get(name, 0)}, not {value!r}"
            )
    if counts["start"] >= len(levels):
        raise SolverError(f"denoising_mcmc: start={counts['start']} is none of the {len(levels)} levels")
