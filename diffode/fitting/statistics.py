r"""Model statistics for DPM-Solver-v3, estimated from any model by its derivatives.

Over x at a level λ, in each coordinate,

    l = E[diag(σ ∂ε/∂x)],    s = Cov(f, f′)/Var(f),    b = E f′ − s E f,    f = (σ ε − l x)/α

with f′ the derivative of f along the probability-flow ODE:

    f′ = e^{−λ} ((l − 1) ε + ε′) − l′ x/α,    ε′ = ∂ε/∂x dx/dλ + ∂ε/∂λ,    dx/dλ = (d log α/dλ) x − σ ε

Where f does not vary, as for Gaussian data of independent coordinates, s is left at 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from diffode.backends.base import seeded
from diffode.catalogue import catalogued
from diffode.errors import ModelError
from diffode.grids import uniform_lambda
from diffode.models import GaussianMixture, Model
from diffode.models.base import Array, like, namespace
from diffode.models.exact import ExactDenoiser
from diffode.plan import Level
from diffode.sampling import one_state
from diffode.statistics import ModelStatistics

_FEW = 8
"""Coordinates up to which the diagonal of ∂ε/∂x is found direction by direction; beyond, by random signs."""

_STILL = 1e-9
"""A deviation of f below this share of what f is made of, or below 100 units of rounding, is no variation."""

Points = Callable[[Level], Iterator[tuple[Array, np.ndarray]]]
"""The law of x at a level, batch by batch: points and their weights, which add up to 1 over all batches."""


@catalogued("fit", "arXiv:2310.13268, section 3.2; statistics of the authors' models are files")
def fit_statistics(
    model: Model,
    data: Any,
    lam: Any = None,
    *,
    nodes: int = 48,
    samples: int = 1024,
    batch: int = 1024,
    probes: int | None = None,
    step: float | None = None,
    seed: int = 0,
) -> ModelStatistics:
    """The statistics l, s, b of a model on a grid of λ.

    Derivatives are exact for exact denoisers; of a model in torch ∂ε/∂x is a Jacobian-vector product; what is left are
    differences of fourth order.

    Parameters
    ----------
    model : Model
    data : GaussianMixture or array, shape (samples, …)
        What x_0 is drawn from: a mixture, whose means are taken by Gauss and Hermite's rule in one or two dimensions;
        or clean samples in the array library of the model.
    lam : array_like, optional
        Values of λ, increasing; by default 121, equally spaced over the process.
    nodes : int
        Of the rule, in each dimension of each component.
    samples, batch : int
        Draws from a mixture of more dimensions; and how many points the model sees at once.
    probes : int, optional
        Random signs for each point, from which the diagonal of ∂ε/∂x is found. By default one, and every direction by
        itself where there are at most 8.
    step : float, optional
        Distance in λ of the differences. A network that is told rounded times needs one that is longer than these lie
        apart; by default the fifth root of the rounding unit.
    seed : int
        Of the noise, which is the same at all λ.

    Returns
    -------
    ModelStatistics
        With its provenance.

    Raises
    ------
    ModelError
        If the process has an anchor or is a system, the samples are no array, a count is not positive, λ does not
        increase, or the model returns what is not finite.

    Examples
    --------
    >>> import diffode as de
    >>> data = de.Gaussian(0.5, 0.25)
    >>> found = fit_statistics(data.denoiser(de.VP()), data)
    >>> found
    <statistics on 121 values of λ from -5.02498 to 4.55771, for coordinates of shape (1,), spline>
    >>> abs(found.linear(0.0) - 0.8) < 1e-6
    True
    """
    if not isinstance(model, Model) or model.process.anchored:
        raise ModelError(f"fit_statistics: needs a model of a process without an anchor, not {model!r}")
    process = model.process
    one_state("fit_statistics", process)
    values = uniform_lambda(process, 120, start=process.t_far).lam if lam is None else lam
    knots = np.asarray(values, dtype=float)
    for name, count in (("nodes", nodes), ("samples", samples), ("batch", batch)):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
            raise ModelError(f"fit_statistics: {name} must be a whole number of at least 1, not {count!r}")
    if knots.ndim != 1 or len(knots) < 4 or not np.all(np.diff(knots) > 0):
        raise ModelError(f"fit_statistics: lam must be at least four numbers that increase, not {lam!r}")
    points = _points(data, nodes, samples, batch, seed)
    slopes = _Exact(model) if isinstance(model, ExactDenoiser) else _Differences(model, knots[[0, -1]], step)
    levels = [process.level(lam=value) for value in knots.tolist()]
    lines = np.array([_diagonal(slopes, level, points, probes, seed) for level in levels])
    if not np.isfinite(lines).all():
        lost = levels[int(np.argmin(np.isfinite(lines).reshape(len(levels), -1).all(1)))]
        raise ModelError(f"fit_statistics: the model returned NaN or ∞ near t={lost.t}, λ={lost.lam:.6g}")
    rates = CubicSpline(knots, lines).derivative()(knots)
    parts = [_regression(slopes, *at, points) for at in zip(levels, lines, rates, strict=True)]
    s, b = (np.array([part[k] for part in parts]) for k in (0, 1))
    given = repr(data) if isinstance(data, GaussianMixture) else f"samples of shape {tuple(data.shape)}"
    told = {"model": repr(model), "process": repr(process), "data": given, "probes": probes, "seed": seed}
    return ModelStatistics(knots, lines, s, b, provenance=told)


# --- derivatives of ε ---------------------------------------------------------------------------------------


class _Slopes(ABC):
    """ε of a model and its derivatives at a level."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def value(self, x: Array, level: Level) -> Array:
        return self.model.predict(x, level, "eps")

    @abstractmethod
    def along(self, x: Array, level: Level, u: Array) -> Array:
        """∂ε/∂x u."""

    @abstractmethod
    def rate(self, x: Array, level: Level) -> Array:
        """∂ε/∂λ at fixed x."""

    def total(self, x: Array, level: Level, value: Array) -> Array:
        """dε/dλ along the probability-flow ODE."""
        pull = self.model.process.f(level.t) / self.model.process.dlam(level.t)
        return self.along(x, level, pull * x - level.sigma * value) + self.rate(x, level)


class _Exact(_Slopes):
    """Of an exact denoiser, ε = −σ ∇ log p."""

    model: ExactDenoiser

    def along(self, x: Array, level: Level, u: Array) -> Array:
        return -level.sigma * self.model.score_jvp(x, level.t, u)

    def rate(self, x: Array, level: Level) -> Array:
        score, change = self.model.score(x, level.t), self.model.dt_score(x, level.t)
        return -(level.dsigma * score + level.sigma * change) / self.model.process.dlam(level.t)


class _Differences(_Slopes):
    """Of any model: Jacobian-vector products in torch, else differences on five points."""

    def __init__(self, model: Model, ends: np.ndarray, step: float | None) -> None:
        super().__init__(model)
        self.ends, self.step = ends, step

    def along(self, x: Array, level: Level, u: Array) -> Array:
        library = namespace(x)
        if library is not np:
            return library.func.jvp(lambda z: self.value(z, level), (x,), (u,))[1]
        h = _distance(x) * level.sigma / max(float(np.sqrt(np.mean(u * u))), 1e-300)
        return _difference(lambda k: self.value(x + k * h * u, level), h, -2)

    def rate(self, x: Array, level: Level) -> Array:
        h = self.step or _distance(x)
        room = (self.ends - level.lam) / h
        first = 0 if room[0] > -2 else -4 if room[1] < 2 else -2
        return _difference(lambda k: self.value(x, self.model.process.level(lam=level.lam + k * h)), h, first)


def _distance(x: Array) -> float:
    """Where the error of a difference of fourth order is that of rounding."""
    return float(namespace(x).finfo(x.dtype).eps) ** 0.2


def _difference(value: Callable[[int], Array], h: float, first: int) -> Array:
    """The derivative at 0 from five values at distances h, the first of them `first` steps away."""
    offsets = np.arange(first, first + 5)
    weights = np.linalg.solve(np.vander(offsets, increasing=True).T, np.eye(5)[1]) / h
    total: Any = 0
    for k, weight in zip(offsets.tolist(), weights.tolist(), strict=True):
        if abs(weight) * h > 1e-12:
            total = total + weight * value(k)
    return total


# --- means over x -------------------------------------------------------------------------------------------


def _points(data: Any, nodes: int, samples: int, batch: int, seed: int) -> Points:
    if isinstance(data, GaussianMixture) and data.dimension <= 2:
        return _quadrature(data, nodes)
    clean = data.sample(samples, seed) if isinstance(data, GaussianMixture) else data
    if not (hasattr(clean, "shape") and hasattr(clean, "dtype")) or not len(clean):
        raise ModelError(f"fit_statistics: data must be a mixture or an array of samples, not {type(data).__name__}")

    def points(level: Level) -> Iterator[tuple[Array, np.ndarray]]:
        generator = seeded(seed, 0)  # apart from what the samples may have been drawn with
        for first in range(0, len(clean), batch):
            part = clean[first : first + batch]
            noise = like(generator.standard_normal(tuple(part.shape)), part)
            yield level.alpha * part + level.sigma * noise, np.full(len(part), 1 / len(clean))

    return points


def _quadrature(data: GaussianMixture, nodes: int) -> Points:
    """Gauss and Hermite's rule for each component."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    normals = np.array(list(product(z, repeat=data.dimension)))
    weights = np.array(list(product(w / w.sum(), repeat=data.dimension))).prod(axis=1)

    def points(level: Level) -> Iterator[tuple[Array, np.ndarray]]:
        for k, share in enumerate(data.weights):
            spread = normals * np.sqrt(level.alpha**2 * data.eigenvalues[k] + level.sigma**2)
            turned = spread if data.bases is None else spread @ data.bases[k].T
            yield level.alpha * data.means[k] + turned, share * weights

    return points


def _mean(values: Array, weights: np.ndarray) -> np.ndarray:
    """Σ weight · value over the batch, in float64 and on the host."""
    held = values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
    return np.tensordot(weights, held.astype(float), axes=1)


def _diagonal(slopes: _Slopes, level: Level, points: Points, probes: int | None, seed: int) -> np.ndarray:
    """l at a level."""
    generator, total = np.random.default_rng((seed, 1)), 0.0
    for x, weights in points(level):
        size = int(np.prod(x.shape[1:]))
        if probes is None and size <= _FEW:
            directions = [np.broadcast_to(row.reshape(x.shape[1:]), x.shape) for row in np.eye(size)]
        else:
            directions = [generator.choice([-1.0, 1.0], size=tuple(x.shape)) for _ in range(probes or 1)]
        share = 1.0 if probes is None and size <= _FEW else 1 / len(directions)
        for direction in directions:
            u = like(np.array(direction), x)
            total = total + share * level.sigma * _mean(u * slopes.along(x, level, u), weights)
    return np.asarray(total)


def _regression(
    slopes: _Slopes, level: Level, line: np.ndarray, rate: np.ndarray, points: Points
) -> tuple[np.ndarray, np.ndarray]:
    """s and b at a level."""
    sums: Any = 0.0
    about: Any = None  # deviations are taken from here, so that little of them is lost
    rounding = 0.0
    for x, weights in points(level):
        value = slopes.value(x, level)
        rounding = float(namespace(x).finfo(x.dtype).eps)
        own, change, y = like(line, x), like(rate, x), x / level.alpha
        f = level.rho * value - own * y
        about = f.mean(0) if about is None else about
        f = f - about
        df = level.rho * ((own - 1) * value + slopes.total(x, level, value)) - change * y
        squares = (level.rho * value) ** 2 + (own * y) ** 2
        sums = sums + np.array([_mean(part, weights) for part in (f, df, f * f, f * df, squares)])
    mean, grown, square, both, size = sums
    variance = square - mean * mean
    varies = variance > max(_STILL, 100 * rounding) ** 2 * size
    s = np.where(varies, (both - mean * grown) / np.where(varies, variance, 1.0), 0.0)
    return s, grown - s * (mean + _mean(about[None], np.ones(1)))
