"""Misuse that would go unnoticed: models that write to their input, lost steps, claims that make no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.errors import GridError, ModelError, PlanError, SolverError
from diffode.trace import Step


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_model_may_not_write_to_its_input(backend: str) -> None:
    x: Any = np.ones((2, 3))
    if backend == "torch":
        x = pytest.importorskip("torch").ones((2, 3))
    process = de.VP()

    def halved(x: Any, t: float) -> Any:
        x *= 0.5
        return x

    model = de.Denoiser(halved, process, prediction="eps")
    with pytest.raises(ModelError, match="step 0: the model changes its input in place"):
        de.sample(model, "dpmpp_2m", de.grids.karras(process, 4), x, backend=backend)


def test_steps_lost_in_rounding_are_refused() -> None:
    with pytest.raises(GridError, match="lost in rounding; remove one"):
        de.TimeGrid(de.VP(), t=[1.0, 0.5, 0.5 - 1e-16, 0.1])


def test_a_rule_may_not_end_the_program() -> None:
    @de.solver(order=1, prediction="x0")
    def leaving(step: Step) -> Any:
        raise SystemExit(0)

    with pytest.raises(SolverError, match="leaving: the rule ends the program"):
        de.verify(leaving)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"order": 1.5}, "order must be a whole number"),
        ({"order": 50}, "order must be a whole number from 1 to 20"),
        ({"strong_order": "zz"}, "strong_order must be a number"),
        ({"reaches": "q"}, "reaches must be a number"),
        ({"uniform": "zz"}, "uniform must be 'lam', 'rho', 't', 'sigma' or None"),
        ({"limits": ["ddim"]}, "limits must be made by limit"),
    ],
)
def test_claims_must_make_sense(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(SolverError, match=message):
        de.solver(**{"order": 1, "prediction": "x0", **claims})(lambda step: step.x)


@pytest.mark.parametrize("name", [None, 3, len])
def test_a_solver_is_a_name_or_a_solver(name: Any) -> None:
    with pytest.raises(SolverError, match="a solver is a name, a file or a solver itself"):
        de.get_solver(name)


def test_options_with_a_range_are_numbers() -> None:
    with pytest.raises(SolverError, match="eta must be a number, not 'a'"):
        de.get_solver("ddim(eta='a')")


def test_a_law_needs_a_plan() -> None:
    with pytest.raises(PlanError, match=r"made by de\.compile"):
        de.law("ddim", de.Gaussian(0.0, 1.0))  # type: ignore[arg-type]


def test_numbers_of_a_derivation_are_read_not_evaluated() -> None:
    with pytest.raises(SolverError, match="nodes must be a number"):
        de.derive("exp-rk", order=2, nodes="__import__('os').getcwd()")


def test_past_values_are_counted_from_one() -> None:
    @de.solver(order=1, prediction="x0", history=1)
    def backwards(step: Step) -> Any:
        return step.past(0)

    with pytest.raises(SolverError, match="counted from 1"):
        backwards.plan(de.grids.karras(de.EDM(), 3))
