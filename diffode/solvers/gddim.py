r"""gDDIM: the exponential integrator of linear systems (critically damped Langevin diffusion); Euler's beside it.

The probability flow u′ = F u + ½ G Gᵀ K^{−T} ε, with the score −K^{−T} ε and K a root of Σ, has the exact step

    u_t = Ψ(t, s) u_s + ∫_s^t ½ Ψ(t, τ) G Gᵀ K_τ^{−T} ε dτ

and ε is taken to be a polynomial in t through its last values. With K = R a constant ε gives (R_t − Ψ R_s) ε.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from diffode import phi
from diffode.errors import SolverError
from diffode.expressions import Matrix, Vector
from diffode.kinds import Number
from diffode.plan import Level
from diffode.process.system import LinearSystem, lower_root
from diffode.solvers.base import solver
from diffode.solvers.exponential import lagrange_basis
from diffode.trace import Step

_GDDIM = "arXiv:2206.05564"


def _root(system: LinearSystem, factor: str) -> Callable[[Number], Matrix]:
    roots = {"R": system.factor, "L": system.cholesky}
    if factor not in roots:
        raise SolverError(f"gddim: no factor {factor!r}; there are R and L")
    return roots[factor]


def _pull(system: LinearSystem, root: Callable[[Number], Matrix], t: Number) -> Matrix:
    """½ G Gᵀ K^{−T}."""
    return system.diffusion(t) @ root(t).inverse().T * 0.5


def _weights(step: Step, factor: str, sum_of: int, levels: Sequence[Level]) -> list[Matrix]:
    """C_j = ∫ ½ Ψ G Gᵀ K^{−T} ℓ_j dτ over the step; by a sum of left ends where the number of its terms is given."""
    system, s, t = step.system, step.now.t, step.next.t
    root, basis = _root(system, factor), lagrange_basis([level.t for level in levels])
    if len(levels) == 1 and factor == "R" and not sum_of:
        return [root(t) - system.transition(s, t) @ root(s)]

    def densities(at: Number) -> list[Number]:
        pieces, entries = basis(at, 1.0), (system.transition(at, t) @ _pull(system, root, at)).entries
        return [c * piece for c in entries for piece in pieces]

    sums = phi.riemann(densities, s, t, sum_of) if sum_of else phi.integral(densities, s, t)
    return [Matrix.of(sums[j :: len(levels)]) for j in range(len(levels))]


def _through(step: Step, factor: str, sum_of: int, values: Sequence[Any], levels: Sequence[Level]) -> Vector:
    """The step that integrates the polynomial in t through values of ε."""
    system = step.system
    result = system.transition(step.now.t, step.next.t) @ _state(step)
    for weight, value, level in zip(_weights(step, factor, sum_of, levels), values, levels, strict=True):
        result = result + weight @ _turned(system, factor, level, value)
    return result


def _turned(system: LinearSystem, factor: str, level: Level, value: Any) -> Vector:
    """The network's ε, which belongs to R, as that of another root: Kᵀ R^{−T} ε."""
    if factor == "R":
        return cast(Vector, value)
    return _root(system, factor)(level.t).T @ system.factor(level.t).inverse().T @ cast(Vector, value)


def _state(step: Step) -> Vector:
    return cast(Any, step.x)


@solver(
    order=lambda degree, corrector: degree + 1 + bool(corrector),
    prediction="eps",
    history=lambda degree: degree,
    exponential=lambda factor: factor == "R",
    source=f"{_GDDIM}, the deterministic multistep; cld_jax/deis.py sums for its integrals",
    ranges={"degree": (0, 5), "terms": (0, 1_000_000)},
)
def gddim(step: Step, degree: int = 0, corrector: bool = False, factor: str = "R", terms: int = 0) -> Any:
    r"""gDDIM on a linear system: ε a polynomial of given degree in t through its last values; fewer at the start.

        u_t = Ψ u_s + Σ_j C_j ε_j,    C_j = ∫_s^t ½ Ψ(t, τ) G Gᵀ K_τ^{−T} ℓ_j(τ) dτ

    Parameters
    ----------
    degree : int
        Of the polynomial; the order is one more.
    corrector : bool
        Evaluate at the new state, and take the step again with that value among the nodes: one order more, for twice
        the evaluations.
    factor : {"R", "L"}
        K: the root with which a point mass is integrated exactly, or the Cholesky factor, with which it is not.
    terms : int
        0: exact integrals; else the number of left ends that are summed, 10,000 in the authors' code (1,000 where its
        sampler has no polynomial).
    """
    d = step.model(step.x, step.now)
    used = min(degree, step.depth)
    values = [d, *(step.past(k + 1) for k in range(used))]
    levels = [step.now, *(step.past_level(k + 1) for k in range(used))]
    ahead = _through(step, factor, terms, values, levels)
    if not corrector:
        return ahead
    new = step.model(cast(Any, ahead), step.next)
    return _through(step, factor, terms, [new, *values], [step.next, *levels])


@solver(
    order=1,
    prediction="eps",
    source=f"{_GDDIM}, the SDE of noise level λ; cld_jax/sde_lib.py, LambdaSDE",
    ranges={"lam": (0, 10)},
)
def gddim_sde(step: Step, lam: float = 1.0) -> Any:
    r"""gDDIM of noise level λ: one exact step of the reverse SDE, given that ε is constant.

        u_t ~ N(Ψ u_s + (Ψ̂ − Ψ) R_s ε, P),    P = Σ_t − Ψ̂ Σ_s Ψ̂ᵀ

    with Ψ̂ the flow of F + ½ (1 + λ²) G Gᵀ Σ^{−1}: the law of u is kept for a point mass. On a variance-preserving
    process it is DDIM, with λ = 1 its η = 1.

    Parameters
    ----------
    lam : float
        0: the probability flow; 1: the reverse SDE.
    """
    system, s, t = step.system, step.now.t, step.next.t
    d = cast(Any, step.model(step.x, step.now))
    flow = system.transition(s, t)
    moved, noise = system.reverse(s, t, lam)
    mean = flow @ _state(step) + (moved - flow) @ system.factor(s) @ d
    if lam == 0:
        return mean
    return mean + lower_root(noise) @ Vector(step.normal(f"{k}") for k in range(system.components))


@solver(
    order=1,
    prediction="eps",
    source=f"{_GDDIM}, what it is compared with; cld_jax/sde_lib.py, prepare_naive_coef",
    ranges={"lam": (0, 10)},
)
def euler_system(step: Step, lam: float = 0.0) -> Any:
    r"""Euler's method on a linear system's probability flow; with noise, Euler–Maruyama on its reverse SDE.

        u_t = u_s + (F u_s + ½ (1 + λ²) G Gᵀ R^{−T} ε) (t − s) + λ √(s − t) G z

    Parameters
    ----------
    lam : float
        0: the flow; 1: the reverse SDE.
    """
    system, now, h = step.system, step.now.t, step.next.t - step.now.t
    d = cast(Any, step.model(step.x, step.now))
    u = _state(step)
    result = u + h * (system.drift(now) @ u + (1 + lam * lam) * (_pull(system, system.factor, now) @ d))
    if lam == 0:
        return result
    noise = Vector(step.normal(f"{k}") for k in range(system.components))
    return result + (lam * phi.sqrt(-h)) * (lower_root(system.diffusion(now)) @ noise)


gddim_1, gddim_2, gddim_3, gddim_4 = (
    gddim.configure(f"gddim_{q + 1}", degree=q, source=f"{_GDDIM}, q = {q}") for q in range(4)
)
gddim_pc_2, gddim_pc_3 = (
    gddim.configure(f"gddim_pc_{q + 2}", degree=q, corrector=True, source=f"{_GDDIM}, predictor–corrector, q = {q}")
    for q in range(2)
)
