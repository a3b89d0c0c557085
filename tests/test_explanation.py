"""Explanations: published error constants, parents, and what moving a coefficient does."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import pytest
import sympy as sp

import diffode as de
from diffode.analysis.derivation import derive
from diffode.analysis.explanation import combination, explain
from diffode.analysis.order.proof import prove_order
from diffode.cli import main
from diffode.plan import Combine, Evaluate
from diffode.prediction import change
from diffode.solvers import get_solver
from tests.test_growth import off_balance


@pytest.mark.parametrize(
    ("name", "quantity", "variable", "constants"),
    [
        # the error constants of Adams–Bashforth: −1/2, −5/12, −3/8, −251/720
        ("ddim", "D", "λ", {1: Fraction(-1, 2)}),
        ("dpmpp_3m_corrected", "D", "λ", {3: Fraction(-3, 8)}),
        ("dpm_solver_3m_corrected", "ε", "λ", {3: Fraction(3, 8)}),
        ("lms", "ε", "ρ", {4: Fraction(-251, 720)}),
        # "midpoint" has φ_1/2 for φ_2, which adds (1/4 − 1/6) z of the first derivative
        ("dpmpp_2m", "D", "λ", {2: Fraction(-5, 12), 1: Fraction(-1, 12)}),
    ],
)
def test_error_constants(name: str, quantity: str, variable: str, constants: dict[int, Fraction]) -> None:
    error = explain(name).error
    assert error is not None
    assert (error.quantity, error.variable, dict(error.constants)) == (quantity, variable, constants)


def test_stages_err_in_more_than_the_path_shows() -> None:
    found = explain("dpm_solver_2")
    assert found.error is None
    assert "e^(3λ) D_y(D_y(D))" in str(found)
    assert [move.order for move in found.moves] == [0, 0, 1, 2]


Y, LAM = sp.symbols("y lambda")
DATA = sp.Rational(7, 10) * Y + Y**2 / 5 + LAM / 3 + LAM * Y / 7 + LAM**2 / 11
"""D of no special kind: no derivative of second order is 0."""


def _at(name: str, where: dict[Any, Any]) -> Any:
    """F(τ) of a tree's name."""

    def read(at: int) -> tuple[Any, int]:
        if name[at] in "τδ":
            return {"τ": DATA, "δ": Y}[name[at]], at + 1
        at, slope, inner = at + 1, DATA, sp.Integer(1)
        while name[at] != "]":
            if name[at] == "λ":
                slope, at = sp.diff(slope, LAM), at + 1
            else:
                branch, at = read(at)
                slope, inner = sp.diff(slope, Y), inner * branch
        return slope * inner, at + 1

    return sp.lambdify((), read(0)[0].subs(where), "mpmath")()


def _flow_error(solver: str, lam: float, y: Any, h: Any) -> Any:
    """The error in x/σ of one step of length h from y at λ, against 30 terms of the exact solution in power series."""
    grid = de.TimeGrid(de.VP(), lam=[mpmath.mpf(lam), mpmath.mpf(lam) + h])
    data = sp.lambdify((Y, LAM), DATA, "mpmath")
    plan, held = get_solver(solver).plan(grid), {"x0": y * grid[0].sigma}
    for row in plan.rows:
        if isinstance(row, Evaluate):
            x, level = held[row.x], row.level
            a, b = change("x0", row.prediction, level)
            held[row.out] = a * x + b * data(x / level.sigma, level.lam)
        else:
            assert isinstance(row, Combine)
            held[row.out] = sum(c * held[name] for c, name in row.terms)
    exact = mpmath.odefun(lambda t, z: mpmath.exp(t) * data(z, t), mpmath.mpf(lam), y)(mpmath.mpf(lam) + h)
    return held[plan.states[-1]] / grid[1].sigma - exact


@pytest.mark.parametrize("solver", ["dpmpp_2s", "heun_lambda", "rk4_lambda"])
@pytest.mark.parametrize("lam", [-1.0, 0.0, 1.0])
def test_the_sum_over_trees_is_what_a_small_step_errs_by(solver: str, lam: float) -> None:
    """With the factor e^{nλ} of each term: at λ = 0 alone it does not show."""
    found = explain(solver)
    assert found.order is not None
    with mpmath.workdps(40):
        y, h = mpmath.mpf(13) / 10, mpmath.mpf(10) ** -5
        where = {Y: sp.Rational(13, 10), LAM: sp.Rational(lam)}
        total = mpmath.mpf(0)
        for term in found.terms:
            value = mpmath.mpf(term.weight.numerator) / term.weight.denominator * _at(term.tree.name, where)
            total += mpmath.exp(term.evaluations * lam) * value
        measured = _flow_error(solver, lam, y, h) / h ** (found.order + 1)
    assert float(measured) == pytest.approx(float(total), rel=2e-3)


def test_what_equal_steps_do_not_show_is_said() -> None:
    found = explain(off_balance("(h2 - h) h"))
    assert (found.order, found.error, found.terms) == (1, None, ())
    assert "Equal steps show no error at h^2; others do: it fails the tree τ at h^2" in str(found)


def test_weights_that_are_rounded_numbers() -> None:
    rule = derive("exp-multistep", order=2, history=2).solver
    rounded, exact = (explain(rule.configure(b_2=b_2)).error for b_2 in (-0.2500000012345678, -0.25))
    assert rounded is not None
    assert exact is not None
    assert exact.constants == {2: Fraction(-2, 3)}  # (Σ b n² − 1/3)/2, where it is −5/6 + 2 b_2
    assert float(rounded.constants[2]) == pytest.approx(float(exact.constants[2]), rel=1e-7)
    assert "666667" in str(rounded)


def test_parents_are_the_laws() -> None:
    assert "With order=1 its rule is ddim." in explain("dpmpp_2m").parents


def test_noise_is_said() -> None:
    found = explain("dpmpp_sde")
    assert (found.order, found.moves) == (None, ())
    assert "It draws noise" in str(found)


def test_combination_takes_as_few_columns_as_it_needs() -> None:
    a, b = [Fraction(1), Fraction(0), Fraction(2)], [Fraction(0), Fraction(1), Fraction(0)]
    assert combination([a, b], [Fraction(3), Fraction(0), Fraction(6)]) == (3,)
    assert combination([a, b], [Fraction(3), Fraction(1), Fraction(6)]) == (3, 1)
    assert combination([a, b], [Fraction(3), Fraction(1), Fraction(5)]) is None


@pytest.mark.parametrize("name", ["singlestep_2(r1=0.3)", "res_3s(c2=0.3, c3=0.7)"])
def test_rounded_coefficients_do_not_cost_the_order(name: str) -> None:
    solver = get_solver(name)
    assert prove_order(solver).order == solver.order


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ddim"]) == 0
    assert "α_t h^2 (−1/2 dD/dλ)" in capsys.readouterr().out
    assert main(["explain", "dim"]) == 2
    assert "did you mean" in capsys.readouterr().err
