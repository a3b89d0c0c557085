r"""S³: the search for a solver schedule of the unified sampling framework, led by a predictor of its quality.

Schedules (`diffode.solvers.unified`) are too many to be run. A few are; a Gaussian process over the choices,

    k(s, s′) = exp(−(number of choices in which they differ)/ℓ),

foretells the logarithm of the error of the others from them. Of many children of the best, those with the lowest
forecast are run, and the process learns from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffode.catalogue import catalogued
from diffode.errors import DiffodeError
from diffode.fitting.coefficients import Course
from diffode.fitting.keeping import Keeper
from diffode.fitting.outcome import Fit
from diffode.solvers import get_solver

CHOICES: dict[str, tuple[Any, ...]] = {
    "prediction": ("x0", "eps"),
    "order": (1, 2, 3, 4),
    "difference": (None, "pseudo"),
    "relaxation": (None, "bh1", "bh2", "plus", "minus"),
    "corrector": (None, "pec"),
}
"""What is searched over, in every step; all at one evaluation."""

_BEGIN = (
    {"order": 2, "relaxation": "bh2"},
    {"order": 2, "relaxation": "bh2", "corrector": "pec"},
    {"order": 3},
    {"order": 3, "corrector": "pec"},
)
"""Known solvers that the first generation holds: DPM-Solver++(2M), UniPC-2, exponential Adams, UniPC-3."""

Genes = np.ndarray
"""Which choice is taken, shape (steps, 5)."""


def _schedule(genes: Genes) -> list[dict[str, Any]]:
    names = list(CHOICES)
    return [{name: CHOICES[name][g] for name, g in zip(names, row, strict=True)} for row in genes.tolist()]


def _genes(schedule: list[dict[str, Any]]) -> Genes:
    return np.array([[known.index(step.get(name, known[0])) for name, known in CHOICES.items()] for step in schedule])


def forecast(
    known: np.ndarray, values: np.ndarray, asked: np.ndarray, length: float, noise: float = 1e-3
) -> np.ndarray:
    """The mean of a Gaussian process over choices, of which each row is one schedule.

    Parameters
    ----------
    known : ndarray of int, shape (n, choices)
    values : ndarray, shape (n,)
    asked : ndarray of int, shape (m, choices)
    length : float
        ℓ, in choices.
    noise : float
        Variance of a value, in units of that of the process.

    Returns
    -------
    ndarray, shape (m,)

    Examples
    --------
    >>> known = np.array([[0, 0], [1, 1]])
    >>> forecast(known, np.array([1.0, 3.0]), np.array([[0, 0], [0, 1]]), length=1.0).round(2)
    array([1., 2.])
    """

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.exp(-np.sum(p[:, None] != q[None], axis=-1) / length)

    mean = values.mean()
    weights = np.linalg.solve(kernel(known, known) + noise * np.eye(len(known)), values - mean)
    return mean + kernel(asked, known) @ weights


@catalogued("fit", "arXiv:2312.07243, section 4 (S³); code: thu-nics/USF")
def fit_usf(
    target: Any,
    nfe: int,
    *,
    runs: int = 96,
    first: int = 32,
    batch: int = 8,
    children: int = 256,
    **options: Any,
) -> Fit:
    """A solver schedule found by predictor-based search.

    The authors' predictor is a network, and they search the times as well; a grid is found by
    `de.fit(…, what="grid")` here, before or after.

    Parameters
    ----------
    target, nfe
        See `de.fit`; steps, one evaluation each.
    runs : int
        Schedules that are run.
    first : int
        How many of them are drawn before the predictor begins, known solvers among them.
    batch, children : int
        Schedules that are run in each generation, and those that they are chosen from.
    **options
        Those that all fits of coefficients take; see `diffode.fitting.coefficients.fit_coefficients`.

    Returns
    -------
    Fit
        Of the rule `usf`. `provenance["rank_correlation"]` says how well the predictor ranked what was run later.

    Raises
    ------
    DiffodeError
        If the numbers of schedules make no sense.

    Examples
    --------
    >>> found = fit_usf("mixture_1d", 4, samples=64, runs=24, first=16)
    >>> len(found.solver.options["schedule"]), found.provenance["train"]["after"] <= found.provenance["train"]["before"]
    (4, True)
    """
    for what, value, least in (("first", first, len(_BEGIN)), ("batch", batch, 1), ("children", children, batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DiffodeError(f"fit_usf: {what} must be a whole number of at least {least}, not {value!r}")
    course = Course.of(target, nfe, **options)
    keeper = course.keeper("usf", runs)
    search = _Search(course, keeper, np.random.default_rng(course.seed))
    with keeper:
        search.begin(first)
        while keeper.tried < runs:
            search.generation(min(batch, runs - keeper.tried), children)
    facts = {
        "runs": keeper.tried, "first": first, "batch": batch, "children": children,
        "interrupted": keeper.interrupted, "rank_correlation": search.rank_correlation(),
    }  # fmt: skip
    return course.concluded("usf", {"rule": "usf", "options": {"schedule": keeper.best}}, facts)


class _Search:
    """The schedules that were run, with the logarithms of their errors and what was foretold."""

    def __init__(self, course: Course, keeper: Keeper, generator: np.random.Generator) -> None:
        self.course, self.keeper, self.generator = course, keeper, generator
        self.steps = course.grid.steps
        self.rule = get_solver("usf")
        self.known: list[Genes] = []
        self.values: list[float] = []
        self.foretold: list[tuple[float, float]] = []

    def run(self, genes: Genes) -> float:
        """The logarithm of the error of a schedule, which is noted."""
        schedule = _schedule(genes)
        off = self.course.off(lambda: (self.rule.configure(schedule=tuple(schedule)), self.course.grid))
        loss = float(np.sqrt(np.mean(off**2)))
        self.keeper.offer(schedule, loss)
        self.known.append(genes)
        self.values.append(float(np.log(loss + 1e-300)))
        return self.values[-1]

    def begin(self, count: int) -> None:
        """The first generation."""
        if self.keeper.best is not None:
            self.run(_genes(self.keeper.best))
        for choice in _BEGIN:
            self.run(_genes([choice] * self.steps))
        for _ in range(count - len(_BEGIN)):
            self.run(self._drawn())

    def _drawn(self) -> Genes:
        sizes = [len(known) for known in CHOICES.values()]
        return self.generator.integers(0, sizes, size=(self.steps, len(sizes)))

    def generation(self, batch: int, children: int) -> None:
        """Children of the best, of which those with the lowest forecast are run."""
        best = np.argsort(self.values)[:16]
        seen = {genes.tobytes() for genes in self.known}
        made: dict[bytes, Genes] = {}
        for _ in range(children):
            child = self._child(*(self.known[i] for i in self.generator.choice(best, 2)))
            if child.tobytes() not in seen:
                made[child.tobytes()] = child
        if not made:  # there is nothing left near the best
            made = {b"": self._drawn()}
        asked = np.array(list(made.values()))
        known, wanted = (np.reshape(genes, (len(genes), -1)) for genes in (np.array(self.known), asked))
        values = np.minimum(self.values, np.median(self.values) + 3)
        told = forecast(known, values, wanted, length=self.steps)
        for i in np.argsort(told, kind="stable")[:batch]:
            self.foretold.append((float(told[i]), self.run(asked[i])))

    def _child(self, mother: Genes, father: Genes) -> Genes:
        """Steps of both, and a few choices of its own."""
        steps = self.generator.random((self.steps, 1)) < 0.5
        own = self.generator.random(mother.shape) < 1.5 / mother.size
        return np.where(own, self._drawn(), np.where(steps, mother, father))

    def rank_correlation(self) -> float | None:
        """Spearman's, of what was foretold with what was found."""
        if len(self.foretold) < 3:
            return None
        from scipy.stats import spearmanr

        told, found = zip(*self.foretold, strict=True)
        ranked: Any = spearmanr(told, found)
        value = float(ranked.statistic)
        return value if np.isfinite(value) else None
