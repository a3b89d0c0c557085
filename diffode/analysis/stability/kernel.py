"""The Schur–Cohn test on a grid of z, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


def margins(coefficients: np.ndarray, re: np.ndarray, im: np.ndarray) -> np.ndarray:
    r"""1 − max_m |δ_m|² over the reduction of Schur and Cohn, at each z of a grid: positive where all |w| < 1.

        δ = p_0/p̄_k,    p ← (p − δ p*)/w,    m = k, k − 1, …, 1

    For a one-step method it is 1 − |R(z)|². It is continuous across the boundary of the region, so that a contour at 0
    is that boundary.

    Parameters
    ----------
    coefficients : ndarray, shape (steps + 1, degree + 1)
        Of w^j z^d.
    re, im : ndarray

    Returns
    -------
    ndarray, shape (len(im), len(re))
    """
    half = len(im) // 2
    if len(im) > 1 and np.allclose(
        im, -im[::-1], rtol=0.0, atol=1e-12 * abs(im[0])
    ):  # P is real: the lower half is the upper one
        upper = _margins(coefficients, re, im[half:])
        return np.concatenate([upper[: -half - 1 : -1], upper])
    return _margins(coefficients, re, im)


_BLOCK = 128
"""Points taken together: few enough that their coefficients stay in the fastest cache."""


@njit(cache=True, fastmath={"contract", "reassoc", "arcp", "nsz"}, error_model="numpy")
def _margins(c: Any, re: Any, im: Any) -> Any:  # pragma: no cover - compiled
    """Real and imaginary parts of each coefficient side by side, so that the inner loops are vectors."""
    steps, degree = c.shape[0] - 1, c.shape[1] - 1
    out = np.ones((len(im), len(re)))
    a, b = np.empty((steps + 1, _BLOCK)), np.empty((steps + 1, _BLOCK))
    a2, b2 = np.empty((steps + 1, _BLOCK)), np.empty((steps + 1, _BLOCK))
    dr, di = np.empty(_BLOCK), np.empty(_BLOCK)
    for start in range(0, len(re), _BLOCK):
        x = re[start : start + _BLOCK]
        n = len(x)
        for row in range(len(im)):
            y = im[row]
            for j in range(steps + 1):
                top = degree
                while top > 0 and c[j, top] == 0.0:
                    top -= 1
                for i in range(n):
                    a[j, i] = c[j, top]
                    b[j, i] = 0.0
                for d in range(top - 1, -1, -1):
                    for i in range(n):
                        u = a[j, i]
                        a[j, i] = u * x[i] - b[j, i] * y + c[j, d]
                        b[j, i] = u * y + b[j, i] * x[i]
            for m in range(steps, 0, -1):
                for i in range(n):
                    size = 1.0 / (a[m, i] * a[m, i] + b[m, i] * b[m, i])
                    dr[i] = (a[0, i] * a[m, i] - b[0, i] * b[m, i]) * size
                    di[i] = (a[0, i] * b[m, i] + b[0, i] * a[m, i]) * size
                    left = 1.0 - (dr[i] * dr[i] + di[i] * di[i])
                    out[row, start + i] = left if left < out[row, start + i] else out[row, start + i]
                for j in range(m if m > 1 else 0):
                    q = m - 1 - j
                    for i in range(n):
                        a2[j, i] = a[j + 1, i] - (dr[i] * a[q, i] + di[i] * b[q, i])
                        b2[j, i] = b[j + 1, i] - (di[i] * a[q, i] - dr[i] * b[q, i])
                a, a2 = a2, a
                b, b2 = b2, b
    return out
