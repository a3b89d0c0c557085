"""What samples besides step rules: controllers, model wrappers, runners, few-step maps and fits, each with its source.

A step rule is registered by being a `Solver`; everything else by standing in the catalogue, from which the gallery of
the documentation is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar

Kind = Literal["controller", "wrapper", "runner", "map", "fit", "grid"]
Thing = TypeVar("Thing", bound=Callable[..., Any])

PLACES: tuple[str, ...] = (
    "diffode.adaptive.controller", "diffode.adaptive.sampling",
    "diffode.adaptive.skipping", "diffode.adaptive.time_shift", "diffode.grids.restart",
    *(f"diffode.models.{name}" for name in ("guidance", "maps", "reuse", "shift")),
    *(f"diffode.runners.{name}" for name in ("denoising_mcmc", "maps", "picard")),
    *(f"diffode.fitting.{name}" for name in ("gits", "ays", "ld3", "nonuniform", "timesearch", "evolution")),
    *(f"diffode.fitting.{name}" for name in ("canonical", "bespoke", "directions", "schedules", "compensation")),
    *(f"diffode.fitting.{name}" for name in ("guidance", "statistics")),
)  # fmt: skip
"""Modules whose import fills the catalogue."""


@dataclass(frozen=True)
class Entry:
    """One method that is not a step rule.

    Attributes
    ----------
    name : str
    kind : str
        "controller" (chooses the next time), "wrapper" (changes what the network returns), "runner" (calls plans),
        "map" (a few-step sampler), "fit" (finds coefficients) or "grid" (finds or names levels).
    source : str
        Paper and equation; where its code differs.
    thing : callable
        The class or function itself.
    slip : str
        What is wrong with it as published, for the errata.
    page : str
        The page of the documentation that measures it.
    """

    name: str
    kind: str
    source: str
    thing: Callable[..., Any]
    slip: str = ""
    page: str = ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.thing) or "").partition("\n")[0]


_entries: dict[str, Entry] = {}


def catalogued(kind: Kind, source: str, *, slip: str = "", page: str = "") -> Callable[[Thing], Thing]:
    """Put a class or function into the catalogue.

    >>> @catalogued("wrapper", "my notebook, page 3")
    ... def half(model):
    ...     '''Half of what the network returns.'''
    >>> _entries.pop("half").summary
    'Half of what the network returns.'
    """

    def enter(thing: Thing) -> Thing:
        _entries[thing.__name__] = Entry(thing.__name__, kind, source, thing, slip, page)
        return thing

    return enter


def catalogue() -> dict[str, Entry]:
    """All entries by name, kind by kind.

    >>> all(entry.source for entry in catalogue().values())
    True
    """
    for place in PLACES:
        import_module(place)
    kinds = Kind.__args__  # pyright: ignore[reportAttributeAccessIssue]
    return dict(sorted(_entries.items(), key=lambda item: (kinds.index(item[1].kind), item[0])))
