"""The named problems: what each promises, under every process."""

from __future__ import annotations

import numpy as np
import pytest

import diffode as de
from diffode.problems import get_problem, list_problems
from diffode.process import named

PROCESSES = ("vp", "vp_cosine", "vp_scaled_linear", "vp_zero_snr", "subvp", "ve", "edm", "flow", "mean_reverting")


@pytest.mark.parametrize("name", list_problems())
@pytest.mark.parametrize("kind", [None, *PROCESSES])
def test_every_problem_under_every_process(name, kind):
    process = named(kind) if kind else None
    dimension = get_problem(name).dimension
    mu = np.linspace(-0.5, 0.5, dimension) if kind == "mean_reverting" else None
    problem = get_problem(name, process, mu=mu)
    assert problem.name == name
    assert problem.process == problem.model.process == (process or problem.process)
    assert (problem.start, problem.end) == (problem.process.t_max, problem.process.t_min)
    x_T = problem.initial(7, seed=0)
    assert x_T.shape == (7, dimension)
    grid = de.grids.uniform_lambda(problem.process, 8)
    out = de.sample(problem.model, "ddim", grid, x_T, mu=mu)
    assert np.isfinite(out.x).all()


@pytest.mark.parametrize("name", list_problems())
@pytest.mark.parametrize("kind", ["vp", "edm", "flow", "mean_reverting"])
def test_initial_vs_marginal_moments(name, kind):
    process, count = named(kind), 4_000
    mu = 0.5 if kind == "mean_reverting" else None
    problem = get_problem(name, process, mu=mu)
    t = 0.3 * process.t_max
    x, level = problem.initial(count, seed=1, t=t), process.level(t)
    mean = level.alpha * problem.law.mean + process.anchor(t) * (mu or 0.0)
    covariance = level.alpha**2 * problem.law.covariance + level.sigma**2 * np.eye(problem.dimension)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(x.mean(0) - mean) / scale, 5 / count**0.5)
    correlations = (np.atleast_2d(np.cov(x.T)) - covariance) / np.outer(scale, scale)
    np.testing.assert_array_less(np.abs(correlations), 5 * (2 / count) ** 0.5)


def test_initial_is_a_function_of_its_seed():
    problem = get_problem("mixture_2d")
    assert np.array_equal(problem.initial(5, seed=4), problem.initial(5, seed=4))
    assert not np.array_equal(problem.initial(5, seed=4), problem.initial(5, seed=5))


def test_gaussian_4d_is_stiff():
    values = np.linalg.eigvalsh(get_problem("gaussian_4d").data.covariance)
    assert values[0] == pytest.approx(1e-4)
    assert values[-1] == pytest.approx(4.0)


def test_mixture_2d_has_eight_modes_apart():
    data = get_problem("mixture_2d").data
    gaps = np.linalg.norm(data.means[:, None] - data.means, axis=-1)[np.triu_indices(8, 1)]
    assert data.means.shape == (8, 2)
    assert gaps.min() > 6 * np.sqrt(data.eigenvalues.max())


@pytest.mark.parametrize(("name", "hint"), [("mixture2d", "'mixture_2d'"), ("digts", "'digits'"), ("?", "there are")])
def test_unknown_name(name, hint):
    with pytest.raises(de.DiffodeError, match=hint):
        get_problem(name)


@pytest.mark.parametrize("name", list_problems())
def test_bad_process(name):
    with pytest.raises(de.ProcessError, match="must be a Process"):
        get_problem(name, "vp")
    with pytest.raises(de.ModelError, match="give it as mu="):
        get_problem(name, named("mean_reverting"))
    with pytest.raises(de.ModelError, match="has no anchor"):
        get_problem(name, named("vp"), mu=0.5)
