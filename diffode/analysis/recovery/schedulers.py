"""Schedulers of the diffusers library as black boxes: what they tell a network, and on which levels.

Nothing is imported from diffusers. A scheduler is whatever has `set_timesteps` and `step`; its table of ᾱ or of sigmas
says on which process its levels lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from diffode.analysis.recovery.probe import flat
from diffode.backends import get_backend
from diffode.errors import SolverError
from diffode.models import Model
from diffode.plan import Level
from diffode.process import EDM, DiscreteVP, Flow, Process

Array = Any

SHAPE = (1, 4, 8, 8)
"""Of the state: a small image, since some schedulers look at the channels."""

_ROUNDING = 1e-4
"""Of tables in single precision, where their end decides what is inside."""

_PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "velocity"}


def is_scheduler(thing: Any) -> bool:
    """Whether something can be driven as a scheduler of diffusers is."""
    return all(hasattr(thing, name) for name in ("set_timesteps", "step"))


@dataclass(frozen=True)
class Driven:
    """A scheduler with the loop that its pipelines run around it.

    Attributes
    ----------
    scheduler : scheduler
        With its timesteps set.
    process : Process
    prediction : str
    levels : sequence of Level
        Of the evaluations, and last of the final state; a second stage may tell another when it comes to it.
    """

    scheduler: Any
    process: Process
    prediction: str
    levels: Sequence[Level]

    @staticmethod
    def of(scheduler: Any, steps: int) -> Driven:
        """A scheduler with as many steps as asked.

        Raises
        ------
        SolverError
            If it has neither a table of ᾱ nor one of sigmas, so that its levels cannot be known.
        """
        made = deepcopy(scheduler)
        made.set_timesteps(steps)
        config: Any = getattr(made, "config", {})
        told = _get(config, "prediction_type")
        if hasattr(made, "precondition_outputs"):
            process: Process = EDM(1e-5, 1e5)
            return Driven(made, process, "x0", [_on(process, sigma=s) for s in _sigmas(made)])
        alphas = getattr(made, "alphas_cumprod", None)
        if told == "flow_prediction" or _get(config, "use_flow_sigmas") or alphas is None:
            if not hasattr(made, "sigmas"):
                raise SolverError(
                    f"recover: {type(scheduler).__name__} has neither alphas_cumprod nor sigmas, so that its levels "
                    "cannot be known; wrap it as sampler(model, x_T)"
                )
            process = Flow()
            return Driven(made, process, "velocity", [_on(process, sigma=s) for s in _sigmas(made)])
        process = DiscreteVP.from_betas(flat(made.betas))
        if hasattr(made, "sigmas"):
            rho = _sigmas(made)
        else:
            final = float(getattr(made, "final_alpha_cumprod", 1.0))
            known = [float(alphas[int(t)]) for t in made.timesteps]
            rho = [float(np.sqrt((1 - a) / a)) for a in (*known, final)]
        return Driven(made, process, _PREDICTIONS.get(told, "eps"), [_on(process, rho=r) for r in rho])

    @property
    def start(self) -> Array:
        """A state for it, of zeros."""
        return get_backend("torch").array(np.zeros(SHAPE))

    def __call__(self, model: Model, x: Array) -> Array:
        """The loop of a pipeline; the model is told the level itself."""
        scheduler = deepcopy(self.scheduler)
        times, scaled = list(scheduler.timesteps), False
        for t, after, planned in zip(times, [*times[1:], None], self.levels, strict=False):
            factor = _factor(scheduler, x, t)
            if hasattr(scheduler, "precondition_outputs"):
                out = _raw(scheduler, model(x, planned), x, float(planned.sigma))
            else:
                scaled = scaled or factor != 1.0
                out = model(factor * x, self._level(planned, factor))
            jump = {"prev_timestep": after} if "prev_timestep" in signature(scheduler.step).parameters else {}
            x = scheduler.step(out, t, x, return_dict=False, **jump)[0]
        return x * float(self.levels[-1].alpha) if scaled else x

    def _level(self, planned: Level, factor: float) -> Level:
        """Where the next evaluation is: as planned, or at the middle that a second stage has chosen.

        A scheduler that works in x/α shows the network α x/α, α = 1/√(1 + ρ²), and so gives ρ away.
        """
        if factor == 1.0:
            return planned
        rho = float(np.sqrt(1 / factor**2 - 1))
        return planned if abs(rho / float(planned.rho) - 1) < _ROUNDING else _on(self.process, rho=rho)


def _factor(scheduler: Any, x: Array, t: Any) -> float:
    """What the scheduler multiplies the network's input by."""
    if not hasattr(scheduler, "scale_model_input"):
        return 1.0
    return float(scheduler.scale_model_input(0 * x + 1, t).reshape(-1)[0])


def _raw(scheduler: Any, data: Array, x: Array, sigma: float) -> Array:
    """The raw output of a preconditioned network, of which the scheduler makes this data prediction."""
    skip = scheduler.precondition_outputs(x, 0 * x, sigma)
    gain = scheduler.precondition_outputs(0 * x, 0 * x + 1, sigma)
    return (data - skip) / gain


def _sigmas(scheduler: Any) -> list[float]:
    """One sigma for each evaluation, and the last; some schedulers repeat their zeros at the end."""
    sigmas = [float(s) for s in scheduler.sigmas]
    return [*sigmas[: len(scheduler.timesteps)], sigmas[-1]]


def _get(config: Any, name: str) -> Any:
    return config.get(name) if hasattr(config, "get") else getattr(config, name, None)


def _on(process: Process, **told: float) -> Level:
    """A level by σ or ρ, the noiseless one included; one that a table's round-off has put outside is brought back."""
    ((name, value),) = told.items()
    if value == 0:
        return process.level(lam=float("inf"))
    last = float(getattr(process.level(process.t_far), name))
    return process.level(**{name: last if last < value < (1 + _ROUNDING) * last else value})
