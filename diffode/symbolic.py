r"""Formulas in symbols: φ_k as a SymPy function, and one step of a rule traced with symbols.

The symbols of a step are those of the papers: s is the level where it starts, t where it ends, h = λ_t − λ_s, and
s−k is the level k steps before s, at λ_s − r_k h. Levels in between are s_1, s_2, … in the order in which a rule asks
for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import factorial, lcm
from typing import Any

import sympy as sp

from diffode.plan import BrownianIncrement, Combine, Constant, Evaluate, Level, Plan, Row, Scaled
from diffode.series import rational
from diffode.trace import Memory, Rule, trace

H = sp.Symbol("h", positive=True)
"""h = λ_t − λ_s."""
LAM = sp.Symbol(r"\lambda_{s}", real=True)
DRHO = sp.Symbol(r"\Delta\rho", negative=True)
"""ρ_t − ρ_s."""


def ratio(k: int) -> Any:
    """r_k, how far back the k-th earlier level lies, in steps."""
    return sp.Symbol(f"r_{k}", positive=True)


class Phi(sp.Function):
    r"""φ_k(z), unevaluated except at z = 0; prints as \varphi_k(z).

    Examples
    --------
    >>> Phi(2, 0), Phi(1, sp.Symbol("h")).rewrite(sp.exp)
    (1/2, (exp(h) - 1)/h)
    """

    nargs = (2,)

    @classmethod
    def eval(cls, *args: Any) -> Any:
        k, z = args
        if z.is_zero:
            return sp.Rational(1, factorial(int(k)))
        return None

    @property
    def _parts(self) -> tuple[Any, Any]:
        k, z = self.args
        return k, z

    def _eval_rewrite_as_exp(self, k: Any, z: Any, **_: Any) -> Any:
        value = sp.exp(z)
        for j in range(int(k)):
            value = (value - sp.Rational(1, factorial(j))) / z
        return value

    def _eval_evalf(self, prec: int) -> Any:
        from mpmath import mp, workprec

        from diffode import phi

        k, z = self._parts
        if not z.is_number:
            return None
        with workprec(prec):
            return sp.Float(phi.phi(int(k), mp.mpf(z._to_mpmath(prec))), precision=prec)

    def fdiff(self, argindex: int = 2) -> Any:
        """φ_k′ = φ_k − φ_{k+1}·k … by (φ_k(z) z^k)′ = φ_{k−1}(z) z^{k−1}: φ_k′ = (φ_{k−1} − k φ_k)/z."""
        k, z = self._parts
        lower = sp.exp(z) if k == 1 else Phi(k - 1, z)
        return (lower - k * self) / z

    def _latex(self, printer: Any, exp: Any = None) -> str:
        k, z = self._parts
        text = rf"\varphi_{{{k}}}\left({printer._print(z)}\right)"
        return rf"{text}^{{{exp}}}" if exp else text


class Expm1(sp.Function):
    """e^z − 1 as one factor, which a sum would not stay."""

    nargs = (1,)

    @property
    def _z(self) -> Any:
        return self.args[0]

    def _eval_rewrite_as_exp(self, z: Any, **_: Any) -> Any:
        return sp.exp(z) - 1

    def _eval_evalf(self, prec: int) -> Any:
        return (sp.exp(self._z) - 1).evalf(prec) if self._z.is_number else None

    def _latex(self, printer: Any, exp: Any = None) -> str:
        text = rf"\left(e^{{{printer._print(self._z)}}} - 1\right)"
        return rf"{text}^{{{exp}}}" if exp else text


# --- levels by symbols --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamedLevel(Level):
    """A level whose numbers are symbols with its name for a subscript; `told` is what a rule told it by."""

    name: str = ""
    told: tuple[str, Any] | None = field(default=None, compare=False)

    @property
    def rho(self) -> Any:
        return self.told[1] if self.told and self.told[0] == "rho" else symbol("rho", self.name)

    def replaced(self, values: Mapping[Any, Any]) -> NamedLevel:
        """With other symbols in what it was told by."""
        return replace(self, told=(self.told[0], self.told[1].xreplace(values))) if self.told else self

    @property
    def dalpha(self) -> Any:
        return sp.Symbol(rf"\dot\alpha_{{{self.name}}}")

    @property
    def dsigma(self) -> Any:
        return sp.Symbol(rf"\dot\sigma_{{{self.name}}}")


def symbol(letter: str, level: str) -> Any:
    r"""α, σ, ρ or λ of a level, or its time.

    >>> symbol("rho", "s"), symbol("t", "s"), symbol("t", "s-1")
    (\rho_{s}, s, t_{s-1})
    """
    if letter == "t":
        return sp.Symbol(level if "-" not in level else rf"t_{{{level}}}", positive=True)
    if letter == "lam":
        return sp.Symbol(rf"\lambda_{{{level}}}", real=True)
    return sp.Symbol(rf"\{letter}_{{{level}}}", positive=True)


@dataclass(frozen=True)
class _Process:
    """Levels by symbols: what a level was not told by is free."""

    levels: list[NamedLevel] = field(default_factory=list[NamedLevel])

    def add(self, name: str, **told: Any) -> NamedLevel:
        """A new level with a name, one of its numbers given."""
        numbers = {letter: symbol(letter, name) for letter in ("t", "alpha", "sigma", "lam")}
        given = next(iter(told.items()))
        if given[0] in numbers:
            numbers[given[0]] = given[1]
        self.levels.append(NamedLevel(**numbers, process=self, name=name, told=given))
        return self.levels[-1]

    def level(self, t: Any = None, **told: Any) -> Level:
        if t is not None:
            told["t"] = t
        letter, value = next((name, sp.expand(_exact(v))) for name, v in told.items() if v is not None)
        for known in self.levels:
            if sp.expand(getattr(known, letter) - value) == 0:
                return known
        if value.has(sp.Dummy):  # under an integral: functions of its variable
            rest = {name: sp.Function(name if name == "t" else rf"\{name}")(value) for name in ("t", "alpha", "sigma")}
            return Level(**{**rest, "lam": sp.Function(r"\lambda")(value), letter: value}, process=self)
        inner = sum(level.name.startswith("s_") for level in self.levels) + 1
        return self.add(f"s_{{{inner}}}" if inner > 9 else f"s_{inner}", **{letter: value})


@dataclass(frozen=True)
class _Grid:
    process: _Process
    levels: tuple[Level, ...]


def symbolic_step(rule: Rule) -> Plan:
    r"""The plan of one step in the middle of a run, with symbols for coefficients, for printing a formula.

    Parameters
    ----------
    rule : Rule
        A solver.

    Returns
    -------
    Plan
        Its inputs are the state at s and what the rule remembers of the steps before; its last row is the formula. Its
        levels are `NamedLevel`.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> print(symbolic_step(get_solver("dpmpp_2m")).rows[-1].terms[-1])
    (\alpha_{t}*Expm1(-h)/(2*r_1), 'p1')
    """
    process, depth = _Process(), max(rule.history, 0)
    gaps = [sp.Symbol(f"g_{k}", positive=True) for k in range(1, depth + 1)]  # so that the order of levels is known
    past = [process.add(f"s-{k}", lam=LAM - sum(gap * H for gap in gaps[:k])) for k in range(depth, 0, -1)]
    now, after = process.add("s", lam=LAM), process.add("t", lam=LAM + H)
    before = trace(rule, _Grid(process, (*past, now)), exact_past=depth, open_end=True).memory if depth else None
    del process.levels[depth + 2 :]  # the levels in between that the earlier steps asked for
    memory = _told_apart(before or Memory(), process)
    plan = trace(rule, _Grid(process, (now, after)), memory=memory, open_end=True)
    ratios = {gap: ratio(k + 1) - (ratio(k) if k else 0) for k, gap in enumerate(gaps)}
    unseen = _unseen(plan, process.levels)
    given = dict(ratios)
    for x in unseen:
        rho = sp.exp(-x.lam.xreplace(ratios))
        given |= {symbol("sigma", x.name): symbol("alpha", x.name) * rho, symbol("rho", x.name): rho}
    levels = [level for level in process.levels if level not in unseen]
    rows = [_tidy_row(row, levels, given) for row in plan.rows]
    if _ambiguous(rows):
        rows = [_tidy_row(row, levels, given, in_rho=False) for row in plan.rows]
    return replace(plan, rows=tuple(rows))


def _told_apart(memory: Memory, process: _Process) -> Memory:
    """With names of their own for levels in between where something is remembered: this step has others."""
    own, past = list(process.levels), list(memory.past)
    for k, (name, level) in enumerate(past):
        if level not in own and isinstance(level, NamedLevel) and level.told:
            past[k] = name, process.add(f"s-{k + 1}'", **dict([level.told]))
    return replace(memory, past=tuple(past))


def _ambiguous(rows: Iterable[Row]) -> bool:
    """Whether r_k would be steps in ρ in one coefficient, and steps in λ in another."""
    numbers = [c for row in rows if isinstance(row, Combine) for c, _ in row.terms if not isinstance(c, Scaled)]
    found = [{x.name for x in sp.sympify(c).free_symbols} for c in numbers]
    return len({DRHO.name in names for names in found if any(name.startswith("r_") for name in names)}) == 2


def _unseen(plan: Plan, levels: Sequence[NamedLevel]) -> list[NamedLevel]:
    """Levels in between, told by λ, at which nothing is evaluated and no noise ends: coefficients go by their λ."""
    seen: set[str] = set()
    for row in plan.rows:
        at = (row.level,) if isinstance(row, Evaluate) else (row.a, row.b) if isinstance(row, BrownianIncrement) else ()
        seen |= {level.name for level in at if isinstance(level, NamedLevel)}
    between = [x for x in levels if x.name.startswith("s_") or x.name.endswith("'")]
    return [x for x in between if x.name not in seen and x.told and x.told[0] == "lam"]


# --- coefficients as one would write them -------------------------------------------------------------------


def _tidy_row(row: Row, levels: Sequence[NamedLevel], ratios: Mapping[Any, Any], in_rho: bool = True) -> Row:
    if isinstance(row, BrownianIncrement):
        known = ((name, tidy(_replaced(c, ratios), levels, in_rho)) for name, c in row.covariances)
        return replace(row, covariances=tuple(known))
    if isinstance(row, Evaluate):
        return replace(row, level=row.level.replaced(ratios)) if isinstance(row.level, NamedLevel) else row
    if isinstance(row, Constant) or not isinstance(row, Combine):
        return row
    terms = ((tidy(_replaced(c, ratios), levels, in_rho), name) for c, name in row.terms)
    return Combine(row.out, tuple((c, name) for c, name in terms if c != 0))


def _replaced(c: Any, ratios: Mapping[Any, Any]) -> Any:
    return replace(c, factor=_replaced(c.factor, ratios)) if isinstance(c, Scaled) else sp.sympify(c).xreplace(ratios)


def tidy(c: Any, levels: Sequence[NamedLevel] = (), in_rho: bool = True) -> Any:
    """A coefficient as a paper has it: rational numbers, a common factor, and one term for each φ-function.

    Parameters
    ----------
    c : Expr, number or Scaled
    levels : sequence of NamedLevel
        Whose e^{−λ} is to be written σ/α.
    in_rho : bool
        Whether earlier ρ are to be told by r_k, their steps in ρ, where that is all there is of them.

    Examples
    --------
    >>> h = sp.Symbol("h", positive=True)
    >>> tidy(h * Phi(1, -h) / 2 + h * Phi(2, -h) / 4), tidy(0.25 * (1 - sp.exp(-2 * h)))
    (h*(Phi(1, -h) + Phi(2, -h)/2)/2, (1 - exp(-2*h))/4)
    """
    if isinstance(c, Scaled):
        return replace(c, factor=tidy(c.factor, levels, in_rho))
    c = _exact(c)
    if c.has(sp.Integral):
        return c.subs(LAM + H, symbol("lam", "t")).replace(sp.Integral, _pulled)
    c = _without_lam(c.replace(sp.Abs, _positive), levels)
    c = _without_rho(c) if in_rho else c
    roots = [a for a in sp.Mul.make_args(c) if a.is_Pow and abs(a.as_base_exp()[1]) == sp.Rational(1, 2)]
    if roots:
        return tidy(c / sp.Mul(*roots)) * sp.sqrt(_shortest(sp.Mul(*(a**2 for a in roots))))
    return _shortest(c)


def _shortest(c: Any) -> Any:
    """The form with the shortest formula."""
    if c.has(Phi):
        return _by_functions(_shrunk(c))
    flat = sp.factor_terms(_cancelled(c))
    forms = [_by_functions(_shrunk(c)), _by_functions(_shrunk(flat)), sp.factor(c), flat]
    return min(forms, key=lambda form: len(sp.latex(form)))


def _exact(c: Any) -> Any:
    """With rational numbers for floats."""
    c = sp.sympify(c)
    return c.xreplace({x: sp.Rational(*rational(float(x)).as_integer_ratio()) for x in c.atoms(sp.Float)})


def _without_lam(c: Any, levels: Sequence[NamedLevel]) -> Any:
    """σ/α for e^{−λ} of a level, and ρ_s for what is left of e^{−λ_s}."""
    known = {sp.expand(level.lam): symbol("sigma", level.name) / symbol("alpha", level.name) for level in levels}

    def split(z: Any) -> Any:
        z = sp.expand(z)
        if -z in known or z in known:
            return known[-z] if -z in known else 1 / known[z]
        share = z.coeff(LAM)
        return symbol("rho", "s") ** (-share) * sp.exp(sp.expand(z - share * LAM))

    return c.replace(sp.exp, split)


def _without_rho(c: Any) -> Any:
    """In Δρ = ρ_t − ρ_s and r_k = (ρ_{s−k} − ρ_s)/(ρ_s − ρ_t), where that is all there is of an earlier ρ.

    Where Δρ cancels nothing would tell these r_k from those in λ, and the ρ stay.
    """
    found = {x for x in c.free_symbols if x.name.startswith(r"\rho_")}
    earlier = {x: int(x.name[len(r"\rho_{s-") : -1]) for x in found if "s-" in x.name}
    if not earlier or any(x.name.startswith("r_") for x in c.free_symbols):
        return c
    base = symbol("rho", "s")
    steps = {x: base - ratio(k) * DRHO for x, k in earlier.items()}
    other = sp.factor(c.xreplace({symbol("rho", "t"): base + DRHO, **steps}))
    return c if other.has(base) or not other.has(DRHO) else other


def _cancelled(c: Any) -> Any:
    """Numerator and denominator without what they share, as polynomials in e^{h/n}."""
    shares = {e: (e.exp / H) for e in c.atoms(sp.exp)}
    if not all(share.is_Rational for share in shares.values()):
        return sp.powsimp(sp.expand(sp.cancel(c)))
    parts = lcm(*(share.q for share in shares.values()))
    y = sp.Dummy(positive=True)
    flat = sp.cancel(c.xreplace({e: y ** (share * parts) for e, share in shares.items()}))
    return sp.expand(flat).xreplace({y: sp.exp(H / parts)})


def _shrunk(c: Any) -> Any:
    """With `Expm1` wherever a sum is a multiple of e^z − 1."""

    def one(total: Any) -> Any:
        (a, first), (b, second) = (term.as_coeff_Mul() for term in total.args[:2])
        if len(total.args) != 2 or a + b != 0 or 1 not in (first, second):
            return total
        scale, power = (a, first) if second == 1 else (b, second)
        return scale * Expm1(power.exp) if isinstance(power, sp.exp) else total

    return c.replace(lambda e: e.is_Add, one)


def _by_functions(c: Any) -> Any:
    """K Σ R_k F_k: a factor K in common, and a rational number or function R_k for each φ-function F_k."""
    functions = sorted(c.atoms(Phi, Expm1), key=lambda f: (isinstance(f, Phi), sp.default_sort_key(f)))
    unknown = [sp.Dummy() for _ in functions]
    flat = c.xreplace(dict(zip(functions, unknown, strict=True)))
    slopes = [sp.diff(flat, x) for x in unknown]
    if not functions or any(slope.has(*unknown) and sp.expand(slope).has(*unknown) for slope in slopes):
        return sp.factor(c)  # none, or in products
    nothing = dict.fromkeys(unknown, sp.Integer(0))
    parts = [sp.factor(part.xreplace(nothing)) for part in (flat, *slopes)]
    if any(part.has(sp.nan, sp.zoo) for part in parts):
        return sp.factor(c)  # one of them is divided by
    kept = [(part, f) for part, f in zip(parts, (sp.Integer(1), *functions), strict=True) if part != 0]
    common = _common([part for part, _ in kept])
    return common * sp.Add(*(sp.factor(part / common) * f for part, f in kept))


def _common(parts: Iterable[Any]) -> Any:
    """What all parts share: the greatest common divisors of their numerators and of their denominators."""
    pairs = [sp.fraction(sp.together(part)) for part in parts]
    above, below = (reduce(sp.gcd, side) for side in zip(*pairs, strict=True))
    return sp.factor(above / below)


def _pulled(f: Any, limits: Any) -> Any:
    """An integral with its constant factors in front."""
    constant, rest = f.as_independent(limits[0])
    return constant * sp.Integral(rest, limits)


def _positive(z: Any) -> Any:
    """|z| of something that has one sign, found at a point."""
    values = {x: sp.Float(0.3 + 0.1 * n) for n, x in enumerate(sorted(z.free_symbols, key=str))}
    return z if z.xreplace(values).evalf() > 0 else -z
