"""EDM (generate.py), and its copy in PFGM++: Heun's method in σ, and the ablation sampler in any schedule's time."""

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np

import diffode as de
from diffode.solvers.runge_kutta import Tableau
from tests.golden.cases import Case
from tests.golden.processes import Rescaled, square_root, straight, vp_between
from tests.golden.setup import Rebuilt, Segment, Setup, churned, solver

EDM = de.EDM()
RANGES = {
    "vp": (float(Rescaled(de.VP()).sigma(1e-3)), float(Rescaled(de.VP()).sigma(1.0))),
    "ve": (0.02, 100.0),
    "iddpm": (0.002, 81.0),
    "edm": (0.002, 80.0),
}
"""The ablation sampler's noise levels, for each of its discretizations."""


def setup(case: Case) -> Setup:
    """A case of `edm_sampler` or `ablation_sampler`."""
    if case.solver == "ablation_sampler":
        return _ablation(case)
    options = case.options
    grid = de.TimeGrid(EDM, sigma=case.grid["sigma"])
    ends = dict(start=options.get("sigma_max", 80.0), end=options.get("sigma_min", 0.002))
    built = de.grids.karras(EDM, options["num_steps"], rho=options.get("rho", 7), final="zero", **ends)
    scale = 1.0 if options.get("pfgmpp") else grid[0].sigma  # PFGM++ is handed the state at its full size
    rebuilt = (Rebuilt("sigmas", case.grid["sigma"], built.sigma),)
    chosen, noise = solver("heun"), list[np.ndarray]()
    if options.get("S_churn"):
        churn = {name.lower(): value for name, value in options.items() if name.startswith("S_")}
        churn.setdefault("s_noise", 0.0 if options.get("pfgmpp") else 1.0)  # PFGM++ raises the level all the same
        chosen, noise = churned(chosen, grid, case.noise, **churn)
    segment = Segment(chosen, grid, case.data.denoiser(EDM), noise)
    return Setup((segment,), scale * case.x_init, rebuilt=rebuilt)


def _ablation(case: Case) -> Setup:
    """Euler or Heun (with any inner node) in t of a schedule, whose last step is Euler's; levels are told by their ρ.

    The source raises every level to t̂ = t(σ(t)), also without churn, and adds noise of variance σ(t̂)² − σ(t)²: where
    rounding makes that positive, which it cannot for σ = t, a relative 2e-8 of unrecorded noise.
    """
    options = case.options
    discretization = options.get("discretization", "edm")
    sigma_min, sigma_max = (
        options.get(name) or default
        for name, default in zip(("sigma_min", "sigma_max"), RANGES[discretization], strict=True)
    )
    forward = _schedule(options.get("schedule", "linear"), options.get("scaling", "none") == "vp", sigma_min, sigma_max)
    method, alpha = options.get("solver", "heun"), options.get("alpha", 1)
    table = Tableau(((), (alpha,)), (1 - 1 / (2 * alpha), 1 / (2 * alpha)), 2) if method == "heun" else "euler"
    # the file stores no grid, but every other label of Heun's method is one of its levels
    rho = np.array(case.record["eval_labels"])[:: 2 if method == "heun" else 1]
    grid = de.TimeGrid(forward, levels=[*(forward.level(rho=float(r)) for r in rho), forward.level(0.0)])
    chosen = solver("runge_kutta", tableau=table, variable="t", final="euler")
    built = _built(discretization, options, sigma_min, sigma_max)
    exact = options.get("schedule", "linear") == "linear"
    floor = 1.0 if options.get("schedule") == "vp" else 0.0  # there the source has σ² = e^B − 1, cancelled
    stray = 0.0 if exact else sqrt(2 * np.finfo(float).eps)
    return Setup(
        (Segment(chosen, grid, case.data.denoiser(forward)),),
        grid[0].sigma * case.x_init,
        label=lambda level: level.rho,
        floor=floor,
        unrecorded=stray,
        rebuilt=() if built is None else (Rebuilt("levels", rho, built.rho, floor),),
    )


@cache
def _schedule(schedule: str, scaled: bool, sigma_min: float, sigma_max: float) -> de.Process:
    if schedule == "vp":
        forward = vp_between(sigma_min, sigma_max)
        return forward if scaled else Rescaled(forward)
    return {"ve": square_root, "linear": straight}[schedule](scaled)


def _built(discretization: str, options: dict[str, float], sigma_min: float, sigma_max: float) -> de.TimeGrid | None:
    steps, ends = options["num_steps"] - 1, dict(start=sigma_max, end=sigma_min)
    if discretization == "edm":
        return de.grids.karras(EDM, steps, rho=options.get("rho", 7), **ends)
    if discretization == "ve":
        return de.grids.exponential(EDM, steps, **ends)
    if discretization == "vp":
        return de.grids.uniform_t(vp_between(sigma_min, sigma_max), steps, end=1e-3)
    return None
