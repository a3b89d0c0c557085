"""MR Sampler (utils/sampler.py) and IR-SDE's posterior (utils/sde_utils.py), by their tables of α, σ and λ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, expm1, inf, log
from typing import Any, ClassVar

import numpy as np

import diffode as de
from tests.golden.cases import Case
from tests.golden.setup import Missing, Segment, Setup, solver

DENOISED = de.Level(-1.0, 1.0, 0.0, inf)
"""σ = 0, at a time that no table has."""


@dataclass(frozen=True)
class Tabulated(de.MeanReverting):
    """IR-SDE's process where it is asked for its anchor at stored times only."""

    anchors: tuple[tuple[float, float], ...] = ()
    name: ClassVar[str] = "tabulated"

    def anchor(self, t: float) -> float:
        return dict(self.anchors)[t]


class Restorer(de.Model):
    r"""The exact model of x = α x_0 + (1 − α) μ + σ ε, as the source converts it from what its network is trained for.

    Between the entries of its tables the source interpolates α and σ each on its own. A velocity is converted as if
    S = α² + σ²/σ_∞² were 1 there too, which makes it S ε, or S D + (1 − S) μ.
    """

    def __init__(self, case: Case, process: Tabulated, mu: np.ndarray) -> None:
        self.exact, self.process, self.mu = case.data.denoiser(process), process, mu
        self.prediction = {"noise": "eps", "data": "x0"}[case.options.get("parameterization", "noise")]
        self.from_velocity = case.options.get("fit_target") == "velocity"

    def native(self, x: Any, level: de.Level, output: str | None = None, to: de.Level | None = None) -> Any:
        value = self.exact.predict(x - (1 - level.alpha) * self.mu, level, self.prediction)
        if not self.from_velocity:
            return value
        scale = level.alpha**2 + (level.sigma / self.process.sigma_inf) ** 2
        return scale * value + (1 - scale) * self.mu * (self.prediction == "x0")


def setup(case: Case) -> Setup:
    """A case of `MRSampler.sampling` or `IRSDE.reverse_posterior`."""
    if case.solver == "irsde_reverse_posterior":
        return _posterior(case)
    if case.solver in ("irsde_reverse_sde", "irsde_reverse_ode"):
        return _euler(case)
    if not case.solver.startswith("mr_"):
        raise Missing(f"no solver for {case.solver}")
    options, table = case.options, case.grid
    rows = zip(table["t"], table["alpha"], table["sigma"], table["lambda"], strict=True)
    levels = [de.Level(*row) for row in rows]
    denoise = options.get("denoise_last", False)
    if denoise and options["parameterization"] == "noise":
        raise Missing("denoise_last, which with parameterization=noise returns a noise prediction")
    # below 10 steps the source lowers the orders one step too soon and takes the last step in full order; where
    # denoise_last replaces that one, the end is lowered as usual
    lowered = False if len(levels) > 10 else (True if denoise else "early")
    chosen = solver(case.solver, lower_order_final=lowered)
    with_quirk = options["solver_type"] == "sde" and options["parameterization"] == "data"
    anchors = _sde_anchors(levels) if with_quirk else [1 - level.alpha for level in levels]
    if denoise:
        return _setup(case, [(chosen, levels[:-1]), (solver("ddim"), [levels[-2], DENOISED])], levels, anchors)
    return _setup(case, [(chosen, levels)], levels, anchors)


def _posterior(case: Case) -> Setup:
    """The ancestral step with the smaller variance, from one index of the tables to the next."""
    times = [*case.grid["t"], 0.0]
    table = zip(case.grid["alpha_table"], case.grid["sigma_bar_table"], strict=True)
    entries = [(alpha, sigma, log(alpha / sigma)) for alpha, sigma in table]
    levels = [de.Level(t, *entries[int(t)]) for t in times]
    return _setup(case, [(solver("ddpm"), levels)], levels, [1 - level.alpha for level in levels])


@dataclass(frozen=True)
class _Rates:
    """α′ and σ′ at the indices of the tables, from their θ and g: α′ = −θ α, and g² = 2 σ (σ′ + θ σ)."""

    alpha: list[float]
    sigma: list[float]
    theta: list[float]
    g: list[float]
    dt: float

    def dalpha(self, t: float) -> float:
        return -self.dt * self.theta[int(t)] * self.alpha[int(t)]

    def dsigma(self, t: float) -> float:
        sigma = self.sigma[int(t)]
        return self.dt * (self.g[int(t)] ** 2 / (2 * sigma) - self.theta[int(t)] * sigma)


def _euler(case: Case) -> Setup:
    """Euler–Maruyama, or Euler's method on the probability flow, from index to index; the noise is subtracted."""
    names = ("alpha_table", "sigma_bar_table", "theta", "sigma_table")
    rates = _Rates(*(case.grid[name] for name in names), dt=case.record["process"]["dt"])
    times = [*map(int, case.grid["t"]), 0]
    levels = [de.Level(t, a := rates.alpha[t], b := rates.sigma[t], log(a / b), rates) for t in times]
    anchors = [1 - levels[0].alpha]
    for t in times[:-1]:  # Euler's method on the anchor too, which leaves 1 − α
        anchors.append(anchors[-1] - rates.dt * rates.theta[t] * (1 - anchors[-1]))
    chosen = solver("score_sde", probability_flow=case.solver == "irsde_reverse_ode")
    return _setup(case, [(chosen, levels)], levels, anchors, [-draw for draw in case.noise])


def _setup(
    case: Case,
    parts: list[tuple[de.Solver, list[de.Level]]],
    levels: list[de.Level],
    anchors: list[float],
    noise: list[np.ndarray] | None = None,
) -> Setup:
    mu = np.array(case.extra["mu"])
    table = [*zip((level.t for level in levels), anchors, strict=True), (DENOISED.t, 0.0)]
    forward = Tabulated(case.record["process"]["lam"], anchors=tuple(table))
    model = Restorer(case, forward, mu)
    segments = [
        Segment(chosen, de.TimeGrid(forward, levels=ladder), model, () if k else noise or case.noise)
        for k, (chosen, ladder) in enumerate(parts)
    ]
    return Setup(tuple(segments), case.x_init, mu=mu)


def _sde_anchors(levels: list[de.Level]) -> list[float]:
    r"""What the source's SDE step in data prediction carries of μ.

    It has (α_t/α_s) e^{−2h} where the state has (σ_t/σ_s) e^{−h}. The two are one at the entries of its tables; between
    them, where λ is not log(α/σ), the anchor drifts away from 1 − α.
    """
    anchors = [1 - levels[0].alpha]
    for a, b in pairwise(levels):
        h = b.lam - a.lam
        kept = b.sigma / a.sigma * exp(-h)
        anchors.append(kept * anchors[-1] + 1 - b.alpha / a.alpha * exp(-2 * h) + b.alpha * expm1(-2 * h))
    return anchors
