"""Noise up and a step down: what the laws over the registry, which run at a noise level, do not see of churn."""

from __future__ import annotations

import numpy as np
import pytest

import diffode as de
from diffode.analysis.stochastic import noise_level, weak_order
from diffode.errors import SolverError
from diffode.plan import Evaluate

CHURN = de.get_solver("edm_stochastic").configure(tau=0.0, s_churn=3.0)
GRID = de.grids.karras(de.EDM(), 6, final="zero")


def test_churn_shared_over_the_steps_keeps_the_order_of_the_base() -> None:
    assert weak_order(CHURN, de.VP()).value == pytest.approx(2.0, abs=0.1)
    assert weak_order(CHURN.configure(base="euler"), de.VP()).value == pytest.approx(1.0, abs=0.1)


def test_an_evaluation_before_the_raise_is_of_first_order() -> None:
    late = CHURN.configure(late=True)
    assert late.order == 1
    assert weak_order(late, de.VP()).value == pytest.approx(1.0, abs=0.1)


def test_churn_stays_between_its_levels() -> None:
    """At S_min = 0.1 and S_max = 10 the steps that start between draw noise, and no other."""
    between = CHURN.configure(s_min=0.1, s_max=10.0).plan(GRID)
    assert 0 < len(between.noises) == sum(0.1 <= sigma <= 10 for sigma in GRID.sigma) < GRID.steps
    assert CHURN.configure(s_min=100.0).plan(GRID).rows == de.get_solver("heun").plan(GRID).rows
    assert len(CHURN.plan(GRID).noises) == GRID.steps


def test_a_level_is_raised_by_less_than_the_root_of_two() -> None:
    plan = CHURN.configure(s_churn=1e6, base="euler").plan(GRID)
    raised = [row.level.sigma for row in plan if isinstance(row, Evaluate)]
    assert raised == pytest.approx(np.sqrt(2) * GRID.sigma[:-1], rel=1e-12)


def test_tau_is_the_noise_level() -> None:
    assert noise_level(de.get_solver("edm_stochastic").configure(tau=0.7), de.VP()) == pytest.approx(0.7, abs=1e-3)


def test_a_base_with_a_past_is_refused() -> None:
    with pytest.raises(SolverError, match="dpmpp_2m has a past"):
        CHURN.configure(base="dpmpp_2m").plan(GRID)


def test_ancestral_sampling_is_ddpm_with_the_larger_variance_where_variance_is_preserved() -> None:
    process, data = de.VP(), de.Gaussian(0.3, 0.4)
    grid = de.grids.uniform_t(process, 7)
    names = ("ancestral_sampling", "ddpm(variance='large')")
    one, two = (de.law(de.get_solver(name).plan(grid), data) for name in names)
    assert one.mean == pytest.approx(two.mean, rel=1e-12)
    assert one.variance == pytest.approx(two.variance, rel=1e-12)


def test_schemes_are_named_in_the_error() -> None:
    rule = de.get_solver("score_sde")
    with pytest.raises(SolverError, match="no scheme 'ancestral' with probability_flow"):
        rule.configure(scheme="ancestral", probability_flow=True).plan(GRID)
