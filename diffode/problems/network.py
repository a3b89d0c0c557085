r"""The digits network: a residual MLP F(z, level, label), and the denoiser D that it stands in.

With the mean m and the covariance Q diag(e) Qᵀ of the training digits, x = α x_0 + σ ε, r = Qᵀ(x − α m) and
v = α² e + σ²,

    D = m + Q (α e/v · r + σ √(e/v) · F(r/√v, level, label))

is the preconditioning of EDM (Karras et al., arXiv:2206.00364, table 1) in each principal direction instead of for all
pixels at once: the first part is the best linear denoiser, and what F has to add has unit variance in every direction.
Nothing is divided by α or σ, so that D holds from pure noise (α = 0) to data (σ = 0). Only ρ = σ/α counts: with EDM's
D(y, ρ) of y = x/α, this is D(x/α, σ/α).

F is told the level by the gains ρ²/(ρ² + ρ_k²) of filters at fixed noise levels ρ_k, and the label by a learned vector.

One text serves NumPy, torch and training: arrays of either kind go through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffode.models.base import Array, like, namespace

RADII = np.geomspace(0.02, 20.0, 16)
"""ρ_k, the noise levels that the network tells apart."""

CLASSES = 10
"""Labels 0 … 9; label 10 stands for none."""

STATISTICS = ("mean", "eigenvalues", "basis")
"""Names of m, e and Q, which are not trained."""

_BLOCK = ("film", "film_bias", "up", "up_bias", "down", "down_bias")


def denoise(
    parameters: Mapping[str, Array],
    x: Array,
    alpha: np.ndarray,
    sigma: np.ndarray,
    labels: np.ndarray,
    thin: Callable[[Array], Array] | None = None,
) -> Array:
    """The data prediction D.

    Parameters
    ----------
    parameters : mapping
        Those of `forward` as arrays like x, and `STATISTICS` as float64 NumPy arrays.
    x : array, shape (..., 64)
    alpha, sigma : ndarray of float64, shape (..., 1)
        One level for each sample, or one for all.
    labels : ndarray of int, shape (...)
    thin : callable, optional
        Applied to the hidden units; training drops some of them.

    Returns
    -------
    array, like x
    """
    m, e, q = (parameters[name] for name in STATISTICS)
    v = alpha**2 * e + sigma**2
    gains = sigma**2 / (sigma**2 + alpha**2 * RADII**2)
    basis = like(q, x)
    r = (x - like(alpha * m, x)) @ basis
    told = gains + np.zeros((*x.shape[:-1], 1))  # the same arithmetic for one level told once or for every sample
    f = forward(parameters, r * like(1.0 / np.sqrt(v), x), like(told, x), labels, thin)
    return like(m, x) + (like(alpha * e / v, x) * r + like(sigma * np.sqrt(e / v), x) * f) @ basis.T


def forward(
    parameters: Mapping[str, Array],
    z: Array,
    gains: Array,
    labels: np.ndarray,
    thin: Callable[[Array], Array] | None = None,
) -> Array:
    r"""F: residual blocks of two layers, scaled and shifted by what is known of level and label.

        c = silu(C silu(L g + E[label])),    h ← h + B silu(A (norm(h)(1 + s_c) + t_c)),    F = O norm(h)

    Parameters
    ----------
    parameters : mapping
        Matrices and biases; those of the blocks are stacked.
    z : array, shape (..., 64)
    gains : array, shape (..., 16)
    labels : ndarray of int, shape (...)
    thin : callable, optional
        Applied to the hidden units of each block.

    Returns
    -------
    array, like z
    """
    p = parameters
    c = _silu(gains @ p["level"] + p["label"][labels])
    c = _silu(c @ p["mix"] + p["mix_bias"])
    h = z @ p["enter"] + p["enter_bias"]
    width = h.shape[-1]
    for film, film_bias, up, up_bias, down, down_bias in zip(*(p[name] for name in _BLOCK), strict=True):
        turn = c @ film + film_bias
        hidden = _silu((_norm(h) * (1.0 + turn[..., :width]) + turn[..., width:]) @ up + up_bias)
        h = h + (hidden if thin is None else thin(hidden)) @ down + down_bias
    return _norm(h) @ p["leave"] + p["leave_bias"]


def _silu(h: Array) -> Array:
    """h/(1 + e^{−h}), without overflow."""
    return h * (0.5 + 0.5 * namespace(h).tanh(0.5 * h))


def _norm(h: Array) -> Array:
    """h over its root mean square."""
    return h / namespace(h).sqrt((h * h).mean(-1)[..., None] + 1e-6)


def labels_of(label: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One label per sample; none is label 10."""
    return np.broadcast_to(np.asarray(CLASSES if label is None else label), shape).copy()
