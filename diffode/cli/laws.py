"""`diffode law`: what a solver does to Gaussian data, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError

if TYPE_CHECKING:
    from diffode.analysis.moments import Law
    from diffode.models import GaussianMixture
    from diffode.process import Process


def law(
    solver: Annotated[str, typer.Argument(metavar="SOLVER", help="A name or a file.")],
    problem: Annotated[
        str | None, typer.Option("--problem", metavar="P", help="A Gaussian problem. [default: gaussian_4d]")
    ] = None,
    eigenvalues: Annotated[
        str | None,
        typer.Option("--eigenvalues", metavar="LIST", help="Instead of a problem, N(0, S) with these eigenvalues."),
    ] = None,
    process: inputs.ProcessName = None,
    steps: inputs.Steps = None,
    grid: inputs.Grid = "karras",
    start: Annotated[
        str, typer.Option("--start", metavar="LAW", help="Law of x_T: marginal (exact), or prior, N(0, σ_T²).")
    ] = "marginal",
    json: inputs.Json = None,
) -> int:
    """The exact output law on Gaussian data.

    Mean, covariance, W2 and KL of a solver's output, without sampling.
    """
    from diffode.analysis.moments import law
    from diffode.sampling import compile
    from diffode.solvers import get_solver

    files.check_writable(json)
    chosen = get_solver(solver)
    name, where, data = _data(problem, eigenvalues, process)
    levels = inputs.grid(where, grid, steps)
    plan = compile(chosen, where, levels)
    found = law(plan, data, start)
    files.write_json(
        json,
        {
            "solver": chosen.name,
            "data": name,
            "process": repr(where),
            "steps": levels.steps,
            "nfe": plan.nfe,
            "start": start,
            "mean": found.mean.tolist(),
            "covariance": found.covariance.tolist(),
            "exact_mean": found.exact.mean.tolist(),
            "exact_covariance": found.exact.covariance.tolist(),
            "w2": found.w2(),
            "kl": found.kl(),
        },
    )
    if json != files.STDOUT:
        terminal.say(f"{chosen.name} on {name}, {where!r}: {levels.steps} steps, {plan.nfe} evaluations")
        show(found)
    return 0


def _data(problem: str | None, eigenvalues: str | None, process: str | None) -> tuple[str, Process, GaussianMixture]:
    from diffode.models import Gaussian, Model
    from diffode.process import VP, named

    if eigenvalues is not None:
        if problem is not None:
            raise DiffodeError(f"--eigenvalues: --problem {problem} has its own covariance; leave out one of the two")
        values = inputs.numbers(eigenvalues, "--eigenvalues")
        if min(values) <= 0:
            raise DiffodeError(f"--eigenvalues: those of a covariance are positive, not {min(values):g}")
        return f"N(0, diag({eigenvalues}))", named(process) if process else VP(), Gaussian([0.0] * len(values), values)
    chosen = inputs.problem(problem or "gaussian_4d", process)
    if isinstance(chosen, Model) or chosen.data is None or len(chosen.data.weights) > 1:
        raise DiffodeError(
            f"--problem {problem}: its data are not Gaussian; take gaussian, gaussian_4d or --eigenvalues"
        )
    return chosen.name, chosen.process, chosen.data


def show(found: Law) -> None:
    """A law as a table, a line for each eigenvector of the data's covariance."""
    exact = found.exact
    columns = ("eigenvalue", "mean", "exact", "variance", "exact variance", "ratio")
    lines = terminal.table(columns, right=columns)
    means, variances = (found.coordinate_mean, exact.coordinate_mean), (found.variance, exact.variance)
    for row in zip(found.spectrum.eigenvalues, *means, *variances, found.variance / exact.variance, strict=True):
        lines.add_row(*(f"{value:.5g}" for value in row))
    terminal.show(lines)
    terminal.say(f"W2 {found.w2():.3e}, KL {found.kl():.3e} to the exact law at the last level")
