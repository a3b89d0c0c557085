"""The plan: what a solver does, as a list of linear rows, and nothing else.

Every row defines one register; nothing is overwritten. A plan knows no solver, no model and no array:

    d0 = Evaluate(x0, level, prediction)       one evaluation of the network
    w0 = BrownianIncrement(a → b, clock)       a named piece of the reverse Brownian path
    z0 = Normal(key)                           an independent standard normal (churn, Restart, Langevin)
    c0 = Dynamic(name, registers)              a coefficient that depends on registers
    x1 = Combine((a, x0), (b, d0), (1, w0))    a linear combination
    k0 = Constant()                            the constant 1, of which a bias is a multiple

Because the coefficients depend on the process and the grid only, one list serves to run on arrays, to be
expanded in powers of h, to be drawn as a stability region and to be pushed through a Gaussian exactly.
What can be read off the rows (`nfe`, `is_linear`, `is_deterministic`, lifetimes) is derived, never declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from diffode.errors import PlanError
from diffode.expressions import Linear as Linear
from diffode.expressions import Scaled
from diffode.kinds import Number, divide, infinite


@dataclass(frozen=True, slots=True)
class Level:
    """A noise level x = α x_0 + σ ε of a process, told by all its names at once.

    Parameters
    ----------
    t, alpha, sigma, lam : number or array
        Time, signal and noise coefficients, and λ = log(α/σ). Each is computed directly by the process,
        so that none has lost digits to another. Arrays broadcast against the state: one level per
        sample, frame or element.
    process : Process, optional
        Where the level comes from; asked for rates (`dalpha`, `dsigma`) when a rule needs them.
    """

    t: Number
    alpha: Number
    sigma: Number
    lam: Number
    process: Any = field(default=None, compare=False, repr=False)

    @property
    def rho(self) -> Number:
        """ρ = σ/α = e^{−λ}, the noise level of the rescaled state x/α (EDM's sigma)."""
        return divide(self.sigma, self.alpha)

    @property
    def dalpha(self) -> Number:
        """dα/dt."""
        return self.process.dalpha(self.t)

    @property
    def dsigma(self) -> Number:
        """dσ/dt."""
        return self.process.dsigma(self.t)

    @property
    def singular(self) -> bool:
        """True where λ = ±∞ (σ = 0 or α = 0) in any entry."""
        return infinite(self.lam)


@dataclass(frozen=True)
class Evaluate:
    """One evaluation of the network: register `x` at `level`, its output given in `prediction`.

    `at` is the level told to the network where it differs, `to` the target of a map G(x, t, s), `output` a
    named branch (the unconditional one, say). `step` is the index of the grid step, for messages. A system has
    `beside` x and out those of its other components, in pairs (x, out). What a controller spent on a step that it took
    back is `rejected`: it counts, and nothing reads it.
    """

    out: str
    x: str
    level: Level
    prediction: str
    step: int = 0
    at: Level | None = None
    to: Level | None = None
    output: str | None = None
    beside: tuple[tuple[str, str], ...] = ()
    rejected: bool = False


@dataclass(frozen=True)
class Combine:
    """The linear combination Σ coefficient · register; a coefficient may name a `Dynamic` row."""

    out: str
    terms: tuple[tuple[Number, str], ...]


@dataclass(frozen=True)
class Constant(Combine):
    """The constant 1 in every entry: a state with a bias is affine in what comes in.

    It is a combination of nothing to whatever looks at the linear part of a plan only, as stability does.
    """

    terms: tuple[tuple[Number, str], ...] = ()


@dataclass(frozen=True)
class BrownianIncrement:
    """∫_a^b ((c − c_a)/(c_b − c_a))^moment dW_c of the reverse Brownian path, scaled to unit variance.

    `covariances` lists the earlier increments of the same stream that overlap this one, with their
    covariance, so that a plan can be run without knowing its clocks.
    """

    out: str
    a: Level
    b: Level
    clock: str
    moment: int = 0
    stream: int = 0
    covariances: tuple[tuple[str, Number], ...] = ()


@dataclass(frozen=True)
class Normal:
    """An independent standard normal, named by a key: noise that is not of the reverse path."""

    out: str
    key: str


@dataclass(frozen=True)
class Dynamic:
    """A coefficient that a pure function computes from registers (a signal-to-noise step size, say)."""

    out: str
    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]


Row = Evaluate | Combine | BrownianIncrement | Normal | Dynamic


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled solver: rows, the registers that come in, and the registers that matter afterwards.

    Parameters
    ----------
    rows : tuple of rows
    inputs : tuple of str
        Registers that exist before the first row: the state, then what a continued run remembers.
    states : tuple of str
        The register of the state at each level of the grid, the first and the last included.
    levels : tuple of Level
        The levels of the grid.
    memory : mapping
        What the last step leaves behind, as `diffode.trace.Memory` describes it.
    solver : str
        Name of the rule, for titles and messages.
    beside : tuple of tuples of str
        For a system: at each level, the registers of the components of the state beside the first.

    Raises
    ------
    PlanError
        If a register is defined twice, or read before it is defined; or a system lacks components at some levels.

    Examples
    --------
    >>> import diffode as de
    >>> process = de.EDM()
    >>> plan = de.compile("dpmpp_2m", process, de.grids.karras(process, 3))
    >>> plan.nfe, plan.is_linear, plan.is_deterministic, plan.peak_live
    (3, True, True, 4)
    """

    rows: tuple[Row, ...]
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    levels: tuple[Level, ...]
    memory: Any = None
    solver: str = ""
    beside: tuple[tuple[str, ...], ...] = ()
    __hash__ = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.beside and len(self.beside) != len(self.states):
            raise PlanError(f"{self.solver}: {len(self.states)} states, but {len(self.beside)} have other components")
        defined: set[str] = set()
        for where, read, new in self._uses():
            for name in read:
                if name not in defined:
                    raise PlanError(f"{self.solver}: register {name} is read by {where}, but not defined before")
            if not defined.isdisjoint(new):
                raise PlanError(f"{self.solver}: register {new[0]} is defined a second time by {where}")
            defined.update(new)

    def _uses(self) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
        """Where, what is read there, and what is defined, in order."""
        for name in self.inputs:
            yield "the inputs", (), (name,)
        for i, row in enumerate(self.rows):
            shared = [name for name, _ in row.covariances] if isinstance(row, BrownianIncrement) else []
            yield f"row {i} ({row.out})", (*reads(row), *shared), defines(row) if self.beside else (row.out,)
        yield "the states", (*self.states, *chain(*self.beside)), ()
        yield "the memory", self.memory.registers() if self.memory is not None else (), ()

    def state(self, k: int) -> tuple[str, ...]:
        """The registers of the state at level k: one, or as many as the system has components."""
        return (self.states[k], *(self.beside[k] if self.beside else ()))

    # --- facts derived from the rows ---

    @cached_property
    def nfe(self) -> int:
        """Evaluations of the network for one sample."""
        return sum(isinstance(row, Evaluate) for row in self.rows)

    @cached_property
    def is_linear(self) -> bool:
        """True where every coefficient is a number (no `Dynamic` row)."""
        return not any(isinstance(row, Dynamic) for row in self.rows)

    @cached_property
    def is_homogeneous(self) -> bool:
        """True where no constant is added: without inputs, noise and values of the network all is 0."""
        return not any(isinstance(row, Constant) for row in self.rows)

    @cached_property
    def is_deterministic(self) -> bool:
        """True where no noise enters."""
        return not any(isinstance(row, (BrownianIncrement, Normal)) for row in self.rows)

    @cached_property
    def noises(self) -> tuple[BrownianIncrement | Normal, ...]:
        """The rows that draw noise, in order."""
        return tuple(row for row in self.rows if isinstance(row, (BrownianIncrement, Normal)))

    @cached_property
    def kept(self) -> frozenset[str]:
        """Registers that outlive the last row: the final state and what a continued run needs."""
        remembered = self.memory.registers() if self.memory is not None else ()
        return frozenset([*self.state(-1), *remembered])

    @cached_property
    def last_use(self) -> dict[str, int]:
        """The index of the last row that reads each register; len(rows) for those that are kept."""
        last: dict[str, int] = dict.fromkeys(self.inputs, -1)
        for i, row in enumerate(self.rows):
            last.update(dict.fromkeys(defines(row), i))
            for name in reads(row):
                last[name] = i
        last.update(dict.fromkeys(self.kept, len(self.rows)))
        return last

    @cached_property
    def peak_live(self) -> int:
        """The largest number of arrays alive at once, the inputs included: the memory a run needs."""
        live = set(self.inputs)
        peak = len(live)
        for i, row in enumerate(self.rows):
            live.update(defines(row))
            peak = max(peak, len(live))
            live -= {name for name in live if self.last_use[name] <= i}
        return peak

    def head(self, k: int) -> Plan:
        """The plan up to the state at level k: every row until that state is there, and none after."""
        end = max((i for i, row in enumerate(self.rows) if row.out in self.state(k)), default=-1) + 1
        cut = slice(k + 1)
        states, levels, beside = self.states[cut], self.levels[cut], self.beside[cut]
        return Plan(self.rows[:end], self.inputs, states, levels, None, self.solver, beside)

    def require_linear(self, what: str, homogeneous: bool = False) -> None:
        """Raise PlanError, naming the row, where an analysis needs a linear plan of one state and this one is not.

        A constant is let through, except where the plan must be `homogeneous`.
        """
        if self.beside:
            raise PlanError(
                f"{what} is for plans of one state, and {self.solver or 'the plan'} moves a system; "
                "diffode.analysis.systems.law has the exact law of a system"
            )
        for row in self.rows:
            if homogeneous and isinstance(row, Constant):
                raise PlanError(
                    f"{what} needs a plan without constants, but row {row.out} of {self.solver or 'the plan'} is one; "
                    "take options that leave no bias, or measure by running it"
                )
            if isinstance(row, Dynamic):
                raise PlanError(
                    f"{what} needs a linear plan, but row {row.out} of {self.solver or 'the plan'} is the "
                    f"Dynamic row {row.name!r}; analyse the solver without it, or measure by running it"
                )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        from diffode.serial import same

        return isinstance(other, Plan) and same(self, other)

    # --- out and in ---

    def __repr__(self) -> str:
        return f"<plan of {self.solver}: {len(self.states) - 1} steps, {self.nfe} evaluations>"

    def __str__(self) -> str:
        from diffode.printing import table

        return table(self)

    def latex(self) -> str:
        """The rows as an aligned LaTeX environment."""
        from diffode.printing import latex

        return latex(self)

    def to_json(self) -> str:
        """The plan as JSON, exact: floats, arrays, fractions and mpmath numbers come back as they were."""
        from diffode.serial import dumps

        return dumps(self)

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan that `to_json` wrote."""
        from diffode.serial import loads

        return loads(text)


def reads(row: Row) -> tuple[str, ...]:
    """The registers that a row reads."""
    if isinstance(row, Evaluate):
        return (row.x, *[x for x, _ in row.beside]) if row.beside else (row.x,)
    if isinstance(row, Combine):
        return (*[name for _, name in row.terms], *[c.dynamic for c, _ in row.terms if isinstance(c, Scaled)])
    return row.inputs if isinstance(row, Dynamic) else ()


def defines(row: Row) -> tuple[str, ...]:
    """The registers that a row defines: one, or those of all components of a system's evaluation."""
    return (row.out, *[out for _, out in row.beside]) if isinstance(row, Evaluate) else (row.out,)
