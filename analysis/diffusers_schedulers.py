"""What every scheduler of diffusers truly is: its table recovered from outside, its name in the registry, its order.

Writes `diffusers_schedulers.json` and `diffusers_schedulers.md` in `results/`. Needs the extra `diffusers`. The tables
of the schedulers are made in float64, so that what differs is the method and not the precision.

    python -m analysis.diffusers_schedulers [NAME …]
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import diffode as de
from analysis import diffusers_loops as loops
from diffode.analysis.recovery import Match, Recovered, order_from_outside
from diffode.analysis.slopes import Slope

RESULTS = Path(__file__).parent / "results"
FINDINGS = RESULTS / "diffusers_schedulers.json"

STEPS = 8
COUNTS = (8, 11, 16, 22, 32, 45)


@dataclass(frozen=True)
class Case:
    """A scheduler in one configuration.

    Attributes
    ----------
    name : str
        Of the class.
    config : mapping
        What is not as shipped.
    make : callable
        How it is run; by default as `de.recover` runs a scheduler.
    among : tuple of str
        Solvers to compare it with besides the registry.
    note : str
    most : int
        Steps that it takes, or that it is worth.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    make: loops.Make = lambda scheduler, steps: de.recover(scheduler, steps=steps, tolerance=1e-6)
    among: tuple[str, ...] = ()
    note: str = ""
    most: int = 45


@dataclass(frozen=True)
class Finding:
    """What is known of a case.

    Attributes
    ----------
    scheduler, config, note : str
    nfe, normals : int or None
        Evaluations, and normals that it draws, in 8 steps.
    precision : float or None
        What the recovered table errs by on random outputs.
    match, gap : str, float or None
        The nearest registered solver, in words, and the largest gap of its coefficients.
    exact : bool
    mixture, gaussian : str
        The order that it shows as it comes; with Karras's levels where it has them.
    refused : str
        Why there is no table.
    """

    scheduler: str
    config: str
    note: str = ""
    nfe: int | None = None
    normals: int | None = None
    precision: float | None = None
    match: str = ""
    gap: float | None = None
    exact: bool = False
    mixture: str = ""
    gaussian: str = ""
    refused: str = ""


# --- all of them ----------------------------------------------------------------------------------------

SPECIAL: dict[str, list[Case]] = {
    "CMStochasticIterativeScheduler": [
        Case("CMStochasticIterativeScheduler", {"clip_denoised": False}, loops.consistency, most=32)
    ],
    "CogVideoXDPMScheduler": [Case("CogVideoXDPMScheduler", make=loops.carried)],
    "DDIMInverseScheduler": [
        Case("DDIMInverseScheduler", {"clip_sample": False, "set_alpha_to_one": False}, loops.inverse)
    ],
    "DDIMScheduler": [Case("DDIMScheduler", {"clip_sample": False})],
    "DDPMWuerstchenScheduler": [Case("DDPMWuerstchenScheduler", make=loops.wuerstchen)],
    "DEISMultistepScheduler": [Case("DEISMultistepScheduler"), Case("DEISMultistepScheduler", {"solver_order": 3})],
    "DPMSolverMultistepScheduler": [
        Case("DPMSolverMultistepScheduler"),
        Case("DPMSolverMultistepScheduler", {"solver_type": "heun"}),
        Case("DPMSolverMultistepScheduler", {"solver_order": 3}),
        Case("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
        Case("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ],
    "DPMSolverSDEScheduler": [
        Case(
            "DPMSolverSDEScheduler",
            make=lambda scheduler, steps: de.recover(scheduler, steps=steps, tolerance=1e-5),
            among=("dpmpp_sde(clock=-1.0)",),
            note="its Brownian tree places times to 1e-6",
            most=22,
        )
    ],
    "IPNDMScheduler": [Case("IPNDMScheduler", make=loops.sine)],
    "KDPM2AncestralDiscreteScheduler": [Case("KDPM2AncestralDiscreteScheduler", among=("dpm2(eta=1.0)",))],
    "LMSDiscreteScheduler": [
        Case("LMSDiscreteScheduler", among=("lms(final='rule')",), note="weights by quadrature")
    ],
    "MiniMaxH3Scheduler": [Case("MiniMaxH3Scheduler", make=loops.reversed_velocity, note="sign turned")],
    "PNDMScheduler": [Case("PNDMScheduler"), Case("PNDMScheduler", {"skip_prk_steps": True})],
    "SCMScheduler": [Case("SCMScheduler", {"sigma_data": 1.0}, loops.trigonometric)],
    "ScoreSdeVeScheduler": [
        Case("ScoreSdeVeScheduler", make=loops.score_ve(False), note="the predictor alone"),
        Case("ScoreSdeVeScheduler", make=loops.score_ve(True), note="with the corrector"),
    ],
    "UniPCMultistepScheduler": [Case("UniPCMultistepScheduler"), Case("UniPCMultistepScheduler", {"solver_order": 3})],
}  # fmt: skip
"""Cases that are not one scheduler as shipped (without clipping), run as schedulers are."""

OTHER: dict[str, str] = {
    "AmusedScheduler": "tokens, not a continuous state",
    "BlockRefinementScheduler": "tokens, not a continuous state",
    "ConsistencyDecoderScheduler": "a decoder in two fixed steps",
    "DiscreteDDIMScheduler": "tokens, not a continuous state",
    "EntropyBoundScheduler": "tokens, not a continuous state",
    "VQDiffusionScheduler": "tokens, not a continuous state",
    "PiflowScheduler": "its network gives a policy for many inner steps, not one output of the state's shape",
    "RePaintScheduler": "in-painting: a step needs the image and its mask",
    "RFD4ProteinaScheduler": "one modality of a protein model: a step needs its mask",
    "HeliosScheduler": "a pyramid: the state changes its size between stages",
    "HeliosDMDScheduler": "a pyramid: the state changes its size between stages",
    "KarrasVeScheduler": "deprecated; its steps are taken by the pipeline",
    "ScoreSdeVpScheduler": "deprecated; its steps are taken by the pipeline",
    "SchedulerMixin": "",
}
"""What is not a sampler of a continuous state with a network of that shape."""


def cases() -> Iterator[Case]:
    """Every scheduler that diffusers has, in every configuration of the study."""
    from diffusers import schedulers

    for name in sorted(dir(schedulers)):
        if not name.endswith("Scheduler") or name in OTHER:
            continue
        made = getattr(schedulers, name)
        if name in SPECIAL:
            yield from SPECIAL[name]
            continue
        clips = "clip_sample" in inspect.signature(made.__init__).parameters
        yield Case(name, {"clip_sample": False} if clips else {})


@contextmanager
def double_precision() -> Iterator[None]:
    """Everything that asks for single precision gets double: the tables of the schedulers too."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            patch.object(torch, "float32", torch.float64), patch.object(np, "float32", np.float64),
            patch.object(torch.Tensor, "float", torch.Tensor.double),
        ):  # fmt: skip
            yield
    finally:
        torch.set_default_dtype(before)


def recovered(case: Case) -> Recovered:
    """A case, recovered in double precision."""
    from diffusers import schedulers

    with double_precision():
        return case.make(getattr(schedulers, case.name)(**case.config), STEPS)


def nearest(case: Case, found: Recovered) -> list[Match]:
    """The registered solvers, and those that the case names, the nearest first."""
    both = [*(found.matches(case.among) if case.among else ()), *found.matches()]
    return sorted(both, key=lambda match: (len(match.differs), 0.0 if match.exact else match.gap))


def told(found: Recovered, near: list[Match]) -> str:
    """What a scheduler is, in words: all solvers that it equals, or the nearest."""
    if renoises(found):
        return "consistency sampling: new noise at the full level in every step"
    exact = [match for match in near if match.exact]
    if exact:
        return f"{', '.join(dict.fromkeys(match.solver for match in exact))} to {exact[0].gap:.0e}"
    return str(near[0]) if near else "no registered solver has its stages"


def study(case: Case) -> Finding:
    """One case."""
    config = ", ".join(f"{key}={value!r}" for key, value in case.config.items())
    try:
        found = recovered(case)
    except de.DiffodeError as problem:
        return Finding(case.name, config, case.note, refused=str(problem))
    near = nearest(case, found)
    mixture, gaussian = _orders(case)
    return Finding(
        case.name, config, case.note, found.nfe, len(found.noises), found.precision, told(found, near),
        near[0].gap if near else None, bool(near and near[0].exact), mixture, gaussian,
    )  # fmt: skip


def renoises(found: Recovered) -> bool:
    """Whether every state but the last two is made of new noise at the whole σ of its level, to 1 part in 1000."""
    table = found.table
    normals = table.rows[1:-2, 1 + table.nfe :]
    sigmas = [float(level.sigma) for level in table.levels[1:-2]]
    if normals.shape[1] < len(sigmas):
        return False
    return all(abs(abs(normals[i, i]) / sigma - 1) < 1e-3 for i, sigma in enumerate(sigmas))


def _orders(case: Case) -> tuple[str, str]:
    """Slopes on the mixture and on Gaussian data, on Karras's levels where the scheduler has them."""
    from diffusers import schedulers

    made = getattr(schedulers, case.name)
    karras = "use_karras_sigmas" in inspect.signature(made.__init__).parameters
    config = {**case.config, **({"use_karras_sigmas": True} if karras else {})}

    def make(steps: int) -> Recovered:
        with double_precision():
            return case.make(made(**config), steps)

    try:
        outside = order_from_outside(make, [count for count in COUNTS if count <= case.most])
    except ValueError:  # a scheduler that does not take so many steps, or has no level that a problem could start from
        return "", ""
    return _slope(outside.mixture), _slope(outside.gaussian)


def _slope(slope: Slope | None) -> str:
    return "" if slope is None or not np.isfinite(slope.value) else f"{slope.value:.1f}"


def table(findings: list[Finding], version: str) -> str:
    """The table in Markdown."""
    lines = [
        f"# The schedulers of diffusers {version}, recovered from outside",
        "",
        "Each ran as a black box: its coefficients were read off from designed outputs, checked on random ones, and",
        f"compared with every registered solver on its own levels ({STEPS} steps). *Order* is what it shows as it",
        "comes, with its own start and end, up to the last level with noise, in powers of 1/steps: on a nonlinear",
        "mixture, and exactly on Gaussian data (mean and deviation where it draws noise); on Karras's levels where it",
        "has them. Sampling with new noise at the full level in every step is not a solver, and shows order 0. Made by",
        "`python -m analysis.diffusers_schedulers`.",
        "",
        "| scheduler | configuration | evaluations | normals | is | order: mixture | Gaussian |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in findings:
        if not one.refused:
            told = "; ".join(part for part in (one.config, one.note) if part)
            cells = (one.scheduler, told, one.nfe, one.normals, one.match, one.mixture or "–", one.gaussian or "–")
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += ["", "## Refused", ""]
    lines += [f"- **{one.scheduler}** {one.note or one.config}: {one.refused}" for one in findings if one.refused]
    lines += ["", "## Not samplers of this kind", ""]
    lines += [f"- **{name}**: {why}" for name, why in OTHER.items() if why]
    return "\n".join(lines)


def main() -> None:
    """Run the study."""
    import diffusers

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only schedulers with these in their name, without writing")
    chosen = parser.parse_args().names
    findings = []
    for case in cases():
        if chosen and not any(name in case.name for name in chosen):
            continue
        findings.append(study(case))
        print(findings[-1], flush=True) if chosen else print(
            f"{case.name}: {findings[-1].match or 'refused'}", flush=True
        )
    if not chosen:
        write(findings, diffusers.__version__)


def write(findings: list[Finding], version: str) -> None:
    """Write both files."""
    RESULTS.mkdir(exist_ok=True)
    content = {"diffusers": version, "findings": [asdict(one) for one in findings]}
    FINDINGS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "diffusers_schedulers.md").write_text(table(findings, version) + "\n", encoding="utf-8")


def load() -> tuple[list[Finding], str]:
    """What was written: the findings, and the version of diffusers."""
    content = json.loads(FINDINGS.read_text(encoding="utf-8"))
    return [Finding(**one) for one in content["findings"]], content["diffusers"]


if __name__ == "__main__":
    main()
