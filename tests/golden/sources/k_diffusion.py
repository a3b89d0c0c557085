"""k-diffusion (sampling.py): α = 1, the time is σ."""

from __future__ import annotations

from math import log, sqrt

import numpy as np

import diffode as de
from diffode.adaptive import k_diffusion_adaptive
from diffode.solvers.singlestep import fast_orders
from tests.golden.cases import Case
from tests.golden.setup import Adaptive, Missing, Rebuilt, Segment, Setup, churned, solver

BUILDERS = {
    "karras": de.grids.karras,
    "exponential": de.grids.exponential,
    "polyexponential": de.grids.polyexponential,
}
EDM = de.EDM()


def setup(case: Case) -> Setup:
    """A case of one of the `sample_…` functions."""
    if case.solver == "dpm_adaptive":
        return _adaptive(case)
    chosen = _solver(case)
    if case.solver == "dpm_fast":
        ends = [-log(case.options["sigma_max"]), -log(case.options["sigma_min"])]
        grid, rebuilt = de.TimeGrid(EDM, lam=np.linspace(*ends, len(fast_orders(case.options["n"])) + 1).tolist()), ()
    else:
        grid = de.TimeGrid(EDM, sigma=case.grid["sigma"])
        rebuilt = _rebuilt(case)
    if case.options.get("s_churn"):
        names = {"s_churn": "s_churn", "s_tmin": "s_min", "s_tmax": "s_max", "s_noise": "s_noise"}
        churn = {ours: case.options[name] for name, ours in names.items() if name in case.options}
        chosen, noise = churned(chosen, grid, case.noise, **churn)
    else:
        noise = [case.options.get("s_noise", 1.0) * draw for draw in case.noise]
    return Setup((Segment(chosen, grid, case.data.denoiser(EDM), noise),), case.x_init, rebuilt=rebuilt)


def _adaptive(case: Case) -> Setup:
    options = case.options
    grid = de.TimeGrid(EDM, lam=[-log(options["sigma_max"]), -log(options["sigma_min"])])
    control = {name: options[name] for name in ("pcoeff", "icoeff", "dcoeff") if name in options}
    tolerance = options.get("rtol", 0.05), options.get("atol", 0.0078)
    chosen, model = solver(f"dpm_solver_{options['order']}"), case.data.denoiser(EDM)
    run = Adaptive(chosen, grid, model, k_diffusion_adaptive(**control), *tolerance)
    return Setup((run,), case.x_init)


def _solver(case: Case) -> de.Solver:
    options = case.options
    eta = options.get("eta", 1.0)
    name = case.solver.removesuffix("_brownian")
    if name in ("euler", "heun", "dpmpp_2m"):
        return solver(name)
    if name == "dpm_2":
        return solver("dpm2")
    if name == "lms":
        return solver("lms", degree=options.get("order", 4) - 1, final="rule")
    if name == "euler_ancestral":
        return solver("euler_ancestral", eta=eta)
    if name in ("dpm_2_ancestral", "dpmpp_2s_ancestral"):
        return solver("singlestep_2", prediction="eps" if name == "dpm_2_ancestral" else "x0", eta=eta)
    if name == "dpmpp_sde":
        return solver("dpmpp_sde", eta=eta, r=options.get("r", 0.5), clock="sigma")
    if name == "dpmpp_2m_sde":
        kind = {"heun": "taylor", "midpoint": "midpoint"}[options.get("solver_type", "midpoint")]
        return solver("dpm_multistep", order=2, tau=sqrt(eta), kind=kind)
    if name == "dpmpp_3m_sde":
        return solver("dpm_multistep", order=3, tau=sqrt(eta), kind="taylor")
    if name == "dpm_fast":
        return solver("singlestep_mixed", orders=fast_orders(options["n"]), eta=options.get("eta", 0.0))
    raise Missing(f"no solver for k-diffusion's {name}")


def _rebuilt(case: Case) -> tuple[Rebuilt, ...]:
    options, stored = case.options, case.grid["sigma"]
    if options["grid"] not in BUILDERS:
        return ()
    positive = [sigma for sigma in stored if sigma > 0]
    final = "zero" if options["append_zero"] else "min"
    rho = {"rho": options["rho"]} if "rho" in options else {}
    grid = BUILDERS[options["grid"]](EDM, len(stored) - 1, start=positive[0], end=positive[-1], final=final, **rho)
    return (Rebuilt("sigmas", stored, grid.sigma),)
