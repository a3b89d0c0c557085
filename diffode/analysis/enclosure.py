"""How far the float coefficients of a plan are from the exact ones: enclosed by intervals, on the grid that is used.

The formula is traced once more with intervals of mpmath (outward rounded, 160 bits) in place of floats. The exact
coefficient lies inside, so that the distance of the float from the far end of the interval is a bound, not an estimate.
The grid is exact by its times t, and a literal means what was typed (1/3 a third). Where a rule needs what intervals do
not have (quadrature, a table that is looked up) the comparison is with 50 digits, and says that it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import factorial
from typing import Any

import mpmath
from mpmath import iv as _iv

from diffode.analysis.order.fixed_point import Levels
from diffode.errors import BranchError, DiffodeError, GridError
from diffode.grids import TimeGrid
from diffode.plan import Combine, Level, Plan
from diffode.series import rational
from diffode.solvers import Solver, get_solver
from diffode.trace import trace

iv: Any = _iv  # its types are not told
_BITS, _DIGITS = 160, 50


class Ball:
    """An interval that holds a real number; arithmetic and functions keep it inside.

    >>> third = Ball.of(1) / 3
    >>> (third * 3 - 1).holds(0), third < 1
    (True, True)
    """

    __slots__ = ("interval",)
    __array_ufunc__ = None

    def __init__(self, interval: Any) -> None:
        self.interval = interval

    @classmethod
    def of(cls, c: Any) -> Ball:
        """The interval of a literal; floats as the simplest fraction that rounds to them."""
        if isinstance(c, Ball):
            return c
        exact = Fraction(rational(c))
        return cls(iv.mpf(exact.numerator) / iv.mpf(exact.denominator))

    @property
    def ends(self) -> tuple[Any, Any]:
        """Lower and upper end."""
        with mpmath.workprec(4 * _BITS):  # so that the ends are not rounded
            return mpmath.mpf(self.interval.a), mpmath.mpf(self.interval.b)

    def holds(self, c: Any) -> bool:
        """Whether a number lies inside."""
        low, high = self.ends
        return bool(low <= c <= high)

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> Ball:
        return Ball(operation(self.interval, Ball.of(other).interval))

    def __add__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a * b) if _number(other) else NotImplemented

    def __truediv__(self, other: Any) -> Ball:
        return self._with(other, _quotient)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: _quotient(b, a)) if _number(other) else NotImplemented

    def __neg__(self) -> Ball:
        return Ball(-self.interval)

    def __pow__(self, n: Any) -> Ball:
        if isinstance(n, int):
            return Ball(self.interval**n)
        return (self.log() * n).exp() if n != 0.5 else self.sqrt()

    __radd__, __rmul__ = __add__, __mul__

    def exp(self) -> Ball:
        return Ball(iv.exp(self.interval))

    def log(self) -> Ball:
        return Ball(iv.log(self.interval))

    def sqrt(self) -> Ball:
        return Ball(iv.sqrt(self.interval))

    def sin(self) -> Ball:
        return Ball(iv.sin(self.interval))

    def cos(self) -> Ball:
        return Ball(iv.cos(self.interval))

    def tan(self) -> Ball:
        return self.sin() / self.cos()

    def expm1(self) -> Ball:
        return self * self.phi(1)

    def log1p(self) -> Ball:
        return (self + 1).log()

    def phi(self, k: int) -> Ball:
        """φ_k: by its series with the rest of it near 0, by the recurrence elsewhere."""
        low, high = self.ends
        reach = max(abs(low), abs(high))
        if reach > 2:
            value = self.exp()
            for j in range(k):
                value = (value - Fraction(1, factorial(j))) / self
            return value
        terms = 60
        rest = iv.mpf(3) ** 2 * iv.mpf(reach) ** terms / factorial(terms + k)  # e² < 9
        total = iv.mpf([-1, 1]) * rest
        for j in reversed(range(terms)):
            total = total + self.interval**j / factorial(j + k)
        return Ball(total)

    def _sign(self, other: Any) -> int:
        low, high = (self - other).ends
        if low > 0 or high < 0:
            return 1 if low > 0 else -1
        if low == high or self is other or self.ends == Ball.of(other).ends:
            return 0
        raise BranchError("the rule compares two coefficients that intervals cannot tell apart")

    def __lt__(self, other: Any) -> bool:
        return self._sign(other) < 0

    def __le__(self, other: Any) -> bool:
        return self._sign(other) <= 0

    def __gt__(self, other: Any) -> bool:
        return self._sign(other) > 0

    def __ge__(self, other: Any) -> bool:
        return self._sign(other) >= 0

    def __eq__(self, other: object) -> bool:
        return self._sign(other) == 0

    def __hash__(self) -> int:
        return hash(str(self.interval))

    def __abs__(self) -> Ball:
        return Ball(abs(self.interval))


def _quotient(a: Any, b: Any) -> Any:
    if 0 in b:
        raise ZeroDivisionError("division by an interval that holds 0")
    return a / b


def _number(c: Any) -> bool:
    return isinstance(c, (Ball, int, float, Fraction))


@dataclass(frozen=True)
class CoefficientError:
    """The largest relative error of the float coefficients of a plan.

    Attributes
    ----------
    radius : float
        Bound on |float − exact|/|exact|, over all coefficients.
    where : str
        The row and the register of the worst.
    count : int
        How many coefficients were compared.
    enclosed : bool
        True: a bound by interval arithmetic. False: the distance from a computation with 50 digits.
    """

    radius: float
    where: str
    count: int
    enclosed: bool

    def __str__(self) -> str:
        how = "enclosed by intervals" if self.enclosed else "compared with 50 digits"
        return f"{self.count} coefficients {how}: relative error at most {self.radius:.1e}, at {self.where}"


def coefficient_error(solver: str | Solver, grid: TimeGrid) -> CoefficientError:
    """How far the float coefficients of a solver are from the exact ones on a grid.

    Parameters
    ----------
    solver : str or Solver
    grid : TimeGrid
        Its times are exact; steps to or from λ = ±∞ are left out.

    Returns
    -------
    CoefficientError

    Examples
    --------
    >>> import diffode as de
    >>> found = coefficient_error("dpmpp_2m", de.grids.uniform_lambda(de.VP(), 10))
    >>> found.enclosed, found.radius < 1e-12
    (True, True)
    """
    chosen = get_solver(solver)
    levels = [level for level in grid.levels if not level.singular]
    if len(levels) < 2:
        raise GridError("coefficient_error: the grid has no step between two finite levels")
    plan = trace(chosen, Levels(grid.process, tuple(levels)), open_end=True)
    kept = iv.prec
    iv.prec = _BITS
    try:
        exact = _traced(chosen, grid, [Ball(iv.mpf(float(level.t))) for level in levels])
        with mpmath.workprec(4 * _BITS):
            return _compared(plan, exact, True)
    except (DiffodeError, ArithmeticError, AttributeError, TypeError, ValueError):
        with mpmath.workdps(_DIGITS):
            return _compared(plan, _traced(chosen, grid, [mpmath.mpf(float(level.t)) for level in levels]), False)
    finally:
        iv.prec = kept


class _Exactly:
    """A process whose levels hold no floats: α = 1 is one too."""

    def __init__(self, process: Any, kind: type) -> None:
        self._process, self._kind = process, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def level(self, *args: Any, **named: Any) -> Level:
        """A level of the process."""
        level = self._process.level(*args, **named)
        names = ("t", "alpha", "sigma", "lam")
        return replace(level, **{name: self._exact(getattr(level, name)) for name in names})

    def _exact(self, c: Any) -> Any:
        if isinstance(c, self._kind):
            return c
        return Ball.of(c) if self._kind is Ball else mpmath.mpf(c)


def _traced(solver: Solver, grid: TimeGrid, times: list[Any]) -> Plan:
    process = _Exactly(grid.process, type(times[0]))
    return trace(solver, Levels(process, tuple(process.level(t) for t in times)), open_end=True)


def _compared(plan: Plan, exact: Plan, enclosed: bool) -> CoefficientError:
    worst, where, count = mpmath.mpf(0), "none", 0
    for name, register, c, ends in _pairs(plan, exact):
        count += 1
        nearest = min(abs(end) for end in ends)
        gap = max(abs(mpmath.mpf(c) - end) for end in ends)
        error = gap / nearest if nearest else (mpmath.inf if gap else mpmath.mpf(0))
        if error > worst:
            worst, where = error, f"{register} in {name}"
    return CoefficientError(float(worst), where, count, enclosed)


def _pairs(plan: Plan, exact: Plan) -> Iterator[tuple[str, str, float, tuple[Any, Any]]]:
    """Each float coefficient with the ends of the exact one; the registers of the two plans may have other names."""
    ours: dict[str, str] = {}
    rows = iter(plan.rows)
    for true in exact.rows:
        terms = [(c, name) for c, name in true.terms if not _near(c, 0)] if isinstance(true, Combine) else []
        if len(terms) == 1 and _near(terms[0][0], 1):
            ours[true.out] = ours.get(terms[0][1], terms[0][1])  # floats know that 1 x + 0 y is x
            continue
        row = next(rows)
        while isinstance(row, Combine) and len(row.terms) == 1 and row.terms[0][0] == 1:
            ours[row.out] = row.terms[0][1]
            row = next(rows)
        ours[true.out] = row.out
        if isinstance(row, Combine) and isinstance(true, Combine):
            known = {ours.get(name, name): c for c, name in row.terms}
            for c, name in true.terms:
                here = ours.get(name, name)
                yield row.out, here, float(known.get(here, 0.0)), _ends(c)


def _ends(c: Any) -> tuple[Any, Any]:
    return (c, c) if isinstance(c, mpmath.mpf) else Ball.of(c).ends


def _near(c: Any, value: int) -> bool:
    return all(abs(end - value) < 1e-30 for end in _ends(c))
