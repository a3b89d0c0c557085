"""What a report computes beside the certificate: coefficients, stability, error against evaluations, paths, digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from diffode.analysis import figures
from diffode.analysis.comparison import compare
from diffode.analysis.endpoint import reference
from diffode.analysis.formula import LETTERS
from diffode.analysis.style import fine, png, svg
from diffode.errors import DiffodeError
from diffode.grids import TimeGrid, karras
from diffode.plan import BrownianIncrement, Combine, Constant, Dynamic, Evaluate, Normal, Plan, Scaled
from diffode.problems import get_problem
from diffode.process import Process
from diffode.sampling import sample
from diffode.solvers import Solver

if TYPE_CHECKING:
    from diffode.analysis.stability import Region

PEERS = ("ddim", "dpmpp_2m", "unipc_2", "heun", "dpm_solver_3", "deis_tab_3")
NOISY_PEERS = ("ddpm", "dpmpp_2m_sde", "dpmpp_sde", "dpmpp_3m_sde", "mr_sde_data_2", "mr_sde_noise_2")
"""Published methods to stand beside; the first five that are not the solver itself."""

BUDGETS = (5, 8, 10, 15, 20, 30, 40)
"""Evaluations at which solvers are compared."""

_STEPS = 8
_BUDGET = 10
"""Evaluations of the trajectories and of the digits."""


# --- coefficients -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coefficients:
    """The combinations of a plan, one row each: step, λ, register, and the coefficient of each column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, str, str, tuple[str, ...]], ...]
    plan: str
    grid: str


def coefficients(solver: Solver, process: Process) -> Coefficients:
    """The coefficients of a solver on a Karras grid of eight steps."""
    grid = karras(process, _STEPS)
    plan = solver.plan(grid)
    names = _Relative(plan)
    found: list[tuple[int, str, dict[str, str]]] = []
    for row, step in names.placed:
        if isinstance(row, Combine) and not isinstance(row, Constant):
            values = {names.of(name, step): names.coefficient(c, step) for c, name in row.terms}
            found.append((step, names.of(row.out, step), values))
    columns = sorted({name for _, _, values in found for name in values}, key=names.rank)
    rows = tuple(
        (step, minus(f"{grid[step].lam:.3f}"), out, tuple(values.get(name, "") for name in columns))
        for step, out, values in found
    )
    return Coefficients(tuple(columns), rows, str(plan), repr(grid))


def _digits(c: Any) -> str:
    fixed = c == 0 or 1e-4 <= abs(c) < 1e4
    return minus(f"{float(c):.5f}" if fixed else f"{float(c):.3e}")


def minus(text: str) -> str:
    """With minus signs for hyphens."""
    return text.replace("-", "−")


class _Relative:
    """Names that tell a register by how many steps ago it was made, so that a column holds like with like."""

    def __init__(self, plan: Plan) -> None:
        self.placed: list[tuple[Any, int]] = []
        self.letter: dict[str, tuple[str, int, int]] = {name: ("x", k, 0) for k, name in enumerate(plan.states)}
        self.ranks: dict[str, tuple[int, int, int]] = {}
        step = 0
        counts: dict[tuple[str, int], int] = {}
        for row in plan.rows:
            self.placed.append((row, step))
            if row.out in plan.states:
                step += 1
                continue
            letter = self._letter(row)
            turn = counts[letter, step] = counts.get((letter, step), -1) + 1
            self.letter[row.out] = (letter, step, turn)

    @staticmethod
    def _letter(row: Any) -> str:
        if isinstance(row, Evaluate):
            return {"eps": "ε"}.get(row.prediction, LETTERS[row.prediction])
        if isinstance(row, (BrownianIncrement, Normal)):
            return "z"
        if isinstance(row, Constant):
            return "1"
        return "c" if isinstance(row, Dynamic) else "y"

    def of(self, register: str, step: int) -> str:
        """The name of a register as seen from a step, in HTML."""
        letter, made, turn = self.letter[register]
        ago = step - made
        place = "i" if ago == 0 else f"i−{ago}" if ago > 0 else f"i+{-ago}"
        name = f"<i>{letter}</i>{'′' * turn}<sub>{place}</sub>"
        kind = {"x": 0, "y": 2, "c": 3, "z": 4}.get(letter, 1)
        self.ranks[name] = (kind, ago, turn)
        return name

    def coefficient(self, c: Any, step: int) -> str:
        """A coefficient in figures, with the name of the dynamic row that scales it, if one does."""
        return f"{_digits(c.factor)} {self.of(c.dynamic, step)}" if isinstance(c, Scaled) else _digits(c)

    def rank(self, name: str) -> tuple[int, int, int]:
        """Where a column stands: the state, evaluations newest first, stages, noise."""
        return self.ranks[name]


# --- stability ----------------------------------------------------------------------------------------------


def stability(solver: Solver) -> Picture:
    """Linear regions beside two published ones, and for an exponential rule the semilinear ones of some steps."""
    from diffode.analysis.stability.reading import sampling_sign
    from diffode.analysis.stability.regions import stability as region

    own = region(solver)
    peers = [region(name) for name in PEERS if name != solver.name][:2]
    caption = (
        f"Linear stability: on y′ = ζ y, z = ζ h. Real interval {_length(own.real_interval)}, imaginary interval "
        f"{_length(own.imaginary_interval)}" + (f", A({own.a_alpha:.4g}°)" if own.a_alpha else "") + "."
    )
    linear = _regions([own, *peers], "stability", "Regions of linear stability")
    if not solver.exponential:
        return Picture(linear, caption)
    family = [own, *(region(solver, ch=sampling_sign(solver) * ch) for ch in (0.5, 1.0))]
    words = "Semilinear stability: on u′ = −c u + b u, whose linear part the rule carries exactly, in the plane of b h."
    return Picture(linear, caption, [(words, _regions(family, "semilinear", "Regions of semilinear stability"))])


def _regions(found: Sequence[Region], name: str, title: str) -> str:
    """Regions in one picture that can be zoomed."""
    from diffode.analysis.stability.plots import regions

    rates = (minus(f"c h = {one.recursion.ch:g}") for one in found)
    said = (
        f"{one.solver}, {c}: real interval {_length(one.real_interval)}" for c, one in zip(rates, found, strict=True)
    )
    with fine():
        return svg(regions(found), name, title, "; ".join(said), zoom=True)


def _length(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "∞"


# --- error against evaluations ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Curves of error against evaluations, as a figure and as a table."""

    figure: str
    curves: dict[str, list[tuple[int, float]]]
    table: list[tuple[str, list[str]]]
    budgets: tuple[int, ...]
    measure: str


def comparison(solver: Solver, stochastic: bool) -> Comparison:
    """The solver beside five published ones: on the 2-D mixture, or with noise by the exact law on Gaussian data."""
    known = NOISY_PEERS if stochastic else PEERS
    peers = [name for name in known if name != solver.name][:5]
    problem = get_problem("gaussian_4d" if stochastic else "mixture_2d")
    least = solver.plan(karras(problem.process, 1)).nfe
    budgets = tuple(budget for budget in BUDGETS if budget >= least) or (least, 2 * least, 4 * least)
    rows = compare([solver, *peers], nfe=budgets, problem=problem)
    curves: dict[str, list[tuple[int, float]]] = {}
    cells: dict[str, list[str]] = {}
    for row in rows:
        cells.setdefault(row.solver, []).append(_two_digits(row.error))
        if row.error is not None and np.isfinite(row.error) and row.error > 0:
            points = curves.setdefault(row.solver, [])
            if not points or points[-1][0] != row.spent:
                points.append((row.spent, row.error))
    if stochastic:
        measure = "exact Wasserstein-2 distance between the law that comes out and the data, a stiff Gaussian in 4-D"
    else:
        measure = (
            "root-mean-square distance to the exact end points, on a mixture of eight modes in 2-D "
            f"(reference good to {max(row.uncertainty for row in rows):.0e})"
        )
    drawing = figures.work_precision(curves, solver.name, "W₂ distance" if stochastic else "RMS error")
    text = "; ".join(f"{name} {points[-1][1]:.1e} at {points[-1][0]}" for name, points in curves.items())
    figure = svg(drawing, "precision", "Error against evaluations", f"Errors at the most evaluations: {text}")
    return Comparison(figure, curves, list(cells.items()), budgets, measure)


def _two_digits(x: float | None) -> str:
    if x is None or not np.isfinite(x):
        return "" if x is None else "∞"
    return f"{x:.0f}" if 100 <= x < 1e5 else f"{x:.2g}"


# --- pictures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """Figures with what to say under them."""

    figure: str
    caption: str
    more: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def trajectories(solver: Solver, stochastic: bool) -> Picture:
    """Paths of some ten evaluations through the 2-D mixture."""
    problem = get_problem("mixture_2d")
    grid, nfe = _within(solver, problem.process, _BUDGET)
    count = 8 if stochastic else 28
    x_T = problem.initial(400 if stochastic else count, 1)
    out = sample(problem.model, solver, grid, x_T, noise=2 if stochastic else None)
    paths = _unit(out.trajectory, grid)[:, :count]
    law = problem.law
    if stochastic:
        drawing = figures.trajectories(law, paths, None, out.x)
        caption = f"{count} paths of {nfe} evaluations (blue), and where 400 end (dots), over the law of the data."
    else:
        fine = karras(problem.process, 60)
        exact = sample(problem.model, "rk4", fine, x_T)
        drawing = figures.trajectories(law, paths, _unit(exact.trajectory, fine))
        far = float(np.sqrt(((out.x - exact.x) ** 2).sum(1).mean()))
        caption = (
            f"{count} paths of {nfe} evaluations (blue, a dot for each step) beside the exact flow (grey; rings where "
            f"it ends). Root-mean-square distance of the end points: {far:.3f}."
        )
    caption += " The state is scaled to unit size at every level."
    return Picture(svg(drawing, "paths", "Trajectories on a 2-D mixture", caption), caption)


def _unit(states: Sequence[np.ndarray], grid: TimeGrid) -> np.ndarray:
    sizes = np.sqrt(grid.alpha**2 + grid.sigma**2)
    return np.stack([x / size for x, size in zip(states, sizes, strict=True)])


def digits(solver: Solver, stochastic: bool) -> Picture:
    """Samples of the learned digits at some ten evaluations, and from the same starts the converged reference."""
    problem = get_problem("digits")
    grid, nfe = _within(solver, problem.process, _BUDGET)
    x_T = problem.initial(24, 3)
    out = sample(problem.model, solver, grid, x_T, noise=4 if stochastic else None)
    exact = reference(problem.model, x_T, grid, 1e-5)
    far = float(np.sqrt(((out.x - exact.x) ** 2).mean()))
    if stochastic:
        caption = "Its noise leads elsewhere than the flow, so compare how they look, not one by one."
    else:
        caption = f"Root-mean-square difference: {far:.3f} of a range of 2 (reference good to {exact.error:.0e})."
    sheets = [
        (f"{solver.name}, {nfe} evaluations", out.x),
        (f"the probability-flow ODE from the same starts, solved to convergence ({exact.nfe} evaluations)", exact.x),
    ]
    return Picture("", caption, [(title, _sheet(x, title)) for title, x in sheets])


def _sheet(x: np.ndarray, title: str) -> str:
    ink = figures.images(x.reshape(-1, 8, 8), 12)
    return f'<img class="ink" src="{png(ink)}" alt="24 handwritten digits: {escape(title)}">'


def _within(solver: Solver, process: Process, budget: int) -> tuple[TimeGrid, int]:
    """The longest Karras grid that stays within a budget of evaluations, and what it takes; one step at least."""
    for steps in range(budget, 0, -1):
        grid = karras(process, steps)
        nfe = solver.plan(grid).nfe
        if nfe <= budget or steps == 1:
            return grid, nfe
    raise DiffodeError(f"no grid of {budget} evaluations")
