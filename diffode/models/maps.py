r"""Maps G(x, s → t): models that go from one level to another in a single evaluation.

A plan asks a map as it asks any model, with the target in `to`. The answer is told in the data prediction g that a
step of DDIM would need to land where the map does (Kim et al., arXiv:2310.02279, eq. 9):

    G(x, s → t) = (σ_t/σ_s) x + (α_t − α_s σ_t/σ_s) g(x, s, t)

so that every denoiser is a map already, g = D: one step of DDIM, the trivial map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import ModelError
from diffode.kinds import shown
from diffode.models.base import Array, Model, check_output, like
from diffode.models.mixtures import GaussianMixture
from diffode.models.wrappers import Wrapped
from diffode.plan import Level
from diffode.process import Process
from diffode.process.base import require_process


@catalogued("map", "arXiv:2310.02279 (CTM), eq. (9), for any G(x, s → t)")
class FlowMap(Model):
    r"""A map around any callable G(x, s, t), which returns the state at t of a state x at s.

    Where a plan names no target it is the end of the process.

    Parameters
    ----------
    fn : callable
        fn(x, s, t) → array like x; s and t are `Level`s.
    process : Process

    Raises
    ------
    ModelError
        If the process has an anchor; when asked to stay where it is, where g is not determined; if what fn returns
        is not an array like x.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> point = FlowMap(lambda x, s, t: (t.sigma / s.sigma) * x, process)  # all data are 0
    >>> x = np.full((1, 1), 3.0)
    >>> float(point.move(x, process.level(3.0), process.level(1.0))[0, 0])
    1.0
    """

    prediction = "x0"

    def __init__(self, fn: Callable[[Array, Level, Level], Array], process: Process) -> None:
        if not callable(fn):
            raise ModelError(f"FlowMap: fn must be callable as fn(x, s, t), not {type(fn).__name__}")
        require_process(process, "FlowMap")
        if process.anchored:
            raise ModelError(
                f"FlowMap: {process!r} has an anchor, which a map of states does not know; give a denoiser"
            )
        self.fn, self.process = fn, process

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        target = self.process.level(self.process.t_min) if to is None else to
        keep, gain = trivial(level, target)
        if np.any(np.asarray(gain) == 0):
            raise ModelError(f"{type(self).__name__}: asked to go from t={shown(level.t)} to the same level")
        found = self.fn(x, level, target)
        check_output(found, x, f"at t={shown(level.t)}, asked to go to t={shown(target.t)}")
        return like(1 / gain, x) * (found - like(keep, x) * x)

    def move(self, x: Array, level: Level, target: Level) -> Array:
        """G(x, level → target)."""
        return moved(self, x, level, target)


def trivial(level: Level, target: Level) -> tuple[Any, Any]:
    """The coefficients of x and of the data prediction in a step of DDIM."""
    keep = target.sigma / level.sigma
    return keep, target.alpha - level.alpha * keep


def moved(model: Model, x: Array, level: Level, target: Level) -> Array:
    """Where a model, asked once, takes x from a level to another: G(x, level → target).

    Parameters
    ----------
    model : Model
        A map, or a denoiser as the trivial one.
    x : array
    level, target : Level
    """
    keep, gain = trivial(level, target)
    return like(keep, x) * x + like(gain, x) * model.predict(x, level, "x0", to=target)


@catalogued("map", "closed form of the probability flow of a Gaussian")
class GaussianMap(FlowMap):
    r"""The exact map of the probability-flow ODE of Gaussian data N(m, Q diag(e) Qᵀ).

        G(x, s → t) = α_t m + Q √((α_t² e + σ_t²)/(α_s² e + σ_s²)) Qᵀ (x − α_s m)

    Parameters
    ----------
    data : GaussianMixture
        With one component.
    process : Process

    Raises
    ------
    ModelError
        If the data have several components.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> exact = GaussianMap(de.Gaussian(0.0, 1.0), process)
    >>> x = np.array([[80.0]])
    >>> float(exact.move(x, process.level(80.0), process.level(0.5))[0, 0] ** 2 * (1 + 80.0**2) / 80.0**2)
    1.25
    """

    def __init__(self, data: GaussianMixture, process: Process) -> None:
        if len(data.weights) != 1:
            raise ModelError(
                f"GaussianMap: the data have {len(data.weights)} components, and the flow of a mixture has no closed "
                "form; give FlowMap a solver, de.reference for one"
            )
        super().__init__(self._closed_form, process)
        self.data = data

    def _closed_form(self, x: Array, s: Level, t: Level) -> Array:
        e = self.data.eigenvalues[0]
        ratio = np.sqrt((t.alpha**2 * e + t.sigma**2) / (s.alpha**2 * e + s.sigma**2))
        mean = self.data.means[0]
        r = x - like(np.asarray(s.alpha * mean), x)
        if self.data.bases is None:
            return like(np.asarray(t.alpha * mean), x) + like(ratio, x) * r
        basis = like(self.data.bases[0], x)
        return like(np.asarray(t.alpha * mean), x) + (like(ratio, x) * (r @ basis)) @ basis.T


@catalogued("map", "arXiv:2303.01469 (consistency models), eq. (5) and appendix C")
class ConsistencyMap(Wrapped):
    r"""A denoiser as a consistency function, by the parametrisation that is the identity at the last level.

        f(y, ρ) = c_skip y + c_out F,    c_skip = s²/((ρ − ρ_e)² + s²),    c_out = s (ρ − ρ_e)/√(ρ² + s²)

    of y = x/α, with s the deviation of the data, ρ_e the last noise level, and F the network inside D by EDM's
    parametrisation, D = s²/(ρ² + s²) y + s ρ/√(ρ² + s²) F: what a consistency model starts to be trained from. At
    ρ_e = 0 it is the denoiser.

    Parameters
    ----------
    model : Model
    end : Level
        The level where f is the identity; a plan can ask for no other target.
    deviation : float
        s.

    Raises
    ------
    ModelError
        If the end is no level, or the deviation not positive; when asked for another target.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> f = ConsistencyMap(de.Gaussian(0.0, 0.5).denoiser(process), process.level(0.002))
    >>> x, near = np.ones((1, 1)), process.level(0.002 * (1 + 1e-9))
    >>> bool(abs(moved(f, x, near, f.end) - x).max() < 1e-9)
    True
    """

    def __init__(self, model: Model, end: Level, deviation: float = 0.5) -> None:
        super().__init__(model)
        if not isinstance(end, Level):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelError(f"ConsistencyMap: end must be a level, grid[-1] or process.level(t), not {end!r}")
        if not 0 < deviation < float("inf"):
            raise ModelError(f"ConsistencyMap: deviation must be a positive number, not {deviation}")
        self.end, self.deviation = end, float(deviation)

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        if to is not None and np.any(np.asarray(to.lam) != self.end.lam):
            raise ModelError(
                f"ConsistencyMap: goes to t={shown(self.end.t)} only, not to t={shown(to.t)}; end the grid there, "
                "or make a map with end at the target"
            )
        d = self.model.predict(x, level, "x0", at, None, output)
        near, s2 = level.alpha * self.end.rho, self.deviation**2
        share = (level.sigma - near) / level.sigma
        skip, inside = (
            level.alpha * s2 / (far * far + level.alpha**2 * s2) for far in (level.sigma - near, level.sigma)
        )
        f = like(skip - share * inside, x) * x + like(share, x) * d
        keep, gain = trivial(level, self.end)
        return like(self.end.alpha / gain, x) * f - like(keep / gain, x) * x
