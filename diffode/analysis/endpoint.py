r"""Reference solutions of the probability-flow ODE, with a stated error, for any model.

In the angle φ = arctan(σ/α) and the rescaled state z = x/√(α² + σ²) the ODE reads

    dz/dφ = v̂ = α̂ ε − σ̂ D,        α̂ = cos φ, σ̂ = sin φ

for every process; it is finite at both ends (pure noise φ = π/2, data φ = 0). It is solved by an adaptive
method twice, at two tolerances; their distance is the error that is stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np

from diffode.backends import get_backend
from diffode.errors import DiffodeError, GridError, MissingExtra, ModelError
from diffode.grids import TimeGrid
from diffode.models import Model
from diffode.models.base import number
from diffode.plan import Level
from diffode.process import Process
from diffode.sampling import one_state

_SMALLEST = 1e-8
"""Where a grid ends at σ = 0 the ODE is followed to this angle, and the data prediction there is taken."""


@dataclass(frozen=True)
class Reference:
    """The end point of the probability-flow ODE.

    Attributes
    ----------
    x : array
        The state at the grid's last level.
    error : float
        The largest distance between two solutions at different tolerances.
    nfe : int
        Evaluations spent.
    """

    x: Any
    error: float
    nfe: int


def reference(model: Model, x_T: Any, grid: TimeGrid, tolerance: float = 1e-10) -> Reference:
    """The exact end point of the probability-flow ODE, to a stated tolerance.

    Parameters
    ----------
    model : Model
    x_T : array, shape (batch, …)
        NumPy array (solved by SciPy's DOP853) or torch tensor (torchdiffeq's dopri8).
    grid : TimeGrid
        Its first and last level are used.
    tolerance : float
        Relative and absolute tolerance; the least that doubles can bear is 1e-13.

    Returns
    -------
    Reference

    Raises
    ------
    ModelError
        If the model is none, x_T is no array of states, or the solution is not finite.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process, data = de.EDM(), de.Gaussian(0.0, 1.0)
    >>> found = reference(data.denoiser(process), np.array([[80.0]]), de.grids.karras(process, 2))
    >>> exact = 80.0 * np.sqrt((1 + 0.002**2) / (1 + 80.0**2))
    >>> bool(abs(found.x[0, 0] - exact) < 1e-9)
    True
    """
    if not isinstance(model, Model):
        raise ModelError(
            f"reference: needs a model, not {model!r}; make one with de.Denoiser(fn, process, prediction=…)"
        )
    if not isinstance(grid, TimeGrid):
        raise GridError(f"reference: grid must be a TimeGrid (de.grids.karras(process, n)), not {grid!r}")
    get_backend("torch" if type(x_T).__module__ == "torch" else "numpy").check_state(x_T)
    one_state("reference", grid.process, x_T)
    if not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
        raise DiffodeError(f"reference: tolerance must be a number between 0 and 1, not {tolerance!r}")
    first, last = grid[0], grid[-1]
    problem = _Angle(model, grid.process)
    ends = problem.angle(first), max(problem.angle(last), _SMALLEST)
    z = x_T / problem.size(first)
    solve = _solve_numpy if isinstance(x_T, np.ndarray) else _solve_torch
    coarse = solve(problem, z, ends, max(10 * tolerance, 3e-13))
    fine = solve(problem, z, ends, max(tolerance, 3e-14))
    if problem.angle(last) < _SMALLEST:
        level = problem.level(_SMALLEST)
        coarse, fine = (model.predict(v * problem.size(level), level, "x0") * last.alpha for v in (coarse, fine))
    else:
        coarse, fine = coarse * problem.size(last), fine * problem.size(last)
    error = number(abs(fine - coarse).max())
    if not np.isfinite(error):
        raise ModelError("reference: the solution of the probability-flow ODE is not finite")
    return Reference(fine, error, problem.evaluations)


class _Angle:
    """The right-hand side in the angle."""

    def __init__(self, model: Model, process: Process) -> None:
        self.model, self.process, self.evaluations = model, process, 0

    @staticmethod
    def size(level: Level) -> float:
        """√(α² + σ²)."""
        return float(np.hypot(level.alpha, level.sigma))

    @staticmethod
    def angle(level: Level) -> float:
        return float(np.arctan2(level.sigma, level.alpha))

    def level(self, angle: float) -> Level:
        bounded = min(max(angle, _SMALLEST), pi / 2)
        if bounded > pi / 2 - 1e-12:
            return self.process.level(self.process.t_max)
        return self.process.level(lam=-float(np.log(np.tan(bounded))))

    def slope(self, angle: float, z: Any) -> Any:
        """v̂ at an angle: α̂ ε − σ̂ D of the rescaled state."""
        self.evaluations += 1
        level = self.level(angle)
        size = self.size(level)
        # v of (α, σ) is √(α² + σ²) times v of the normalised (α̂, σ̂)
        found = self.model.predict(z * size, level, "v") / size
        if bool((found != found).any()):
            raise ModelError(f"reference: the model returned NaN at t={level.t}")
        return found


def _solve_numpy(problem: _Angle, z: np.ndarray, ends: tuple[float, float], tolerance: float) -> np.ndarray:
    from scipy.integrate import solve_ivp

    shape = z.shape

    def slope(angle: float, flat: np.ndarray) -> np.ndarray:
        return np.asarray(problem.slope(float(angle), flat.reshape(shape))).ravel()

    found = solve_ivp(slope, ends, z.ravel().astype(float), method="DOP853", rtol=tolerance, atol=tolerance)
    if not found.success:
        raise ModelError(f"reference: the adaptive solver gave up ({found.message})")
    return found.y[:, -1].reshape(shape)


def _solve_torch(problem: _Angle, z: Any, ends: tuple[float, float], tolerance: float) -> Any:
    try:
        import torch
        from torchdiffeq import odeint
    except ImportError as missing:
        raise MissingExtra("torchdiffeq", "torch") from missing
    times = torch.tensor(ends, dtype=torch.float64)
    low, high = min(ends), max(ends)
    # torchdiffeq may ask slightly outside the interval, where the process is not defined
    found: Any = odeint(
        lambda angle, state: problem.slope(min(max(number(angle), low), high), state),
        z, times, method="dopri8", rtol=tolerance, atol=tolerance,
    )  # fmt: skip
    return found[-1]
