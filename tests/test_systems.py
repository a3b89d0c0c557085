"""Systems: every rule's run against its exact law, on both backends, continued, and in plans; misuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import diffode as de
from diffode.analysis.systems import law, marginal
from diffode.expressions import Matrix
from diffode.plan import Evaluate, Linear, Plan, defines
from diffode.solvers.registry import systems
from tests.systems import MIXTURE, grid, sizes, states

RULES = sorted(systems())


# --- running ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_run_is_its_exact_law(name: str) -> None:
    """Unit states and unit noises, run through the plan, give the affine map that the exact law pushes forward."""
    process, data = de.CLD(jitter=1e-6), de.Gaussian([0.3, -1.0], [0.25, 0.01])
    times = grid(process, 5)
    plan = de.compile(name, process, times)
    width = 2 + len(plan.noises)
    inputs = np.zeros((width + 1, 2, 2))
    inputs[0, 0], inputs[1, 1] = 1.0, 1.0
    noises = [np.zeros((width + 1, 2)) for _ in plan.noises]
    for k, noise in enumerate(noises):
        noise[2 + k] = 1.0
    out = de.sample(data.denoiser(process), name, times, inputs, noise=noises or None).x
    offset, gains = out[-1], out[:-1] - out[-1]
    first, found = marginal(law(plan, data).spectrum, times[0]), law(plan, data)
    mean = offset + np.einsum("iad,id->ad", gains[:2], first.mean)
    spread = np.einsum("iad,ijd,jcd->acd", gains[:2], first.covariance, gains[:2])
    spread = spread + np.einsum("kad,kcd->acd", gains[2:], gains[2:])
    scale = sizes(plan) ** 2
    np.testing.assert_allclose(found.mean, mean, atol=1e-13 * scale)
    np.testing.assert_allclose(found.covariance, spread, atol=1e-13 * scale)


@pytest.mark.parametrize("name", RULES)
def test_torch_json_and_the_count(name: str) -> None:
    process = de.CLD()
    times, u, model = grid(process, 4), states(3, 2), MIXTURE.denoiser(process)
    plan = de.compile(name, process, times)
    noise = None if plan.is_deterministic else 7
    here = de.sample(model, name, times, u, noise=noise)
    there = de.sample(model, name, times, torch.tensor(u), backend="torch", noise=noise)
    np.testing.assert_allclose(there.x.numpy(), here.x, rtol=1e-10, atol=1e-10)
    assert here.x.shape == u.shape
    assert len(here.trajectory) == 5
    assert Plan.from_json(plan.to_json()) == plan
    assert here.nfe == sum(isinstance(row, Evaluate) for row in plan) == (8 if "pc" in name else 4)
    assert all(register in str(plan) for row in plan for register in defines(row))
    assert "dv_{0}" in plan.latex()


@pytest.mark.parametrize("name", RULES)
def test_a_continued_run_is_one_run(name: str) -> None:
    process = de.CLD()
    times, u, model = grid(process, 6), states(3, 2), MIXTURE.denoiser(process)
    if not de.compile(name, process, times).is_deterministic:
        name = f"{name}(lam=0.0)"
    first = de.sample(model, name, de.TimeGrid(process, times.t[:4]), u, open_end=True)
    rest = de.sample(model, name, de.TimeGrid(process, times.t[3:]), first.x, memory=first.memory)
    np.testing.assert_array_equal(rest.x, de.sample(model, name, times, u).x)


def test_matrices_of_other_sizes_have_no_inverse() -> None:
    with pytest.raises(de.PlanError, match="two components"):
        Matrix(((1.0,),)).inverse()


def test_a_plan_of_a_system_has_all_components_at_each_level() -> None:
    plan = de.compile("gddim", de.CLD(), grid(de.CLD(), 3))
    assert [plan.state(k) for k in range(4)] == [(f"x{k}", f"xv{k}") for k in range(4)]
    assert plan.head(2).state(-1) == ("x2", "xv2")
    assert plan.head(2).nfe == 2
    with pytest.raises(de.PlanError, match="have other components"):
        Plan(plan.rows, plan.inputs, plan.states, plan.levels, None, "short", plan.beside[:-1])


# --- misuse -----------------------------------------------------------------------------------------------


@de.solver(order=1, prediction="eps")
def half_a_state(step: Any) -> Linear:
    """A rule that asks for the system and returns one component."""
    return step.system and step.x[0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: de.compile("ddim", de.CLD(), grid(de.CLD(), 3)), "ddim is a rule for one state"),
        (lambda: de.compile("dpmpp_2m", de.CLD(), grid(de.CLD(), 3)), "take one that is made for systems"),
        (lambda: de.compile("gddim", de.VP(), grid(de.VP(), 3)), "VP.* has one state"),
        (
            lambda: de.compile("momentum(base='gddim_2')", de.CLD(), grid(de.CLD(), 3)),
            "on a system step.x is a vector",
        ),
        (lambda: de.compile(half_a_state, de.CLD(), grid(de.CLD(), 3)), "must return the new state, a vector"),
        (lambda: de.compile("gddim", de.CLD(), grid(de.CLD(), 3), factor="Q"), "no factor 'Q'; there are R and L"),
        (lambda: de.compile("gddim", de.CLD(), de.grids.quadratic(de.CLD(), 3, final="zero")), "inside"),
        (lambda: de.compile("gddim", de.CLD(), grid(de.CLD(), 3), terms=-1), "outside its range"),
        (lambda: de.CLD(vv0=0.0), "needs 0 < vv0"),
        (lambda: de.CLD(jitter=1.0), "jitter"),
        (lambda: de.CLD(m_inv=-1.0), "m_inv=-1.0"),
        (lambda: de.CLD(beta="4"), "beta must be a real number"),
        (lambda: de.CLD(jitter=1e-6).level(lam=30.0), "outside"),
        (lambda: de.law(de.compile("gddim", de.CLD(), grid(de.CLD(), 3)), de.Gaussian(0.0, 1.0)), "moves a system"),
        (lambda: law(de.compile("ddim", de.VP(), grid(de.VP(), 3)), de.Gaussian(0.0, 1.0)), "moves one state"),
        (lambda: law(de.compile("gddim", de.CLD(), grid(de.CLD(), 3)), MIXTURE), "mixture"),
        (lambda: MIXTURE.denoiser(de.CLD())(np.zeros((4, 2)), 0.5), "positions and velocities"),
        (lambda: MIXTURE.denoiser(de.CLD()).predict(states(2, 2), de.CLD().level(0.5), "v"), "not 'v'"),
        (
            lambda: de.sample(MIXTURE.denoiser(de.CLD()), "gddim", grid(de.CLD(), 3), np.zeros((4, 3, 2))),
            "2 components",
        ),
    ],
)
def test_errors_name_the_remedy(call: Any, says: str) -> None:
    with pytest.raises(de.DiffodeError, match=says):
        call()
