"""Models around models: what changes only the network's output stands here, never in a solver."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, Self

from diffode.errors import ModelError
from diffode.kinds import shown
from diffode.models.base import Array, Model, check_output, like, namespace
from diffode.plan import Level
from diffode.process import Process


class Wrapped(Model):
    """A model that changes the data prediction of another."""

    prediction = "x0"

    def __init__(self, model: Model) -> None:
        if not isinstance(model, Model):
            raise ModelError(
                f"{type(self).__name__}: needs a model (data.denoiser(process), Denoiser(fn, process, …)), "
                f"not {type(model).__name__}"
            )
        self.model = model
        self.process: Process = model.process
        self.multiple = model.multiple

    def passes(self, output: str | None = None) -> int:
        return self.model.passes(output)

    def around(self, change: Callable[[Model], Model]) -> Self:
        """The same wrapper around changed models, with nothing remembered: what each run begins with."""
        made = copy(self)
        made.model = change(self.model)
        made.forget()
        return made

    def forget(self) -> None:
        """Begin anew; for wrappers that remember earlier evaluations of a run."""

    def remembers(self) -> bool:
        return self.model.remembers()

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        return self.told(x, level, None, output, to)


class Guided(Wrapped):
    r"""Classifier-free guidance.

        D = D_u + w (D_c − D_u)

    Parameters
    ----------
    conditional, unconditional : Model
        Of the same process; w = 1 is the conditional one.
    scale : float
        w.

    References
    ----------
    Ho and Salimans, arXiv:2207.12598, eq. (6), with w there 1 less.
    """

    def __init__(self, conditional: Model, unconditional: Model, scale: float) -> None:
        super().__init__(conditional)
        if not isinstance(unconditional, Model) or unconditional.process != conditional.process:
            raise ModelError(
                f"Guided: the unconditional model must be one of {conditional.process!r} like the conditional one, "
                f"not {getattr(unconditional, 'process', unconditional)!r}"
            )
        if isinstance(scale, str) or not abs(scale) < float("inf"):
            raise ModelError(f"Guided: scale must be a finite number, not {scale!r}")
        self.unconditional, self.scale = unconditional, float(scale)
        self.multiple = conditional.multiple + unconditional.multiple
        self._last: tuple[Array, tuple[Any, ...], Array] | None = None

    def passes(self, output: str | None = None) -> int:
        branch = {"conditional": self.model, "unconditional": self.unconditional}.get(output or "")
        return branch.passes() if branch else self.multiple

    def around(self, change: Callable[[Model], Model]) -> Self:
        made = super().around(change)
        made.unconditional = change(self.unconditional)
        return made

    def forget(self) -> None:
        self._last = None

    def remembers(self) -> bool:
        return self.model.remembers() or self.unconditional.remembers()

    def _remembered(self, x: Array, asked: tuple[Any, ...]) -> Array | None:
        """The unconditional prediction, where the guided one was asked for at the same place just before (CFG++)."""
        if self._last is None:
            return None
        before, question, answer = self._last
        same = all(a is b for a, b in zip(asked, question, strict=True)) and before.shape == x.shape
        return answer if same and bool((before == x).all()) else None

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        return self._extrapolated(x, level, "x0", at, to, output)

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        if at is None:
            return super().predict(x, level, prediction, at, to, output)
        # told another level, D and ε of a model need be no change of basis of each other at the level of x
        return self._extrapolated(x, level, prediction, at, to, output)

    def _extrapolated(
        self, x: Array, level: Level, prediction: str, at: Level | None, to: Level | None, output: str | None
    ) -> Array:
        if output == "conditional":
            return self.model.predict(x, level, prediction, at, to)
        asked = (level, prediction, at, to)
        if output == "unconditional":
            known = self._remembered(x, asked)
            return self.unconditional.predict(x, level, prediction, at, to) if known is None else known
        base = self.unconditional.predict(x, level, prediction, at, to)
        self._last = (x, asked, base)
        return base + self.scale * (self.model.predict(x, level, prediction, at, to) - base)


class DynamicThreshold(Wrapped):
    r"""Dynamic thresholding of the data prediction, per sample.

        s = max(floor, quantile_q |D|),    D ← clip(D, −s, s)/s · floor

    Parameters
    ----------
    model : Model
    quantile : float
        q.
    floor : float
        The largest magnitude of the data.

    References
    ----------
    Saharia et al., arXiv:2205.11487, section 2.3.
    """

    def __init__(self, model: Model, quantile: float = 0.995, floor: float = 1.0) -> None:
        super().__init__(model)
        if not 0 < quantile <= 1:
            raise ModelError(f"DynamicThreshold: quantile must lie in (0, 1], not {quantile}")
        if not 0 < floor < float("inf"):
            raise ModelError(f"DynamicThreshold: floor must be a positive number, not {floor}")
        self.quantile, self.floor = quantile, floor

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        d = self.model.predict(x, level, "x0", at, to, output)
        xp = namespace(d)
        flat = xp.abs(d).reshape(len(d), -1)
        s = xp.quantile(flat, self.quantile, 1)
        s = xp.where(s > self.floor, s, xp.ones_like(s) * self.floor).reshape(-1, *(1,) * (d.ndim - 1))
        return xp.clip(d, -s, s) * (self.floor / s)


class Anchored(Model):
    r"""A model of an anchored process x = α x_0 + b μ + σ ε, as one of the ordinary process y = x − b μ.

    Solvers act on y; the network still sees x.

    Parameters
    ----------
    model : Model
        Of an anchored process.
    mu : array
        The anchor, broadcasting against the state.
    """

    def __init__(self, model: Model, mu: Any) -> None:
        self.model, self.mu = model, mu
        self.process, self.prediction, self.multiple = model.process, model.prediction, model.multiple
        # a wrapper asks its models for data predictions, which they tell of y
        self._wrapper = model.around(lambda inner: Anchored(inner, mu)) if isinstance(model, Wrapped) else None

    def remembers(self) -> bool:
        return self.model.remembers()

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        return self.told(x, level, None, output, to)

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        asked = super().predict if self._wrapper is None else self._wrapper.predict
        return asked(x, level, prediction, at, to, output)

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        if self._wrapper is not None:
            return self._wrapper.told(x, level, at, output, to)
        value = self.model.told(x + self.shift(level, x), level, at, output, to)
        check_output(value, x, f"at t={shown(level.t)}")
        if self.prediction == "velocity":
            value = value - like(self.process.danchor(level.t), x) * self.mu
        return value

    def shift(self, level: Level, x: Array) -> Array:
        """b μ at a level."""
        return like(self.process.anchor(level.t), x) * self.mu
