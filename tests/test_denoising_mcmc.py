"""Denoising MCMC: the chain's law and its diagnostics, what its draws cost, and what the official choices do to them.

4,000 chains are independent, so that every statistic is a mean of independent terms, with its standard error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.errors import ModelError, SolverError

EDM = de.EDM()
LEVELS = de.TimeGrid(EDM, sigma=np.geomspace(3.0, 0.3, 6).tolist())
CHAINS = 4000
DATA = de.Gaussian(0.0, 1.0)


def run(data: de.GaussianMixture = DATA, **options: Any) -> Any:
    x = 5.0 + 3.0 * np.random.default_rng(0).standard_normal((CHAINS, 1))
    settings = {"x": x, "seed": 3, "burn": 300, "eta": 0.05, "steps": 30, **options}
    return de.denoising_mcmc(data.denoiser(EDM), LEVELS, **settings)


def off(values: np.ndarray, expected: float) -> float:
    """How many standard errors a mean is from what is expected."""
    return abs(float(np.mean(values)) - expected) / (float(np.std(values)) / np.sqrt(len(values)))


@pytest.fixture(scope="module")
def chain() -> Any:
    return run()


# --- the law ------------------------------------------------------------------------------------------------


def test_state_and_level_have_their_joint_law(chain: Any) -> None:
    """Levels equally often; at each the state N(0, 1 + σ²), up to the O(η) of Langevin steps: at most 1 + η/4 here."""
    x, level = chain.x[:, 0], chain.visited[-1]
    for k, sigma in enumerate(LEVELS.sigma):
        assert off(level == k, 1 / 6) < 4
        scaled = x[level == k] / np.sqrt(1 + sigma**2)
        assert off(scaled, 0.0) < 4
        assert off(scaled**2, 1.0) < 4


def test_denoised_draws_are_data(chain: Any) -> None:
    (draw,) = chain.samples
    assert off(draw[:, 0], 0.0) < 4
    assert off(draw[:, 0] ** 2, 1.0) < 4
    assert off(draw[:, 0] ** 4, 3.0) < 4


def test_noisy_levels_carry_the_chain_from_mode_to_mode() -> None:
    """All chains begin at the right mode; in the end its weight, and the moments of both."""
    data = de.GaussianMixture([0.3, 0.7], [[-2.0], [2.0]], [0.3, 0.3])
    draw = run(data, eta=0.2, burn=500).samples[0][:, 0]
    assert off(draw > 0, 0.7) < 4
    assert off(draw, 0.8) < 4
    assert off(draw**2, 0.8**2 + float(data.covariance[0, 0])) < 4


def test_steps_that_are_too_long_are_seen() -> None:
    """Langevin steps of size e leave an error of O(e): at η = 1 one of more than 4 standard errors."""
    long = run(eta=1.0)
    assert off(long.x[:, 0] ** 2 / (1 + LEVELS.sigma[long.visited[-1]] ** 2), 1.0) > 4


def test_the_official_choices_change_the_law() -> None:
    """The smallest σ of a window is not a draw of the chain, nor is the likeliest level a draw of the posterior."""
    smallest, likeliest = run(smallest=True), run(likeliest=True)
    assert off(smallest.samples[0][:, 0] ** 2, 1.0) > 10
    assert off(likeliest.visited[-1] == 5, 1 / 6) > 10
    assert np.all(LEVELS.lam[smallest.taken] >= LEVELS.lam[run().taken])
    shared = np.array_equal(smallest.visited, run().visited)
    assert shared  # what is denoised does not change the chain


# --- what it costs ------------------------------------------------------------------------------------------


class Counted(de.Model):
    """A model that counts its evaluations."""

    prediction = "x0"

    def __init__(self) -> None:
        self.exact, self.process, self.count = DATA.denoiser(EDM), EDM, 0

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        self.count += 1
        return self.exact.predict(x, level, "x0")


def exact_odds(x: np.ndarray, levels: de.TimeGrid) -> np.ndarray:
    return np.stack([DATA.denoiser(EDM).log_density(x, level.t) for level in levels], axis=1)


@given(
    st.integers(0, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from(["heun", "ddpm", "ddim"]),
)
def test_evaluations_are_counted(burn: int, skip: int, draws: int, steps: int, solver: str) -> None:
    model = Counted()
    options: dict[str, Any] = {"burn": burn, "skip": skip, "draws": draws, "steps": steps, "solver": solver}
    chain = de.denoising_mcmc(model, LEVELS, np.ones((3, 1)), seed=0, posterior=exact_odds, **options)
    assert chain.nfe == model.count == burn + draws * (skip + steps * (2 if solver == "heun" else 1))
    assert chain.nfe_per_sample == chain.nfe / draws
    assert chain.visited.shape == (1 + burn + draws * skip, 3)
    assert len(chain.samples) == len(chain.taken) == draws
    assert np.array_equal(chain.taken, chain.visited[burn + skip :: skip])
    exact = de.denoising_mcmc(DATA.denoiser(EDM), LEVELS, np.ones((3, 1)), seed=0, **options)
    assert np.array_equal(exact.visited, chain.visited)  # its own posterior is the exact one


def test_a_seed_gives_the_same_draws_on_both_backends() -> None:
    torch = pytest.importorskip("torch")
    x, options = np.random.default_rng(1).standard_normal((6, 1)), {"burn": 20, "solver": "ddpm", "smallest": True}
    model = DATA.denoiser(EDM)
    one = de.denoising_mcmc(model, LEVELS, x, seed=7, **options)
    two = de.denoising_mcmc(model, LEVELS, torch.as_tensor(x), seed=7, backend="torch", **options)
    other = de.denoising_mcmc(model, LEVELS, x, seed=8, **options)
    assert np.array_equal(one.visited, two.visited)
    assert one.samples[0] == pytest.approx(two.samples[0].numpy(), rel=1e-10)
    assert not np.array_equal(one.visited, other.visited)


# --- diagnostics --------------------------------------------------------------------------------------------


def test_diagnostics_tell_a_chain_that_moves_from_one_that_does_not(chain: Any) -> None:
    assert chain.occupancy == pytest.approx(np.full(6, 1 / 6), abs=0.06)
    assert chain.spread < 1.05
    stuck = run(eta=1e-6, burn=40)
    assert stuck.autocorrelation_time > 2 * chain.autocorrelation_time > 2
    assert stuck.spread > chain.spread


def test_independent_levels_have_an_autocorrelation_time_of_one() -> None:
    visited = np.random.default_rng(0).integers(0, 6, (2001, 50))
    chain = type(run(burn=0, skip=1, steps=2))((np.zeros(1),), visited[:1], visited, np.zeros(1), LEVELS, 1)
    assert chain.autocorrelation_time == pytest.approx(1.0, abs=0.1)
    slow = np.repeat(visited, 8, axis=0)
    held = type(chain)((np.zeros(1),), slow[:1], slow, np.zeros(1), LEVELS, 1)
    assert held.autocorrelation_time == pytest.approx(8.0, abs=1.0)


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"draws": 0}, SolverError, "draws must be a whole number of at least 1"),
        ({"burn": -1}, SolverError, "burn must be a whole number of at least 0"),
        ({"start": 6}, SolverError, "start=6 is none of the 6 levels"),
        ({"eta": 0.0}, SolverError, "eta must be a positive number"),
        ({"end": 0.5}, SolverError, "end=0.5 is not below all levels"),
        ({"seed": -1}, SolverError, "seed must be a whole number of at least 0, not -1"),
        ({"x": np.ones((0, 1))}, ModelError, "x_T holds no state"),
        ({"solver": "gddim_2"}, SolverError, "gddim_2 is made for systems"),
        ({"eta": 1e200}, ModelError, "take a smaller eta"),
        ({"posterior": lambda x, levels: np.zeros(len(x))}, ModelError, "posterior must return shape"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), np.errstate(all="ignore"):
        run(**options)


def test_a_model_that_fails_is_told_apart_from_a_step_that_is_too_long() -> None:
    def lost(x: Any, t: Any) -> Any:
        return np.where(t < 1.0, np.nan, x)

    model = de.Denoiser(lost, EDM)
    options: dict[str, Any] = {"posterior": lambda x, levels: np.zeros((len(x), len(levels))), "draws": 20}
    with pytest.raises(ModelError, match=r"the model returned NaN or ∞ in sweep \d+, at t=0\.\d+$"):
        de.denoising_mcmc(model, LEVELS, np.ones((4, 1)), seed=0, **options)


def test_a_chain_prints_as_one_line(chain: Any) -> None:
    assert repr(chain) == (
        f"<denoising MCMC: 1 draws of shape ({CHAINS}, 1) (float64), 310 sweeps over 6 levels, nfe {chain.nfe}>"
    )


def test_a_model_without_a_density_needs_a_posterior() -> None:
    with pytest.raises(ModelError, match="give posterior="):
        de.denoising_mcmc(Counted(), LEVELS, np.ones((3, 1)), seed=0)
    with pytest.raises(ModelError, match="needs a model of"):
        de.denoising_mcmc(DATA.denoiser(de.VP()), LEVELS, np.ones((3, 1)), seed=0)
