r"""The order of a step rule, proved from the outside.

One step rule is traced with power series in h over a generic process and run on the test systems of `trees`. With E(n)
the error after n free steps from an exact past and c_k(n) its coefficient of h^k,

    order = min_k (k − deg_n c_k):

a coefficient that grows with the number of steps loses one order, one that stays bounded loses none (the predicted
value of a predictor–corrector), one that grows with its square (a hidden state that drifts) loses two. Everything is an
identity between rationals, tested at random values modulo a prime.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, zip_longest
from math import ceil
from pathlib import Path
from typing import Any

from diffode.analysis.order.fixed_point import probe, rates
from diffode.analysis.order.laboratory import Laboratory
from diffode.analysis.order.modular import PRIME, RoundedLiteral, reconstructed, residue
from diffode.analysis.order.trees import Tree, density
from diffode.errors import PlanError, SolverError, placed, unknown
from diffode.kinds import WORDS
from diffode.solvers import Solver, get_solver

SPACINGS = ("rough", "smooth", "uniform")
VARIABLES = ("lam", "rho", "t", "sigma")


@dataclass(frozen=True)
class Failure:
    """The first condition that a rule misses.

    Attributes
    ----------
    tree : Tree
    power : int
        The power of h.
    found, wanted : Fraction
        The weight that the rule gives to the tree there, and the exact one, for a small rational process.
    """

    tree: Tree
    power: int
    found: Fraction
    wanted: Fraction

    def __str__(self) -> str:
        what = f"fails the tree {self.tree.name} at h^{self.power}"
        if self.tree.shifts:
            return f"{what}: the linear part is not carried exactly (weight {self.found}, should be {self.wanted})"
        if self.tree.times and not self.tree.children:
            weight = "Σ b" if self.tree.times == 0 else "Σ b c" if self.tree.times == 1 else f"Σ b c^{self.tree.times}"
            return f"{what}: the quadrature {weight} is {self.found}, should be {self.wanted}"
        return f"{what}: its weight is {self.found}, should be {self.wanted}"


@dataclass(frozen=True)
class OrderProof:
    """What the proof found on one kind of grid.

    Attributes
    ----------
    order : int
        The order, or the highest that was looked at if no condition failed.
    complete : bool
        True where a condition failed, so that the order is known exactly.
    failures : tuple of Failure
        All conditions missed at the first power that fails, smallest tree first.
    spacing, variable : str
        The grid: "rough", "smooth" or "uniform" steps in a variable.
    conditions : int
        How many coefficients were compared.
    chance : float
        Bound on the chance that an identity holds at the random values without holding (Schwartz–Zippel).
    evidence : Laboratory or None
        The run behind it; None where there was none.
    """

    order: int
    complete: bool
    failures: tuple[Failure, ...]
    spacing: str
    variable: str
    conditions: int
    chance: float
    evidence: Laboratory | None = field(compare=False, repr=False)

    def __repr__(self) -> str:
        beyond = f"; {self.failures[0]}" if self.failures else ""
        kind = "" if self.complete else "at least "
        return f"<order {kind}{self.order} on {self.spacing} steps in {self.variable}{beyond}>"

    @property
    def grounds(self) -> str:
        """What it rests on, in words."""
        return f"{self.conditions} conditions, chance of a false identity below {self.chance:.0e}"

    def as_dict(self) -> dict[str, Any]:
        """What was proved, as a certificate carries it."""
        return {
            "order": self.order, "complete": self.complete, "spacing": self.spacing, "variable": self.variable,
            "conditions": self.conditions, "chance": self.chance,
            "failures": [
                {"tree": f.tree.name, "power": f.power, "found": str(f.found), "wanted": str(f.wanted)}
                for f in self.failures
            ],
        }  # fmt: skip

    def to_json(self, path: str | Path | None = None) -> str:
        """The proof as JSON, which `python checker.py FILE` accepts or rejects without this package."""
        from diffode.analysis.order.writing import written

        text = written(self)
        if path is not None:
            placed(path).write_text(text, encoding="utf-8")
        return text


def prove(
    solver: str | Solver,
    highest: int | None = None,
    spacing: str | None = None,
    variable: str | None = None,
    seed: int = 0,
) -> OrderProof:
    """The proof of a solver's order, on the grids that it claims its order for.

    Parameters
    ----------
    solver : str or Solver
        A name, a solver, or a file.
    highest : int, optional
        The highest order to look at; one more than the claim by default.
    spacing : {"rough", "smooth", "uniform"}, optional
        Steps with random ratios, with ratios 1 + O(h), or equal; by default rough, equal where the solver says so.
    variable : {"lam", "rho", "t", "sigma"}, optional
        The variable in which the spacing holds.
    seed : int
        Where the random values come from, with the solver's name.

    Returns
    -------
    OrderProof
        `.order`, `.failures`, `.to_json(path)`.

    Examples
    --------
    >>> import diffode as de
    >>> de.prove("dpmpp_3m_corrected").order
    3
    """
    chosen = get_solver(solver)
    spacing = spacing or ("uniform" if chosen.uniform else "rough")
    variable = variable or chosen.uniform or "lam"
    variable = WORDS.get(variable, variable)
    for what, value, known in (("spacing", spacing, SPACINGS), ("variable", variable, VARIABLES)):
        if value not in known:
            raise SolverError(f"prove: {unknown(what, value, known)}")
    if highest is not None and (isinstance(highest, bool) or not isinstance(highest, int) or not 0 < highest <= 12):
        raise SolverError(f"prove: highest must be a whole number from 1 to 12, not {highest!r}")
    return prove_order(chosen, highest, spacing, variable, seed)


def prove_order(
    solver: Solver, highest: int | None = None, spacing: str = "rough", variable: str = "lam", seed: int = 0
) -> OrderProof:
    """The order of a solver on every smooth problem and every process.

    Parameters
    ----------
    solver : Solver
        Deterministic.
    highest : int, optional
        The highest order to look at; one more than the claim by default.
    spacing : {"rough", "smooth", "uniform"}
        Steps with random ratios, with ratios 1 + O(h), or equal.
    variable : {"lam", "rho", "t", "sigma"}
        The variable in which the spacing holds.
    seed : int
        Where the random values come from.

    Returns
    -------
    OrderProof

    Raises
    ------
    PlanError
        If the rule draws noise or has `Dynamic` rows.
    BranchError
        If the rule branches on the value of a coefficient.

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> proof = prove_order(get_solver("dpmpp_3m"))
    >>> print(proof.order, proof.failures[0])
    2 fails the tree [λλ] at h^3: the quadrature Σ b c^2 is 1/6, should be 1/3
    """
    highest = highest or ceil(solver.order) + 1
    if not probe(solver).is_deterministic:
        raise PlanError(f"{solver.name} draws noise; its order is measured, not proved")
    if solver.options.get("variable") is not None and not solver.history:
        from diffode.analysis.order.butcher import prove_by_tableau

        if (proof := prove_by_tableau(solver, highest, spacing, variable)) is not None:
            return proof
    lab = Laboratory(solver, highest, spacing, variable, seed)
    conditions = len(lab.forest) * (highest + 1)
    chance = conditions * 4 * (highest + 2) ** 2 / PRIME
    rounded = False
    for power in range(1, highest + 2):
        missed = [tree for v, tree in enumerate(lab.forest) if any(step[v][power] != 0 for step in lab.errors)]
        failures = _failures(lab, power, missed)
        if not failures:
            rounded = rounded or bool(missed)
            continue
        # what rounded literals leave at lower powers accumulates at the higher ones, and says nothing there
        drifts = 1 + sum(abs(rate - 1) < 0.05 for rate in rates(solver))
        first = growth(lab, power)
        if rounded:
            first = drifts if first is None else min(drifts, first)
        if first is None:
            raise PlanError(f"{solver.name}: how its error grows cannot be told in {lab.free} steps")
        later = () if rounded else ((k, growth(lab, k)) for k in range(power + 1, highest + 2))
        order = min(power - first, *(k - grows for k, grows in later if grows is not None), highest)
        if order >= highest:
            break
        return OrderProof(order, True, failures, spacing, variable, conditions, chance, lab)
    return OrderProof(highest, False, (), spacing, variable, conditions, chance, lab)


def growth(lab: Laboratory, power: int) -> int | None:
    """The degree in the number of steps of the error at h^power; None where more steps would be needed to tell.

    It is looked at once in a period of the steps, where it is Σ_j ρ_j^m q_j(m) with polynomials q_j: what belongs to
    ρ = 1 grows with its degree, what is made afresh in each step has other ρ, and fades.
    """
    sampled = lab.errors[:: -lab.period][::-1]
    degrees = [degree([step[v][power] for step in sampled]) for v in range(len(lab.forest))]
    return None if None in degrees else max(d or 0 for d in degrees)


def degree(values: Sequence[int]) -> int | None:
    """The degree of the polynomial among Σ_j ρ_j^m q_j(m), m = 0, 1, …, modulo the prime; None if m ends too early.

    Any n values have a recurrence of n/2 terms (Berlekamp and Massey find the shortest); a shorter one is no accident.

    >>> degree([1, 4, 9, 16, 25, 36, 49]), degree([3, 5, 9, 17, 33]), degree([1, 4, 9, 16, 25]), degree([0, 0, 0])
    (2, 0, None, 0)
    """
    c, before, length, shift, last = [1], [1], 0, 1, 1
    for n in range(len(values)):
        off = sum(a * values[n - i] for i, a in enumerate(c)) % PRIME
        if off:
            share, longer = off * pow(last, -1, PRIME), [0] * shift + before
            new = [(a - share * b) % PRIME for a, b in zip_longest(c, longer, fillvalue=0)]
            if 2 * length <= n:
                length, before, last, shift = n + 1 - length, c, off, 0
            c = new
        shift += 1
    if 2 * length >= len(values):
        return None
    roots = 0
    while not sum(c) % PRIME:  # 1 − x divides it
        c, roots = [*accumulate(c)][:-1], roots + 1
    return max(roots - 1, 0)


def _failures(lab: Laboratory, power: int, missed: Sequence[Tree]) -> tuple[Failure, ...]:
    """The conditions missed at a power, with weights that can be read: those of a small rational process.

    What differs by rounding only does so because the rule's literals are rounded; that is no failure.
    """
    # a tree with just so many nodes says most: its weight is one number for every process
    if not missed:
        return ()
    telling = sorted(missed, key=lambda tree: (tree.size != power, len(tree.children), tree.size))[:3]
    attempts = [(spacing, ("small", "rational")) for spacing in dict.fromkeys(("uniform", lab.spacing))]
    for spacing, kinds in [*attempts, (lab.spacing, ("dense",))]:
        pairs = None
        for numbers in kinds:
            with suppress(RoundedLiteral):
                small = Laboratory(lab.solver, lab.highest, spacing, lab.variable, lab.seed, numbers, telling)
                pairs = [_weights(small, tree, power) for tree in telling]
                if None not in pairs:
                    break
        found = [
            Failure(tree, power, *pair)
            for tree, pair in zip(telling, pairs or (), strict=True)
            if pair is not None and abs(pair[0] - pair[1]) > 1e-9
        ]
        if found:
            return tuple(found)
    return ()


def _weights(lab: Laboratory, tree: Tree, power: int) -> tuple[Fraction, Fraction] | None:
    """The weight that a tree gets and the exact one, after the first step where they differ; None if not small."""
    v, modular = lab.forest.index(tree), lab.process.modular
    number: Any = reconstructed if modular else Fraction
    wanted = density(lab.forest, v) if tree.size == power else None
    for n, step in enumerate(lab.errors):
        off = step[v][power]
        if off == 0:
            continue
        right = lab.solution_after(n + 1)[v][power]
        found = right + off
        if wanted is not None and right:
            found = found * residue(wanted) * pow(right, -1, PRIME) if modular else found * wanted / right
            right = residue(wanted) if modular else wanted
        pair = number(found), number(right)
        return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])
    return Fraction(0), Fraction(0)
