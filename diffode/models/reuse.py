"""Fewer evaluations of the network: a formula in place of the first, and outputs that are used again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from diffode import prediction as predictions
from diffode.catalogue import catalogued
from diffode.errors import ModelError
from diffode.models.base import Array, Model, changed, like, namespace
from diffode.models.wrappers import Wrapped
from diffode.plan import Level

Formula = Callable[[Array, Level], Array]


def _unit(x: Array, level: Level) -> Array:
    return like(level.alpha / (level.alpha**2 + level.sigma**2), x) * x


def _published(x: Array, level: Level) -> Array:
    size = (level.alpha**2 + level.sigma**2) ** 0.5
    return like(level.alpha / (size * (size + level.sigma)), x) * x


def _zero(x: Array, level: Level) -> Array:
    return 0 * x


FORMULAS: dict[str, Formula] = {"unit": _unit, "published": _published, "zero": _zero}


_ROUNDING = 1e-9
"""How much cleaner than the first level one may be by the rounding of a grid, in λ."""


@catalogued(
    "wrapper",
    "arXiv:2210.05475, section 3.2 (AFS); diff-sampler, afs=True; USF, arXiv:2312.07243",
    slip="The code's ε = x/√(α² + σ²) is not that of a unit Gaussian, ε = σ x/(α² + σ²): at large σ its data "
    "prediction is half of that.",
    page="acceleration.md",
)
class AnalyticalFirstStep(Wrapped):
    r"""The first evaluation by a formula (AFS), which saves one pass.

        "unit"        D = α x/(α² + σ²)              the data are N(0, 1): ε = σ x/(α² + σ²)
        "published"   ε = x/√(α² + σ²)               diff-sampler
        "zero"        D = 0,  ε = x/σ                USF
        a mixture     its exact denoiser             N(m, C) of the data, say
        an array      D = m                          the mean of the data

    At large σ all of them come near to the truth. What is published is not the unit Gaussian: D is half of it there,
    x/(2 σ²) and not x/σ² at α = 1.

    Parameters
    ----------
    model : Model
    formula : str, Model, array or callable (x, level) → D
    t : float, optional
        Evaluations at this time or a noisier one are by the formula; where grids start by default.

    Raises
    ------
    ModelError
        If there is no formula of this name, or it is a model of another process, or of one with an anchor.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> model, x = de.Gaussian(0.0, 1.0).denoiser(process), np.full((1, 1), 80.0)
    >>> out = de.sample(AnalyticalFirstStep(model), "dpmpp_2m", de.grids.karras(process, 10), x)
    >>> out.nfe, out.passes
    (10, 9)
    """

    def __init__(self, model: Model, formula: str | Model | Formula | Array = "unit", t: float | None = None) -> None:
        super().__init__(model)
        if isinstance(formula, str) and formula not in FORMULAS:
            raise ModelError(
                f"AnalyticalFirstStep: no formula named {formula!r}; there are {', '.join(FORMULAS)}, models, arrays "
                "and functions"
            )
        if isinstance(formula, Model) and formula.process != self.process:
            raise ModelError(
                f"AnalyticalFirstStep: the formula is a model of {formula.process!r}, not of {self.process!r}"
            )
        if isinstance(formula, Model) and self.process.anchored:
            raise ModelError(
                "AnalyticalFirstStep: the formula acts on the state without its anchor, which a model does not; give a "
                "function (x, level) → D"
            )
        self.formula = FORMULAS[formula] if isinstance(formula, str) else formula
        lam = self.process.level(self.process.t_max if t is None else t).lam
        self.until = lam + _ROUNDING * max(1.0, abs(lam)) if np.isfinite(lam) else lam

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        early = np.asarray(level.lam <= self.until)
        if not early.any():
            return self.model.predict(x, level, "x0", at, to, output)
        value = self._analytical(x, level)
        if early.all():
            return value
        told = self.model.predict(x, level, "x0", at, to, output)
        return namespace(x).where(like(early.astype(float), x) > 0, value, told)

    def _analytical(self, x: Array, level: Level) -> Array:
        if isinstance(self.formula, Model):
            return self.formula.predict(x, level, "x0")
        if callable(self.formula):
            return self.formula(x, level)
        return 0 * x + namespace(x).asarray(self.formula, dtype=x.dtype, device=x.device)


VARIABLES = ("lam", "t", "rho", "sigma")


@catalogued("wrapper", "skipping and caching of whole outputs, for instance arXiv:2309.10438; order as measured here")
class ReusedOutputs(Wrapped):
    r"""Outputs that are used again: at some evaluations the network is not asked.

        q(λ) ≈ Σ_j ℓ_j(λ) q(λ_j)    over the last `order` evaluations that were asked for

    with ℓ_j Lagrange's polynomials: order 1 holds the last value, 2 draws the line through two. The value errs by
    O(h^order), and so does the run: a solver of order p has order min(p, `order`) with it. Such an evaluation costs no
    pass. Where fewer values are known they are used; where none is, the network is asked.

    Parameters
    ----------
    model : Model
    every : int
        The network is asked at every so many evaluations of a run, the first included.
    skip : collection of int, optional
        Indices of the evaluations that are not asked for, instead.
    order : int
        How many values the polynomial goes through.
    of : {"eps", "x0", "v", "score", "velocity"}
        What is extrapolated: the state's own change is taken into account by all the others.
    variable : {"lam", "t", "rho", "sigma"}
        What the polynomial is in.

    Raises
    ------
    ModelError
        If a number is not positive, or a name is not known.

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.VP()
    >>> model, x = de.Gaussian(0.0, 0.5).denoiser(process), np.ones((1, 1))
    >>> out = de.sample(ReusedOutputs(model, every=2, order=2), "ddim", de.grids.uniform_lambda(process, 10), x)
    >>> out.nfe, out.passes
    (10, 5)
    """

    def __init__(
        self,
        model: Model,
        every: int = 2,
        *,
        skip: Collection[int] | None = None,
        order: int = 1,
        of: str = "eps",
        variable: str = "lam",
    ) -> None:
        super().__init__(model)
        predictions.check(of, "ReusedOutputs")
        for name, value in (("every", every), ("order", order)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ModelError(f"ReusedOutputs: {name} must be a whole number of at least 1, not {value!r}")
        if variable not in VARIABLES:
            raise ModelError(f"ReusedOutputs: no variable {variable!r}; there are {', '.join(VARIABLES)}")
        self.every, self.skip, self.order, self.of, self.variable = every, skip, order, of, variable
        self.count = 0
        self.known: list[tuple[Any, Array]] = []

    def remembers(self) -> bool:
        return True

    def forget(self) -> None:
        self.count, self.known = 0, []

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        return self.predict(x, level, "x0", at, to, output)

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        if output is not None:  # a branch has a past of its own, which nobody keeps
            return self.model.predict(x, level, prediction, at, to, output)
        where = getattr(level, self.variable)
        passed = self.count % self.every != 0 if self.skip is None else self.count in self.skip
        self.count += 1
        if not passed or not self.known or not np.all(np.isfinite(where)):
            value = self.model.predict(x, level, prediction, at, to)
            self._remember(where, x, level, prediction, value)
            return value
        value = _through(self.known, where, x)
        return value if prediction == self.of else changed(self.of, prediction, level, x, value)

    def _remember(self, where: Any, x: Array, level: Level, prediction: str, value: Array) -> None:
        """Keep a value, in place of one at the same level; none where it has no finite place."""
        if not np.all(np.isfinite(where)):
            return
        if prediction != self.of:
            value = changed(prediction, self.of, level, x, value)
        kept = [(other, old) for other, old in self.known if not np.any(np.equal(other, where))]
        self.known = [*kept, (where, value)][-self.order :]


def _through(known: list[tuple[Any, Array]], where: Any, x: Array) -> Array:
    """The polynomial through values at a place, by Neville's recursion."""
    places, values = [place for place, _ in known], [value for _, value in known]
    for width in range(1, len(known)):
        values = [
            like((where - places[i + width]) / (places[i] - places[i + width]), x) * values[i]
            + like((where - places[i]) / (places[i + width] - places[i]), x) * values[i + 1]
            for i in range(len(values) - 1)
        ]
    return values[0]
