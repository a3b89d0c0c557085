"""What controllers are made of: digital filters, and the lower weights of tableaux."""

from __future__ import annotations

import numpy as np
import pytest

from diffode.adaptive import FILTERS, digital_filter
from diffode.analysis.order.classical import classical_conditions
from diffode.solvers.tableaux import TABLEAUX, Tableau


@pytest.mark.parametrize("table", [t for t in TABLEAUX.values() if t.lower], ids=lambda t: t.name)
def test_the_lower_weights_of_a_tableau_have_one_order_less(table: Tableau) -> None:
    rows = (*table.a, table.b)[: len(table.lower)]
    lower = Tableau(rows, table.lower, table.order - 1)
    assert classical_conditions(lower, table.order).order == table.order - 1


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_filter_comes_to_rest_at_the_safety(name: str, k: int) -> None:
    """On E = (h/h*)^k steps settle at θ h*, from either side."""
    for h in (0.3, 3.0):
        steering = digital_filter(name).steer(k)
        for _ in range(400):
            accepted, factor = steering.judge(h**k)
            h *= factor
        assert accepted
        assert h == pytest.approx(0.9, rel=1e-6)


def test_a_filter_is_smoother_than_elementary_control() -> None:
    """Where errors scatter, H211b changes its steps less than I does."""

    def wobble(name: str) -> float:
        random, steering, factors = np.random.default_rng(0), digital_filter(name).steer(2), []
        h = 0.5
        for _ in range(500):
            _, factor = steering.judge(h**2 * np.exp(0.3 * random.standard_normal()))
            h *= factor
            factors.append(factor)
        return float(np.std(factors))

    assert wobble("H211b") < 0.75 * wobble("I")
