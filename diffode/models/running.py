"""A model in a run: wrappers that remember begin with an empty memory, and passes are counted where they are made."""

from __future__ import annotations

from dataclasses import dataclass

from diffode.models.base import Array, Model
from diffode.models.wrappers import Wrapped
from diffode.plan import Level


@dataclass
class Tally:
    """Network passes so far."""

    passes: int = 0


class Counted(Model):
    """A network whose passes are counted."""

    def __init__(self, model: Model, tally: Tally) -> None:
        self.model, self.tally = model, tally
        self.process, self.prediction, self.multiple = model.process, model.prediction, model.multiple

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        return self.told(x, level, None, output, to)

    def told(self, x: Array, level: Level, at: Level | None, output: str | None, to: Level | None) -> Array:
        self.tally.passes += self.model.passes(output)
        return self.model.told(x, level, at, output, to)

    def predict(
        self,
        x: Array,
        level: Level,
        prediction: str,
        at: Level | None = None,
        to: Level | None = None,
        output: str | None = None,
    ) -> Array:
        self.tally.passes += self.model.passes(output)
        return self.model.predict(x, level, prediction, at, to, output)


def begun(model: Model) -> tuple[Model, Tally]:
    """A model for one run, and the count of the passes that the run makes.

    Wrappers are copied, so that one that remembers (`ReusedOutputs`, `AdaptiveGuidance`) carries nothing from run to
    run; what they do not ask for is not counted.

    Parameters
    ----------
    model : Model

    Returns
    -------
    (Model, Tally)

    Examples
    --------
    >>> import numpy as np, diffode as de
    >>> process = de.EDM()
    >>> model = de.Gaussian(0.0, 1.0).denoiser(process)
    >>> running, tally = begun(de.Guided(model, model, 2.0))
    >>> _ = running.predict(np.ones((1, 1)), process.level(1.0), "x0")
    >>> tally.passes
    2
    """
    tally = Tally()

    def counted(inner: Model) -> Model:
        return inner.around(counted) if isinstance(inner, Wrapped) else Counted(inner, tally)

    return counted(model), tally
