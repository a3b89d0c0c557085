"""CFG++: the published steps, what guidance it is, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.errors import ModelError, SolverError
from tests.strategies import grids, mixtures, processes


def guided(process: de.Process, scale: float) -> de.Guided:
    wide = de.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.3, 0.5])
    return de.Guided(de.Gaussian([1.2], [[0.2]]).denoiser(process), wide.denoiser(process), scale)


def start(grid: de.TimeGrid) -> np.ndarray:
    return float(grid.sigma[0]) * np.random.default_rng(0).standard_normal((5, 1))


EDM = de.EDM()
GRID = de.grids.karras(EDM, 6, start=10.0, end=0.1)


def published(second_order: bool) -> np.ndarray:
    """ComfyUI's loops over σ, in its own variables."""
    model, x = guided(EDM, 0.6), start(GRID)
    past: tuple[np.ndarray, float] | None = None
    for a, b in zip(GRID.sigma[:-1], GRID.sigma[1:], strict=True):
        level, h = EDM.level(float(a)), float(np.log(a / b))
        d = model.predict(x, level, "x0")
        free = model.predict(x, level, "x0", output="unconditional")
        slope = 0.0 * x if past is None or not second_order else -np.expm1(-h) * (d - past[0]) * h / (2 * past[1])
        x = d - np.exp(-h) * free + slope + np.exp(-h) * x
        past = free, h
    return x


@pytest.mark.parametrize("name", ["euler_cfg_pp", "dpmpp_2m_cfg_pp"])
def test_it_is_the_published_loop(name: str) -> None:
    out = de.sample(guided(EDM, 0.6), name, GRID, start(GRID))
    assert out.x == pytest.approx(published(name.startswith("dpmpp")), rel=1e-12, abs=1e-13)


@given(st.data())
def test_ddim_with_it_is_ddim_with_a_guidance_scale_that_grows_as_steps_shrink(data: st.DataObject) -> None:
    """CFG++ at λ is guidance at ω = λ/(1 − e^{−h}), exactly, whatever the networks."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    one, two = (data.draw(mixtures(dimension=2)).denoiser(process) for _ in range(2))
    scale = data.draw(st.floats(0.0, 1.0))
    x = float(grid.sigma[0]) * np.random.default_rng(2).standard_normal((4, 2))
    mu = np.zeros((1, 2)) if process.anchored else None
    ours = de.sample(de.Guided(one, two, scale), "cfg_pp(base='ddim')", grid, x, mu=mu).x
    for a, b in zip(grid.levels[:-1], grid.levels[1:], strict=True):
        omega = scale / -np.expm1(a.lam - b.lam)
        pair = de.TimeGrid(process, levels=[a, b])
        x = de.sample(de.Guided(one, two, float(omega)), "ddim", pair, x, mu=mu).x
    assert ours == pytest.approx(x, rel=1e-8, abs=1e-8 * float(np.max(np.abs(x))))


@given(st.sampled_from(["ddim", "euler_ancestral", "dpmpp_2m", "dpmpp_2s_ancestral", "unipc_2", "dpm2"]))
def test_without_a_difference_of_branches_it_is_the_base(base: str) -> None:
    model = de.Gaussian([1.2], [[0.2]]).denoiser(EDM)
    rule = de.get_solver("cfg_pp").configure(base=base)
    noise = None if de.get_solver(base).plan(GRID).is_deterministic else 4
    plain = de.sample(model, base, GRID, start(GRID), noise=noise).x
    assert de.sample(de.Guided(model, model, 3.0), rule, GRID, start(GRID), noise=noise).x == pytest.approx(plain)


def test_noise_and_data_prediction_are_one_step() -> None:
    """DDIM asks for ε and Euler-ancestral(0) for D: CFG++ on both is one sampler."""
    one, two = (
        de.sample(guided(EDM, 0.6), name, GRID, start(GRID)).x for name in ("cfg_pp(base='ddim')", "euler_cfg_pp")
    )
    assert one == pytest.approx(two, rel=1e-12)


def test_guidance_does_not_shrink_with_the_step() -> None:
    """The state moves by α_t λ (D_c − D_u) in every step: with more steps it goes on moving, where the base settles."""

    def end(name: str, steps: int) -> np.ndarray:
        grid = de.grids.karras(EDM, steps, start=10.0, end=0.1)
        return de.sample(guided(EDM, 0.6), name, grid, start(grid)).x

    def moved(name: str) -> float:
        return float(np.max(np.abs(end(name, 128) - end(name, 64))))

    assert moved("ddim") < 0.05
    assert moved("euler_cfg_pp") > 10 * moved("ddim")


@given(st.integers(2, 9))
def test_a_step_costs_the_two_passes_of_guidance(steps: int) -> None:
    """The unconditional branch is answered from the guided evaluation at the same state."""
    grid = de.grids.karras(EDM, steps, final="zero")
    out = de.sample(guided(EDM, 0.6), "dpmpp_2m_cfg_pp", grid, start(grid))
    assert (out.nfe, out.passes) == (2 * steps - 1, 2 * steps)
    alone = guided(EDM, 0.6)
    level, x = EDM.level(1.0), start(grid)
    expected = alone.predict(x, level, "x0", output="unconditional")
    alone.predict(x + 1, level, "x0")
    assert np.array_equal(alone.predict(x, level, "x0", output="unconditional"), expected)


def test_what_it_cannot_do_is_named() -> None:
    with pytest.raises(SolverError, match="euler_t is in velocity"):
        de.get_solver("cfg_pp(base='euler_t')").plan(GRID)
    with pytest.raises(SolverError, match="no slopes='free'"):
        de.get_solver("cfg_pp(slopes='free')").plan(GRID)
    with pytest.raises(ModelError, match=r"output='unconditional', which fn\(x, t\) does not take; give de.Guided"):
        de.sample(de.Denoiser(lambda x, t: x, EDM), "euler_cfg_pp", GRID, start(GRID))
