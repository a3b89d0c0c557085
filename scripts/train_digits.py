"""Train the digits network and measure it.

    python scripts/train_digits.py

takes about two minutes and writes the weights, with the figures that they reached, to diffode/problems/digits.npz. The
file is replaced at the very end, so that an interrupted run leaves the old one. The same seed gives the same weights on
the same machine. Needs torch and scikit-learn (the extra dev has both); --sheet also matplotlib.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import diffode as de
from diffode.problems.digits import DigitsDenoiser, Figures, Trained
from diffode.problems.network import CLASSES, RADII, STATISTICS, denoise

SHIPPED = Path(de.__file__).parent / "problems" / "digits.npz"
WIDTH, HIDDEN, TOLD, BLOCKS = 192, 384, 64, 3
HELD_OUT = 360
BATCH, RATE, DECAY, DROPPED, UNLABELLED, AVERAGED = 128, 2e-3, 1.0, 0.2, 0.25, 0.999
LOG_NOISE = (-0.6, 1.2)  # mean and spread of log ρ in training: where there is something to learn
NOISE_LEVELS = (0.03, 0.1, 0.2, 0.35, 0.6, 1.0, 2.0, 5.0)
PROCESS = de.EDM(0.02, 20.0)

Rows = dict[str, dict[str, float | None]]


def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images in [−1, 1] of shape (1797, 64), labels, and the indices that are held out."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    held_out = np.random.default_rng(seed).permutation(len(images))[:HELD_OUT]
    return images / 8.0 - 1.0, labels, np.sort(held_out)


def statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, eigenvalues and eigenvectors of the training digits; no direction is thinner than 0.01."""
    e, q = np.linalg.eigh(np.cov(images.T, bias=True))
    return dict(zip(STATISTICS, (images.mean(0), np.maximum(e, 1e-4), q), strict=True))


def train(
    images: np.ndarray, labels: np.ndarray, known: dict[str, np.ndarray], steps: int, seed: int, tick: Any
) -> Any:
    """The averaged weights after so many steps of AdamW, as float32 arrays.

    The loss is the squared error of D over what the best linear denoiser is expected to leave, Σ e ρ²/(e + ρ²), so
    that every noise level counts alike.
    """
    import torch

    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    weights = {name: torch.tensor(a, requires_grad=True) for name, a in initial_weights(generator).items()}
    averaged = {name: w.detach().clone() for name, w in weights.items()}
    optimiser = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.99), fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 200) * 0.5 * (1 + np.cos(np.pi * step / steps))
    )
    x_0, e = torch.tensor(images, dtype=torch.float32), known["eigenvalues"]
    for step in range(steps):
        chosen = generator.integers(len(images), size=BATCH)
        rho = np.exp(generator.normal(*LOG_NOISE, size=(BATCH, 1)))
        told = np.where(generator.random(BATCH) < UNLABELLED, CLASSES, labels[chosen])
        clean, scale = x_0[chosen], 1.0 / (e * rho**2 / (e + rho**2)).sum(-1)
        noisy = clean + torch.tensor(rho * generator.standard_normal(clean.shape), dtype=torch.float32)
        d = denoise(known | weights, noisy, np.ones(1), rho, told, lambda h: torch.dropout(h, DROPPED, True))
        loss = (((d - clean) ** 2).sum(-1) * torch.tensor(scale, dtype=torch.float32)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        forget = 1.0 - min(AVERAGED, (step + 1) / (step + 10))
        for name, w in weights.items():
            averaged[name].lerp_(w.detach(), forget)
        tick(loss.item())
    return {name: w.numpy() for name, w in averaged.items()}


def initial_weights(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Matrices of unit gain, weaker where a block adds to its input; the last layer begins at zero."""
    pixels = 64

    def matrix(rows: int, columns: int, gain: float = 1.0, stack: tuple[int, ...] = ()) -> np.ndarray:
        return generator.standard_normal((*stack, rows, columns)) * (gain / np.sqrt(rows))

    weights = {
        "level": matrix(len(RADII), TOLD),
        "label": 0.3 * generator.standard_normal((CLASSES + 1, TOLD)),
        "mix": matrix(TOLD, TOLD),
        "mix_bias": np.zeros(TOLD),
        "enter": matrix(pixels, WIDTH),
        "enter_bias": np.zeros(WIDTH),
        "film": matrix(TOLD, 2 * WIDTH, 0.3, (BLOCKS,)),
        "film_bias": np.zeros((BLOCKS, 2 * WIDTH)),
        "up": matrix(WIDTH, HIDDEN, 1.0, (BLOCKS,)),
        "up_bias": np.zeros((BLOCKS, HIDDEN)),
        "down": matrix(HIDDEN, WIDTH, 0.3, (BLOCKS,)),
        "down_bias": np.zeros((BLOCKS, WIDTH)),
        "leave": np.zeros((WIDTH, pixels)),
        "leave_bias": np.zeros(pixels),
    }
    return {name: a.astype(np.float32) for name, a in weights.items()}


# --- figures ---------------------------------------------------------------------------------------------


def denoising_errors(
    trained: Trained, seen: np.ndarray, unseen: np.ndarray, labels: np.ndarray
) -> dict[str, list[float]]:
    """Mean squared error per pixel on held-out digits, of the network and of what it has to beat."""
    mean = trained.parameters["mean"]
    models: dict[str, de.Model] = {
        "network": DigitsDenoiser(trained, PROCESS),
        "with label": DigitsDenoiser(trained, PROCESS, labels),
        "linear": trained.law.denoiser(PROCESS),
        "points": de.PointCloud(seen).denoiser(PROCESS),
    }
    errors: dict[str, list[float]] = {"rho": list(NOISE_LEVELS), **{name: [] for name in models}}
    for rho in NOISE_LEVELS:
        noisy = unseen + rho * np.random.default_rng(round(1000 * rho)).standard_normal(unseen.shape)
        for name, model in models.items():
            errors[name].append(float(((model(noisy, rho) - unseen) ** 2).mean()))
    errors["mean"] = [float(((mean - unseen) ** 2).mean())] * len(NOISE_LEVELS)
    return errors


def sample_quality(trained: Trained, images: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> Rows:
    """Real held-out digits, and as many samples, beside the training digits."""
    from scipy.spatial.distance import cdist
    from sklearn.svm import SVC

    seen, known = np.delete(images, held_out, 0), np.delete(labels, held_out)
    wanted = labels[held_out]
    classifier = SVC(C=10.0).fit(seen, known)
    principal = trained.parameters["basis"][:, -32:]

    def row(x: np.ndarray, asked: np.ndarray | None) -> dict[str, float | None]:
        accuracy = None if asked is None else float((classifier.predict(x) == asked).mean())
        distance = frechet(x @ principal, seen @ principal)
        nearest = float(np.median(cdist(x, seen).min(1)))
        return {"Fréchet distance": distance, "accuracy": accuracy, "nearest digit": nearest}

    unlabelled = DigitsDenoiser(trained, PROCESS)
    labelled = DigitsDenoiser(trained, PROCESS, wanted)
    return {
        "held-out digits": row(images[held_out], wanted),
        "samples": row(draw(trained, unlabelled), None),
        "with label": row(draw(trained, labelled), wanted),
        "guided by 2": row(draw(trained, de.Guided(labelled, unlabelled, 2.0)), wanted),
    }


def draw(trained: Trained, model: de.Model, count: int = HELD_OUT) -> np.ndarray:
    """Samples by 20 steps of Heun's method: the solver's error is then far below the network's."""
    x_T = de.problems.Problem("digits", PROCESS, model, trained.law).initial(count, seed=1)
    return de.sample(model, "heun", de.grids.karras(PROCESS, 20), x_T, trajectory=False).x


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|m_a − m_b|² + tr(C_a + C_b − 2 (C_a C_b)^{1/2}) of the Gaussians fitted to two sets of features."""
    c_a, c_b = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(c_a @ c_b).real, 0.0))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c_a) + np.trace(c_b) - 2 * roots.sum())


# --- files -----------------------------------------------------------------------------------------------


def rounded(known: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is stored: statistics as they are, weights as float16."""
    return known | {name: w.astype(np.float16) for name, w in weights.items()}


def write(path: Path, arrays: dict[str, Any]) -> None:
    """All or nothing: into a file beside it first."""
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def draw_sheet(trained: Trained, path: Path) -> None:
    """A picture: ten rows of labels; five columns drawn with the label, five with guidance 2."""
    import matplotlib.image as image

    labels = np.repeat(np.arange(CLASSES), 8)
    labelled = DigitsDenoiser(trained, PROCESS, labels)
    guided = de.Guided(labelled, DigitsDenoiser(trained, PROCESS), 2.0)
    halves = [draw(trained, model, len(labels)).reshape(CLASSES, 8, 8, 8) for model in (labelled, guided)]
    tiles = np.pad(np.concatenate(halves, 1), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    sheet = tiles.transpose(0, 2, 1, 3).reshape(CLASSES * 10, -1)
    image.imsave(path, np.kron(sheet, np.ones((6, 6))), cmap="gray_r", vmin=-1.0, vmax=1.0)


# --- the command -----------------------------------------------------------------------------------------


def main(
    out: Annotated[Path, typer.Option(help="The file to write.")] = SHIPPED,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 6000,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the noise.")] = 0,
    sheet: Annotated[Path | None, typer.Option(help="Also draw samples into this PNG.")] = None,
) -> None:
    """Train the digits network, measure it on held-out digits, and write it with its figures."""
    console = Console(stderr=True)
    try:
        run(console, out, steps, seed, sheet)
    except (de.DiffodeError, de.MissingExtra) as problem:
        console.print(f"error: {problem}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print(f"interrupted; {out} is as it was", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None


def check(out: Path, sheet: Path | None) -> None:
    """Raise, before any work is done, where it could not be finished."""
    needed = {"sklearn": ("scikit-learn", "dev"), "torch": ("torch", "torch"), "matplotlib": ("matplotlib", "plot")}
    for module in needed if sheet is not None else list(needed)[:2]:
        try:
            import_module(module)
        except ImportError as problem:
            raise de.MissingExtra(*needed[module]) from problem
    for option, path in (("--out", out), ("--sheet", sheet)):
        if path is not None and not path.parent.is_dir():
            raise de.DiffodeError(f"{option} {path}: there is no folder {path.parent}; make it first")


def run(console: Console, out: Path, steps: int, seed: int, sheet: Path | None) -> None:
    """The work of the command, with progress."""
    check(out, sheet)
    # one thread is as fast as two on arrays this small, and its sums do not depend on the number of cores
    import_module("torch").set_num_threads(1)
    images, labels, held_out = split(seed)
    seen, known_labels = np.delete(images, held_out, 0), np.delete(labels, held_out)
    known = statistics(seen)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps)
        average = 1.0

        def tick(loss: float) -> None:
            nonlocal average
            average += 0.01 * (loss - average)
            progress.update(task, advance=1, description=f"training, error {average:.3f} of the linear denoiser's")

        stored = rounded(known, train(seen, known_labels, known, steps, seed, tick))
        trained = Trained({name: a.astype(float) for name, a in stored.items()}, Figures({}, {}, {}), held_out)
        task = progress.add_task("measuring", total=2)
        denoising = denoising_errors(trained, seen, images[held_out], labels[held_out])
        progress.advance(task)
        samples = sample_quality(trained, images, labels, held_out)
        progress.advance(task)
    versions = {name: version(name) for name in ("numpy", "scikit-learn", "torch")}
    training = dict(
        seed=seed, steps=steps, cpu_seconds=round(time.process_time()), python=platform.python_version(), **versions
    )
    figures = dict(denoising=denoising, samples=samples, training=training)
    write(out, stored | dict(held_out=held_out.astype(np.int16), figures=json.dumps(figures)))
    if sheet is not None:
        draw_sheet(trained, sheet)
    console.print(repr(Figures(**figures)), markup=False, highlight=False)
    console.print(f"{out}: {out.stat().st_size / 1e6:.2f} MB", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(typer.run(main))
