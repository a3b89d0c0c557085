"""`diffode sample`: run a solver, and look at what comes out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError, UnusedNoise

if TYPE_CHECKING:
    import numpy as np

    from diffode.adaptive import AdaptiveSample
    from diffode.sampling import Sample

SHADES = " ░▒▓█"


def sample(
    solver: Annotated[str, typer.Argument(metavar="SOLVER", help="A name or a file.")],
    problem: inputs.ProblemName = "mixture_2d",
    steps: inputs.Steps = None,
    samples: inputs.Samples = 64,
    seed: inputs.Seed = 0,
    backend: Annotated[str, typer.Option("--backend", metavar="B", help="numpy or torch.")] = "numpy",
    grid: inputs.Grid = "karras",
    process: inputs.ProcessName = None,
    states: inputs.States = None,
    rtol: Annotated[
        float | None,
        typer.Option("--rtol", metavar="R", help="Adaptive steps between the ends of the grid, to this tolerance."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.npz", help="Save x, x_T, the levels t and nfe.")
    ] = None,
    json: inputs.Json = None,
) -> int:
    """Run a solver on a problem."""
    from diffode.grids import TimeGrid
    from diffode.solvers import get_solver

    files.check_writable(json)
    files.check_writable(out)
    files.check_suffix(out, ".npz")
    chosen = get_solver(solver)
    subject = inputs.subject(problem, process, states, samples, seed)
    levels = inputs.grid(subject.model.process, grid, steps)
    if rtol is not None and steps is not None:
        raise DiffodeError(f"--steps {steps}: with --rtol steps are not counted but chosen; leave it out")
    result, x = run(subject, chosen, levels, backend, seed, rtol)
    if rtol is not None:
        levels = TimeGrid(levels.process, levels=result.plan.levels)
    facts: dict[str, Any] = {
        "solver": chosen.name, "problem": subject.name, "backend": backend, "steps": levels.steps, "nfe": result.nfe,
        "passes": result.passes, "shape": list(x.shape), "dtype": str(x.dtype), "mean": float(x.mean()),
        "std": float(x.std()),
    }  # fmt: skip
    if rtol is not None:
        facts["rejected"] = sum(getattr(row, "rejected", False) for row in result.plan)
    if out is not None:
        import numpy as np

        with files.replacing(out) as draft:
            np.savez_compressed(draft, x=x, x_T=subject.x_T, t=levels.t, nfe=result.nfe, seed=seed)
        terminal.wrote(out, json)
    files.write_json(json, facts)
    if json != files.STDOUT:
        show(facts)
        if subject.name == "digits" and terminal.console().is_terminal:
            terminal.say(picture(x))
    return 0


def run(
    subject: inputs.Subject, solver: Any, grid: Any, backend: str, seed: int, rtol: float | None = None
) -> tuple[Sample | AdaptiveSample, np.ndarray]:
    """A run with a progress line, and its outcome as a NumPy array; with a tolerance, between the ends of the grid."""
    import numpy as np

    from diffode.adaptive import sample_adaptive
    from diffode.backends import get_backend
    from diffode.sampling import sample

    x_T = get_backend(backend).array(subject.x_T)
    shared: dict[str, Any] = dict(backend=backend, noise=seed, mu=subject.problem.mu if subject.problem else None)
    with terminal.progress(solver.name) as update, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedNoise)  # there is a seed whether the solver asks for it or not
        if rtol is None:
            result = sample(
                subject.model, solver, grid, x_T, trajectory=False, **shared,
                on_row=lambda done, total: update("", done, total),
            )  # fmt: skip
        else:
            result = sample_adaptive(
                subject.model, solver, x_T, start=grid[0], end=grid[-1], rtol=rtol, atol=rtol, **shared,
                on_step=lambda attempt: update("", round(1000 * attempt.done), 1000),
            )  # fmt: skip
    return result, np.asarray(result.x)


def show(facts: dict[str, Any]) -> None:
    """What a run left, in a few lines."""
    rejected = f", {facts['rejected']} of them rejected" if "rejected" in facts else ""
    terminal.say(
        f"{facts['solver']} on {facts['problem']}: {facts['steps']} steps, {facts['nfe']} evaluations{rejected}"
    )
    shape = " × ".join(map(str, facts["shape"]))
    terminal.say(f"x: {shape} {facts['dtype']}, mean {facts['mean']:.4f}, std {facts['std']:.4f}")


def picture(x: np.ndarray, count: int = 4) -> str:
    """The first images of 8×8 pixels in [−1, 1], side by side in shades, two characters to a pixel."""
    import numpy as np

    images = x[:count].reshape(-1, 8, 8)
    shades = np.clip((images + 1) / 2 * len(SHADES), 0, len(SHADES) - 1).astype(int)
    lines = ("  ".join("".join(2 * SHADES[pixel] for pixel in image[row]) for image in shades) for row in range(8))
    return "\n".join(lines)
