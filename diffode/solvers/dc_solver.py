r"""DC-Solver: dynamic compensation of the value at hand, on UniPC or any other solver.

Where a predictor–corrector goes on from the value at the predicted point, that value belongs to another state than the
corrected one. Before each step it is replaced by the polynomial through it and the values before, at another time:

    m̂_i = Σ_j ℓ_j(t̂) m_{i−j},    t̂ = t_{i−1} + ρ_i (t_i − t_{i−1})

The ratios ρ_i are found on a few trajectories (`diffode.fitting.compensation`); ρ = 1 leaves the value as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffode import phi
from diffode.errors import SolverError
from diffode.plan import Linear
from diffode.series import rational
from diffode.solvers.base import Claim, Solver, limit, solver
from diffode.solvers.corrected import given
from diffode.solvers.exponential import lagrange_basis
from diffode.solvers.transforms import resolved
from diffode.solvers.unipc import unipc_2
from diffode.trace import Step

VARIABLES = {"t": "t", "lambda": "lam", "rho": "rho"}


def _of_base(claim: str) -> Claim:
    """The base's claim where nothing is compensated."""
    return lambda base, ratios: getattr(resolved(base), claim) if ratios == 1 else None


def _uniform(base: str | Solver, ratios: Any) -> str | None:
    """Compensated values have an endless past, which is known on equal steps."""
    rule = resolved(base)
    if rule.uniform or ratios == 1:
        return rule.uniform
    return "lam" if rule.prediction == "x0" else "rho"


@solver(
    order=lambda base, ratios: resolved(base).order if ratios == 1 else 1,
    reaches=_of_base("reaches"),
    erratum=_of_base("erratum"),
    strong_order=_of_base("strong_order"),
    stiff_order=_of_base("stiff_order"),
    prediction=lambda base: resolved(base).prediction,
    history=lambda base, degree: max(resolved(base).history, degree),
    exponential=lambda base: resolved(base).exponential,
    uniform=_uniform,
    source="arXiv:2409.03755, section 3.2; official code, scheduling_dcsolver_multistep.py",
    ranges={"degree": (1, 3)},
    limits=[
        limit("unipc_2", ratios=1.0),
        limit("ddim", ratios=1.0, base="ddim"),
        limit("dpmpp_2m", ratios=1.0, base="dpmpp_2m"),
    ],
)
def dc_solver(step: Step, base: Any = unipc_2, ratios: Any = 1.0, degree: int = 2, variable: str = "t") -> Linear:
    r"""Dynamic compensation: the base's value at the beginning of the step, read off its polynomial at another time.

        m_i ← Σ_{j ≤ degree} ℓ_j(t̂_i) m_{i−j},    t̂_i = t_{i−1} + ρ_i (t_i − t_{i−1})

    A ratio other than 1 that stays as the steps shrink moves every value by O(h), which leaves first order; it is meant
    for a handful of steps. Earlier values are the compensated ones: their errors fade as |1 − ρ| < 1.

    Parameters
    ----------
    base : str or Solver
        The solver, or its name.
    ratios : float, or sequence of one for each step
        ρ. The first `degree` steps have too few values, and are not compensated.
    degree : int
        Of the polynomial.
    variable : {"t", "lambda", "rho"}
        What it is in; t as published.
    """
    rule, ratio = resolved(base), _ratio(step, ratios, variable)
    waiting, singular = "d" in step.memory, step.now.singular or step.next.singular
    if ratio == 1 or step.depth < degree or (singular and not waiting):
        return rule(step)
    value = step.memory["d"] if waiting else step.model(step.x, step.now)
    value = step.hold(_compensated(step, value, ratio, degree, VARIABLES[variable]))
    if waiting:
        step.memory["d"] = value
    inner = step if waiting else given(step, value)
    result = rule(inner)
    step.x, step.stored = inner.x, inner.stored
    if not singular and step.tracer.past[0][0].terms != value.terms:
        raise SolverError(
            f"{step.tracer.rule.name}: {rule.name} does not keep the values of the network at its own states, which "
            "is what is compensated; take another base"
        )
    return result


def _ratio(step: Step, ratios: float | Sequence[float], variable: str) -> float:
    """ρ of this step."""
    name = step.tracer.rule.name
    if variable not in VARIABLES:
        raise SolverError(f"{name}: variable is one of {(*VARIABLES,)}, not {variable!r}")
    if isinstance(ratios, (int, float)):
        return ratios
    if step.tracer.open_end or len(ratios) != step.count:
        raise SolverError(
            f"{name}: ratios holds {len(ratios)} numbers, one for each step, but the grid has {step.count} steps"
            f"{', and more will follow' * step.tracer.open_end}; give as many, or one number for all"
        )
    return ratios[step.index]


def _compensated(step: Step, value: Linear, ratio: float, degree: int, attribute: str) -> Linear:
    """The polynomial through the value and the ones before, at the ratio."""
    back = range(1, degree + 1)
    at = [getattr(level, attribute) for level in (step.now, *map(step.past_level, back))]
    there = at[1] + phi.literal(rational(ratio), at[0]) * (at[0] - at[1])
    weights = lagrange_basis(at)(there, 1)
    return sum((w * m for w, m in zip(weights, [value, *map(step.past, back)], strict=True)), Linear({}))


dc_solver_late = dc_solver.configure("dc_solver_1.05", ratios=1.05)
dc_dpmpp_2m_early = dc_solver.configure("dc_dpmpp_2m_0.95", base="dpmpp_2m", ratios=0.95)
