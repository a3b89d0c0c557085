"""DEIS (th_deis): t-AB and ρ-AB by the official sums of 10,000 terms, Runge–Kutta methods in ρ, and iPNDM."""

from __future__ import annotations

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, Rebuilt, Segment, Setup, solver

TABLEAUX = {
    "1euler": "euler",
    "2heun": "heun",
    "3kutta": "kutta3",
    "3ral": "ralston3",
    "3heun": "heun3",
    "3vdh": "houwen3",
    "3ssprk": "ssprk3",
    "4rk": "rk4",
}


def setup(case: Case) -> Setup:
    """A case of one of the `get_sampler_…` functions."""
    options, forward = case.options, process(case.process)
    if case.solver == "deis_rho_rk":
        chosen = solver("runge_kutta", tableau=TABLEAUX[options["rk_method"]], variable="rho")
    elif case.solver in ("deis_t_ab", "deis_rho_ab"):
        variable = {"deis_t_ab": "t", "deis_rho_ab": "rho"}[case.solver]
        chosen = solver("deis", degree=options["ab_order"], variable=variable, quadrature="left")
    elif case.solver == "deis_ipndm":
        chosen = solver("ipndm_4")
    else:
        raise Missing(f"no solver for {case.solver}")
    grid = de.TimeGrid(forward, t=case.grid["t"])
    rebuilt = [
        Rebuilt("rhos", case.grid["rho"], grid.rho, floor=1.0),
        Rebuilt("times", case.grid["t"], _built(case, forward).t, floor=1.0),
    ]
    return Setup((Segment(chosen, grid, case.data.denoiser(forward)),), case.x_init, floor=1.0, rebuilt=tuple(rebuilt))


def _built(case: Case, forward: de.Process) -> de.TimeGrid:
    options, times = case.options, case.grid["t"]
    ends = dict(start=times[0], end=times[-1])
    if options["ts_phase"] == "t":
        return de.grids.power(forward, options["num_step"], exponent=options["ts_order"], **ends)
    if options["ts_phase"] == "rho":
        return de.grids.karras(forward, options["num_step"], rho=options["ts_order"], **ends)
    return de.grids.uniform_lambda(forward, options["num_step"], **ends)
