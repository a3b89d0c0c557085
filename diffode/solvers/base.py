"""What a solver is: a step rule, with what it claims.

    @solver(order=2, prediction="x0", history=1, source="arXiv:2211.01095, Algorithm 2")
    def my_solver(step):
        ...
        return new_state

The decorator turns the rule into a `Solver`; nothing is registered by it, so a solver can live in any file.
Keyword parameters of the rule with defaults are the solver's options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from diffode import prediction as predictions
from diffode.errors import ModelError, SolverError
from diffode.plan import Linear, Plan
from diffode.trace import Grid, Memory, Step, trace

Claim = Any
"""A value, or a function of the options that gives it."""


@dataclass(frozen=True)
class Limit:
    """A law that ties a rule to another: with these options it is that solver.

    Attributes
    ----------
    parent : str
        A registered name.
    options : mapping
        Options of the rule at which they coincide; the others are drawn freely by the tests.
    uniform : str or None
        The variable in which steps must be equal for that, if any.
    """

    parent: str
    options: Mapping[str, Any]
    uniform: str | None = None


def limit(parent: str, uniform: str | None = None, **options: Any) -> Limit:
    """A `Limit`, spelled as the law reads: `limit("ddim", eta=0.0)`."""
    return Limit(parent, MappingProxyType(options), uniform)


@dataclass(frozen=True)
class Erratum:
    """What is wrong with a published formula, or with its official code.

    Attributes
    ----------
    what : str
        The slip, in one sentence.
    right : str
        The registered name that puts it right; empty where there is none.
    """

    what: str
    right: str = ""


@dataclass(frozen=True, eq=False)
class Solver:
    """A step rule with its claims; made by the `solver` decorator.

    Attributes
    ----------
    name : str
        The name in the registry.
    rule : callable
        step, options → new state.
    order : float
        The order claimed: global, classical, given an exact past; the weak order where the rule draws noise. 0 where
        options that were fitted leave none to claim.
    prediction : str
        What the rule asks the network for.
    history : int
        How many past values it uses.
    source : str
        Paper and equation.
    strong_order : float or None
        The strong order claimed, for rules with noise.
    stiff_order : int or None
        The stiff order claimed, for exponential rules: the conditions of the last order weakened to b_i(0).
    uniform : str or None
        The variable in which steps must be equal for the claim to hold.
    exponential : bool
        True claims that a constant prediction is integrated exactly.
    reaches : float or None
        For a rule kept as published that misses its claim: the order it truly has.
    erratum : Erratum or None
        Why it does, and which solver puts it right.
    reversible : bool
        True claims that a run can be undone exactly: `diffode.invert` takes its plans.
    family : str
        The module it comes from.
    options : mapping
        The values of the rule's keyword parameters.
    ranges : mapping
        Option → (lowest, highest) value.
    limits : tuple of Limit
        The solvers that the rule becomes at special options.
    """

    name: str
    rule: Callable[..., Linear]
    claims: Mapping[str, Claim]
    source: str
    family: str = ""
    limits: tuple[Limit, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def _known(self) -> dict[str, Any]:
        """The claims that were asked for: a trace asks in every step."""
        return {}

    def _claim(self, name: str) -> Any:
        if name not in self._known:
            claim = self.claims.get(name)
            if callable(claim):
                wanted = inspect.signature(claim).parameters
                claim = claim(**{key: value for key, value in self.options.items() if key in wanted})
            self._known[name] = claim
        return self._known[name]

    @property
    def order(self) -> float:
        return self._claim("order")

    @property
    def strong_order(self) -> float | None:
        return self._claim("strong_order")

    @property
    def stiff_order(self) -> int | None:
        return self._claim("stiff_order")

    @property
    def reaches(self) -> float | None:
        return self._claim("reaches")

    @property
    def true_order(self) -> float:
        """The order that it has: the claim, or what it `reaches` where it misses that."""
        return self.order if self.reaches is None else self.reaches

    @property
    def erratum(self) -> Erratum | None:
        return self._claim("erratum")

    @property
    def prediction(self) -> str:
        return self._claim("prediction")

    @property
    def history(self) -> int:
        return int(self._claim("history") or 0)

    @property
    def exponential(self) -> bool:
        return bool(self._claim("exponential"))

    @property
    def reversible(self) -> bool:
        return bool(self._claim("reversible"))

    @property
    def uniform(self) -> str | None:
        return self._claim("uniform")

    @property
    def summary(self) -> str:
        """The first line of the rule's docstring."""
        return (inspect.getdoc(self.rule) or "").partition("\n")[0]

    def __call__(self, step: Step) -> Any:
        try:
            return self.rule(step, **self.options)
        except SystemExit as leaving:
            raise SolverError(
                f"{self.name}: the rule ends the program (SystemExit); let it return a state"
            ) from leaving

    def __repr__(self) -> str:
        claim = f"order {self.order:g}" if self.order else "claims no order"
        return f"<solver {self.name}: {claim}, prediction {self.prediction!r}>"

    def configure(self, name: str | None = None, /, *, source: str | None = None, **options: Any) -> Solver:
        """The same rule with other options, and a name that says them.

        Parameters
        ----------
        name : str, optional
            The new name; by default `name(option=value, …)`.
        source : str, optional
            Where this configuration is published.
        **options
            Keyword parameters of the rule.

        Raises
        ------
        SolverError
            If the rule has no such option, or a value lies outside its declared range.
        """
        known = _options_of(self.rule)
        for key, value in options.items():
            if key not in known:
                listed = ", ".join(known) or "none"
                raise SolverError(f"{self.name}: no option named {key!r}; it has {listed}")
            if key in self.ranges and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise SolverError(f"{self.name}: {key} must be a number, not {value!r}")
            low, high = self.ranges.get(key, (float("-inf"), float("inf")))
            if isinstance(value, (int, float)) and not low <= value <= high:
                raise SolverError(f"{self.name}: {key}={value} is outside its range {low} … {high}")
        merged = {**self.options, **options}
        if name is None:
            changed = ", ".join(f"{k}={v!r}" for k, v in merged.items() if v != known[k])
            name = f"{self.rule.__name__}({changed})" if changed else self.rule.__name__
        made = replace(self, name=name, options=MappingProxyType(merged), source=source or self.source)
        made.validate()
        return made

    def validate(self) -> None:
        """Raise SolverError where the claims make no sense."""
        try:
            predictions.check(self.prediction, self.name)
        except ModelError as problem:
            raise SolverError(str(problem)) from None
        unclaimed = self.order == 0 and callable(self.claims["order"])
        if not isinstance(self.order, (int, float)) or (self.order <= 0 and not unclaimed):
            raise SolverError(f"{self.name}: order must be a positive number, not {self.order!r}")
        if self.order != int(self.order) or self.order > 20:
            raise SolverError(f"{self.name}: order must be a whole number from 1 to 20, not {self.order}")
        for claim in ("strong_order", "stiff_order", "reaches"):
            value = getattr(self, claim)
            if value is not None and (not isinstance(value, (int, float)) or value < 0):
                raise SolverError(f"{self.name}: {claim} must be a number or None, not {value!r}")
        if self.uniform not in (None, "lam", "rho", "t", "sigma"):
            raise SolverError(f"{self.name}: uniform must be 'lam', 'rho', 't', 'sigma' or None, not {self.uniform!r}")
        if self.erratum is not None and not isinstance(self.erratum, Erratum):
            raise SolverError(f"{self.name}: erratum must be an Erratum(what, right), not {self.erratum!r}")
        for law in self.limits:
            if not isinstance(law, Limit):
                raise SolverError(f"{self.name}: limits must be made by limit(…), not {law!r}")
        if self.history < 0:
            raise SolverError(f"{self.name}: history must be at least 0, not {self.history}")

    def plan(self, grid: Grid, *, exact_past: int = 0, memory: Memory | None = None, open_end: bool = False) -> Plan:
        """The plan of this solver on a grid; see `diffode.trace.trace`."""
        return trace(self, grid, exact_past=exact_past, memory=memory, open_end=open_end)


def solver(
    rule: Any = None,
    /,
    *,
    order: Claim = None,
    prediction: Claim = None,
    source: str = "",
    history: Claim = 0,
    strong_order: Claim = None,
    stiff_order: Claim = None,
    reaches: Claim = None,
    erratum: Claim = None,
    exponential: Claim = False,
    reversible: Claim = False,
    uniform: Claim = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    limits: Sequence[Limit] = (),
) -> Callable[[Callable[..., Linear]], Solver]:
    """Make a `Solver` of a step rule; its claims stand in brackets, `@solver(order=…, prediction=…)`.

    Parameters
    ----------
    order : number, or function of the options
        The order claimed. See `Solver`.
    prediction : str, or function of the options
        "eps", "x0", "v", "score" or "velocity".
    source : str
        Paper and equation.
    history : int, or function of the options
        Past values that the rule uses.
    strong_order, reaches : number or None, or function of the options
        The strong order claimed; the true order of a rule that is kept as published although it misses its claim.
    erratum : Erratum or None, or function of the options
        Why it misses its claim, and the registered name of the rule that puts it right.
    stiff_order : int or None, or function of the options
        The stiff order claimed of an exponential rule.
    exponential : bool, or function of the options
        Claims that a constant prediction (the rule's own, or of the data) is integrated exactly.
    reversible : bool, or function of the options
        Claims that a run can be undone exactly.
    uniform : {"t", "lam", "sigma", "rho"}, optional, or function of the options
        Limits the claim of order to equal steps in this variable.
    ranges : mapping, optional
        Option → (lowest, highest) value.
    limits : sequence of Limit
        Laws: the options at which the rule is another solver.

    Examples
    --------
    >>> from diffode import phi
    >>> @solver(order=1, prediction="x0", exponential=True)
    ... def first(step):
    ...     d = step.model(step.x, step.now)
    ...     ratio = step.next.sigma / step.now.sigma
    ...     return ratio * step.x - step.next.alpha * phi.expm1(-step.h) * d
    >>> first
    <solver first: order 1, prediction 'x0'>
    """
    if rule is not None or order is None or prediction is None:
        what = getattr(rule, "__name__", "")
        raise SolverError(
            f"{what + ': ' if what else ''}write @solver(order=…, prediction=…) above the rule, for instance "
            "@solver(order=2, prediction='x0'); order and prediction are always claimed"
        )

    def decorate(rule: Callable[..., Linear]) -> Solver:
        made = Solver(
            name=rule.__name__,
            rule=rule,
            claims=MappingProxyType(
                {
                    "order": order,
                    "prediction": prediction,
                    "history": history,
                    "strong_order": strong_order,
                    "stiff_order": stiff_order,
                    "reaches": reaches,
                    "erratum": erratum,
                    "exponential": exponential,
                    "reversible": reversible,
                    "uniform": uniform,
                }
            ),
            source=source,
            limits=tuple(limits),
            family=rule.__module__.rpartition(".")[2],
            options=MappingProxyType(_options_of(rule)),
            ranges=MappingProxyType(dict(ranges or {})),
        )
        made.validate()
        return made

    return decorate


def _options_of(rule: Callable[..., Any]) -> dict[str, Any]:
    parameters = list(inspect.signature(rule).parameters.values())
    if not parameters:
        raise SolverError(f"{rule.__name__}: the rule needs a parameter, def {rule.__name__}(step)")
    for parameter in parameters[1:]:
        if parameter.default is inspect.Parameter.empty:
            raise SolverError(
                f"{rule.__name__}: the option {parameter.name!r} needs a default value (def {rule.__name__}"
                f"(step, {parameter.name}=…))"
            )
    return {parameter.name: parameter.default for parameter in parameters[1:]}
