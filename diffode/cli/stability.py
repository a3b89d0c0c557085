"""`diffode stability`: regions, real and imaginary intervals, A(α)."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffode.cli import files, inputs, terminal
from diffode.errors import DiffodeError

if TYPE_CHECKING:
    from diffode.analysis.stability import Region


def stability(
    solvers: Annotated[list[str], typer.Argument(metavar="SOLVER", help="Names or files.")],
    ch: Annotated[
        float,
        typer.Option(
            "--ch",
            metavar="X",
            help="c h of the semilinear test u' = -c u + b u; 0: linear. Sampling has c h > 0 where the rule predicts "
            "the data, c h < 0 where it predicts the noise.",
        ),
    ] = 0.0,
    ratio: Annotated[
        float, typer.Option("--ratio", metavar="Q", help="Each step so many times as long as the one before.")
    ] = 1.0,
    re: Annotated[str | None, typer.Option("--re", metavar="LOW,HIGH", help="Real parts that the plot shows.")] = None,
    im: Annotated[
        str | None, typer.Option("--im", metavar="LOW,HIGH", help="Imaginary parts that the plot shows.")
    ] = None,
    json: inputs.Json = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the regions (png, svg or pdf).")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Draw for a dark page.")] = False,
) -> int:
    """Linear or semilinear stability: exact intervals, the angle of A(α), and a picture.

    A rule without exponentials is tested on y' = z y in its own variable, one with exponentials in the limit of that as
    its linear part vanishes, or with it at --ch. The real interval is a length: [-length, 0] at --ch 0; elsewhere both
    ends are printed.
    """
    from diffode.analysis.stability import stability

    chosen = inputs.solvers(solvers)
    across, up = _range(re, "--re"), _range(im, "--im")
    files.check_writable(json)
    if plot is not None:
        inputs.require("matplotlib", "plot")
    files.check_writable(plot)
    files.check_suffix(plot, ".png", ".svg", ".pdf")
    found: list[Region] = []
    with terminal.progress("stability") as update:
        for n, solver in enumerate(chosen):
            update(solver.name, n, len(chosen))
            found.append(stability(solver, re=across, im=up, ch=ch, ratio=ratio))
            found[-1].as_dict()  # the exact part takes the time
    if plot is not None:
        from diffode.analysis.stability.plots import regions, save

        with files.replacing(plot) as draft:
            save(regions(found, dark=dark), draft, dark=dark)
        terminal.wrote(plot, json)
    written = [region.as_dict() for region in found]
    files.write_json(json, written[0] if len(written) == 1 else written)
    if json != files.STDOUT:
        show(found)
        for line in _remarks(found, ch):
            terminal.say(line)
    return 0


def _remarks(found: list[Region], ch: float) -> Iterator[str]:
    """What a table does not say: noise that is left out, and a sign of c h that belongs to inversion."""
    from diffode.analysis.order.fixed_point import probe
    from diffode.analysis.stability.reading import sampling_sign

    for region in found:
        if not region.zero_stable:
            yield f"{region.solver} is not zero-stable: errors grow however small the steps are"
        if region.rule is not None and not probe(region.rule).is_deterministic:
            yield (
                f"{region.solver} draws noise: this is its drift part, the stability of the mean; for the variance see "
                "diffode.analysis.stability.mean_square"
            )
        if region.rule is not None and ch * sampling_sign(region.rule) < 0:
            what, sign = ("noise", "< 0") if ch > 0 else ("data", "> 0")
            back = f"c h = {ch:g} is a step back to the noise"
            yield f"{region.solver} predicts the {what}: {back}; sampling has c h {sign}"


def _range(text: str | None, option: str) -> tuple[float, float] | None:
    """LOW,HIGH as two numbers."""
    if text is None:
        return None
    values = inputs.numbers(text, option)
    if len(values) != 2:
        raise DiffodeError(f"{option}: give two numbers, LOW,HIGH, not {text!r}")
    return values[0], values[1]


def show(found: list[Region]) -> None:
    """A line for each solver, and its polynomial."""
    table = terminal.table(("solver", "real", "imaginary", "A(α)", "P(w, z)"), right=("real", "imaginary", "A(α)"))
    for region in found:
        angle = f"{region.a_alpha:.4g}°" if region.a_alpha else "–"
        real = _ends(*region.real_bounds) if region.recursion.ch else _length(region.real_interval)
        lengths = (real, _length(region.imaginary_interval))
        table.add_row(region.solver, *lengths, angle, str(region.recursion))
    terminal.show(table)


def _length(value: float) -> str:
    return f"{'-' if value < 0 else ''}∞" if isinf(value) else f"{value:.10g}"


def _ends(low: float, high: float) -> str:
    """An interval, open where it has no end."""
    left, right = "(" if isinf(low) else "[", ")" if isinf(high) else "]"
    return f"{left}{_length(low)}, {_length(high)}{right}"
