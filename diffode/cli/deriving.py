"""`diffode derive`: formulas from their structure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import files, scaffold, terminal

Order = Annotated[
    int | None,
    typer.Option(
        "--order",
        metavar="P",
        help="The order wanted. [default: 3; exp-rk, hybrid: the highest that there is; reversible: 2]  At most 7 on "
        "variable steps, 8 on uniform ones.",
    ),
]
Prediction = Annotated[str | None, typer.Option("--prediction", metavar="D", help="x0 or eps.")]
Variable = Annotated[
    str | None, typer.Option("--variable", metavar="V", help="lambda, rho, t or sigma: what the polynomial is in.")
]
Steps = Annotated[str | None, typer.Option("--steps", metavar="S", help="variable or uniform.")]
Stages = Annotated[int | None, typer.Option("--stages", metavar="N", help="Evaluations in a step.")]
History = Annotated[int | None, typer.Option("--history", metavar="K", help="Past values used.")]
Nodes = Annotated[str | None, typer.Option("--nodes", metavar="C2,C3", help="Where the stages sit.")]
Beta = Annotated[str | None, typer.Option("--beta", metavar="B", help="Weight of the newest output.")]
Free = Annotated[
    str | None,
    typer.Option(
        "--free",
        metavar="c2,c3",
        help="Parameters that stay options of the solver: nodes (exp-rk, hybrid), weights (predictor-corrector), beta "
        "(momentum). Weights beyond the conditions are free unasked.",
    ),
]
Conditions = Annotated[
    str | None,
    typer.Option(
        "--conditions",
        metavar="C",
        help="strong, weak (midpoint, bh2) or bh1: how the highest condition holds. [default: strong; exp-rk: weak]",
    ),
]


def derive(
    family: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY",
            help="exp-multistep, adams, exp-rk, hybrid, predictor-corrector, momentum or reversible.",
        ),
    ],
    order: Order = None,
    prediction: Prediction = None,
    variable: Variable = None,
    steps: Steps = None,
    stochastic: Annotated[
        str | None, typer.Option("--stochastic", metavar="TAU", help="Noise level, or tau to keep it an option.")
    ] = None,
    stages: Stages = None,
    history: History = None,
    nodes: Nodes = None,
    free: Free = None,
    predictor: Annotated[int | None, typer.Option("--predictor", metavar="P", help="Values it weighs.")] = None,
    corrector: Annotated[int | None, typer.Option("--corrector", metavar="Q", help="Values it weighs.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", metavar="M", help="PEC or PECE.")] = None,
    beta: Beta = None,
    conditions: Conditions = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX in place of text.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.py", help="Write a solver file that `diffode verify` takes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> int:
    """Solve the order conditions of a structure: coefficients in closed form, and a solver file."""
    from diffode.analysis.derivation import derive as solve

    given = {
        "stages": stages, "order": order, "prediction": prediction, "variable": variable, "steps": steps,
        "stochastic": stochastic, "history": history, "nodes": nodes, "free": free, "predictor": predictor,
        "corrector": corrector, "mode": mode, "beta": beta, "conditions": conditions,
    }  # fmt: skip
    if out is not None:
        scaffold.check(out, force)
    found = solve(family, **{key: value for key, value in given.items() if value is not None})
    program = "" if out is None else replace(found, name=out.stem).source()
    if out is not None:
        scaffold.check_name(out, program)
    terminal.say(found.latex() if latex else str(found))
    if out is not None:
        files.write_text(out, program)
        terminal.say(f"wrote {out}; next: diffode verify {out}")
    return 0
