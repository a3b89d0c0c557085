"""PNDM (runner/method.py); ᾱ is taken one index after the label, and at the entry below a half step between two."""

from __future__ import annotations

from functools import cache

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.processes import Tabulated
from tests.golden.setup import Missing, Rebuilt, Segment, Setup, solver

INDEX = 1 / 1000
"""One entry of the table, in t."""

SOLVERS = {
    "ddim": ("ddim", {}),
    "s-pndm": ("s_pndm", {}),
    "f-pndm": ("f_pndm", {}),
    "fon": ("fon_published", {"difference": INDEX}),
}


@cache
def _table(name: str) -> de.Process:
    return Tabulated(process(name).knots)


def setup(case: Case) -> Setup:
    """A case of one of the `gen_…` functions."""
    if case.solver not in SOLVERS:
        raise Missing(f"no solver for {case.solver}")
    name, options = SOLVERS[case.solver]
    forward = _table(case.process)
    # the label t has the table's entry t + 1, which is the continuous time (t + 2)/1000
    grid = de.TimeGrid(forward, t=[(label + 2) * INDEX for label in case.grid["t_index"]])
    return Setup(
        (Segment(solver(name, **options), grid, case.data.denoiser(forward)),),
        case.x_init,
        label=lambda level: round(1000 * level.t - 2, 6),
        rebuilt=(Rebuilt("alphas", case.grid["alphas_cumprod"], grid.alpha**2),),
    )
