"""A derived formula as text, as LaTeX and as a solver file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import factorial
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from diffode.symbolic import H, Phi

if TYPE_CHECKING:
    from diffode.analysis.derivation.derived import Derivation

Expr = Any

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class _Plain(StrPrinter):
    """1/x² for x to the power −2."""

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:  # noqa: N802
        base, power = expr.as_base_exp()
        if power.is_Integer and power < 0:
            return f"1/{self.parenthesize(base**-power, PRECEDENCE['Mul'])}"
        return super()._print_Pow(expr, rational)


class _Code(_Plain):
    """Python, in the names of a solver file."""

    def _print_Phi(self, f: Any) -> str:  # noqa: N802  SymPy calls it by this name
        return f"phi.phi({f.args[0]}, {self._print(f.args[1])})"

    def _print_Expm1(self, f: Any) -> str:  # noqa: N802
        return f"phi.expm1({self._print(f.args[0])})"

    def _print_exp(self, f: Any) -> str:
        return f"phi.exp({self._print(f.args[0])})"


class _Text(_Plain):
    """Unicode, for the terminal and for docstrings."""

    def _print_Phi(self, f: Any) -> str:  # noqa: N802
        return f"φ_{f.args[0]}({self._print(f.args[1])})"

    def _print_Expm1(self, f: Any) -> str:  # noqa: N802
        return f"(e^({self._print(f.args[0])}) - 1)"

    def _print_exp(self, f: Any) -> str:
        return f"e^({self._print(f.args[0])})"

    def _print_Symbol(self, expr: Any) -> str:  # noqa: N802
        name = str(expr.name)
        return {"beta": "β", "tau": "τ"}.get(name, name)


def code(value: Expr) -> str:
    """An expression as Python that works for every kind of number.

    >>> r = sp.Symbol("r_1", positive=True)
    >>> code(1 + r**2 / 3 - Phi(2, -r) / (2 * r)), code(sp.Rational(23, 12)), code(sp.Integer(2))
    ('r_1**2 / 3 + 1 - phi.phi(2, -r_1) / (2 * r_1)', 'Fraction(23, 12)', '2')
    """
    value = sp.sympify(value)
    if value.is_Rational and not value.is_Integer:
        return f"Fraction({value.p}, {value.q})"
    return re.sub(r"(?<![*(])(\*|/)(?!\*)", r" \1 ", _Code().doprint(value)).replace("Fraction (", "Fraction(")


def text(value: Expr) -> str:
    """An expression for people.

    >>> h = sp.Symbol("h")
    >>> text(h**2 * Phi(2, -h) / 2)
    'h² φ_2(-h)/2'
    """
    plain = _Text().doprint(sp.sympify(value))
    plain = re.sub(r"\*\*(\d+)", lambda match: match[1].translate(_SUPERSCRIPT), plain)
    return re.sub(r"(?<=[)\w²³⁴⁵⁶]) ?\* ?(?=[\w(])", " ", plain).replace("*", " ")


def names_of(functions: Iterable[Phi], z: Expr) -> dict[Expr, Expr]:
    """A name for every φ-function of the whole step's exponent: phi_1, phi_2, …"""
    return {f: sp.Symbol(f"phi_{f.args[0]}") for f in functions if f.args[1] == z}


def source(derived: Derivation) -> str:
    """The solver file of a derivation."""
    return _template(derived.template).render(f=derived, w=_Words(derived)).rstrip() + "\n"


class _Words:
    """What the templates ask of a derivation: its parts in code."""

    def __init__(self, derived: Derivation) -> None:
        self.derived = derived
        weights = [weight for table in derived.tables for row in table.values() for weight in row]
        self._named = names_of((f for weight in weights for f in weight.atoms(Phi)), derived.z)
        self.fractions = any("Fraction(" in code(value) for value in (*weights, derived.momentum or 0))
        self.phi = bool(derived.moments) or any("phi." in code(weight) for weight in weights)
        self.rational = derived.momentum is not None and bool(derived.defaults)

    @property
    def phis(self) -> list[int]:
        return sorted(int(f.args[0]) for f in self._named)

    @property
    def z(self) -> str:
        return code(self.derived.z)

    @property
    def calls(self) -> bool:
        """Whether states are advanced more than once in a step."""
        return bool(self.derived.stages) or self.derived.corrected

    @property
    def scale(self) -> str:
        """What the state is divided by where the exact step does nothing to it."""
        return "sigma" if self.derived.prediction == "x0" else "alpha"

    @property
    def powers(self) -> str:
        """u^q/q! times the density of dρ."""
        parts = (
            "density",
            "density * u",
            *(f"density * u**{q} / {factorial(q)}" for q in range(2, self.derived.moments)),
        )
        return ", ".join(parts[: self.derived.moments])

    @property
    def moments(self) -> str:
        return ", ".join(f"J_{q}" for q in range(self.derived.moments)) + "," * (self.derived.moments == 1)

    def row(self, weights: Sequence[Expr], pad: str) -> str:
        """A list of weights, on one line if there is room."""
        written = [code(weight.xreplace(self._named)) for weight in weights]
        line = f"[{', '.join(written)}]"
        if len(line) + len(pad) < 110:
            return line
        return "[\n" + "".join(f"{pad}    {weight},\n" for weight in written) + pad + "]"

    def code(self, value: Expr) -> str:
        return code(value)

    def times_h(self, c: Expr) -> str:
        return code(c * H)

    def gain(self, level: str) -> str:
        """K of the step to a level, as a factor."""
        return self.factor(self.derived.gain(level))

    def factor(self, value: Expr) -> str:
        """In brackets where it is a sum or a product."""
        written = code(value)
        return written if re.fullmatch(r"[\w.]+(\([^()]*\))?", written) else f"({written})"

    @property
    def tau(self) -> str:
        """The noise level: an option of the rule, or a number."""
        tau: Expr = self.derived.tau
        return code(tau) if tau.free_symbols else _number(tau)

    @property
    def options(self) -> str:
        return "".join(f", {symbol}: float = {_number(value)}" for symbol, value in self.derived.defaults.items())

    def ratios(self, table: Mapping[str, Sequence[Expr]]) -> list[int]:
        """The k of the r_k that a table of weights has."""
        found = {x.name for row in table.values() for w in row for x in w.free_symbols}
        return sorted(int(name[2:]) for name in found if re.fullmatch(r"r_\d+", name))


def _number(value: Expr) -> str:
    value = sp.nsimplify(value)
    return f"{value.p} / {value.q}" if value.q != 1 else f"{int(value)}.0"


@cache
def _template(name: str) -> Any:
    from jinja2 import Environment, StrictUndefined

    shelf = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return shelf.from_string((files("diffode.analysis.derivation") / f"{name}.py.j2").read_text(encoding="utf-8"))


# --- LaTeX and text -------------------------------------------------------------------------------------------


def latex(derived: Derivation) -> str:
    """The formula, and its weights, as an `aligned` block."""
    lines = [*derived.equations_latex]
    fixed = {name: value for name, value in derived.coefficients.items() if value != sp.Symbol(name)}
    lines += [rf"{sp.latex(sp.Symbol(name))} &= {sp.latex(value)}" for name, value in fixed.items()]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def weights_text(coefficients: Mapping[str, Expr]) -> list[str]:
    """b_0 = …, one line for each weight that is not free."""
    return [f"{name} = {text(value)}" for name, value in coefficients.items() if value != sp.Symbol(name)]
