"""gDDIM on CLD (cld_jax): the authors' table of R, with its labels, and their sums in place of integrals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import diffode as de
from diffode.expressions import Matrix
from tests.golden.cases import Case
from tests.golden.setup import Rebuilt, Segment, Setup, solver

DT = 1e-5
"""The step with which the source integrates R by the classical Runge–Kutta method."""


@cache
def _table(process: de.CLD) -> tuple[np.ndarray, np.ndarray]:
    """Labels and entries of R. int(1/DT) is 99,999 in floats: label k is k·1.00001e-5, where R belongs to k·1e-5."""
    beta, m_inv, gamma = process.beta, process.m_inv, 1 / process.rate

    def slope(r: tuple[float, ...]) -> tuple[float, ...]:
        a, b, c, d = r
        pull = gamma * beta / (a * d - b * c)
        down = (-beta * a - gamma * m_inv * beta * c - pull * b, -beta * b - gamma * m_inv * beta * d + pull * a)
        return (beta * m_inv * c, beta * m_inv * d, *down)

    def moved(r: tuple[float, ...], by: tuple[float, ...], h: float) -> tuple[float, ...]:
        return tuple(x + h * y for x, y in zip(r, by, strict=True))

    labels = np.linspace(0, 1 + DT, int(1 / DT) + 1, endpoint=False)
    r: tuple[float, ...] = (
        float(np.sqrt(process.jitter)),
        0.0,
        0.0,
        float(np.sqrt(process.vv0 / m_inv + process.jitter)),
    )
    rows: list[tuple[float, ...]] = [r]
    for _ in labels[1:]:
        k1 = slope(r)
        k2 = slope(moved(r, k1, DT / 2))
        k3 = slope(moved(r, k2, DT / 2))
        k4 = slope(moved(r, k3, DT))
        r = moved(r, tuple(p + 2 * q + 2 * s + t for p, q, s, t in zip(k1, k2, k3, k4, strict=True)), DT / 6)
        rows.append(r)
    return labels, np.array(rows)


@dataclass(frozen=True)
class Tabulated(de.CLD):
    """CLD with R read off the authors' table, linearly between its rows and beyond the last; Σ is R Rᵀ."""

    def factor(self, t: Any) -> Matrix:
        labels, rows = _table(self)
        i = np.clip(np.searchsorted(labels, t, side="right"), 1, len(labels) - 1)
        share = ((t - labels[i - 1]) / (labels[i] - labels[i - 1]))[..., None]
        found = rows[i - 1] + share * (rows[i] - rows[i - 1])
        return Matrix.of([found[..., k] if np.ndim(t) else float(found[k]) for k in range(4)])

    def covariance(self, t: Any) -> Matrix:
        root = self.factor(t)
        return root @ root.T


def setup(case: Case) -> Setup:
    """A case of one of the three kinds of coefficients: Euler's, the constant ε, a polynomial of some degree."""
    process = Tabulated(jitter=1e-6)
    kind = case.solver.removeprefix("gddim_cld_")
    if kind == "em":
        chosen = solver("euler_system")
    else:
        degree, terms = (0, 1_000) if kind == "order0" else (int(kind.removeprefix("deis")), 10_000)
        chosen = solver("gddim", degree=degree, terms=terms)
    grid = de.TimeGrid(process, t=case.grid["t"])
    built = Rebuilt("t", case.grid["t"], de.grids.quadratic(process, grid.steps, end=1e-3).t)
    start = case.x_init.reshape(len(case.x_init), process.components, -1)
    part = Segment(chosen, grid, case.data.denoiser(process))
    return Setup((part,), start, floor=1.0, rebuilt=(built,), flat=True)
