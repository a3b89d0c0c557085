"""BELM's repository: DDIM, BELM, BDIA and EDICT, which end at σ = 0, and their inversions, which start there."""

from __future__ import annotations

import numpy as np

import diffode as de
from tests.golden.backwards import Undone
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, PublishedGrid, Segment, Setup, solver

FORWARDS = {"ddim": ("ddim", ()), "belm": ("o_belm", ()), "bdia": ("bdia", ("gamma",)), "edict": ("edict", ("p",))}


def setup(case: Case) -> Setup:
    """A case of `intermediate_to_latent` or `latent_to_intermediate`."""
    kind, _, inverse = case.solver.partition("_")
    if kind not in FORWARDS:
        raise Missing(f"no solver for {case.solver}")
    name, options = FORWARDS[kind]
    rule = solver(name, **{option: case.options[option] for option in options})
    forward = process(case.process)
    levels = [forward.level(rho=((1 - a) / a) ** 0.5) for a in case.grid["alphas_cumprod"]]
    grid = de.TimeGrid(forward, levels=[*levels, forward.level(lam=float("inf"))])
    model = case.data.denoiser(forward)
    part = _backwards(kind, rule, grid, model) if inverse else Segment(rule, grid, model)
    return Setup((part,), case.x_init, label=lambda level: round(1000 * level.t - 1, 6))


def _backwards(kind: str, rule: de.Solver, grid: de.TimeGrid, model: de.Model) -> Segment | Undone:
    """BELM's inversion is the rule on the reversed grid; BDIA's makes its second state with 1 in place of the noise."""
    if kind == "edict":
        return Undone(rule, grid, model, stream="y")
    if kind == "bdia":
        ones = de.Denoiser(lambda x, t: np.ones_like(x), grid.process, prediction="eps")
        return Undone(rule, grid, model, first=ones)
    if kind == "ddim":
        rule = solver("ddim_inversion", told="now")
    return Segment(rule, PublishedGrid(grid.process, grid.levels[::-1]), model)
