r"""Weak and strong order conditions of one-step rules that draw noise, by moment expansion.

With y = x/σ the reverse SDE at noise level τ is

    dy = (−τ² y + (1 + τ²) e^λ D(y, λ)) dλ + √2 τ dB_λ.

One test problem for each *coloured* tree: a node is an unknown y_v, started at 0, with D_v = u^k ∏ y_c ∏ w_j,
u = λ − λ_0; its λ-leaves (u) make time count, its noise leaves w_j are unknowns with D = 0 that the noise alone moves.
The noise enters linearly, so that every expectation is a sum over pairs: it is enough that each w_j occurs twice in a
product of roots. A node and a λ-leaf weigh 1, a noise leaf ½.

This is the order of a method for the SDE, from any start. It may be lower than the order of the law that a sampler
puts out: started from the law of the process, every noise level gives the same marginals, and a rule that adds noise of
its own (ancestral sampling) may keep them to a higher order than it follows any one SDE. What
`stochastic.weak_order_mixture` measures is the latter.

A rule has weak order p if and only if the expectation of every product of roots that weighs at most p errs by
O(h^{p+1}). The exact expectations are power series in h, from the generator of the SDE; those of the rule are
polynomials in its increments, in 70 digits, at steps so small that the power of h is read off. Where a rule does not
carry the linear part exactly, what it is off by counts too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath

from diffode.analysis.order.coloured import Coloured, Forest, expectation, forests, series, unknowns
from diffode.analysis.order.fixed_point import probe
from diffode.analysis.stochastic import has_level, noise_level
from diffode.errors import PlanError
from diffode.plan import BrownianIncrement, Combine, Evaluate, Level, Plan
from diffode.prediction import basis
from diffode.process import EDM, VP, Flow, Process
from diffode.solvers import Solver
from diffode.trace import trace

DIGITS = 70
STEPS = ("1e-9", "1e-10")
NOTHING = mpmath.mpf(10) ** -55
PROCESSES: tuple[Process, ...] = (VP(), Flow(), EDM())


@dataclass(frozen=True)
class WeakOrder:
    """What the moments say.

    Attributes
    ----------
    order : int
        The weak order, or the highest that was looked at.
    complete : bool
        True where a condition failed.
    failure : str
        The first condition missed: which expectation, at which power of h, found and wanted.
    conditions : int
        How many expectations were compared, on each of three processes.
    """

    order: int
    complete: bool
    failure: str
    conditions: int

    def __str__(self) -> str:
        return f"weak order {self.order} from any start" + (f"; {self.failure}" if self.failure else "")


@lru_cache(maxsize=64)
def weak_conditions(solver: Solver, highest: int | None = None) -> WeakOrder:
    """The weak order of a one-step rule with noise on every smooth problem, through order 3.

    Parameters
    ----------
    solver : Solver
        Drawing noise, without a past, at a constant noise level.
    highest : int, optional
        The highest order to look at; one more than the claim by default, at most 3.

    Returns
    -------
    WeakOrder

    Raises
    ------
    PlanError
        If the rule has a past (its weak order is measured instead), or draws no noise.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> print(weak_conditions(get_solver("ddpm")))
    weak order 1 from any start; E [ξ] ξ at h^2 is 0.0, should be 2.0
    """
    require_one_step(solver)
    highest = min(highest or int(solver.order) + 1, 3)
    wanted = [forest for order in range(1, highest + 1) for forest in forests(order)]
    tau = noise_level(solver, EDM())
    with mpmath.workdps(DIGITS):
        carried = _carries(solver, tau)
        missed = {forest: power for forest in wanted if (power := error_power(solver, forest, tau)) is not None}
        reached = min([power for power in missed.values() if power <= highest], default=highest + 1) - 1
        failure = next((_told(solver, f, p, tau) for f, p in missed.items() if p == reached + 1), "")
    if carried < reached:
        reached, failure = carried, f"the linear part is carried to O(h^{carried + 1}) only"
    return WeakOrder(reached, bool(failure), failure, len(wanted) + 1)


def require_one_step(solver: Solver) -> None:
    """Raise PlanError where a rule draws no noise, has a past, or changes its noise level as it goes."""
    plan = probe(solver)
    plan.require_linear("the weak conditions", homogeneous=True)
    if plan.is_deterministic:
        raise PlanError(f"{solver.name} draws no noise; its order is proved by rooted trees")
    if solver.history or plan.memory.named:
        raise PlanError(
            f"{solver.name} has a past, whose law is no polynomial here; its weak order is measured instead"
        )
    if not has_level(solver, EDM()):
        raise PlanError(f"{solver.name} has a noise level that changes with λ; the conditions are about a constant one")


def error_power(solver: Solver, forest: Forest, tau: float) -> int | None:
    """The lowest power of h at which the expectation errs on some process; None where it does not."""
    powers: list[int] = []
    for process in PROCESSES:
        errors = [abs(_found(solver, process, forest, h) - expectation(forest, tau, h)) for h in map(mpmath.mpf, STEPS)]
        if errors[1] > NOTHING * mpmath.mpf(STEPS[1]) ** forest.order:
            powers.append(round(float(mpmath.log10(errors[0] / errors[1]))))
    return min(powers, default=None)


def _told(solver: Solver, forest: Forest, power: int, tau: float) -> str:
    h = mpmath.mpf(STEPS[1])
    wanted = series(forest, tau)
    lower = mpmath.fsum(c * h**k for k, c in enumerate(wanted[:power]))
    found = (_found(solver, PROCESSES[0], forest, h) - lower) / h**power
    return f"{forest} at h^{power} is {mpmath.nstr(found, 6)}, should be {mpmath.nstr(wanted[power], 6)}"


# --- the expectations of a rule -----------------------------------------------------------------------------

Polynomial = dict[tuple[tuple[int, str], ...], Any]
"""Coefficients of products of increments (label, row), each label at most twice."""


@dataclass(frozen=True)
class _Levels:
    process: Process
    levels: tuple[Level, ...]


@lru_cache(maxsize=64)
def one_step(solver: Solver, process: Process, h: Any) -> Plan:
    """The plan of one step from λ = 0 to h."""
    grid = _Levels(process, tuple(process.level(lam=lam) for lam in (0 * h, h)))
    return trace(solver, grid, open_end=True)


def _found(solver: Solver, process: Process, forest: Forest, h: Any) -> Any:
    """The expectation after one step of length h from λ = 0, all unknowns starting at 0."""
    plan = one_step(solver, process, h)
    return _expectation(final_product(plan, forest), shared(plan))


def final_product(plan: Plan, forest: Forest) -> Polynomial:
    """The product of a forest's unknowns y = x/σ after a plan, as a polynomial in its increments."""
    known = unknowns(forest)
    registers: dict[str, list[Polynomial]] = {plan.inputs[0]: [{} for _ in known]}
    for row in plan.rows:
        if isinstance(row, Combine):
            terms = [(c, registers[name]) for c, name in row.terms]
            registers[row.out] = [_sum([(c, x[v]) for c, x in terms]) for v in range(len(known))]
        elif isinstance(row, Evaluate):
            registers[row.out] = _evaluated(row, known, registers[row.x])
        else:
            registers[row.out] = [{((u, row.out),): mpmath.mpf(1)} if isinstance(u, int) else {} for u in known]
    final, sigma = registers[plan.states[-1]], plan.levels[-1].sigma
    product: Polynomial = {(): mpmath.mpf(1)}
    for unknown in (*forest.roots, *forest.noise):
        product = _product(product, _sum([(1 / sigma, final[known.index(unknown)])]))
    return product


def _evaluated(row: Evaluate, known: Sequence[Coloured | int], x: Sequence[Polynomial]) -> list[Polynomial]:
    """The network of the test problems, in the prediction that the row asks for."""
    level = row.level
    y = [_sum([(1 / level.sigma, entry)]) for entry in x]
    data: list[Polynomial] = []
    for unknown in known:
        if isinstance(unknown, int):
            data.append({})
            continue
        value: Polynomial = {(): (row.at or level).lam ** unknown.times}
        for leaf in (*unknown.children, *unknown.noise):
            value = _product(value, y[known.index(leaf)])
        data.append(value)
    if row.prediction == "x0":
        return data
    q1, q2 = basis(row.prediction, level)
    return [_sum([(q1 - q2 * level.alpha / level.sigma, d), (q2, v)]) for d, v in zip(data, y, strict=True)]


def _sum(terms: Sequence[tuple[Any, Polynomial]]) -> Polynomial:
    out: Polynomial = {}
    for c, polynomial in terms:
        for monomial, value in polynomial.items():
            out[monomial] = out.get(monomial, 0) + c * value
    return out


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            monomial = tuple(sorted(left + right))
            out[monomial] = out.get(monomial, 0) + x * y
    return out


def shared(plan: Plan) -> dict[frozenset[str], Any]:
    """Covariances of the increments of a plan, where they are not 0."""
    rows = [row for row in plan.noises if isinstance(row, BrownianIncrement)]
    return {frozenset((row.out, name)): c for row in rows for name, c in row.covariances}


def _expectation(polynomial: Polynomial, covariances: Mapping[frozenset[str], Any]) -> Any:
    """Each label's two increments give their covariance; a monomial where one stands alone gives nothing."""
    total = mpmath.mpf(0)
    for monomial, value in polynomial.items():
        labels = [label for label, _ in monomial]
        if any(labels.count(label) != 2 for label in labels):
            continue
        for (_, one), (_, two) in zip(monomial[::2], monomial[1::2], strict=True):
            value = value * (1 if one == two else covariances.get(frozenset((one, two)), 0))
        total = total + value
    return total


def _carries(solver: Solver, tau: float) -> int:
    """The order to which a rule carries an unknown with D = 0 along, at the end and wherever the network sees it."""
    order = 99
    for process in PROCESSES:
        gaps: list[tuple[Any, ...]] = []
        for h in map(mpmath.mpf, STEPS):
            plan = one_step(solver, process, h)
            y = _linear_part(plan)
            looks = [row for row in plan.rows if isinstance(row, Evaluate)]
            seen = [y[row.x] / row.level.sigma - _decay(row.level, tau) for row in looks]
            last = plan.levels[-1]
            gaps.append((*seen, (y[plan.states[-1]] / last.sigma - _decay(last, tau)) / h))
        for coarse, fine in zip(*gaps, strict=True):
            if abs(fine) > NOTHING:
                order = min(order, round(float(mpmath.log10(abs(coarse / fine)))))
    return order


def _decay(level: Level, tau: float) -> Any:
    return mpmath.exp(-(mpmath.mpf(tau) ** 2) * level.lam)


def _linear_part(plan: Plan) -> dict[str, Any]:
    """Every register where D = 0 and the noise is 0, from y = 1."""
    x = {plan.inputs[0]: plan.levels[0].sigma}
    for row in plan.rows:
        if isinstance(row, Combine):
            x[row.out] = mpmath.fsum(c * x[name] for c, name in row.terms)
        elif isinstance(row, Evaluate):
            x[row.out] = basis(row.prediction, row.level)[1] * x[row.x] / row.level.sigma
        else:
            x[row.out] = mpmath.mpf(0)
    return x
