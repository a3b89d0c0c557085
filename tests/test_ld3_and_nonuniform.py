"""Grids that are learned: LD3, and DM-NonUniform with the numbers of its official code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode import prediction
from diffode.fitting import ld3, nonuniform
from diffode.fitting.grids import target_of
from diffode.plan import Combine, Evaluate
from tests.strategies import powers

# --- LD3 --------------------------------------------------------------------------------------------------


def test_ld3_finds_a_grid_that_is_known_to_be_best() -> None:
    """DDIM on one Gaussian ends exactly at its teacher's width only where the width is greatest: the tangent grid."""
    data, process = de.Gaussian(0.0, 1.0), de.EDM(0.02, 20.0)
    found = ld3.fit_ld3(data, 5, solver="ddim", process=process, samples=8, rounds=60)
    assert np.allclose(found.grid.rho, de.grids.arctan(process, 5).rho, rtol=2e-3)
    assert found.after < found.before


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun", "unipc_2", "dpm_solver_2"])
def test_ld3_helps_any_solver_on_states_that_it_has_not_seen(solver: str) -> None:
    found = ld3.fit_ld3("mixture_2d", 8, solver=solver, samples=64, rounds=8)
    assert found.after < 0.9 * found.before
    problem = de.problems.get_problem("mixture_2d")
    assert found.solver is not None
    out = de.sample(problem.model, found.solver, found.grid, problem.initial(2, seed=0))
    assert out.nfe <= 8


def test_what_the_network_is_told_is_learned_and_saved() -> None:
    """Decoupled levels leave the ends alone, stay within their share of the shortest step, and go with the model."""
    problem = de.problems.get_problem("mixture_2d")
    found = ld3.fit_ld3(problem, 5, decoupled=0.4, samples=32, rounds=6)
    shift = np.array(found.provenance["network_shift"])
    assert shift[0] == shift[-1] == 0
    assert 0 < np.abs(shift).max() <= 0.4 * np.diff(found.grid.lam).min() * (1 + 1e-12)
    target = target_of(problem, samples=32)
    told = found.around(problem.model)
    x = de.sample(told, "dpmpp_2m", found.grid, target.held_out).x
    assert np.sqrt(np.mean((x - target.ends[1]) ** 2)) == pytest.approx(found.after, rel=1e-12)
    plain = ld3.fit_ld3(problem, 5, samples=32, rounds=6)
    assert plain.around(problem.model) is problem.model
    assert "network_shift" not in plain.provenance


def test_moved_states_lower_the_loss_and_stay_in_their_ball(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[np.ndarray] = []
    relaxed = ld3._relaxed

    def watched(pupil: Any, parameters: np.ndarray, wanted: np.ndarray, x: Any, *rest: Any) -> Any:
        moved = relaxed(pupil, parameters, wanted, x, *rest)
        before, after = (np.linalg.norm(pupil.ends(parameters, at) - wanted, axis=1) for at in (x, moved))
        assert np.all(after <= before)
        assert np.mean(after) < np.mean(before)
        rounds.append(np.linalg.norm(moved - pupil.target.train, axis=1))
        return moved

    monkeypatch.setattr(ld3, "_relaxed", watched)
    found = ld3.fit_ld3("mixture_2d", 5, radius=0.01, samples=24, rounds=9)
    assert len(rounds) == 2
    assert 0 < rounds[-1].max() <= 0.01 * 20.0 * (1 + 1e-9)
    assert found.provenance["train"]["after"] < found.provenance["train"]["before"]
    assert found.after < found.before


def test_a_feature_is_what_the_loss_sees() -> None:
    """A feature that sees the first coordinate is served there, at the cost of the other if need be."""
    first = ld3.fit_ld3("mixture_2d", 4, feature=lambda x: x[:, :1], samples=24, rounds=6)
    blind = ld3.fit_ld3("mixture_2d", 4, feature=lambda x: 0 * x, samples=24, rounds=6)
    assert first.provenance["train"]["after"] < first.provenance["train"]["before"]
    assert blind.provenance["train"] == {"before": 0.0, "after": 0.0, "count": 24}


# --- DM-NonUniform ----------------------------------------------------------------------------------------


UNIP = de.get_solver("unip_3").configure(variant="exact", lower_order_final=True)
"""What the official code has written into its objective."""


OFFICIAL: dict[tuple[float, ...], tuple[float, float]] = {
    (-2.0, -0.5, 0.3, 1.9): (67.18037788126232, 67.15216609989096),
    (-3.0, -1.75, -1.0, 0.5, 1.25, 2.0, 3.5): (65.02130745871324, 70.50037681686184),
    (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0): (31.51285300055042, 25.378262543859964),
}
"""Inner λ on VP from t = 1 to 10⁻³ → the objective of step_optim.py (scxue/DM-NonUniform 95d4ac6, in float64), as it
stands (σ²/α, truncNum = 3), and with what its comments advise for pixels and many steps (σ/α, truncNum = 0)."""


OPTIMA: dict[int, tuple[list[float], float]] = {
    4: ([-5.024978, -1.99116, -0.790986, 0.889947, 4.557715], 60.8376893384803),
    5: ([-5.024978, -2.181826, -1.215823, -0.257793, 1.064631, 4.557715], 49.9048192184469),
    6: ([-5.024978, -2.544975, -1.423338, -0.811163, 0.099666, 1.257141, 4.557715], 38.347715000734624),
}
"""Steps → what the same code comes to from uniform λ, and its objective there."""


@pytest.mark.parametrize("inner", OFFICIAL)
def test_the_bound_is_that_of_the_official_code(inner: tuple[float, ...]) -> None:
    ends = de.VP().level(1.0), de.VP().level(1e-3)
    for options, wanted in zip((dict(apart=3), dict(power=1.0, apart=0)), OFFICIAL[inner], strict=True):
        error = nonuniform.CoefficientError(UNIP, ends, **options)
        assert error.value(np.array(inner)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("steps", OPTIMA)
def test_the_grid_is_that_of_the_official_code(steps: int) -> None:
    found = nonuniform.fit_nonuniform("gaussian", steps, solver=UNIP, apart=3)
    wanted, least = OPTIMA[steps]
    assert np.allclose(found.grid.lam, wanted, rtol=0, atol=1e-3)
    assert found.after == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize(
    "solver", ["ddim", "dpmpp_2m", "unip_3", "unipc_3", "heun", "dpm_solver_3", "ipndm_4", "o_belm"]
)
def test_contributions_are_the_derivatives_by_what_the_network_returns(solver: str) -> None:
    """Evaluations replaced by given numbers: the last state is a x_T + Σ c_n d_n."""
    plan = de.compile(solver, de.VP(), de.grids.uniform_lambda(de.VP(), 7))
    given_ = {row.out: np.sin(3.0 * k + 1.0) for k, row in enumerate(plan.rows) if isinstance(row, Evaluate)}

    def last(values: dict[str, float]) -> float:
        known = dict.fromkeys(plan.inputs, 0.0) | values
        for row in plan.rows:
            if isinstance(row, Combine):
                known[row.out] = sum(float(c) * known[name] for c, name in row.terms)
        return known[plan.states[-1]]

    steps = nonuniform.contributions(plan)
    assert len(steps) == 7
    found = sum(c * given_[name] for step in steps for name, c in step.items())
    assert found == pytest.approx(last(given_), rel=1e-11)
    for name in given_:
        alone = sum(step.get(name, 0.0) for step in steps)
        assert alone == pytest.approx(last({**dict.fromkeys(given_, 0.0), name: 1.0}), rel=1e-9, abs=1e-12)


@given(powers(0.05, 10.0), st.sampled_from(prediction.NAMES), st.floats(0.0, 3.0))
def test_the_assumed_error_is_one_of_the_data_in_every_prediction(rho: float, name: str, power: float) -> None:
    level = de.VP().level(lam=-np.log(rho))
    error = nonuniform.CoefficientError(UNIP, (level, level), power)
    found = error.assumed(Evaluate("d", "x", level, name))
    assert found == pytest.approx(prediction.change("x0", name, level)[1] * level.sigma**power / level.alpha, rel=1e-9)
