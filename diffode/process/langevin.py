"""Critically damped Langevin diffusion: position and velocity, noise in the velocity only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf, sqrt
from typing import Any, ClassVar

import numpy as np

from diffode import phi
from diffode.errors import ProcessError
from diffode.expressions import Matrix
from diffode.kinds import Number, package_of
from diffode.process.base import require_numbers
from diffode.process.system import LinearSystem

_DEGREE = 20
"""Of the polynomials that hold the angle of R."""

_FIRST = 1e-40
"""The smallest positive time that a level is looked for at."""


@dataclass(frozen=True)
class CLD(LinearSystem):
    r"""Critically damped Langevin diffusion, Γ² = 4 M with M the mass.

        dx = β M^{−1} v dt,    dv = −β x dt − β Γ M^{−1} v dt + √(2 Γ β) dw

    with B = ∫ β dt, g = 1/Γ, z = 4 g B, and p = 1 − e^{−z}(1 + z + z²/2), for v_0 ~ N(0, γ M):

        Ψ = e^{−2gB} [[1 + 2gB, 4g²B], [−B, 1 − 2gB]]
        Σ = [[p, ·], [4gB² e^{−z}, M p + 2ΓB e^{−z}]] + γ M Ψ_v Ψ_vᵀ,    Ψ_v the second column of Ψ
        R = L O(θ),    dθ/dB = −M^{−1} √det Σ/Σ_xx

    with L the Cholesky factor and O a rotation. The noise of the velocity at t = 0 belongs to Σ.

    Parameters
    ----------
    beta, slope : float
        β(t) = beta + slope t.
    m_inv : float
        1/M.
    vv0 : float
        γ, the variance of the velocity at t = 0 in units of M.
    jitter : float
        Variance added to both components at t = 0; the authors' code has 1e-6, without which λ = ∞ at t = 0.

    Raises
    ------
    ProcessError
        If a parameter is out of its range; where R is asked for in other numbers than floats.

    References
    ----------
    Dockhorn, Vahdat and Kreis, arXiv:2112.07068; Zhang, Tao and Chen, arXiv:2206.05564, whose code integrates R by the
    classical Runge–Kutta method and reads it off a table.

    Examples
    --------
    >>> process = CLD()
    >>> root, whole = process.factor(0.5), process.covariance(0.5)
    >>> bool(np.allclose((root @ root.T).entries, whole.entries))
    True
    """

    beta: float = 4.0
    slope: float = 0.0
    m_inv: float = 4.0
    vv0: float = 0.04
    jitter: float = 0.0
    name: ClassVar[str] = "cld"

    def __post_init__(self) -> None:
        given = {"beta": self.beta, "slope": self.slope, "m_inv": self.m_inv, "vv0": self.vv0, "jitter": self.jitter}
        require_numbers("CLD", **given)
        if not (0 < self.beta < inf and 0 <= self.slope < inf and 0 < self.m_inv < inf):
            raise ProcessError(
                f"CLD: needs 0 < beta < ∞, 0 ≤ slope < ∞ and 0 < m_inv < ∞, not beta={self.beta}, slope={self.slope}, "
                f"m_inv={self.m_inv}"
            )
        if not (0 < self.vv0 <= 1 and 0 <= self.jitter <= self.vv0 / self.m_inv):
            raise ProcessError(
                "CLD: needs 0 < vv0 ≤ 1, without which R has no start, and 0 ≤ jitter ≤ vv0/m_inv, not "
                f"vv0={self.vv0}, jitter={self.jitter}"
            )

    @property
    def rate(self) -> float:
        """g = 1/Γ = √M^{−1}/2."""
        return 0.5 * sqrt(self.m_inv)

    def integrated_beta(self, t: Number) -> Number:
        """B = ∫_0^t β."""
        return t * (self.beta + 0.5 * t * self.slope)

    def beta_at(self, t: Number) -> Number:
        """β(t)."""
        return self.beta + self.slope * t

    # --- the matrices ---

    def drift(self, t: Number) -> Matrix:
        b = self.beta_at(t)
        return Matrix(((0 * b, b * self.m_inv), (-b, -4 * self.rate * b)))

    def diffusion(self, t: Number) -> Matrix:
        b = self.beta_at(t)
        return Matrix(((0 * b, 0 * b), (0 * b, 2 * b / self.rate)))

    def transition(self, s: Number, t: Number) -> Matrix:
        b = self.integrated_beta(t) - self.integrated_beta(s)
        x = 2 * self.rate * b
        decay = phi.exp(-x)
        return Matrix((((1 + x) * decay, self.m_inv * b * decay), (-b * decay, (1 - x) * decay)))

    def covariance(self, t: Number) -> Matrix:
        noise, columns = self._parts(self.integrated_beta(t))
        return sum((v * (u @ u.T) for v, u in columns), noise)

    def factor(self, t: Number) -> Matrix:
        if package_of(t) not in ("float", "array"):
            raise ProcessError(f"CLD: R is known in floats, and t={t!r} is none; Σ and Ψ are known in every number")
        b = self.integrated_beta(t)
        xx, xv, _, _ = self.covariance(t).entries
        first, rest = phi.sqrt(xx), phi.sqrt(self._determinant(b) / xx)
        lower = Matrix(((first, 0 * first), (xv / first, rest)))
        angle = self._angle(b)
        c, s = phi.cos(angle), phi.sin(angle)
        return lower @ Matrix(((c, -s), (s, c)))

    def _parts(self, b: Number) -> tuple[Matrix, tuple[tuple[float, Matrix], tuple[float, Matrix]]]:
        """Σ as the noise of the path and that of either component at t = 0, with its column of Ψ."""
        x = 2 * self.rate * b
        decay, fresh = phi.exp(-x), 0.5 * phi.moment(2, -1.0, 2 * x)
        left = decay * decay
        xv, vv = 4 * self.rate * b * b * left, fresh / self.m_inv + 2 * b / self.rate * left
        velocity = Matrix(((self.m_inv * b * decay,), ((1 - x) * decay,)))
        position = Matrix((((1 + x) * decay,), (-b * decay,)))
        start = self.vv0 / self.m_inv + self.jitter
        return Matrix(((fresh, xv), (xv, vv))), ((start, velocity), (self.jitter, position))

    def _determinant(self, b: Number) -> Number:
        """det Σ, as a sum in which nothing large cancels."""
        noise, columns = self._parts(b)
        adjugate = noise.determinant() * noise.inverse()
        pulled = sum(v * (u.T @ adjugate @ u).rows[0][0] for v, u in columns)
        both = phi.exp(-8 * self.rate * b)
        return noise.determinant() + pulled + columns[0][0] * columns[1][0] * both

    # --- the angle of R: polynomials in √B, in which it is smooth ---

    def _turning(self, w: np.ndarray) -> np.ndarray:
        """dθ/d√B."""
        noise, columns = self._parts(w * w)
        xx = sum((v * (u @ u.T) for v, u in columns), noise).rows[0][0]
        return -2 * w * self.m_inv * np.sqrt(self._determinant(w * w)) / xx

    @cached_property
    def _pieces(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges in √B, and Chebyshev coefficients of θ on each piece."""
        todo, edges, kept, value = [(0.0, sqrt(self.integrated_beta(1.0)))], [0.0], list[np.ndarray](), 0.0
        while todo:
            low, high = todo.pop()
            fit = np.polynomial.Chebyshev.interpolate(self._turning, _DEGREE, (low, high))
            rough = np.max(np.abs(fit.coef[-3:])) > 1e-14 * np.max(np.abs(fit.coef))
            if rough and high - low > 1e-9 * high:
                todo += [(0.5 * (low + high), high), (low, 0.5 * (low + high))]
                continue
            whole = fit.integ(lbnd=low, k=value)
            value = float(whole(high))
            edges.append(high)
            kept.append(whole.coef)
        return np.array(edges), np.array(kept)

    def _angle(self, b: Number) -> Number:
        edges, coefficients = self._pieces
        w = np.sqrt(b)
        k = np.clip(np.searchsorted(edges, w) - 1, 0, len(coefficients) - 1)
        x = (2 * w - edges[k] - edges[k + 1]) / (edges[k + 1] - edges[k])
        angle = np.polynomial.chebyshev.chebval(x, np.moveaxis(coefficients[k], -1, 0), tensor=False)
        return angle if np.ndim(angle) else float(angle)

    # --- the position as a process of its own ---

    def log_alpha(self, t: Number) -> Number:
        x = 2 * self.rate * self.integrated_beta(t)
        return phi.log1p(x) - x

    def log_sigma(self, t: Number) -> Number:
        return 0.5 * phi.log(self.covariance(t).rows[0][0])

    def lam(self, t: Number) -> Number:
        return self.log_alpha(t) - self.log_sigma(t)

    def f(self, t: Number) -> Number:
        b = self.integrated_beta(t)
        return -self.beta_at(t) * self.m_inv * b / (1 + 2 * self.rate * b)

    def dlam(self, t: Number) -> Number:
        xx, xv, _, _ = self.covariance(t).entries
        return self.f(t) - phi.divide(self.beta_at(t) * self.m_inv * xv, xx)

    def t_of_lam(self, lam: Number) -> Number:
        return self._time(lambda t: -self.lam(t), -lam)

    def log_alpha_of_lam(self, lam: Number) -> Number:
        return self.log_alpha(self.t_of_lam(lam))

    def log_sigma_of_lam(self, lam: Number) -> Number:
        return self.log_sigma(self.t_of_lam(lam))

    def lam_of_sigma(self, sigma: Number) -> Number:
        return self.lam(self._time(self.log_sigma, phi.log(sigma)))

    def _time(self, rising: Callable[[Any], Any], value: Number) -> Number:
        """The t with rising(t) = value; outside the domain where there is none, and 0 for −∞."""
        if package_of(value) not in ("float", "array"):
            raise ProcessError(f"CLD: a level is told by its t in numbers like {value!r}; by λ, σ or ρ in floats only")
        from scipy.optimize.elementwise import find_root

        target = np.asarray(value, dtype=float)
        low, high = rising(np.float64(_FIRST)), rising(np.float64(1.0))
        bounded = np.clip(target, low, high)
        shape = target.shape
        root = find_root(
            lambda logt, wanted: np.where(logt == 0.0, high, rising(np.exp(logt))) - wanted,
            (np.full(shape, np.log(_FIRST)), np.zeros(shape)),
            args=(bounded,),
        ).x
        found = np.where(bounded == low, 0.0, np.where(bounded == high, 1.0, np.exp(root)))
        least = float(rising(np.float64(0.0)))
        slack = 1e-12 * (1 + abs(target))
        found = np.where((target > high + slack) | (target < least - slack), -1.0, found)
        return found if shape else float(found)
