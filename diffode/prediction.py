r"""Predictions: five ways to tell the same thing, each a linear change of basis.

A network returns some combination q = q_1 x̂_0 + q_2 ε̂ of the clean data and the noise of
x = α x̂_0 + σ ε̂. Given x, any one of them determines the others:

    "x0"        (1, 0)          data prediction D = E[x_0 | x]
    "eps"       (0, 1)          noise prediction
    "v"         (−σ, α)         v-prediction (Salimans and Ho, arXiv:2202.00512), for any α and σ
    "score"     (0, −1/σ)       ∇ log p
    "velocity"  (α′, σ′)        dx/dt of the probability-flow ODE (flow matching)

Going from p to q, q = A x + B p with

    A = (q_1 p_2 − q_2 p_1)/Δ,    B = (α q_2 − σ q_1)/Δ,    Δ = α p_2 − σ p_1.

The change is as well conditioned as Δ allows: a round trip p → q → p errs by at most a few units of
round-off times |A_pq|·|B_qp|·|x| + |B_pq|·|B_qp|·|p|; "eps" → "x0" loses digits as α → 0 and "x0" → "eps"
as σ → 0, where the one carries no information on the other.
"""

from __future__ import annotations

from typing import Literal, get_args

from diffode import phi
from diffode.errors import ModelError
from diffode.kinds import Number
from diffode.plan import Level

Prediction = Literal["eps", "x0", "v", "score", "velocity"]

NAMES: tuple[str, ...] = get_args(Prediction)


def check(name: str, where: str) -> None:
    """Raise ModelError unless `name` is a prediction.

    >>> check("noise", "Denoiser")
    Traceback (most recent call last):
    diffode.errors.ModelError: Denoiser: no prediction named 'noise'; there are eps, x0, v, score, velocity
    """
    if name not in NAMES:
        raise ModelError(f"{where}: no prediction named {name!r}; there are {', '.join(NAMES)}")


def basis(name: str, level: Level) -> tuple[Number, Number]:
    """The coefficients (q_1, q_2) of a prediction in clean data and noise.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    level : Level

    Returns
    -------
    (number, number)
    """
    if name == "x0":
        return 1.0, 0.0
    if name == "eps":
        return 0.0, 1.0
    if name == "v":
        return -level.sigma, level.alpha
    if name == "score":
        return 0.0, phi.divide(-1.0, level.sigma)
    check(name, "prediction")
    return level.dalpha, level.dsigma


def change(source: str, target: str, level: Level) -> tuple[Number, Number]:
    r"""The coefficients (A, B) of target = A x + B source.

    Parameters
    ----------
    source, target : str
        Names of predictions.
    level : Level
        Where x lives.

    Returns
    -------
    (number, number)

    Raises
    ------
    ModelError
        If the source says nothing about the target at this level (eps at α = 0, x0 at σ = 0).

    Examples
    --------
    >>> import diffode as de
    >>> change("eps", "x0", de.EDM().level(2.0))
    (1.0, -2.0)
    """
    if source == target:
        return 0.0, 1.0
    if source == "score" and target == "eps":
        return 0.0, -level.sigma
    p1, p2 = basis(source, level)
    q1, q2 = basis(target, level)
    determinant = level.alpha * p2 - level.sigma * p1
    if isinstance(determinant, float) and determinant == 0.0:
        raise ModelError(
            f"a model that predicts {source!r} cannot tell {target!r} at t={level.t} "
            f"(α={level.alpha}, σ={level.sigma}); use a model that predicts 'v' or 'velocity', "
            "or start and end the grid inside"
        )
    return (q1 * p2 - q2 * p1) / determinant, (level.alpha * q2 - level.sigma * q1) / determinant
