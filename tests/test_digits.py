"""The learned problem: the network, the figures it ships with, and the script that trains it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import typer

import diffode as de
from diffode.problems import Problem, digits
from diffode.problems.digits import load
from diffode.process import named

ROOT = Path(__file__).parent.parent
PROCESSES = ("vp", "vp_cosine", "vp_scaled_linear", "subvp", "ve", "edm", "flow")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/train_digits.py as a module."""
    spec = importlib.util.spec_from_file_location("train_digits", ROOT / "scripts" / "train_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real(script) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All real images and labels, and the indices of those held out."""
    images, labels, _ = script.split(seed=0)
    return images, labels, digits().held_out


@pytest.fixture
def x() -> np.ndarray:
    return digits().initial(6, seed=3, t=0.7)


def at_rho(model: de.Model, x: np.ndarray, rho: float) -> np.ndarray:
    return model.native(x, model.process.level(rho=rho))


# --- the network -----------------------------------------------------------------------------------------


def test_shapes(x):
    problem = digits(label=4)
    assert isinstance(problem, Problem)
    assert (problem.dimension, problem.data) == (64, None)
    assert problem.initial(3, seed=0).shape == (3, 64)
    assert problem.model(x, 0.7).shape == x.shape
    assert problem.model(x[0], 0.7).shape == (64,)
    stacked = problem.model(x.reshape(2, 3, 64), 0.7)
    np.testing.assert_allclose(stacked.reshape(6, 64), problem.model(x, 0.7), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("label", [None, 7, [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("rho", [0.02, 0.3, 1.0, 20.0])
def test_numpy_vs_torch(dtype, tolerance, label, rho):
    model = digits(label).model
    x = digits().initial(6, seed=1, t=rho).astype(dtype)
    d = at_rho(model, x, rho)
    other = at_rho(model, torch.from_numpy(x), rho)
    assert d.dtype == x.dtype
    assert other.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(other.numpy(), d, rtol=0, atol=tolerance)


def test_float32_vs_float64(x):
    model = digits(2).model
    np.testing.assert_allclose(model(x.astype("float32"), 0.7), model(x, 0.7), rtol=0, atol=1e-5)


def test_gradient_flows_through_torch(x):
    model = digits(5, guidance=1.5).model
    state = torch.from_numpy(x).requires_grad_()
    model(state, 0.7).square().sum().backward()
    u = np.random.default_rng(0).standard_normal(x.shape)
    ahead, behind = ((model(x + s * 1e-5 * u, 0.7) ** 2).sum() for s in (1, -1))
    assert float((state.grad.numpy() * u).sum()) == pytest.approx((ahead - behind) / 2e-5, rel=1e-7)


def test_one_level_vs_the_same_for_every_sample_and_pixel(x):
    model = digits(label=[0, 1, 2, 3, 4, 5], process=de.VP()).model
    once = model(x, 0.4)
    assert np.array_equal(model(x, np.full((6, 1), 0.4)), once)
    assert np.array_equal(model(x, np.full((6, 64), 0.4)), once)


def test_levels_of_samples_are_their_own(x):
    model = digits(process=de.VP()).model
    t = np.linspace(0.1, 0.9, 6)
    together = model(x, t[:, None])
    apart = np.concatenate([model(x[i : i + 1], t[i]) for i in range(6)])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("rho", [0.05, 0.5, 5.0])
def test_every_process_agrees(name, rho):
    process = named(name)
    y = digits().initial(5, seed=2, t=rho)
    level = process.level(rho=rho)
    d = digits(label=8, process=process).model.native(level.alpha * y, level)
    np.testing.assert_allclose(d, digits(label=8).model(y, rho), rtol=0, atol=1e-11)


def test_an_anchor_is_only_a_shift():
    process, mu = named("mean_reverting"), np.linspace(-1.0, 1.0, 64)
    problem = digits(label=1, process=process, mu=mu)
    t = 0.5 * process.t_max
    level = process.level(t)
    x = problem.initial(4, seed=0, t=t)
    y = (x - process.anchor(t) * mu) / level.alpha
    np.testing.assert_allclose(problem.model(x, t), digits(label=1).model(y, level.rho), rtol=0, atol=1e-11)


def test_limits(x):
    model = digits(label=6, process=de.Flow()).model
    np.testing.assert_allclose(model(x, 0.0), x, rtol=0, atol=1e-12)
    assert np.isfinite(model(x, 1.0)).all()
    far = digits(label=6, process=de.EDM()).model(x, 80.0)
    assert np.abs(far).max() < 1.5


# --- labels and guidance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_guidance_between_its_ends(x, scale):
    model = digits(label=3, guidance=scale).model
    assert isinstance(model, de.Guided)
    assert model.multiple == 2
    end = digits(label=3 if scale else None).model
    np.testing.assert_allclose(model(x, 0.7), end(x, 0.7), rtol=0, atol=1e-14)


def test_labels_matter(x):
    d = [digits(label).model(x, 2.0) for label in (None, *range(10))]
    gaps = [np.abs(a - b).max() for i, a in enumerate(d) for b in d[:i]]
    assert min(gaps) > 0.1


@pytest.mark.parametrize("label", [10, -1, 2.0, "three", [1, 12], True])
def test_unknown_label(label):
    with pytest.raises(de.ModelError, match="integer from 0 to 9"):
        digits(label=label)


def test_bad_input(x):
    with pytest.raises(de.ModelError, match="needs a label"):
        digits(guidance=2.0)
    with pytest.raises(de.ModelError, match=r"labels of shape \(2,\) were given"):
        digits(label=[1, 2]).model(x, 0.7)
    with pytest.raises(de.ModelError, match="64 pixels"):
        digits().model(np.zeros((2, 8, 8)), 0.7)
    with pytest.raises(de.ModelError, match="one noise level per image"):
        digits().model(x, np.linspace(0.1, 1.0, 64))


# --- what ships ------------------------------------------------------------------------------------------


def test_weights_are_small():
    assert (ROOT / "diffode" / "problems" / "digits.npz").stat().st_size <= 2_000_000


def test_held_out_digits_were_not_seen(script, real):
    images, _, held_out = real
    assert len(np.unique(held_out)) == script.HELD_OUT
    seen = script.statistics(np.delete(images, held_out, 0))
    shipped = load().parameters
    np.testing.assert_allclose(seen["mean"], shipped["mean"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(seen["eigenvalues"], shipped["eigenvalues"], rtol=1e-9)


def test_figures_are_those_of_the_weights(script, real, monkeypatch):
    monkeypatch.setattr(script, "NOISE_LEVELS", (0.35,))
    images, labels, held_out = real
    measured = script.denoising_errors(load(), np.delete(images, held_out, 0), images[held_out], labels[held_out])
    shipped = digits().figures.denoising
    assert measured.keys() == shipped.keys()
    column = shipped["rho"].index(0.35)
    for name, (error,) in measured.items():
        assert error == pytest.approx(shipped[name][column], rel=1e-6), name


def test_network_vs_linear_and_mean():
    errors = digits().figures.denoising
    for network, linear, mean, rho in zip(*(errors[n] for n in ("network", "linear", "mean", "rho")), strict=True):
        assert linear < mean
        # at rho = 5 there is nothing left to gain on the linear denoiser, and the network is a little worse
        assert network < linear * (0.7 if 0.2 <= rho <= 0.6 else 1.0 if rho <= 2 else 1.005)


def test_network_denoises_held_out_digits_better_than_the_best_linear_map(real):
    images, _, held_out = real
    unseen, linear = images[held_out], digits().law.denoiser(de.EDM(0.02, 20.0))
    for seed, rho in enumerate((0.2, 0.35, 0.6)):
        noisy = unseen + rho * np.random.default_rng(100 + seed).standard_normal(unseen.shape)
        errors = [((model(noisy, rho) - unseen) ** 2).mean() for model in (digits().model, linear)]
        assert errors[0] < 0.7 * errors[1]


def test_samples_are_the_digits_asked_for(real):
    from sklearn.svm import SVC

    images, labels, held_out = real
    classifier = SVC(C=10.0).fit(np.delete(images, held_out, 0), np.delete(labels, held_out))
    wanted = np.repeat(np.arange(10), 20)
    problem = digits(label=wanted, guidance=2.0)
    grid = de.grids.karras(problem.process, 15)
    out = de.sample(problem.model, "dpmpp_2m", grid, problem.initial(200, seed=5), trajectory=False)
    assert (out.nfe, out.passes) == (15, 30)
    assert (classifier.predict(out.x) == wanted).mean() >= 0.95


def test_figures_print(capsys):
    shown = repr(digits().figures)
    for word in ("held-out", "linear", "points", "Fréchet", "seed 0", "torch"):
        assert word in shown
    assert max(len(line) for line in shown.splitlines()) <= 120


def test_sampling_digits_loads_no_extra():
    program = """
import sys
import diffode as de
problem = de.problems.digits(label=3, guidance=2.0)
de.sample(problem.model, "heun", de.grids.karras(problem.process, 2), problem.initial(1, seed=0))
print(problem.figures is not None, *sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.startswith("True")
    assert not set(run.stdout.split()) & {"torch", "sklearn", "matplotlib"}


# --- the script ------------------------------------------------------------------------------------------


def test_same_seed_same_weights(script, real):
    images, labels, _ = real
    known = script.statistics(images)

    def train(seed: int) -> dict[str, np.ndarray]:
        return script.train(images, labels, known, 4, seed, lambda loss: None)

    first, again, other = train(0), train(0), train(1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["up"], other["up"])
    stored = load().parameters
    assert {name: a.shape for name, a in first.items()} == {name: stored[name].shape for name in first}


def test_training_lowers_the_error(script, real):
    images, labels, _ = real
    losses: list[float] = []
    script.train(images, labels, script.statistics(images), 300, 0, losses.append)
    assert np.mean(losses[:5]) == pytest.approx(1.0, abs=0.05)  # it begins as the linear denoiser
    assert np.mean(losses[-20:]) < 0.95


def test_interrupted_training_leaves_the_old_file(script, tmp_path, monkeypatch, capsys):
    out = tmp_path / "digits.npz"
    out.write_bytes(b"old")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "train", stop)
    with pytest.raises(typer.Exit) as stopped:
        script.main(out=out)
    assert stopped.value.exit_code == 130
    assert "as it was" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_failed_writing_leaves_the_old_file(script, tmp_path):
    out = tmp_path / "digits.npz"
    out.write_bytes(b"old")

    class Unwritable:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        script.write(out, {"a": np.ones(3), "b": Unwritable()})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("module", "says"), [("sklearn", "scikit-learn is not installed"), ("torch", "torch is not installed")]
)
def test_missing_extra(script, monkeypatch, capsys, tmp_path, module, says):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(typer.Exit) as stopped:
        script.main(out=tmp_path / "digits.npz")
    assert stopped.value.exit_code == 2
    assert says in capsys.readouterr().err


def test_missing_folder(script, capsys, tmp_path):
    with pytest.raises(typer.Exit) as stopped:
        script.main(out=tmp_path / "nowhere" / "digits.npz")
    assert stopped.value.exit_code == 2
    assert "make it first" in capsys.readouterr().err
