"""Enclosures of coefficients: intervals that hold the truth, and a bound that shows what is wrong."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode import kinds, phi
from diffode.analysis import enclosure
from diffode.analysis.enclosure import Ball, coefficient_error
from diffode.errors import BranchError, GridError
from diffode.plan import Linear
from diffode.trace import Step

FUNCTIONS = ("exp", "expm1", "log1p", "sqrt", "sin", "cos", "tan")


@given(st.floats(1e-6, 30.0), st.sampled_from(FUNCTIONS))
def test_a_function_of_an_interval_holds_its_value(x: float, name: str) -> None:
    with mpmath.workdps(60):
        true = getattr(mpmath, name)(mpmath.mpf(x))
        found = getattr(kinds, name)(Ball(enclosure.iv.mpf(x)))
        assert found.holds(true)
        low, high = found.ends
        assert high - low <= 1e-10 * (1 + abs(true))


@given(st.floats(-40.0, 40.0), st.integers(1, 5))
def test_phi_functions_of_intervals(z: float, k: int) -> None:
    with mpmath.workdps(60):
        assert phi.phi(k, Ball(enclosure.iv.mpf(z))).holds(phi.phi(k, mpmath.mpf(z)))


def test_intervals_that_cannot_be_told_apart_are_not_compared() -> None:
    third = Ball.of(Fraction(1, 3))
    assert Ball.of(0.1) < third < Ball.of(0.4)
    with pytest.raises(BranchError, match="cannot tell apart"):
        assert third * 3 < 1
    with pytest.raises(ZeroDivisionError):
        1 / (third * 3 - 1)


PROCESSES = (de.VP(), de.EDM(), de.Flow(), de.CosineVP())


@pytest.mark.parametrize("name", ["ddim", "dpmpp_3m", "unipc_3", "heun", "lms", "ghvb_2.5", "dpmpp_2m_sde"])
def test_coefficients_are_enclosed(name: str) -> None:
    """Round-off times the cancellation in λ − λ: some ulp of λ over the step."""
    for process in PROCESSES:
        grid = de.grids.uniform_lambda(process, 6)
        found = coefficient_error(name, grid)
        step = float(np.min(np.diff(grid.lam)))
        assert found.enclosed
        assert 0 < found.radius < 100 * 2**-52 * float(np.max(np.abs(grid.lam))) / step


def test_the_exact_coefficients_lie_inside() -> None:
    grid, rule = de.grids.uniform_lambda(de.VP(), 5), de.get_solver("dpmpp_3m")
    times = [float(t) for t in grid.t]
    balls = enclosure._traced(rule, grid, [Ball(enclosure.iv.mpf(t)) for t in times])
    with mpmath.workdps(60):
        exact = enclosure._traced(rule, grid, [mpmath.mpf(t) for t in times])
        pairs = list(zip(balls.rows, exact.rows, strict=True))
        coefficients = [
            (a, b)
            for one, two in pairs
            for (a, _), (b, _) in zip(getattr(one, "terms", ()), getattr(two, "terms", ()), strict=True)
        ]
        assert len(coefficients) > 10
        assert all(Ball.of(a).holds(b) for a, b in coefficients)


def test_a_formula_that_cancels_shows() -> None:
    """1 − e^{−h} by subtraction loses digits that expm1 keeps."""
    good = de.get_solver("ddim")

    def rule(step: Step) -> Linear:
        d = step.model(step.x, step.now)
        eaten = step.next.alpha - step.now.alpha * (step.next.sigma / step.now.sigma)
        return (step.next.sigma / step.now.sigma) * step.x + eaten * d

    poor = replace(good, name="poor", rule=rule, claims={**good.claims, "prediction": "x0"}, options={})
    process = de.VP()
    grid = de.TimeGrid(process, lam=np.linspace(0, 1e-4, 4).tolist())
    clean = coefficient_error("unip_1", grid)
    found = coefficient_error(poor, grid)
    assert found.enclosed
    assert clean.radius < found.radius
    assert found.where.startswith("d")


def test_quadrature_is_compared_with_digits() -> None:
    found = coefficient_error("deis_tab_1", de.grids.uniform_lambda(de.VP(), 3))
    assert not found.enclosed
    assert "compared with 50 digits" in str(found)
    assert found.radius < 1e-13


def test_a_grid_of_singular_levels_is_refused() -> None:
    process = de.Flow()
    with pytest.raises(GridError, match="no step between"):
        coefficient_error("ddim", de.TimeGrid(process, t=[1.0, 0.0]))


def test_a_certificate_says_what_floats_make_of_it() -> None:
    assert "coefficients enclosed by intervals" in de.verify("ddim").facts["coefficients"]
