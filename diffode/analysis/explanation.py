r"""What a solver's error is made of: the leading local error, the parent methods, what a moved coefficient does.

With y = x/σ and λ as variable the flow is y′ = e^λ D. A rule of order p errs in each step by

    h^{p+1} Σ_τ e_τ e^{n(τ) λ} F(τ)/s(τ) + O(h^{p+2})

summed over the rooted trees of at most p + 1 nodes: F(τ) is a product of derivatives of D, n(τ) the number of D in it
(each comes with an e^λ, taken where the step starts), s(τ) the number of the tree's symmetries, and e_τ what the test
system of the tree is off by. Often that sum is one derivative along the
trajectory: then the rule errs only in how it takes the prediction for a polynomial, and the derivative says of what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import factorial
from typing import Any

from diffode.analysis.differentials import LINEAR, differential, evaluations, signed, symmetry
from diffode.analysis.order.fixed_point import probe
from diffode.analysis.order.laboratory import Laboratory
from diffode.analysis.order.modular import PRIME, RoundedLiteral, reconstructed
from diffode.analysis.order.proof import prove_order
from diffode.analysis.order.trees import Tree, exact
from diffode.errors import PlanError
from diffode.plan import Linear
from diffode.solvers import Solver, get_solver
from diffode.trace import Step

SHIFT = 1e-2
"""How far a coefficient is moved, relative to the step's other weights."""


@dataclass(frozen=True)
class Term:
    """One term of the leading local error.

    Attributes
    ----------
    tree : Tree
    weight : Fraction
        e_τ/s(τ), what multiplies e^{nλ} F(τ) h^{p+1}.
    """

    tree: Tree
    weight: Fraction

    @property
    def evaluations(self) -> int:
        """n: how many nodes of the tree are D itself, the others being leaves."""
        return evaluations(self.tree)

    def __str__(self) -> str:
        n = self.evaluations
        power = f"e^({n}λ) " if n > 1 else "e^λ " * n
        return f"{signed(self.weight)} {power}{differential(self.tree)}"


@dataclass(frozen=True)
class Bend:
    """A leading local error that is made of derivatives along the trajectory: h^{p+1} Σ_j C_j d^j q.

    Attributes
    ----------
    constants : mapping
        j → C_j, the highest first.
    quantity : {"D", "ε"}
        The prediction whose derivatives they are.
    variable : {"λ", "ρ"}
        What they are taken in, and the variable in which h is a step.
    power : int
        p + 1.
    """

    constants: Mapping[int, Fraction]
    quantity: str
    variable: str
    power: int

    def __str__(self) -> str:
        scale = "σ_t" if (self.quantity, self.variable) == ("ε", "λ") else "α_t"
        parts = [f"{signed(c)} {self._derivative(j)}" for j, c in self.constants.items()]
        total = " + ".join(parts).replace("+ −", "− ")
        return f"{scale} {'h' if self.variable == 'λ' else 'Δρ'}^{self.power} ({total})"

    def _derivative(self, j: int) -> str:
        power = f"^{j}" if j > 1 else ""
        return f"d{power}{self.quantity}/d{self.variable}{power}" if j else self.quantity


@dataclass(frozen=True)
class Move:
    """What becomes of the order when something is moved.

    Attributes
    ----------
    what : str
    order : int
    reason : str
        The first condition that then fails.
    """

    what: str
    order: int
    reason: str


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes
    ----------
    solver : str
    summary : str
    order : int or None
        The order that was proved; None for a rule with noise.
    error : Bend or None
        The leading local error on equal steps, where it is made of derivatives along the trajectory.
    terms : tuple of Term
        The same tree by tree, largest first.
    parents : tuple of str
        At which options the rule is which other solver.
    moves : tuple of Move
    missed : str
        The first condition that fails, on the steps that the rule claims its order for.
    """

    solver: str
    summary: str
    order: int | None
    error: Bend | None
    terms: tuple[Term, ...]
    parents: tuple[str, ...]
    moves: tuple[Move, ...]
    missed: str = ""

    def __str__(self) -> str:
        lines = [f"{self.solver}: {self.summary}", ""]
        if self.order is None:
            lines.append("It draws noise: its order is measured, and its error is one of laws (diffode verify).")
        elif self.error is not None:
            lines += [
                f"Order {self.order}. One step on equal steps in {self.error.variable} errs by",
                f"    {self.error}  + higher powers,",
                f"that is: all that it gets wrong is how {self.error.quantity} bends along the trajectory.",
            ]
        elif self.terms:
            lines += [
                f"Order {self.order}. One step on equal steps in λ errs in x/σ by h^{self.order + 1} times the sum of",
                *(f"    {term}    {term.tree.name}" for term in self.terms[:6]),
            ]
            if len(self.terms) > 6:
                lines.append(f"    and {len(self.terms) - 6} smaller terms.")
            lines.append("λ, D and its derivatives are those at the step's start, e^λ = α/σ, y = x/σ.")
            lines.append("D_y is the network's Jacobian: terms with it grow with guidance, the others do not.")
        else:
            lines.append(
                f"Order {self.order}. Equal steps show no error at h^{self.order + 1}; others do: it {self.missed}."
            )
        lines += ["", *(self.parents or ("No other solver is a special case of its rule.",))]
        if self.moves:
            lines += ["", "Moved by a hundredth:"]
            lines += [
                f"    {move.what}: order {move.order}" + f"; {move.reason}" * bool(move.reason) for move in self.moves
            ]
        return "\n".join(lines)


def explain(solver: str | Solver) -> Explanation:
    """The leading local error of a solver in words and symbols, its parents, and what moving a coefficient does.

    Parameters
    ----------
    solver : str or Solver

    Returns
    -------
    Explanation

    Examples
    --------
    >>> found = explain("dpmpp_3m_corrected")
    >>> str(found.error)
    'α_t h^4 (−3/8 d^3D/dλ^3)'
    """
    chosen = get_solver(solver)
    plan = probe(chosen)
    plan.require_linear("an explanation")
    if not plan.is_deterministic:
        return Explanation(chosen.name, chosen.summary, None, None, (), _parents(chosen), ())
    proof = prove_order(chosen, spacing="uniform" if chosen.uniform else "rough", variable=_variable(chosen))
    error, terms = leading_error(chosen, proof.order)
    parents, moves = _parents(chosen), tuple(_moves(chosen, proof.order))
    missed = str(proof.failures[0]) if proof.failures else ""
    return Explanation(chosen.name, chosen.summary, proof.order, error, terms, parents, moves, missed)


def _variable(solver: Solver) -> str:
    return solver.uniform or "lam"


def leading_error(solver: Solver, order: int) -> tuple[Bend | None, tuple[Term, ...]]:
    """The leading local error of a rule of an order: as derivatives along the path if it is so made, and by trees."""
    off = _local(solver, order, _variable(solver))
    terms = [Term(tree, e / symmetry(tree, list(off))) for tree, e in off.items() if e]
    terms.sort(key=lambda term: -abs(term.weight))
    if not terms:
        return None, ()
    found: list[Bend] = []
    for quantity, variable in (("D", "lam"), ("ε", "lam"), ("ε", "rho")):
        if variable != _variable(solver):
            if solver.uniform:
                continue
            off = _local(solver, order, variable)
        columns = [_derivative(list(off), j, quantity, variable) for j in range(order, -1, -1)]
        constants = combination(columns, list(off.values()))
        if constants:
            flip = -1 if variable == "rho" else 1  # from −Δρ and d/d(−ρ) to Δρ and d/dρ
            known = {order - i: c * flip ** (2 * order + 1 - i) for i, c in enumerate(constants) if c}
            found.append(Bend(known, quantity, {"lam": "λ", "rho": "ρ"}[variable], order + 1))
    return min(found, key=lambda bend: len(bend.constants), default=None), tuple(terms)


def _local(solver: Solver, order: int, variable: str) -> dict[Tree, Fraction]:
    """What every test system is off by in one step at h^{order + 1}, once what fades has faded."""
    try:
        lab = Laboratory(solver, order + 1, "uniform", variable, numbers="small")
    except RoundedLiteral:
        lab = Laboratory(solver, order + 1, "uniform", variable, numbers="rational")
    found: dict[Tree, Fraction] = {}
    for v, tree in enumerate((*lab.forest, LINEAR)):
        errors = [step[v][order + 1] for step in lab.errors[-4:]]
        settled = _settled([new - old for old, new in pairwise(errors)], lab.process.modular)
        if settled is None:
            raise PlanError(f"{solver.name}: its error constants are no small fractions")
        found[tree] = settled if abs(settled) > 1e-9 else Fraction(0)  # a rounded literal
    return found


def _settled(values: Sequence[Any], modular: bool) -> Fraction | None:
    """Aitken's limit of three values of a sequence that stands, or nears its limit by one ratio."""
    a, b, c = values
    if not modular:
        bend = a - 2 * b + c
        return Fraction((a * c - b * b) / bend if bend else c)
    bend = (a - 2 * b + c) % PRIME
    return reconstructed((a * c - b * b) * pow(bend, -1, PRIME) % PRIME if bend else c % PRIME)


def combination(columns: Sequence[Sequence[Fraction]], total: Sequence[Fraction]) -> tuple[Fraction, ...] | None:
    """The numbers C with Σ_j C_j column_j = total, as few of the later columns as it takes; None if there are none."""
    from sympy import Matrix, Rational

    for count in range(1, len(columns) + 1):
        matrix = Matrix([[Rational(*x.as_integer_ratio()) for x in column] for column in columns[:count]]).T
        right = Matrix([Rational(*x.as_integer_ratio()) for x in total])
        normal = matrix.T * matrix
        if normal.det() == 0:
            continue
        found = normal.LUsolve(matrix.T * right)
        if matrix * found == right:
            return tuple(Fraction(int(x.p), int(x.q)) for x in found)
    return None


def _derivative(forest: Sequence[Tree], order: int, quantity: str, variable: str) -> list[Fraction]:
    """The derivative of D or ε along the exact solution of every test system, in s = λ − λ_0 or 1 − ρ."""
    degree = order + 2
    out: list[Fraction] = []
    for tree, y in zip(forest, exact(forest, degree), strict=True):
        if tree == LINEAR:
            y = [Fraction(1)] + [Fraction(0)] * (degree - 1)
        slope = [(n + 1) * y[n + 1] for n in range(degree - 1)]
        if quantity == "D":
            decay = [Fraction((-1) ** n, factorial(n)) for n in range(degree)]
            jet = [sum((decay[i] * slope[n - i] for i in range(n + 1)), Fraction(0)) for n in range(degree - 1)]
        else:
            jet = [y[n] - slope[n] for n in range(degree - 1)]
        out.append(factorial(order) * (jet[order] if variable == "lam" else _in_rho(jet, order)))
    return out


def _in_rho(jet: Sequence[Fraction], order: int) -> Fraction:
    """[s^order] of a series in u = −log(1 − s)."""
    log = [Fraction(0)] + [Fraction(1, n) for n in range(1, order + 1)]
    power, total = [Fraction(1)] + [Fraction(0)] * order, Fraction(0)
    for c in jet[: order + 1]:
        total += c * power[order]
        power = [sum((power[i] * log[n - i] for i in range(n + 1)), Fraction(0)) for n in range(order + 1)]
    return total


def _parents(solver: Solver) -> tuple[str, ...]:
    """The laws of its rule, in words."""
    found: list[str] = []
    for law in solver.limits:
        options = ", ".join(f"{key}={value!r}" for key, value in law.options.items())
        where = f" on equal steps in {law.uniform}" if law.uniform else ""
        if law.parent != solver.name:
            found.append(f"With {options} its rule is {law.parent}{where}.")
    return tuple(found)


# --- what moves ---------------------------------------------------------------------------------------------


def _moves(solver: Solver, order: int) -> list[Move]:
    """Every weight of the step alone, and against the newest one; every option that is a number."""
    names = ["the newest output", *(f"the output {k} before it" for k in range(1, _weights(solver)))]
    changes: list[tuple[str, Solver]] = [
        (f"the weight of {name}", _moved(solver, {k: SHIFT})) for k, name in enumerate(names)
    ]
    changes += [
        (f"that of {name} against the newest", _moved(solver, {0: SHIFT, k: -SHIFT}))
        for k, name in enumerate(names)
        if k
    ]
    for key, value in solver.options.items():
        if isinstance(value, float) and value:
            low, high = solver.ranges.get(key, (float("-inf"), float("inf")))
            to = value * (1 + SHIFT) if value * (1 + SHIFT) <= high else max(value * (1 - SHIFT), low)
            changes.append(
                (
                    f"{key} from {value:.4g} to {to:.4g}",
                    solver.configure(f"{solver.name} moved", source=None, **{key: to}),
                )
            )
    found: list[Move] = []
    for what, changed in changes:
        uniform = changed.uniform
        proof = prove_order(changed, order, "uniform" if uniform else "rough", uniform or "lam")
        found.append(Move(what, proof.order, str(proof.failures[0]) if proof.failures else ""))
    return found


def _weights(solver: Solver) -> int:
    """How many outputs the new state is made of."""
    counts: list[int] = []

    def watched(step: Step, **options: Any) -> Linear:
        result = solver.rule(step, **options)
        counts.append(len(_outputs(step, result)))
        return result

    prove_order(replace(solver, rule=watched), 1)
    return max(counts)


def _outputs(step: Step, result: Linear) -> list[str]:
    """The registers that the new state is made of besides the states, newest first."""
    made = [row.out for row in step.tracer.rows]
    return sorted((name for name in result.terms if name in made and name[0] in "du"), key=made.index, reverse=True)


def _moved(solver: Solver, by: Mapping[int, float]) -> Solver:
    """The rule with h times something added to the weights of some of its outputs."""

    def rule(step: Step, **options: Any) -> Linear:
        result = solver.rule(step, **options)
        names = _outputs(step, result)
        scale = step.next.alpha if solver.prediction == "x0" else step.next.sigma
        for k, amount in by.items():
            if k < len(names):
                result = result + Linear({names[k]: scale * step.h * amount})
        return result

    wrapped: Callable[..., Linear] = rule
    return replace(solver, name=f"{solver.name} moved", rule=wrapped)
