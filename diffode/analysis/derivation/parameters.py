"""The parameters of a formula that its order leaves free, their ranges, and the rule at values of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf, isfinite
from types import MappingProxyType
from typing import Any

from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.families import FAMILIES, derive
from diffode.analysis.derivation.options import listed
from diffode.errors import SolverError, unknown
from diffode.kinds import package_of
from diffode.plan import Linear
from diffode.series import Series, rational
from diffode.solvers import Solver, get_solver
from diffode.trace import Step

Range = tuple[float, float]

_NOISE = ("eta", "tau")
"""Options that say how much noise is drawn: they choose a method, and are no coefficients."""

_SHARE = 0.05
"""How near to an end that is itself excluded a search goes: a node at 0.001 has weights of 1000, and a velocity with
β = 0.001 remembers thousands of steps."""


@dataclass(frozen=True)
class Parameter:
    """A free parameter.

    Attributes
    ----------
    name : str
    low, high : float
        Its range, ends included.
    start : Fraction
        The value it has unless told otherwise.
    """

    name: str
    low: float
    high: float
    start: Fraction


@dataclass(frozen=True)
class Subject:
    """A rule with its free parameters.

    Attributes
    ----------
    solver : Solver
    parameters : tuple of Parameter
    derivation : Derivation or None
        Where the rule was derived.
    """

    solver: Solver
    parameters: tuple[Parameter, ...]
    derivation: Derivation | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def start(self) -> tuple[Fraction, ...]:
        return tuple(p.start for p in self.parameters)

    def at(self, values: Sequence[Any]) -> Solver:
        """The rule at exact values, in whatever kind of number a trace is made; its claims are those at the start.

        A value is a Fraction, or an element of a field of rational functions where the trace is in series over it.
        """
        given, rule = dict(zip(self.names, values, strict=True)), self.solver.rule

        def carried(step: Step, **options: Any) -> Linear:
            like = step.next.lam
            return rule(step, **options, **{name: _as(value, like, name) for name, value in given.items()})

        def _as(value: Any, like: Any, name: str) -> Any:
            if not isinstance(value, Fraction):
                own = self.solver.options[name]
                return type(like).constant(value, like.degree) if isinstance(like, Series) else own
            if isinstance(like, Series):
                return value
            if package_of(like) == "mpmath":
                return like.context.mpf(value.numerator) / value.denominator
            return float(value)

        carried.__name__ = rule.__name__
        rest = {name: value for name, value in self.solver.options.items() if name not in given}
        return replace(self.solver, rule=carried, options=MappingProxyType(rest), claims=self._claims)

    @property
    def _claims(self) -> Mapping[str, Any]:
        """What the rule claims at its own options."""
        return MappingProxyType({name: getattr(self.solver, name) for name in self.solver.claims})

    def configured(self, values: Sequence[Fraction]) -> Solver:
        """The solver at values, to be kept."""
        return _with(self.solver, {name: float(v) for name, v in zip(self.names, values, strict=True)})

    def derived(self, values: Sequence[Fraction]) -> Derivation | None:
        """The derivation with these values for defaults."""
        if self.derivation is None:
            return None
        import sympy as sp

        known = dict(zip(self.names, values, strict=True))
        defaults = {
            symbol: sp.Rational(known[symbol.name].numerator, known[symbol.name].denominator)
            if symbol.name in known
            else value
            for symbol, value in self.derivation.defaults.items()
        }
        return replace(self.derivation, defaults=defaults)


def subject(
    what: str | Solver | Derivation,
    free: str | Sequence[str] | None = None,
    ranges: Mapping[str, Range] | None = None,
    **structure: Any,
) -> Subject:
    """A structure, a derivation or a solver with the parameters that are to be chosen.

    Parameters
    ----------
    what : str, Solver or Derivation
        A family of `derive` with its options, what `derive` returned, or what `get_solver` takes.
    free : names, optional
        All free parameters by default.
    ranges : mapping, optional
        Name → (low, high), inside the declared range.
    **structure
        Options of a family.

    Raises
    ------
    SolverError
        If nothing is free, a name is not known, or a range is not inside the declared one.

    Examples
    --------
    >>> subject("exp-rk", stages=2).parameters
    (Parameter(name='c2', low=0.05, high=1.0, start=Fraction(1, 2)),)
    >>> subject("ghvb_2.5").parameters
    (Parameter(name='order', low=2.05, high=3.0, start=Fraction(5, 2)),)
    """
    wanted = None if free is None else [str(name) for name in listed(free)]
    derivation: Derivation | None = what if isinstance(what, Derivation) else None
    if isinstance(what, str) and what.replace("_", "-") in FAMILIES:
        derivation = _derived(what.replace("_", "-"), wanted, structure)
    elif structure:
        raise SolverError(f"optimize: {', '.join(structure)} describes a family of derive, and {what} is none")
    if derivation is not None:
        solver, known = derivation.solver, {x.name: _natural(x.name) for x in derivation.free if x.name not in _NOISE}
    else:
        solver = get_solver(what)  # type: ignore[arg-type]
        known = {
            name: _same_claim(solver, name)
            for name, value in solver.options.items()
            if name in solver.ranges and isinstance(value, float) and name not in _NOISE
        }
    if not known:
        raise SolverError(f"optimize: {_nothing(solver, derivation)}")
    for name in [*(wanted or ()), *(ranges or ())]:
        if name not in known:
            raise SolverError(f"optimize: {unknown('free parameter', name, known)}")
    names = list(known) if wanted is None else [name for name in known if name in wanted]
    chosen = (_parameter(solver, name, known[name], (ranges or {}).get(name)) for name in names)
    return Subject(solver, tuple(chosen), derivation)


def _derived(family: str, wanted: list[str] | None, structure: Mapping[str, Any]) -> Derivation:
    """A family with all its nodes free, unless some are named."""
    options = dict(structure)
    known = {
        "exp-rk": [f"c{i}" for i in range(2, int(options.get("stages", 2)) + 1)],
        "hybrid": [f"c{i}" for i in range(2, int(options.get("stages", 2)) + 1)],
        "momentum": ["beta"],
    }.get(family, [])
    if wanted is not None:  # a node that the family lacks is an error of `derive`
        known = [name for name in wanted if name == "beta" or (name.startswith("c") and name[1:].isdigit())]
    if known:
        options["free"] = ",".join(known)
    return derive(family, **options)


def _natural(name: str) -> Range:
    """The range of a parameter of a derived formula: nodes and a momentum's weight in (0, 1], weights anywhere."""
    inside = name == "beta" or (name.startswith("c") and name[1:].isdigit())
    return (0.0, 1.0) if inside else (-inf, inf)


def _same_claim(solver: Solver, name: str) -> Range:
    """The part of a declared range around the option's value in which the rule claims the same order."""
    low, high = solver.ranges[name]
    return _last_like(solver, name, low), _last_like(solver, name, high)


def _like(solver: Solver, name: str, value: float) -> bool:
    """Whether the rule exists at a value of an option and claims the same order there."""
    try:
        return _with(solver, {name: value}).order == solver.order
    except SolverError:
        return False


def _last_like(solver: Solver, name: str, outer: float) -> float:
    """How far towards an end of its range an option goes."""
    inner = float(solver.options[name])
    if _like(solver, name, outer):
        return outer
    for _ in range(60):
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if _like(solver, name, middle) else (inner, middle)
    return round(inner, 9)


def _with(solver: Solver, values: Mapping[str, Any]) -> Solver:
    return solver.configure(None, **values)


def _parameter(solver: Solver, name: str, allowed: Range, given: Any) -> Parameter:
    low, high = allowed
    excluded = [isfinite(end) and (end == 0 or not _like(solver, name, end)) for end in allowed]
    start = float(solver.options[name])
    if given is not None:
        pair = tuple(given) if isinstance(given, (tuple, list)) else ()
        if len(pair) != 2 or not all(isinstance(v, (int, float)) and isfinite(v) for v in pair) or pair[0] >= pair[1]:
            raise SolverError(f"optimize: the range of {name} must be two numbers, the lower first, not {given!r}")
        if (
            not low <= pair[0] < pair[1] <= high
            or (excluded[0] and pair[0] == low)
            or (excluded[1] and pair[1] == high)
        ):
            shown = f"{low:g}{' (excluded)' * excluded[0]} … {high:g}{' (excluded)' * excluded[1]}"
            raise SolverError(f"optimize: {name} from {pair[0]:g} to {pair[1]:g} is outside its range {shown}")
        low, high = map(float, pair)
    else:
        share = _SHARE * (high - low) if isfinite(high - low) else 0.0
        low, high = low + share * excluded[0], high - share * excluded[1]
    return Parameter(name, low, high, Fraction(rational(min(max(start, low), high))))


def _nothing(solver: Solver, derivation: Derivation | None) -> str:
    """Why nothing is free, and what would be."""
    if derivation is None:
        shown = ", ".join(f"{k}={v!r}" for k, v in solver.options.items()) or "none"
        return f"{solver.name} has no free parameter: none of its options ({shown}) is a number with a declared range"
    d = derivation
    weights, met = sum(len(row) for row in d.tables[-1].values()), len(d.conditions)
    if d.family in ("exp-multistep", "adams"):
        remedy = (
            f"; its history of {d.history} bounds it: each value more leaves a weight free (history={d.history + 1})"
        )
    elif d.family in ("exp-rk", "hybrid"):
        remedy = "; one stage has no node to move: take stages=2 or 3, with free='c2'"
    else:
        remedy = "; derive hybrid or exp-multistep with more history than the order needs"
    return f"{d.family} of order {d.order} has no free parameter: {weights} weights meet {met} conditions{remedy}"
