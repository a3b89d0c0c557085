r"""How much guidance an explicit exponential multistep method can bear at most, and the method that bears it.

On data at a point a guidance scale w turns the semilinear test into u′ = −c u + b u with b h → −w h as h → 0
(`guided`), and a method of the exponential family, its linear part exact and its history in the network's outputs, into

    P(s, z) = s^k − s^{k−1} − z Σ_j β_j s^{k−1−j},        z = −w h,    Σ_j (−j)^q β_j = 1/(q + 1) for q < p.

The product of guidance and step that it bears, in small steps, is the length ℓ of the interval [−ℓ, 0] of z in which
P(·, z) fulfils the root condition. k − p weights are free; `guidance_barrier` finds the largest ℓ.

**The bound.** At s = −1 the interval ends: ℓ ≤ 2/Σ_j (−1)^j β_j, where that is positive. Up to there no other root
leaves the unit disc if none on the circle, but s = −1, lies on its way out at a negative z; so it is where, with
x = cos θ,

    R(x) = Σ_j β_j cos((j + ½)θ)/cos(½θ) ≥ 0 on [−1, 1],

a polynomial of degree k − 1, linear in β: R has the sign of the imaginary part of 1/z along the upper half of the
boundary locus. The largest ℓ under that condition is a linear programme over polynomials that are not negative. Its
solution touches 0: at x = −1 if one weight is free, in one double zero x_1 if two are, in both if three are. Given x_1
the weights follow from linear equations and ℓ is a rational function of x_1, its stationary points isolated by a Sturm
sequence; the interval of the method so found is certified by Schur–Cohn and Sturm sequences in exact arithmetic.

For p = 1 this is ℓ = 2k with β_j = (2(k − j) − 1)/k², for k = 1 … 4.

**What is proved.** The condition is sufficient; a method that breaks it could bear more. With no weight free there is
nothing to prove, and with one free none does, for k ≤ 5, by the enumeration of all methods (`enumerated`). Beyond that
ℓ is attained, but that nothing exceeds it is only what searches over all free weights say; `proved` is then False.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from diffode.analysis.stability.intervals import along
from diffode.analysis.stability.polynomials import evaluate, real_roots, root_bound
from diffode.analysis.stability.recursion import Recursion, multistep
from diffode.errors import PlanError

_WIDTH = Fraction(1, 10**20)
_NEAR = 10**7
"""Largest denominator of the x_1 at which a method is written down."""


@dataclass(frozen=True)
class Barrier:
    """The largest product of guidance and step of explicit k-step methods of order p.

    Attributes
    ----------
    steps, order : int
        k and p.
    length : float
        ℓ, the bound.
    weights : tuple of Fraction
        β_0 (newest) … β_{k−1} of the method that attains it; within 1e-9 of it where its weights are not rational.
    certified : float
        The interval of that method, by exact algebra.
    proved : bool
        Whether no method at all has a longer one; else none was found. See the module's text.

    Examples
    --------
    >>> found = guidance_barrier(3, 2)
    >>> found.length, [str(b) for b in found.weights], found.proved
    (2.0, ['5/4', '0', '-1/4'], True)
    """

    steps: int
    order: int
    length: float
    weights: tuple[Fraction, ...]
    certified: float
    proved: bool

    @property
    def recursion(self) -> Recursion:
        """Its characteristic polynomial, for `diffode.analysis.stability`."""
        return _recursion(self.weights)


def guidance_barrier(steps: int, order: int) -> Barrier:
    """The largest product of guidance and step of explicit k-step exponential methods of order p, with its method.

    Parameters
    ----------
    steps, order : int
        k and p, 1 ≤ p ≤ 5 and p ≤ k ≤ p + 3.

    Returns
    -------
    Barrier

    Raises
    ------
    PlanError
        If no explicit method has that order in so few steps, or the bound is not known.
    """
    if order < 1 or steps < order:
        raise PlanError(f"guidance_barrier: an explicit method of order {order} needs at least {max(order, 1)} steps")
    if order > 5 or steps - order > 3:
        raise PlanError(
            "guidance_barrier: the bound is known for orders up to 5 and at most three more steps than the order, not "
            f"for steps={steps}, order={order}"
        )
    known, free = family(steps, order)
    if not free:
        weights, best = known, None
    else:
        weights, best = _best(known, free)
    certified = along(_recursion(weights), Fraction(0), Fraction(-1))
    return Barrier(steps, order, certified if best is None else best, tuple(weights), certified, _proved(steps, order))


def _proved(steps: int, order: int) -> bool:
    """What `tests/test_barrier.py` enumerates."""
    return steps == order or (steps == order + 1 and steps <= 5)


def family(steps: int, order: int) -> tuple[list[Fraction], list[list[Fraction]]]:
    """The weights of all explicit k-step methods of order p: one of them, and a basis of what can be added.

    >>> family(2, 2)[0]
    [Fraction(3, 2), Fraction(-1, 2)]
    """
    import sympy as sp

    a: Any = sp.Matrix(order, steps, lambda q, j: sp.Integer(-j) ** q if j or q else sp.Integer(1))
    b = sp.Matrix([sp.Rational(1, q + 1) for q in range(order)])
    known: Any = [*a[:, :order].LUsolve(b), *([sp.Integer(0)] * (steps - order))]
    return [_fraction(c) for c in known], [[_fraction(c) for c in v] for v in a.nullspace()]


def _fraction(c: Any) -> Fraction:
    return Fraction(int(c.p), int(c.q))


def _recursion(weights: list[Fraction] | tuple[Fraction, ...]) -> Recursion:
    k = len(weights)
    return multistep([0] * (k - 1) + [-1, 1], [*weights[::-1], 0])


# --- the best --------------------------------------------------------------------------------------------------


def _best(known: list[Fraction], free: list[list[Fraction]]) -> tuple[list[Fraction], float]:
    """The weights whose R touches 0 as often as they can, and ℓ."""
    import sympy as sp

    x, a = sp.Symbol("x"), sp.symbols(f"a:{len(free)}")
    weights = [
        sp.Rational(b.numerator, b.denominator)
        + sum(s * sp.Rational(v[j].numerator, v[j].denominator) for s, v in zip(a, free, strict=True))
        for j, b in enumerate(known)
    ]
    r: Any = sp.expand(sum(b * c for b, c in zip(weights, _kernels(len(known), x), strict=True)))
    touched = [r.subs(x, -1)] if len(free) % 2 else []
    if len(free) > 1:
        touched += [r, sp.diff(r, x)]
    solution: Any = sp.solve(touched, a, dict=True)[0]
    weights = [sp.cancel(b.subs(solution)) for b in weights]
    below: Any = sp.cancel(sum((-1) ** j * b for j, b in enumerate(weights)))  # ℓ = 2/below
    if len(free) == 1:
        return [_fraction(b) for b in weights], float(2 / below)
    top: Any = sp.Poly(sp.numer(sp.together(sp.diff(below, x))), x, domain="QQ")
    best: tuple[float, list[Fraction]] | None = None
    for root in _inner_roots(_coefficients(top)):
        near = root.limit_denominator(_NEAR)
        at = sp.Rational(near.numerator, near.denominator)
        values = [b.subs(x, at) for b in weights]
        if not all(v.is_Rational for v in values) or not _not_negative([_fraction(v) for v in values], near):
            continue
        exact = sp.Rational(root.numerator, root.denominator)
        length = float(2 / below.subs(x, exact))
        if length > 0 and (best is None or length > best[0]):
            best = length, [_fraction(v) for v in values]
    if best is None:
        raise PlanError("guidance_barrier: no weights make R touch 0 without falling below it")
    return best[1], best[0]


def _kernels(count: int, x: Any) -> list[Any]:
    """cos((j + ½)θ)/cos(½θ) as polynomials in x = cos θ."""
    out = [x**0, 2 * x - 1]
    while len(out) < count:
        out.append(2 * x * out[-1] - out[-2])
    return out[:count]


def _coefficients(p: Any) -> list[Fraction]:
    return [_fraction(c) for c in reversed(p.all_coeffs())]


def _inner_roots(p: list[Fraction]) -> list[Fraction]:
    """The roots in (−1, 1)."""
    return [c for c in real_roots(p, Fraction(-1), _WIDTH) if c < 1]


def _not_negative(weights: list[Fraction], double: Fraction) -> bool:
    """Whether R ≥ 0 on [−1, 1], its double zero taken out."""
    import sympy as sp

    x = sp.Symbol("x")
    terms = zip(weights, _kernels(len(weights), x), strict=True)
    total = sum(sp.Rational(b.numerator, b.denominator) * c for b, c in terms)
    square = (x - sp.Rational(double.numerator, double.denominator)) ** 2
    rest, left = sp.div(sp.Poly(total, x, domain="QQ"), sp.Poly(square, x, domain="QQ"))
    if not left.is_zero:
        return False
    p = _coefficients(rest)
    while len(p) > 1 and evaluate(p, Fraction(-1)) == 0:  # a zero at the end keeps the sign
        p = _coefficients(sp.div(rest, sp.Poly(x + 1, x, domain="QQ"))[0])
        rest = sp.Poly([sp.Rational(c.numerator, c.denominator) for c in reversed(p)], x, domain="QQ")
    return evaluate(p, Fraction(0)) > 0 and not _inner_roots(p) if len(p) > 1 else p[0] > 0


# --- all methods with one free weight --------------------------------------------------------------------------


def enumerated(steps: int) -> float:
    """The largest interval of all explicit k-step methods of order k − 1, without assuming anything of the best.

    With one free weight a the interval ends where P(·, −t) gets a root on the circle, on the curve F(a, t) = 0 of the
    Hermite form's determinant. Between two critical a, where branches of F cross, turn back or leave, the end t(a) is
    one smooth branch, and largest at an end or where ∂F/∂a = 0: so finitely many a decide, all isolated by Sturm.

    Parameters
    ----------
    steps : int
        k ≥ 2; half a minute for 5.

    Examples
    --------
    >>> round(enumerated(2), 9)
    4.0
    """
    known, free = family(steps, steps - 1)
    critical = _critical(known, free[0])
    edges = [critical[0] - 1, *critical, critical[-1] + 1] if critical else [Fraction(-1), Fraction(1)]
    tries = [a for edge in edges for a in (edge, edge - Fraction(1, 10**12), edge + Fraction(1, 10**12))]
    tries += [(a + b) / 2 for a, b in pairwise(edges)]
    lengths = (
        along(_recursion([b + a * v for b, v in zip(known, free[0], strict=True)]), Fraction(0), Fraction(-1))
        for a in tries
    )
    return max(lengths)


def _critical(known: list[Fraction], free: list[Fraction]) -> list[Fraction]:
    """The values of the free weight at which the end of the interval can be largest."""
    import sympy as sp

    from diffode.analysis.stability.polynomials import hermite_form

    a, t = sp.symbols("a t", real=True)
    k = len(known)
    p: list[Any] = [sp.Integer(0)] * (k - 1) + [sp.Integer(-1), sp.Integer(1)]
    for j, (b, v) in enumerate(zip(known, free, strict=True)):
        p[k - 1 - j] += t * (sp.Rational(b.numerator, b.denominator) + a * sp.Rational(v.numerator, v.denominator))
    form: Any = sp.Matrix(hermite_form(p))
    factors: Any = sp.factor_list(sp.expand(form.det(method="berkowitz")))[1]
    curves = [f for f, _ in factors if f.has(t) and f != t]
    found: list[Any] = [sp.LC(sp.Poly(f, t)) for f in curves]
    for i, f in enumerate(curves):
        found.append(sp.discriminant(f, t) if sp.degree(f, t) > 1 else sp.Integer(1))
        found += [sp.resultant(f, sp.diff(f, a), t)]
        found += [sp.resultant(f, g, t) for g in curves[i + 1 :]]
    out: list[Fraction] = []
    for polynomial in found:
        if not polynomial.has(a):
            continue
        q = _coefficients(sp.Poly(polynomial, a, domain="QQ"))
        out += real_roots(q, -root_bound(q), _WIDTH)
    return sorted(set(out))
