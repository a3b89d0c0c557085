"""ER-SDE: what its integrals integrate, and what the sums that the official code takes for them cost."""

from __future__ import annotations

import numpy as np
import pytest

import diffode as de
from diffode.analysis.stochastic import weak_order, weak_order_mixture
from diffode.backends import execute, get_backend
from diffode.errors import SolverError

SCALES = (1.0, 1.5, 2.0, 2.5, "exp(-1/x)", "log(x^1.5)", "exp(x^0.3)")


def gap(rule: de.Solver, coefficients: list[float]) -> float:
    """How far one step from an exact past is from two, where D is a polynomial in ρ and nothing else."""
    process = de.EDM()
    model = de.Denoiser(lambda x, t: np.full_like(x, np.polyval(coefficients, np.ravel(t)[0])), process, "x0")

    def end(sigma: list[float]) -> float:
        plan = rule.plan(de.TimeGrid(process, sigma=sigma), exact_past=2, open_end=True)
        states = [np.array([[0.7]])] * 3
        noise = [np.zeros((1, 1))] * len(plan.noises)
        return float(execute(get_backend("numpy"), plan, model, states, noise)[plan.states[-1]][0, 0])

    return abs(end([3.0, 2.2, 1.6, 0.9]) - end([3.0, 2.2, 1.6, 1.3, 0.9]))


@pytest.mark.parametrize("scale", SCALES)
def test_data_that_are_a_polynomial_in_rho_are_integrated_exactly(scale: float | str) -> None:
    rule = de.get_solver("er_sde").configure(order=3, scale=scale)
    assert gap(rule, [0.4, -1.0, 0.3]) < 1e-13
    assert gap(rule.configure(order=2), [-1.0, 0.3]) < 1e-13
    assert gap(rule.configure(slope="published"), [0.4, -1.0, 0.3]) > 1e-3
    assert gap(rule.configure(order=2, terms=100), [-1.0, 0.3]) > 1e-5


def test_sums_in_place_of_integrals_leave_first_order() -> None:
    rule = de.get_solver("er_sde").configure(order=2, terms=2)
    assert rule.reaches == 1
    assert weak_order(rule, de.VP()).value == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("scale", [scale for scale in SCALES if isinstance(scale, str)])
def test_every_scale_keeps_the_law_to_first_order(scale: str) -> None:
    rule = de.get_solver("er_sde").configure(order=1, scale=scale)
    for slope in (weak_order(rule, de.VP()), weak_order_mixture(rule, de.VP())):
        assert slope.value == pytest.approx(1.0, abs=0.1)


def test_other_scales_and_slopes_are_named_in_the_error() -> None:
    grid = de.grids.karras(de.EDM(), 3)
    with pytest.raises(SolverError, match="no scale named 'x'"):
        de.get_solver("er_sde").configure(scale="x").plan(grid)
    with pytest.raises(SolverError, match="'corrected' or 'published'"):
        de.get_solver("er_sde").configure(slope="exact").plan(grid)
