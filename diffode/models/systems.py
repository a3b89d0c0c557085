r"""The exact model of Gaussian-mixture data under a linear system, with its velocities drawn anew.

A component N(m, Q diag(e) Qᵀ) of the data is, in each eigendirection, Gaussian in (x, v):

    mean Ψ₀ m,    V = e Ψ₀ Ψ₀ᵀ + Σ,    Ψ₀ the first column of Ψ(t, 0)

and the score is Σ_k p_k (−V_k^{−1} (u − mean_k)), with p_k by log-sum-exp. NumPy and torch share the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from diffode.errors import ModelError
from diffode.kinds import shown
from diffode.models.base import Array, Model, like, namespace
from diffode.plan import Level
from diffode.process.system import LinearSystem

if TYPE_CHECKING:
    from diffode.models.mixtures import GaussianMixture


class ExactSystem(Model):
    """The exact score of a mixture under a system, and what follows from it; states have shape (batch, 2, d).

    Parameters
    ----------
    data : GaussianMixture
        The law of the positions.
    process : LinearSystem

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> model = de.Gaussian(0.3, 0.25).denoiser(de.CLD())
    >>> model(np.zeros((5, 2, 1)), 0.5).shape
    (5, 2, 1)
    """

    prediction = "score"

    def __init__(self, data: GaussianMixture, process: LinearSystem) -> None:
        self.data, self.process, self.system = data, process, process

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        """The score ∇ log p_t(x, v)."""
        xp, data, process = namespace(x), self.data, self.system
        if len(x.shape) != 3 or tuple(x.shape[1:]) != (process.components, data.dimension):
            raise ModelError(
                f"the exact model under {process!r} needs states of shape (batch, {process.components}, "
                f"{data.dimension}), positions and velocities, not {tuple(x.shape)}"
            )

        def array(a: Any) -> Array:
            return like(np.asarray(a, dtype=float), x)

        column = [row[0] for row in process.transition(0.0, level.t).rows]
        xx, xv, _, vv = process.covariance(level.t).entries
        values = np.broadcast_to(data.eigenvalues, data.means.shape)
        p, q = column
        a, b, d = xx + values * p * p, xv + values * p * q, vv + values * q * q
        determinant = xx * vv - xv * xv + values * (vv * p * p - 2 * xv * p * q + xx * q * q)
        if not np.all(determinant > 0):
            raise ModelError(f"the data have no density at t={shown(level.t)}; end at a later time")
        a, b, d, determinant = (array(c) for c in (a, b, d, determinant))
        means = array(data.means)
        r, s = (x[:, k, None, :] - like(float(c), x) * means for k, c in enumerate(column))
        if data.bases is not None:
            bases = array(data.bases)
            r, s = (xp.einsum("kij,nki->nkj", bases, part) for part in (r, s))
        pulled = ((d * r - b * s) / determinant, (a * s - b * r) / determinant)
        squares = (r * pulled[0] + s * pulled[1]).sum(-1)
        logs = array(np.log(data.weights)) - 0.5 * (squares + xp.log(determinant).sum(-1))
        weights = xp.exp(logs - xp.amax(logs, -1)[..., None])
        weights = (weights / weights.sum(-1)[..., None])[..., None]
        if data.bases is not None:
            pulled = tuple(xp.einsum("kij,nkj->nki", array(data.bases), part) for part in pulled)
        return -xp.stack([(weights * part).sum(1) for part in pulled], 1)
