"""The diffusers library's schedulers, on the α and σ that each uses (not on the rounded timestep)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

import diffode as de
from tests.golden.cases import Case, process
from tests.golden.setup import Missing, PublishedGrid, Rebuilt, Segment, Setup, churned, solver

CURVES: dict[str, tuple[de.Process, str]] = {
    "vp": (de.VP(0.1, 60.0), "rho"),  # any clock would do: these rules see no times
    "ve": (de.EDM(), "sigma"),
    "kdpm2": (de.EDM(), "sigma"),
    "edm": (de.EDM(), "sigma"),
    "flow": (de.Flow(), "sigma"),
}
"""For each kind of scheduler: on which curve its levels lie, and which of a level's names its `sigmas` are."""

LOWERED_BELOW = 15
"""Steps from which `lower_order_final` no longer acts."""


def setup(case: Case) -> Setup:
    """A case of one of the schedulers' `step`."""
    config = _config(case)
    if config.get("thresholding") or config.get("clip_sample", case.solver in ("DDIMScheduler", "DDPMScheduler")):
        raise Missing("clipped data prediction")
    name = case.solver.removesuffix("Scheduler")
    if name in DISCRETE:
        return DISCRETE[name](case)
    if name == "DPMSolverSinglestep":
        return _singlestep(case)
    if name not in SOLVERS:
        raise Missing(f"no solver for {case.solver}")
    return _on_sigmas(case, SOLVERS[name](case))


def _config(case: Case) -> dict[str, Any]:
    return case.options["scheduler_config"]


# --- schedulers with a table of ᾱ -----------------------------------------------------------------------


def _ddim(case: Case) -> Setup:
    """Each step goes from t to t − 1000 // n, and the next starts from the next timestep all the same."""
    config, eta = _config(case), case.options["step_kwargs"].get("eta", 0.0)
    timesteps = [int(t) for t in case.grid["timesteps"]]
    jump = 1000 // case.options["num_inference_steps"]
    final = None if config.get("set_alpha_to_one", True) else 0
    steps = [(t, t - jump if t >= jump else final) for t in timesteps]
    rebuilt = _spacing(config, case) if timesteps == sorted(timesteps, reverse=True) else ()
    return _stepwise(case, solver("ddim", eta=eta), steps, rebuilt)


def _ddpm(case: Case) -> Setup:
    config = _config(case)
    variance = {"fixed_small": "small", "fixed_large": "large"}.get(config.get("variance_type", "fixed_small"))
    if variance is None:
        raise Missing(f"DDPM with variance_type={config['variance_type']!r}")
    timesteps = [int(t) for t in case.grid["timesteps"]]
    steps = list(pairwise([*timesteps, None]))
    return _stepwise(case, solver("ddpm", variance=variance), steps, _spacing(config, case))


def _pndm(case: Case) -> Setup:
    """A run down the timesteps, listed here without the half steps, and from 0 a step of length zero."""
    forward, jump = process(case.process), 1000 // case.options["num_inference_steps"]
    timesteps = range(int(case.grid["timesteps"][0]), -1, -jump)
    levels = [forward.level((label + 1) / 1000) for label in [*timesteps, 0]]
    chosen = solver("plms" if _config(case)["skip_prk_steps"] else "f_pndm")
    segment = Segment(chosen, PublishedGrid(forward, levels), case.data.denoiser(forward))
    built = _spacing(_config(case), case)[0].built
    return Setup(
        (segment,),
        case.x_init,
        label=lambda level: round(1000 * level.t - 1, 6),
        rebuilt=(Rebuilt("timesteps", list(timesteps), built),),
    )


def _stepwise(
    case: Case, chosen: de.Solver, steps: list[tuple[int, int | None]], rebuilt: tuple[Rebuilt, ...]
) -> Setup:
    """One run for every step, from one training label to another; None is α = 1."""
    forward = process(case.process)
    if _config(case).get("rescale_betas_zero_snr"):
        forward = forward.zero_terminal_snr()
    model, draws, segments = case.data.denoiser(forward), iter(case.noise), list[Segment]()

    def level(label: int | None) -> de.Level:
        return forward.level(lam=float("inf")) if label is None else forward.level((label + 1) / 1000)

    for start, end in steps:
        grid = PublishedGrid(forward, [level(start), level(end)])
        draw = next(draws, None)  # drawn in the last step too, where its weight is 0
        noise = () if draw is None or end is None else (draw,)
        segments.append(Segment(chosen, grid, model, noise))
    return Setup(tuple(segments), case.x_init, label=lambda level: round(1000 * level.t - 1, 6), rebuilt=rebuilt)


def _spacing(config: dict[str, Any], case: Case) -> tuple[Rebuilt, ...]:
    spacing, n = config.get("timestep_spacing", "leading"), case.options["num_inference_steps"]
    builders = {"linspace": de.grids.linspace, "leading": de.grids.leading, "trailing": de.grids.trailing}
    offset = {"offset": config.get("steps_offset", 0)} if spacing == "leading" else {}
    built = builders[spacing](process(case.process), n, **offset).t[:-1]
    return (Rebuilt("timesteps", case.grid["timesteps"], np.round(1000 * built - 1, 6)),)


DISCRETE: dict[str, Callable[[Case], Setup]] = {"DDIM": _ddim, "DDPM": _ddpm, "PNDM": _pndm}

# --- schedulers with a list of sigmas -------------------------------------------------------------------


def _lowered(case: Case) -> bool | str:
    config, n = _config(case), case.options["num_inference_steps"]
    if config.get("lower_order_final", True) and n < LOWERED_BELOW:
        return True
    return "last" if config.get("euler_at_final") else False


def _multistep(case: Case) -> de.Solver:
    config = _config(case)
    algorithm = config.get("algorithm_type", "dpmsolver++")
    slip = algorithm == "sde-dpmsolver++" and case.solver == "DPMSolverMultistepScheduler"
    return solver(
        "dpm_multistep",
        order=config.get("solver_order", 2),
        prediction="x0" if algorithm.endswith("++") else "eps",
        kind={"midpoint": "midpoint", "heun": "taylor"}[config.get("solver_type", "midpoint")],
        tau=1.0 if algorithm.startswith("sde") else 0.0,
        third="diffusers" if slip else "published",
        lower_order_final=_lowered(case),
    )


def _unipc(case: Case) -> de.Solver:
    config = _config(case)
    if config.get("disable_corrector"):
        raise Missing("UniPC with single steps uncorrected")
    return solver(
        "unipc",
        order=config.get("solver_order", 2),
        prediction="x0" if config.get("predict_x0", True) else "eps",
        variant=config.get("solver_type", "bh2"),
        lower_order_final=config.get("lower_order_final", True),
    )


def _sa(case: Case) -> de.Solver:
    config = _config(case)
    return solver(
        "sa_solver",
        predictor=config["predictor_order"],
        corrector=config["corrector_order"],
        prediction={"data_prediction": "x0", "noise_prediction": "eps"}[config["algorithm_type"]],
        tau=float(case.options["tau"]),
        rescaled=True,
        final="predict",
    )


def _deis(case: Case) -> de.Solver:
    degree = _config(case).get("solver_order", 2) - 1
    return solver("deis", degree=degree, variable="lambda", lower_order_final=_lowered(case))


def _flow_euler(case: Case) -> de.Solver:
    if _config(case).get("stochastic_sampling"):
        raise Missing("flow matching with new noise in every step")
    return solver("euler_t")


SOLVERS: dict[str, Callable[[Case], de.Solver]] = {
    "DEISMultistep": _deis,
    "DPMSolverMultistep": _multistep,
    "EDMDPMSolverMultistep": _multistep,
    "EDMEuler": lambda case: solver("euler"),
    "EulerAncestralDiscrete": lambda case: solver("euler_ancestral"),
    "EulerDiscrete": lambda case: solver("euler"),
    "FlowMatchEulerDiscrete": _flow_euler,
    "FlowMatchHeunDiscrete": lambda case: solver("heun_t"),
    "HeunDiscrete": lambda case: solver("heun"),
    "KDPM2Discrete": lambda case: solver("dpm2"),
    "LMSDiscrete": lambda case: solver("lms", degree=case.options["step_kwargs"].get("order", 4) - 1, final="rule"),
    "SASolver": _sa,
    "UniPCMultistep": _unipc,
}


def _on_sigmas(case: Case, chosen: de.Solver) -> Setup:
    """A run along `sigmas`; two-stage schedulers list theirs twice."""
    forward, name = CURVES[case.options["kind"]]
    sigmas = case.grid["sigmas"]
    if case.solver in ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "FlowMatchHeunDiscreteScheduler"):
        sigmas = list(dict.fromkeys(sigmas))
    levels = _levels(forward, name, sigmas)
    steps = sum(not level.singular for level in levels[1:])  # drawn in the last step too, where its weight is 0
    draws = () if case.solver == "SASolverScheduler" and not case.options["tau"] else case.noise[:steps]
    grid, churn = PublishedGrid(forward, levels), case.options.get("step_kwargs", {})
    if "s_churn" in churn:
        chosen, draws = churned(chosen, grid, case.noise, late=True, **churn)
    segment = Segment(chosen, grid, case.data.denoiser(forward), draws)
    return Setup((segment,), case.x_init, label=lambda level: getattr(level, name), rebuilt=_karras(case))


def _levels(forward: de.Process, name: str, sigmas: list[float]) -> list[de.Level]:
    return [forward.level(**{name: s}) if s > 0 else forward.level(lam=float("inf")) for s in sigmas]


def _karras(case: Case) -> tuple[Rebuilt, ...]:
    """Karras levels between the ends of the table of sigmas, where the scheduler asks for them."""
    if not _config(case).get("use_karras_sigmas") or case.process != "vp_sd":
        return ()
    n = case.options["num_inference_steps"]
    built = de.grids.karras(process("vp_sd"), n - 1).rho
    stored = list(dict.fromkeys(case.grid["sigmas"]))[:n]
    return (Rebuilt("sigmas", stored, built),)


# --- singlestep ----------------------------------------------------------------------------------------


def _singlestep(case: Case) -> Setup:
    """Every level of the scheduler is a stage; an outer step spans as many as its order."""
    config = _config(case)
    algorithm = config.get("algorithm_type", "dpmsolver++")
    if algorithm.startswith("sde"):
        raise Missing("singlestep DPM-Solver++ with noise in every stage")
    forward, name = CURVES[case.options["kind"]]
    stages = _levels(forward, name, case.grid["sigmas"])
    orders, nodes, outer, at = _outer_orders(case), list[tuple[float, ...]](), [stages[0]], 0
    for order in orders:
        a, b = stages[at], stages[at + order]
        nodes.append(tuple((stages[at + k].lam - a.lam) / (b.lam - a.lam) for k in range(1, order)))
        outer.append(b)
        at += order
    chosen = solver(
        "singlestep_mixed",
        orders=tuple(orders),
        nodes=tuple(nodes),
        prediction="x0" if algorithm.endswith("++") else "eps",
        kind={"midpoint": "midpoint", "heun": "taylor"}[config.get("solver_type", "midpoint")],
    )
    segment = Segment(chosen, PublishedGrid(forward, outer), case.data.denoiser(forward))
    return Setup((segment,), case.x_init, label=lambda level: getattr(level, name), rebuilt=_karras(case))


def _outer_orders(case: Case) -> list[int]:
    """How the scheduler cuts its levels into steps: as many of full order as fit, and at the end what is left.

    With `lower_order_final`, which it sets itself where the levels do not divide or end at σ = 0, a step of order 1
    comes last.
    """
    config, n = _config(case), case.options["num_inference_steps"]
    order = config.get("solver_order", 2)
    to_zero = config.get("final_sigmas_type", "zero") == "zero"
    if order == 1 or not (config.get("lower_order_final", False) or n % order or to_zero):
        return [order] * (n // order)
    left = n % order
    if left == 0:
        return [order] * (n // order - 1) + [order - 1, 1]
    orders = [order] * (n // order) + [left]
    return [*orders[:-1], 1, 1] if to_zero and left == 2 else orders
