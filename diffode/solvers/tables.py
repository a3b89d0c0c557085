r"""Solvers that are tables: fitted coefficients, or those of any linear plan, on the one grid that they belong to.

In the canonical form every state, and every state that is shown to the network, is told by x_T and what came since:

    x_{i+1} = w_i x_T + Σ_{j ≤ i} w_ij m_j (+ Σ_k v_ik z_k)

with m_j the j-th output of the network and z_k the k-th normal. A table holds these weights for the levels of one grid.
It claims no order: on another grid there is nothing that it could do.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffode import prediction as predictions
from diffode.brownian import factors
from diffode.errors import PlanError, SolverError
from diffode.kinds import package_of
from diffode.plan import Combine, Constant, Evaluate, Level, Linear, Plan
from diffode.solvers.base import Solver
from diffode.trace import Step

FORMAT = "diffode-fit/1"

_SAME = 1e-9
"""How far the λ of a grid may be from that of the table: rounding, where it was made again from other names."""

Weights = tuple[tuple[str, float], ...]
"""Names ("x_T", "d0", "z1", and "one" for the constant 1) with their weights."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the state that is shown, its λ, and the λ that the network is told, where it differs."""

    weights: Weights
    lam: float
    told: float | None = None


@dataclass(frozen=True)
class TableStep:
    """One step: its evaluations, the normals that it draws (names in order), and the state at its end."""

    evaluations: tuple[Evaluation, ...]
    weights: Weights
    normals: tuple[str, ...] = ()


@dataclass(frozen=True)
class CoefficientTable:
    """The canonical form on one grid.

    Attributes
    ----------
    lam : tuple of float
        λ of the grid's levels, the first and the last included; ±∞ where they are.
    prediction : str
        What the outputs are.
    steps : tuple of TableStep

    Examples
    --------
    >>> import diffode as de
    >>> plan = de.compile("ddim", de.EDM(), de.TimeGrid(de.EDM(), sigma=[2.0, 1.0, 0.5]))
    >>> CoefficientTable.of(plan).steps[-1].weights
    (('x_T', 1.0), ('d0', -1.0), ('d1', -0.5))
    """

    lam: tuple[float, ...]
    prediction: str
    steps: tuple[TableStep, ...]

    @property
    def nfe(self) -> int:
        return sum(len(step.evaluations) for step in self.steps)

    @cached_property
    def last_use(self) -> dict[str, int]:
        """The last step that weighs each name."""
        last: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            for row in (step.weights, *(evaluation.weights for evaluation in step.evaluations)):
                last.update((name, i) for name, _ in row)
        return last

    @staticmethod
    def of(plan: Plan, prediction: str | None = None) -> CoefficientTable:
        """The table of a plan; run with the same seed it is the plan.

        Parameters
        ----------
        plan : Plan
            From one state to the levels of its grid.
        prediction : str, optional
            What the outputs are to be: what the plan asks for by default, "x0" where it asks for several.

        Raises
        ------
        PlanError
            If the plan has `Dynamic` rows, more inputs than the state, or levels or coefficients that are arrays.
        """
        plan.require_linear("the table of coefficients")
        if len(plan.inputs) != 1 or any(package_of(level.lam) != "float" for level in plan.levels):
            raise PlanError(
                f"the table of {plan.solver} needs one state to start from ({len(plan.inputs)} are given) and levels "
                "that are single numbers; compile on a grid of scalars, without memory="
            )
        asked = {row.prediction for row in plan.rows if isinstance(row, Evaluate)}
        return _Writer(plan, prediction or (asked.pop() if len(asked) == 1 else "x0")).table()

    def solver(self, name: str, source: str = "") -> Solver:
        """The table as a solver. It claims no order (0), and runs on its own grid only."""

        def rule(step: Step) -> Linear:
            return _step(self, step)

        rule.__doc__ = f"A table of {self.nfe} evaluations in {len(self.steps)} steps."
        rule.__name__ = "table"
        claims = MappingProxyType({"order": 0, "prediction": self.prediction})
        return Solver(name, rule, claims, source, "tables")

    def as_dict(self) -> dict[str, Any]:
        """What stands in the JSON file."""
        return _plain(asdict(self))

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> CoefficientTable:
        """The table of a JSON file."""
        steps = tuple(
            TableStep(
                tuple(
                    Evaluation(_weights(e["weights"]), float(e["lam"]), _maybe(e["told"])) for e in step["evaluations"]
                ),
                _weights(step["weights"]),
                tuple(step["normals"]),
            )
            for step in content["steps"]
        )
        return CoefficientTable(tuple(map(float, content["lam"])), content["prediction"], steps)


def _plain(value: Any) -> Any:
    """Lists and numbers; what JSON has no word for as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return repr(value) if isinstance(value, float) and not isfinite(value) else value


def _weights(content: Any) -> Weights:
    return tuple((str(name), float(c)) for name, c in content)


def _maybe(value: Any) -> float | None:
    return None if value is None else float(value)


class _Writer:
    """Substitutes the rows of a plan into each other until only x_T, outputs and normals are left."""

    def __init__(self, plan: Plan, prediction: str) -> None:
        self.plan, self.prediction = plan, prediction
        self.held: dict[str, Linear] = {plan.inputs[0]: Linear({"x_T": 1.0})}
        self.mixes, self.count = factors(plan), 0
        self.normals = {row.out: f"z{k}" for k, row in enumerate(plan.noises)}

    def table(self) -> CoefficientTable:
        plan = self.plan
        ends, steps = list(plan.states[1:]), list[TableStep]()
        evaluations: list[Evaluation] = []
        normals: list[str] = []
        for row in plan.rows:
            if isinstance(row, Constant):
                self.held[row.out] = Linear({"one": 1.0})
            elif isinstance(row, Combine):
                parts = [self._number(c, row.out) * self.held[name] for c, name in row.terms]
                self.held[row.out] = sum(parts, Linear({}))
            elif isinstance(row, Evaluate):
                evaluations.append(self._evaluate(row))
            else:
                normals.append(self.normals[row.out])
                self.held[row.out] = Linear({f"z{k}": float(w) for k, w in self.mixes[row.out].items()})
            if ends and row.out == ends[0]:
                steps.append(TableStep(tuple(evaluations), _told(self.held[row.out]), tuple(normals)))
                evaluations, normals = [], []
                del ends[0]
        return CoefficientTable(tuple(float(level.lam) for level in plan.levels), self.prediction, tuple(steps))

    def _number(self, c: Any, out: str) -> float:
        if package_of(c) == "array":
            raise PlanError(
                f"row {out} of {self.plan.solver} has a coefficient for each entry; a table holds one number for all"
            )
        return float(c)

    def _evaluate(self, row: Evaluate) -> Evaluation:
        if row.to is not None or row.output is not None:
            raise PlanError(
                f"row {row.out} of {self.plan.solver} asks for a map or a branch of the network; a table holds plain "
                "evaluations only"
            )
        shown, name = self.held[row.x], f"d{self.count}"
        self.count += 1
        a, b = predictions.change(self.prediction, row.prediction, row.level)
        self.held[row.out] = float(a) * shown + Linear({name: float(b)}) if a else Linear({name: float(b)})
        return Evaluation(_told(shown), float(row.level.lam), None if row.at is None else float(row.at.lam))


def _told(expression: Linear) -> Weights:
    return tuple((name, float(c)) for name, c in expression.terms.items() if c)


def _step(table: CoefficientTable, step: Step) -> Linear:
    """One step of a table; everything it needs of the past is kept by name."""
    if not step.index:
        _check_grid(table, step)
        step.memory["x_T"] = step.x
    if step.singular:
        step.keep()
    here = table.steps[step.index]
    for name in here.normals:
        step.memory[name] = step.normal(name)
    before = table.steps[step.index - 1].weights if step.index else (("x_T", 1.0),)
    count = sum(len(past.evaluations) for past in table.steps[: step.index])
    for j, evaluation in enumerate(here.evaluations, count):
        x = step.x if evaluation.weights == before else _sum(step, evaluation.weights)
        at = None if evaluation.told is None else _level(step, evaluation.told)
        step.memory[f"d{j}"] = step.model(x, _level(step, evaluation.lam), at)
    result = _sum(step, here.weights)
    _forget(table, step)
    return result


def _sum(step: Step, weights: Weights) -> Linear:
    memory = step.memory
    parts = (step.constant(c) if name == "one" else c * memory[name] for name, c in weights)
    return sum(parts, Linear({}))


def _level(step: Step, lam: float) -> Level:
    for level in (step.now, step.next):
        if level.lam == lam or abs(level.lam - lam) <= _SAME * max(1.0, abs(lam)):
            return level
    return step.level(lam=lam)


def _forget(table: CoefficientTable, step: Step) -> None:
    """Drop what no later step weighs, so that a run holds no more arrays than it must."""
    for name in [name for name in step.memory if table.last_use.get(name, -1) <= step.index]:
        del step.memory[name]


def _check_grid(table: CoefficientTable, step: Step) -> None:
    found = [level.lam for level in step.grid]
    fits = len(found) == len(table.lam) and all(
        package_of(lam) in ("float", "mpmath") and (lam == own or abs(lam - own) <= _SAME * max(1.0, abs(own)))
        for lam, own in zip(found, table.lam, strict=True)
    )
    if not fits:
        raise SolverError(
            f"{step.tracer.rule.name}: the table belongs to a grid of {len(table.steps)} steps, λ from "
            f"{table.lam[0]:.6g} to {table.lam[-1]:.6g}, and to no other; run it on the grid that it was fitted to "
            "(fit.grid, or diffode.fitting.outcome.load(path, process).grid)"
        )


def read(path: Path) -> dict[str, Any]:
    """The content of a fit's file.

    Raises
    ------
    SolverError
        If there is no such file, or it holds no fit.
    """
    if not path.is_file():
        raise SolverError(f"{path}: " + ("is a folder, not a file" if path.is_dir() else "no such file"))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or not isinstance(content["provenance"], dict):
            raise ValueError
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError):
        raise SolverError(f"{path} holds no fit; write one with fit.save(path)") from None
    return content


def from_content(content: Mapping[str, Any], where: str) -> Solver:
    """The solver of a fit: a table, or a registered rule with the options that were fitted.

    Raises
    ------
    SolverError
        If the content is damaged, or names a Python file: to read a fit never runs anything.
    """
    source = f"{content['provenance'].get('method', 'fit')}, {where}"
    try:
        if "table" in content:
            return CoefficientTable.from_dict(content["table"]).solver(content["name"], source)
        from diffode.solvers.registry import get_solver  # which imports this module

        _refuse_programs([content["rule"], *content["options"].values()], where)
        options = {name: _tuples(value) for name, value in content["options"].items()}
        return get_solver(content["rule"]).configure(content["name"], source=source, **options)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as problem:
        if isinstance(problem, SolverError):
            raise
        raise SolverError(f"{where}: the fit is damaged ({problem!r}); write it anew with fit.save(path)") from problem


def _refuse_programs(value: Any, where: str) -> None:
    """Raise SolverError where a name in a fit, however deep, stands for a Python file."""
    from diffode.solvers.registry import split_file

    if isinstance(value, dict):
        _refuse_programs([*value.values()], where)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_programs(item, where)
    elif isinstance(value, str):
        if split_file(value)[0].endswith(".py"):
            raise SolverError(
                f"{where}: the fit names {value!r}, and a fit runs no Python file; register that solver "
                "(diffode.solvers.registry.register), and fit it by its name"
            )
        try:
            parts = [*ast.walk(ast.parse(value.strip(), mode="eval"))]
        except (SyntaxError, ValueError):
            return
        within = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        _refuse_programs([inner for inner in within if inner != value], where)


def base_name(base: str | Solver) -> str:
    """The name by which the file of a fit tells the solver that it is built on.

    Raises
    ------
    SolverError
        If the registry has no such solver under its name.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> base_name(get_solver("ghvb(order=1.5)"))
    'ghvb(order=1.5)'
    """
    from diffode.solvers.registry import get_solver

    rule = get_solver(base)
    try:
        _refuse_programs(rule.name, rule.name)
        known = get_solver(rule.name)
        same = known.rule is rule.rule and known.options == rule.options
    except SolverError:
        same = False
    if not same:
        raise SolverError(
            f"fit: the file of a fit names its base, and {rule.name!r} is not the name of this solver in the registry; "
            "give one of the registry, or register yours (diffode.solvers.registry.register)"
        )
    return rule.name


def _tuples(value: Any) -> Any:
    """Options as rules take them: tuples for the lists of JSON."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def load(path: Path) -> Solver:
    """The solver of a fit's file."""
    return from_content(read(path), str(path))
