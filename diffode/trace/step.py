"""`Step`: one step of a rule, as the rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffode.brownian import Clock, ClockLike, Increment
from diffode.errors import SolverError
from diffode.kinds import Number, package_of, shown
from diffode.plan import BrownianIncrement, Constant, Dynamic, Evaluate, Level, Linear, Normal, Scaled
from diffode.trace.recorder import Tracer, beside, state_of


@dataclass
class Step:
    """One step of a rule, as the rule sees it.

    Attributes
    ----------
    x : Linear
        The state, a linear expression; of a system, a vector of them.
    now, next : Level
        Where the step starts and ends: `.t .alpha .sigma .lam .rho`.
    index : int
        Number of this step in the grid, from 0.
    """

    tracer: Tracer = field(repr=False)
    x: Linear
    now: Level
    next: Level
    index: int
    read_singular: bool = False
    read_system: bool = False
    stored: bool = False
    kept: bool = False

    # --- where this step is ---

    @property
    def h(self) -> Number:
        """λ_next − λ_now, positive when sampling."""
        return self.next.lam - self.now.lam

    @property
    def grid(self) -> tuple[Level, ...]:
        """All levels of the grid."""
        return self.tracer.grid.levels

    @property
    def count(self) -> int:
        """Number of steps in the grid."""
        return len(self.grid) - 1

    @property
    def remaining(self) -> int:
        """Number of steps left, this one included; large where more will follow the grid."""
        return self.count - self.index + (1_000_000 if self.tracer.open_end else 0)

    @property
    def last(self) -> bool:
        """True in the last step of the run."""
        return self.remaining == 1

    @property
    def singular(self) -> bool:
        """True where h is infinite. A rule that never reads this gets the limit of the exact one-step formula there."""
        self.read_singular = True
        return self.now.singular or self.next.singular

    @property
    def system(self) -> Any:
        """The process as a system, with its small matrices; SolverError where it is none.

        Only a rule that asks is run on systems. Its x, and what the network says, are vectors.
        """
        self.read_system = True
        process = self.tracer.grid.process
        if getattr(process, "components", 1) < 2:
            raise SolverError(f"{self.tracer.rule.name} is made for systems (de.CLD()), and {process!r} has one state")
        return process

    def level(
        self,
        *,
        lam: Number | None = None,
        t: Number | None = None,
        sigma: Number | None = None,
        rho: Number | None = None,
    ) -> Level:
        """An intermediate level, told by one of its names."""
        return self.tracer.grid.process.level(t, lam=lam, sigma=sigma, rho=rho)

    def time(self, lam: Number) -> Number:
        """The time at a λ between two levels, where nothing else of the level is needed: a part of its cost."""
        process = self.tracer.grid.process
        if not hasattr(process, "t_of_lam"):  # the processes of proofs know whole levels only
            return process.level(lam=lam).t
        with np.errstate(all="ignore"):
            return process.t_of_lam(lam)

    def kinks(self, a: Level, b: Level) -> list[float]:
        """The λ between two levels where t as a function of λ is not smooth, for `phi.integral`."""
        if package_of(a.lam) not in ("float", "array"):
            return []
        ends = np.array((a.lam, b.lam))
        return self.tracer.grid.process.kinks(float(ends.min()), float(ends.max()))

    def limit(self) -> Linear:
        r"""The exact one-step formula α_t D + σ_t ε, as the data prediction has it where h is infinite."""
        return one_step_limit(self)

    # --- the network ---

    def model(
        self, x: Linear, level: Level, at: Level | None = None, to: Level | None = None, output: str | None = None
    ) -> Linear:
        """One evaluation of the network at a level, in the solver's declared prediction.

        Parameters
        ----------
        x : Linear
            Where to evaluate.
        level : Level
            The noise level of x.
        at : Level, optional
            The level told to the network, where it differs.
        to : Level, optional
            The target of a map G(x, t, s).
        output : str, optional
            A named branch of the network.
        """
        self._check_expression(x, "model needs")
        self._check_level(level, "model")
        one = isinstance(x, Linear)
        registers = (self.tracer.register(x),) if one else self.tracer.registers(x)
        if (known := self.tracer.known(registers[0], level, at, to, output)) is not None:
            return known
        out = self.tracer.fresh("d")
        outs = (out,) if one else beside(out)
        others = tuple(zip(registers[1:], outs[1:], strict=True))
        prediction = self.tracer.rule.prediction
        self.tracer.rows.append(Evaluate(out, registers[0], level, prediction, self.index, at, to, output, others))
        value = Linear({out: 1}) if one else state_of(outs)
        if level is self.now and not self.stored:
            self._store(value)
        return value

    def _check_level(self, level: Any, who: str) -> None:
        if not isinstance(level, Level):
            raise SolverError(
                f"{self.tracer.rule.name}: step.{who} needs a level (step.now, step.next, step.level(…)), not {level!r}"
            )

    def _check_expression(self, value: Any, who: str, kind: type | None = None) -> None:
        if not isinstance(value, kind or type(self.x)):
            raise SolverError(
                f"{self.tracer.rule.name}: step.{who} an expression made from step.x, not {type(value).__name__}"
            )

    def hold(self, x: Linear) -> Linear:
        """The same expression in a register of its own: a part of a step that can be undone by itself."""
        self._check_expression(x, "hold takes")
        return self._held(x)

    def _held(self, x: Any) -> Any:
        one = isinstance(x, Linear)
        return Linear({self.tracer.register(x): 1}) if one else state_of(self.tracer.registers(x))

    # --- memory ---

    def keep(self) -> None:
        """Remember over this step what one to or from an infinite λ forgets: for a memory that stays finite there."""
        self.kept = True

    @property
    def depth(self) -> int:
        """How many past values exist (at most `history`)."""
        known = len(self.tracer.past) - self.stored
        return min(known, self.tracer.history)

    @property
    def starting(self) -> bool:
        """True while fewer past values exist than the solver's `history`."""
        return self.depth < self.tracer.history

    def past(self, k: int) -> Linear:
        """What was stored k steps ago: the first evaluation there, unless `store` replaced it."""
        return self._past(k)[0]

    def past_level(self, k: int) -> Level:
        """The level of `past(k)`."""
        return self._past(k)[1]

    def _past(self, k: int) -> tuple[Linear, Level]:
        name, history = self.tracer.rule.name, self.tracer.history
        if not isinstance(k, (int, np.integer)) or k < 1:
            raise SolverError(f"{name}: step.past({k!r}) was used; past values are counted from 1, the newest")
        if k > history:
            raise SolverError(
                f"{name}: step.past({k}) was used, but the solver declares history={history}; "
                f"declare history={k} or more"
            )
        if k > self.depth:
            raise SolverError(
                f"{name}: step.past({k}) was used at step {self.index}, where only {self.depth} past values "
                "exist; branch on step.starting or step.depth"
            )
        return self.tracer.past[k - 1 + self.stored]

    def store(self, d: Linear) -> None:
        """Store d as this step's value, in place of the first evaluation at `now`."""
        self._check_expression(d, "store takes")
        if self.stored:
            self.tracer.past.pop(0)
        self._store(d)

    def revise(self, k: int, d: Linear) -> None:
        """Put d in the place of `past(k)`, which a later evaluation has made more accurate."""
        self._check_expression(d, "revise takes")
        _, level = self._past(k)
        self.tracer.past[k - 1 + self.stored] = (self._held(d), level)

    def _store(self, d: Linear) -> None:
        self.tracer.past.insert(0, (self._held(d), self.now))
        del self.tracer.past[self.tracer.history + 1 :]
        self.stored = True

    @property
    def memory(self) -> _Named:
        """Named expressions kept for the next step (a velocity, an earlier state, a second stream)."""
        return _Named(self.tracer)

    # --- noise and dynamic coefficients ---

    def noise(self, a: Level, b: Level, clock: ClockLike | None = None, moment: int = 0, stream: int = 0) -> Linear:
        """The increment of the reverse Brownian path from level a to b, of unit variance.

        Parameters
        ----------
        a, b : Level
        clock : str, float or callable, optional
            What time the Brownian motion runs in: "snr" = e^{2λ} (default for data prediction), "rho2" = e^{−2λ}
            (default for noise prediction), "sigma", "lam", a rate r for e^{rλ}, or a function of a level.
        moment : int
            m in ∫((c − c_a)/(c_b − c_a))^m dW_c.
        stream : int
            Different streams are independent.
        """
        for level in (a, b):
            self._check_level(level, "noise")
        if not isinstance(moment, (int, np.integer)) or moment < 0:
            raise SolverError(f"{self.tracer.rule.name}: step.noise: moment is a power, 0, 1, 2, …, not {moment!r}")
        if clock is None:
            clock = "rho2" if self.tracer.rule.prediction in ("eps", "score") else "snr"
        piece = Increment(a, b, Clock.of(clock), moment)
        key = (_key(a), _key(b), piece.clock, moment, stream)
        if key not in self.tracer.increments:
            self._check_variance(piece)
            overlapping = tuple(
                (row.out, c)
                for row, c in self.tracer.overlaps(piece)
                if row.stream == stream and not (package_of(c) == "float" and c == 0)
            )
            out = self.tracer.fresh("w")
            row = BrownianIncrement(out, a, b, piece.clock.name, moment, stream, overlapping)
            self.tracer.rows.append(row)
            self.tracer.increments[key] = out
            self.tracer.add_piece(row, piece)
        return Linear({self.tracer.increments[key]: 1})

    def _check_variance(self, piece: Increment) -> None:
        variance, a, b = piece.variance, shown(piece.a.t), shown(piece.b.t)
        if package_of(variance) in ("float", "array") and not np.all((variance > 0) & (variance < np.inf)):
            raise SolverError(
                f"{self.tracer.rule.name}: step.noise at step {self.index} (t={a} → {b}) has the variance "
                f"{shown(variance)} in the clock {piece.clock.name!r}; its levels must differ, and be finite in it"
            )

    def normal(self, key: str = "") -> Linear:
        """An independent standard normal, named by a key within this step (churn, Restart, Langevin)."""
        name = f"{self.index}:{key}"
        if name not in self.tracer.normals:
            out = self.tracer.fresh("z")
            self.tracer.rows.append(Normal(out, name))
            self.tracer.normals[name] = out
        return Linear({self.tracer.normals[name]: 1})

    def constant(self, c: Number) -> Linear:
        """c in every entry: a bias. Where c is an array, each entry has its own."""
        out = self.tracer.fresh("k")
        self.tracer.rows.append(Constant(out))
        return Linear({out: c})

    def dynamic(self, name: str, function: Callable[..., Any], *registers: Linear) -> Scaled:
        """A coefficient that a pure function computes from registers; the plan is then not linear."""
        for register in registers:
            self._check_expression(register, "dynamic takes", Linear)
        inputs = tuple(self.tracer.register(r) for r in registers)
        out = self.tracer.fresh("c")
        self.tracer.rows.append(Dynamic(out, name, function, inputs))
        return Scaled(out)

    def embed(self, x_low: Linear | Callable[[Linear], Linear]) -> None:
        """Name the embedded lower-order result, for a step-size controller.

        A function of the new state is called, and what it evaluates is evaluated, only where a controller asks.
        """
        if not callable(x_low):
            self._check_expression(x_low, "embed takes", Linear)
        self.tracer.embedded.append(x_low)


class _Named:
    """The mapping that `step.memory` is: values become registers as they are set."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def __setitem__(self, name: str, value: Linear) -> None:
        if not isinstance(value, Linear):
            raise SolverError(
                f"{self._tracer.rule.name}: step.memory[{name!r}] takes an expression, not {type(value).__name__}"
            )
        self._tracer.named[name] = Linear({self._tracer.register(value, "m"): 1})

    def __getitem__(self, name: str) -> Linear:
        if name not in self._tracer.named:
            known = ", ".join(self._tracer.named) or "nothing"
            raise SolverError(
                f"{self._tracer.rule.name}: step.memory[{name!r}] was read, but at step {self._tracer.index} it holds "
                f"{known}; use step.memory.get({name!r}, default)"
            )
        return self._tracer.named[name]

    def __delitem__(self, name: str) -> None:
        del self._tracer.named[name]

    def pop(self, name: str, default: Linear | Callable[[], Linear]) -> Linear:
        """As `get`, and the name is forgotten."""
        value = self.get(name, default)
        self._tracer.named.pop(name, None)
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._tracer.named

    def __iter__(self) -> Iterator[str]:
        return iter(self._tracer.named)

    def get(self, name: str, default: Linear | Callable[[], Linear]) -> Linear:
        """The value kept under a name, or the default (called if it is a function)."""
        if name in self._tracer.named:
            return self._tracer.named[name]
        return default() if callable(default) else default


def one_step_limit(step: Step) -> Linear:
    """The exact one-step formula x_t = α_t D + σ_t ε at an infinite h, in the data prediction.

    With ε = (x − α_s D)/σ_s it has no singular coefficient: at σ_t = 0 it is α_t D, and from α_s = 0 it keeps x/σ.
    """
    now, after, tracer = step.now, step.next, step.tracer
    if np.any(np.asarray(now.sigma == 0)):
        raise SolverError(
            f"{tracer.rule.name}: a step cannot start at σ = 0 (t={shown(now.t)}), where the noise is not determined; "
            "start the grid at a positive level"
        )
    d = tracer.fresh("d")
    register = tracer.register(step.x)
    tracer.rows.append(Evaluate(d, register, now, "x0", step.index))
    ratio = after.sigma / now.sigma
    terms = {**(ratio * step.x).terms, d: after.alpha - now.alpha * ratio}
    return Linear({name: c for name, c in terms.items() if not (isinstance(c, float) and c == 0.0)})


def _key(level: Level) -> Any:
    return level.lam.tobytes() if isinstance(level.lam, np.ndarray) else level.lam
