"""A learned problem: handwritten digits of 8×8 pixels, and the small network that denoises them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from diffode.errors import ModelError
from diffode.kinds import Number
from diffode.models import Gaussian, Guided, Model
from diffode.models.base import Array, like
from diffode.plan import Level
from diffode.problems.base import Problem, check_process
from diffode.problems.network import CLASSES, STATISTICS, denoise, labels_of
from diffode.process import EDM, Process


def digits(
    label: Any = None, guidance: float | None = None, *, process: Process | None = None, mu: Any = None
) -> Problem:
    r"""Handwritten digits of 8×8 pixels in [−1, 1], with a learned, imperfect denoiser.

    The data are the 1797 images that scikit-learn ships (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998).
    The network runs in NumPy and in torch with the same result; `scripts/train_digits.py` trains it. Neither
    scikit-learn nor torch is needed to sample.

    Parameters
    ----------
    label : int or sequence of int, optional
        The digit to draw, 0 … 9, or one for each sample; any digit by default.
    guidance : float, optional
        Scale w of classifier-free guidance towards the label (`Guided`).
    process : Process, optional
        `EDM(0.02, 20)` by default. The same network serves every process, since it depends on x/α and σ/α alone.
    mu : array_like, optional
        The anchor, where the process has one.

    Returns
    -------
    Problem
        `figures` prints how good the network is, on the digits `held_out` that it has not seen.

    Raises
    ------
    ModelError
        If the label is not a digit, or guidance is asked for without one.

    Examples
    --------
    >>> import diffode as de
    >>> problem = digits(label=3)
    >>> out = de.sample(problem.model, "dpmpp_2m", de.grids.karras(problem.process, 12), problem.initial(4, seed=0))
    >>> images = out.x.reshape(-1, 8, 8)
    >>> images.shape
    (4, 8, 8)
    """
    process = process or EDM(0.02, 20.0)
    check_process(process, mu, "digits")
    trained = load()
    model: Model = DigitsDenoiser(trained, process, label, mu)
    if guidance is not None:
        if label is None:
            raise ModelError(f"digits: guidance={guidance} needs a label to guide towards; give label=0 … 9")
        model = Guided(model, DigitsDenoiser(trained, process, None, mu), guidance)
    return Problem("digits", process, model, trained.law, None, mu, trained.figures, trained.held_out)


class DigitsDenoiser(Model):
    """The network as a model of any process.

    Parameters
    ----------
    trained : Trained
    process : Process
    label : int or sequence of int, optional
    mu : array_like, optional
        The anchor, where the process has one.
    """

    prediction = "x0"

    def __init__(self, trained: Trained, process: Process, label: Any = None, mu: Any = None) -> None:
        self.trained, self.process, self.mu = trained, process, mu
        self.label = None if label is None else _checked(label)
        self._kept: dict[Any, dict[str, Array]] = {}

    def native(self, x: Array, level: Level, output: str | None = None, to: Level | None = None) -> Array:
        batch, size = tuple(x.shape[:-1]), x.shape[-1]
        if size != len(self.trained.parameters["mean"]):
            raise ModelError(
                f"digits: x has shape {tuple(x.shape)}, but its last axis must be the 64 pixels of an image; "
                "flatten the images"
            )
        if self.label is not None and self.label.shape not in ((), batch):
            raise ModelError(
                f"digits: labels of shape {self.label.shape} were given for x of shape {tuple(x.shape)}; give one "
                "label, or one per sample"
            )
        if self.mu is not None:
            x = x - like(self.process.anchor(level.t), x) * self.mu
        alpha, sigma = (_one_per_sample(c, size) for c in (level.alpha, level.sigma))
        return denoise(self._parameters(x), x, alpha, sigma, labels_of(self.label, batch))

    def _parameters(self, x: Array) -> dict[str, Array]:
        """The network's arrays in the kind, precision and place of x."""
        key = (type(x), str(x.dtype), str(getattr(x, "device", "")))
        if key not in self._kept:
            known = self.trained.parameters
            self._kept[key] = {name: a if name in STATISTICS else like(a, x) for name, a in known.items()}
        return self._kept[key]


def _checked(label: Any) -> np.ndarray:
    labels = np.asarray(label)
    if labels.dtype.kind not in "iu" or not np.all((labels >= 0) & (labels < CLASSES)):
        raise ModelError(f"digits: label must be an integer from 0 to {CLASSES - 1}, not {label!r}")
    return labels


def _one_per_sample(c: Number, size: int) -> np.ndarray:
    """α or σ with a last axis of length 1, to broadcast against the pixels of each sample."""
    values = np.atleast_1d(np.asarray(c, dtype=float))
    if values.shape[-1] == size and np.all(values == values[..., :1]):
        values = values[..., :1]
    if values.shape[-1] != 1:
        raise ModelError("digits: the network knows one noise level per image; give levels of shape (batch, 1)")
    return values


@dataclass(frozen=True)
class Trained:
    """What training left: the network's arrays, the figures they reached, and which digits were held out."""

    parameters: Mapping[str, np.ndarray]
    figures: Figures
    held_out: np.ndarray

    @cached_property
    def law(self) -> Gaussian:
        """The Gaussian with the mean and covariance of the training digits."""
        m, e, q = (self.parameters[name] for name in STATISTICS)
        return Gaussian(m, (q * e) @ q.T)


@lru_cache(maxsize=1)
def load() -> Trained:
    """The network that ships with the package, its weights rounded to float16 on disk."""
    with (files("diffode.problems") / "digits.npz").open("rb") as file, np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    figures = Figures(**json.loads(str(arrays.pop("figures"))))
    held_out = arrays.pop("held_out")
    return Trained({name: a.astype(np.float64) for name, a in arrays.items()}, figures, held_out)


@dataclass(frozen=True, repr=False)
class Figures:
    """How good the network is, as its training script measured it on the weights that ship.

    The held-out digits are by the same writers as the others, and were looked at when the training was set up.

    Attributes
    ----------
    denoising : dict of list
        Mean squared error per pixel on held-out digits at the noise levels "rho": of the network without and with the
        label, of the mean of the training digits, of the best linear denoiser, and of the exact denoiser of the
        training digits as a point cloud.
    samples : dict of dict
        For real held-out digits and for samples: Fréchet distance to the training digits, share that a classifier
        of real digits gives the label asked for, and median distance to the nearest training digit.
    training : dict
        Seed, steps, CPU seconds, versions.
    """

    denoising: dict[str, list[float]]
    samples: dict[str, dict[str, float | None]]
    training: dict[str, Any]

    def __repr__(self) -> str:
        denoising = [list(self.denoising), *zip(*self.denoising.values(), strict=True)]
        columns = list(next(iter(self.samples.values())))
        samples = [["", *columns], *([name, *row.values()] for name, row in self.samples.items())]
        trained = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.training.items())
        return "\n".join(
            [
                "squared error per pixel on held-out digits, by noise level ρ = σ/α",
                *_table(denoising),
                "",
                "samples beside real digits",
                *_table(samples),
                "",
                f"training: {trained}",
            ]
        )


def _table(rows: list[Any]) -> list[str]:
    """Lines of aligned columns."""
    cells = [["–" if c is None else f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return ["  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
