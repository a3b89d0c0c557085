"""Starts and ends of multistep rules: what the published ones cost, what the derived ones keep, and which wins when.

Writes `results/starts.md`: for each rule and each choice of start and end the power of h by which a whole run errs
(proved), the measured slope, errors at 5 to 10 evaluations without guidance and with it, and the guidance scale at
which a run of 10 steps breaks.

    python -m analysis.starts
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

import diffode as de
from diffode.analysis.convergence import order_started
from diffode.analysis.endpoint import reference
from diffode.analysis.order.whole import whole_run
from diffode.errors import DiffodeError

RESULTS = Path(__file__).parent / "results"
RULES = (
    "dpmpp_2m", "dpmpp_3m_corrected", "unip_4", "unipc_2", "unipc_3", "sa_solver", "deis_lambdaab_2", "deis_rhoab_2",
    "deis_tab_3", "ghvb_2.5", "ghvb_3.5",
)  # fmt: skip
VARIANTS = {
    "ramp, lowered end": {"start": "ramp", "lower_order_final": True},
    "ramp, full end": {"start": "ramp", "lower_order_final": False},
    "exact start, full end": {"start": "exact", "lower_order_final": False},
    "derived start, full end": {"start": "derived", "lower_order_final": False},
    "ramp, derived end": {"start": "ramp", "lower_order_final": "derived"},
    "derived start and end": {"start": "derived", "lower_order_final": "derived"},
}
FEW, SCALE, STEPS = (5, 6, 8, 10), 7.5, 10
COUNTS = (40, 60, 80, 120, 160, 240)
VARIANCES, UNCONDITIONAL = (1.0, 0.1, 0.01), de.Gaussian([0.0, 0.0, 0.0], [1.5, 0.2, 0.05])


@cache
def guided() -> tuple[de.models.Guided, np.ndarray, np.ndarray]:
    """Two neighbouring modes of the ring of eight, guided against all eight; starting states, and where they end."""
    problem = de.problems.get_problem("mixture_2d")
    ring = problem.data
    assert ring is not None
    part = de.GaussianMixture(ring.weights[:2], ring.means[:2], np.sqrt(ring.eigenvalues[:2, 0]))
    model = de.models.Guided(part.denoiser(problem.process), ring.denoiser(problem.process), SCALE)
    x = problem.initial(256, 0)
    return model, x, reference(model, x, de.grids.uniform_lambda(problem.process, 2), 1e-9).x


def error(solver: de.Solver, nfe: int, guidance: bool) -> float | None:
    """The error within a budget of evaluations, or None where the rule cannot take a step."""
    steps = next((n for n in range(nfe, 0, -1) if _plan(solver, n).nfe <= nfe), 0)
    if not steps:
        return None
    if not guidance:
        (row,) = de.compare([solver], problem="mixture_2d", nfe=[nfe], grid=de.grids.uniform_lambda)
        return row.error
    model, x, exact = guided()
    try:
        with np.errstate(all="ignore"):
            found = de.sample(model, solver, de.grids.uniform_lambda(model.process, steps), x, trajectory=False).x
    except DiffodeError:
        return float("inf")
    return float(np.sqrt(np.mean(np.sum((found - exact) ** 2, axis=1))))


def _plan(solver: de.Solver, steps: int) -> de.Plan:
    return solver.plan(de.grids.uniform_lambda(guided()[0].process, steps))


def row(name: str, options: Mapping[str, str | bool]) -> list[str | float | None] | None:
    """All numbers of a rule with a start and an end; None where it does not offer that start."""
    solver = de.get_solver(name).configure(name, **options)
    try:
        solver.plan(de.grids.uniform_lambda(de.VP(), 3))
    except DiffodeError:
        return None
    slope = order_started(solver, de.VP(), COUNTS, lowered=False)
    limit = de.guidance_limit(solver, VARIANCES, de.grids.uniform_lambda(de.VP(), STEPS), UNCONDITIONAL)
    few = [error(solver, nfe, guidance) for guidance in (False, True) for nfe in FEW]
    return [str(whole_run(solver)), f"{slope.value:.2f}", float(limit), *few]


_HEAD = """# Starts and ends: what they cost, what they keep

Equal steps in λ. *Proved* is the lowest power of h in the error of a whole run from an exact state, for every model
and process: a rule keeps its order where it is that order. *Slope* is measured on the mixture in one dimension from 40
to 240 steps, where what was lost does not yet show in full. A run of 10 steps *breaks at* that guidance scale
(`guidance_limit`; variances 1, 0.1 and 0.01, guided against 1.5, 0.2 and 0.05; 0: without guidance too). Errors are
those on the ring of eight modes within a budget of evaluations, then with two of its modes guided against all eight;
the best of a rule is bold. Made by `python -m analysis.starts`.
""".splitlines()


def table() -> str:
    """The table in Markdown."""
    columns = [f"at {nfe}" for nfe in FEW] + [f"w = {SCALE}, at {nfe}" for nfe in FEW]
    lines = [*_HEAD, "", f"| rule | start and end | proved | slope | breaks at | {' | '.join(columns)} |"]
    lines.append("| --- | --- | --- | --- | --- |" + " --- |" * len(columns))
    for name in RULES:
        found = {what: row(name, options) for what, options in VARIANTS.items()}
        rows = {what: cells for what, cells in found.items() if cells is not None}
        numbers = np.array([[np.inf if c is None else c for c in cells[3:]] for cells in rows.values()], dtype=float)
        best = numbers.min(axis=0)
        for what, cells in rows.items():
            errors = [_cell(c, b) for c, b in zip(cells[3:], best, strict=True)]
            lines.append(f"| {name} | {what} | {cells[0]} | {cells[1]} | {cells[2]:.2f} | {' | '.join(errors)} |")
    return "\n".join(lines) + "\n"


def _cell(value: str | float | None, best: float) -> str:
    if value is None:
        return "–"
    text = "diverged" if float(value) > 1e3 else f"{float(value):.2e}"
    return f"**{text}**" if float(value) == best else text


def main() -> None:
    """Run the study."""
    path = RESULTS / "starts.md"
    path.write_text(table(), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
