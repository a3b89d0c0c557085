"""Unified schedules (USF): the order of every choice, relaxations, correctors, and the forecast of the search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.order.proof import prove_order
from diffode.fitting.schedules import CHOICES, forecast
from diffode.plan import Evaluate
from diffode.solvers.tables import CoefficientTable
from tests.fits import PROBE, bound, final
from tests.strategies import grids, mixtures, processes


def choices() -> Any:
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()})


@settings(max_examples=12)
@given(choices())
def test_the_order_of_a_choice_is_proved(choice: dict[str, Any]) -> None:
    rule = de.get_solver("usf").configure(schedule=(choice,))
    proof = prove_order(rule)
    assert proof.order == rule.order, choice


@given(st.data())
def test_a_first_step_of_order_one_has_no_prediction(data: st.DataObject) -> None:
    """Values that were taken in one prediction serve steps of the other."""
    process = data.draw(processes(tame=True))
    grid = data.draw(grids(process, steps=st.integers(2, 6)))
    model = data.draw(mixtures(dimension=1)).denoiser(process)
    x = float(grid.sigma[0]) * np.random.default_rng(3).standard_normal((4, 1))
    later = {
        "prediction": "eps",
        "order": data.draw(st.integers(1, 4)),
        "corrector": data.draw(st.sampled_from([None, "pec"])),
    }
    usf = de.get_solver("usf")
    plans = [usf.configure(schedule=({"order": 1, "prediction": p}, later)).plan(grid) for p in ("x0", "eps")]
    mixed, plain = (final(plan, model, x) for plan in plans)
    assert np.max(np.abs(mixed - plain)) <= sum(bound(plan, model, x) for plan in plans)
    assert len({row.prediction for row in plans[0].rows if isinstance(row, Evaluate)}) == 1


RELAXED: dict[str | float, Callable[[float], float]] = {
    "bh1": lambda h: h * h / 2 / (np.expm1(h) - h),
    "bh2": lambda h: h * np.expm1(h) / 2 / (np.expm1(h) - h),
    "plus": lambda h: 1 + np.expm1(h) / 2,
    "minus": lambda h: 1 - np.expm1(h) / 2,
    1 / 6: lambda h: 1 + h / 6,
}
"""What the official code multiplies f′ by, with −h in place of h for data prediction."""


@pytest.mark.parametrize("prediction", ["eps", "x0"])
@pytest.mark.parametrize("relaxation", RELAXED)
@given(st.floats(0.05, 2.0), st.floats(0.05, 2.0))
def test_relaxations_are_those_of_the_official_code(
    relaxation: str | float, prediction: str, before: float, h: float
) -> None:
    """The older value has no other weight than that of the first derivative."""
    grid = de.TimeGrid(de.EDM(), lam=[-1.0 - before, -1.0, -1.0 + h])
    steps = [({"prediction": prediction, "relaxation": w},) for w in (relaxation, None)]
    tables = [CoefficientTable.of(de.get_solver("usf").configure(schedule=s).plan(grid)) for s in steps]
    first = [dict(table.steps[0].weights) for table in tables]
    last = [dict(table.steps[1].weights) for table in tables]
    ratio = last[0]["x_T"] / first[0]["x_T"]
    relaxed, plain = (row["d0"] - ratio * one["d0"] for row, one in zip(last, first, strict=True))
    z = h if prediction == "eps" else -h
    assert relaxed == pytest.approx(RELAXED[relaxation](z) * plain, rel=1e-8)


@pytest.mark.parametrize("corrector", [None, "pec", "pece"])
def test_correctors_cost_what_they_say(corrector: str | None) -> None:
    plan = de.get_solver("usf").configure(schedule=({"order": 2, "corrector": corrector},)).plan(PROBE)
    assert plan.nfe == {None: 3, "pec": 3, "pece": 5}[corrector]


@given(st.integers(0, 2**32 - 1))
def test_a_forecast_of_what_is_known_is_what_is_known(seed: int) -> None:
    generator = np.random.default_rng(seed)
    known = np.unique(generator.integers(0, 4, (12, 6)), axis=0)
    values = generator.standard_normal(len(known))
    assert np.allclose(forecast(known, values, known, length=2.0, noise=0.0), values, atol=1e-9)
