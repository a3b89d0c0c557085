r"""Exact moments: what a plan does to Gaussian data, without one sample.

For x_0 ~ N(m, S) the exact denoiser is affine, and in the eigenbasis of S it acts on each coordinate alone. So every
register of a plan is, coordinate by coordinate,

    register = Σ_j a_j input_j + b + Σ_k w_k z_k,        z_k independent standard normals,

and one pass over the rows gives all coefficients. The output law of an ODE *or* SDE solver follows exactly: bias,
variance, W2 and KL, in float64 or in as many digits as the plan was compiled with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.brownian import factors
from diffode.errors import PlanError
from diffode.kinds import Number, package_of
from diffode.models import Gaussian, GaussianMixture
from diffode.plan import Combine, Constant, Evaluate, Level, Plan
from diffode.prediction import basis

Column = np.ndarray
"""Coefficients of one register, shape (inputs + 1 + noises, eigenvalues)."""


@dataclass(frozen=True)
class Spectrum:
    """Gaussian data in the eigenbasis of its covariance.

    Attributes
    ----------
    eigenvalues, mean : ndarray, shape (d,)
        Of the covariance; and the mean in that basis.
    basis : ndarray, shape (d, d)
        Eigenvectors in columns.
    """

    eigenvalues: np.ndarray
    mean: np.ndarray
    basis: np.ndarray

    @staticmethod
    def of(data: GaussianMixture) -> Spectrum:
        """The spectrum of Gaussian data.

        Raises
        ------
        PlanError
            If the data are a mixture of several Gaussians.
        """
        if len(data.weights) != 1:
            raise PlanError(
                f"the exact law needs Gaussian data, not a mixture of {len(data.weights)}; run the solver on samples "
                "instead, or use de.Gaussian(data.mean, data.covariance)"
            )
        dimension = data.dimension
        vectors = np.eye(dimension) if data.bases is None else data.bases[0]
        values = np.broadcast_to(data.eigenvalues[0], (dimension,))
        return Spectrum(values, vectors.T @ data.means[0], vectors)

    def marginal(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of x at a level: α m and α² e + σ²."""
        return level.alpha * self.mean, level.alpha * level.alpha * self.eigenvalues + level.sigma * level.sigma


@dataclass(frozen=True)
class Law:
    """A Gaussian law in the eigenbasis of the data, as a plan puts it out.

    Attributes
    ----------
    spectrum : Spectrum
        Of the data.
    coordinate_mean, variance : ndarray, shape (d,)
        In the eigenbasis.
    level : Level
        Where the plan ends.
    """

    spectrum: Spectrum
    coordinate_mean: np.ndarray
    variance: np.ndarray
    level: Level

    @property
    def mean(self) -> np.ndarray:
        """Mean of the output, shape (d,)."""
        return self.spectrum.basis @ self.coordinate_mean

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the output, shape (d, d)."""
        vectors = self.spectrum.basis
        return vectors @ np.diag(self.variance) @ vectors.T

    @property
    def exact(self) -> Law:
        """The law that the output should have: the marginal of the process at the last level."""
        mean, variance = self.spectrum.marginal(self.level)
        return Law(self.spectrum, mean, variance, self.level)

    def w2(self, data: GaussianMixture | Law | None = None) -> float:
        r"""Wasserstein-2 distance to Gaussian data, or to another law (the exact marginal by default).

            W2² = |m_1 − m_2|² + tr(C_1 + C_2 − 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2})

        Parameters
        ----------
        data : Gaussian or Law, optional
        """
        mean, basis, variance = self._seen_by(data)
        shift = np.sum((self.coordinate_mean - mean) ** 2)
        if basis is None:
            return float(np.sqrt(shift + np.sum((np.sqrt(self.variance) - np.sqrt(variance)) ** 2)))
        root = np.sqrt(self.variance)[:, None] * basis * np.sqrt(variance)  # C_1^{1/2} C_2^{1/2}, up to rotations
        both = np.sum(np.linalg.svd(root, compute_uv=False))
        return float(np.sqrt(max(shift + np.sum(self.variance) + np.sum(variance) - 2 * both, 0.0)))

    def kl(self, data: GaussianMixture | Law | None = None) -> float:
        r"""Kullback–Leibler divergence KL(self ‖ other) to Gaussian data, or to another law.

            KL = ½ (tr(C_2^{−1} C_1) − d + (m_1 − m_2)ᵀ C_2^{−1} (m_1 − m_2) + log det C_2 − log det C_1)

        Parameters
        ----------
        data : Gaussian or Law, optional
        """
        mean, basis, variance = self._seen_by(data)
        turned = np.eye(len(mean)) if basis is None else basis
        ratio = (turned.T**2 @ self.variance) / variance
        shift = (turned.T @ (self.coordinate_mean - mean)) ** 2 / variance
        logs = np.sum(np.log(variance)) - np.sum(np.log(self.variance))
        return float(0.5 * (np.sum(ratio - 1 + shift) + logs))

    def _seen_by(self, data: GaussianMixture | Law | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """The other law in these coordinates: mean, eigenvectors (None where they are the same), variances."""
        other = self.exact if data is None else data
        if not isinstance(other, Law):
            spectrum = Spectrum.of(other)
            other = Law(spectrum, spectrum.mean, spectrum.eigenvalues, self.level)
        if np.array_equal(other.spectrum.basis, self.spectrum.basis):
            return other.coordinate_mean, None, other.variance
        if other.spectrum.basis.shape != self.spectrum.basis.shape:
            dimensions = f"{len(other.variance)} dimensions, the plan's {len(self.variance)}"
            raise PlanError(f"w2 and kl: the other law has {dimensions}; compare laws on one space")
        return self.spectrum.basis.T @ other.mean, self.spectrum.basis.T @ other.spectrum.basis, other.variance


def law(plan: Plan, data: GaussianMixture, start: str = "marginal") -> Law:
    """The exact output law of a plan on Gaussian data.

    Parameters
    ----------
    plan : Plan
        Linear, with one input.
    data : Gaussian
    start : {"marginal", "prior"}
        The law of x_T: the marginal of the process at the first level, so that only the solver errs; or N(0, σ_T²),
        what a sampler starts from.

    Returns
    -------
    Law

    Raises
    ------
    PlanError
        If the plan has `Dynamic` rows, or the data are not Gaussian.

    Examples
    --------
    >>> import diffode as de
    >>> process, data = de.EDM(), de.Gaussian(0.0, 0.25)
    >>> plan = de.compile("ddim", process, de.grids.karras(process, 18))
    >>> out = law(plan, data)
    >>> bool(out.variance[0] < out.exact.variance[0])      # DDIM under-disperses
    True
    """
    if not isinstance(plan, Plan):
        raise PlanError(f"law: give a plan, made by de.compile(solver, process, grid), not {plan!r}")
    if start not in ("marginal", "prior"):
        raise PlanError(f"law: start must be 'marginal' or 'prior', not {start!r}")
    plan.require_linear("the exact law")
    if len(plan.inputs) != 1:
        raise PlanError(f"law: the plan continues an earlier run ({len(plan.inputs)} inputs); compile the whole of it")
    spectrum = Spectrum.of(data)
    column = affine(plan, spectrum)[plan.states[-1]]
    first = plan.levels[0]
    mean, variance = spectrum.marginal(first)
    if start == "prior":
        mean, variance = 0 * mean, 0 * variance + first.sigma * first.sigma
    gain, offset, weights = column[0], column[1], column[2:]
    out = gain * gain * variance + (weights * weights).sum(axis=0)
    return Law(spectrum, gain * mean + offset, out, plan.levels[-1])


def affine(plan: Plan, spectrum: Spectrum) -> dict[str, Column]:
    """Every register of a plan as an affine function of its inputs and of standard normals.

    Parameters
    ----------
    plan : Plan
        Linear.
    spectrum : Spectrum

    Returns
    -------
    dict
        Register → coefficients, shape (inputs + 1 + noises, d): of each input, the constant, and of each noise.
    """
    plan.require_linear("the exact law")
    return columns(plan, spectrum, _evaluated)


def columns(plan: Plan, spectrum: Spectrum, evaluated: Callable[..., dict[str, Column]]) -> dict[str, Column]:
    """`affine`, with what an evaluation defines given as a function of row, columns so far, constant and spectrum."""
    width = len(plan.inputs) + 1 + len(plan.noises)
    like = _zero(plan)
    known: dict[str, Column] = {}
    for j, name in enumerate(plan.inputs):
        known[name] = _unit(width, j, spectrum, like)
    mixes = factors(plan)
    for row in plan.rows:
        if isinstance(row, Constant):
            column = _unit(width, None, spectrum, like)
            column[len(plan.inputs)] = like + spectrum.basis.sum(axis=0)
            known[row.out] = column
        elif isinstance(row, Combine):
            total = _unit(width, None, spectrum, like)
            for c, name in row.terms:
                total = total + c * known[name]
            known[row.out] = total
        elif isinstance(row, Evaluate):
            known.update(evaluated(row, known, len(plan.inputs), spectrum))
        else:
            column = _unit(width, None, spectrum, like)
            for k, weight in mixes[row.out].items():
                column[len(plan.inputs) + 1 + k] = column[len(plan.inputs) + 1 + k] + weight
            known[row.out] = column
    return known


def _evaluated(row: Evaluate, known: dict[str, Column], constant: int, spectrum: Spectrum) -> dict[str, Column]:
    slope, offset = gaussian_prediction(row.prediction, row.at or row.level, spectrum)
    value = slope * known[row.x]
    value[constant] = value[constant] + offset
    return {row.out: value}


def gaussian_prediction(prediction: str, level: Level, spectrum: Spectrum) -> tuple[Any, Any]:
    """Slope and offset of the exact prediction, an affine function of x in each coordinate.

    With v = α² e + σ²: D = (α e/v) x + σ² m/v and ε = (σ/v)(x − α m).
    """
    alpha, sigma, e, m = level.alpha, level.sigma, spectrum.eigenvalues, spectrum.mean
    v = alpha * alpha * e + sigma * sigma
    q1, q2 = basis(prediction, level)
    slope = q1 * (alpha * e / v) + q2 * (sigma / v)
    offset = q1 * (sigma * sigma * m / v) - q2 * (alpha * sigma * m / v)
    return slope, offset


def amplification(plan: Plan) -> float:
    """How rounding in a plan adds up: max over Gaussian data of Σ over rows |∂ final state/∂ row|.

    The derivative runs backwards through the rows; the data have variance 0, 10⁻², 1 and ∞, so that the denoiser's
    slope is any of those that well-behaved data give.
    """
    plan.require_linear("the amplification")
    worst = 0.0
    for variance in (0.0, 1e-2, 1.0, 1e12):
        spectrum = Spectrum(np.array([variance]), np.zeros(1), np.eye(1))
        worst = max(worst, _sensitivity(plan, spectrum))
    return worst


def _sensitivity(plan: Plan, spectrum: Spectrum) -> float:
    adjoint: dict[str, Any] = dict.fromkeys(plan.inputs, 0.0)
    adjoint.update({row.out: 0.0 for row in plan.rows})
    adjoint[plan.states[-1]] = 1.0
    for row in reversed(plan.rows):
        if isinstance(row, Combine):
            for c, name in row.terms:
                adjoint[name] = adjoint[name] + c * adjoint[row.out]
        elif isinstance(row, Evaluate):
            slope, _ = gaussian_prediction(row.prediction, row.at or row.level, spectrum)
            adjoint[row.x] = adjoint[row.x] + slope * adjoint[row.out]
    return float(sum(np.max(np.abs(np.asarray(a, dtype=float))) for a in adjoint.values()))


def _zero(plan: Plan) -> Number:
    """0 in the kind of number of the plan's coefficients."""
    for row in plan.rows:
        if isinstance(row, Combine):
            for c, _ in row.terms:
                if package_of(c) == "mpmath":
                    return c * 0
                if package_of(c) == "array":
                    raise PlanError("the exact law needs one level for all entries, not an array of levels")
    return 0.0


def _unit(width: int, j: int | None, spectrum: Spectrum, like: Number) -> Column:
    column = np.full((width, len(spectrum.eigenvalues)), like)
    if j is not None:
        column[j] = like + 1
    return column


def standard_gaussian(variances: Sequence[float], mean: float = 0.5) -> Gaussian:
    """Gaussian data with independent coordinates of given variances, for tests and certificates."""
    return Gaussian(np.full(len(variances), mean), np.asarray(variances, dtype=float))
