"""Several runs at once, the evaluations that they wait for joined into one call of the model.

A run waits at every evaluation (`diffode.backends.base.walk`). Here all runs go on to their next one, the states are
put one after the other along the first axis, and their levels become arrays with an entry per sample.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from diffode.backends.base import Array, Arrays, Asked, evaluated, predicted
from diffode.errors import ModelError
from diffode.plan import Level

Result = TypeVar("Result")


@dataclass
class Calls:
    """How often the model was called: joined calls."""

    count: int = 0


def lockstep(
    arrays: Arrays,
    model: Any,
    runs: Sequence[Generator[Asked, None, Result]],
    calls: Calls,
    *,
    whole: bool = False,
) -> list[Result]:
    """The results of several runs whose evaluations are joined.

    Parameters
    ----------
    arrays : Arrays
    model : Model
    runs : sequence of generators
        Each yields what it asks for, and finds the value there when it goes on.
    calls : Calls
        Counts.
    whole : bool
        Runs that are done ask for their last evaluation again, so that every call sees all samples in their order: for
        a model that holds something of its own for each. What it answers them is thrown away.

    Raises
    ------
    ModelError
        If the model remembers what it was asked, and there are several runs. As `execute`; the step and time named are
        those of the run whose value is not finite.
    """
    if len(runs) > 1 and model.remembers():
        raise ModelError(
            f"{model!r} answers by what it was asked before, which several runs at once would mix up; run them one by "
            "one"
        )
    results: dict[int, Result] = {}
    last: dict[int, Asked] = {}
    waiting = list(range(len(runs)))
    while True:
        asked: dict[int, Asked] = {}
        for i in waiting:
            try:
                asked[i] = next(runs[i])
            except StopIteration as end:
                results[i] = end.value
        waiting = list(asked)
        if not waiting:
            return [results[i] for i in range(len(runs))]
        last = {**(last if whole else {}), **{i: replace(one) for i, one in asked.items()}}
        for group in _alike(last):
            calls.count += 1
            for i, value in zip(group, _together(arrays, model, [last[i] for i in group]), strict=True):
                if i in asked:
                    asked[i].value = evaluated(arrays, last[i], value)


def _alike(asked: dict[int, Asked]) -> list[list[int]]:
    """Evaluations of one kind: one prediction, one branch, and none with an infinite λ among others."""
    groups: dict[Any, list[int]] = {}
    for i, one in sorted(asked.items()):
        row = one.row
        kind = (row.prediction, row.output, row.at is None, row.to is None, row.level.singular, one.x.dtype)
        groups.setdefault(kind, []).append(i)
    return list(groups.values())


def _together(arrays: Arrays, model: Any, asked: Sequence[Asked]) -> list[Array]:
    """One call for evaluations of one kind, and its answer in parts."""
    if len(asked) == 1:
        return [predicted(arrays, asked[0], model)]
    first, states = asked[0].row, [one.x for one in asked]
    row = replace(
        first,
        level=_stacked([one.row.level for one in asked], states),
        at=_stacked([one.row.at for one in asked if one.row.at], states) if first.at else None,
        to=_stacked([one.row.to for one in asked if one.row.to], states) if first.to else None,
    )
    value = predicted(arrays, Asked(asked[0].solver, row, arrays.joined(states)), model)
    ends = np.cumsum([len(x) for x in states])
    return [value[end - len(x) : end] for x, end in zip(states, ends, strict=True)]


def _stacked(levels: Sequence[Level], states: Sequence[Array]) -> Level:
    """One level with an entry for every sample of every state."""

    def column(name: str) -> np.ndarray:
        values = [np.asarray(getattr(level, name), dtype=float) for level in levels]
        shapes = [
            np.broadcast_shapes(v.shape, (len(x), *[1] * (x.ndim - 1))) for v, x in zip(values, states, strict=True)
        ]
        rest = np.broadcast_shapes(*(shape[1:] for shape in shapes))
        return np.concatenate([np.broadcast_to(v, (shape[0], *rest)) for v, shape in zip(values, shapes, strict=True)])

    return Level(column("t"), column("alpha"), column("sigma"), column("lam"), levels[0].process)
