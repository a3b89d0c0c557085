"""Formulas: what is printed is the rule, and every formula of the registry can be drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mpmath
import numpy as np
import pytest
import sympy as sp

from diffode import phi
from diffode.analysis.formula import Formula, Names
from diffode.analysis.report.mathml import LatexError, mathml
from diffode.grids import TimeGrid
from diffode.plan import BrownianIncrement, Combine, Constant, Evaluate, Level, Plan
from diffode.process import VP
from diffode.solvers import Solver, get_solver, list_solvers
from diffode.symbolic import DRHO, LAM, H, NamedLevel, symbol, symbolic_step
from diffode.trace import Memory, trace

PROCESS = VP()
START, STEP, BACK = -0.8, 0.45, (0.0, 1.1, 1.9, 3.2, 4.0, 5.3)
"""λ_s, h, and r_k of the step at which formulas are put to the test."""

plan_of = cache(lambda name: symbolic_step(get_solver(name)))
formula_of = cache(lambda name: Formula.of(get_solver(name)))

each_solver = pytest.mark.parametrize("name", list_solvers())


@each_solver
def test_the_symbolic_step_is_the_rule(name: str):
    solver = get_solver(name)
    depth, levels = solver.history, levels_of(solver)
    past = TimeGrid(PROCESS, levels=list(levels.values())[: depth + 1]) if depth else None
    memory = trace(solver, past, exact_past=depth, open_end=True).memory if past else Memory()
    now = TimeGrid(PROCESS, levels=list(levels.values())[depth:])
    wanted = combinations(trace(solver, now, memory=memory, open_end=True))
    plan = plan_of(name)
    values = numbers(plan, levels, solver)
    found = combinations(plan)
    assert found.keys() == wanted.keys()
    for out, terms in wanted.items():
        scale = max(abs(c) for c in terms.values())
        for register in terms.keys() | found[out].keys():
            value = evaluated(found[out].get(register, 0), values)
            assert value == pytest.approx(terms.get(register, 0.0), rel=1e-9, abs=1e-11 * scale), (out, register)


@each_solver
def test_the_latex_is_the_symbolic_step(name: str):
    solver = get_solver(name)
    plan, formula = plan_of(name), formula_of(name)
    values = numbers(plan, levels_of(solver), solver)
    names = {register: str(name) for register, name in Names(plan).given.items()}
    known = {sp.latex(x): value for x, value in values.items()}
    known |= {name: 1.0 + 0.1 * k for k, name in enumerate(dict.fromkeys(names.values()))}
    if any(r"\int" in line for line in (*formula.lines, *formula.weights)):
        pytest.skip("integrals are not read back")
    for weight, text in equations(formula.weights).items():
        known[weight] = Reader(text, known).value()
    written = equations(formula.lines)
    for row in plan.rows:
        if isinstance(row, Combine) and not isinstance(row, Constant):
            wanted = sum(evaluated(c, values) * known[names[register]] for c, register in row.terms)
            assert Reader(written[names[row.out]], known).value() == pytest.approx(wanted, rel=1e-9)


def equations(lines: Sequence[str]) -> dict[str, str]:
    """Left side → right side, the lines of one equation put together."""
    found: dict[str, str] = {}
    for line in lines:
        left, equals, right = line.partition(" &= ")
        if equals:
            found[left] = right
        else:
            found[list(found)[-1]] += re.sub(r"^&\\q?quad \{\}", "", line)
    return found


class Reader:
    """The value of a formula, read from its LaTeX."""

    TOKEN = re.compile(
        r"\\(?:left|right|Bigl|Bigr)?[()]|\\mathbf\{1\}|\\frac|\\sqrt(?:\[\d\])?|\\varphi_\{\d\}|e\^|[-+/(){}]|\d+(?:\.\d+)?|\^\{\d\}|"
        r"(?:\\(?:tilde|bar|dot) ?)?(?:\\Delta)?(?:\\[A-Za-z]+|[A-Za-z])(?:_\{[^{}]*\})?(?:\^\{\(\d\)\})?"
    )

    def __init__(self, latex: str, known: Mapping[str, float]) -> None:
        text = latex.replace("\\,", " ").replace("{} ", " ")
        text = re.sub(r"\\(?:left|right|Bigl|Bigr)([()])", r"\1", text)
        self.tokens = self.TOKEN.findall(text)
        assert not self.TOKEN.sub("", text).strip(), latex
        self.known = known

    def value(self) -> float:
        total = self.sum()
        assert not self.tokens
        return total

    def sum(self) -> float:
        total, sign = 0.0, 1.0
        while self.tokens and self.tokens[0] not in (")", "}"):
            while self.tokens[0] in "+-":
                sign *= -1.0 if self.tokens.pop(0) == "-" else 1.0
            total, sign = total + sign * self.product(), 1.0
        return total

    def product(self) -> float:
        result = 1.0
        while self.tokens and self.tokens[0] not in (")", "}", "+", "-"):
            if self.tokens[0] == "/":
                self.tokens.pop(0)
                result /= self.factor()
            else:
                result *= self.factor()
        return result

    def factor(self) -> float:
        result = self.atom()
        if self.tokens and re.fullmatch(r"\^\{\d\}", self.tokens[0]):
            result **= int(self.tokens.pop(0)[2])
        return result

    def atom(self) -> float:
        token = self.tokens.pop(0)
        if token in ("(", "{"):
            inside = self.sum()
            assert self.tokens.pop(0) == {"(": ")", "{": "}"}[token]
            return inside
        if token == r"\frac":
            return self.atom() / self.atom()
        if token.startswith(r"\sqrt"):
            return self.atom() ** (1 / int(token[len(r"\sqrt[") : -1] or 2))
        if token == "e^":
            return math.exp(self.atom())
        if token.startswith(r"\varphi"):
            return float(phi.phi(int(token[-2]), self.atom()))
        return float(token) if token[0].isdigit() else self.known[token]


def levels_of(solver: Solver) -> dict[str, Level]:
    """The levels of the test by name, earliest first."""
    levels = {f"s-{k}": PROCESS.level(lam=START - BACK[k] * STEP) for k in range(solver.history, 0, -1)}
    return levels | {"s": PROCESS.level(lam=START), "t": PROCESS.level(lam=START + STEP)}


def combinations(plan: Plan) -> dict[str, dict[str, Any]]:
    """The coefficients of a plan by row and register, those of noise's covariances too."""
    sums = [row for row in plan.rows if isinstance(row, Combine) and not isinstance(row, Constant)]
    found = {row.out: {name: c for c, name in row.terms} for row in sums}
    shared = {row.out: dict(row.covariances) for row in plan.rows if isinstance(row, BrownianIncrement)}
    return found | {out: covariances for out, covariances in shared.items() if covariances}


def numbers(plan: Plan, levels: Mapping[str, Level], solver: Solver) -> dict[Any, float]:
    """The value of every symbol of a step."""
    coefficients = [c for row in plan.rows if isinstance(row, Combine) for c, _ in row.terms]
    ratios = "rho" if any(DRHO in sp.sympify(c).free_symbols for c in coefficients) else "lam"
    s, t = levels["s"], levels["t"]
    values: dict[Any, float] = {H: STEP, LAM: START, DRHO: t.rho - s.rho}
    for k in range(1, len(levels) - 1):
        back = (levels[f"s-{k}"].rho - s.rho) / (s.rho - t.rho) if ratios == "rho" else BACK[k]
        values[sp.Symbol(f"r_{k}", positive=True)] = back
    known = dict(levels)
    for name, level in known.items():
        values |= of_level(name, level)
    for row in plan.rows:
        inner = getattr(row, "level", None) or getattr(row, "b", None)
        if isinstance(inner, NamedLevel) and inner.name not in known and inner.told:
            known[inner.name] = PROCESS.level(**{inner.told[0]: evaluated(inner.told[1], values)})
            values |= of_level(inner.name, known[inner.name])
    return values


def of_level(name: str, level: Level) -> dict[Any, float]:
    letters = {letter: getattr(level, letter) for letter in ("t", "alpha", "sigma", "lam", "rho")}
    rates = {sp.Symbol(rf"\dot\{letter}_{{{name}}}"): getattr(level, f"d{letter}") for letter in ("alpha", "sigma")}
    return {symbol(letter, name): value for letter, value in letters.items()} | rates


def evaluated(c: Any, values: Mapping[Any, float]) -> float:
    def integrate(f: Any, limits: Any) -> Any:
        u, low, high = limits.args
        time = sp.Symbol("time")
        integrand = sp.lambdify((u, time), f.replace(sp.Function("t"), lambda _: time).xreplace(values))
        ends = [float(end.xreplace(values)) for end in (low, high)]
        return sp.Float(mpmath.quad(lambda lam: integrand(float(lam), PROCESS.level(lam=float(lam)).t), ends))

    return float(sp.N(sp.sympify(c).replace(sp.Integral, integrate).xreplace(values), 20))


@each_solver
def test_every_formula_can_be_drawn(name: str):
    formula = formula_of(name)
    assert formula.symbolic
    for latex in (formula.latex, *(symbols for symbols, _ in formula.where)):
        tree = ElementTree.fromstring(mathml(latex))
        assert tree.tag == "math"
        assert "".join(tree.itertext())


def test_the_published_and_the_corrected_third_order_differ_by_the_factor_two():
    published, corrected = (Formula.of(get_solver(name)).latex for name in ("dpmpp_3m", "dpmpp_3m_corrected"))
    assert r"\left(r_{2} \varphi_{2}(-h) + \varphi_{3}(-h)\right)\,D_{s-1}" in published
    assert r"\left(r_{2} \varphi_{2}(-h) + 2 \varphi_{3}(-h)\right)\,D_{s-1}" in corrected


def test_long_weights_get_names_and_are_written_out():
    formula = Formula.of(get_solver("deis_rhoab_4"))
    assert all(rf"w_{{{k}}}" in "".join(formula.lines) for k in range(1, 6))
    assert sum("&=" in line for line in formula.weights) == 5


def test_a_rule_that_symbols_cannot_follow_is_shown_in_numbers(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from diffode import phi, solver\n"
        "@solver(order=1, prediction='x0')\n"
        "def mine(step):\n"
        "    h = step.h if step.h < 1 else step.h\n"  # a branch on a value
        "    d = step.model(step.x, step.now)\n"
        "    return step.next.sigma / step.now.sigma * step.x - step.next.alpha * phi.expm1(-h) * d\n"
    )
    formula = Formula.of(get_solver(str(file)))
    assert not formula.symbolic
    assert formula.lines[0] == r"D_{s} &= D_\theta(x_{s}, s)"
    coefficient = float(formula.lines[1].split("&= ")[1].split("\\,")[0])
    assert 0 < coefficient < 1


def test_with_a_long_past_numbers_stand_for_symbols():
    formula = Formula.of(get_solver("exponential_adams(order=8)"))
    assert not formula.symbolic
    assert sum("D_{s-" in line for line in formula.lines) == 7


def test_evaluations_are_named_by_their_level():
    plan = symbolic_step(get_solver("rk4"))
    names = [row.level.name for row in plan.rows if isinstance(row, Evaluate)]
    assert names == ["s", "s_1", "s_1", "t"]


@pytest.mark.parametrize("latex", [r"\unknown", r"\left(x", "{x", r"x_", r"x}"])
def test_latex_that_is_not_known_is_refused(latex: str):
    with pytest.raises(LatexError):
        mathml(latex)


def test_mathml_of_a_fraction():
    assert mathml(r"\frac{1}{2}") == r'<math alttext="\frac{1}{2}"><mfrac><mn>1</mn><mn>2</mn></mfrac></math>'
    assert np.all([mathml(f"a_{{{k}}}").count("<msub>") == 1 for k in range(3)])
