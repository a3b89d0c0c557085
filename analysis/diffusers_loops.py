"""Loops of diffusers' pipelines around schedulers that are not run as most are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import diffode as de
from diffode.analysis.recovery import Recovered
from diffode.analysis.recovery.schedulers import Driven

Make = Callable[[Any, int], Recovered]
"""A scheduler and a number of steps → what is recovered of it."""

Ask = Callable[[Any, int], Any]
"""The state and the number of the evaluation → the model's output."""


def _looped(levels: list[de.Level], loop: Callable[[Ask, Any], Any], process: Any, prediction: str) -> Recovered:
    """A sampler whose loop asks for evaluation i of `levels`."""
    like = Driven(None, process, prediction, levels).start

    def sampler(model: Any, x: Any) -> Any:
        return loop(lambda x, i: model(x, levels[i]), x)

    return de.recover(
        sampler, process, level=lambda level: level, final=levels[-1], prediction=prediction, like=like, tolerance=1e-8
    )


def reversed_velocity(scheduler: Any, steps: int) -> Recovered:
    """MiniMax-H3: the velocity points to the data."""
    driven = Driven.of(scheduler, steps)
    return _looped(
        list(driven.levels), lambda model, x: driven(_counted(lambda x, i: -model(x, i)), x), driven.process, "velocity"
    )


def _counted(model: Ask) -> Any:
    """A model that is told no level, only how often it was asked."""
    count = iter(range(10**6))
    return lambda x, _: model(x, next(count))


def trigonometric(scheduler: Any, steps: int) -> Recovered:
    """SCM: x_t = cos t x_0 + sin t ε, the network giving −v."""
    scheduler.set_timesteps(steps, max_timesteps=math.atan(80.0), intermediate_timesteps=None)
    process = de.Affine(lambda t: de.phi.cos(t), lambda t: de.phi.sin(t), 0.0, 1.57)
    levels = [process.level(float(t)) for t in scheduler.timesteps]
    return _looped(levels, _plain(scheduler), process, "v")


def _plain(scheduler: Any) -> Callable[[Ask, Any], Any]:
    """The plain loop over timesteps, of which the last may be the end."""

    def loop(model: Ask, x: Any) -> Any:
        scheduler._step_index = None
        for i, t in enumerate(list(scheduler.timesteps)[: scheduler.num_inference_steps]):
            x = scheduler.step(model(x, i), t, x, return_dict=False)[0]
        return x

    return loop


def sine(scheduler: Any, steps: int) -> Recovered:
    """IPNDM: σ = sin²(π t/2) on the curve α² + σ² = 1, the network giving v."""
    scheduler.set_timesteps(steps)
    process = de.Affine(lambda t: de.phi.sqrt(1 - t * t), lambda t: t, 0.0, 1.0)
    levels = [process.level(float(b)) for b in scheduler.betas]

    def loop(model: Ask, x: Any) -> Any:
        scheduler.set_timesteps(steps)
        return _plain(scheduler)(model, x)

    return _looped(levels, loop, process, "v")


def consistency(scheduler: Any, steps: int) -> Recovered:
    """CMStochasticIterative: the designed output is what the boundary scalings make of the network's."""
    scheduler.set_timesteps(steps)
    process = de.EDM(1e-5, 1e5)
    levels = [process.level(sigma=float(s)) for s in scheduler.sigmas]

    def loop(model: Ask, x: Any) -> Any:
        scheduler._step_index = None
        for i, t in enumerate(scheduler.timesteps):
            scheduler.scale_model_input(x, t)
            skip, out = scheduler.get_scalings_for_boundary_condition(scheduler.sigmas[i])
            x = scheduler.step((model(x, i) - skip * x) / out, t, x, return_dict=False)[0]
        return x

    return _looped(levels, loop, process, "x0")


def wuerstchen(scheduler: Any, steps: int) -> Recovered:
    """DDPMWuerstchen: times from 1 to 0 on a clamped cosine table."""
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps
    process = de.VP(0.1, 60.0)
    levels = [process.level(rho=math.sqrt((1 - a) / a)) for a in map(float, scheduler._alpha_cumprod(times, "cpu"))]

    def loop(model: Ask, x: Any) -> Any:
        for i, t in enumerate(times[:-1]):
            x = scheduler.step(model(x, i), t.reshape(1), x, return_dict=False)[0]
        return x

    return _looped(levels, loop, process, "eps")


def inverse(scheduler: Any, steps: int) -> Recovered:
    """DDIMInverse: each step goes to t from the timestep before it."""
    scheduler.set_timesteps(steps)
    process = de.DiscreteVP.from_betas(np.array(scheduler.betas.tolist()))
    jump = scheduler.config.num_train_timesteps // steps
    alphas = [float(scheduler.alphas_cumprod[max(int(scheduler.timesteps[0]) - jump, 0)])]
    alphas += [float(scheduler.alphas_cumprod[int(t)]) for t in scheduler.timesteps]
    levels = [process.level(rho=math.sqrt((1 - a) / a)) for a in alphas]
    return _looped(levels, _plain(scheduler), process, "eps")


def carried(scheduler: Any, steps: int) -> Recovered:
    """CogVideoXDPM: the data prediction of the step before goes in again."""
    driven = Driven.of(scheduler, steps)

    def loop(model: Ask, x: Any) -> Any:
        times, old = list(driven.scheduler.timesteps), None
        for i, t in enumerate(times):
            before = times[i - 1] if i else None
            x, old = driven.scheduler.step(model(x, i), old, t, before, x, return_dict=False)
        return x

    return _looped(list(driven.levels), loop, driven.process, driven.prediction)


def score_ve(correct: bool) -> Make:
    """ScoreSdeVe: predictor steps with the score, and its Langevin corrector where asked."""

    def make(scheduler: Any, steps: int) -> Recovered:
        scheduler.set_timesteps(steps)
        scheduler.set_sigmas(steps)
        process = de.EDM(1e-5, 1e5)
        sigmas = [float(s) for s in scheduler.discrete_sigmas.flip(0)]
        levels = [process.level(sigma=s) for s in sigmas for _ in range(1 + correct)] + [process.level(0.0)]

        def loop(model: Ask, x: Any) -> Any:
            ask = _counted(model)
            for t in scheduler.timesteps:
                if correct:
                    x = scheduler.step_correct(ask(x, None), x, return_dict=False)[0]
                x = scheduler.step_pred(ask(x, None), t, x, return_dict=False)[0]
            return x

        return _looped(levels, loop, process, "score")

    return make
