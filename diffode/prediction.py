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

The change is as well conditioned as these sums: A errs by a few units of round-off times (|q_1 p_2| + |q_2 p_1|)/|Δ|
and B by as many times (|α q_2| + |σ q_1|)/|Δ| (α, σ > 0 and σ/α increases, so that Δ does not cancel where α falls and
σ grows). With |A|, |B| in this sense, term by term, a round trip p → q → p errs by a few units of round-off times
|A_qp| |x| + |B_qp| (|A_pq| |x| + |B_pq| |p|). "eps" → "x0" loses digits as α → 0 and "x0" → "eps" as σ → 0, where the
one carries no information on the other.

At λ = ±∞ the coefficients are exact limits; where one of them is infinite, so that the source cannot tell the target,
there is an error instead.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from diffode import phi
from diffode.errors import ModelError, unknown
from diffode.expressions import Matrix
from diffode.kinds import Number, package_of
from diffode.plan import Level

Prediction = Literal["eps", "x0", "v", "score", "velocity"]

NAMES: tuple[str, ...] = get_args(Prediction)


def check(name: str, where: str) -> None:
    """Raise ModelError unless `name` is a prediction.

    >>> check("epsilon", "Denoiser")
    Traceback (most recent call last):
    diffode.errors.ModelError: Denoiser: no prediction named 'epsilon'; did you mean 'eps'?
    """
    if name not in NAMES:
        raise ModelError(f"{where}: {unknown('prediction', name, NAMES)}")


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
        Where x lives. Arrays of levels give arrays of coefficients.

    Returns
    -------
    (number, number)

    Raises
    ------
    ModelError
        If a name is not one of `NAMES`, or the source cannot tell the target at this level (eps at α = 0 the data, x0
        at σ = 0 the noise).

    Examples
    --------
    >>> import diffode as de
    >>> change("eps", "x0", de.EDM().level(2.0))
    (1.0, -2.0)
    """
    check(source, "prediction")
    check(target, "prediction")
    with np.errstate(all="ignore"):
        coefficients = _change(source, target, level)
    wrong = _endless(coefficients[0]) | _endless(coefficients[1])
    if np.any(wrong):
        t, alpha, sigma = (np.broadcast_to(u, np.shape(wrong))[wrong][0] for u in (level.t, level.alpha, level.sigma))
        raise ModelError(
            f"a model that predicts {source!r} cannot tell {target!r} at t={t} (α={alpha}, σ={sigma}); "
            "use a model that predicts 'v' or 'velocity', or start and end the grid inside"
        )
    return coefficients


def change_of_system(source: str, target: str, level: Level) -> tuple[Matrix, Matrix]:
    r"""The matrices (A, B) of target = A u + B source, for a level of a `LinearSystem`.

    With u = Ψ D + R ε, Ψ from 0 to the level, D the data (whose velocity is 0), and the score −R^{−T} ε.

    Parameters
    ----------
    source, target : {"eps", "x0", "score"}
    level : Level

    Returns
    -------
    (Matrix, Matrix)

    Raises
    ------
    ModelError
        If a name is none of these.
    """
    for name in (source, target):
        if name not in ("eps", "x0", "score"):
            raise ModelError(f"a system has the predictions 'eps', 'x0' and 'score', not {name!r}")
    root, flow = level.process.factor(level.t), level.process.transition(0.0, level.t)
    one = root @ root.inverse()
    none = one * 0.0
    if target == source:
        return none, one
    to_eps = {"eps": (none, one), "x0": (root.inverse(), root.inverse() @ flow * -1.0), "score": (none, root.T * -1.0)}
    a, b = to_eps[source]
    if target == "x0":
        back = flow.inverse()
        return back - back @ root @ a, back @ root @ b * -1.0
    pull = root.T.inverse() * -1.0 if target == "score" else one
    return pull @ a, pull @ b


def _change(source: str, target: str, level: Level) -> tuple[Number, Number]:
    """A and B; where there are none, not finite."""
    if source == target:
        return 0.0, 1.0
    alpha, sigma = level.alpha, level.sigma
    if {source, target} == {"score", "velocity"}:
        # α velocity = α′ x − w score; the limit of w where σ = 0, because σ′ may be ∞ there
        w = phi.choose(
            sigma == 0,
            lambda: 0.5 * alpha * level.process.g2(level.t),
            lambda: sigma * (alpha * level.dsigma - sigma * level.dalpha),
        )
        other, below = (w, alpha) if target == "velocity" else (alpha, w)
        return phi.divide(level.dalpha, below), phi.divide(-other, below)
    if source == "score":
        a, b = _change("eps", target, level)
        return a, -sigma * b
    if target == "score":
        a, b = _change(source, "eps", level)
        return phi.divide(-a, sigma), phi.divide(-b, sigma)
    (p1, p2), (q1, q2) = basis(source, level), basis(target, level)
    determinant = alpha * p2 - sigma * p1
    a = phi.choose(
        _endless(p2),  # σ′ = ∞
        lambda: phi.divide(q1, alpha),
        lambda: phi.divide(q1 * p2 - q2 * p1, determinant),
    )
    return a, phi.divide(alpha * q2 - sigma * q1, determinant)


def _endless(c: Number) -> Any:
    """Where a coefficient is infinite or not a number; symbols and series never are."""
    kind = package_of(c)
    if kind == "mpmath":
        return np.bool_(not c.context.isfinite(c))
    return ~np.isfinite(c) if kind in ("float", "array") else np.False_
