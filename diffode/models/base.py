r"""Models: anything that can be asked for a prediction at a level.

A backend calls `model.predict(x, level, prediction)`; a user calls `model(x, t)`. In between stands one change of basis
(`diffode.prediction`), so that a network of any kind serves a solver of any kind. NumPy arrays and torch tensors pass
through the same code.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from diffode import prediction as predictions
from diffode.errors import ModelError
from diffode.expressions import Matrix
from diffode.kinds import Number, shown
from diffode.plan import Level
from diffode.process import Process
from diffode.process.base import require_process

Array = Any
"""A NumPy array or a torch tensor."""


def like(c: Number, x: Array) -> Number:
    """A coefficient in the precision and on the device of an array; plain floats stay as they are."""
    if not isinstance(c, np.ndarray):
        return float(c)
    if isinstance(x, np.ndarray):
        return c.astype(x.dtype, copy=False)
    import torch

    return torch.as_tensor(c, dtype=x.dtype, device=x.device)


def namespace(x: Array) -> Any:
    """numpy or torch, by the type of an array."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    import torch

    return torch


def number(x: Array) -> float:
    """The number in an array of one entry; of a tensor without the graph that made it."""
    return float(x if isinstance(x, (np.ndarray, np.generic)) else x.detach())


class Model(ABC):
    """What every model has.

    Attributes
    ----------
    process : Process
        The forward process that it was made for.
    prediction : str
        What `model(x, t)` returns.
    multiple : int
        Network passes for one evaluation (2 for classifier-free guidance).
    """

    process: Process
    prediction: str
    multiple: int = 1

    @abstractmethod
    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        """The model's own prediction at a level."""

    def __call__(self, x: Array, t: Number) -> Array:
        """The model's own prediction at time t.

        Parameters
        ----------
        x : array, shape (batch, …)
        t : float, or array that broadcasts against x

        Returns
        -------
        array, like x
        """
        return self._checked(x, self.process.level(t), None, None, None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.prediction} under {self.process!r}>"

    def passes(self, output: str | None = None) -> int:
        """Network passes for one evaluation of a branch."""
        return self.multiple

    def remembers(self) -> bool:
        """Whether what it says depends on what it was asked before in the run."""
        return False

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        """The model's own prediction of a state at `level`, of which the network is told `at`, where it differs."""
        return self.native(x, at or level, output, to)

    def _checked(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        value = self.told(x, level, at, output, to)
        check_output(value, x, f"at t={shown(level.t)}")
        return value

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        """Any prediction at a level.

        Parameters
        ----------
        x : array
            At the noise level `level`.
        level : Level
        prediction : str
            "eps", "x0", "v", "score" or "velocity".
        at : Level, optional
            The level told to the network, where it differs.
        to, output
            Passed on to the model.

        Raises
        ------
        ModelError
            If the model's own prediction says nothing about the one asked for at this level, or is not an array of
            the shape, dtype and device of x.
        """
        value = self._checked(x, level, at, output, to)
        if self.prediction == prediction:
            return value
        rated = level if level.process is not None else replace(level, process=self.process)
        return changed(self.prediction, prediction, rated, x, value)


def changed(source: str, target: str, level: Level, x: Array, value: Array) -> Array:
    """A prediction of x at a level, told as another; of a system, whose second axis has its components, by matrices."""
    if getattr(level.process, "components", 1) > 1:
        a, b = predictions.change_of_system(source, target, level)
        return _applied(a, x) + _applied(b, value)
    a, b = predictions.change(source, target, level)
    return like(a, x) * x + like(b, x) * value


def _applied(matrix: Matrix, u: Array) -> Array:
    rows = [sum(like(c, u) * u[:, k] for k, c in enumerate(row)) for row in matrix.rows]
    return namespace(u).stack(rows, 1)


class Denoiser(Model):
    r"""A model around any callable fn(x, t).

    Parameters
    ----------
    fn : callable
        fn(x, time) → array of the shape, dtype and device of x. NumPy or torch.
    process : Process
    prediction : {"eps", "x0", "v", "score", "velocity"}
        What fn returns.
    time : callable, optional
        What fn is told, from a `Level`; its t by default. See `integer_time` and `scaled_time`.
    batched : bool
        Tell the time as a vector with one entry per sample, as most networks want it.

    Raises
    ------
    ModelError
        When called, if the output has another shape, dtype or device than x.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> model = Denoiser(lambda x, t: 0 * x, de.EDM(), prediction="x0")
    >>> model.predict(np.ones((2, 3)), de.EDM().level(0.5), "eps")[0]
    array([2., 2., 2.])
    """

    def __init__(
        self,
        fn: Callable[..., Array],
        process: Process,
        prediction: str = "eps",
        *,
        time: Callable[[Level], Number] | None = None,
        batched: bool = False,
    ) -> None:
        if not callable(fn):
            raise ModelError(f"Denoiser: fn must be callable as fn(x, t), not {type(fn).__name__}")
        require_process(process, "Denoiser")
        predictions.check(prediction, "Denoiser")
        if time is not None and not callable(time):
            raise ModelError(f"Denoiser: time must be callable as time(level), as integer_time() is, not {time!r}")
        self.fn, self.process, self.prediction = fn, process, prediction
        self.time, self.batched = time, batched

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        time = level.t if self.time is None else self.time(level)
        if self.batched:
            time = _per_sample(time, x)
        elif isinstance(time, (np.ndarray, np.generic)):
            time = like(time, x)
        extra = {name: value for name, value in (("output", output), ("to", to)) if value is not None}
        if extra:
            _check_accepts(self.fn, x, time, extra)
        return self.fn(x, time, **extra)


def _check_accepts(fn: Callable[..., Array], x: Array, time: Any, extra: dict[str, Any]) -> None:
    """Raise ModelError where a network is asked for a branch or a target that it does not know of."""
    try:
        inspect.signature(fn).bind(x, time, **extra)
    except TypeError:
        asked = ", ".join(f"{name}={shown(value.t) if name == 'to' else repr(value)}" for name, value in extra.items())
        raise ModelError(
            f"the solver asks the network for {asked}, which fn(x, t) does not take; give de.Guided(conditional, "
            "unconditional, scale) for the branches of guidance, or an fn with these parameters"
        ) from None
    except ValueError:  # it does not tell its parameters
        return


def check_output(value: Array, x: Array, where: str) -> None:
    """Raise ModelError where a model's output is not an array like its input."""
    if not (isinstance(value, type(x)) or isinstance(x, type(value))):
        raise ModelError(
            f"the model returned a {type(value).__name__} {where}, not a {type(x).__name__} like its input"
        )
    if tuple(value.shape) != tuple(x.shape):
        raise ModelError(
            f"the model returned shape {tuple(value.shape)} {where}, but its input has shape {tuple(x.shape)}"
        )
    if value.dtype != x.dtype:
        raise ModelError(f"the model returned dtype {value.dtype} {where}, but its input has dtype {x.dtype}")
    if getattr(value, "device", None) != getattr(x, "device", None):
        raise ModelError(f"the model returned an array on {value.device} {where}, but its input is on {x.device}")


def _per_sample(time: Number, x: Array) -> Array:
    if isinstance(x, np.ndarray):
        return np.broadcast_to(np.asarray(time, dtype=x.dtype).reshape(-1), (len(x),))
    import torch

    return torch.as_tensor(time, dtype=x.dtype, device=x.device).reshape(-1).expand(len(x))


def integer_time(steps: int = 1000) -> Callable[[Level], Number]:
    """Time map of a network trained on the labels 0 … steps − 1: t = (label + 1)/steps, rounded.

    >>> import diffode as de
    >>> integer_time(1000)(de.VP.scaled_linear().level(0.25))
    np.float64(249.0)
    """

    def label(level: Level) -> Number:
        return np.clip(np.round(np.asarray(level.t) * steps) - 1, 0, steps - 1)[()]

    return label


def scaled_time(scale: float = 1000.0, of: str = "t") -> Callable[[Level], Number]:
    """Time map of a network that is told a multiple of t, σ, λ or ρ.

    >>> import diffode as de
    >>> scaled_time(1000.0, of="sigma")(de.Flow(shift=3.0).level(0.5))
    750.0
    """

    def scaled(level: Level) -> Number:
        return scale * getattr(level, of)

    return scaled
