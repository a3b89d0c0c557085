"""Step rules with known stability that the registry does not have, and how any rule is run on a linear problem."""

from __future__ import annotations

import numpy as np

import diffode as de
from diffode import solver
from diffode.analysis.stochastic import noise_level
from diffode.solvers import Solver


@solver(order=2, prediction="eps")
def signal_to_noise(step):
    """A coefficient that depends on a register."""
    d = step.model(step.x, step.now)
    c = step.dynamic("size", lambda value: 1.0, d)
    return step.x + c * d


def growth(rule: Solver, z: np.ndarray, variable: str = "lam", h: float = 1e-5, steps: int = 90) -> np.ndarray:
    """max |u| over the last steps of a run on the test problem relative to its middle, for each z; no polynomial used.

    The network is a rotation and scaling of the plane, so that a complex z is run with real numbers.

    Parameters
    ----------
    rule : Solver
    z : ndarray of complex
    variable : {"lam", "rho"}
        Equal steps of −1 in ρ on ε = ζ y, or of h in λ on D = b u or −ε = b u.
    h : float
        Step in λ.
    steps : int
    """
    process = de.EDM()
    if variable == "rho":
        levels = [process.level(rho=float(steps + 5 - k)) for k in range(steps + 1)]
    else:
        levels = [process.level(lam=h * k) for k in range(steps + 1)]
    grid = de.TimeGrid(process, levels=levels)
    weight = 1.0 if rule.plan(grid).is_deterministic else 1.0 + noise_level(rule, process) ** 2
    frame = "eps" if variable == "rho" or rule.prediction == "eps" else "x0"
    rate = (-z if variable == "rho" else z / h) / weight

    def network(x, t, output=None):
        turned = rate * (x[..., 0] + 1j * x[..., 1])
        if frame == "eps" and variable == "lam":
            turned = -turned / t
        return np.stack([turned.real, turned.imag], axis=-1)

    model = de.Denoiser(network, process, prediction=frame)
    plan = de.compile(rule, process, grid)
    x = np.tile([1.0, 0.0], (len(z), 1))
    with np.errstate(all="ignore"):
        out = de.sample(model, rule, grid, x, noise=[np.zeros_like(x)] * len(plan.noises))
        size = np.array([np.linalg.norm(state, axis=-1) for state in out.trajectory])
        if frame == "eps" and variable == "lam":
            size = size / np.array([level.sigma for level in levels])[:, None]
    return size[-10:].max(axis=0) / size[steps // 2 - 10 : steps // 2].max(axis=0)
