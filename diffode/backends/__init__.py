"""Backends: what a plan can be run on. Each is a module with the functions of `diffode.backends.base.Arrays`."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from diffode.backends.base import Arrays, Run, execute
from diffode.errors import DiffodeError

BACKENDS = ("numpy", "torch")

__all__ = ["BACKENDS", "Arrays", "Run", "execute", "get_backend"]


def get_backend(name: str) -> Arrays:
    """The backend of a name.

    Raises
    ------
    DiffodeError
        If there is none.
    MissingExtra
        If its library is not installed.

    Examples
    --------
    >>> get_backend("numpy").name
    'numpy'
    """
    if name not in BACKENDS:
        raise DiffodeError(f"no backend named {name!r}; there are {', '.join(BACKENDS)}")
    return cast(Arrays, import_module(f"diffode.backends.{name}"))
