r"""Align your steps: levels that make an upper bound of the Kullback–Leibler divergence least.

In y = x/α and ρ = σ/α, freezing the data prediction D at the noisier end of each step of the reverse SDE costs

    KLUB = Σ_k K(ρ_{k+1}, ρ_k),    K(a, b) = ∫_a^b ρ^{−3} E|D(y_ρ, ρ) − D(y_b, b)|² dρ

with y_b = y_ρ + √(b² − ρ²) ε. Denoisers are posterior means, so D along a path of the process is a martingale towards
the data, and the mean square is m(b) − m(ρ), where m(ρ) = E|x_0 − D(y_ρ, ρ)|² is what training reports at each level:

    K(a, b) = ½ m(b) (a^{−2} − b^{−2}) − ∫_a^b ρ^{−3} m(ρ) dρ

For an exact denoiser that is an identity; for a learned one it is as good as the network. The bound belongs to the
first-order solver *with* noise. On N(0, c² I) its best levels are not those of theorem 3.1, which minimise the
divergence of what DDIM puts out and lie at equal steps of arctan(ρ/c): for these take `flow="ode"`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffode.backends.base import seeded
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError
from diffode.fitting.grids import SearchedGrid, Target, check_nfe, of_shares, shares, target_of
from diffode.fitting.keeping import Keeper, Progress
from diffode.grids import TimeGrid

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Klub:
    """K(a, b) of steps from b to a, two noise levels ρ.

    Attributes
    ----------
    error : callable
        m(ρ).
    integral : callable
        An antiderivative of ρ^{−3} m(ρ).

    Examples
    --------
    >>> import numpy as np
    >>> klub = gaussian_klub(np.array([1.0]))
    >>> float(klub(np.array([1.0]), np.array([1.0]))[0])
    0.0
    """

    error: Curve
    integral: Curve

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 0.5 * self.error(b) * (a**-2 - b**-2) - (self.integral(b) - self.integral(a))


def gaussian_klub(values: np.ndarray) -> Klub:
    """The bound for Gaussian data with these covariance eigenvalues, in closed form: m = Σ e ρ²/(e + ρ²)."""
    e = values[:, None]
    return Klub(
        lambda rho: np.sum(e * rho**2 / (e + rho**2), axis=0),
        lambda rho: np.sum(np.where(e > 0, np.log(rho) - 0.5 * np.log(e + rho**2), 0.0), axis=0),
    )


def measured_klub(target: Target, x_0: np.ndarray, nodes: int, seed: int) -> Klub:
    """The bound of any model, from its denoising errors on examples at so many levels, the same noise at all."""
    from scipy.interpolate import PchipInterpolator

    noise = seeded(seed, 0).standard_normal(x_0.shape)  # apart from what the examples may have been drawn with
    log_rho = np.linspace(-float(target.last.lam), -float(target.first.lam), nodes + 1)
    scaled: list[float] = []
    for u in log_rho:
        level = target.process.level(lam=-float(u))
        off = target.model.predict(level.alpha * x_0 + level.sigma * noise, level, "x0") - x_0
        scaled.append(float(np.mean(np.sum(off.reshape(len(off), -1) ** 2, axis=1)) * np.exp(-2 * u)))
    curve = PchipInterpolator(log_rho, scaled)  # ρ^{−2} m, bounded by the dimension, and ∫ ρ^{−3} m dρ = ∫ ρ^{−2} m du
    sums = curve.antiderivative()
    return Klub(lambda rho: curve(np.log(rho)) * rho**2, lambda rho: sums(np.log(rho)))


def ddim_loss(variance: float) -> Curve:
    """−log cos of a step in arctan(ρ/c): DDIM turns N(0, c² I) into one of standard deviation Π cos instead of 1."""
    c = np.sqrt(variance)
    return lambda a, b: -np.log(np.cos(np.arctan(b / c) - np.arctan(a / c)))  # type: ignore[return-value]


def _halved(logs: np.ndarray, steps: int, worth: np.ndarray) -> np.ndarray:
    """Logarithmic shares with the steps that cost most cut in two, until there are so many."""
    split = np.argsort(-worth, kind="stable")[: steps - len(logs)]
    count = np.ones(len(logs), dtype=int)
    count[split] = 2
    return np.repeat(logs - np.log(count), count)


@catalogued("fit", "arXiv:2404.14507, KLUB and theorem 3.1; no official code of the optimiser")
def fit_ays(
    target: Any,
    nfe: int,
    *,
    flow: str = "sde",
    data: np.ndarray | None = None,
    start: str | TimeGrid = "karras",
    nodes: int = 120,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> SearchedGrid:
    r"""Align your steps: the levels of least KLUB, found by doubling.

        min Σ_k K(ρ_{k+1}, ρ_k),    K(a, b) = ∫_a^b ρ^{−3} E|D(y_ρ, ρ) − D(y_b, b)|² dρ

    Few steps are placed first; the costliest are cut in two, and all are moved again, until there are as many as asked
    for, as in the paper. Gaussian data need no sampling.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        Steps, one evaluation each.
    flow : {"sde", "ode"}
        The bound for the first-order solver with noise; or, on Gaussian data of one variance c², what DDIM loses, of
        which theorem 3.1 is the solution.
    data : ndarray, optional
        Examples, for a model or a problem whose data are not known in closed form; half of them are held out.
    start : str or TimeGrid
        What it is compared with.
    nodes : int
        Levels at which the denoising error is measured.
    seed : int
    progress : callable, optional
    **options
        `process`, `x_T`, `samples` of `target_of`.

    Returns
    -------
    SearchedGrid

    Raises
    ------
    DiffodeError
        If flow is none of the two, or "ode" on data of several variances, or examples are needed and not given.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> found = fit_ays(de.Gaussian(0.0, 1.0), 4, flow="ode", process=de.EDM())
    >>> bool(np.allclose(found.grid.rho, de.grids.arctan(de.EDM(), 4).rho, rtol=1e-4))
    True
    """
    if flow not in ("sde", "ode"):
        raise DiffodeError(f"fit_ays: flow must be 'sde' or 'ode', not {flow!r}")
    where = target_of(target, seed=seed, **options)
    steps = check_nfe(nfe)
    seen, unseen = _losses(where, flow, data, nodes, seed)

    begin = where.grid(start, steps)
    counts = [steps]
    while counts[0] > 3:
        counts.insert(0, (counts[0] + 1) // 2)
    facts: dict[str, Any] = {"nfe": nfe, "seed": seed, "flow": flow, "nodes": nodes}
    with Keeper(where.key("ays", begin, **facts), len(counts), progress) as keeper:
        keeper.offer(shares(begin, "lam").tolist(), _total(seen, begin))
        logs = np.zeros(counts[0])
        for count in counts:
            rho = of_shares(where, logs, "lam").rho
            logs = _placed(where, _halved(logs, count, seen(rho[1:], rho[:-1])), seen)
        keeper.offer(logs.tolist(), _total(seen, of_shares(where, logs, "lam")))
    shown = "KLUB" if flow == "sde" else "−log std of what DDIM puts out"
    return SearchedGrid.of(
        "ays", where, keeper, lambda grid, held_out: _total(unseen if held_out else seen, grid), begin,
        of_shares(where, keeper.best, "lam"), unseen=unseen is not seen, loss=shown, doubled=counts, **facts,
    )  # fmt: skip


def _total(loss: Any, grid: TimeGrid) -> float:
    return float(np.sum(loss(grid.rho[1:], grid.rho[:-1])))


def _losses(target: Target, flow: str, data: np.ndarray | None, nodes: int, seed: int) -> tuple[Any, Any]:
    """The loss of steps on two halves of the examples; one loss for both where it is exact."""
    if target.data is not None and len(target.data.weights) == 1 and data is None:
        values = np.linalg.eigvalsh(target.data.covariance)
        if flow == "sde":
            klub = gaussian_klub(np.clip(values, 0.0, None))
            return klub, klub
        if np.ptp(values) <= 1e-9 * values.max():
            loss = ddim_loss(float(values.mean()))
            return loss, loss
    if flow == "ode":
        raise DiffodeError(
            "fit_ays: flow='ode' needs Gaussian data of one variance; for several there is "
            "de.optimize_grid('ddim', loss='kl')"
        )
    if data is None:
        if target.data is None:
            raise DiffodeError("fit_ays: the data of this target are not known; give examples as data=, shape (n, …)")
        x_0 = target.data.sample(2 * len(target.train), seed)
    else:
        x_0 = np.asarray(data, dtype=float)
    half = len(x_0) // 2
    return measured_klub(target, x_0[:half], nodes, seed), measured_klub(target, x_0[half:], nodes, seed + 1)


def _placed(target: Target, logs: np.ndarray, loss: Any) -> np.ndarray:
    """Logarithmic shares at which the sum over the steps is stationary, from others."""
    from scipy.optimize import minimize

    high, low = -float(target.first.lam), -float(target.last.lam)

    def value(rows: np.ndarray) -> np.ndarray:
        """The sums of grids given as rows of logarithmic shares."""
        parts = np.exp(rows - rows.max(axis=-1, keepdims=True))
        inner = np.cumsum(parts, axis=-1) / parts.sum(axis=-1, keepdims=True)
        rho = np.exp(high + (low - high) * np.insert(inner, 0, 0.0, axis=-1))
        return np.sum(loss(rho[..., 1:].ravel(), rho[..., :-1].ravel()).reshape(rows.shape), axis=-1)

    def both(u: np.ndarray) -> tuple[float, np.ndarray]:
        shifts = 1e-5 * np.eye(len(u))
        up, down = np.log(value(u + shifts)), np.log(value(u - shifts))
        return float(np.log(value(u[None])[0])), (up - down) / 2e-5

    if len(logs) == 1:
        return logs
    found: Any = minimize(both, logs, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 500})
    return found.x if value(found.x[None])[0] <= value(logs[None])[0] else logs
