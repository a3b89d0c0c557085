r"""Exact denoisers: Gaussian, Gaussian-mixture and point-cloud data, in closed form.

For x_0 ~ Σ_k w_k N(m_k, Q_k diag(e_k) Q_kᵀ) and x = α x_0 + σ ε every quantity is a mean over the posterior
probabilities p_k of the components, which are computed by log-sum-exp. With r = Q_kᵀ(x − α m_k), v = α² e_k + σ²:

    log N_k = −½ Σ (r²/v + log 2πv),    D_k = m_k + Q_k(α e_k/v · r),    ε_k = Q_k(σ r/v),    s_k = −Q_k(r/v)

Nothing is obtained by dividing by a small α or σ, so that all predictions hold for σ from 1e-8 to 1e8 and far from the
data. The same code serves NumPy and torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np

from diffode.errors import ModelError
from diffode.kinds import Number
from diffode.models.base import Array, Model, like, namespace
from diffode.plan import Level
from diffode.process import Process

_FAR = 1e140  # beyond this many standard deviations r² would overflow; the components are then told apart no more


@dataclass(frozen=True)
class _Components:
    """Mixture parameters as arrays of one kind: log-weights (K,), means (K, d), eigenvalues (K, d or 1), bases."""

    log_weights: Array
    means: Array
    eigenvalues: Array
    bases: Array | None


@dataclass(frozen=True)
class _Posterior:
    """The state seen by each component: residual r, variance v (…, K, d), and probabilities p (…, K)."""

    r: Array
    v: Array
    p: Array
    log_density: Array


class GaussianMixture:
    r"""Data distributed as a Gaussian mixture.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive; normalised.
    means : array_like, shape (K, d) or (K,)
        One-dimensional data may give K numbers.
    stds : array_like, shape (K,), (K, d) or (K, d, d)
        Standard deviations: one per component, one per coordinate; or full covariance matrices.

    Raises
    ------
    ModelError
        If the shapes do not fit, a weight is not positive, or a covariance is not positive semidefinite.

    Examples
    --------
    >>> import diffode as de
    >>> data = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.1, 0.1])
    >>> data.dimension, round(float(data.covariance[0, 0]), 2)
    (1, 1.01)
    """

    def __init__(self, weights: Any, means: Any, stds: Any) -> None:
        self.weights = np.atleast_1d(np.asarray(weights, dtype=float))
        self.means = np.asarray(means, dtype=float)
        if self.means.ndim < 2:
            self.means = self.means.reshape(-1, 1)
        stds = np.asarray(stds, dtype=float)
        count, dimension = self.means.shape
        if self.weights.shape != (count,) or not np.all(self.weights > 0):
            raise ModelError(
                f"GaussianMixture: weights must be {count} positive numbers, one per mean, not {self.weights}"
            )
        self.weights = self.weights / self.weights.sum()
        if stds.shape not in ((), (count,), (count, dimension), (count, dimension, dimension)):
            raise ModelError(
                f"GaussianMixture: stds must have shape ({count},), ({count}, {dimension}) or "
                f"({count}, {dimension}, {dimension}), not {stds.shape}"
            )
        if stds.ndim == 3:
            values, self.bases = np.linalg.eigh(0.5 * (stds + np.swapaxes(stds, 1, 2)))
            if values.min() < -1e-12 * max(values.max(), 1e-300):
                raise ModelError("GaussianMixture: a covariance matrix is not positive semidefinite")
            self.eigenvalues = np.clip(values, 0.0, None)
        else:
            self.bases = None
            flat = np.broadcast_to(stds, (count,)) if stds.ndim < 1 else stds
            self.eigenvalues = (flat**2).reshape(count, -1)
        if not (np.all(np.isfinite(self.eigenvalues)) and np.all(np.isfinite(self.means))):
            raise ModelError("GaussianMixture: means and stds must be finite")

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    @property
    def mean(self) -> np.ndarray:
        """Mean of the data, shape (d,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the data, shape (d, d)."""
        centred = self.means - self.mean
        spread = np.einsum("k,ki,kj->ij", self.weights, centred, centred)
        values = np.broadcast_to(self.eigenvalues, self.means.shape)
        if self.bases is None:
            return spread + np.diag(self.weights @ values)
        return spread + np.einsum("k,kia,ka,kja->ij", self.weights, self.bases, values, self.bases)

    def sample(self, count: int, seed: int | np.random.Generator) -> np.ndarray:
        """Draws from the data distribution, shape (count, d)."""
        generator = np.random.default_rng(seed)
        which = generator.choice(len(self.weights), size=count, p=self.weights)
        z = generator.standard_normal((count, self.dimension)) * np.sqrt(self.eigenvalues)[which]
        if self.bases is not None:
            z = np.einsum("nij,nj->ni", self.bases[which], z)
        return self.means[which] + z

    def denoiser(self, process: Process, mu: Any = None) -> ExactDenoiser:
        """The exact model of this data under a process.

        Parameters
        ----------
        process : Process
        mu : array_like, optional
            The anchor, for an anchored process: `model(x, t)` then subtracts b_t μ from x.
        """
        return ExactDenoiser(self, process, mu)


class Gaussian(GaussianMixture):
    """Gaussian data with any covariance.

    Parameters
    ----------
    mean : array_like, shape (d,) or ()
    covariance : array_like, shape (d, d), (d,) or ()
        A matrix, the variances of independent coordinates, or one variance.

    Examples
    --------
    >>> data = Gaussian(0.5, 0.25)
    >>> data.covariance
    array([[0.25]])
    """

    def __init__(self, mean: Any, covariance: Any) -> None:
        mean = np.atleast_1d(np.asarray(mean, dtype=float))
        covariance = np.asarray(covariance, dtype=float)
        if covariance.ndim < 2:
            if np.any(covariance < 0):
                raise ModelError(f"Gaussian: variances must not be negative, got {covariance}")
            stds = np.broadcast_to(np.sqrt(covariance), mean.shape)
        else:
            stds = covariance
        super().__init__([1.0], mean[None], stds[None])


class PointCloud(GaussianMixture):
    """Data that are finitely many points (an empirical distribution).

    Parameters
    ----------
    points : array_like, shape (K, d)
    weights : array_like, shape (K,), optional
    """

    def __init__(self, points: Any, weights: Any = None) -> None:
        points = np.asarray(points, dtype=float)
        if points.ndim != 2:
            raise ModelError(f"PointCloud: points must have shape (K, d), not {points.shape}")
        count = len(points)
        super().__init__(np.ones(count) if weights is None else weights, points, np.zeros(count))


class ExactDenoiser(Model):
    """The exact data prediction of a Gaussian mixture, with everything that follows from it in closed form."""

    prediction = "x0"

    def __init__(self, data: GaussianMixture, process: Process, mu: Any = None) -> None:
        self.data, self.process, self.mu = data, process, mu
        self._kept: dict[Any, _Components] = {}

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        return self.predict(x, level, "x0")

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        level = at or level
        c, post = self._posterior(x, level)
        if prediction in ("score", "eps"):
            score = self._mean(post, self._score_parts(c, post))
            return score if prediction == "score" else -like(level.sigma, x) * score
        d = self._mean(post, self._data_parts(c, post, x, level))
        if prediction == "x0":
            return d
        noise = -like(level.sigma, x) * self._mean(post, self._score_parts(c, post))
        if prediction == "v":
            return like(level.alpha, x) * noise - like(level.sigma, x) * d
        rates = level.process or self.process
        return like(rates.dalpha(level.t), x) * d + like(rates.dsigma(level.t), x) * noise

    # --- the density and its derivatives ---

    def log_density(self, x: Array, t: Number) -> Array:
        """log p_t(x), shape (batch,)."""
        return self._posterior(x, self.process.level(t))[1].log_density

    def score(self, x: Array, t: Number) -> Array:
        """∇ log p_t(x)."""
        return self.predict(x, self.process.level(t), "score")

    def hessian_trace(self, x: Array, t: Number) -> Array:
        r"""Δ log p_t(x) = Σ_k p_k (|s_k|² − tr P_k) − |s|², with P_k the precision of component k; shape (batch,)."""
        c, post = self._posterior(x, self.process.level(t))
        parts = self._score_parts(c, post)
        s = self._mean(post, parts)
        return (post.p * self._curvature(post, parts)).sum(-1) - (s * s).sum(-1)

    def hessian_trace_gradient(self, x: Array, t: Number) -> Array:
        r"""∇Δ log p_t = Σ_k p_k [(s_k − s)(|s_k|² − tr P_k) − 2 P_k s_k] − 2 H s."""
        c, post = self._posterior(x, self.process.level(t))
        parts = self._score_parts(c, post)
        s = self._mean(post, parts)
        curvature = self._curvature(post, parts)[..., None]
        pulled = self._rotate(c, self._unrotate(c, parts) / post.v)
        return self._mean(post, (parts - s[..., None, :]) * curvature - 2 * pulled) - 2 * self._hessian(c, post, s)

    def score_jvp(self, x: Array, t: Number, u: Array) -> Array:
        """(∇∇ log p_t) u, the Hessian times a direction."""
        c, post = self._posterior(x, self.process.level(t))
        return self._hessian(c, post, u)

    def jvp(self, x: Array, t: Number, u: Array) -> Array:
        r"""(∂D/∂x) u = Σ_k p_k [A_k u + (D_k − D)(s_k·u)], with A_k = Q_k (α e_k/v) Q_kᵀ."""
        level = self.process.level(t)
        c, post = self._posterior(x, level)
        d_parts, s_parts = self._data_parts(c, post, x, level), self._score_parts(c, post)
        d = self._mean(post, d_parts)
        direction = u[..., None, :]
        gain = like(level.alpha, x) * c.eigenvalues / post.v
        linear = self._rotate(c, gain * self._unrotate(c, direction))
        along = (s_parts * direction).sum(-1)[..., None]
        return self._mean(post, linear + (d_parts - d[..., None, :]) * along)

    def dt_log_density(self, x: Array, t: Number) -> Array:
        """∂_t log p_t(x) at fixed x, shape (batch,)."""
        c, post = self._posterior(x, self.process.level(t))
        return (post.p * self._rates(c, post, x, t)[0]).sum(-1)

    def dt_score(self, x: Array, t: Number) -> Array:
        r"""∂_t ∇ log p_t(x) = Σ_k p_k [(q_k − q̄) s_k + ∂_t s_k], with q_k = ∂_t log N_k."""
        c, post = self._posterior(x, self.process.level(t))
        q, ds = self._rates(c, post, x, t)
        q = q - (post.p * q).sum(-1)[..., None]
        return self._mean(post, q[..., None] * self._score_parts(c, post) + ds)

    # --- parts ---

    def _components(self, x: Array) -> _Components:
        """The mixture in the kind, precision and place of x."""
        key = (str(x.dtype), str(getattr(x, "device", "")), namespace(x).__name__)
        if key not in self._kept:
            data = self.data

            def to(a: np.ndarray) -> Array:
                return like(np.asarray(a), x)

            bases = None if data.bases is None else to(data.bases)
            self._kept[key] = _Components(to(np.log(data.weights)), to(data.means), to(data.eigenvalues), bases)
        return self._kept[key]

    def _posterior(self, x: Array, level: Level) -> tuple[_Components, _Posterior]:
        c, xp = self._components(x), namespace(x)
        if x.shape[-1:] != c.means.shape[-1:]:
            raise ModelError(
                f"the data have dimension {c.means.shape[-1]}, but x has shape {tuple(x.shape)}; its last axis "
                "must be the dimension"
            )
        if self.mu is not None:
            x = x - like(self.process.anchor(level.t), x) * self.mu
        alpha, sigma = _beside(like(level.alpha, x)), _beside(like(level.sigma, x))
        r = self._unrotate(c, x[..., None, :] - alpha * c.means)
        v = alpha * alpha * c.eigenvalues + sigma * sigma + xp.zeros_like(r)
        z = xp.clip(r / xp.sqrt(v), -_FAR, _FAR)
        logs = c.log_weights - 0.5 * (z * z + xp.log(v)).sum(-1)
        top = logs.max(-1, keepdims=True) if xp is np else logs.amax(-1, keepdim=True)
        weights = xp.exp(logs - top)
        total = weights.sum(-1)[..., None]
        log_density = (top + xp.log(total))[..., 0] - 0.5 * r.shape[-1] * log(2 * pi)
        return c, _Posterior(r, v, weights / total, log_density)

    @staticmethod
    def _rotate(c: _Components, a: Array) -> Array:
        return a if c.bases is None else namespace(a).einsum("kij,...kj->...ki", c.bases, a)

    @staticmethod
    def _unrotate(c: _Components, a: Array) -> Array:
        if c.bases is None:
            return a
        a = a + namespace(a).zeros_like(c.means)
        return namespace(a).einsum("kij,...ki->...kj", c.bases, a)

    @staticmethod
    def _mean(post: _Posterior, parts: Array) -> Array:
        return (post.p[..., None] * parts).sum(-2)

    def _score_parts(self, c: _Components, post: _Posterior) -> Array:
        return -self._rotate(c, post.r / post.v)

    def _data_parts(self, c: _Components, post: _Posterior, x: Array, level: Level) -> Array:
        gain = _beside(like(level.alpha, x)) * c.eigenvalues / post.v
        return c.means + self._rotate(c, gain * post.r)

    @staticmethod
    def _curvature(post: _Posterior, parts: Array) -> Array:
        """|s_k|² − tr P_k."""
        return (parts * parts).sum(-1) - (1.0 / post.v).sum(-1)

    def _hessian(self, c: _Components, post: _Posterior, u: Array) -> Array:
        r"""H u = Σ_k p_k [s_k (s_k·u) − P_k u] − s (s·u), written with s_k − s."""
        parts = self._score_parts(c, post)
        s = self._mean(post, parts)
        direction = u[..., None, :]
        pulled = self._rotate(c, self._unrotate(c, direction) / post.v)
        away = parts - s[..., None, :]
        return self._mean(post, away * (away * direction).sum(-1)[..., None] - pulled)

    def _rates(self, c: _Components, post: _Posterior, x: Array, t: Number) -> tuple[Array, Array]:
        """∂_t log N_k (…, K) and ∂_t s_k (…, K, d)."""
        level, process = self.process.level(t), self.process
        alpha, sigma = _beside(like(level.alpha, x)), _beside(like(level.sigma, x))
        dalpha, dsigma = _beside(like(process.dalpha(level.t), x)), _beside(like(process.dsigma(level.t), x))
        dv = 2 * (alpha * dalpha * c.eigenvalues + sigma * dsigma)
        dr = -dalpha * self._unrotate(c, c.means)
        if self.mu is not None:
            raise ModelError("time derivatives are not offered for an anchored process; shift x and use mu=None")
        r, v = post.r, post.v
        rate = -0.5 * (dv / v).sum(-1) + (r * (0.5 * r * dv / v - dr) / v).sum(-1)
        return rate, self._rotate(c, (r * dv / v - dr) / v)


def _beside(c: Number) -> Number:
    """A coefficient that broadcasts against (…, d), made to broadcast against (…, K, d)."""
    return c if isinstance(c, float) or c.ndim == 0 else c[..., None, :]
