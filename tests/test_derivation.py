"""Derivation: the known methods come out of their structure, and what comes out holds what it claims."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import diffode as de
from diffode.analysis import prove_order
from diffode.analysis.derivation import FAMILIES, derive
from diffode.analysis.derivation.writing import text
from diffode.analysis.stochastic import weak_order
from diffode.cli import main
from diffode.errors import SolverError
from diffode.plan import Combine, Evaluate, Plan
from diffode.solvers import Solver, get_solver
from diffode.solvers.registry import load_file
from diffode.symbolic import Phi

Case = tuple[str, dict[str, Any], str]

KNOWN: tuple[Case, ...] = (
    # multistep DPM-Solver(++), published and corrected; UniP; λ-DEIS
    ("exp-multistep", dict(order=1, prediction="eps"), "ddim"),
    ("exp-multistep", dict(order=2, conditions="midpoint"), "dpmpp_2m"),
    ("exp-multistep", dict(order=2, conditions="midpoint", prediction="eps"), "dpm_solver_2m"),
    ("exp-multistep", dict(order=2), "dpm_multistep(kind='taylor')"),
    ("exp-multistep", dict(order=3), "dpmpp_3m_corrected"),
    ("exp-multistep", dict(order=3, prediction="eps"), "dpm_solver_3m_corrected"),
    ("exp-multistep", dict(order=4), "unipc(order=4, variant='exact', corrector=False)"),
    ("exp-multistep", dict(order=2, conditions="bh1"), "unipc(order=2, variant='bh1', corrector=False)"),
    # with noise; MR Sampler
    ("exp-multistep", dict(order=1, stochastic=1), "sde_dpmpp_1"),
    ("exp-multistep", dict(order=2, stochastic=1, conditions="midpoint"), "dpmpp_2m_sde"),
    ("exp-multistep", dict(order=3, stochastic=1), "exponential_adams(tau=1.0)"),
    ("exp-multistep", dict(order=2, stochastic="tau"), "exponential_adams(order=2, tau=1.0)"),
    ("exp-multistep", dict(order=2), "mr_ode_data_2"),
    ("exp-multistep", dict(order=2, prediction="eps"), "mr_ode_noise_2"),
    ("exp-multistep", dict(order=2, stochastic=1), "mr_sde_data_2"),
    ("exp-multistep", dict(order=2, stochastic=1, prediction="eps"), "mr_sde_noise_2"),
    # DEIS
    ("adams", dict(order=3, variable="lambda"), "deis_lambdaab_2"),
    ("adams", dict(order=2, variable="t"), "deis_tab_1"),
    ("adams", dict(order=4, variable="t"), "deis_tab_3"),
    ("adams", dict(order=3, variable="rho"), "deis_rhoab_2"),
    ("adams", dict(order=4, variable="rho"), "lms"),
    # singlestep DPM-Solver(++), Runge–Kutta in ρ
    ("exp-rk", dict(stages=2, prediction="eps"), "dpm_solver_2"),
    ("exp-rk", dict(stages=2), "dpmpp_2s"),
    ("exp-rk", dict(stages=2, conditions="strong"), "singlestep_2(prediction='x0', kind='taylor')"),
    ("exp-rk", dict(stages=3, prediction="eps"), "dpm_solver_3"),
    ("exp-rk", dict(stages=3, free="c2,c3"), "dpmpp_3s"),
    ("exp-rk", dict(stages=2, variable="rho", prediction="eps"), "deis_rho_midpoint"),
    ("exp-rk", dict(stages=3, variable="rho", prediction="eps", nodes="1/2,1"), "deis_rho_kutta3"),
    # UniPC
    ("predictor-corrector", dict(order=2, conditions="bh2"), "unipc_1"),
    ("predictor-corrector", dict(order=3, conditions="bh2"), "unipc_2"),
    ("predictor-corrector", dict(order=4, conditions="bh2"), "unipc_3"),
    ("predictor-corrector", dict(order=3, conditions="bh1"), "unipc(variant='bh1')"),
    ("predictor-corrector", dict(order=4, prediction="eps"), "unipc(order=3, prediction='eps', variant='exact')"),
    # SA-Solver, RES
    ("exp-multistep", dict(order=3, stochastic=1), "sa_predictor_sde(lower_order_final=False)"),
    ("predictor-corrector", dict(order=4), "sa_solver(lower_order_final=False)"),
    (
        "predictor-corrector",
        dict(order=4, stochastic=1),
        "sa_solver(tau=1.0, final='predict', lower_order_final=False)",
    ),
    (
        "predictor-corrector",
        dict(order=3, stochastic=1, mode="PECE"),
        "sa_solver_sde(final='predict', lower_order_final=False)",
    ),
    ("exp-rk", dict(stages=2, conditions="strong"), "res_2s"),
    ("exp-rk", dict(stages=3, nodes="1/2,1"), "res_3s"),
    ("exp-multistep", dict(order=2), "res_2m"),
    # GHVB
    ("momentum", dict(order=2, beta=1), "ghvb_2"),
    ("momentum", dict(order=3), "ghvb_2.5"),
    ("momentum", dict(order=3, free="beta"), "ghvb_2.5"),
    ("momentum", dict(order=5, beta="3/10"), "ghvb(order=4.3)"),
)

NEW: tuple[tuple[str, dict[str, Any]], ...] = (
    ("exp-multistep", dict(order=3, conditions="weak")),
    ("exp-multistep", dict(order=3, steps="uniform")),
    ("exp-multistep", dict(order=2, history=2)),
    ("adams", dict(order=2, variable="sigma")),
    ("exp-rk", dict(stages=3, conditions="strong", nodes="1/4,3/4")),
    ("exp-rk", dict(stages=3, nodes="1/4,3/4")),
    ("exp-rk", dict(stages=3, order=2)),
    ("hybrid", dict(stages=2, history=1)),
    ("hybrid", dict(stages=3, history=1, conditions="weak")),
    ("predictor-corrector", dict(order=3, mode="PECE")),
    ("predictor-corrector", dict(order=3, variable="rho", prediction="eps")),
    ("momentum", dict(order=3, variable="lambda", prediction="x0")),
    ("reversible", {}),
    ("reversible", dict(variable="lambda")),
)


def label(case: Any) -> str:
    family, options = case[0], case[1]
    return " ".join([family, *(f"{key}={value}" for key, value in options.items())])


def in_evaluations(plan: Plan) -> list[dict[str, float]]:
    """What every evaluation and every state is made of: the coefficients of inputs, evaluations and noise."""
    made: dict[str, dict[str, float]] = {name: {name: 1.0} for name in plan.inputs}
    seen: list[dict[str, float]] = []
    for row in plan.rows:
        if isinstance(row, Combine):
            total: dict[str, float] = {}
            for c, name in row.terms:
                for held, a in made[name].items():
                    total[held] = total.get(held, 0.0) + float(c) * a
            made[row.out] = total
            continue
        if isinstance(row, Evaluate):
            seen.append(made[row.x])
        made[row.out] = {row.out: 1.0}
    return [*seen, *(made[name] for name in plan.states)]


def largest_gap(mine: Solver, theirs: Solver, steps: int = 6) -> float:
    """The largest difference of coefficients on a random grid."""
    process, random = de.VP(), np.random.default_rng(5)
    lam = -4 + np.concatenate([[0], np.cumsum(random.uniform(0.4, 1.3, steps))])
    grid = de.TimeGrid(process, lam=lam)
    first, second = in_evaluations(mine.plan(grid)), in_evaluations(theirs.plan(grid))
    assert len(first) == len(second)
    gaps = [
        abs(a.get(name, 0.0) - b.get(name, 0.0)) / max(1.0, *map(abs, a.values()))
        for a, b in zip(first, second, strict=True)
        for name in {*a, *b}
    ]
    return max(gaps)


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: f"{label(case)} is {case[2]}")
def test_known_methods_come_out(case: Case) -> None:
    family, options, name = case
    found = derive(family, **options)
    known = get_solver(name)
    assert largest_gap(found.solver, known) < 1e-11
    assert found.solver.prediction == known.prediction
    assert found.solver.order == known.true_order


def test_the_comparison_can_fail() -> None:
    assert largest_gap(derive("exp-multistep", order=2).solver, get_solver("dpmpp_2m")) > 1e-3


@pytest.mark.parametrize("case", NEW, ids=label)
def test_new_methods_have_the_order_derived(case: tuple[str, dict[str, Any]]) -> None:
    family, options = case
    found = derive(family, **options)
    solver = found.solver
    proof = prove_order(solver, spacing="uniform" if solver.uniform else "rough", variable=solver.uniform or "lam")
    assert proof.order == solver.order == found.order


@pytest.mark.parametrize(
    ("family", "options"),
    [("exp-multistep", dict(order=2, history=2)), ("reversible", {})],
)
def test_the_file_passes_verify(family: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "derived.py"
    path.write_text(derive(family, **options).source(), encoding="utf-8")
    (solver,) = load_file(path).values()
    assert de.verify(solver).verdict == "PASS"


def test_with_noise_it_has_the_weak_order_derived() -> None:
    solver = derive("exp-multistep", order=3, stochastic="tau").solver
    assert (solver.order, solver.configure(tau=0.0).order, solver.strong_order) == (2, 3, 1.0)
    assert weak_order(solver, de.VP()).judge(2) == "PASS"


def test_coefficients_solve_their_conditions() -> None:
    found = derive("exp-multistep", order=4)
    weights = list(found.coefficients.values())
    for condition in found.conditions:
        total = sum(w * m for w, m in zip(weights, condition.moments, strict=True))
        assert sp.simplify(sp.expand(total - condition.target)) == 0


def test_free_parameters_remain_and_become_options() -> None:
    found = derive("exp-rk", stages=3, free="c2,c3")
    c2, c3 = found.free
    assert found.excluded == [c2, 3 * c2 - 2, c3, c2 - c3]
    gamma = sp.simplify(found.coefficients["b_2"] / found.coefficients["b_3"])
    assert sp.simplify(gamma - (3 * c3**2 - 2 * c3) / (c2 * (2 - 3 * c2))) == 0  # arXiv:2308.02157
    moved = found.solver.configure(c2=0.25, c3=0.75)
    assert largest_gap(moved, derive("exp-rk", stages=3, nodes="1/4,3/4").solver) < 1e-13
    left = derive("exp-multistep", order=2, history=2)
    assert [str(x) for x in left.free] == ["b_2"]
    assert prove_order(left.solver.configure(b_2=0.3)).order == 2


def test_published_numbers() -> None:
    h, r = sp.Symbol("h", positive=True), sp.Symbol("r_1", positive=True)
    two = derive("predictor-corrector", order=3).coefficients
    at = {h: sp.Rational(1, 2), r: 1}  # UniC-2 on equal steps of 1/2, formula sheet, section 11
    values = [float((two[name] * h).subs(at).rewrite(sp.exp)) for name in ("c_0", "c_1", "c_new")]
    assert values == pytest.approx([0.24571462, -0.0326533, 0.18040802], abs=1e-8)
    beta = sp.Symbol("beta", positive=True)
    weights = derive("momentum", order=4, free="beta").coefficients.values()
    wanted = [46 + 9 * beta, -78 + 19 * beta, 42 - 5 * beta, beta - 10]
    for weight, value in zip(weights, wanted, strict=True):
        assert sp.simplify(weight - value / (24 * beta)) == 0


def test_latex_and_text() -> None:
    found = derive("exp-rk", stages=2, free="c2")
    assert found.latex().startswith("\\begin{aligned}")
    assert r"\varphi_{1}" in found.latex()
    assert "free: c2 (now 1/2)" in str(found)
    assert text(Phi(2, -sp.Symbol("h"))) == "φ_2(-h)"


@pytest.mark.parametrize(
    ("family", "options", "name"),
    [
        ("exp-multistep", dict(order=2, history=2), "b_2"),
        ("adams", dict(order=1, history=1), "b_1"),
        ("hybrid", dict(order=2), "b_2"),
        ("exp-rk", dict(stages=3, order=2), "b_3"),
    ],
)
def test_a_weight_left_over_may_be_named(family: str, options: dict[str, Any], name: str) -> None:
    plain, named = derive(family, **options), derive(family, **options, free=name)
    assert plain.coefficients == named.coefficients
    assert [x.name for x in named.free] == [name]
    for shown in (str(plain), plain.latex(), plain.source()):
        assert f"{name} = {name}" not in shown
        assert f"{name} &= {name}" not in shown
    idle = f"{name} = 0: its evaluation changes nothing until {name} is set"
    assert (idle in str(plain)) == bool(plain.stages)
    if plain.stages:
        moved = plain.solver.configure(**{name: 0.25})
        assert largest_gap(plain.solver, moved) > 1e-3
        plan = plain.solver.plan(de.TimeGrid(de.VP(), lam=np.array([-1.0, -0.6, 0.0, 0.3])))
        wasted = [row.out for row in plan.rows if isinstance(row, Evaluate)][-1]
        assert in_evaluations(plan)[-1].get(wasted, 0.0) == 0.0


def test_free_nodes_and_weights_together() -> None:
    assert {x.name for x in derive("exp-rk", stages=2, order=1, free="c2,b_2").free} == {"c2", "b_2"}


def test_equal_steps_reach_order_8() -> None:
    assert derive("exp-multistep", order=8, steps="uniform").order == 8


def test_shown_in_one_line() -> None:
    found = derive("exp-multistep", order=2, history=2)
    assert repr(found) == "<derivation exp_multistep_2: order 2, prediction 'x0', free b_2>"


def test_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    defaults = {name: signature(family).parameters.get("conditions") for name, family in FAMILIES.items()}
    apart = {name: given.default for name, given in defaults.items() if given and given.default != "strong"}
    assert f"default: strong; {', '.join(f'{name}: {kind}' for name, kind in apart.items())}" in said


def test_every_family_says_what_it_is() -> None:
    for name in FAMILIES:
        found = derive(name)
        assert found.family == name
        assert len(found.source().splitlines()) < 80
        assert all(len(line) < 130 for line in found.source().splitlines())


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("predictor-corrector", dict(corrector="3"), "corrector must be a whole number, not '3'"),
        ("exp-multistep", dict(history=2.5), "history must be a whole number, not 2.5"),
        ("exp-multistep", dict(stochastic=[1]), "stochastic must be one number"),
        ("exp-rk", dict(stages="2"), "stages must be a whole number, not '2'"),
        (None, {}, "no family named None"),
    ],
)
def test_values_of_the_wrong_type(family: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SolverError, match=message) as problem:
        derive(family, **options)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("exp-multistp", {}, "did you mean 'exp-multistep'"),
        ("adams", dict(stages=2), "no option named 'stages'"),
        ("exp-rk", dict(stages=2, order=3), "the conditions bound it by 2"),
        ("exp-rk", dict(stages=4), "stages must be 1, 2 or 3"),
        ("hybrid", dict(stages=2, history=1, order=4), "too high for 2 stages and 1 past value"),
        ("exp-multistep", dict(order=3, history=1), "bound the order by 2"),
        ("exp-multistep", dict(order=3, conditions="bh1"), "Σ b n^2/2! = 1/3!"),
        (
            "exp-multistep",
            dict(order=2, history=2, free="b_1"),
            "b_1 cannot stay free, 2 conditions fix 2",
        ),
        ("adams", dict(order=2, free="b_1"), "more history or a lower order leaves weights free"),
        ("exp-rk", dict(free="b_2"), "free are c2"),
        ("exp-multistep", dict(order=8), "order 8 on variable steps takes minutes"),
        ("adams", dict(order=8), "the highest is 7, or take steps=uniform"),
        ("predictor-corrector", dict(order=8), "order 8 on variable steps"),
        ("predictor-corrector", dict(order=1), "order must be at least 2"),
        ("adams", dict(order=2, variable="t", history=2), "history=2 leaves a weight free"),
        ("adams", dict(order=2, variable="sigma", history=2), "history=2 leaves a weight free"),
        ("exp-multistep", dict(order=0), "order must be a whole number"),
        ("exp-multistep", dict(prediction="v"), "prediction must be x0 or eps"),
        ("exp-multistep", dict(stochastic="much"), "stochastic must be a number"),
        ("exp-rk", dict(stages=3, nodes="1/2,1/2"), "differ from 0 and from each other"),
        ("exp-rk", dict(stages=3, nodes="2/3,1"), "they ask b_3 = 0"),
        ("exp-rk", dict(stages=3, free="c4"), "no free parameter named 'c4'"),
        ("predictor-corrector", dict(order=5, predictor=2), "bound it by 3"),
        ("momentum", dict(beta=2), "beta must be above 0"),
        ("reversible", dict(order=3), "order must be 2"),
        ("reversible", dict(prediction="x0"), "prediction must be eps"),
    ],
)
def test_bad_structure(family: str, options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SolverError) as problem:
        derive(family, **options)
    assert message in str(problem.value)
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    assert main(["derive", family, *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not captured.out


def test_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    assert main(["derive", "exp-multistep", "--order", "2", "--out", str(path)]) == 0
    assert "b_1 = -φ_2(-h)/r_1" in capsys.readouterr().out
    (solver,) = load_file(path).values()
    assert solver.name == "mine"
    assert main(["derive", "adams", "--out", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["derive", "adams", "--latex"]) == 0
    assert capsys.readouterr().out.startswith("\\begin{aligned}")
