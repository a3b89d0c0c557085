r"""Heun++: slopes at the next two levels of the grid besides the one at hand, reached by Euler's method in ρ = σ/α."""

from __future__ import annotations

from itertools import pairwise

from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.solvers.base import Erratum, solver
from diffode.solvers.exponential import integrate
from diffode.trace import Step

WEIGHTS = ("published", "consistent")


@solver(
    order=2,
    reaches=lambda weights: 1 if weights == "published" else None,
    erratum=lambda weights: (
        Erratum("The weights of the later slopes do not have the first moment ½.", "heunpp2_corrected")
        if weights == "published"
        else None
    ),
    prediction="eps",
    exponential=True,
    uniform="lam",
    source="Carzit/sd-webui-samplers-scheduler; ComfyUI, sample_heunpp2",
)
def heunpp2(step: Step, weights: str = "published") -> Linear:
    r"""Heun++ with three slopes: three evaluations a step, two in the last but one, one in the last.

        x_t = (α_t/α_s) x_s + α_t (ρ_t − ρ_s) Σ_k w_k ε_k,    w_0 = 1 − w_1 − w_2

    with ε_k at the k-th level ahead. The weights of the later ones are proportional to ρ_k there. A run that is cut
    does not see the levels behind the cut; it takes an equal step in λ for the first of them.

    Parameters
    ----------
    weights : {"published", "consistent"}
        "published": w_k = ρ_k/(n ρ_T), n the number of slopes and ρ_T at the head of the grid: of first order;
        "consistent": with the factor that gives w_1 (ρ_1 − ρ_s) + w_2 (ρ_2 − ρ_s) = (ρ_t − ρ_s)/2.
    """
    if weights not in WEIGHTS:
        raise SolverError(f"{step.tracer.rule.name}: weights is one of {WEIGHTS}, not {weights!r}")
    levels = _ahead(step)
    x, slopes = step.x, [step.model(step.x, step.now)]
    for a, b in pairwise(levels):
        x = integrate(x, a, "eps", slopes[-1:], [a], b)
        slopes.append(step.model(x, b))
    mean = slopes[0]
    for weight, slope in zip(_later(step, levels, weights), slopes[1:], strict=True):
        mean = mean + weight * (slope - slopes[0])
    return integrate(step.x, step.now, "eps", [mean], [step.now], step.next)


def _ahead(step: Step) -> tuple[Level, ...]:
    """The levels where slopes are taken; a grid that will go on is continued by an equal step in λ."""
    levels = step.grid[step.index : step.index + 3][: step.remaining]
    if step.tracer.open_end and len(levels) == 2:
        levels = (*levels, step.level(lam=step.next.lam + step.h))
    return levels


def _later(step: Step, levels: tuple[Level, ...], weights: str) -> list[Number]:
    """w_1, w_2, …"""
    if weights == "published":
        return [level.rho / (len(levels) * step.grid[0].rho) for level in levels[1:]]
    start, whole = step.now.rho, step.next.rho - step.now.rho
    moment = sum(level.rho * (level.rho - start) for level in levels[1:])
    return [level.rho * whole / (2 * moment) for level in levels[1:]]


heunpp2_corrected = heunpp2.configure(
    "heunpp2_corrected", weights="consistent", source="Heun++ with a first moment of one half"
)
