r"""Coefficients as LaTeX, arranged as in papers: levels first, then functions, then fractions of numbers.

    α_t h ( φ_1(−h) + (r_1 + r_2)/(r_1 r_2) φ_2(−h) )

Differences are turned as one writes them (1 − e^{−h}, r_2 − r_1, ρ_t − ρ_s), and a bracket comes as the list of its
terms, so that it can be broken over lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from diffode.kinds import package_of
from diffode.printing import number
from diffode.symbolic import DRHO, Expm1, Phi


@dataclass(frozen=True)
class Written:
    """A coefficient: its sign, what stands before a bracket, and the terms of the bracket with their signs."""

    sign: str
    before: str
    inside: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def text(self) -> str:
        """On one line, without the sign."""
        return f"{self.before}\\left({joined(self.inside)}\\right)" if self.inside else self.before or "1"

    @property
    def signed(self) -> str:
        """On one line, with the sign where it is a minus."""
        return f"-{self.text}" if self.sign == "-" else self.text

    @property
    def is_one(self) -> bool:
        return not self.before and not self.inside


def written(c: Any) -> Written:
    r"""A coefficient of any kind, ready to stand before a register; 1 is written as nothing.

    >>> written(-sp.Symbol("r_1") / 2).signed, written(-0.5).signed
    ('-\\frac{r_{1}}{2}', '-0.5')
    """
    if package_of(c) != "sympy":
        text = number(c)
        return Written("-" if text.startswith("-") else "+", "" if text == "1" else text.lstrip("-"))
    factors = sp.Mul.make_args(c)
    bracket = next((f for f in factors if f.is_Add and f.has(Phi, Expm1, sp.Integral)), None)
    if bracket is None:
        return Written(*_product(c))
    sign, before = _product(sp.Mul(*(f for f in factors if f is not bracket)))
    terms = [_product(term) for term in sorted(bracket.args, key=_by_function)]
    if terms[0][0] == "-":
        sign, terms = _other(sign), [(_other(s), text) for s, text in terms]
    return Written(sign, before, terms)


def spread(c: Any) -> Written:
    """A long coefficient with its longest polynomial in r_k as a bracket: one term for each degree."""
    sums = [f for f in sp.Mul.make_args(c) if f.is_Add and _kind(f) == "ratio"]
    if not sums or c.has(Phi, Expm1, sp.Integral):
        return written(c)
    longest = max(sums, key=lambda f: len(f.args))
    sign, before = _product(c / longest)
    if _at_a_point(longest) < 0:
        sign, longest = _other(sign), -longest
    degrees: dict[int, Any] = {}
    for powers, count in sp.Poly(longest).terms():
        monomial = sp.Mul(*(x**n for x, n in zip(sp.Poly(longest).gens, powers, strict=True)))
        degrees[sum(powers)] = degrees.get(sum(powers), 0) + count * monomial
    terms: list[tuple[str, str]] = []
    for degree in sorted(degrees, reverse=True):
        content, rest = degrees[degree].primitive()
        text = _factor(rest)[1] if rest.is_Add else _product(rest)[1]
        terms.append(("-" if content < 0 else "+", f"{abs(content)} {text}" if abs(content) != 1 else text))
    return Written(sign, before, terms)


def joined(terms: Sequence[tuple[str, str]]) -> str:
    """Signed terms as a sum."""
    text = ""
    for sign, term in terms:
        term = term or "1"
        text += f" {sign} {term}" if text else f"-{term}" if sign == "-" else term
    return text or "0"


def broken(start: str, c: Written, after: str, limit: int) -> list[str]:
    """The lines of one term: all on one, or a line for each term of its bracket."""
    whole = start + (c.text if not c.is_one else "") + (after if not c.is_one else after.removeprefix("\\,"))
    if len(c.inside) < 2 or width(whole) <= limit:
        return [whole]
    (first_sign, first), *rest = c.inside
    opening = f"{start}{c.before}\\Bigl({'-' if first_sign == '-' else ''}{first or 1}"
    lines = [opening, *(f"&\\qquad {{}} {sign} {term or 1}" for sign, term in rest)]
    return [*lines[:-1], f"{lines[-1]}\\Bigr){after}"]


def width(latex: str) -> int:
    r"""About how many characters wide a formula is.

    >>> width(r"\frac{\alpha_{t} h}{2}\,D_{s}")
    5
    """
    text = re.sub(r"\\(?:text|operatorname|mathcal|left|right|Big[lr]|q?quad|tilde|bar|dot|sqrt|[,;!])", "", latex)
    text = re.sub(r"\\(?!frac)[A-Za-z]+", "a", text)
    text = re.sub(r"[&_^\s]", "", text)
    before = ""
    while before != text:
        before = text
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", lambda m: max(m[1], m[2], key=len), text)
        text = re.sub(r"(?<!\\frac)(?<!\})\{([^{}]*)\}", r"\1", text)
    return len(text.replace("\\frac", "").replace("{", "").replace("}", ""))


# --- products -----------------------------------------------------------------------------------------------


def _product(c: Any) -> tuple[str, str]:
    """Sign and LaTeX of a product; 1 is written as nothing."""
    count, rest = c.as_coeff_Mul()
    negative = bool(count < 0)
    groups: dict[str, list[list[str]]] = {kind: [[], []] for kind in ("level", "function", "ratio")}
    for factor in _ordered(rest):
        base, power = factor.as_base_exp() if not isinstance(factor, sp.exp) else (factor, sp.Integer(1))
        if not power.is_Integer:
            base, power = factor, sp.Integer(1)
        flipped, text = _factor(base, alone=len(sp.Mul.make_args(c)) == 1)
        negative ^= flipped and bool(power % 2)
        text += f"^{{{abs(power)}}}" if abs(power) > 1 else ""
        groups[_kind(base)][1 if power < 0 else 0].append(text)
    return "-" if negative else "+", _arranged(groups, abs(count))


def _arranged(groups: dict[str, list[list[str]]], count: Any) -> str:
    """Number, levels, ratios, functions; a bare denominator goes under the levels."""
    level, function, ratio = groups["level"], groups["function"], groups["ratio"]
    number = [str(count.p)] if count.p != 1 else [], [str(count.q)] if count.q != 1 else []
    front = ""
    if ratio[0] or ratio[1]:
        ratio = [[*number[0], *ratio[0]], [*number[1], *ratio[1]]]
    elif number[0] or not level[0]:
        front = _fraction(*number)
    else:
        level = [level[0], [*number[1], *level[1]]]
    if level[0] and ratio[0] in ([], number[0]):
        level, ratio = [[*ratio[0], *level[0]], [*level[1], *ratio[1]]], [[], []]
    parts = [front, _fraction(*level), _fraction(*ratio), _fraction(*function)]
    return " ".join(part for part in parts if part)


def _fraction(above: Sequence[str], below: Sequence[str]) -> str:
    top, bottom = " ".join(above), " ".join(below)
    return rf"\frac{{{bare(top) or 1}}}{{{bare(bottom)}}}" if bottom else top


def bare(text: str) -> str:
    """Without the brackets around all of it."""
    whole = re.fullmatch(r"\\left\(((?:(?!\\left|\\right).)*)\\right\)", text)
    return whole[1] if whole else text


_LETTERS = (r"\alpha", r"\sigma", r"\rho", r"\Delta", "h", "t", "s")


def _ordered(c: Any) -> list[Any]:
    """Factors in the order in which one writes them: single symbols by letter, then sums, then functions."""

    def key(factor: Any) -> Any:
        base = factor.as_base_exp()[0]
        name = getattr(base, "name", "")
        letter = next((k for k, letter in enumerate(_LETTERS) if name.startswith(letter)), len(_LETTERS))
        return bool(base.is_Add), isinstance(base, sp.Integral), letter, sp.default_sort_key(factor)

    return [factor for factor in sorted(sp.Mul.make_args(c), key=key) if factor != 1]


def _kind(base: Any) -> str:
    if base.has(Phi, Expm1, sp.exp, sp.Integral) or (base.is_Pow and not base.exp.is_Integer):
        return "function"
    names = [x.name for x in base.free_symbols]
    return "ratio" if all(name.startswith("r_") for name in names) else "level"


def _factor(base: Any, alone: bool = False) -> tuple[bool, str]:
    """Whether a factor's sign was turned, and its LaTeX."""
    if base.is_Add:
        terms = [_product(term) for term in base.as_ordered_terms()]
        flipped = _at_a_point(base) < 0
        if flipped:
            terms = [(_other(sign), text) for sign, text in terms]
        return flipped, rf"\left({joined(sorted(terms, key=lambda term: term[0] == '-'))}\right)"
    if isinstance(base, Expm1):
        power = f"e^{{{_small(base.args[0])}}}"
        small = _at_a_point(base.args[0]) < 0
        return small, rf"\left(1 - {power}\right)" if small else rf"\left({power} - 1\right)"
    if isinstance(base, Phi):
        return False, rf"\varphi_{{{base.args[0]}}}({_small(base.args[1])})"
    if isinstance(base, sp.exp):
        return False, f"e^{{{_small(base.exp)}}}"
    if base.is_Pow and base.exp == sp.Rational(1, 2):
        return False, rf"\sqrt{{{bare(_factor(base.base)[1])}}}"
    if isinstance(base, sp.Integral):
        (u, low, high), variable = base.limits[0].args, sp.Symbol(r"\lambda")
        sign, text = _product(base.function.xreplace({u: variable}))
        return sign == "-", rf"\int_{{{_small(low)}}}^{{{_small(high)}}} {text}\, d\lambda"
    if isinstance(base, sp.core.function.AppliedUndef):
        return False, f"{base.func.__name__}({_small(base.args[0])})"
    return False, _small(base)


def _small(c: Any) -> str:
    return str(sp.latex(c, fold_short_frac=True)).replace("- ", "-", 1) if c.is_Mul else str(sp.latex(c))


def _by_function(term: Any) -> Any:
    """Terms without a φ-function first, then e^z − 1, then φ_1, φ_2, …"""
    found = [int(f.args[0]) for f in term.atoms(Phi)]
    return max(found, default=0), not term.has(Expm1), sp.default_sort_key(term)


def _other(sign: str) -> str:
    return "+" if sign == "-" else "-"


def _at_a_point(c: Any) -> float:
    """The value at a point where t counts more than s, and s more than what came before."""
    values = {x: sp.Float(_height(x)) for x in c.free_symbols}
    for f in c.atoms(sp.core.function.AppliedUndef):
        values[f] = sp.Float(1.5)
    value = c.xreplace(values).evalf()
    return float(value) if value.is_real else 1.0


def _height(x: Any) -> float:
    name = str(x.name)
    if x == DRHO or name == "h":
        return 0.5
    if name.startswith("r_"):
        return float(name[2:])
    place = re.sub(r"^[^_]*_\{|\}$", "", name)
    if place in ("s", "t"):
        return 2.0 if place == "t" else 1.0
    return 1.0 - 0.1 * float(place[2:]) if re.fullmatch(r"s-\d+", place) else 1.5
