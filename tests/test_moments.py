"""The exact law of a plan: its distances from other laws, and what it takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal

import diffode as de
from diffode.analysis.moments import Law
from diffode.errors import PlanError


def laws(seed: int) -> tuple[Law, de.Gaussian]:
    """An output law, and other data in three dimensions, with unlike eigenvectors."""
    generator = np.random.default_rng(seed)
    process = de.EDM()
    data, other = (
        de.Gaussian(generator.standard_normal(3), a @ a.T + 0.05 * np.eye(3))
        for a in generator.standard_normal((2, 3, 3))
    )
    return de.law(de.compile("dpmpp_2m", process, de.grids.karras(process, 6)), data), other


@given(st.integers(0, 2**32 - 1))
def test_w2_is_the_bures_distance(seed: int) -> None:
    law, data = laws(seed)
    a, b = law.covariance, data.covariance
    root = np.real(sqrtm(a))
    square = np.sum((law.mean - data.means[0]) ** 2) + np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root)))
    assert law.w2(data) == pytest.approx(np.sqrt(square), rel=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_kl_is_the_mean_log_ratio(seed: int) -> None:
    """KL(p ‖ q) = E_p[log p − log q]; exact by averaging the quadratic over p's sigma points."""
    law, data = laws(seed)
    p, q = multivariate_normal(law.mean, law.covariance), multivariate_normal(data.means[0], data.covariance)
    root = np.linalg.cholesky(law.covariance) * np.sqrt(3)
    points = np.concatenate([law.mean + root.T, law.mean - root.T])
    assert law.kl(data) == pytest.approx(np.mean(p.logpdf(points) - q.logpdf(points)), rel=1e-9)


def test_a_law_is_at_no_distance_from_itself_however_it_is_told() -> None:
    law, _ = laws(0)
    turned = de.Gaussian(law.mean, law.covariance)
    assert law.w2(law) == law.kl(law) == 0.0
    assert law.w2(turned) < 1e-6  # the root of a difference of rounding size
    assert abs(law.kl(turned)) < 1e-13


def test_the_prior_start_adds_the_error_of_starting_from_noise() -> None:
    process, data = de.VP(), de.Gaussian(1.0, 0.3)
    plan = de.compile("dpmpp_2m", process, de.grids.uniform_lambda(process, 40))
    marginal, prior = de.law(plan, data), de.law(plan, data, start="prior")
    assert marginal.w2() < prior.w2()
    assert prior.w2() < 2 * float(process.alpha(1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: law.w2(de.Gaussian(0.0, 1.0)), "the other law has 1 dimensions, the plan's 3"),
        (lambda law: law.kl(de.GaussianMixture([1, 1], [0, 1], [1, 1])), "not a mixture of 2"),
    ],
)
def test_laws_that_cannot_be_compared_say_why(call, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        call(laws(0)[0])
