"""Schedulers of diffusers as black boxes: what they are found to be, and the study of all of them."""

from __future__ import annotations

from typing import Any

import pytest

import diffode as de
from analysis import diffusers_schedulers

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDIMScheduler": ("ddim", {"clip_sample": False}),
    "DDPMScheduler": ("ddpm", {"clip_sample": False}),
    "EulerDiscreteScheduler": ("ddim", {}),
    "HeunDiscreteScheduler": ("heun", {}),
    "KDPM2DiscreteScheduler": ("dpm2", {}),
    "DPMSolverMultistepScheduler": ("dpmpp_2m", {}),
    "UniPCMultistepScheduler": ("unipc_2", {}),
    "EDMEulerScheduler": ("ddim", {}),
    "FlowMatchEulerDiscreteScheduler": ("euler_t", {}),
    "FlowMatchHeunDiscreteScheduler": ("heun_t", {}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on NumPy 2
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_of_diffusers_is_recognised(name: str) -> None:
    """In single precision, as shipped."""
    diffusers = pytest.importorskip("diffusers")
    wanted, config = SCHEDULERS[name]
    found = de.recover(getattr(diffusers, name)(**config), steps=6)
    best = found.matches([wanted])[0]
    assert best.exact, best


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scheduler_that_clips_is_refused() -> None:
    diffusers = pytest.importorskip("diffusers")
    with pytest.raises(de.SolverError, match="not linear in the model's output"):
        de.recover(diffusers.DDIMScheduler(), steps=6)


def test_a_scheduler_without_levels_is_refused() -> None:
    class Odd:
        def set_timesteps(self, steps: int) -> None:
            self.timesteps = list(range(steps))

        def step(self, out: Any, t: Any, x: Any) -> Any:
            return x

    with pytest.raises(de.SolverError, match="Odd has neither alphas_cumprod nor sigmas"):
        de.recover(Odd())


# --- the study ------------------------------------------------------------------------------------------


def test_the_table_of_schedulers_is_that_of_the_findings() -> None:
    findings, version = diffusers_schedulers.load()
    written = (diffusers_schedulers.RESULTS / "diffusers_schedulers.md").read_text(encoding="utf-8")
    assert written == diffusers_schedulers.table(findings, version) + "\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "CogVideoXDPMScheduler", "TCDScheduler"])
def test_a_finding_is_what_is_found_now(name: str) -> None:
    """The name and what it draws; how far it converges is left to the study."""
    pytest.importorskip("diffusers")
    case = next(case for case in diffusers_schedulers.cases() if case.name == name)
    (kept,) = (one for one in diffusers_schedulers.load()[0] if one.scheduler == name)
    found = diffusers_schedulers.recovered(case)
    assert (kept.nfe, kept.normals) == (found.nfe, len(found.noises))
    assert (
        kept.match.partition(" to ")[0]
        == diffusers_schedulers.told(found, diffusers_schedulers.nearest(case, found)).partition(" to ")[0]
    )
