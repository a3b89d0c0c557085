"""What `derive` returns: the weights of a formula in symbols, and the solver that they make."""

from __future__ import annotations

import linecache
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import sympy as sp

from diffode.analysis.derivation.conditions import Condition, poles
from diffode.analysis.derivation.writing import latex, source, text, weights_text
from diffode.kinds import WORDS
from diffode.solvers import Solver
from diffode.symbolic import H

Expr = Any


@dataclass(frozen=True)
class Derivation:
    """A formula with its weights in closed form.

    Attributes
    ----------
    family, command, name : str
        Where it comes from: the structure, the command that derives it again, and the name of its rule.
    title : str
        What it is, in a sentence.
    order : int
        The order that its conditions give; the weak order where it draws noise.
    prediction, variable : str
    tables : tuple of mappings
        Row → weights, for 0, 1, 2, … past values; the last table is the formula, those before it start it.
    names : mapping
        Row → names of its weights in the last table.
    conditions : tuple of Condition
        What was solved for the last table.
    history : int
        How many past values the formula uses.
    stages : tuple of Expr
        Fractions c_2, c_3, … of the step at which the network is evaluated besides `now`.
    defaults : mapping
        Free parameter → the value that the solver has for it unless told otherwise.
    tau : Expr or None
        Noise level of a stochastic formula.
    uniform : str or None
        The variable in which steps must be equal.
    momentum : Expr or None
        β, where the formula weighs a velocity v ← (1 − β) v + β m.
    corrected, pec : bool
        Whether a corrector follows the predictor, and whether the evaluation at the predicted point is kept.
    moments : int
        How many moments J_q of dρ the weights are made of, where they have no closed form.
    """

    family: str
    command: str
    name: str
    title: str
    order: int
    prediction: str
    variable: str
    tables: tuple[Mapping[str, Sequence[Expr]], ...]
    names: Mapping[str, Sequence[str]]
    conditions: tuple[Condition, ...]
    history: int = 0
    stages: tuple[Expr, ...] = ()
    defaults: Mapping[Expr, Expr] = field(default_factory=dict[Expr, Expr])
    tau: Expr | None = None
    uniform: str | None = None
    momentum: Expr | None = None
    corrected: bool = False
    pec: bool = False
    moments: int = 0
    template: str = "step"

    @property
    def z(self) -> Expr:
        """The exponent of the exact linear part: −c h for data, h for noise prediction, 0 in ρ."""
        if self.variable != "lambda":
            return sp.S.Zero
        return H if self.prediction == "eps" else -self.rate * H

    @property
    def rate(self) -> Expr:
        """c = 1 + τ²."""
        return 1 + (self.tau or 0) ** 2

    @cached_property
    def coefficients(self) -> dict[str, Expr]:
        """The weights by name, in SymPy: b_0, b_1, … for the values now and in the past, a_32, … for stages."""
        table = self.tables[-1]
        return {name: w for row, weights in table.items() for name, w in zip(self.names[row], weights, strict=True)}

    @property
    def free(self) -> tuple[Expr, ...]:
        """The parameters that the conditions leave free."""
        return tuple(self.defaults)

    @property
    def excluded(self) -> list[Expr]:
        """What must not be 0: the polynomials in the free parameters by which weights are divided."""
        return poles(self.coefficients, self.free)

    @property
    def idle(self) -> list[Expr]:
        """The free weights of stages that are 0 as they stand: evaluations that are made for nothing."""
        own = [f"b_{i}" for i, _ in enumerate(self.stages, 2)]
        return [x for x, value in self.defaults.items() if value == 0 and x.name in own]

    def latex(self) -> str:
        """The formula and its weights, an `aligned` block."""
        return latex(self)

    def source(self) -> str:
        """The solver file."""
        return source(self)

    @cached_property
    def solver(self) -> Solver:
        """The solver of that file."""
        return load(self.source(), self.name)

    def __str__(self) -> str:
        lines = [f"{self.title}", "", *(f"    {line}" for line in self.equations), ""]
        lines += [f"solved: {condition_text(c)}" for c in self.conditions]
        if self.defaults:
            kept = ", ".join(f"{x} (now {value})" for x, value in self.defaults.items())
            lines.append(f"free: {kept}")
            lines += [f"{x} = 0: its evaluation changes nothing until {x} is set" for x in self.idle]
            lines += [f"not where {text(pole)} = 0" for pole in self.excluded]
        else:
            lines.append("free: nothing")
        return "\n".join(lines)

    def __repr__(self) -> str:
        kept = f", free {', '.join(map(str, self.free))}" if self.free else ""
        return f"<derivation {self.name}: order {self.order}, prediction {self.prediction!r}{kept}>"

    # --- how the step reads ---

    @property
    def equations(self) -> list[str]:
        """The step and its weights as lines of text."""
        return [*self._step(), *weights_text(self.coefficients)]

    def _step(self) -> list[str]:
        letter = {"x0": "D", "eps": "ε"}[self.prediction]
        letter = "v" if self.momentum is not None else letter
        ratio, gain = self._ratio_text, self._gain_text
        noise = " + noise" if self.tau is not None else ""
        lines: list[str] = []
        if self.momentum is not None:
            lines.append(
                f"v = (1 − {text(self.momentum)}) v₋ + {text(self.momentum)} {'D' if self.prediction == 'x0' else 'ε'}"
            )
        for i, c in enumerate(self.stages, 2):
            sums = self._sum(f"a_{i}", letter)
            at = "ρ" if self.variable == "rho" else "λ"
            there, gained = ratio.replace("_t", f"_{i}"), gain.replace("_t", f"_{i}", 1)
            lines.append(f"x_{i} = {there} x_s {gained} ({sums}) at {at}_s + {text(c)} h")
        if self.template == "reversible":
            scale = "σ" if self.prediction == "x0" else "α"
            earlier = f"w_past {scale}_t/{scale}_{{s−1}} x_{{s−1}}"
            lines.append(f"x_t = (1 − w_past) {ratio} x_s + {earlier} {gain} b_0 {letter}")
        elif self.corrected:
            lines.append(f"predicted: x_t = {ratio} x_s {gain} ({self._sum('p', letter)}){noise}")
            lines.append(f"corrected: x_t = {ratio} x_s {gain} ({self._sum('c', letter)}){noise}")
        else:
            lines.append(f"x_t = {ratio} x_s {gain} ({self._sum('b', letter)}){noise}")
        meaning = {"lambda": "λ", "rho": "ρ"}.get(self.variable, self.variable)
        lines.append(f"h = {meaning}_t − {meaning}_s" + self._ratios_text(meaning))
        if self.moments:
            lines.append(f"J_q = 1/q! ∫ (({meaning} − {meaning}_s)/h)^q dρ from s to t")
        return lines

    def _ratios_text(self, meaning: str) -> str:
        used = {x for w in self.coefficients.values() for x in w.free_symbols if x.name.startswith("r_")}
        return f",  r_k = ({meaning}_s − {meaning}_{{s−k}})/h" if used else ""

    @property
    def _ratio_text(self) -> str:
        if self.prediction == "eps" or self.variable == "rho":
            return "α_t/α_s"
        decay = "" if self.tau is None else f" e^(−{text(self.tau**2 * H)})"
        return f"σ_t/σ_s{decay}"

    @property
    def _gain_text(self) -> str:
        rate = "" if self.tau is None else f"({text(self.rate)}) "
        if self.variable == "lambda":
            return f"+ {rate}α_t h" if self.prediction == "x0" else f"− {rate}σ_t h"
        return "+ α_t h" if self.variable == "rho" else "+ α_t"

    def _sum(self, row: str, letter: str) -> str:
        return " + ".join(f"{name} {letter}{self._place(name)}" for name in self.names[row])

    def _place(self, name: str) -> str:
        """Which value a weight belongs to: now, k steps back, a stage, or the new level."""
        if name.endswith("_new"):
            return "_t"
        digit = name[-1]
        if self.stages or self.family == "exp-rk":
            return f"₋{digit}" if name.startswith("d") else ("" if digit == "1" else f"(x_{digit})")
        return "" if digit == "0" else f"_{{s−{digit}}}"

    @property
    def equations_latex(self) -> list[str]:
        """The step in LaTeX, lines for an `aligned` block."""
        return [_to_latex(line) for line in self._step()]

    # --- what the templates ask for ---

    @property
    def level(self) -> str:
        return WORDS.get(self.variable, self.variable)

    def gain(self, level: str) -> Expr:
        """K of the step to a level, in the names of the solver file."""
        alpha, sigma = sp.Symbol(f"{level}.alpha"), sp.Symbol(f"{level}.sigma")
        if self.variable == "lambda":
            return self.rate * H * (alpha if self.prediction == "x0" else -sigma)
        return alpha * H if self.variable == "rho" else alpha

    @property
    def claims_code(self) -> str:
        order = str(self.order)
        claims = [f'prediction="{self.prediction}"']
        if self.tau is not None and self.tau.free_symbols and self.order > 2:
            order = f"lambda tau: 2 if tau else {self.order}"
        elif self.tau is not None and not self.tau.free_symbols:
            order = str(min(self.order, 2))
        if self.declared_history:
            claims.append(f"history={self.declared_history}")
        if not (self.template == "reversible" and self.uniform):
            claims.append("exponential=True")
        if self.uniform:
            claims.append(f'uniform="{self.uniform}"')
        if self.tau is not None:
            claims.append(
                "strong_order=lambda tau: 1.0 if tau else None" if self.tau.free_symbols else "strong_order=1.0"
            )
        line = ", ".join([f"order={order}", *claims])
        source = f'source="{self.command}"'
        if len(line) + len(source) < 108:
            return f"{line}, {source}"
        return "\n    " + ",\n    ".join([f"order={order}", *claims, source]) + ",\n"

    @property
    def declared_history(self) -> int:
        return max(self.history, 1) if self.momentum is not None else self.history


def condition_text(condition: Condition) -> str:
    """A condition with its target written out."""
    return str(condition).rpartition(" = ")[0] + f" = {text(condition.target)}"


def load(program: str, name: str) -> Solver:
    """The solver that a program text defines, without a file."""
    path = f"<derived {name}>"
    module = ModuleType(f"diffode_derived_{name}")
    linecache.cache[path] = (len(program), None, program.splitlines(keepends=True), path)
    exec(compile(program, path, "exec"), vars(module))
    return vars(module)[name]


_LATEX = (
    ("α", r"\alpha"), ("σ", r"\sigma"), ("λ", r"\lambda"), ("ρ", r"\rho"), ("ε", r"\varepsilon "), ("τ", r"\tau"),
    ("β", r"\beta"), ("−", "-"), ("∫", r"\int "), ("²", "^2"), ("₋1", "_{-1}"), ("₋2", "_{-2}"), ("₋3", "_{-3}"),
    ("v₋", "v_{s-1}"), ("₋", "_-"), ("predicted: ", ""), ("corrected: ", ""), (" at ", r"\quad\text{at } "),
    (" + noise", r" + \text{noise}"), ("from s to t", ""),
)  # fmt: skip


def _to_latex(line: str) -> str:
    line = line.replace("predicted: x_t", r"\tilde x_t")
    for plain, written in sorted(_LATEX, key=lambda pair: -len(pair[0])):
        line = line.replace(plain, written)
    line = re.sub(r"(\\\w+)_(\w|\{[^}]*\})/(\\\w+)_(\w|\{[^}]*\})", r"\\frac{\1_\2}{\3_\4}", line)
    line = re.sub(r"\b([a-z])_(\w{2,})", r"\1_{\2}", re.sub(r"\bc(\d)", r"c_\1", line))
    return line.replace(" = ", " &= ", 1)
