"""Noise under control: while a black box runs, every normal that it draws is one that was designed.

NumPy's generators and torch's functions are replaced for the time of one run. A draw is known by the state of its
generator: who asks twice from one state (a Brownian tree that recomputes a node from its seed) gets one noise twice.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

Array = Any


class Draws:
    """The draws of one run, numbered as they first come.

    Parameters
    ----------
    design : callable
        Number of the draw → its values, of the shape of the state.
    shape : tuple of int
        Of the state; draws of another shape are left to the generator.
    like : callable
        Values, reference → an array of the library, dtype and device of the reference.
    """

    def __init__(
        self, design: Callable[[int], np.ndarray], shape: tuple[int, ...], like: Callable[[np.ndarray, Array], Array]
    ) -> None:
        self.design, self.shape, self.like = design, shape, like
        self.numbers: dict[bytes, int] = {}

    def put(self, real: Array, state: Any) -> Array:
        """The designed normals in place of real ones, drawn from a generator in this state."""
        if tuple(np.shape(real)) != self.shape:
            return real
        number = self.numbers.setdefault(pickle.dumps(state), len(self.numbers))
        return self.like(self.design(number), real)


class Watched(np.random.Generator):
    """A NumPy generator whose normals are designed; called, it gives the next noise, whatever it is called with."""

    def __init__(self, bits: np.random.BitGenerator, draws: Draws, reference: Array = None) -> None:
        super().__init__(bits)
        self._draws, self._reference = draws, reference

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        state = self.bit_generator.state
        value = self._draws.put(super().standard_normal(size, dtype), state)
        if out is None:
            return value
        out[...] = value
        return out

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return loc + scale * self.standard_normal(np.broadcast(loc, scale).shape if size is None else size)

    def __call__(self, *_: Any, **__: Any) -> Array:
        return self._draws.like(self.standard_normal(self._draws.shape), self._reference)


def source(draws: Draws, reference: Array) -> Watched:
    """What a sampler that takes its noise as an argument is given."""
    return Watched(np.random.PCG64(0), draws, reference)


@contextmanager
def controlled(draws: Draws, seed: int) -> Generator[None]:
    """Normals are designed inside; the global generators start at a seed there, and are as before afterwards."""
    torch = sys.modules.get("torch")
    with ExitStack() as stack:
        before = np.random.get_state()  # noqa: NPY002
        stack.callback(np.random.set_state, before)
        np.random.seed(seed)  # noqa: NPY002
        for name, replacement in _numpy(draws).items():
            stack.enter_context(patch.object(np.random, name, replacement))
        if torch is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(seed)
            for owner, name, replacement in _torch(torch, draws):
                stack.enter_context(patch.object(owner, name, replacement))
        yield


def _numpy(draws: Draws) -> dict[str, Callable[..., Any]]:
    """Replacements in `numpy.random`."""
    default_rng, legacy = np.random.default_rng, np.random.standard_normal

    def make(seed: Any = None) -> Any:
        real = default_rng(seed)
        return real if isinstance(real, Watched) else Watched(real.bit_generator, draws)

    def standard_normal(size: Any = None) -> Any:
        state = np.random.get_state()  # noqa: NPY002
        return draws.put(legacy(size), state)

    def normal(loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return loc + scale * standard_normal(np.broadcast(loc, scale).shape if size is None else size)

    return {
        "default_rng": make, "standard_normal": standard_normal, "normal": normal,
        "randn": lambda *shape: standard_normal(shape or None),
    }  # fmt: skip


def _torch(torch: Any, draws: Draws) -> list[tuple[Any, str, Callable[..., Any]]]:
    """Replacements in torch: owner, name, function."""
    randn, randn_like, normal, fill = torch.randn, torch.randn_like, torch.normal, torch.Tensor.normal_

    def state(generator: Any, device: Any) -> bytes:
        if generator is not None:
            held = generator.get_state()
        else:
            kind = torch.device(device or "cpu").type
            held = torch.get_rng_state() if kind == "cpu" else getattr(torch, kind).get_rng_state()
        return held.numpy().tobytes()

    def new_randn(*size: Any, **options: Any) -> Any:
        before = state(options.get("generator"), options.get("device"))
        return draws.put(randn(*size, **options), before)

    def new_randn_like(x: Any, **options: Any) -> Any:
        before = state(options.get("generator"), options.get("device") or x.device)
        return draws.put(randn_like(x, **options), before)

    def new_normal(mean: Any = 0.0, std: Any = 1.0, *size: Any, **options: Any) -> Any:
        device = next((v.device for v in (mean, std) if isinstance(v, torch.Tensor)), options.get("device"))
        before = state(options.get("generator"), device)
        real = normal(mean, std, *size, **options)
        return mean + std * draws.put(real, before) if tuple(real.shape) == draws.shape else real

    def new_fill(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
        before = state(generator, self.device)
        real = fill(self, mean, std, generator=generator)
        if tuple(self.shape) != draws.shape:
            return real
        return self.copy_(mean + std * draws.put(self, before))

    return [
        (torch, "randn", new_randn), (torch, "randn_like", new_randn_like), (torch, "normal", new_normal),
        (torch.Tensor, "normal_", new_fill),
    ]  # fmt: skip
