"""What a trace writes down: the rows so far, and what the rule remembers from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from diffode.brownian import Increment, covariance
from diffode.errors import SolverError
from diffode.expressions import Vector
from diffode.kinds import Number, literal, package_of, shown
from diffode.plan import BrownianIncrement, Combine, Evaluate, Level, Linear, Row, Scaled

if TYPE_CHECKING:
    from diffode.trace.step import Step


class Rule(Protocol):
    """What the trace needs to know of a solver."""

    @property
    def name(self) -> str: ...
    @property
    def prediction(self) -> str: ...
    @property
    def history(self) -> int: ...
    def __call__(self, step: Step) -> Any: ...


class Grid(Protocol):
    """What the trace needs to know of a time grid."""

    @property
    def process(self) -> Any: ...
    @property
    def levels(self) -> tuple[Level, ...]: ...


@dataclass(frozen=True)
class Memory:
    """What a step leaves to the next ones: stored values, newest first, with their levels; and named registers.

    Of a system, `beside` has the other components of the stored values.
    """

    past: tuple[tuple[str, Level], ...] = ()
    named: tuple[tuple[str, str], ...] = ()
    beside: tuple[tuple[str, ...], ...] = ()

    def registers(self) -> tuple[str, ...]:
        """The registers held, in the order in which a continued run takes them as inputs."""
        others = self.beside or ((),) * len(self.past)
        held = [(name, *names) for (name, _), names in zip(self.past, others, strict=True)]
        return tuple(name for names in held for name in names) + tuple(register for _, register in self.named)


class Tracer:
    """The rows written so far, and what the rule remembers from step to step."""

    def __init__(self, rule: Rule, grid: Grid, inputs: Sequence[str], open_end: bool = False) -> None:
        self.rule = rule
        self.history = rule.history
        self.grid = grid
        self.open_end = open_end
        self.rows: list[Row] = []
        self.inputs = list(inputs)
        self.past: list[tuple[Linear, Level]] = []
        self.named: dict[str, Linear] = {}
        self.increments: dict[tuple[Any, ...], str] = {}
        self.pieces: list[tuple[BrownianIncrement, Increment, float]] = []
        self.normals: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.embedded: list[Linear | Callable[[Linear], Linear]] = []
        self.evaluations: list[Evaluate] | None = None
        self.index = 0

    def fresh(self, letter: str) -> str:
        """The next free register d0, d1, … of a letter."""
        n = self.counts.get(letter, 0)
        self.counts[letter] = n + 1
        return f"{letter}{n}"

    def register(self, expression: Linear, letter: str = "u", name: str | None = None) -> str:
        """The register that holds an expression, by a new `Combine` row unless it is one already."""
        if len(expression.terms) == 1:
            (held, c), *_ = expression.terms.items()
            if name is None and package_of(c) in ("float", "sympy") and c == 1:
                return held
        out = name or self.fresh(letter)
        kind = self.grid.levels[0].lam
        terms: list[tuple[Number, str]] = []
        for held, c in expression.terms.items():
            number = c
            if type(c) is not float or not isfinite(c):  # most are plain floats, and every row comes by here
                self._check(held, c)
                number = literal(c, kind)
            if not (isinstance(number, float) and number == 0.0):
                terms.append((number, held))
        self.rows.append(Combine(out, tuple(terms)))
        return out

    def registers(self, expression: Linear | Vector, name: str | None = None) -> tuple[str, ...]:
        """The registers that hold an expression: one, or those of all components of a system (`beside` names them)."""
        if isinstance(expression, Linear):
            return (self.register(expression, name=name),)
        names = beside(name) if name else (None,) * len(expression)
        return tuple(self.register(part, name=own) for part, own in zip(expression, names, strict=False))

    def known(self, x: str, level: Level, at: Level | None, to: Level | None, output: str | None) -> Linear | None:
        """What an earlier evaluation of the same register gave, where a controller has such looked for."""
        for row in self.evaluations or ():
            if row.x == x and row.level == level and (row.at, row.to, row.output) == (at, to, output):
                return Linear({row.out: 1})
        return None

    def _check(self, register: str, c: Number) -> None:
        value = c.factor if isinstance(c, Scaled) else c
        if isinstance(value, (complex, str)) or (isinstance(value, np.ndarray) and value.dtype.kind not in "fiuO"):
            raise SolverError(
                f"{self.rule.name}: the coefficient of {register} is {value!r} at step {self.index}; coefficients are "
                "real numbers"
            )
        package = package_of(value)
        if not (isfinite(value) if package == "float" else package != "array" or np.all(np.isfinite(value))):
            a, b = self.grid.levels[self.index], self.grid.levels[self.index + 1]
            raise SolverError(
                f"{self.rule.name}: the coefficient of {register} is {shown(value)} at step {self.index} "
                f"(t={shown(a.t)} → {shown(b.t)}); read step.singular where a level has λ = ±∞, or check the formula"
            )

    def snapshot(self) -> tuple[Any, ...]:
        """Enough to undo a step."""
        return (
            len(self.rows), len(self.pieces), list(self.past), dict(self.named), dict(self.increments),
            dict(self.normals), dict(self.counts),
        )  # fmt: skip

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Undo everything since `snapshot`."""
        rows, pieces, self.past, self.named, self.increments, self.normals, self.counts = saved
        del self.rows[rows:], self.pieces[pieces:]

    def add_piece(self, row: BrownianIncrement, piece: Increment) -> None:
        """Note an increment, with the farthest λ that it or any before it reaches."""
        far = _extreme(np.max, piece.stretch[1].lam)
        self.pieces.append((row, piece, max(far, self.pieces[-1][2]) if self.pieces else far))

    def overlaps(self, piece: Increment) -> Iterator[tuple[BrownianIncrement, Number]]:
        """Earlier increments with their covariance; those that end before this one begins are not looked at."""
        begin = _extreme(np.min, piece.stretch[0].lam)
        for row, other, far in reversed(self.pieces):
            if far <= begin:
                return
            yield row, covariance(piece, other)

    def memory(self) -> Memory:
        """What the rule remembers now, as registers."""
        depth = max(self.history, 0)
        past = [(self.registers(value), level) for value, level in self.past[:depth]]
        named = tuple((name, self.register(value)) for name, value in self.named.items())
        others = tuple(names[1:] for names, _ in past) if past and len(past[0][0]) > 1 else ()
        return Memory(tuple((names[0], level) for names, level in past), named, others)


def beside(name: str) -> tuple[str, str]:
    """A register x1 and that of the velocity beside it, xv1."""
    letter = name.rstrip("0123456789")
    return name, f"{letter}v{name[len(letter) :]}"


def state_of(names: Sequence[str]) -> Any:
    """What a rule computes with: the expression that is a register, or the vector of several."""
    return Linear({names[0]: 1}) if len(names) == 1 else Vector(Linear({name: 1}) for name in names)


def _extreme(pick: Callable[..., Any], lam: Number) -> Any:
    return pick(lam) if isinstance(lam, np.ndarray) else lam
