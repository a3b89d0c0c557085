"""What is gained by choosing a grid, or coefficients, on Gaussian data, and what is left of it on other problems.

Writes `results/optimised.md`: errors of solvers at 5 to 10 evaluations on the best shipped grids and on a grid that is
optimal for a Gaussian with the spectrum of the problem; and those of a two-step rule, all of whose weights were fitted
to that Gaussian.

    python -m analysis.optimised
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import diffode as de
from diffode.analysis.derivation.gridding import GaussianError, optimize_grid
from diffode.analysis.endpoint import Reference, reference
from diffode.problems import Problem, get_problem

RESULTS = Path(__file__).parent / "results"
SOLVERS, BUDGETS = ("ddim", "dpmpp_2m", "unipc_3"), (5, 10)
PROBLEMS = ("gaussian_4d", "mixture_2d", "digits")
STANDARD = ("uniform_lambda", "karras", "arctan", "uniform_t")
SAMPLES = 64


def spectrum(problem: Problem) -> np.ndarray:
    """The covariance's eigenvalues: of the law, or of the Gaussian with the same covariance."""
    law = problem.law
    return np.clip(np.linalg.eigvalsh(np.atleast_2d(law.covariance)), 0.0, None)


def distance(problem: Problem, solver: Any, grid: de.TimeGrid, x_T: np.ndarray, known: Reference) -> float:
    """The root-mean-square distance to the end points of the exact flow."""
    return float(np.sqrt(np.mean((de.sample(problem.model, solver, grid, x_T).x - known.x) ** 2)))


def rows(name: str) -> list[str]:
    """The lines of a problem: for each solver and budget the errors on standard grids, and on optimal ones."""
    problem = get_problem(name)
    x_T, e = problem.initial(SAMPLES, 0), spectrum(problem)
    known = reference(problem.model, x_T, de.grids.karras(problem.process, 2), 1e-6)
    lines: list[str] = []
    for solver in SOLVERS:
        for nfe in BUDGETS:
            grids = {g: de.grids.NAMES[g](problem.process, nfe) for g in STANDARD}
            for loss in ("w2", "kl"):
                grids[loss] = optimize_grid(solver, problem.process, nfe, e, loss=loss, starts=1).grid
            errors = {g: distance(problem, solver, grid, x_T, known) for g, grid in grids.items()}
            best = min(errors.values())
            cells = [f"**{error:.1e}**" if error == best else f"{error:.1e}" for error in errors.values()]
            lines.append(f"| {name} | {solver} | {nfe} | {' | '.join(cells)} |")
    return lines


# --- all weights fitted ---------------------------------------------------------------------------------------


def weighted(weights: np.ndarray) -> de.Solver:
    """A two-step rule on the data prediction with weights of its own in every step."""

    @de.solver(order=1, prediction="x0", history=1, source="analysis.optimised")
    def fitted(step: Any) -> Any:
        now, after = step.now, step.next
        d = step.model(step.x, now)
        start, gain = (after.sigma / now.sigma) * step.x, after.alpha * step.h
        first, second = weights[step.index]
        past = step.past(1) if step.depth else d
        return start + gain * (first * d + second * past)

    return fitted


def shipped(grid: de.TimeGrid) -> np.ndarray:
    """The weights of DPM-Solver++(2M), in units of α h."""
    h = np.diff(grid.lam)
    total = -np.expm1(-h) / h
    r = np.append(np.nan, h[:-1] / h[1:])
    second = np.where(np.isnan(r), 0.0, -total / (2 * r))
    return np.stack([total - second, second], axis=1)


def fit(name: str, nfe: int) -> list[str]:
    """A line: errors of DPM-Solver++(2M), and of its weights fitted to the Gaussian, there and on the problem."""
    problem = get_problem(name)
    x_T, e = problem.initial(SAMPLES, 0), spectrum(problem)
    known = reference(problem.model, x_T, de.grids.karras(problem.process, 2), 1e-6)
    grid = de.grids.uniform_lambda(problem.process, nfe)
    values, counts = np.unique(e, return_counts=True)
    start = shipped(grid)

    def loss(w: np.ndarray) -> float:
        rule = weighted(w.reshape(start.shape))
        found = GaussianError(rule, (grid[0], grid[-1]), values, counts.astype(float))
        return float(np.log(found.value(grid.lam[1:-1]) + 1e-300))

    found = minimize(loss, start.ravel(), method="L-BFGS-B", options={"maxiter": 40, "maxfun": 800})
    cells: list[str] = []
    for w in (start.ravel(), found.x):
        rule = weighted(w.reshape(start.shape))
        cells += [f"{np.exp(loss(w)):.1e}", f"{distance(problem, rule, grid, x_T, known):.1e}"]
    return [f"| {name} | {nfe} | {' | '.join(cells)} |"]


def table() -> str:
    """Both tables in Markdown."""
    lines = [
        "# Optimised on Gaussian data: what is left of it elsewhere",
        "",
        "Root-mean-square distance to the end points of the exact flow. *w2* and *kl*: grids of `optimize_grid` for a",
        "Gaussian with the covariance spectrum of the problem. The best of each line is bold. Made by",
        "`python -m analysis.optimised`.",
        "",
        f"| problem | solver | evaluations | {' | '.join(STANDARD)} | w2 | kl |",
        "| --- | --- | --- |" + " --- |" * (len(STANDARD) + 2),
    ]
    for name in PROBLEMS:
        lines += rows(name)
    lines += [
        "",
        "## All weights fitted",
        "",
        "DPM-Solver++(2M) on equal steps in λ, and the same with all its weights fitted to the exact W2 error of that",
        "Gaussian: the error on the Gaussian, and on the problem itself.",
        "",
        "| problem | evaluations | shipped: Gaussian | shipped: problem | fitted: Gaussian | fitted: problem |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in ("mixture_2d", "digits"):
        lines += fit(name, 6)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study."""
    path = RESULTS / "optimised.md"
    path.write_text(table(), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
