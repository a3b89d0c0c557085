r"""The formula of a solver as a paper would print it: one step in the middle of a run, in LaTeX.

Registers get the names of the papers: x_s and x_t for the state; D, ε, v, S or u for what the network says (data,
noise, v, score, velocity), with the level where it was said; a tilde over what belongs to a predicted state, a bar over
a stored combination, z for noise. A long sum stands on several lines; a weight too long for its line gets a name w_j.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from diffode.analysis.typeset import Written, bare, broken, joined, spread, width, written
from diffode.errors import DiffodeError
from diffode.grids import TimeGrid, karras
from diffode.plan import BrownianIncrement, Combine, Constant, Dynamic, Evaluate, Level, Normal, Plan, Row, Scaled
from diffode.process import VP
from diffode.solvers import Solver
from diffode.symbolic import symbolic_step
from diffode.trace import trace

LETTERS = {"x0": "D", "eps": r"\varepsilon", "v": "v", "score": "S", "velocity": "u"}
"""What the network says, by prediction."""

_LINE = 50
"""Characters that a line may have before its sum is broken."""
_PAST = 5
"""Past values up to which weights are written in symbols; beyond, each has hundreds of terms."""
_WEIGHT = 50
"""Characters that a line of a weight may have before it gets a name of its own."""


@dataclass(frozen=True)
class Formula:
    r"""One step of a solver, written out.

    Attributes
    ----------
    lines : tuple of str
        LaTeX, one equation each; a line that starts with "&" goes on with the one before.
    weights : tuple of str
        Likewise, the weights w_1, w_2, … that the equations name.
    where : tuple of (str, str)
        What the symbols mean: LaTeX, and words.
    symbolic : bool
        False where numbers of one step stand for the coefficients.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> print(Formula.of(get_solver("ddim")).latex)
    \begin{aligned}
    \varepsilon_{s} &= \varepsilon_\theta(x_{s}, s) \\
    x_{t} &= \frac{\alpha_{t}}{\alpha_{s}}\,x_{s} - \sigma_{t} \left(e^{h} - 1\right)\,\varepsilon_{s}
    \end{aligned}
    """

    lines: tuple[str, ...]
    weights: tuple[str, ...]
    where: tuple[tuple[str, str], ...]
    symbolic: bool = True

    @staticmethod
    def of(solver: Solver) -> Formula:
        """The formula of a solver in symbols, or in numbers where symbols cannot follow its rule or fill pages."""
        plan = _symbolic_step(solver) if solver.history <= _PAST else None
        return _Writer(plan or _numeric_step(solver)).formula(symbolic=plan is not None)

    @property
    def latex(self) -> str:
        r"""The equations as an `aligned` environment, the weights below them."""
        return aligned([*self.lines, *self.weights])


def aligned(lines: list[str] | tuple[str, ...]) -> str:
    """Lines as an `aligned` environment."""
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


# --- names --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A letter with the level that it belongs to; `turn` counts the ones that would be called the same."""

    letter: str
    level: str
    turn: int = 1

    def __str__(self) -> str:
        again = f"^{{({self.turn})}}" if self.turn > 1 else ""
        return f"{self.letter}_{{{self.level}}}{again}" if self.level else self.letter

    def earlier(self, steps: int = 1) -> Name:
        """The same thing some steps before."""
        places = {"t": -1, "s": 0}
        ago = places[self.level] if self.level in places else int(self.level[2:]) if self.level[:2] == "s-" else 0
        now = ago + steps
        return Name(self.letter, "t" if now < 0 else "s" if now == 0 else f"s-{now}", self.turn)


class Names:
    """The names of the registers of a step."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.given: dict[str, Name] = {plan.states[0]: Name("x", "s"), plan.states[-1]: Name("x", "t")}
        self.used: dict[tuple[str, str], int] = {}
        self.asked = {row.x: row.level for row in plan.rows if isinstance(row, Evaluate)}
        self.kept = set(plan.memory.registers())
        for row in plan.rows:
            if row.out not in self.given:
                self.given[row.out] = self._name(row)
        named = {f"q_{name}": register for name, register in plan.memory.named}
        for old in (name for name in plan.inputs if name in named):
            self.given[old] = self.given[named[old]].earlier() if named[old] in self.given else Name("m", "s")
        for k, old in enumerate((name for name in plan.inputs if name.startswith("p")), 1):
            stored = self.given[plan.memory.past[0][0]]
            self.given[old] = stored.earlier(k)

    def __getitem__(self, register: str) -> Name:
        return self.given[register]

    def _name(self, row: Row) -> Name:
        if isinstance(row, Constant):
            return Name(r"\mathbf{1}", "")
        if isinstance(row, Combine):
            if row.out in self.asked:
                place = _place(self.asked[row.out])
                return self._new(r"\tilde x" if place in ("s", "t") else "x", place)
            if row.out in self.kept:
                letter = LETTERS[next((r.prediction for r in self.plan.rows if isinstance(r, Evaluate)), "x0")]
                return self._new(rf"\bar {letter}", "s")
            return self._new("y", "s")
        if isinstance(row, Evaluate):
            letter, place = LETTERS[row.prediction], _place(row.level)
            predicted = str(self.given.get(row.x, "x")).startswith(r"\tilde")
            return self._new(rf"\tilde {letter}" if predicted else letter, place)
        if isinstance(row, Dynamic):
            return self._new("c", "s")
        single = len(self.plan.noises) == 1
        return Name("z", "") if single else self._new("z", _place(row.b) if isinstance(row, BrownianIncrement) else "t")

    def _new(self, letter: str, level: str) -> Name:
        turn = self.used[letter, level] = self.used.get((letter, level), 0) + 1
        return Name(letter, level, turn)


def _place(level: Level) -> str:
    return str(getattr(level, "name", ""))


# --- lines --------------------------------------------------------------------------------------------------


@dataclass
class _Writer:
    plan: Plan
    weights: list[str] = field(default_factory=list[str])

    def formula(self, symbolic: bool) -> Formula:
        self.names = Names(self.plan)
        lines = [line for row in self.plan.rows for line in self._lines(row)]
        return Formula(tuple(lines), tuple(self.weights), tuple(self._where(lines)), symbolic)

    def _lines(self, row: Row) -> list[str]:
        name = str(self.names[row.out])
        if isinstance(row, Evaluate):
            level = _place(row.level)
            told = f", {_place(row.at)}" if row.at else ""
            target = rf" \to {_place(row.to)}" if row.to else ""
            branch = rf"^{{\text{{{row.output}}}}}" if row.output else ""
            letter = LETTERS[row.prediction]
            return [rf"{name} &= {letter}_\theta{branch}({self.names[row.x]}, {level}{target}{told})"]
        if isinstance(row, Combine) and not isinstance(row, Constant):
            return self._sum(name, row)
        if isinstance(row, Dynamic):
            return [rf"{name} &= \operatorname{{{row.name}}}({', '.join(str(self.names[x]) for x in row.inputs)})"]
        return []

    def _sum(self, name: str, row: Combine) -> list[str]:
        made = {row.out: k for k, row in enumerate(self.plan.rows)}
        newest = sorted(row.terms, key=lambda term: (self._rank(term[1]), -made.get(term[1], -1)))
        terms = [self._term(c, register) for c, register in newest]
        whole = joined([(c.sign, c.text + after if not c.is_one else after.removeprefix(r"\,")) for c, after in terms])
        if width(name + whole) <= _LINE:
            return [f"{name} &= {whole}"]
        lines: list[str] = []
        for c, after in terms:
            start = rf"&\quad {{}} {c.sign} " if lines else f"{name} &= " + ("-" if c.sign == "-" else "")
            lines += broken(start, c, after, _LINE)
        return lines

    def _rank(self, register: str) -> int:
        """The state first, noise last."""
        if register == self.plan.states[0]:
            return 0
        return 2 if any(row.out == register for row in self.plan.noises) else 1

    def _term(self, c: Any, register: str) -> tuple[Written, str]:
        """A coefficient, under a name if it is too long, and what it multiplies."""
        after = rf"\,{self.names[register]}"
        if isinstance(c, Scaled):
            return written(c.factor), rf"\,{self.names[c.dynamic]}{after}"
        found = written(c)
        if max(width(line) for line in broken("", found, after, _LINE)) <= _WEIGHT:
            return found, after
        found = spread(c)
        weight = f"w_{{{sum('&=' in line for line in self.weights) + 1}}}"
        self.weights += broken(f"{weight} &= ", found, "", _LINE)
        return Written(found.sign, weight), after

    # --- what the symbols mean ---

    def _where(self, lines: list[str]) -> list[tuple[str, str]]:
        text = "\n".join([*lines, *self.weights])
        forward = r"x = \alpha x_0 + \sigma \varepsilon,\; \lambda = \log(\alpha/\sigma)"
        out = [(forward, "the forward process at a level")]
        if re.search(r"(?<![a-z])h(?![a-z])", text):
            out.append((r"h = \lambda_{t} - \lambda_{s}", "the step, from level s to t"))
        if r"\Delta\rho" in text:
            out.append((r"\rho = \sigma/\alpha,\; \Delta\rho = \rho_{t} - \rho_{s}", "the step in ρ"))
            back = r"(\rho_{s-k} - \rho_{s})/(\rho_{s} - \rho_{t})"
        else:
            back = r"(\lambda_{s} - \lambda_{s-k})/h"
            if r"\rho" in text:
                out.append((r"\rho = \sigma/\alpha", "the noise level of x/α"))
        if re.search(r"r_\{?\d", text):
            out.append((f"r_k = {back}", "how far back the k-th earlier level lies, in steps"))
        out += self._inner_levels()
        out += self._remembered()
        if re.search(r"t_\{s-\d", text):
            out.append((r"s,\; t,\; t_{s-k}", "also the times of those levels"))
        if r"\varphi" in text:
            recurrence = r"\varphi_{k+1}(z) = (\varphi_k(z) - 1/k!)/z"
            out.append((rf"\varphi_1(z) = (e^{{z}} - 1)/z,\; {recurrence}", "φ-functions"))
        if r"\dot" in text:
            out.append((r"\dot\alpha,\; \dot\sigma", "derivatives in time"))
        if not self.plan.is_homogeneous:
            out.append((r"\mathbf{1}", "the constant 1 in every entry"))
        return out + self._noises()

    def _inner_levels(self) -> list[tuple[str, str]]:
        found: dict[str, str] = {}
        letters = {"lam": r"\lambda", "t": "t", "sigma": r"\sigma", "rho": r"\rho"}
        for level in (row.level for row in self.plan.rows if isinstance(row, Evaluate)):
            told = getattr(level, "told", None)
            if told and _place(level).startswith("s_"):
                text = bare(written(told[1]).signed)
                found.setdefault(_place(level), f"{letters[told[0]]}_{{{_place(level)}}} = {text}")
        return [(equation, "a level in between") for equation in found.values()]

    def _remembered(self) -> list[tuple[str, str]]:
        held = {str(self.names[name]) for name in self.plan.inputs if name != self.plan.states[0]}
        newest = sorted(held, key=lambda name: (len(name), name))
        return [(r",\; ".join(newest), "kept from earlier steps")] if held else []

    def _noises(self) -> list[tuple[str, str]]:
        rows = self.plan.noises
        if not rows:
            return []
        names = ", ".join(str(self.names[row.out]) for row in rows)
        out = [(rf"{names} \sim \mathcal{{N}}(0, I)", _stretches(rows, self.names))]
        for row in rows:
            for other, c in row.covariances if isinstance(row, BrownianIncrement) else ():
                pair = f"{self.names[other]}, {self.names[row.out]}"
                out.append((rf"\operatorname{{corr}}({pair}) = {written(c).signed}", "they share one Brownian path"))
        return out


def _stretches(rows: tuple[BrownianIncrement | Normal, ...], names: Names) -> str:
    of_path = [row for row in rows if isinstance(row, BrownianIncrement)]
    if not of_path:
        return "independent standard normals"
    one = "increment" if len(of_path) == 1 else "increments"
    return f"{one} of the reverse Brownian path, scaled to unit variance"


# --- where symbols do not reach -----------------------------------------------------------------------------


def _symbolic_step(solver: Solver) -> Plan | None:
    try:
        return symbolic_step(solver)
    except (DiffodeError, ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError):
        return None  # the rule asks of its numbers what symbols cannot tell


def _numeric_step(solver: Solver) -> Plan:
    """One step in the middle of a run on a Karras grid, with numbers."""
    process, at = VP(), solver.history + 1
    grid = karras(process, at + 4)
    names = [*(f"s-{k}" for k in range(at, 0, -1)), "s", "t"]
    named = zip(grid.levels, names, strict=False)
    levels = tuple(_Numeric(v.t, v.alpha, v.sigma, v.lam, v.process, name) for v, name in named)
    before = trace(solver, TimeGrid(process, levels=levels[: at + 1]), open_end=True).memory
    return trace(solver, TimeGrid(process, levels=levels[at:]), memory=before, open_end=True)


@dataclass(frozen=True, slots=True)
class _Numeric(Level):
    name: str = ""
