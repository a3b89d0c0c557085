r"""DC-Solver's ratios: searched on a few trajectories, step after step, and foretold from what searches found.

The ratio of a step is the one for which the state after it, corrected, comes nearest to a teacher's. Ratios of many
searches are put into one polynomial of the place in the run, of the guidance scale w and of the number of steps N,

    ρ(k) = Σ_j a_j(w, N) (k/N)^j,    a_j quadratic in w/12, with coefficients quadratic in N/50,

which tells ratios for any other (w, N) without a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diffode.backends import execute
from diffode.catalogue import catalogued
from diffode.errors import DiffodeError
from diffode.fitting.coefficients import Course, refined
from diffode.fitting.grids import backend_of, flat
from diffode.fitting.outcome import Fit
from diffode.plan import Plan
from diffode.solvers import Solver, get_solver
from diffode.solvers.tables import base_name

_DC = "arXiv:2409.03755"
_LOST = 1e12
"""The loss of a run that overflows."""


@catalogued("fit", f"{_DC}, section 3.3; official code: AdamW, 40 iterations a step")
def fit_compensation(
    target: Any,
    nfe: int,
    *,
    start: str | Solver = "unipc_2",
    degree: int = 2,
    width: float = 0.5,
    teacher: str | Solver = "ddim",
    substeps: int = 100,
    tolerance: float = 1e-3,
    **options: Any,
) -> Fit:
    r"""The ratios of `dc_solver`, one step after the other.

        ρ_i = argmin |x_{i+1}(ρ_i) − x̄_{i+1}|²    over 1 − width … 1 + width

    with x_{i+1} the state after the predictor and the next corrector, from the state that the ratios before have led
    to, and x̄ the teacher's. The first `degree` steps are not compensated.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        See `diffode.fitting.grids.target_of`.
    nfe : int
        Evaluations, one a step.
    start : str or Solver
        The base, a registered solver that evaluates once a step.
    degree : int
        Of the polynomial in t.
    width : float
        How far from 1 a ratio may be, at most 1.
    teacher : str or Solver
        Whose states at the levels are aimed at; the paper's is DDIM of many steps.
    substeps : int
        Steps of the teacher for each step of the grid.
    tolerance : float
        To which a ratio is found.
    **options
        See `fit_coefficients`.

    Returns
    -------
    Fit
        Of the rule `dc_solver`.

    Raises
    ------
    DiffodeError
        If the base takes more than one evaluation a step, or an option makes no sense.

    Examples
    --------
    >>> found = fit_compensation("mixture_1d", 6, samples=32, substeps=20)
    >>> found.solver.options["ratios"][:2], len(found.solver.options["ratios"])
    ((1.0, 1.0), 6)
    """
    if not 0 < width <= 1 or not 0 < tolerance < width:
        raise DiffodeError(
            f"fit: width must be above 0 and at most 1, tolerance above 0 and below width, not {width!r}, {tolerance!r}"
        )
    base, course = base_name(start), Course.of(target, nfe, start=start, **options)
    if course.start.plan(course.grid).nfe != nfe:
        raise DiffodeError(f"fit: {start} takes more than one evaluation a step; take a multistep solver for start=")
    goals = course.states(get_solver(teacher), refined(course.grid, substeps))[::substeps]
    rule = get_solver("dc_solver").configure(base=base, degree=degree)
    facts = {"teacher": get_solver(teacher).name, "substeps": substeps, "width": width, "tolerance": tolerance}
    keeper = course.keeper("dc", nfe - degree, degree=degree, **facts)
    ratios = [1.0] * nfe

    def offer() -> None:
        off = course.off(lambda: (rule.configure(ratios=tuple(ratios)), course.grid))
        keeper.offer([*ratios], float(np.sqrt(np.mean(off**2))))

    with keeper:
        for i in range(degree, nfe):
            ratios[i] = _searched(course, rule, ratios, i, goals[i + 1], width, tolerance)
            offer()
    content = {"rule": "dc_solver", "options": {"base": base, "degree": degree, "ratios": keeper.best or [1.0] * nfe}}
    return course.concluded("dc", content, {**facts, "interrupted": keeper.interrupted})


def _searched(
    course: Course, rule: Solver, ratios: Sequence[float], i: int, goal: np.ndarray, width: float, tolerance: float
) -> float:
    """The ratio of step i for which the state after it comes nearest to the goal."""
    from scipy.optimize import minimize_scalar

    def loss(ratio: float) -> float:
        tried = (*ratios[:i], float(ratio), *ratios[i + 1 :])
        plan = _through(rule.configure(ratios=tried).plan(course.grid), i)
        with np.errstate(all="ignore"):
            try:
                x = course.target.train
                off = flat(execute(backend_of(x), plan, course.target.model, [x], None)[plan.states[-1]]) - goal
            except DiffodeError:  # the run overflows
                return _LOST
        return float(np.mean(off**2))

    found = minimize_scalar(loss, bounds=(1 - width, 1 + width), method="bounded", options={"xatol": tolerance})
    return float(found.x) if found.fun < loss(1.0) else 1.0


def _through(plan: Plan, i: int) -> Plan:
    """The plan up to the state after step i."""
    end = next(k for k, row in enumerate(plan.rows) if row.out == plan.states[i + 1])
    return replace(
        plan, rows=plan.rows[: end + 1], states=plan.states[: i + 2], levels=plan.levels[: i + 2], memory=None
    )


@dataclass(frozen=True)
class Cascade:
    """Ratios as a polynomial of the place in the run, the guidance scale and the number of steps; see the module.

    Attributes
    ----------
    coefficients : ndarray, shape (4, 3, 3)
        By the power of k/N, the falling power of w/12 and the falling power of N/50.

    References
    ----------
    arXiv:2409.03755, section 3.3, eq. (11–13): cascade polynomial regression.
    """

    coefficients: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if np.shape(self.coefficients) != (4, 3, 3):
            raise DiffodeError(f"Cascade: coefficients must be of shape (4, 3, 3), not {np.shape(self.coefficients)}")

    def ratios(self, scale: float, nfe: int, degree: int = 2) -> tuple[float, ...]:
        """ρ of every step; 1 for the first `degree`, which cannot be compensated.

        >>> [round(ratio, 3) for ratio in SD21.ratios(7.5, 5)]
        [1.0, 1.0, 1.027, 0.739, 1.226]
        """
        rows = _powers(scale, nfe) @ np.asarray(self.coefficients).reshape(-1)
        return tuple([1.0] * min(degree, nfe) + rows.tolist()[degree:])


def _powers(scale: float, nfe: int) -> np.ndarray:
    """What the coefficients are multiplied by, for the steps 1, …, N; shape (N, 36)."""
    w, n, place = scale / 12, nfe / 50, np.arange(1, nfe + 1) / nfe
    inner = np.outer([w * w, w, 1.0], [n * n, n, 1.0]).reshape(-1)
    return (place[:, None, None] ** np.arange(4)[:, None] * inner).reshape(nfe, -1)


@catalogued("fit", f"{_DC}, section 3.3: cascade polynomial regression; code: cascade_polynomial_regression")
def cascade(found: Mapping[tuple[float, int], Sequence[float]], degree: int = 2) -> Cascade:
    r"""The polynomial nearest to the ratios of many searches, by least squares in all coefficients at once.

    Parameters
    ----------
    found : mapping
        (guidance scale, steps) → the ratio of every step.
    degree : int
        The first so many ratios of each are left out.

    Returns
    -------
    Cascade
        With the smallest coefficients where the searches do not determine them.

    Raises
    ------
    DiffodeError
        If there are no ratios, or not one for each step.

    Examples
    --------
    >>> right = cascade({(w, n): SD21.ratios(w, n) for w in (1.5, 4.5, 7.5) for n in (6, 8, 10)})
    >>> bool(np.allclose(right.ratios(6.0, 7), SD21.ratios(6.0, 7)))
    True
    """
    for (_, nfe), ratios in found.items():
        if len(ratios) != nfe:
            raise DiffodeError(f"cascade: {nfe} steps have {nfe} ratios, not {len(ratios)}")
    rows = [_powers(scale, nfe)[degree:] for scale, nfe in found]
    if not sum(map(len, rows)):
        raise DiffodeError(f"cascade: give ratios of runs with more than {degree} steps")
    wanted = np.concatenate([np.asarray(ratios[degree:], dtype=float) for ratios in found.values()])
    return Cascade(np.linalg.lstsq(np.concatenate(rows), wanted, rcond=None)[0].reshape(4, 3, 3))


SD21 = Cascade(
    np.array(
        [
            [
                [1523.676619658719, -1111.4746450817747, 198.38349617752823],
                [-1346.0890022783242, 1007.1949412581944, -186.2547577408646],
                [168.39730243270586, -128.0389489406508, 24.884789751788965],
            ],
            [
                [-8140.644018577604, 5906.748279115223, -1035.9941123139745],
                [6941.413899402556, -5193.980659818976, 950.3205652979913],
                [-848.2104675050633, 650.6903333310611, -121.28674276636774],
            ],
            [
                [13309.270384617059, -9616.6703205253, 1668.7685962068279],
                [-11037.107794392457, 8256.66668566493, -1503.7992035851387],
                [1293.9740435093065, -999.5629328211232, 188.2217041354989],
            ],
            [
                [-6747.4218216104955, 4853.153053347587, -835.5116792834909],
                [5489.115183777738, -4096.897218212316, 743.0953413127122],
                [-619.5612763258621, 480.1497146559675, -90.89633128561563],
            ],
        ]
    )
)
"""Of Stable Diffusion 2.1, as published: sd2.1.npy of wl-zhao/DC-Solver."""
