r"""Guidance on Gaussian data: the model that it makes, its Jacobian, its exact flow, and how to run it.

Classifier-free guidance of scale w extrapolates a conditional and an unconditional prediction,

    D_w = D_u + w (D_c − D_u),    ε_w = ε_u + w (ε_c − ε_u),    s_w = s_u + w (s_c − s_u),

which is one statement: at a given x the three are the same up to a change of basis. On Gaussian data with covariances
that share their eigenvectors every coordinate is alone; with eigenvalues e and ē, v = α² e + σ² and v̄ = α² ē + σ²,

    ∂D_w/∂x = w α e/v + (1 − w) α ē/v̄,    ∂ε_w/∂x = w σ/v + (1 − w) σ/v̄.

Means move the fixed point, not the Jacobian. What decides is how much broader the unconditional law is:

    ē = e    the Jacobian does not know w: guidance shifts the mean, and is stable wherever the solver is
    ē = ∞    ∂ε_w/∂x = w ∂ε_c/∂x: the scale is a factor on the Jacobian of the score (and of the noise prediction),
             and p_w ∝ p_c^w. The default, and the stiffest that guidance can be: a law without bounds is the
             farthest from what the condition leaves
    ē = 0    ∂D_w/∂x = w ∂D_c/∂x: a factor on the Jacobian of the data prediction. An unconditional law that is a point
             is no model of anything, and its guided flow expands

With y = x/α and ρ = σ/α = e^{−λ} the guided probability-flow ODE is linear in each coordinate and solved at once:

    dy/dλ = −κ y,    κ = ρ² (w/(e + ρ²) + (1 − w)/(ē + ρ²)),    y ∝ (e + ρ²)^{w/2} (ē + ρ²)^{(1 − w)/2},

and the mean of the reverse SDE at noise level τ the same with (1 + τ²) κ. Without guidance x/√v is constant: the
standard deviation √v is the unit in which the exact flow neither grows nor shrinks, and in which all amplification is
told here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffode.analysis.moments import Spectrum, gaussian_prediction
from diffode.errors import PlanError
from diffode.models import Gaussian, GaussianMixture, Guided, Model
from diffode.plan import Level
from diffode.prediction import basis
from diffode.process import Process

Data = GaussianMixture | Sequence[float] | np.ndarray
"""Gaussian data, or the eigenvalues of its covariance."""


@dataclass(frozen=True)
class Guidance:
    """Guided Gaussian data in their common eigenbasis.

    Attributes
    ----------
    eigenvalues : ndarray, shape (d,)
        e, of the conditional law.
    unconditional : ndarray, shape (d,), or None
        ē; None stands for ∞.

    Examples
    --------
    >>> import diffode as de
    >>> flat, level = Guidance.of([0.25]), de.EDM().level(0.5)
    >>> flat.slope("eps", level, 3.0) / flat.slope("eps", level, 1.0)
    array([3.])
    """

    eigenvalues: np.ndarray
    unconditional: np.ndarray | None = None

    @staticmethod
    def of(data: Data, unconditional: GaussianMixture | None = None) -> Guidance:
        """The guided model of a conditional and an unconditional law (None: infinitely broad).

        Raises
        ------
        PlanError
            If a law is not Gaussian, the eigenvalues are no variances, or the covariances do not commute.
        """
        if not isinstance(data, GaussianMixture):
            values = np.asarray(data, dtype=float)
            if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values)) or values.min() < 0:
                raise PlanError(f"guidance: data must be Gaussian, or list its variances (not negative), not {data!r}")
            data = Gaussian(np.zeros(len(values)), np.diag(values))
            spectrum = Spectrum(values, np.zeros(len(values)), np.eye(len(values)))
        else:
            spectrum = Spectrum.of(data)
        if unconditional is None:
            return Guidance(spectrum.eigenvalues)
        other = Spectrum.of(unconditional)
        if len(other.eigenvalues) != len(spectrum.eigenvalues):
            sizes = f"{len(other.eigenvalues)} dimensions, data {len(spectrum.eigenvalues)}"
            raise PlanError(f"guidance: unconditional has {sizes}; they must live in one space")
        seen = spectrum.basis.T @ unconditional.covariance @ spectrum.basis
        values = np.diag(seen).copy()
        if np.max(abs(seen - np.diag(values))) > 1e-9 * max(float(np.max(values)), 1e-300):
            raise PlanError(
                "guidance: the covariances of data and unconditional have different eigenvectors, so that no "
                "coordinate is alone; give both in one eigenbasis"
            )
        return Guidance(spectrum.eigenvalues, np.clip(values, 0.0, None))

    @cached_property
    def distinct(self) -> Guidance:
        """Every pair of eigenvalues once."""
        if self.unconditional is None:
            return Guidance(np.unique(self.eigenvalues))
        e, other = np.unique(np.stack([self.eigenvalues, self.unconditional]), axis=1)
        return Guidance(e, other)

    def slope(self, prediction: str, level: Level, scale: Any, output: str | None = None) -> Any:
        """∂ prediction/∂x of a branch at a level, for scales that broadcast against the eigenvalues."""
        own = self._slope(prediction, level, self.eigenvalues)
        if output == "conditional" or (self.unconditional is None and not told(prediction, level)):
            return own + 0 * scale
        other = self._broad(prediction, level)
        return other + (0 if output == "unconditional" else 1) * scale * (own - other)

    @staticmethod
    def _slope(prediction: str, level: Level, eigenvalues: np.ndarray) -> Any:
        return gaussian_prediction(prediction, level, Spectrum(eigenvalues, 0 * eigenvalues, np.eye(1)))[0]

    def _broad(self, prediction: str, level: Level) -> Any:
        """That of the unconditional model; an infinitely broad law predicts D = x/α and no noise."""
        if self.unconditional is not None:
            return self._slope(prediction, level, self.unconditional)
        return basis(prediction, level)[0] / level.alpha if level.alpha else 0.0

    def rate(self, level: Level, scale: Any) -> Any:
        """κ at a level; see the module's formula."""
        square = level.rho * level.rho
        own = square / (self.eigenvalues + square)
        other = 0.0 if self.unconditional is None else square / (self.unconditional + square)
        return other + scale * (own - other)

    def deviations(self, levels: Sequence[Level]) -> np.ndarray:
        """√v at every level, shape (levels, d)."""
        return np.array([np.sqrt(a.alpha * a.alpha * self.eigenvalues + a.sigma * a.sigma) for a in levels])

    def flow(self, levels: Sequence[Level], scale: Any, tau: float = 0.0) -> np.ndarray:
        """log of x/√v along the exact guided flow from any start, up to a constant; shape (levels, …, d)."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            squares = np.array([level.rho * level.rho for level in levels])
            own = self._log(squares, self.eigenvalues)
            other = 0.0 * own if self.unconditional is None else self._log(squares, self.unconditional)
            shape = (len(levels), *(1,) * (np.ndim(scale) - 1), len(self.eigenvalues))
            own, other = own.reshape(shape), other.reshape(shape)
            return (1 + tau * tau) * (other + scale * (own - other)) - own

    @staticmethod
    def _log(squares: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
        """log of √(e + ρ²)."""
        return 0.5 * np.log(eigenvalues + squares[:, None])

    def model(self, process: Process, scale: float) -> Model:
        """The guided model, to be run: two exact denoisers in `Guided`, or the conditional one with its noise × w."""
        own = self._centred(self.eigenvalues).denoiser(process)
        if self.unconditional is None:
            return Sharpened(own, scale)
        return Guided(own, self._centred(self.unconditional).denoiser(process), scale)

    @staticmethod
    def _centred(eigenvalues: np.ndarray) -> GaussianMixture:
        return GaussianMixture([1.0], np.zeros((1, len(eigenvalues))), np.sqrt(eigenvalues)[None])


def told(prediction: str, level: Level) -> bool:
    """Whether the noise tells a prediction at a level: all but pure noise, where it says nothing of the data."""
    return bool(level.alpha) or not np.any(basis(prediction, level)[0])


class Sharpened(Model):
    r"""The model of p^w at every noise level: guidance against an infinitely broad unconditional law.

        ε_w = w ε,    ε_u = 0

    In pure noise (α = 0) what ε does not tell is predicted without guidance.

    Parameters
    ----------
    model : Model
    scale : float
        w.
    """

    prediction = "eps"

    def __init__(self, model: Model, scale: float) -> None:
        self.model, self.scale = model, float(scale)
        self.process, self.multiple = model.process, model.multiple

    def predict(
        self,
        x: Any,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Any:
        level = at or level  # as the exact model, which then speaks of that level throughout
        if not told(prediction, level):
            return self.model.predict(x, level, prediction, to=to)
        return super().predict(x, level, prediction, to=to, output=output)

    def native(self, x: Any, level: Level, output: str | None = None, to: Level | None = None) -> Any:
        share = {"conditional": 1.0, "unconditional": 0.0}.get(output or "", self.scale)
        return share * self.model.predict(x, level, "eps", to=to)
