r"""Linear systems: processes whose state has several components (position and velocity), du = F u dt + G dw.

    u_t = Ψ(t, 0) u_0 + R_t ε,    R Rᵀ = Σ,    R′ = (F + ½ G Gᵀ Σ^{−1}) R

All matrices act on the components and are the same for every coordinate of the data. A root K of Σ parametrises the
score as −K^{−T} ε; with K = R, ε is constant along the probability flow of a point mass, with a Cholesky factor it is
not. As a `Process`, a system tells the α, σ and λ of its first component, so that every time grid serves it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import ClassVar

import numpy as np

from diffode import phi
from diffode.expressions import Matrix
from diffode.kinds import Number
from diffode.process.base import Process


class LinearSystem(Process):
    """A process with several components; each gives its small matrices in closed form."""

    components: ClassVar[int] = 2

    @abstractmethod
    def drift(self, t: Number) -> Matrix:
        """F at a time."""

    @abstractmethod
    def diffusion(self, t: Number) -> Matrix:
        """G Gᵀ at a time."""

    @abstractmethod
    def transition(self, s: Number, t: Number) -> Matrix:
        """Ψ(t, s), the flow of F from s to t."""

    @abstractmethod
    def covariance(self, t: Number) -> Matrix:
        """Σ_t, the covariance of u given the data, whose velocity is drawn anew."""

    @abstractmethod
    def factor(self, t: Number) -> Matrix:
        """R_t, the root of Σ_t that solves R′ = (F + ½ G Gᵀ Σ^{−1}) R; in floats."""

    def cholesky(self, t: Number) -> Matrix:
        """L_t, the root of Σ_t that is lower triangular."""
        return lower_root(self.covariance(t))

    def reverse(self, s: Number, t: Number, lam: float) -> tuple[Matrix, Matrix]:
        r"""Flow and covariance of the reverse SDE of noise level λ from s to t, given ε; in floats.

            Ψ̂′ = (F + ½ (1 + λ²) G Gᵀ Σ^{−1}) Ψ̂,    P = Σ_t − Ψ̂ Σ_s Ψ̂ᵀ

        Found as Ψ̂ = R_t X R_s^{−1} and P = R_t (1 − X Xᵀ) R_tᵀ with X′ = ½ λ² R^{−1} G Gᵀ R^{−T} X.

        Parameters
        ----------
        s, t : float
        lam : float
            0: the probability flow, Ψ̂ = R_t R_s^{−1}; 1: the reverse SDE, Ψ̂ = Σ_t Ψ(s, t)ᵀ Σ_s^{−1}.

        Returns
        -------
        (Matrix, Matrix)

        References
        ----------
        Zhang, Tao and Chen, arXiv:2206.05564; in P′ = F̂ P + P F̂ᵀ − λ² G Gᵀ their code lacks the transpose.
        """
        root, start = self.factor(t), self.factor(s).inverse()

        def rate(times: np.ndarray) -> np.ndarray:
            inverse = self.factor(times).inverse()
            entries = (inverse @ self.diffusion(times) @ inverse.T).entries
            shape = (len(times), self.components, self.components)
            return 0.5 * lam * lam * np.stack([c + 0 * times for c in entries], axis=-1).reshape(shape)

        x = _flow(rate, float(s), float(t))
        rest = np.eye(len(x)) - x @ x.T
        moved = Matrix.of(x.ravel().tolist())
        return root @ moved @ start, root @ Matrix.of(rest.ravel().tolist()) @ root.T


def lower_root(c: Matrix) -> Matrix:
    """The Cholesky factor of a matrix of two rows; rounding below zero is zero."""
    a, b, _, d = c.entries
    a = phi.choose(a > 0, lambda: a, lambda: 0 * a)
    first = phi.sqrt(a)
    below = phi.choose(a > 0, lambda: b / first, lambda: 0 * b)
    rest = d - below * below
    return Matrix(((first, 0 * a), (below, phi.sqrt(phi.choose(rest > 0, lambda: rest, lambda: 0 * rest)))))


@cache
def _collocation(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss nodes and weights on [0, 1], and the integrals of the Lagrange polynomials up to each node."""
    x, w = np.polynomial.legendre.leggauss(n)
    nodes = 0.5 * (1 + x)
    basis = np.polynomial.legendre.legvander(x, n - 1)
    integrals = np.polynomial.legendre.legval(x, np.polynomial.legendre.legint(np.eye(n), lbnd=-1)).T
    return nodes, 0.5 * w, 0.5 * integrals @ np.linalg.inv(basis)


def _flow(rate: Callable[[np.ndarray], np.ndarray], s: float, t: float) -> np.ndarray:
    """X(t) of X′ = A X from X(s) = 1, by Gauss collocation on panels of one ratio, halved until nothing changes."""
    before: float | np.ndarray = np.inf
    for panels in (1, 2, 4, 8, 16, 32):
        found = _collocated(rate, np.geomspace(s, t, panels + 1))
        if np.max(np.abs(found - before)) <= 1e-14:
            return found
        before = found
    return _collocated(rate, np.geomspace(s, t, 65))


def _collocated(rate: Callable[[np.ndarray], np.ndarray], edges: np.ndarray) -> np.ndarray:
    nodes, weights, integrals = _collocation(12)
    total = np.eye(rate(edges[:1]).shape[-1])
    for low, high in pairwise(edges):
        h = high - low
        a = rate(low + h * nodes)
        n, size = a.shape[:2]
        blocks = h * np.einsum("ij,jab->iajb", integrals, a).reshape(n * size, n * size)
        stages = np.linalg.solve(np.eye(n * size) - blocks, np.tile(total, (n, 1))).reshape(n, size, size)
        total = total + h * np.einsum("i,iab,ibc->ac", weights, a, stages)
    return total
