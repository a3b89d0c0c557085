"""Laws of data whose denoisers are known in closed form: Gaussians, Gaussian mixtures, point clouds."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from diffode.errors import ModelError
from diffode.models.exact import ExactDenoiser
from diffode.models.systems import ExactSystem
from diffode.process import Process
from diffode.process.base import require_process
from diffode.process.system import LinearSystem


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
        If the shapes do not fit, a number is not finite, a weight is not positive, or a covariance is not symmetric
        and positive semidefinite.

    Examples
    --------
    >>> import diffode as de
    >>> data = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.1, 0.1])
    >>> data.dimension, round(float(data.covariance[0, 0]), 2)
    (1, 1.01)
    """

    def __init__(self, weights: Any, means: Any, stds: Any) -> None:
        self.weights = np.atleast_1d(_numbers("GaussianMixture: weights", weights))
        self.means = _numbers("GaussianMixture: means", means)
        if self.means.ndim < 2:
            self.means = self.means.reshape(-1, 1)
        if self.means.ndim > 2 or not self.means.size:
            raise ModelError(f"GaussianMixture: means must have shape (K, d) or (K,), not {self.means.shape}")
        stds = _numbers("GaussianMixture: stds", stds)
        count, dimension = self.means.shape
        if self.weights.shape != (count,) or not np.all((self.weights > 0) & (self.weights < np.inf)):
            raise ModelError(
                f"GaussianMixture: weights must be {count} positive numbers, one per mean, not {self.weights}"
            )
        self.weights = self.weights / self.weights.sum()
        if stds.ndim < 3 and np.any(stds < 0):
            raise ModelError(f"GaussianMixture: stds must not be negative, but one is {stds.min()}")
        if stds.shape not in ((), (count,), (count, dimension), (count, dimension, dimension)):
            raise ModelError(
                f"GaussianMixture: stds must have shape ({count},), ({count}, {dimension}) or "
                f"({count}, {dimension}, {dimension}), not {stds.shape}"
            )
        for name, values in dict(means=self.means, stds=stds).items():
            if not np.all(np.isfinite(values)):
                raise ModelError(f"GaussianMixture: {name} must be finite, but one is {_first_endless(values)}")
        if stds.ndim == 3:
            if not np.allclose(stds, np.swapaxes(stds, 1, 2), rtol=1e-9, atol=1e-12 * np.max(np.abs(stds))):
                raise ModelError("GaussianMixture: a covariance matrix is not symmetric; give (C + C.T)/2")
            values, self.bases = np.linalg.eigh(0.5 * (stds + np.swapaxes(stds, 1, 2)))
            if values.min() < -1e-12 * max(values.max(), 1e-300):
                raise ModelError(
                    "GaussianMixture: a covariance matrix is not positive semidefinite; "
                    f"it has the eigenvalue {values.min():.6g}"
                )
            self.eigenvalues = np.clip(values, 0.0, None)
        else:
            self.bases = None
            flat = np.broadcast_to(stds, (count,)) if stds.ndim < 1 else stds
            self.eigenvalues = (flat**2).reshape(count, -1)

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
        for k, basis in enumerate(() if self.bases is None else self.bases):
            z[which == k] = z[which == k] @ basis.T
        return self.means[which] + z

    @overload
    def denoiser(  # pyright: ignore[reportOverlappingOverload]
        self, process: LinearSystem, mu: None = None
    ) -> ExactSystem: ...
    @overload
    def denoiser(self, process: Process, mu: Any = None) -> ExactDenoiser: ...
    def denoiser(self, process: Process, mu: Any = None) -> ExactDenoiser | ExactSystem:
        """The exact model of this data under a process.

        Parameters
        ----------
        process : Process
        mu : array_like, optional
            The anchor, for an anchored process: `model(x, t)` then subtracts b_t μ from x.
        """
        require_process(process, "denoiser")
        if isinstance(process, LinearSystem):
            return ExactSystem(self, process)
        return ExactDenoiser(self, process, mu)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.weights)} components in {self.dimension} dimensions>"


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
        mean = np.atleast_1d(_numbers("Gaussian: mean", mean))
        covariance = _numbers("Gaussian: covariance", covariance)
        if covariance.ndim < 2:
            if np.any(covariance < 0):
                raise ModelError(f"Gaussian: variances must not be negative, got {covariance}")
            stds = np.sqrt(covariance)
            stds = np.broadcast_to(stds, mean.shape) if stds.ndim == 0 else stds
        else:
            stds = covariance
        if mean.ndim != 1 or stds.shape not in (mean.shape, 2 * mean.shape):
            raise ModelError(
                "Gaussian: mean must have shape (d,) and covariance (d, d), (d,) or (), "
                f"not {mean.shape} and {covariance.shape}"
            )
        super().__init__([1.0], mean[None], stds[None])


class PointCloud(GaussianMixture):
    """Data that are finitely many points (an empirical distribution).

    Parameters
    ----------
    points : array_like, shape (K, d)
    weights : array_like, shape (K,), optional
    """

    def __init__(self, points: Any, weights: Any = None) -> None:
        points = _numbers("PointCloud: points", points)
        if points.ndim != 2:
            raise ModelError(f"PointCloud: points must have shape (K, d), not {points.shape}")
        count = len(points)
        super().__init__(np.ones(count) if weights is None else weights, points, np.zeros(count))


def _numbers(what: str, given: Any) -> np.ndarray:
    """Numbers as an array; ModelError for words, and for rows of different lengths."""
    try:
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise ModelError(f"{what} must be numbers, all rows of one length, not {given!r}") from None


def _first_endless(values: np.ndarray) -> float:
    return float(values[~np.isfinite(values)][0])
