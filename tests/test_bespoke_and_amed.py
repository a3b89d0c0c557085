"""Bespoke and AMED steps: where they begin, the order they keep, the official code, one number for each step."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.convergence import quantile_flow
from diffode.errors import SolverError
from diffode.fitting.bespoke import bespoke_steps
from diffode.plan import Evaluate
from diffode.process import Process
from tests.fits import PROBE, bound, final, fitted
from tests.strategies import grids, mixtures, processes

# --- Bespoke --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stages", "parent"), [(1, "euler_t"), (2, "runge_kutta(tableau='midpoint', variable='t')")])
@given(st.data())
def test_bespoke_steps_begin_at_their_parent(stages: int, parent: str, data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(1, 5)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    fine = in_t(grid) if stages == 2 else grid
    mine = bespoke_steps(fine, stages, np.zeros((3, stages * grid.steps))).plan(grid)
    plan = de.get_solver(parent).plan(grid)
    assert np.max(np.abs(final(plan, model, x) - final(mine, model, x))) <= bound(plan, model, x)


def in_t(grid: de.TimeGrid) -> de.TimeGrid:
    middles = [grid.process.level(t=(a.t + b.t) / 2) for a, b in zip(grid.levels[:-1], grid.levels[1:], strict=True)]
    inner = [level for pair in zip(grid.levels[:-1], middles, strict=True) for level in pair]
    return de.TimeGrid(grid.process, levels=[*inner, grid[-1]])


@pytest.mark.parametrize("stages", [1, 2])
def test_smooth_scale_and_time_keep_the_order_of_the_parent(stages: int) -> None:
    """s(r) = e^{0.4 sin 3r}, t(r) with a rate that varies fourfold: neither more nor less than the parent's order."""
    problem = de.problems.get_problem("mixture_1d")
    process: Process = problem.process
    begin, end = (process.level(lam=lam).t for lam in (-1.5, 1.5))
    quantiles = (np.arange(16) + 0.5) / 16
    errors: list[float] = []
    for steps in (40, 80, 160):
        r = np.arange(steps * stages + 1) / (steps * stages)
        shape, rate = r + 0.3 * np.sin(np.pi * r) * 2 / np.pi, 1 + 0.6 * np.cos(np.pi * r)
        fine = de.TimeGrid(process, t=(begin + shape * (end - begin)).tolist())
        s, growth = 0.4 * np.sin(3 * r), 1.2 * np.cos(3 * r)
        tau = rate * (end - begin) / steps
        outer = fine.t[::stages]
        parent = (
            np.diff(outer) if stages == 1 else np.stack([2 * (fine.t[1::2] - outer[:-1]), np.diff(outer)], 1).ravel()
        )
        numbers = np.stack([np.log(tau[:-1] / parent), np.diff(s), growth[:-1] / steps])
        grid = de.TimeGrid(process, levels=fine.levels[::stages])
        exact = quantile_flow(process, [grid[0], grid[-1]], quantiles)
        x = final(bespoke_steps(fine, stages, numbers).plan(grid), problem.model, exact[0])
        errors.append(float(np.sqrt(np.mean((x - exact[1]) ** 2))))
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(slopes - stages) < 0.25), slopes


# --- AMED -----------------------------------------------------------------------------------------------------


@given(st.data())
def test_the_plugin_is_its_base_on_the_split_grid(data: st.DataObject) -> None:
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(1, 4)))
    share = data.draw(st.floats(0.1, 0.9))
    base = de.get_solver(data.draw(st.sampled_from(["ddim", "dpmpp_2m", "unipc_2", "ipndm_v_3", "heunpp2", "ddpm"])))
    levels = [
        level
        for a, b in zip(grid.levels[:-1], grid.levels[1:], strict=True)
        for level in (a, process.level(lam=a.lam + share * (b.lam - a.lam)))
    ]
    split = base.plan(de.TimeGrid(process, levels=[*levels, grid[-1]]))
    plugin = de.get_solver("amed_plugin").configure(base=base, r=share).plan(grid)
    each = de.get_solver("amed_plugin").configure(base=base, r=(share,) * grid.steps).plan(grid)
    model = data.draw(mixtures(dimension=2)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 2))
    assert plugin.nfe == split.nfe
    for plan in (plugin, each):
        assert np.max(np.abs(final(plan, model, x) - final(split, model, x))) <= bound(split, model, x)


@given(st.floats(0.1, 0.9), st.floats(0.8, 1.2), st.floats(0.8, 1.2), mixtures(dimension=2))
def test_amed_is_what_the_official_code_does(r: float, c: float, a: float, data: de.GaussianMixture) -> None:
    """solvers_amed.py, line by line, in σ."""
    process = de.EDM()
    model, sigmas = data.denoiser(process), [40.0, 3.0, 0.2]
    x = start = 40.0 * np.random.default_rng(3).standard_normal((4, 2))
    for t_cur, t_next in pairwise(sigmas):
        t_mid = t_next**r * t_cur ** (1 - r)
        x_mid = x + (t_mid - t_cur) * (x - model(x, t_cur)) / t_cur
        x = x + c * (t_next - t_cur) * (x_mid - model(x_mid, a * t_mid)) / t_mid
    rule = de.get_solver("amed").configure(r=r, c=c, a=a)
    found = de.sample(model, rule, de.TimeGrid(process, sigma=sigmas), start).x
    assert np.max(np.abs(found - x)) < 1e-9


def test_numbers_of_amed_belong_to_steps() -> None:
    amed = de.get_solver("amed")
    fit_to_three = amed.configure(r=(0.4, 0.5, 0.6), c=(1.0, 1.1, 0.9), a=0.95)
    plan = fit_to_three.plan(PROBE)
    assert fit_to_three.order == 0
    told = [row.at.rho / row.level.rho for row in plan.rows if isinstance(row, Evaluate) and row.at is not None]
    assert told == pytest.approx([0.95] * 3)
    with pytest.raises(SolverError, match="r holds 3 numbers, one for each step, but the grid has 4 steps; fit it"):
        fit_to_three.plan(de.grids.uniform_lambda(de.EDM(), 4))
    for name, value in (("r", 1.5), ("r", 0.0), ("c", -1.0), ("a", "x")):
        with pytest.raises(SolverError, match=f"{name} must be a positive number"):
            amed.configure(**{name: value}).plan(PROBE)


def test_a_plugin_on_a_base_comes_back_from_its_file(tmp_path: Path) -> None:
    found, path = fitted("amed", base="dpmpp_2m"), tmp_path / "plugin.json"
    found.save(path)
    again = de.get_solver(str(path))
    assert again.options["base"] == "dpmpp_2m"
    assert again.plan(found.grid) == found.solver.plan(found.grid)
    assert found.provenance["start"] == "amed_plugin(base='dpmpp_2m')"
