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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations_with_replacement, permutations
from typing import Any

import mpmath

from diffode.analysis.order.fixed_point import probe
from diffode.analysis.stochastic import noise_level
from diffode.errors import PlanError
from diffode.plan import BrownianIncrement, Combine, Evaluate, Level, Plan
from diffode.prediction import basis
from diffode.process import EDM, VP, Flow, Process
from diffode.solvers import Solver
from diffode.trace import trace

DIGITS = 70
STEPS = ("1e-9", "1e-10")
_TERMS = 10
"""Terms of the exact series: the first one left out is 1e-90."""
NOTHING = mpmath.mpf(10) ** -55
PROCESSES: tuple[Process, ...] = (VP(), Flow(), EDM())


@dataclass(frozen=True, order=True)
class Coloured:
    """A tree with noise leaves.

    Attributes
    ----------
    times : int
        λ-leaves at the root.
    children : tuple of Coloured
    noise : tuple of int
        Labels of the noise leaves at the root; a label occurs twice in a forest.
    """

    times: int = 0
    children: tuple[Coloured, ...] = ()
    noise: tuple[int, ...] = ()

    @property
    def weight(self) -> int:
        """Twice the weight, a whole number."""
        return 2 + 2 * self.times + len(self.noise) + sum(child.weight for child in self.children)

    def labelled(self, names: Sequence[int]) -> Coloured:
        """With other labels: names[j] for j."""
        children = tuple(sorted(child.labelled(names) for child in self.children))
        return Coloured(self.times, children, tuple(sorted(names[j] for j in self.noise)))

    def __str__(self) -> str:
        leaves = "λ" * self.times + "".join("ξηζωκ"[j] for j in self.noise)
        inside = leaves + "".join(map(str, self.children))
        return f"[{inside}]" if inside else "τ"


@dataclass(frozen=True, order=True)
class Forest:
    """A product of roots, and of noise unknowns themselves, whose expectation is looked at."""

    roots: tuple[Coloured, ...] = ()
    noise: tuple[int, ...] = ()

    @property
    def order(self) -> int:
        """Its weight, the power of h with which its expectation begins."""
        return (len(self.noise) + sum(root.weight for root in self.roots)) // 2

    def labelled(self, names: Sequence[int]) -> Forest:
        """With other labels."""
        return Forest(tuple(sorted(r.labelled(names) for r in self.roots)), tuple(sorted(names[j] for j in self.noise)))

    def __str__(self) -> str:
        return "E " + " ".join([*map(str, self.roots), *("ξηζωκ"[j] for j in self.noise)])


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
        return f"weak order {self.order}" + (f"; {self.failure}" if self.failure else "")


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
    weak order 1; E [λ] at h^2 is 0, should be 1
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
    """Raise PlanError where a rule draws no noise or has a past."""
    plan = probe(solver)
    plan.require_linear("the weak conditions")
    if plan.is_deterministic:
        raise PlanError(f"{solver.name} draws no noise; its order is proved by rooted trees")
    if solver.history or plan.memory.named:
        raise PlanError(
            f"{solver.name} has a past, whose law is no polynomial here; its weak order is measured instead"
        )


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
    series = _series(forest, tau)
    lower = mpmath.fsum(c * h**k for k, c in enumerate(series[:power]))
    found = (_found(solver, PROCESSES[0], forest, h) - lower) / h**power
    return f"{forest} at h^{power} is {mpmath.nstr(found, 6)}, should be {mpmath.nstr(series[power], 6)}"


# --- the exact expectations ---------------------------------------------------------------------------------


def expectation(forest: Forest, tau: float, h: Any) -> Any:
    """The exact expectation of a forest at u = h, at noise level τ."""
    return mpmath.fsum(c * h**k for k, c in enumerate(_series(forest, tau)))


@cache
def _series(forest: Forest, tau: float) -> tuple[Any, ...]:
    r"""Taylor coefficients in u of the exact expectation G, from the generator: with m roots and noise unknowns

    G′ = −m τ² G + (1 + τ²) e^u Σ_roots u^k G(root → its children and leaves) + 2τ² Σ_pairs G(without the pair)
    """
    if not forest.roots and not forest.noise:
        return (mpmath.mpf(1), *[mpmath.mpf(0)] * (_TERMS - 1))
    count = len(forest.roots) + len(forest.noise)
    source = [mpmath.mpf(0)] * _TERMS
    for n, root in enumerate(forest.roots):
        others = forest.roots[:n] + forest.roots[n + 1 :]
        inner = _series(_canonical(Forest(others + root.children, forest.noise + root.noise)), tau)
        growth = [(1 + mpmath.mpf(tau) ** 2) / mpmath.factorial(k) for k in range(_TERMS)]
        product = _times(growth, inner)
        source = [a + b for a, b in zip(source, [mpmath.mpf(0)] * root.times + product, strict=False)]
    for j in set(forest.noise):
        if forest.noise.count(j) == 2:
            rest = Forest(forest.roots, tuple(k for k in forest.noise if k != j))
            inner = _series(_canonical(rest), tau)
            source = [a + 2 * mpmath.mpf(tau) ** 2 * b for a, b in zip(source, inner, strict=True)]
    out = [mpmath.mpf(0)]
    for k in range(_TERMS - 1):
        out.append((source[k] - count * mpmath.mpf(tau) ** 2 * out[k]) / (k + 1))
    return tuple(out)


def _times(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    return [mpmath.fsum(a[i] * b[n - i] for i in range(n + 1)) for n in range(_TERMS)]


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
    unknowns = _unknowns(forest)
    registers: dict[str, list[Polynomial]] = {plan.inputs[0]: [{} for _ in unknowns]}
    for row in plan.rows:
        if isinstance(row, Combine):
            terms = [(c, registers[name]) for c, name in row.terms]
            registers[row.out] = [_sum([(c, x[v]) for c, x in terms]) for v in range(len(unknowns))]
        elif isinstance(row, Evaluate):
            registers[row.out] = _evaluated(row, unknowns, registers[row.x])
        else:
            registers[row.out] = [{((u, row.out),): mpmath.mpf(1)} if isinstance(u, int) else {} for u in unknowns]
    final, sigma = registers[plan.states[-1]], plan.levels[-1].sigma
    product: Polynomial = {(): mpmath.mpf(1)}
    for unknown in (*forest.roots, *forest.noise):
        product = _product(product, _sum([(1 / sigma, final[unknowns.index(unknown)])]))
    return product


def _unknowns(forest: Forest) -> list[Coloured | int]:
    """Every tree inside a forest, and every noise unknown."""
    trees: list[Coloured | int] = []

    def visit(tree: Coloured) -> None:
        for child in tree.children:
            visit(child)
        trees.extend(item for item in (*tree.noise, tree) if item not in trees)

    for root in forest.roots:
        visit(root)
    return [*trees, *(j for j in dict.fromkeys(forest.noise) if j not in trees)]


def _evaluated(row: Evaluate, unknowns: Sequence[Coloured | int], x: Sequence[Polynomial]) -> list[Polynomial]:
    """The network of the test problems, in the prediction that the row asks for."""
    level = row.level
    y = [_sum([(1 / level.sigma, entry)]) for entry in x]
    data: list[Polynomial] = []
    for unknown in unknowns:
        if isinstance(unknown, int):
            data.append({})
            continue
        value: Polynomial = {(): (row.at or level).lam ** unknown.times}
        for leaf in (*unknown.children, *unknown.noise):
            value = _product(value, y[unknowns.index(leaf)])
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


# --- the forests --------------------------------------------------------------------------------------------


@cache
def forests(order: int) -> tuple[Forest, ...]:
    """All products of roots of a weight, their noise leaves paired in every way.

    >>> [str(forest) for forest in forests(1)]
    ['E ξ ξ', 'E τ']
    """
    plain: set[Forest] = set()
    for bare in range(2 * order + 1):
        for roots in _multisets(2 * order - bare, 2 * order):
            leaves = bare + sum(_leaves(root) for root in roots)
            plain.update(_canonical(_paired(roots, bare, pairing)) for pairing in _pairings(tuple(range(leaves))))
    return tuple(sorted(plain))


@cache
def _trees(weight: int) -> tuple[Coloured, ...]:
    """Trees of twice a weight, their noise leaves not yet told apart (all labelled 0)."""
    out: list[Coloured] = []
    for times in range(weight // 2):
        for noise in range(weight - 2 - 2 * times + 1):
            rest = weight - 2 - 2 * times - noise
            out.extend(Coloured(times, tuple(sorted(children)), (0,) * noise) for children in _multisets(rest, rest))
    return tuple(out)


def _multisets(weight: int, largest: int) -> Iterator[tuple[Coloured, ...]]:
    """Multisets of trees with twice a weight in all."""
    if weight == 0:
        yield ()
        return
    for size in range(min(weight, largest), 1, -1):
        for count in range(1, weight // size + 1):
            for chosen in combinations_with_replacement(_trees(size), count):
                for rest in _multisets(weight - count * size, size - 1):
                    yield (*chosen, *rest)


def _leaves(tree: Coloured) -> int:
    return len(tree.noise) + sum(map(_leaves, tree.children))


def _pairings(leaves: tuple[int, ...]) -> Iterator[dict[int, int]]:
    """All ways to give the leaves labels, each to two of them."""
    if not leaves:
        yield {}
    elif len(leaves) % 2 == 0:
        for partner in leaves[1:]:
            rest = tuple(leaf for leaf in leaves[1:] if leaf != partner)
            for others in _pairings(rest):
                label = len(leaves) // 2 - 1
                yield {leaves[0]: label, partner: label, **others}


def _paired(roots: Sequence[Coloured], bare: int, pairing: dict[int, int]) -> Forest:
    """The forest with labels: leaves are counted in the order of a walk."""
    count = iter(range(len(pairing)))

    def walk(tree: Coloured) -> Coloured:
        noise = tuple(pairing[next(count)] for _ in tree.noise)
        return Coloured(tree.times, tuple(walk(child) for child in tree.children), noise)

    walked = tuple(walk(root) for root in roots)
    return Forest(walked, tuple(pairing[next(count)] for _ in range(bare)))


@cache
def _canonical(forest: Forest) -> Forest:
    """One forest for all that differ by the names of labels."""
    labels: set[int] = set(forest.noise)
    for tree in _unknowns(Forest(forest.roots)):
        labels |= set(tree.noise) if isinstance(tree, Coloured) else {tree}
    known = sorted(labels)
    names = [dict(zip(known, order, strict=True)) for order in permutations(range(len(known)))]
    return min(forest.labelled([name.get(j, 0) for j in range(max(known, default=-1) + 1)]) for name in names)
