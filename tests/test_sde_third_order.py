"""The third order of SDE-DPM-Solver++: as published, put right, and as the diffusers library has it; gDDIM's λ."""

from __future__ import annotations

import numpy as np
import pytest

import diffode as de
from diffode.analysis.stochastic import weak_order_mixture

DATA = de.Gaussian(0.3, 0.5)
SLIP = de.get_solver("dpm_multistep").configure(order=3, tau=1.0, kind="taylor", third="diffusers")


def fall(solver: str | de.Solver, ratios: tuple[float, ...]) -> float:
    """The order at which W2 falls, on steps in λ whose lengths repeat in a pattern."""
    rule = de.get_solver(solver)

    def miss(count: int) -> float:
        lengths = np.resize(ratios, count)
        lam = -2.0 + 4.0 * np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
        return de.law(rule.plan(de.TimeGrid(de.VP(), lam=lam.tolist())), DATA).w2()

    return float(np.log2(miss(160) / miss(320)))


@pytest.mark.parametrize("name", ["dpmpp_3m_sde", "dpmpp_3m_sde_corrected", "dpmpp_2m_sde"])
def test_as_published_and_put_right_it_is_of_second_order_on_any_steps(name: str) -> None:
    for ratios in ((1.0,), (1.0, 2.0, 0.5, 1.3)):
        assert fall(name, ratios) == pytest.approx(2.0, abs=0.15)


def test_the_slip_of_diffusers_is_taken_back_on_equal_steps_alone() -> None:
    """It adds the second difference of a noisy path, √h in size, which telescopes over like steps and no others."""
    assert (SLIP.order, SLIP.reaches, SLIP.uniform) == (2, 1, "lam")
    assert fall(SLIP, (1.0,)) == pytest.approx(1.0, abs=0.15)
    assert fall(SLIP, (1.0, 2.0, 0.5, 1.3)) < 0.1
    assert weak_order_mixture(SLIP, de.VP()).value == pytest.approx(0.0, abs=0.1)  # one step has not taken it back yet


def test_without_noise_the_slip_costs_the_same_on_any_steps() -> None:
    ode = SLIP.configure(tau=0.0)
    assert ode.uniform is None
    for ratios in ((1.0,), (1.0, 2.0, 0.5, 1.3)):
        assert fall(ode, ratios) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0])
def test_gddim_is_the_first_order_family_at_its_own_noise(tau: float) -> None:
    r"""x_t = α_t D + √(σ_t² − v²) ε + v z with v² = σ_t² (1 − e^{−2λ²h})."""
    process = de.VP()
    grid = de.TimeGrid(process, t=[0.7, 0.4])
    (a, b), x, z = grid.levels, np.array([[0.4], [-1.3]]), np.array([[0.7], [0.2]])
    model = DATA.denoiser(process)
    v = b.sigma * np.sqrt(-np.expm1(-2 * tau**2 * (b.lam - a.lam)))
    d, eps = (model.predict(x, a, name) for name in ("x0", "eps"))
    expected = b.alpha * d + np.sqrt(b.sigma**2 - v**2) * eps + v * z
    rule = de.get_solver("gddim_scalar").configure(tau=tau)
    assert de.sample(model, rule, grid, x, noise=[z] if tau else None).x == pytest.approx(expected, rel=1e-12)
