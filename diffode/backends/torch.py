"""The torch backend: any device and dtype; gradients flow through.

On a GPU the check for NaN would wait for the device at every evaluation, so it looks at CPU tensors only; set `check`
on the module to look everywhere.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from diffode.backends.base import IN_PLACE, seeded
from diffode.errors import MissingExtra, ModelError
from diffode.kinds import Number

try:
    import torch
except ImportError as problem:
    raise MissingExtra("torch", "torch") from problem

name = "torch"
generator = torch.Generator
check = "cpu"
"""Where outputs of the model are checked for NaN: "cpu" (tensors on the CPU), "all" or "none"."""


def check_state(x: Any) -> None:
    if not isinstance(x, torch.Tensor):
        raise ModelError(
            f"x_T must be a torch tensor for backend='torch', not {type(x).__name__}; convert it with "
            "torch.as_tensor, or choose backend='numpy'"
        )
    if x.layout != torch.strided:
        raise ModelError(f"x_T is a sparse tensor ({x.layout}); give x_T.to_dense()")
    if not x.is_floating_point():
        raise ModelError(f"x_T must hold floating-point numbers, not {x.dtype}; convert it with .double()")
    if x.ndim < 1:
        raise ModelError("x_T must have shape (batch, …), not ()")


def array(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values)


@contextmanager
def lent(x: torch.Tensor) -> Generator[torch.Tensor]:
    before = None if x.is_inference() else x._version
    yield x
    if before is not None and x._version != before:
        raise ModelError(IN_PLACE)


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat(tuple(parts))


def stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(tuple(parts), dim=1)


def combine(terms: Sequence[tuple[Number, torch.Tensor]]) -> torch.Tensor:
    total: Any = None
    for c, x in terms:
        many = isinstance(c, (np.ndarray, torch.Tensor))
        part = (torch.as_tensor(c, dtype=x.dtype, device=x.device) if many else float(c)) * x
        # no fused product and sum: one and many levels, one and many samples, and NumPy then give the same bits
        total = part if total is None else total + part
    return total


def normal(source: Any, index: int, x: torch.Tensor) -> torch.Tensor:
    if isinstance(source, generator):
        return torch.randn(x.shape, generator=source, dtype=x.dtype, device=x.device)
    draws = seeded(int(source), index).standard_normal(tuple(x.shape))
    return torch.as_tensor(draws, dtype=x.dtype, device=x.device)


def one(x: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(x)


def finite(x: torch.Tensor) -> bool:
    if check == "none" or (check == "cpu" and x.device.type != "cpu"):
        return True
    return bool(torch.isfinite(x).all())
