r"""Score-SDE's predictor–corrector: Langevin steps at every level, between the steps of any solver.

    x ← x + e s + √(2e) z,    e = κ ℓ²,    κ = 2 a r² + τ² h,    a = (α_s/α_t)²

with s the score. ℓ = ‖z‖/‖s‖ in the paper, a `Dynamic` row. Its norms replaced by their expectations, ℓ = σ, it is
annealed Langevin dynamics: the linear surrogate of the corrector, which has an exact law.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from diffode import phi, prediction
from diffode.errors import SolverError
from diffode.kinds import Number, package_of
from diffode.plan import Level, Linear
from diffode.solvers.base import Erratum, limit, solver
from diffode.solvers.churn import of_base
from diffode.solvers.score_sde import ancestral_sampling, reverse_diffusion
from diffode.solvers.transforms import resolved
from diffode.trace import Step

FIRST = ("corrector", "predictor")


def batch_ratio(score: Any, z: Any) -> Any:
    """‖z‖/‖s‖, each norm the mean over the batch, as published: the samples of a batch depend on each other."""
    return _norms(z).mean() / _norms(score).mean()


def sample_ratio(score: Any, z: Any) -> Any:
    """‖z‖/‖s‖ of every sample, shape (batch, 1, …)."""
    return (_norms(z) / _norms(score)).reshape(-1, *(1,) * (z.ndim - 1))


def _norms(x: Any) -> Any:
    return ((x * x).reshape(len(x), -1).sum(1)) ** 0.5


NORMS = {"expected": None, "batch": batch_ratio, "sample": sample_ratio}


def langevin(size: Number) -> tuple[Number, Number]:
    """The weights of the score and of the normal in a Langevin step of size e: e and √(2e)."""
    return size, phi.sqrt(2 * size)


def _corrected(step: Step, x: Linear, level: Level, kappa: Number, norms: str, times: int) -> Linear:
    """The state after Langevin steps at a level."""
    a, b = prediction.change(step.tracer.rule.prediction, "score", level)
    ratio = NORMS[norms]
    for k in range(times):
        score, z = a * x + b * step.model(x, level), step.normal(f"corrector {k}")
        length: Any = level.sigma
        if ratio is not None:
            score = step.hold(score)
            length = step.dynamic(ratio.__name__, ratio, score, z)
        pull, push = langevin(kappa)
        drift = (pull * length) * score
        x = x + length * ((drift if ratio is None else step.hold(drift)) + push * z)
    return x


@solver(
    order=1,
    erratum=lambda snr: Erratum("The Langevin steps do not shrink with the steps of the grid.") if snr else None,
    reaches=lambda snr: 0 if snr else None,
    prediction=of_base("prediction"),
    history=of_base("history"),
    uniform=of_base("uniform"),
    source="arXiv:2011.13456, Algorithms 2 to 5; official code sampling.py, get_pc_sampler",
    ranges={"tau": (0.0, 10.0), "snr": (0.0, inf)},
    limits=[
        limit("reverse_diffusion", tau=0.0),
        limit("reverse_diffusion", tau=0.0, first="predictor"),
        limit("dpmpp_2m", tau=0.0, base="dpmpp_2m"),
    ],
)
def predictor_corrector(
    step: Step,
    base: Any = reverse_diffusion,
    tau: float = 1.0,
    snr: float = 0.0,
    norms: str = "expected",
    corrections: int = 1,
    first: str = "corrector",
) -> Linear:
    r"""Langevin steps between the steps of any solver; see the module for the formula.

    The published step size tells no noise level: with the same r, twice as many levels mean twice as much Langevin
    dynamics, each step of which errs by O(e), and no number of levels takes that away. τ tells one: steps in proportion
    to h make, with the base, an SDE whose noise level is √(τ_base² + τ²), of first order.

    Parameters
    ----------
    base : str or Solver
        The predictor.
    tau : float
        Noise level of Langevin steps in proportion to the step in λ; 0 in the paper.
    snr : float
        r, the paper's signal-to-noise ratio: 0.16 for VE, 0.01 for VP. Other than 0 it does not converge.
    norms : {"expected", "batch", "sample"}
        ℓ: σ, which is annealed Langevin dynamics; the published batch means; or every sample's own. The last two make
        the plan depend on what it sees, and no exact law, proof or stability of it exists.
    corrections : int
        Langevin steps per level.
    first : {"corrector", "predictor"}
        The official code corrects at the level where a step begins, the paper at the one where it ends.
    """
    name = step.tracer.rule.name
    for option, value, known in (("norms", norms, tuple(NORMS)), ("first", first, FIRST)):
        if value not in known:
            raise SolverError(f"{name}: no {option}={value!r}; there are {', '.join(map(repr, known))}")
    now, after = step.now, step.next
    if now.singular:
        return step.limit()
    ending = step.singular
    ratio = now.alpha / after.alpha
    kappa = 2 * snr * snr * ratio * ratio + (0.0 if ending else tau * tau * step.h)
    active = package_of(kappa) != "float" or kappa != 0
    if active and first == "corrector":
        step.x = step.hold(_corrected(step, step.x, replace(now), kappa, norms, corrections))
    result = step.limit() if ending else resolved(base)(step)
    if active and first == "predictor" and not ending:
        return _corrected(step, result, after, kappa, norms, corrections)
    return result


_SONG = "arXiv:2011.13456"

predictor_corrector_ancestral = predictor_corrector.configure(
    "predictor_corrector_ancestral",
    base=ancestral_sampling,
    first="predictor",
    source=f"{_SONG}, Algorithm 1, with ancestral sampling",
)
