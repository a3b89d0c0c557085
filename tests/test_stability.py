"""Laws of stability: the polynomial read off a plan tells what the rule does; closed forms; the exact algebra."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.stability import multistep, polynomials, recursion
from diffode.analysis.stability.intervals import stable
from diffode.analysis.stability.kernel import margins
from diffode.analysis.stability.planes import semilinear_plane
from diffode.analysis.stability.stages import stages
from diffode.errors import DiffodeError, PlanError
from diffode.plan import Evaluate
from diffode.prediction import change
from diffode.solvers import registry
from diffode.solvers.runge_kutta import Tableau
from diffode.solvers.runge_kutta import runge_kutta as runge_kutta_rule
from tests.stability_rules import growth, signal_to_noise

Q = Fraction
BETAS = [Q(1, 10), Q(1, 2), Q(4, 5), Q(1)]
ADAMS_INTERVAL = {1: Q(2), 2: Q(1), 3: Q(6, 11), 4: Q(3, 10)}
RHO = [
    name
    for name, rule in registry().items()
    if "rho" in (rule.uniform, rule.options.get("variable")) and rule.options.get("variable") in (None, "rho")
]


def interval(rule, **options):
    return de.stability(rule, **options).real_interval


def exactly(value):
    return pytest.approx(float(value), abs=1e-10)


# --- the polynomial tells what the rule does ---------------------------------------------------------------


def random_points(region, count=24):
    """Points of the window whose largest |w| is well away from 1, half of them inside where there are any."""
    rng = np.random.default_rng(7)
    bounds = (region.re_range, region.im_range)
    z = np.array([rng.uniform(*bounds[0], 800), rng.uniform(*bounds[1], 800)]).T @ np.array([1, 1j])
    radius = np.array([abs(region.recursion.roots(p)[0]) for p in z])
    inside, outside = z[radius < 0.93], z[(radius > 1.1) & (radius < 1e3)]
    return inside[: count // 2], outside[: count // 2]


def check_membership(region, rule, **options):
    inside, outside = random_points(region)
    if len(inside):
        assert all(z in region for z in inside)
        assert np.all(growth(rule, inside, **options) < 1)
    assert len(outside)
    assert not any(z in region for z in outside)
    assert not np.any(growth(rule, outside, **options) <= 1)


@pytest.mark.parametrize("name", registry())
def test_region_is_where_a_run_stays_bounded(name):
    rule = de.get_solver(name)
    check_membership(de.stability(rule), rule, steps=40 if "tab" in name or name == "deis" else 60)


@pytest.mark.parametrize("name", RHO)
def test_classical_region_holds_at_every_step_in_rho(name):
    rule = de.get_solver(name)
    for found, wanted in zip(recursion(rule, variable="rho").coefficients, recursion(rule).coefficients, strict=True):
        assert len(found) == len(wanted)
        assert all(abs(a - b) < Fraction(1, 10**40) for a, b in zip(found, wanted, strict=True))  # irrational in one
    check_membership(de.stability(rule), rule, variable="rho")


def test_own_variables():
    for name, variable in (("rk4_lambda", "lam"), ("heun_lambda", "lam"), ("rk4_t", "rho"), ("ddim", "rho")):
        rule = de.get_solver(name)
        assert recursion(rule, variable=variable).coefficients == recursion(rule).coefficients
    for name in ("rk4_lambda", "heun_lambda"):
        rule = de.get_solver(name)
        assert recursion(rule, variable="lambda") == recursion(rule, variable="lam")
    with pytest.raises(PlanError, match="dpm_solver_2m on equal steps in lam depends on their length"):
        de.stability("dpm_solver_2m", variable="lam")
    with pytest.raises(PlanError, match="dpmpp_2m is not the same at every one of equal steps in rho"):
        de.stability("dpmpp_2m", variable="rho")


@pytest.mark.parametrize("ch", [0.4, -0.3])
@pytest.mark.parametrize(
    "name", ["ddim", "dpmpp_2m", "dpmpp_3m_corrected", "unipc_3", "dpm_solver_2m", "dpmpp_2s", "lms"]
)
def test_semilinear_region_is_where_a_run_stays_bounded(name, ch):
    rule = de.get_solver(name)
    region = de.stability(rule, ch=ch)
    h = -ch if rule.prediction == "eps" else ch
    check_membership(region, rule, h=h)


@pytest.mark.parametrize("rule", ["plms_hb_1.8", "plms_nt_1.8", "reversible_heun"])
def test_region_of_a_rule_with_memory(rule):
    rule = de.get_solver(rule)
    check_membership(de.stability(rule, re=(-4, 1), im=(-2, 2)), rule, variable="rho")


def test_semilinear_goes_over_into_linear():
    for name in ("unipc_2", "dpmpp_2s", "dpm_solver_3m"):
        near, limit = (de.stability(name, ch=ch).recursion.floats for ch in (1e-9, 0.0))
        np.testing.assert_allclose(near, limit, atol=1e-7)


# --- inside a step; planes and stars -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "coefficient"),
    [
        ("euler", 1), ("heun", 1), ("rk4", 0), ("runge_kutta(tableau='ssprk3')", 1), ("dpm_solver_2", 0), ("lms", 0),
        ("unipc_2", None), ("ddpm", None),
    ],
)  # fmt: skip
def test_strong_stability(rule, coefficient):
    assert de.stability(rule).ssp == (None if coefficient is None else exactly(coefficient))


def test_strong_stability_of_four_stages_and_order_three():
    half, sixth = Q(1, 2), Q(1, 6)
    table = Tableau(((), (half,), (half, half), (sixth, sixth, sixth)), (sixth, sixth, sixth, half), 3, "ssp43")
    assert de.stability(runge_kutta_rule.configure(tableau=table)).ssp == exactly(2)


@pytest.mark.parametrize("name", ["rk4", "dpm_solver_3", "dpmpp_2s", "heun_t", "unipc_2", "ddim"])
def test_internal_stability_is_the_answer_to_a_perturbed_evaluation(name):
    """One evaluation of the last step is moved by δ; the state answers by θ(z) δ."""
    rule, h, z, delta = de.get_solver(name), 1e-7, -0.8, 0.25
    process = de.EDM()
    grid = de.TimeGrid(process, lam=[h * k for k in range(rule.history + 3)])
    plan = rule.plan(grid, open_end=True)
    last = [row.out for row in plan.rows if isinstance(row, Evaluate) and row.step == len(grid) - 2]
    theta = stages(rule).internal
    assert len(theta) == len(last)

    def run(moved):
        values = {"x0": 1.0}
        for row in plan.rows:
            if isinstance(row, Evaluate):
                noise = rule.prediction == "eps"
                own = -z / h / row.level.sigma if noise else z / h
                a, b = change("eps" if noise else "x0", row.prediction, row.level)
                values[row.out] = (a + b * own) * (values[row.x] + delta * (row.out == moved))
            else:
                values[row.out] = sum(c * values[name] for c, name in row.terms)
        return values[plan.states[-1]]

    for moved, p in zip(last, theta, strict=True):
        assert (run(moved) - run(None)) / delta == pytest.approx(float(polynomials.evaluate(p, Q(z))), abs=1e-5)


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpm_solver_3m_corrected", "dpmpp_2s"])
def test_plane_agrees_with_its_columns(name):
    plane = semilinear_plane(name, ch=(-1.5, 2), bh=(-3, 1.9), points=7)
    for j in (0, 3, 6):
        exact = recursion(de.get_solver(name), float(plane.ch[j]))
        np.testing.assert_allclose(plane.coefficients[j], exact.floats, atol=1e-10)
        radius = [abs(exact.roots(b)[0]) for b in plane.bh]
        assert [m > 0 for m in plane.margin[:, j]] == [r < 1 for r in radius]


def test_data_and_noise_prediction_share_a_plane():
    """The data prediction at −h is the noise prediction at h: one exponential method, read in two unknowns."""
    for data, noise in (("dpmpp_2m", "dpm_solver_2m"), ("dpmpp_3m_corrected", "dpm_solver_3m_corrected")):
        for ch in (-0.7, 1.3):
            one, other = (recursion(de.get_solver(name), ch).floats for name in (data, noise))
            np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_order_star_has_a_sector_for_each_order(name, order):
    """Around 0 the star and its complement alternate p + 1 times (Wanner, Hairer and Nørsett, 1978)."""
    found = recursion(de.get_solver(name))
    z = 0.02 * np.exp(1j * np.linspace(0, 2 * np.pi, 720, endpoint=False) + 0.001j)
    star = np.array([abs(found.roots(p)[0]) > abs(np.exp(p)) for p in z])
    assert np.count_nonzero(star != np.roll(star, 1)) == 2 * (order + 1)


# --- exact algebra -------------------------------------------------------------------------------------------

small = st.integers(-6, 6)


@given(st.lists(st.tuples(small, small), min_size=2, max_size=6).filter(lambda p: p[-1] != (0, 0)))
def test_schur_cohn_agrees_with_roots(pairs):
    p = [polynomials.Gaussian(Q(a), Q(b)) for a, b in pairs]
    radius = max(abs(np.roots([complex(a, b) for a, b in reversed(pairs)])), default=0.0)
    if abs(radius - 1) > 1e-4:
        assert polynomials.inside(p) == (radius < 1)
        form = polynomials.hermite_form(p)
        values = np.array([[complex(c.real, c.imag) if c else 0 for c in row] for row in form], dtype=complex)
        assert np.allclose(values, values.conj().T)
        assert (np.linalg.eigvalsh(values).min() > 0) == (radius < 1)
        assert polynomials.root_condition(p) == (radius < 1)


@given(st.lists(st.fractions(-3, 3, max_denominator=6), min_size=1, max_size=5, unique=True), st.booleans())
def test_sturm_finds_every_real_root(roots, doubled):
    p = [Q(1), Q(0), Q(1)] if doubled else [Q(1)]
    for root in roots:
        for _ in range(1 + doubled):
            p = polynomials.multiply(p, [-root, Q(1)])
    found = polynomials.real_roots(p, Q(-1), Q(1, 10**15))
    assert [float(x) for x in found] == pytest.approx(sorted(float(r) for r in roots if r > -1), abs=1e-14)


@settings(max_examples=20)
@given(st.sampled_from(["rk4", "deis_rhoab_1", "lms", "ghvb_2.5", "unipc_2"]), st.integers(0, 10**6))
def test_kernel_agrees_with_roots(name, seed):
    found = recursion(de.get_solver(name))
    rng = np.random.default_rng(seed)
    re, im = np.sort(rng.uniform(-3, 1, 7)), np.sort(rng.uniform(-3, 3, 5))
    got = margins(found.floats, re, im)
    for i, y in enumerate(im):
        for j, x in enumerate(re):
            radius = abs(found.roots(complex(x, y))[0])
            assert abs(radius - 1) < 1e-9 or (got[i, j] > 0) == (radius < 1)


@pytest.mark.parametrize("name", ["rk4", "lms", "ghvb_1.5", "dpmpp_3m"])
def test_locus_lies_on_the_circle(name):
    region = de.stability(name)
    for n, theta in [(5, 2 * np.pi * 5 / 100), (40, 2 * np.pi * 40 / 100)]:
        for z in region.locus(101)[n]:
            assert min(abs(region.recursion.roots(z) - np.exp(1j * theta))) < 1e-9


def test_root_condition_on_the_circle():
    assert stable(multistep([-1, 0, 1], [0, 0, 0]), 0)  # ±1, both simple
    assert not stable(multistep([1, -2, 1], [0, 0, 0]), 0)  # 1 twice
    assert not stable(multistep([1, 0, -3, 0, 1], [0] * 5), 0)  # pairs w, 1/w


# --- pictures and bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plots(tmp_path, suffix, dark):
    from diffode.analysis.stability.plots import regions, save

    drawn = [de.stability(rule, points=60) for rule in ("rk4", "ghvb_2.5", "reversible_heun")]
    save(regions(drawn, dark=dark), tmp_path / f"regions{suffix}", dark=dark)
    drawn[0].plot(tmp_path / f"one{suffix}", dark=dark)
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())


def test_no_two_methods_look_alike():
    from diffode.analysis.stability.plots import draw
    from diffode.analysis.style import figure

    names = ["ddim", "heun", "rk4", "ssprk3", "lms", "dpmpp_2m", "unipc_2", "ghvb_2.5", "dpmpp_2s"]
    drawn = [de.stability(name, ch=ch, points=30) for name in names for ch in (0.0, 0.5)]
    handles = draw(figure(400, 300).add_subplot(), drawn)
    found = [(handle.get_edgecolor(), str(handle.get_linestyle())) for handle in handles]
    assert len(set(found)) == len(found) == 18


def test_both_ends_of_an_interval(run):
    low, high = de.stability("dpmpp_2m", ch=1.0).real_bounds
    assert low < 0 < high
    said = run("stability dpmpp_2m --ch 1").out
    assert f"[{low:.10g}, {high:.10g}]" in said
    assert f"[{low:.6g}, {high:.6g}]" in repr(de.stability("dpmpp_2m", ch=1.0))
    assert "[" not in run("stability dpmpp_2m").out


def test_a_method_that_does_not_converge_is_named():
    with pytest.raises(DiffodeError, match=r"x is inconsistent: ρ\(1\) = 1"):
        de.stability(multistep([-1, 2], [1, 1], "x"))
    assert "not zero-stable" not in repr(de.stability(multistep([-1, 1], [1], "euler")))
    double = de.stability(multistep([1, -2, 1], [0, -1, 1], "double"))  # (w − 1)² − z (w² − w): consistent
    growing = de.stability(multistep([2, -3, 1], [-1, 0], "growing"))
    assert not double.zero_stable
    assert all("not zero-stable" in repr(region) for region in (double, growing))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"re": (2, -6)}, "re=(2, -6) is empty or reversed"),
        ({"im": (0, 0)}, "im=(0, 0) is empty"),
        ({"re": (0, inf)}, "re must be two finite numbers"),
        ({"im": 3}, "im must be two finite numbers"),
        ({"points": 1}, "points must be a whole number"),
        ({"ch": inf}, "ch must be a finite number"),
        ({"ratio": 0}, "ratio must be a positive number"),
        ({"ratio": 0.5, "ch": 1.0}, "leave out ch=1.0"),
        ({"variable": "tau"}, "variable must be 'rho' or 'lam', not 'tau'"),
        ({"variable": "rho", "ch": 1.0}, "variable='rho' goes with equal steps of the linear test"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(DiffodeError, match=re.escape(words)):
        de.stability("rk4", **options)


def test_command(run):
    done = run("stability rk4 ghvb_2.5 --plot regions.svg --re=-4,1 --im=-4,4")
    assert done.code == 0
    assert "2.785293563" in done.out
    assert Path("regions.svg").stat().st_size > 1000
    one, both = (json.loads(run(f"stability {names} --json").out) for names in ("rk4", "rk4 unipc_3"))
    assert list(one) == ["solver", "real_interval", "imaginary_interval", "a_alpha"]
    assert both[0] == one
    assert both[1]["real_interval"] == exactly(Q(3, 10))


@pytest.mark.parametrize(
    "line",
    [
        "rk5",
        "rk4 --re 2,-6",
        "rk4 --im 1",
        "rk4 --re a,b",
        "rk4 --plot x.txt",
        "rk4 --plot none/x.png",
        "rk4 --ratio 0",
    ],
)
def test_command_with_bad_input(run, line):
    done = run(f"stability {line}")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_dynamic_row_is_named():
    with pytest.raises(PlanError, match="row c0 of signal_to_noise is the Dynamic row 'size'"):
        de.stability(signal_to_noise)
