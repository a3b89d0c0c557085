"""Guidance that saves passes or changes direction: adaptive guidance, LinearAG, and adaptive projected guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffode.catalogue import catalogued
from diffode.errors import ModelError
from diffode.models.base import Array, Model, changed, namespace
from diffode.models.wrappers import Guided, Wrapped
from diffode.plan import Level

_AG = "arXiv:2312.12487"


@catalogued("wrapper", f"{_AG}, section 5 (Adaptive Guidance)")
class AdaptiveGuidance(Guided):
    r"""Guidance that stops once the two branches agree.

        D = D_u + w (D_c − D_u)   until cos(ε_c, ε_u) > γ̄,   D = D_c   after that

    A sample decides for itself, whatever it is drawn with. The unconditional branch is left out, and costs nothing,
    once all samples of the batch have stopped. A run begins with guidance.

    Parameters
    ----------
    conditional, unconditional : Model
        Of the same process.
    scale : float
        w.
    threshold : float
        γ̄; 1 never stops, and is classifier-free guidance.
    guided : int
        How many evaluations are guided in any case: at pure noise both branches of an exact denoiser say x/σ.

    Raises
    ------
    ModelError
        If the threshold is not a cosine, or what `Guided` raises.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.VP()
    >>> one, all_ = (de.Gaussian(0.0, s).denoiser(process) for s in (0.5, 1.0))
    >>> grid, x = de.grids.uniform_lambda(process, 10), np.ones((1, 1))
    >>> de.sample(AdaptiveGuidance(one, all_, 2.0, threshold=0.99), "ddim", grid, x).passes
    11
    """

    def __init__(
        self, conditional: Model, unconditional: Model, scale: float, threshold: float = 0.991, guided: int = 1
    ) -> None:
        super().__init__(conditional, unconditional, scale)
        if not -1 <= threshold <= 1:
            raise ModelError(f"AdaptiveGuidance: threshold is a cosine, from -1 to 1, not {threshold}")
        if isinstance(guided, bool) or not isinstance(guided, int) or guided < 1:
            raise ModelError(f"AdaptiveGuidance: guided must be a whole number of at least 1, not {guided!r}")
        self.threshold, self.guided = float(threshold), guided
        self.stopped: Array = None
        self.count = 0

    def remembers(self) -> bool:
        return True

    def forget(self) -> None:
        super().forget()
        self.stopped, self.count = None, 0

    def _extrapolated(
        self, x: Array, level: Level, prediction: str, at: Level | None, to: Level | None, output: str | None
    ) -> Array:
        if output is not None:
            return super()._extrapolated(x, level, prediction, at, to, output)
        told = self.model.predict(x, level, prediction, at, to)
        if self.stopped is not None and bool(self.stopped.all()):
            return told
        base = self.unconditional.predict(x, level, prediction, at, to)
        value = base + self.scale * (told - base)
        if self.stopped is not None:
            value = namespace(x).where(_beside(self.stopped, x), told, value)
        self.count += 1
        if self.count >= self.guided:
            agreed = self._cosine(x, level, prediction, told, base) > self.threshold
            self.stopped = agreed if self.stopped is None else self.stopped | agreed
        return value

    def _cosine(self, x: Array, level: Level, prediction: str, told: Array, base: Array) -> Array:
        """cos(ε_c, ε_u) of each sample."""
        one, two = (changed(prediction, "eps", level, x, value) for value in (told, base))
        return namespace(x).clip(_dot(one, two) / _positive(_norm(one) * _norm(two)), -1.0, 1.0)


Weights = tuple[Sequence[float], Sequence[float]]
"""Of the conditional ε at this and all earlier evaluations, and of the unconditional ε at all earlier ones."""


@catalogued("wrapper", f"{_AG}, section 5.1 (LinearAG, eq. 9)")
class LinearGuidance(Guided):
    r"""LinearAG: at chosen evaluations the unconditional branch is a linear combination of what was seen.

        ε_u(i) ≈ Σ_{j ≤ i} β^c_j ε_c(j) + Σ_{j < i} β^u_j ε_u(j)

    Such an evaluation costs the conditional pass alone. `diffode.fitting.guidance.fit_linear_guidance` finds β by least
    squares.

    Parameters
    ----------
    conditional, unconditional : Model
        Of the same process.
    scale : float
        w.
    weights : mapping
        Index of an evaluation, from 0, → (β^c, β^u), the first of length index + 1, the second of length index.

    Raises
    ------
    ModelError
        If the weights of an evaluation are not as many as there are values, or what `Guided` raises.

    Examples
    --------
    >>> import diffode as de
    >>> model = de.Gaussian(0.0, 1.0).denoiser(de.VP())
    >>> LinearGuidance(model, model, 2.0, {1: ([0.0, 1.0], [0.0])}).weights[1]
    ([0.0, 1.0], [0.0])
    """

    def __init__(self, conditional: Model, unconditional: Model, scale: float, weights: Mapping[int, Weights]) -> None:
        super().__init__(conditional, unconditional, scale)
        if not isinstance(weights, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelError(
                "LinearGuidance: weights must be those that de.fit_linear_guidance(…) returns, a mapping from "
                f"evaluations, not {weights!r}"
            )
        for i, (seen, guessed) in weights.items():
            if (len(seen), len(guessed)) != (i + 1, i):
                raise ModelError(
                    f"LinearGuidance: evaluation {i} has {i + 1} conditional and {i} unconditional values, but weights "
                    f"has {len(seen)} and {len(guessed)}"
                )
        self.weights = dict(weights)
        self.seen: list[Array] = []
        self.guesses: list[Array] = []

    def remembers(self) -> bool:
        return True

    def forget(self) -> None:
        super().forget()
        self.seen, self.guesses = [], []

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        if output is not None:
            return super().told(x, level, at, output, to)
        told = self.model.predict(x, level, "x0", at, to)
        self.seen.append(changed("x0", "eps", level, x, told))
        found = self.weights.get(len(self.guesses))
        if found is None:
            base = self.unconditional.predict(x, level, "x0", at, to)
            self.guesses.append(changed("x0", "eps", level, x, base))
        else:
            terms = [*zip(found[0], self.seen, strict=True), *zip(found[1], self.guesses, strict=True)]
            self.guesses.append(sum((float(c) * value for c, value in terms), 0 * x))
            base = changed("eps", "x0", level, x, self.guesses[-1])
        return base + self.scale * (told - base)

    def predict(self, *args: Any, **named: Any) -> Array:
        return Wrapped.predict(self, *args, **named)


@catalogued("wrapper", "arXiv:2410.02416, Algorithm 1; η there, r and β (a negative momentum) too")
class ProjectedGuidance(Guided):
    r"""Adaptive projected guidance (APG): what guidance adds to D_c, without its part along D_c.

        d ← (D_c − D_u) + β d,    d ← d min(1, r/|d|),    D = D_c + (w − 1)(d_⊥ + η d_∥)

    with d_∥ the part of d along D_c. At η = 1, r = ∞, β = 0 it is classifier-free guidance; w = 1 is the conditional
    model.

    Parameters
    ----------
    conditional, unconditional : Model
        Of the same process.
    scale : float
        w.
    eta : float
        η: the share of the parallel part that is kept, which saturates images.
    radius : float
        r: the largest norm of d, over all of a sample.
    momentum : float
        β: negative in the paper, which pushes away from earlier directions.

    Raises
    ------
    ModelError
        If the radius is not positive, or what `Guided` raises.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.VP()
    >>> one, all_ = (de.Gaussian(m, 0.5).denoiser(process) for m in ([1.0, 0.0], [0.0, 0.0]))
    >>> x, level = np.ones((1, 2)), process.level(0.5)
    >>> moved = ProjectedGuidance(one, all_, 3.0).predict(x, level, "x0") - one.predict(x, level, "x0")
    >>> bool(abs((moved * one.predict(x, level, "x0")).sum()) < 1e-12)  # orthogonal to D_c
    True
    """

    def __init__(
        self,
        conditional: Model,
        unconditional: Model,
        scale: float,
        eta: float = 0.0,
        radius: float = float("inf"),
        momentum: float = 0.0,
    ) -> None:
        super().__init__(conditional, unconditional, scale)
        if not radius > 0:
            raise ModelError(f"ProjectedGuidance: radius must be positive, not {radius}")
        self.eta, self.radius, self.momentum = float(eta), float(radius), float(momentum)
        self.direction: Array = None

    def remembers(self) -> bool:
        return self.momentum != 0 or super().remembers()

    def forget(self) -> None:
        super().forget()
        self.direction = None

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        if output is not None:
            return super().told(x, level, at, output, to)
        told = self.model.predict(x, level, "x0", at, to)
        d = told - self.unconditional.predict(x, level, "x0", at, to)
        if self.direction is not None:
            d = d + self.momentum * self.direction
        self.direction = d
        if self.radius < float("inf"):
            d = d * _beside(namespace(x).clip(self.radius / _positive(_norm(d)), None, 1.0), x)
        along = _beside(_dot(d, told) / _positive(_dot(told, told)), x) * told
        return told + (self.scale - 1) * (d + (self.eta - 1) * along)

    def predict(self, *args: Any, **named: Any) -> Array:
        return Wrapped.predict(self, *args, **named)


def _dot(a: Array, b: Array) -> Array:
    """The scalar product of two arrays, sample by sample."""
    return (a * b).reshape(len(a), -1).sum(-1)


def _norm(a: Array) -> Array:
    return _dot(a, a) ** 0.5


def _positive(a: Array) -> Array:
    """a, kept from 0 where something is divided by it."""
    xp = namespace(a)
    return xp.where(a > 0, a, xp.ones_like(a))


def _beside(a: Array, x: Array) -> Array:
    """One number per sample, to multiply x by."""
    return a.reshape(-1, *(1,) * (x.ndim - 1))
