"""SA-Solver (sa_solver.py): few and more steps, predictors and correctors of every order, with and without noise."""

from __future__ import annotations

import diffode as de
from diffode.plan import Linear
from diffode.trace import Step
from tests.golden.cases import Case, process
from tests.golden.setup import PublishedGrid, Rebuilt, Segment, Setup, solver, to_zero
from tests.golden.sources.dpm_solver import PREDICTIONS


@de.solver(order=1, prediction="eps")
def unused(step: Step) -> Linear:
    """The evaluation after the last predictor, of which the source makes nothing where it does not correct."""
    step.model(step.x, step.now)
    return step.x


def setup(case: Case) -> Setup:
    """A case of `SASolver.sample`."""
    options, forward = case.options, process(case.process)
    few, tau = options["mode"] == "few_steps", options["tau"]
    chosen = solver(
        "sa_solver",
        predictor=options["predictor_order"],
        corrector=options["corrector_order"],
        prediction=PREDICTIONS[options["algorithm_type"]],
        tau=tau,
        mode=options["pc_mode"],
        rescaled=few,
        final="ode" if few else "correct",
    )
    grid = de.TimeGrid(forward, t=case.grid["t"])
    model = case.data.denoiser(forward)
    steps = len(grid.levels) - 1
    # the first draw is not used, nor is the one of a last step without noise
    noise = case.noise[1 : steps + (not few)] if tau else ()
    segments = [Segment(chosen, grid, model, noise)]
    if not few and not options["corrector_order"]:
        segments.append(Segment(unused, PublishedGrid(forward, [grid.levels[-1]] * 2), model))
    if not few:
        segments.append(to_zero(forward, grid.levels[-1], model))
    return Setup(tuple(segments), case.x_init, floor=1.0, rebuilt=_rebuilt(case, grid, forward))


def _rebuilt(case: Case, grid: de.TimeGrid, forward: de.Process) -> tuple[Rebuilt, ...]:
    """The stored λ, and the times where λ is uniform."""
    found = [Rebuilt("lambdas", case.grid["lambda"], grid.lam, 1.0)]
    if case.options["skip_type"] == "logSNR":
        first, last = case.grid["t"][0], case.grid["t"][-1]
        built = de.grids.uniform_lambda(forward, len(grid.levels) - 1, start=first, end=last).t
        found.append(Rebuilt("times", case.grid["t"], built, 1.0))
    return tuple(found)
