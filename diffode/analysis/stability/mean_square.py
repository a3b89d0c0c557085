r"""Mean-square stability of rules that draw noise, by the exact recurrence of their second moments.

One step acts on what is alive, the state and the rule's memory, as ξ′ = M ξ + N z with independent standard normals z
(`steps`). The second moment S = E ξ ξᵀ therefore obeys, without an approximation,

    S′ = M S Mᵀ + N Nᵀ.

Along a schedule on Gaussian data this is the variance at every level (`second_moments`). For regions the steps are
equal in λ on data at a point, with guidance κ: in u = x/σ the reverse SDE of noise level τ is then

    additive          du = (1 − (1 + τ²) κ) u dλ + √2 τ dW,
    multiplicative    du = (1 − (1 + τ²) κ) u dλ + √2 τ μ u dW,

the first with the stationary variance τ²/((1 + τ²) κ − 1), which is 1 at κ = 1. The second has a diffusion coefficient
that grows with the state; a rule holds it at the state where a step begins, so that S′ = M S Mᵀ + μ² S_00 N Nᵀ.
A rule is mean-square stable where S stays bounded:

    additive          ρ(M)² < 1,                                       exact where (1 + τ²) κ > 1,
    multiplicative    ρ(M ⊗ M + μ² vec(N Nᵀ) (e_0 ⊗ e_0)ᵀ) < 1,        exact where (1 + τ²) κ > 1 + τ² μ².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diffode.analysis.moments import Spectrum
from diffode.analysis.stability.guided import Guidance
from diffode.analysis.stability.steps import scaled_steps, step_maps
from diffode.analysis.stochastic import noise_level
from diffode.errors import PlanError
from diffode.grids import TimeGrid
from diffode.models import GaussianMixture
from diffode.plan import Plan
from diffode.process import EDM
from diffode.solvers import Solver, get_solver

Test = Literal["additive", "multiplicative"]


@dataclass(frozen=True)
class MeanSquare:
    """The second moments of a rule on a test equation, over steps and rates.

    Attributes
    ----------
    solver : str
    test : {"additive", "multiplicative"}
    tau : float
        Noise level of the rule.
    noise : float
        μ; 0 in the additive test.
    steps : ndarray, shape (m,)
        h in λ.
    rates : ndarray, shape (n,)
        κ.
    radius : ndarray, shape (m, n)
        By what second moments grow in a step.
    variance : ndarray, shape (m, n)
        The stationary variance of the additive test; ∞ where there is none, NaN in the multiplicative one.
    """

    solver: str
    test: Test
    tau: float
    noise: float
    steps: np.ndarray
    rates: np.ndarray
    radius: np.ndarray
    variance: np.ndarray

    @property
    def stable(self) -> np.ndarray:
        """Where second moments stay bounded, shape (m, n)."""
        return self.radius < 1

    @property
    def exact(self) -> np.ndarray:
        """Where those of the equation itself do, shape (n,)."""
        return (1 + self.tau**2) * self.rates > 1 + (self.tau * self.noise) ** 2

    @property
    def exact_variance(self) -> np.ndarray:
        """The stationary variance of the equation, ∞ where there is none, shape (n,)."""
        excess = (1 + self.tau**2) * self.rates - 1
        return np.divide(self.tau**2, excess, out=np.full(len(self.rates), np.inf), where=excess > 0)

    def plot(self) -> Any:
        """The region in the plane of steps and rates.

        Returns
        -------
        matplotlib Figure
        """
        from diffode.analysis.stability.heat import mean_square_region
        from diffode.analysis.style import look

        with look():
            return mean_square_region(self)


def mean_square(
    solver: str | Solver,
    test: Test = "additive",
    *,
    steps: Any = None,
    rates: Any = None,
    noise: float = 1.0,
) -> MeanSquare:
    """Where second moments stay bounded, and what they come to.

    Parameters
    ----------
    solver : str or Solver
        One that draws noise.
    test : {"additive", "multiplicative"}
    steps : sequence of float, optional
        h in λ; 60 from 0.02 to 3 by default.
    rates : sequence of float, optional
        κ, the guidance scale on data at a point; 241 from 0 to 12 by default.
    noise : float
        μ of the multiplicative test.

    Returns
    -------
    MeanSquare

    Raises
    ------
    PlanError
        If the solver draws no noise, or its plan is not linear.

    Examples
    --------
    >>> found = mean_square("sde_dpmpp_1", steps=[0.1], rates=[1.0, 12.0])
    >>> found.stable, bool(abs(found.variance[0, 0] - 1) < 1e-12)
    (array([[ True, False]]), True)
    """
    if test not in ("additive", "multiplicative"):
        raise PlanError(f"mean_square: test must be 'additive' or 'multiplicative', not {test!r}")
    chosen = get_solver(solver)
    steps = np.geomspace(0.02, 3.0, 60) if steps is None else np.atleast_1d(np.asarray(steps, dtype=float))
    rates = np.linspace(0.0, 12.0, 241) if rates is None else np.atleast_1d(np.asarray(rates, dtype=float))
    if not (np.all(steps > 0) and np.all(np.isfinite(steps)) and np.all(np.isfinite(rates)) and np.isfinite(noise)):
        raise PlanError("mean_square: steps must be positive, and steps, rates and noise finite numbers")
    mu = float(noise) if test == "multiplicative" else 0.0
    rows = [_at(chosen, float(h), rates, None if test == "additive" else mu) for h in steps]
    radius, variance = (np.array(part) for part in zip(*rows, strict=True))
    return MeanSquare(chosen.name, test, noise_level(chosen, EDM()), mu, steps, rates, radius, variance)


def settled_step(solver: Solver, h: float, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M and N of a step in the middle of a run, in units of σ; (rates, size, size) and (rates, size, normals)."""
    count = solver.history + 6
    grid = TimeGrid(EDM(), lam=[h * (k - count / 2) for k in range(count + 1)])
    plan = solver.plan(grid, open_end=True)
    if plan.is_deterministic:
        raise PlanError(f"mean_square: {solver.name} draws no noise; see de.stability for its regions")
    point = Guidance(np.zeros(1))
    maps = step_maps(plan, lambda prediction, level, _: point.slope(prediction, level, rates[:, None]))
    matrix, noise = scaled_steps(plan, maps, point)[-2]
    return matrix[:, 0], noise[:, 0]


def _at(solver: Solver, h: float, rates: np.ndarray, mu: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Radius and stationary variance at one step."""
    matrix, noise = settled_step(solver, h, rates)
    size = matrix.shape[-1]
    added = noise @ np.swapaxes(noise, -1, -2)
    second = np.einsum("...ij,...kl->...ikjl", matrix, matrix).reshape(-1, size * size, size * size)
    if mu is not None:
        second = second.copy()
        second[:, :, 0] += mu**2 * added.reshape(-1, size * size)
        return np.max(abs(np.linalg.eigvals(second)), axis=-1), np.full(len(rates), np.nan)
    radius = np.max(abs(np.linalg.eigvals(matrix)), axis=-1) ** 2
    variance = np.full(len(rates), np.inf)
    stable = radius < 1
    whole = np.eye(size * size) - second[stable]
    variance[stable] = np.linalg.solve(whole, added[stable].reshape(-1, size * size, 1))[:, 0, 0]
    return radius, variance


def second_moments(plan: Plan, data: GaussianMixture) -> np.ndarray:
    """The variance of every state of a plan in the eigenbasis of Gaussian data, by the recurrence; shape (levels, d).

    Parameters
    ----------
    plan : Plan
        Linear, with one input, started from the marginal of its first level.
    data : Gaussian

    Examples
    --------
    >>> import diffode as de
    >>> plan = de.compile("dpmpp_2m_sde", de.EDM(), de.grids.karras(de.EDM(), 6))
    >>> found, law = second_moments(plan, de.Gaussian(0.0, 0.25)), de.law(plan, de.Gaussian(0.0, 0.25))
    >>> bool(abs(found[-1] / law.variance - 1) < 1e-12)
    True
    """
    spectrum = Spectrum.of(data)
    guidance = Guidance(spectrum.eigenvalues)
    second = guidance.deviations(plan.levels[:1])[0][:, None, None] ** 2
    out = [second[:, 0, 0]]
    for step in step_maps(plan, lambda prediction, level, _: guidance.slope(prediction, level, 1.0)):
        second = step.matrix @ second @ np.swapaxes(step.matrix, -1, -2) + step.noise @ np.swapaxes(step.noise, -1, -2)
        out.append(np.broadcast_to(second[..., 0, 0], spectrum.eigenvalues.shape))
    return np.array(out)
