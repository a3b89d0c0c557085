"""Running a plan, row by row, on any array that has arithmetic.

A backend differs from another in how it combines arrays, draws normals and checks them; that is what `Arrays` says.
The walk over the rows, with registers freed after their last use, is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diffode.brownian import factors
from diffode.errors import ModelError, PlanError
from diffode.kinds import Number, shown
from diffode.plan import BrownianIncrement, Combine, Constant, Dynamic, Evaluate, Normal, Plan, Scaled, defines, reads

Array = Any
Noise = Any
"""A seed, a generator of the backend's library, or a sequence of arrays."""


IN_PLACE = "the model changes its input in place; let it work on a copy"


class Arrays(Protocol):
    """What a backend must be able to do with its arrays."""

    name: str
    generator: type

    def check_state(self, x: Array) -> None:
        """Raise ModelError where x is not a floating-point array of this backend."""
        ...

    def array(self, values: np.ndarray) -> Array:
        """An array of this backend with the values of a NumPy array."""
        ...

    def lent(self, x: Array) -> AbstractContextManager[Array]:
        """x for a model to read; ModelError where the model changes it in place."""
        ...

    def joined(self, parts: Sequence[Array]) -> Array:
        """Arrays one after the other, along the first axis."""
        ...

    def stacked(self, parts: Sequence[Array]) -> Array:
        """The components of a system as one array, along a new second axis."""
        ...

    def combine(self, terms: Sequence[tuple[Number, Array]]) -> Array:
        """Σ c · x, in the precision of the arrays."""
        ...

    def normal(self, source: Any, index: int, x: Array) -> Array:
        """A standard normal of the shape of x from a seed or a generator, for the noise row of this index."""
        ...

    def one(self, x: Array) -> Array:
        """The constant 1, in every entry of an array like x."""
        ...

    def finite(self, x: Array) -> bool:
        """Whether every entry is a number."""
        ...


@dataclass(frozen=True)
class Run:
    """What running a plan leaves: the registers asked for."""

    registers: dict[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.registers[name]


@dataclass
class Asked:
    """One evaluation that a run waits for: whose plan, which row, the state there, and the value once it is known."""

    solver: str
    row: Evaluate
    x: Array
    value: Array = None

    def taken(self) -> Array:
        """The value; neither it nor the state is held any longer."""
        value, self.value, self.x = self.value, None, None
        return value


Walk = Generator[Asked, None, Run]
"""A run that yields its evaluations and goes on once they have their values."""


def execute(
    arrays: Arrays,
    plan: Plan,
    model: Any,
    inputs: Sequence[Array],
    noise: Noise = None,
    keep: Sequence[str] = (),
    on_row: Callable[[int, int], None] | None = None,
) -> Run:
    """Run a plan.

    Parameters
    ----------
    arrays : Arrays
        The backend.
    plan : Plan
    model : Model
        Asked by `predict(x, level, prediction, at, to, output)`.
    inputs : sequence of arrays
        One per input register of the plan.
    noise : seed, generator or sequence of arrays
        Where the noise rows get their values. A seed gives the same normals on every backend and device; a sequence
        is assigned to the noise rows in order, as it stands.
    keep : sequence of str
        Registers to return besides those that the plan keeps.
    on_row : callable, optional
        Called with (rows done, rows in all).

    Raises
    ------
    ModelError
        If the model returns NaN or ∞ (which step and t), or inputs are missing.
    PlanError
        If the plan draws noise and none is given, or what is given does not fit; if coefficients are arrays of another
        shape; or a register to keep is not there.
    """
    for x in inputs:
        arrays.check_state(x)
    run = walk(arrays, plan, inputs, noise, keep, on_row)
    while True:
        try:
            asked = next(run)
        except StopIteration as end:
            return end.value
        asked.value = evaluated(arrays, asked, predicted(arrays, asked, model))


def walk(
    arrays: Arrays,
    plan: Plan,
    inputs: Sequence[Array],
    noise: Noise = None,
    keep: Sequence[str] = (),
    on_row: Callable[[int, int], None] | None = None,
) -> Walk:
    """`execute` as a generator, which yields every evaluation and finds its value there: so that several go in step."""
    if len(inputs) != len(plan.inputs):
        raise PlanError(
            f"{plan.solver}: the plan has {len(plan.inputs)} inputs ({', '.join(plan.inputs)}), got {len(inputs)}"
        )
    _check_shapes(plan, tuple(inputs[0].shape))
    registers: dict[str, Array] = dict(zip(plan.inputs, inputs, strict=True))
    wanted = set(keep) | plan.kept
    draw = draws(arrays, plan, noise, inputs[0])
    last = plan.last_use
    for name in wanted - last.keys():
        raise PlanError(f"{plan.solver}: keep= asks for register {name}, which the plan does not define")
    ending: dict[int, list[str]] = {}
    for name, i in last.items():
        if name not in wanted:
            ending.setdefault(i, []).append(name)
    for i, row in enumerate(plan.rows):
        if isinstance(row, Evaluate):
            parts = [registers[name] for name in reads(row)]
            asked = Asked(plan.solver, row, arrays.stacked(parts) if row.beside else parts[0])
            del parts
            yield asked
            value = asked.taken()
            if row.beside:
                registers.update((name, value[:, k]) for k, name in enumerate(defines(row)))
            else:
                registers[row.out] = value
            del value
        elif isinstance(row, Constant):
            registers[row.out] = arrays.one(inputs[0])
        elif isinstance(row, Combine):
            registers[row.out] = _combine(arrays, row, registers) if row.terms else 0 * inputs[0]
        elif isinstance(row, Dynamic):
            registers[row.out] = row.function(*(registers[name] for name in row.inputs))
        else:
            registers[row.out] = draw(row)
        for name in ending.get(i, ()):
            del registers[name]
        if on_row is not None:
            on_row(i + 1, len(plan.rows))
    return Run({name: registers[name] for name in wanted})


def _check_shapes(plan: Plan, shape: tuple[int, ...]) -> None:
    """Coefficients that are arrays (levels, or statistics of coordinates) must broadcast to the state."""
    sums = (row for row in plan.rows if isinstance(row, Combine))
    for own in {c.shape for row in sums for c, _ in row.terms if isinstance(c, np.ndarray)}:
        if len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own[::-1], shape[::-1], strict=False)):
            raise PlanError(
                f"{plan.solver} has coefficients of shape {own}, which does not broadcast against a state of shape "
                f"{shape}; its levels or statistics are those of other data"
            )


def _combine(arrays: Arrays, row: Combine, registers: dict[str, Array]) -> Array:
    return arrays.combine([(_coefficient(c, registers), registers[name]) for c, name in row.terms])


def _coefficient(c: Any, registers: dict[str, Array]) -> Any:
    return c.factor * registers[c.dynamic] if isinstance(c, Scaled) else c


def predicted(arrays: Arrays, asked: Asked, model: Any) -> Array:
    """The model's answer, not yet looked at."""
    row = asked.row
    try:
        with arrays.lent(asked.x) as lent:
            return model.predict(lent, row.level, row.prediction, row.at, row.to, row.output)
    except ModelError as problem:
        raise ModelError(f"{asked.solver}, step {row.step}: {problem}") from problem


def evaluated(arrays: Arrays, asked: Asked, value: Array) -> Array:
    """The model's answer where it is finite; ModelError says which step and t, and whose fault it is."""
    if not arrays.finite(value):
        where = f"at step {asked.row.step}, t={shown(asked.row.level.t)}"
        if not arrays.finite(asked.x):
            raise ModelError(
                f"{asked.solver}: the state itself is not finite {where}; the solver diverged (take smaller steps, or "
                "a solver with a larger stability region)"
            )
        raise ModelError(f"{asked.solver}: the model returned NaN or ∞ {where}")
    return value


def draws(arrays: Arrays, plan: Plan, noise: Noise, x: Array) -> Callable[[Any], Array]:
    """A function that gives each noise row of a plan its value; rows are asked in order."""
    rows = plan.noises
    if rows and noise is None:
        raise PlanError(
            f"{plan.solver} draws noise {len(rows)} times; give noise=seed, a generator, or a sequence of arrays"
        )
    position = {row.out: k for k, row in enumerate(rows)}
    if rows and not is_source(noise, arrays):
        given = _given(arrays, plan, noise, x)
        return lambda row: given[position[row.out]]
    weights = factors(plan)
    needed = {j: k for k, row in enumerate(rows) for j in weights[row.out]}
    normals: dict[int, Array] = {}

    def draw(row: BrownianIncrement | Normal) -> Array:
        k = position[row.out]
        normals[k] = arrays.normal(noise, k, x)
        mix = weights[row.out]
        value = normals[k] if len(mix) == 1 else arrays.combine([(w, normals[j]) for j, w in mix.items()])
        for j in [j for j in normals if needed.get(j, k) <= k]:
            del normals[j]
        return value

    return draw


def is_source(noise: Noise, arrays: Arrays) -> bool:
    """Whether noise is drawn: from a seed or a generator."""
    if isinstance(noise, (int, np.integer)) and not isinstance(noise, bool) and noise >= 0:
        return True
    if isinstance(noise, arrays.generator):
        return True
    if hasattr(noise, "__len__") and not isinstance(noise, (str, bytes, dict)):
        return False
    raise PlanError(
        f"noise= takes a seed (a whole number, not negative), a generator of {arrays.name}, or a sequence of arrays, "
        f"not {noise!r}"
    )


def _given(arrays: Arrays, plan: Plan, noise: Sequence[Array], x: Array) -> Sequence[Array]:
    """Noise that is given as arrays, checked: one for each row, like the state."""
    count = len(plan.noises)
    if len(noise) != count:
        raise PlanError(f"{plan.solver} draws noise {count} times, but noise= holds {len(noise)} arrays")
    for k, value in enumerate(noise):
        if not (isinstance(value, type(x)) or isinstance(x, type(value))):
            raise PlanError(f"noise[{k}] is a {type(value).__name__}, but x_T is a {type(x).__name__}")
        for name in ("shape", "dtype", "device"):
            theirs, ours = (getattr(array, name, None) for array in (value, x))
            if theirs != ours:
                raise PlanError(f"noise[{k}] has {name} {theirs}, but x_T has {name} {ours}; each needs those of x_T")
    return noise


def seeded(seed: int, index: int) -> np.random.Generator:
    """The generator of one noise row: the same for every backend, device and order of evaluation."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
