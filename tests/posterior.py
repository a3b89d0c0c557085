"""The posterior of mixture data in mpmath, by its definition, how well floats can know it, and networks that do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st

import diffode as de
from diffode.models import Denoiser, Model
from diffode.plan import Level
from tests.audit import ULP, exact
from tests.strategies import at_knot, mixtures, powers, timed

Vector = Any
"""An object array of mpmath numbers."""
FAR = 150
"""Digits: enough for squares of 1e30 standard deviations to cancel to 50."""
UNITS = 16
"""Units of round-off that a number picks up: in products and sums over three dimensions, there and back."""


def exactly(a: Any) -> Vector:
    """Floats as mpmath numbers."""
    return np.vectorize(exact, otypes=[object])(np.asarray(a, dtype=float))


def covariances(data: de.GaussianMixture) -> np.ndarray:
    """The covariance of every component, (K, d, d)."""
    values = np.broadcast_to(data.eigenvalues, data.means.shape)
    if data.bases is None:
        return np.array([np.diag(e) for e in values])
    full = np.einsum("kia,ka,kja->kij", data.bases, values, data.bases)
    return 0.5 * (full + np.swapaxes(full, 1, 2))


def settled(data: de.GaussianMixture) -> de.GaussianMixture:
    """The same mixture, made of just the covariances that it is compared with."""
    return data if data.bases is None else de.GaussianMixture(data.weights, data.means, covariances(data))


def components(x: Vector, alpha: Any, sigma: Any, weights: Vector, means: Vector, spreads: Vector) -> list[Any]:
    """By definition, with matrix inverses: log w_k N_k, E[x_0 | x, k], s_k and P_k of every component."""
    found = []
    for w, m, c in zip(weights, means, spreads, strict=True):
        v = mpmath.matrix((alpha**2 * c + sigma**2 * np.eye(len(x), dtype=int)).tolist())
        precision, y = np.array((v**-1).tolist(), dtype=object), x - alpha * m
        u = precision @ y
        log = mpmath.log(w) - (y @ u + mpmath.log(mpmath.det(v)) + len(x) * mpmath.log(2 * mpmath.pi)) / 2
        found.append((log, m + alpha * c @ u, -u, precision))
    return found


def averaged(parts: list[Any]) -> Vector:
    """E[x_0 | x], ∇ log p and last log p, in one row."""
    logs, data, scores, _ = zip(*parts, strict=True)
    p = np.array([mpmath.exp(log - max(logs)) for log in logs], dtype=object)
    rows = [*(p @ np.array(data) / sum(p)), *(p @ np.array(scores) / sum(p)), max(logs) + mpmath.log(sum(p))]
    return np.array(rows, dtype=object)


def moved(data: de.GaussianMixture, x: Vector, alpha: Any, sigma: Any) -> tuple[Vector, Vector]:
    """The posterior, and how far rounding may move it: every number that enters, one by one, by `UNITS` round-offs.

    A matrix is felt as a whole. Probabilities are also let feel Σ r²/v up to 100 d, where it is not taken apart.
    """
    weights, means, spreads = exactly(data.weights), exactly(data.means), exactly(covariances(data))
    args = [x, np.array([alpha]), np.array([sigma]), weights, means, spreads]

    def at(shift: tuple[int, Any, Any] | None) -> Vector:
        here = list(args)
        if shift is not None:
            part, index, by = shift
            here[part] = here[part].copy()
            here[part][index] += by
            if part == 5:
                here[part][index[0], index[2], index[1]] = here[part][index]
        return averaged(components(here[0], here[1][0], here[2][0], *here[3:]))

    true, slack = at(None), 0
    for part, array in enumerate(args):
        for index in np.ndindex(array.shape):
            size = array[index]
            if part == 5:
                size = np.max(abs(array[index[0]])) if data.bases is not None else size
            if size == 0 or (part == 5 and index[1] < index[2]):
                continue
            by = UNITS * ULP * size
            slack = slack + np.maximum(*(abs(at((part, index, sign * by)) - true) for sign in (1, -1)))
    d, parts = len(x), components(x, alpha, sigma, weights, means, spreads)
    apart = sum(mpmath.exp(part[0] - true[-1]) * abs(averaged([part]) - true) for part in parts)
    slack = slack + UNITS * ULP * (100 * d * apart + abs(true))
    if data.bases is not None:  # rotations mix the coordinates
        slack[:d], slack[d:-1] = max(slack[:d]), max(slack[d:-1])
    return true, slack


@st.composite
def seen(draw: Any, far: float = 1e30) -> tuple[de.GaussianMixture, Level, np.ndarray]:
    """Data, a level of some process (σ from 1e-8 to 1e8) and a state: one of its marginal, or far from it."""
    data = settled(draw(mixtures()))
    process, t = draw(timed().filter(lambda case: 1e-8 <= case[0].sigma(case[1]) <= 1e8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level = process.level(t)
    x = level.alpha * data.sample(1, generator)[0] + level.sigma * generator.standard_normal(data.dimension)
    away = draw(st.one_of(st.just(0.0), powers(1e-3, far)))
    return data, level, x + away * generator.standard_normal(data.dimension)


def alike(kind: str, generator: np.random.Generator, count: int, apart: float, wider: float) -> de.GaussianMixture:
    """Components in the plane whose means are so far apart, and whose covariances differ by such a share."""
    factor, shares = generator.uniform(-1, 1, (2, 2)), 1 + wider * generator.uniform(size=count)
    stds = {
        "cloud": np.zeros(count),
        "isotropic": 0.7 * shares,
        "diagonal": np.outer(shares, [0.3, 1.4]),
        "full": shares[:, None, None] * (factor @ factor.T + 0.1 * np.eye(2)),
    }[kind]
    means = generator.uniform(-1, 1, (1, 2)) + apart * generator.uniform(-1, 1, (count, 2))
    return settled(de.GaussianMixture(generator.uniform(0.1, 1, count), means, stds))


def quotient(function: Callable[[Any], Any], h: Any) -> Any:
    """The derivative at 0, by a central difference."""
    return (function(h) - function(-h)) / (2 * h)


def derivatives(data: de.GaussianMixture, level: Level, x: np.ndarray, u: np.ndarray) -> dict[str, tuple[Vector, Any]]:
    """Each derivative of log p and D that `ExactDenoiser` has, by differences, with the bound of its rounding.

    `u` is the direction of the Jacobian–vector products.
    """
    process, d, h = level.process, len(x), mpmath.mpf(10) ** -30
    spread = [exactly(a) for a in (data.weights, data.means, covariances(data))]
    now, state, step = exact(level.t), exactly(x), h * exact(level.sigma)
    axes = [step * np.array([int(i == j) for j in range(d)], dtype=object) for i in range(d)]

    def told(y: Vector, time: Any) -> Vector:
        return averaged(components(y, process.alpha(time), process.sigma(time), *spread))

    def trace(y: Vector) -> Any:
        ends = sum(told(y + e, now)[-1] + told(y - e, now)[-1] for e in axes)
        return (ends - 2 * d * told(y, now)[-1]) / step**2

    along = quotient(lambda s: told(state + s * exactly(u), now), step)
    true = {
        "score": np.array([quotient(lambda s, e=e: told(state + s * e, now)[-1], 1) / step for e in axes]),
        "hessian_trace": np.array([trace(state)]),
        "hessian_trace_gradient": np.array([quotient(lambda s, e=e: trace(state + s * e), 1) / step for e in axes]),
        "jvp": along[:d],
        "score_jvp": along[d:-1],
    }
    if not at_knot(process, level.t):
        moving = quotient(lambda s: told(state, now + s), h * max(abs(now), 1e-10))
        true |= {"dt_score": moving[d:-1], "dt_log_density": moving[-1:]}
    bounds = terms(components(state, exact(level.alpha), exact(level.sigma), *spread), level, data, x)
    return {name: (value, bounds[name]) for name, value in true.items()}


def terms(parts: list[Any], level: Level, data: de.GaussianMixture, x: np.ndarray) -> dict[str, Any]:
    """What rounding makes of each derivative: its terms, times what x − α m loses, over a standard deviation."""
    *both, log_density = averaged(parts)
    total, score = np.array(both[: len(x)]), np.array(both[len(x) :])
    sums: defaultdict[str, Any] = defaultdict(int)
    lost, squares = 0, len(x)
    for (log, mean, own, precision), m in zip(parts, exactly(data.means), strict=True):
        p, widest = mpmath.exp(log - log_density), mpmath.sqrt(np.trace(precision))
        away, pull = mpmath.norm(own - score), mpmath.norm(own)
        size = away + widest
        speed = abs(level.dalpha / level.alpha) + abs(level.dsigma / level.sigma)
        rate = speed * (1 + (pull / widest) ** 2) + abs(level.dalpha) * mpmath.norm(m) * pull
        lost = max(lost, (mpmath.norm(x) + level.alpha * mpmath.norm(m)) * max(size, pull))
        squares += p * (pull / widest) ** 2
        sums["score"] += p * (pull + widest)
        sums["hessian_trace"] += p * size**2
        sums["hessian_trace_gradient"] += p * size**3
        sums["jvp"] += p * (1 / level.alpha + mpmath.norm(mean - total) * away)
        sums["dt_log_density"] += p * rate
        sums["dt_score"] += p * (rate * size + speed * pull + abs(level.dalpha) * mpmath.norm(m) * widest**2)
    sums["score_jvp"] = sums["hessian_trace"]
    return {name: UNITS * ULP * (squares + lost) * value for name, value in sums.items()}


def network(law: Model, prediction: str, seen: list[Any] | None = None, **fixed: Any) -> Denoiser:
    """A callable around an exact model, that returns a prediction and notes what it was told."""

    def fn(x: Any, time: Any, **named: Any) -> Any:
        if seen is not None:
            seen.append((time, named))
        return law.predict(x, law.process.level(time), prediction)

    return Denoiser(fn, law.process, prediction=prediction, **fixed)
