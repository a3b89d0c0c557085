"""Systems to test on: Langevin diffusions that are drawn, spans, states and grids for them, a mixture of data."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import diffode as de
from diffode.expressions import Matrix
from diffode.plan import Combine, Plan
from tests.strategies import Strategy, powers

MIXTURE = de.GaussianMixture([0.5, 0.3, 0.2], [[1.5, 0.0], [-1.0, 1.2], [0.0, -1.6]], [0.3, 0.5, 0.2])
OTHERS = (de.CLD(), de.CLD(beta=2.0, slope=3.0, m_inv=1.5, vv0=0.3), de.CLD(jitter=1e-6))


@st.composite
def langevin(draw: Any) -> de.CLD:
    """CLD with parameters drawn; without jitter as often as not."""
    m_inv, vv0 = draw(powers(0.5, 10.0)), draw(powers(0.01, 1.0))
    jitter = draw(st.one_of(st.just(0.0), powers(1e-8, 1e-3).map(lambda share: share * vv0 / m_inv)))
    return de.CLD(draw(powers(1.0, 6.0)), draw(st.one_of(st.just(0.0), powers(0.1, 4.0))), m_inv, vv0, jitter)


def spans(least: float = 0.05) -> Strategy:
    """Two times, the later first, apart by `least` or more."""
    pairs = st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)).map(lambda pair: (max(pair), min(pair)))
    return pairs.filter(lambda pair: pair[0] - pair[1] >= least)


def dense(matrix: Matrix) -> np.ndarray:
    return np.array(matrix.rows, dtype=float)


def states(count: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, d)) * [[[1.0], [0.5]]]


def sizes(plan: Plan) -> float:
    """The largest coefficient of a plan: what its rounding is measured by."""
    return max(abs(float(c)) for row in plan.rows if isinstance(row, Combine) for c, _ in row.terms)


def grid(process: de.Process, n: int, start: float = 1.0, end: float = 0.05) -> de.TimeGrid:
    return de.grids.quadratic(process, n, start=start, end=end)
