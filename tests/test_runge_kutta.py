"""Tableaux: explicit ones to order 8, implicit ones by iteration, exponential ones in φ-functions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.convergence import quantile_flow
from diffode.analysis.order.butcher import butcher_table, prove_by_tableau
from diffode.analysis.order.classical import classical_conditions, rooted_trees
from diffode.analysis.order.modular import PRIME, residue
from diffode.analysis.verification import evaluations_per_step
from diffode.errors import PlanError, SolverError
from diffode.problems.named import MIXTURE_1D
from diffode.solvers import get_solver, registry
from diffode.solvers.exponential_tableaux import TABLEAUX as EXPONENTIAL
from diffode.solvers.exponential_tableaux import EvaluatedPhis
from diffode.solvers.implicit import FAMILIES, implicit_tableau, iterated
from diffode.solvers.runge_kutta import VARIABLES
from diffode.solvers.tableaux import TABLEAUX, Tableau, cooper_verner8

IMPLICIT = [(method, s) for method, family in FAMILIES.items() for s in range(family.least, 5)]

# --- explicit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLEAUX.values(), ids=lambda table: table.name)
def test_a_tableau_has_its_order_neither_less_nor_more(table: Tableau) -> None:
    assert classical_conditions(table, table.order + 1).order == table.order


def test_the_irrational_tableau_has_order_8_exactly() -> None:
    """Modulo a prime that has √21: Φ(t) γ(t) = 1 for all 200 trees, with nothing rounded."""
    s = pow(21, (PRIME + 1) // 4, PRIME)
    assert s * s % PRIME == 21
    rows, weights = cooper_verner8(_Residue(s))
    forest = rooted_trees(8)
    g = [[1] * len(forest) for _ in rows]
    inner = [[0] * len(forest) for _ in rows]
    for v in range(len(forest)):
        if v:
            for i in range(len(rows)):
                g[i][v] = g[i][forest.left[v]] * inner[i][forest.right[v]] % PRIME
        for i, row in enumerate(rows):
            inner[i][v] = sum(a.value * g[j][v] for j, a in enumerate(row)) % PRIME
    for v in range(len(forest)):
        assert sum(b.value * g[i][v] for i, b in enumerate(weights)) * forest.density[v] % PRIME == 1


class _Residue:
    """An integer modulo the prime, as far as a tableau needs one."""

    def __init__(self, value: int) -> None:
        self.value = value % PRIME

    def __rmul__(self, other: int) -> _Residue:
        return _Residue(other * self.value)

    def __add__(self, other: int) -> _Residue:
        return _Residue(self.value + other)

    def __mul__(self, other: Fraction) -> _Residue:
        return _Residue(self.value * residue(other))


@pytest.mark.parametrize("table", TABLEAUX.values(), ids=lambda table: table.name)
def test_no_stage_is_evaluated_for_nothing(table: Tableau) -> None:
    for j, weight in enumerate(table.b):
        assert weight or any(row[j] for row in table.a[j + 1 :])


@given(st.data())
def test_one_wrong_entry_costs_order(data: st.DataObject) -> None:
    table = TABLEAUX[data.draw(st.sampled_from(["dormand_prince5", "verner6", "fehlberg8", "cooper_verner8"]))]
    i = data.draw(st.integers(1, len(table.b) - 1))
    j = data.draw(st.integers(0, i - 1))
    rows = [list(row) for row in table.a]
    rows[i][j] += Fraction(1, data.draw(st.integers(2, 10**6)))
    liar = Tableau(tuple(map(tuple, rows)), table.b, table.order)
    assert classical_conditions(liar, table.order).order < table.order


# --- implicit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "stages"), IMPLICIT)
def test_an_implicit_method_has_its_order_and_each_sweep_gains_one(method: str, stages: int) -> None:
    a, b, order = implicit_tableau(method, stages)
    assert classical_conditions(_Square(a, b), order + 1).order == order
    for sweeps in range(1, order + 1):
        rule = get_solver(f"implicit_runge_kutta(method={method!r}, stages={stages}, iterations={sweeps})")
        assert rule.order == min(order, sweeps + 1)
        assert classical_conditions(iterated(method, stages, sweeps), order + 1).order == rule.order


class _Square:
    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


def test_known_entries() -> None:
    """Radau IA and Lobatto IIIC of two stages, in Hairer and Wanner's tables 5.5 and 5.11."""
    quarter, half = Fraction(1, 4), Fraction(1, 2)
    assert implicit_tableau("radau_ia", 2)[0] == ((quarter, -quarter), (quarter, Fraction(5, 12)))
    assert implicit_tableau("lobatto_iiic", 2)[0] == ((half, -half), (half, half))


@pytest.mark.parametrize(
    ("name", "evaluations"), [("gauss_2", 1 + 2 * 3), ("gauss_4", 1 + 4 * 7), ("lobatto_iiia_3", 1 + 2 * 3)]
)
def test_sweeps_are_counted(name: str, evaluations: int) -> None:
    """1 + s m; the first stage of Lobatto IIIA is f(y) and is not evaluated again."""
    assert evaluations_per_step(get_solver(name)) == evaluations


def test_what_there_is_not_is_refused() -> None:
    grid = de.grids.uniform_lambda(de.VP(), 3)
    for options, why in {
        "method='gaus'": "no method named 'gaus'",
        "method='lobatto_iiib', stages=2": "has 3 to 6 stages",
        "stages=7": "outside its range",
        "iterations=0": "iterations must be at least 1",
        "variable='h'": "no variable named 'h'",
    }.items():
        with pytest.raises(SolverError, match=why):
            get_solver(f"implicit_runge_kutta({options})").plan(grid)
    with pytest.raises(SolverError, match="no tableau named 'rk9'"):
        get_solver("exponential_rk(tableau='rk9')")


# --- the tableau of a plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("name", ["rk4", "fehlberg5", "verner6"])
def test_the_tableau_that_is_read_off_a_plan_is_the_one_that_made_it(name: str, variable: str) -> None:
    found = butcher_table(get_solver(f"runge_kutta(tableau={name!r}, variable={variable!r})"))
    assert found is not None
    table = TABLEAUX[name]
    assert found.b == table.b
    assert [row[:i] for i, row in enumerate(found.a)] == list(table.a)


@pytest.mark.parametrize("name", ["ddim", "deis_rhoab_2", "deis_tab_0", "krogstad", "ddpm", "unipc_2"])
def test_other_rules_have_no_tableau(name: str) -> None:
    assert butcher_table(get_solver(name)) is None


@pytest.mark.parametrize("name", ["rk4_t", "dormand_prince5", "radau_iia_2", "heun_lambda"])
def test_both_proofs_agree(name: str) -> None:
    rule = get_solver(name)
    proof = prove_by_tableau(rule, int(rule.order) + 1, "rough", "lam", always=True)
    assert proof is not None
    assert (proof.order, proof.complete) == (de.prove(rule).order, True)


def test_a_proof_by_tableau_has_no_file_and_says_so() -> None:
    with pytest.raises(PlanError, match="no proof file"):
        de.prove("gauss_3").to_json()


def test_the_flow_that_orders_are_measured_against_is_exact_to_rounding() -> None:
    """An error of 1e-13 in it hides order 8."""
    level, quantiles = de.VP().level(lam=1.5), np.array([1 / 32, 0.3, 0.5, 0.9])
    w, m, v = MIXTURE_1D.weights, MIXTURE_1D.means[:, 0], MIXTURE_1D.eigenvalues[:, 0]
    with mpmath.workdps(30):
        for x, q in zip(quantile_flow(de.VP(), [level], quantiles)[0][:, 0], quantiles, strict=True):
            spread = [mpmath.sqrt((level.alpha * level.alpha) * b + level.sigma**2) for b in v]
            z = [(mpmath.mpf(x) - level.alpha * a) / s for a, s in zip(m, spread, strict=True)]
            slope = mpmath.fsum(a * mpmath.npdf(b) / s for a, b, s in zip(w, z, spread, strict=True))
            off = mpmath.fsum(a * mpmath.ncdf(b) for a, b in zip(w, z, strict=True)) - q
            assert abs(off / slope) < 2e-15


# --- exponential ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", EXPONENTIAL.values(), ids=lambda table: table.name)
def test_at_zero_an_exponential_tableau_is_a_classical_one(table: Any) -> None:
    """With z = 0 φ_k is 1/k!, and the conditions of Butcher hold."""
    at = EvaluatedPhis(0.0)
    rows = [[row[j].at(at) if j in row else 0.0 for j in range(1, i + 1)] for i, row in enumerate(table.rows)]
    weights = [table.weights[j].at(at) if j in table.weights else 0.0 for j in range(1, len(table.rows) + 1)]
    assert [sum(row) for row in rows] == pytest.approx([float(c) for c in table.nodes], abs=1e-14)
    assert classical_conditions(_Square(rows, weights), table.order + 1).order == table.order


UNNAMED = [(n, p) for n in EXPONENTIAL for p in ("x0", "eps") if (n if p == "x0" else f"{n}_{p}") not in registry()]


@pytest.mark.parametrize(("name", "prediction"), UNNAMED)
def test_exponential_methods_have_the_order_that_they_claim(name: str, prediction: str) -> None:
    rule = get_solver(f"exponential_rk(tableau={name!r}, prediction={prediction!r})")
    assert de.prove(rule).order == rule.order == EXPONENTIAL[name].order


@pytest.mark.parametrize("name", ["res_2s", "res_3s", "exponential_pece_4", "generalised_lawson_3"])
def test_noise_prediction_has_the_same_order(name: str) -> None:
    rule = get_solver(name)
    assert de.prove(rule.configure(prediction="eps")).order == rule.order
