"""OLSS and the canonical form it is fitted in: teachers that are found, the ridge, solvers that have the form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.errors import SolverError
from diffode.fitting.canonical import Canonical
from diffode.fitting.grids import target_of
from diffode.fitting.outcome import Fit
from tests.fits import PROBE, bound, final, fitted
from tests.strategies import grids, mixtures, processes


@pytest.mark.parametrize("forcing", ["teacher", "student"])
@pytest.mark.parametrize("teacher", ["dpmpp_2m", "dpmpp_3m_corrected", "dpm_solver_2m"])
def test_olss_finds_a_teacher_of_as_many_steps(teacher: str, forcing: str) -> None:
    """Its states at every level, from states that it has not seen too; teacher and start are not alike."""
    found = fitted("olss", nfe=6, start="ddim", teacher=teacher, substeps=1, forcing=forcing, samples=64)
    assert not found.provenance["start_kept"]
    target = target_of("mixture_2d", samples=64)
    x = np.asarray(target.held_out)
    mine, theirs = (
        de.sample(target.model, rule, found.grid, x).trajectory for rule in (found.solver, de.get_solver(teacher))
    )
    for one, two in zip(mine, theirs, strict=True):
        assert np.max(np.abs(one - two)) < 1e-6 * np.max(np.abs(two))


def test_a_ridge_draws_to_the_start() -> None:
    target = target_of("mixture_2d", samples=24)
    grid = target.grid("uniform_lambda", 4)
    start = Canonical.of(de.get_solver("dpmpp_2m"), grid).table()
    far, near = (fitted("olss", ridge=ridge) for ridge in (0.0, 1e9))

    def gap(found: Fit) -> float:
        plans = [rule.plan(grid) for rule in (found.solver, start.solver("start"))]
        ends = [final(plan, target.model, np.asarray(target.train)) for plan in plans]
        return float(np.max(np.abs(ends[0] - ends[1])))

    assert gap(near) < 1e-6 < gap(far)


@given(st.data())
def test_the_canonical_form_of_a_solver_is_the_solver(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    solver = de.get_solver(data.draw(st.sampled_from(["ddim", "dpmpp_2m", "unipc_2", "unipc_3", "dpm_solver_3m"])))
    plan, form = solver.plan(grid), Canonical.of(solver, grid)
    assert form.corrected == solver.name.startswith("unipc")
    again = form.table().solver("again").plan(grid)
    assert np.max(np.abs(final(plan, model, x) - final(again, model, x))) <= bound(plan, model, x)


def test_a_start_that_evaluates_between_levels_is_refused() -> None:
    with pytest.raises(SolverError, match="dpm_solver_2 does not evaluate once at each level; begin at one that does"):
        Canonical.of(de.get_solver("dpm_solver_2"), PROBE)
