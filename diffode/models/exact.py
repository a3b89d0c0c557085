r"""Exact denoisers: Gaussian, Gaussian-mixture and point-cloud data, in closed form.

For x_0 ~ Σ_k w_k N(m_k, Q_k diag(e_k) Q_kᵀ) and x = α x_0 + σ ε every quantity is a mean over the posterior
probabilities p_k of the components, which are computed by log-sum-exp. With r = Q_kᵀ(x − α m_k), v = α² e_k + σ²:

    log N_k = −½ Σ (r²/v + log 2πv),    D_k = Q_k(σ²/v · Q_kᵀ m_k + α e_k/v · Q_kᵀ x),    s_k = −Q_k(r/v)

Nothing is obtained by dividing by a small α or σ, and far from the data, where all r²/v are large and alike, the
log N_k are compared by their differences (`_apart`); so all predictions hold for σ from 1e-8 to 1e8 and everywhere.
The same code serves NumPy and torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import log, pi
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from diffode import prediction as predictions
from diffode.errors import ModelError
from diffode.kinds import Number, choose, shown
from diffode.models.base import Array, Model, like, namespace
from diffode.plan import Level
from diffode.process import Process

if TYPE_CHECKING:
    from diffode.models.mixtures import GaussianMixture

_FAR = 100.0
"""Σ r²/v of the nearest component, per dimension, from which rounding it would tell in the probabilities."""


@dataclass(frozen=True)
class _Components:
    """Mixture parameters as arrays of one kind: log-weights (K,), means (K, d), eigenvalues (K, d or 1), bases.

    `centres` are the means in the bases, `most` the largest number whose square is one.
    """

    log_weights: Array
    means: Array
    centres: Array
    eigenvalues: Array
    bases: Array | None
    most: float


@dataclass(frozen=True)
class _Posterior:
    """The state x − b μ; as seen by each component: residual r, variance v (…, K, d), and probabilities p (…, K)."""

    x: Array
    r: Array
    v: Array
    p: Array
    log_density: Array


class ExactDenoiser(Model):
    """The exact data prediction of a Gaussian mixture, with everything that follows from it in closed form."""

    prediction = "x0"

    def __init__(self, data: GaussianMixture, process: Process, mu: Any = None) -> None:
        self.data, self.process = data, process
        self.mu = None if mu is None else np.asarray(mu, dtype=float)
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
        predictions.check(prediction, "the exact model")
        d = self._mean(post, self._data_parts(c, post, level))
        if prediction == "x0":
            return d
        score = self._mean(post, self._score_parts(c, post))
        if prediction == "v":
            return -like(level.sigma, x) * (like(level.alpha, x) * score + d)
        # α′ D + σ′ ε, whose σ′ σ is g²/2 where σ = 0
        rates, t = level.process or self.process, level.t
        pull = choose(level.sigma == 0, lambda: 0.5 * rates.g2(t), lambda: level.sigma * rates.dsigma(t))
        velocity = like(rates.dalpha(t), x) * d - like(pull, x) * score
        return velocity if self.mu is None else velocity + like(rates.danchor(t), x) * like(self.mu, x)

    # --- the density and its derivatives ---

    def log_density(self, x: Array, t: Number) -> Array:
        """log p_t(x), shape (batch,)."""
        return self._posterior(x, self.process.level(t))[1].log_density

    def score(self, x: Array, t: Number) -> Array:
        """∇ log p_t(x)."""
        return self.predict(x, self.process.level(t), "score")

    def hessian_trace(self, x: Array, t: Number) -> Array:
        r"""Δ log p_t(x) = Σ_k p_k (|a_k|² − tr P_k), a_k = s_k − s, with P_k the precision of component k; (batch,)."""
        c, post = self._posterior(x, self.process.level(t))
        return (post.p * self._curvature(post, self._away(c, post))).sum(-1)

    def hessian_trace_gradient(self, x: Array, t: Number) -> Array:
        r"""∇Δ log p_t = Σ_k p_k [a_k (|a_k|² − tr P_k) − 2 P_k a_k]."""
        c, post = self._posterior(x, self.process.level(t))
        away = self._away(c, post)
        pulled = self._rotate(c, self._unrotate(c, away) / post.v)
        return self._mean(post, away * self._curvature(post, away)[..., None] - 2 * pulled)

    def score_jvp(self, x: Array, t: Number, u: Array) -> Array:
        """(∇∇ log p_t) u, the Hessian times a direction."""
        c, post = self._posterior(x, self.process.level(t))
        return self._hessian(c, post, u)

    def jvp(self, x: Array, t: Number, u: Array) -> Array:
        r"""(∂D/∂x) u = Σ_k p_k [A_k u + (D_k − D)(a_k·u)], with A_k = Q_k (α e_k/v) Q_kᵀ and a_k = s_k − s."""
        level = self.process.level(t)
        c, post = self._posterior(x, level)
        d_parts = self._data_parts(c, post, level)
        d = self._mean(post, d_parts)
        direction = u[..., None, :]
        gain = like(level.alpha, x) * c.eigenvalues / post.v
        linear = self._rotate(c, gain * self._unrotate(c, direction))
        along = (self._away(c, post) * direction).sum(-1)[..., None]
        return self._mean(post, linear + (d_parts - d[..., None, :]) * along)

    def dt_log_density(self, x: Array, t: Number) -> Array:
        """∂_t log p_t(x) at fixed x, shape (batch,)."""
        c, post = self._posterior(x, self.process.level(t))
        return (post.p * self._rates(c, post, x, t)[0]).sum(-1)

    def dt_score(self, x: Array, t: Number) -> Array:
        r"""∂_t ∇ log p_t(x) = Σ_k p_k [(q_k − q̄) a_k + ∂_t s_k], with q_k = ∂_t log N_k and a_k = s_k − s."""
        c, post = self._posterior(x, self.process.level(t))
        q, ds = self._rates(c, post, x, t)
        q = q - (post.p * q).sum(-1)[..., None]
        return self._mean(post, q[..., None] * self._away(c, post) + ds)

    # --- parts ---

    def _components(self, x: Array) -> _Components:
        """The mixture in the kind, precision and place of x."""
        key = (str(x.dtype), str(getattr(x, "device", "")), namespace(x).__name__)
        if key not in self._kept:
            data = self.data
            if str(getattr(x, "device", "")) == "meta":
                raise ModelError(
                    "the exact model needs numbers, and x is on the device meta, which holds none; use 'cpu'"
                )
            if x.itemsize < 4:
                raise ModelError(
                    f"the exact model needs float32 or float64, not {x.dtype}, where densities overflow; convert x"
                )

            def to(a: np.ndarray) -> Array:
                return like(np.asarray(a), x)

            bases = None if data.bases is None else to(data.bases)
            centres = data.means if data.bases is None else np.einsum("kij,ki->kj", data.bases, data.means)
            most = 1e140 if to(data.means).itemsize == 8 else 1e15
            self._kept[key] = _Components(
                to(np.log(data.weights)), to(data.means), to(centres), to(data.eigenvalues), bases, most
            )
        return self._kept[key]

    def _posterior(self, x: Array, level: Level) -> tuple[_Components, _Posterior]:
        c, xp = self._components(x), namespace(x)
        if x.shape[-1:] != c.means.shape[-1:]:
            raise ModelError(
                f"the data have dimension {c.means.shape[-1]}, but x has shape {tuple(x.shape)}; its last axis "
                "must be the dimension"
            )
        if np.any(level.sigma == 0) and not self.data.eigenvalues.all():
            raise ModelError(
                f"the data have no density at t={shown(level.t)} (σ = 0), because a variance is 0; "
                "end at a positive noise level"
            )
        if self.mu is not None:
            x = x - like(self.process.anchor(level.t), x) * like(self.mu, x)
        alpha, sigma = _beside(like(level.alpha, x)), _beside(like(level.sigma, x))
        r = self._unrotate(c, x[..., None, :] - alpha * c.means)
        spread = alpha * alpha * c.eigenvalues + sigma * sigma + xp.zeros_like(c.means)
        v = spread + xp.zeros_like(r)
        z = xp.clip(r / xp.sqrt(spread), -c.most, c.most)
        squares = _over(z * z, xp.sum, add)
        logs = c.log_weights - 0.5 * (squares + xp.log(spread).sum(-1))
        base = _over(logs, xp.amax, xp.maximum)[..., None]
        logs = logs - base
        far = _over(squares, xp.amin, xp.minimum) > _FAR * r.shape[-1]
        if far.any():
            logs[far] = self._apart(c, r[far], v[far], (alpha + 0 * v)[far], logs[far])
        top = _over(logs, xp.amax, xp.maximum)[..., None]
        weights = xp.exp(logs - top)
        total = _over(weights, xp.sum, add)[..., None]
        log_density = (base + top + xp.log(total))[..., 0] - 0.5 * r.shape[-1] * log(2 * pi)
        return c, _Posterior(x, r, v, weights / total, log_density)

    def _apart(self, c: _Components, r: Array, v: Array, alpha: Array, logs: Array) -> Array:
        r"""log w_k N_k from that of the largest, component 0, for a list of states; nothing large is subtracted.

        y_kᵀ P_k y_k − y_0ᵀ P_0 y_0 = Δᵀ P_k (2 y_0 + Δ) + α² y_0ᵀ P_k (C_0 − C_k) P_0 y_0,    Δ = α (m_0 − m_k)
        """
        xp, near = namespace(r), logs.argmax(-1)
        one = (xp.arange(len(near)), near)
        y, w = r[one], r[one] / v[one]
        if c.bases is not None:
            y, w = (xp.einsum("nij,nj->ni", c.bases[near], a) for a in (y, w))
        y, w = y[:, None], w[:, None]
        shift = alpha * (c.means[near][:, None] - c.means)
        pulled = self._rotate(c, c.eigenvalues * self._unrotate(c, w))  # C_k P_0 y_0
        spread = self._unrotate(c, pulled[one][:, None] - pulled)
        apart = self._unrotate(c, shift) * self._unrotate(c, 2 * y + shift) + alpha**2 * self._unrotate(c, y) * spread
        squares = (apart / v + xp.log(v) - xp.log(v[one])[:, None]).sum(-1)
        return xp.clip(c.log_weights - c.log_weights[near][:, None] - 0.5 * squares, -(c.most**2), c.most**2)

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
        parts = post.p[..., None] * parts
        return _over(parts.swapaxes(-1, -2), namespace(parts).sum, add)

    def _score_parts(self, c: _Components, post: _Posterior) -> Array:
        return -self._rotate(c, post.r / post.v)

    def _away(self, c: _Components, post: _Posterior) -> Array:
        """a_k = s_k − s."""
        parts = self._score_parts(c, post)
        return parts - self._mean(post, parts)[..., None, :]

    def _data_parts(self, c: _Components, post: _Posterior, level: Level) -> Array:
        alpha, sigma = _beside(like(level.alpha, post.x)), _beside(like(level.sigma, post.x))
        seen = self._unrotate(c, post.x[..., None, :])
        return self._rotate(c, sigma * sigma / post.v * c.centres + alpha * c.eigenvalues / post.v * seen)

    @staticmethod
    def _curvature(post: _Posterior, away: Array) -> Array:
        """|a_k|² − tr P_k."""
        return (away * away).sum(-1) - (1.0 / post.v).sum(-1)

    def _hessian(self, c: _Components, post: _Posterior, u: Array) -> Array:
        r"""H u = Σ_k p_k [a_k (a_k·u) − P_k u]."""
        direction, away = u[..., None, :], self._away(c, post)
        pulled = self._rotate(c, self._unrotate(c, direction) / post.v)
        return self._mean(post, away * (away * direction).sum(-1)[..., None] - pulled)

    def _rates(self, c: _Components, post: _Posterior, x: Array, t: Number) -> tuple[Array, Array]:
        """∂_t log N_k (…, K) and ∂_t s_k (…, K, d)."""
        level, process = self.process.level(t), self.process
        alpha, sigma = _beside(like(level.alpha, x)), _beside(like(level.sigma, x))
        dalpha, dsigma = _beside(like(process.dalpha(level.t), x)), _beside(like(process.dsigma(level.t), x))
        dv = 2 * (alpha * dalpha * c.eigenvalues + sigma * dsigma)
        dr = -dalpha * c.centres
        if self.mu is not None:
            drift = like(process.danchor(level.t), x) * like(self.mu, x) + 0 * x
            dr = dr - self._unrotate(c, drift[..., None, :])
        r, v = post.r, post.v
        rate = -0.5 * (dv / v).sum(-1) + (r * (0.5 * r * dv / v - dr) / v).sum(-1)
        return rate, self._rotate(c, (r * dv / v - dr) / v)


def _beside(c: Number) -> Number:
    """A coefficient that broadcasts against (…, d), made to broadcast against (…, K, d)."""
    return c if isinstance(c, float) or c.ndim == 0 else c[..., None, :]


def _over(a: Array, whole: Callable[..., Array], pair: Callable[[Array, Array], Array]) -> Array:
    """A reduction over the last axis; a short one slice by slice, since many short reductions are slow to begin."""
    count = a.shape[-1]
    return reduce(pair, (a[..., k] for k in range(count))) if count < 8 else whole(a, -1)
