"""Stability in closed form: momentum, the classical methods, growth where the exact solution grows."""

from __future__ import annotations

from fractions import Fraction
from math import inf, sqrt

import pytest

import diffode as de
from diffode.analysis.stability import multistep, recursion, runge_kutta
from diffode.analysis.stability.intervals import a_stable, imaginary_length, l_stable
from paper_figs.stability_momentum import with_momentum

Q = Fraction
BETAS = [Q(1, 10), Q(1, 2), Q(4, 5), Q(1)]
ADAMS_INTERVAL = {1: Q(2), 2: Q(1), 3: Q(6, 11), 4: Q(3, 10)}


def interval(rule, **options):
    return de.stability(rule, **options).real_interval


def exactly(value):
    return pytest.approx(float(value), abs=1e-10)


@pytest.mark.parametrize("beta", BETAS)
def test_ghvb(beta):
    wanted = {1: 2 * (2 - beta) / beta, 2: 2 - beta, 3: 6 * (2 - beta) / (12 - beta), 4: 3 * (2 - beta) / (11 - beta)}
    for terms, length in wanted.items():
        assert interval(f"ghvb(order={float(terms - 1 + beta)})") == exactly(length)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_heavy_ball_and_nesterov(beta, k):
    adams = ADAMS_INTERVAL[k]
    assert interval(with_momentum(k, "heavy_ball", float(beta))) == exactly((2 - beta) / beta * adams)
    assert interval(with_momentum(k, "nesterov", float(beta))) == exactly((2 - beta) / (beta * (3 - 2 * beta)) * adams)


@pytest.mark.parametrize("q", [Q(1, 4), Q(1, 2), Q(9, 10), Q(1)])
def test_o_belm(q):
    assert interval("o_belm", ratio=q) == exactly(2 * (1 - q))


def test_reversible_heun():
    region = de.stability("reversible_heun")
    assert (region.real_interval, region.imaginary_interval) == (0.0, exactly(1))
    assert 0.999j in region
    assert 1.001j not in region
    assert not region.mask.any()


@pytest.mark.parametrize(
    ("name", "real", "imaginary"),
    [
        ("euler", 2, 0), ("heun", 2, 0), ("deis_rho_kutta3", 2.5127453266183286, sqrt(3)),
        ("rk4", 2.785293563405282, 2 * sqrt(2)), ("deis_rhoab_1", 1, 0), ("deis_rhoab_2", Q(6, 11), 0.7236272269866328),
        ("deis_rhoab_3", Q(3, 10), 0.4299870799092559),
    ],
)  # fmt: skip
def test_classical_explicit(name, real, imaginary):
    region = de.stability(name)
    assert (region.real_interval, region.imaginary_interval) == (exactly(real), exactly(imaginary))
    assert region.a_alpha == 0


AM = {2: [1, 1], 3: [-1, 8, 5], 4: [1, -5, 19, 9], 5: [-19, 106, -264, 646, 251]}


@pytest.mark.parametrize(("k", "length"), [(2, inf), (3, 6), (4, 3), (5, Q(90, 49))])
def test_adams_moulton(k, length):
    sigma = [Q(b, sum(AM[k])) for b in AM[k]]
    method = multistep([0] * (k - 2) + [-1, 1], sigma)
    assert de.stability(method).real_interval == exactly(length)


BDF = {
    1: ([-1, 1], 1, 90), 2: ([1, -4, 3], 2, 90), 3: ([-2, 9, -18, 11], 6, 86.032366860211),
    4: ([3, -16, 36, -48, 25], 12, 73.351670474578), 5: ([-12, 75, -200, 300, -300, 137], 60, 51.839755836049),
    6: ([10, -72, 225, -400, 450, -360, 147], 60, 17.839777792245),
}  # fmt: skip


@pytest.mark.parametrize("k", BDF)
def test_backward_differences(k):
    rho, weight, angle = BDF[k]
    region = de.stability(multistep(rho, [0] * k + [weight], f"bdf{k}"))
    assert region.a_alpha == pytest.approx(angle, abs=1e-8)
    assert region.real_interval == inf
    assert region.l_stable == (k <= 2)


def test_implicit_runge_kutta():
    root = sqrt(3)
    gauss = runge_kutta([[Q(1, 2)]], [1])
    radau = runge_kutta([[Q(5, 12), Q(-1, 12)], [Q(3, 4), Q(1, 4)]], [Q(3, 4), Q(1, 4)])
    lobatto = runge_kutta([[0, 0], [Q(1, 2), Q(1, 2)]], [Q(1, 2), Q(1, 2)])
    assert [(a_stable(m), l_stable(m)) for m in (gauss, radau, lobatto)] == [(True, False), (True, True), (True, False)]
    gamma = (3 + root) / 6  # SDIRK of order 3: A-stable, w → 1 − √3
    assert a_stable(runge_kutta([[gamma, 0], [1 - 2 * gamma, gamma]], [Q(1, 2), Q(1, 2)]))
    assert not a_stable(runge_kutta([[Q(1, 5), 0], [Q(3, 5), Q(1, 5)]], [Q(1, 2), Q(1, 2)]))


def test_leapfrog():
    leapfrog = multistep([-1, 0, 1], [0, 2])
    assert (de.stability(leapfrog).real_interval, imaginary_length(leapfrog)) == (0.0, exactly(1))


def test_corrector_in_pec_mode_is_the_longer_adams():
    """UniPC-p corrects with the value at the predicted point and keeps it: on linear problems Adams–Bashforth p + 1."""
    for p in (1, 2, 3):
        corrected, adams = (recursion(de.get_solver(name)) for name in (f"unipc_{p}", f"deis_rhoab_{p}"))
        assert corrected.coefficients == adams.coefficients


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "unipc_3", "exponential_adams"])
def test_growth_begins_where_the_exact_solution_grows(name):
    """A constant solution, b = c, is kept: the real interval of an exponential rule ends at b h = c h."""
    for ch in (0.3, 1.0):
        rule = de.get_solver(name)
        region = de.stability(rule, ch=-ch if rule.prediction == "eps" else ch)
        assert region.real_bounds[1] == pytest.approx(region.recursion.ch, abs=1e-10)


@pytest.mark.parametrize("name", ["dpm_solver_2m", "dpmpp_2m", "unipc_1", "ddim"])
def test_interval_at_negative_ch_agrees_with_roots(name):
    region = de.stability(name, ch=-0.3)
    low, high = region.real_bounds
    assert high == pytest.approx(-0.3, abs=1e-10)
    inside, outside = (abs(region.recursion.roots(z)[0]) for z in (low + 1e-6, low - 1e-6))
    assert inside < 1 < outside
