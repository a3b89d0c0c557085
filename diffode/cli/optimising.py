"""`diffode derive optimize`: free parameters, or a grid, chosen for an objective."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffode.cli import deriving, files, inputs, scaffold, terminal
from diffode.errors import DiffodeError


def optimize(
    what: Annotated[
        str, typer.Argument(metavar="FAMILY_OR_SOLVER", help="A family of derive, or a solver with options in a range.")
    ],
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="O",
            help="error-constant, stability-interval, imaginary-interval or guidance; with --grid w2 or kl. "
            "[default: error-constant, guidance where --guidance or --step is given]",
        ),
    ] = None,
    free: Annotated[
        str | None, typer.Option("--free", metavar="c2,c3", help="Parameters that are chosen. [default: all]")
    ] = None,
    ranges: Annotated[
        list[str] | None, typer.Option("--range", metavar="c2=0.2,0.8", help="Where one is looked for (repeatable).")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", metavar="W", help="Find the longest steps that bear this scale.")
    ] = None,
    step: Annotated[
        float | None, typer.Option("--step", metavar="H", help="Find the scale that steps of this length in λ bear.")
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Choose the grid, by its exact Gaussian error.")] = False,
    nfe: Annotated[
        int | None, typer.Option("--nfe", metavar="N", help="Evaluations, with --grid. [default: 10]")
    ] = None,
    spectrum: Annotated[
        str | None,
        typer.Option(
            "--spectrum",
            metavar="S",
            help="power:A, or FILE.npy with eigenvalues (d,) or data (n, d); with --grid. [default: power:2]",
        ),
    ] = None,
    dimension: Annotated[
        int | None, typer.Option("--dimension", metavar="D", help="Of a power law, with --grid. [default: 64]")
    ] = None,
    process: inputs.ProcessName = None,
    final: Annotated[
        str | None, typer.Option("--final", metavar="F", help="min or zero: where the grid ends. [default: min]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the starts that are drawn.")] = 0,
    starts: Annotated[int | None, typer.Option("--starts", metavar="N", help="How many descents are made.")] = None,
    order: deriving.Order = None,
    prediction: deriving.Prediction = None,
    variable: deriving.Variable = None,
    steps: deriving.Steps = None,
    stages: deriving.Stages = None,
    history: deriving.History = None,
    nodes: deriving.Nodes = None,
    beta: deriving.Beta = None,
    conditions: deriving.Conditions = None,
    json: inputs.Json = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the solver file (.py), or with --grid the grid (.json)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> int:
    """Choose free parameters, or a grid: the least error, the longest stability interval, the most guidance."""
    structure = {
        "order": order, "prediction": prediction, "variable": variable, "steps": steps, "stages": stages,
        "history": history, "nodes": nodes, "beta": beta, "conditions": conditions,
    }  # fmt: skip
    of_rules = {**structure, "free": free, "range": ranges, "guidance": guidance, "step": step}
    of_grids = {"nfe": nfe, "spectrum": spectrum, "dimension": dimension, "process": process, "final": final}
    _check(of_rules if grid else of_grids, grid)
    files.check_writable(json)
    files.check_suffix(out, ".json" if grid else ".py")
    if out is not None and grid:
        files.check_writable(out)
        if out.exists() and not force:
            raise DiffodeError(f"{out} is there already; give another name, or --force to replace it")
    elif out is not None:
        scaffold.check(out, force)
    if grid:
        return _grid(what, objective or "w2", of_grids, starts, json, out)
    return _parameters(what, objective, of_rules, structure, seed, starts, json, out)


def _check(foreign: dict[str, Any], grid: bool) -> None:
    for name, value in foreign.items():
        if value:
            remedy = "leave it out, or leave out --grid" if grid else "add --grid, or leave it out"
            raise DiffodeError(f"--{name}: {'not for a grid' if grid else 'is for a grid'}; {remedy}")


def _grid(what: str, loss: str, given: dict[str, Any], starts: int | None, json: str | None, out: Path | None) -> int:
    from diffode.analysis.derivation.gridding import optimize_grid

    options: dict[str, Any] = {k: v for k, v in {**given, "starts": starts}.items() if v is not None}
    found = optimize_grid(what, loss=loss, **options)
    files.write_json(json, found.as_dict())
    if json != files.STDOUT:
        terminal.say(str(found))
    if out is not None:
        files.write_text(out, found.to_json())
        terminal.say(f"wrote {out}; next: diffode compare {what} --nfe {found.nfe} --grid {out}")
    return 0


def _parameters(
    what: str,
    objective: str | None,
    given: dict[str, Any],
    structure: dict[str, Any],
    seed: int,
    starts: int | None,
    json: str | None,
    out: Path | None,
) -> int:
    from diffode.analysis.derivation.optimizing import optimize as best

    borne = given["guidance"] is not None or given["step"] is not None
    with terminal.progress("optimize"):
        found = best(
            what,
            objective or ("guidance" if borne else "error-constant"),
            free=given["free"],
            ranges=dict(map(_range, given["range"] or ())),
            guidance=given["guidance"],
            step=given["step"],
            seed=seed,
            **({} if starts is None else {"starts": starts}),
            **{name: value for name, value in structure.items() if value is not None},
        )
        program = None if out is None else found.source(out.stem)
        if out is not None and program is not None:
            scaffold.check_name(out, program)
        certificate = found.certificate
    files.write_json(json, found.as_dict() if json is not None else None)
    if json != files.STDOUT:
        terminal.say(str(found))
        terminal.say(f"  verify: {certificate.verdict}, order {certificate.order:g}")
    if out is not None and program is not None:
        files.write_text(out, program)
        terminal.say(f"wrote {out}; next: diffode verify {out}")
    return 0


def _range(text: str) -> tuple[str, Any]:
    name, given, ends = text.partition("=")
    if not given:
        raise DiffodeError(f"--range: write it as c2=0.2,0.8, not {text!r}")
    return name, tuple(inputs.numbers(ends, "--range"))
