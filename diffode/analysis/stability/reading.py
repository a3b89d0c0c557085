r"""The recursion that a rule becomes on a linear test problem, read off its plan as a polynomial P(w, z).

On a linear problem one step is a matrix M on (state, what the rule remembers), with entries polynomial in z; every
method has then one polynomial P(w, z) = det(w − M(z)), and is stable at z where P(·, z) fulfils the root condition.
Which problem, depends on where a rule lives.

    linear        dy/dc = ζ y in the rule's own variable c, z = ζ Δc. For Runge–Kutta, Adams and momentum in ρ, with
                  y = x/α and dy/dρ = ε, this is the classical polynomial at every step size. A rule that uses
                  exponentials becomes this one as its linear part vanishes beside ζ: h → 0 with z = ζ h held.
    semilinear    u′ = −c u + b u in λ, in the plane (c h, b h): the rule integrates −c u exactly and sees b u as the
                  network's output. Data prediction: u = x/α, u′ = −u + D, D = b u, c = 1. Noise prediction: u = x/σ,
                  u′ = u − ε, −ε = b u, c = −1. With noise at level τ both D and −ε count 1 + τ² times, and c of the
                  data prediction is 1 + τ²; what is asked is the stability of the mean.

At c h = 0 the two are one, and the polynomial is exact: the rule is traced with rational power series in h, and what is
left at h = 0 is rational. At c h ≠ 0 its coefficients hold e^h; they are computed in 60 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import factorial, inf, isfinite
from typing import Any

import numpy as np

from diffode.analysis.order.fixed_point import Levels, one_step, probe
from diffode.analysis.order.jets import JetProcess
from diffode.analysis.stability.polynomials import Polynomial, Scalar, add, characteristic, multiply, scale, trim
from diffode.analysis.stability.recursion import Recursion
from diffode.analysis.stochastic import noise_level
from diffode.errors import BranchError, PlanError
from diffode.kinds import WORDS, Number
from diffode.plan import Combine, Evaluate, Level, Plan
from diffode.prediction import change
from diffode.process import EDM
from diffode.series import Series, rational
from diffode.solvers import Solver

DIGITS = 60
"""In which coefficients that are not rational are computed."""

_TINY, _MANY = 60, 200
"""Where a rule has no series in h (the square root of a noise): the step 10^−60 in 200 digits stands for h → 0."""

Rows = list[Polynomial]
"""Coefficients of w^0, w^1, …, each a polynomial in z."""

Matrix = list[list[Polynomial]]


@lru_cache(maxsize=256)
def recursion(solver: Solver, ch: float = 0.0, ratio: Any = 1, variable: str | None = None) -> Recursion:
    """The recursion of a rule in the middle of a run, on equal steps or on steps of a constant ratio.

    Parameters
    ----------
    solver : Solver
    ch : float
        c h of the semilinear test; 0 is the linear one. Positive ch is a step towards the data for a data prediction,
        a step back towards the noise for a noise prediction.
    ratio : number
        Length of a step over that of the step before. Other than 1 at ch = 0 only, and z belongs to the newest step:
        the matrix of one step, its ratio held ("frozen coefficients").
    variable : {"rho", "lam" or "lambda"}, optional
        Asks for the linear test on equal steps of any length in this variable, with y = x/α and dy/dρ = ε or
        dy/dλ = −ρ ε. By default the limit h → 0, which is the same in every variable, and for a rule that has such a
        variable of its own the same at every length.

    Returns
    -------
    Recursion

    Examples
    --------
    >>> from diffode.solvers import get_solver
    >>> print(recursion(get_solver("unipc_1")))
    w^2 - (1 + 3/2 z) w + 1/2 z

    Raises
    ------
    PlanError
        If the plan has `Dynamic` rows, or the rule differs from one equal step to the next, or with their length where
        a variable is given.
    """
    if not isfinite(ch):
        raise PlanError(f"stability: ch must be a finite number, not {ch}")
    if not 0 < ratio < inf:
        raise PlanError(f"stability: ratio must be a positive number, not {ratio}")
    if ch and ratio != 1:
        raise PlanError(f"stability: ratio={ratio} goes with the linear test; leave out ch={ch}")
    variable = WORDS.get(variable or "", variable)
    if variable not in (None, "rho", "lam"):
        raise PlanError(f"stability: variable must be 'rho' or 'lam', not {variable!r}")
    if variable and (ch or ratio != 1):
        raise PlanError(
            f"stability: variable={variable!r} goes with equal steps of the linear test; leave out the rest"
        )
    probe(solver).require_linear("stability")
    with np.errstate(all="ignore"):
        if variable:
            rows, exact = _in_variable(solver, variable)
        else:
            rows, exact = _at(solver, ch) if ch else _classical(solver, rational(ratio))
    while not trim(rows[0]):
        rows = rows[1:]
    return Recursion(tuple(tuple(trim(row)) or (Fraction(0),) for row in rows), solver.name, ch, exact)


def _weight(solver: Solver) -> float:
    """1 + τ², how often the network counts in the mean."""
    tau = 0.0 if probe(solver).is_deterministic else noise_level(solver, EDM())
    return 1 + tau * tau


def sampling_sign(solver: Solver) -> int:
    """The sign of c h on a step towards the data: +1, or −1 where the rule predicts the noise."""
    return -1 if _frame(solver) == "eps" else 1


Slopes = Callable[[str, Level], tuple[Number, Number]]
"""(prediction, level) → (A, B): the network's output is (A + B z) x there."""


def _frame(solver: Solver) -> str:
    """Whose equation is the test's: the rule's own prediction, or that of the data."""
    return "eps" if solver.prediction == "eps" else "x0"


def _slopes(frame: str, length: Number) -> Slopes:
    """The output of a network with D = b u or −ε = b u, b = z/length, as any prediction tells it."""

    def slopes(prediction: str, level: Level) -> tuple[Number, Number]:
        own = 1 / (level.alpha * length) if frame == "x0" else -1 / (level.sigma * length)
        a, b = change(frame, prediction, level)
        return a, b * own

    return slopes


def transition(plan: Plan, slopes: Slopes) -> Matrix:
    """One step as a matrix on (state, memory), its entries polynomials in z; noise has mean 0 and is left out.

    Parameters
    ----------
    plan : Plan
        One step, with the memory as inputs.
    slopes : callable
        What the network is.
    """
    registers: dict[str, dict[str, Polynomial]] = {name: {name: [1]} for name in plan.inputs}
    for row in plan.rows:
        total: dict[str, Polynomial] = {}
        if isinstance(row, Combine):
            for c, name in row.terms:
                for held, p in registers[name].items():
                    total[held] = add(total.get(held, []), scale(p, c))
        elif isinstance(row, Evaluate):
            a, b = slopes(row.prediction, row.at or row.level)
            total = {held: multiply([a, b], p) for held, p in registers[row.x].items()}
        registers[row.out] = total
    outputs = [plan.states[-1], *(plan.memory.registers() if plan.memory else ())]
    return [[registers[out].get(name, []) for name in plan.inputs] for out in outputs]


def _read(matrix: Matrix, zero: Callable[[Scalar], bool]) -> Matrix:
    """Without what is remembered but never reaches the state again."""
    kept = {0}
    while True:
        more = kept | {
            j for i in kept for j in range(len(matrix)) if any(not zero(c) for c in matrix[i][j])
        }  # fmt: skip
        if more == kept:
            order = sorted(kept)
            return [[matrix[i][j] for j in order] for i in order]
        kept = more


def _offsets(solver: Solver, q: Any, ahead: int) -> list[Any]:
    """Where the levels lie, in steps: `history + 2` before the base at 0, then 1, …"""
    out: list[Any] = [0]
    for k in range(1, solver.history + 3):
        out.insert(0, out[0] - Fraction(1) / q**k)
    for k in range(ahead):
        out.append(out[-1] + q**k)
    return out


# --- the classical limit ----------------------------------------------------------------------------------


def _classical(solver: Solver, q: Any) -> tuple[Rows, bool]:
    """The polynomial at h → 0 with z = b h held."""
    for extra in (6, 16):
        try:
            rows = _limit(solver, q, solver.history + extra)
            return [[_recognised(c)[0] for c in row] for row in rows], True  # nodes may be irrational
        except IndexError:  # the series were too short: a rule that divides by high powers of h
            continue
        except (ArithmeticError, BranchError, TypeError):  # no series: noise has square roots, a rule may branch
            break
    return _tiny_step(solver, q)


def series_step(solver: Solver, q: Any, degree: int) -> tuple[Plan, Slopes]:
    """One step with coefficients that are rational power series in h, on a process with α = 1 and t = σ = e^{−λ}."""
    zeros = (Fraction(0),) * degree
    falling = tuple(Fraction((-1) ** j, factorial(j)) for j in range(degree + 1))
    process = JetProcess((Fraction(1), *zeros), falling, degree, False)
    h = process.variable()
    levels = tuple(process.level(lam=h * c if c else h * 0) for c in _offsets(solver, q, 1))
    plan = one_step(solver, Levels(process, levels), solver.history + 2, probe(solver).memory)
    return plan, _slopes(_frame(solver), h * rational(_weight(solver)))


def _limit(solver: Solver, q: Any, degree: int) -> Rows:
    matrix = _constant_terms(_read(transition(*series_step(solver, q, degree)), _vanishes))
    return characteristic(matrix, add, multiply, lambda p, j: scale(p, Fraction(1, j)), [Fraction(1)])


def _vanishes(c: Scalar) -> bool:
    return not c.coefficients if isinstance(c, Series) else c == 0


def _constant_terms(matrix: Matrix) -> Matrix:
    """The limit h → 0, every register in the power of h that keeps it finite (an output b u grows as 1/h)."""
    size = range(len(matrix))

    def lowest(p: Polynomial) -> float:
        found = [c.valuation if isinstance(c, Series) else 0 for c in p if not _vanishes(c)]
        return min(found, default=inf)

    units = [0.0] + [inf] * (len(matrix) - 1)
    for turn in range(len(matrix) + 1):
        lower = [min([units[i], *(lowest(matrix[i][j]) + units[j] for j in size)]) for i in size]
        if turn == len(matrix) and lower != units:
            raise PlanError("stability: the rule keeps a value that grows without bound as h → 0")
        units = lower

    kept = [i for i in size if isfinite(units[i])]
    return [[[constant_term(c, int(units[i] - units[j])) for c in matrix[i][j]] for j in kept] for i in kept]


def constant_term(c: Scalar, power: int = 0) -> Fraction:
    """The coefficient of a power of h; IndexError where the series is too short to tell."""
    if isinstance(c, Series):
        return Fraction(c[power]) if c.coefficients or c.degree <= power else Fraction(0)
    return Fraction(c) if power == 0 else Fraction(0)


def _tiny_step(solver: Solver, q: Any) -> tuple[Rows, bool]:
    """The same from one step of 10^−60; its coefficients are recognised as rational numbers where they are."""
    import mpmath

    with mpmath.workdps(_MANY):
        h = mpmath.mpf(10) ** -_TINY
        slopes = _slopes(_frame(solver), h * _weight(solver))
        rows = _numbers(solver, _placed("lam", h, _offsets(solver, q, 1)), slopes)
        return _recognised_all(rows)


def _recognised_all(rows: Rows) -> tuple[Rows, bool]:
    recognised = [[_recognised(c) for c in row] for row in rows]
    return [[c for c, _ in row] for row in recognised], all(sure for row in recognised for _, sure in row)


def _recognised(c: Any) -> tuple[Fraction, bool]:
    """The simple fraction that a number is within 10^−40 of; else the number itself."""
    value = _fraction(c)
    simple = value.limit_denominator(10**12)
    sure = abs(simple - value) < Fraction(1, 10**40)
    return (simple if sure else value), sure


def _fraction(c: Any) -> Fraction:
    if isinstance(c, (int, Fraction)):
        return Fraction(c)
    sign, mantissa, exponent, _ = c._mpf_
    return (-1) ** sign * int(mantissa) * Fraction(2) ** int(exponent)


# --- the semilinear test ------------------------------------------------------------------------------------


def _at(solver: Solver, ch: float) -> tuple[Rows, bool]:
    import mpmath

    weight = _weight(solver)
    rate = weight if _frame(solver) == "x0" else -1.0
    with mpmath.workdps(DIGITS):
        exact = Fraction(rational(float(ch)))  # 0.4 is what was typed, here and where an interval begins
        h = mpmath.mpf(exact.numerator) / exact.denominator / rate
        grown = 1 if _frame(solver) == "x0" else mpmath.exp(-h)  # how x grows where u stays
        rows = _numbers(
            solver, _placed("lam", h, _offsets(solver, 1, 2)), _slopes(_frame(solver), h * weight), "lam", grown
        )
        floor = max(abs(c) for row in rows for c in row) * mpmath.mpf(10) ** -50
        return [[_fraction(c) if abs(c) > floor else Fraction(0) for c in row] for row in rows], False


def _in_variable(solver: Solver, variable: str) -> tuple[Rows, bool]:
    """The linear test on equal steps of two lengths; they must agree."""
    import mpmath

    found: list[Rows] = []
    with mpmath.workdps(DIGITS):
        for length in (mpmath.mpf(1), mpmath.mpf(1) / 3):
            levels = _placed(variable, length, _offsets(solver, 1, 2))
            if variable == "lam":
                slopes = _slopes("eps", length * _weight(solver))
            else:
                slopes = _slopes_in_rho(-length * _weight(solver))
            found.append(_numbers(solver, levels, slopes, variable, 1))
        pairs = ((a, b) for p, q in zip(*found, strict=True) for a, b in zip(p, q, strict=True))
        if any(abs(a - b) > mpmath.mpf(10) ** -40 for a, b in pairs):
            raise PlanError(
                f"stability: {solver.name} on equal steps in {variable} depends on their length; give ch for the "
                "semilinear test, or leave out variable for the limit"
            )
        return _recognised_all(found[0])


def _slopes_in_rho(length: Number) -> Slopes:
    """The output of a network with ε = ζ y, ζ = z/Δρ, as any prediction tells it."""

    def slopes(prediction: str, level: Level) -> tuple[Number, Number]:
        a, b = change("eps", prediction, level)
        return a, b / (level.alpha * length)

    return slopes


def _placed(variable: str, length: Any, offsets: Sequence[Any]) -> tuple[Level, ...]:
    """Levels on equal steps towards the data, α = 1, in mpmath's numbers."""
    process, far = EDM(), len(offsets) + 1
    places = [length * c.numerator / c.denominator for c in map(Fraction, offsets)]
    return tuple(process.level(rho=far - place) if variable == "rho" else process.level(lam=place) for place in places)


def _numbers(
    solver: Solver, levels: tuple[Level, ...], slopes: Slopes, variable: str = "lam", grown: Any = None
) -> Rows:
    """det(w − M) in mpmath's numbers: of one step, or of each of equal ones (`grown`: how x grows where u stays)."""
    import mpmath

    grid, shape = Levels(EDM(), levels), probe(solver).memory
    one, floor = mpmath.mpf(1), mpmath.mpf(10) ** (-mpmath.mp.dps + 10)

    def matrix(n: int) -> Matrix:
        found = transition(one_step(solver, grid, n, shape), slopes)
        return _read([[scale(p, one) for p in row] for row in found], lambda c: abs(c) <= floor)

    first = matrix(solver.history + 2)
    if grown is not None:
        units = _units(solver, first, matrix(solver.history + 3), grown, variable)
        first = [[scale(p, 1 / unit) for p in row] for row, unit in zip(first, units, strict=True)]
    return characteristic(first, add, multiply, lambda p, j: scale(p, one / j), [one])


def _units(solver: Solver, one: Matrix, two: Matrix, grown: Any, variable: str) -> list[Any]:
    """By what each register's unit grows from step to step, so that the matrix in those units is the same at both.

    With registers s_n = D_n s̃_n, D_n = diag(g_i^n), entries must obey M_{n+1,ij} = (g_i/g_j) M_{n,ij}; the recursion of
    s̃ is then diag(1/g) M.
    """
    import mpmath

    size, near = len(one), mpmath.mpf(10) ** (-mpmath.mp.dps // 2)
    ratios = {
        (i, j): q / p
        for i in range(size)
        for j in range(size)
        for p, q in zip(one[i][j], two[i][j], strict=True)
        if abs(p) > near
    }
    units: dict[int, Any] = {0: grown}
    for _ in range(size):
        for (i, j), r in ratios.items():
            if j in units:
                units.setdefault(i, r * units[j])
            elif i in units:
                units.setdefault(j, units[i] / r)
    for i in range(size):
        units.setdefault(i, mpmath.mpf(1))
    for i in range(size):
        for j in range(size):
            wanted = units[i] / units[j]
            pairs = zip(one[i][j], two[i][j], strict=True)
            if any(abs(q - wanted * p) > near * (1 + abs(p)) for p, q in pairs):
                raise PlanError(
                    f"stability: {solver.name} is not the same at every one of equal steps in {variable}; leave out ch "
                    "and variable for the limit of small steps"
                )
    return [units[i] for i in range(size)]
