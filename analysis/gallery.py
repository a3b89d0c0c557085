"""The gallery: every registered solver with its formula, its orders and its stability, and all that is no step rule.

Writes `docs/gallery/` from the registry, the study of orders and the catalogue; nothing in it is typed. Stability is
kept in `results/stability.json` by the fingerprint of a formula, so that an interrupted run goes on where it stopped.

    python -m analysis.gallery
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import groupby
from math import inf, isinf
from pathlib import Path
from typing import Any

from rich.progress import track

from analysis.errata import Certificates, certificates, linked
from analysis.orders import RESULTS, solvers
from diffode.analysis.formula import Formula
from diffode.analysis.stability import Region, stability
from diffode.catalogue import Entry, catalogue
from diffode.errors import DiffodeError
from diffode.solvers import Solver, verified
from diffode.solvers.registry import systems

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
STABILITY = RESULTS / "stability.json"

LONGEST = 4000
"""Characters of LaTeX that a page bears for one formula."""

KINDS = {
    "controller": "Controllers choose the next time, or whether to evaluate, from what was seen.",
    "wrapper": "Model wrappers change only what the network returns.",
    "runner": "Runners call plans.",
    "map": "Few-step maps jump from one level to another in one evaluation.",
    "fit": "Fits find coefficients.",
    "grid": "Grids say where a solver looks.",
}

Stability = Mapping[str, Mapping[str, Any]]


def families() -> dict[str, list[Solver]]:
    """The registered solvers by family."""
    found: dict[str, list[Solver]] = {}
    for solver in solvers().values():
        found.setdefault(solver.family, []).append(solver)
    return found


# --- stability ----------------------------------------------------------------------------------------------


def study() -> Stability:
    """Intervals of all solvers that have them, by name; only those whose formula changed are computed."""
    known: dict[str, Any] = json.loads(STABILITY.read_text(encoding="utf-8")) if STABILITY.is_file() else {}
    for family, members in families().items():
        stale = [s for s in members if known.get(s.name, {}).get("fingerprint") != verified.fingerprint(s)]
        for solver in track(stale, family, disable=not stale):
            known[solver.name] = {"fingerprint": verified.fingerprint(solver), **_intervals(solver)}
            STABILITY.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        if stale or not _picture(family).is_file():
            draw(family, members)
    kept = {name: known[name] for name in solvers()}
    STABILITY.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def _intervals(solver: Solver) -> dict[str, Any]:
    try:
        found = stability(solver).as_dict()
    except (DiffodeError, ArithmeticError, NotImplementedError) as problem:
        return {"none": str(problem)}
    return {key: value if value != inf else "inf" for key, value in found.items() if key != "solver"}


def _picture(family: str) -> Path:
    return FOLDER / "stability" / f"{family}.png"


def draw(family: str, members: Iterable[Solver], columns: int = 6) -> None:
    """The regions of a family on y' = z y, a panel each; no picture where none has a region."""
    import matplotlib.pyplot as plt

    from diffode.analysis.stability.plots import draw as draw_regions
    from diffode.analysis.style import look

    regions = list(_regions(members))
    if not regions:
        return
    rows = -(-len(regions) // columns)
    with look():
        columns = min(columns, len(regions))
        size = (1.9 * columns, 2.0 * rows)
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for panel in axes.flat[len(regions) :]:
            panel.set_axis_off()
        for panel, (name, region) in zip(axes.flat, regions, strict=False):
            draw_regions(panel, [region])
            panel.set_title(name, fontsize=7)
            panel.tick_params(labelsize=6)
            panel.set(xlabel="", ylabel="")
        _picture(family).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(_picture(family), dpi=80, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)


def _regions(members: Iterable[Solver]) -> Iterator[tuple[str, Region]]:
    for solver in members:
        try:
            yield solver.name, stability(solver, points=120)
        except (DiffodeError, ArithmeticError, NotImplementedError):
            continue


# --- pages --------------------------------------------------------------------------------------------------


def pages(found: Certificates, stable: Stability) -> dict[str, str]:
    """All pages in Markdown by file name."""
    made = {f"{family}.md": family_page(family, rules, found, stable) for family, rules in families().items()}
    return {"README.md": index(), **made, "beside.md": beside(catalogue())}


def index() -> str:
    """The front page: families, and what is no step rule."""
    found = families()
    count = sum(map(len, found.values()))
    lines = [
        "# The gallery",
        "",
        f"{count} solvers in {len(found)} families, each with its formula, its orders as claimed, proved and measured,",
        "and its stability. [Errata](../errata.md) lists those that miss their claim as published; what is no step",
        "rule (controllers, wrappers, runners, maps, fits) stands [beside](beside.md). Made by",
        "`python -m analysis.gallery`.",
        "",
        "| family | what | solvers |",
        "| --- | --- | --- |",
    ]
    for family, members in found.items():
        names = ", ".join(f"[{solver.name}]({family}.md#{_anchor(solver.name)})" for solver in members)
        lines.append(f"| [{family}]({family}.md) | {_about(family)} | {names} |")
    return "\n".join([*lines, ""])


def _about(family: str) -> str:
    """The first sentence of a family's module."""
    text = inspect.getdoc(import_module(f"diffode.solvers.{family}")) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _anchor(name: str) -> str:
    """What a heading is linked by."""
    return "".join(c for c in name.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def family_page(family: str, members: list[Solver], found: Certificates, stable: Stability) -> str:
    """One family: a picture of all regions of stability, then every solver."""
    lines = [f"# {family}", "", _about(family), ""]
    if any("none" not in stable[solver.name] for solver in members):
        lines += [f"![Regions of stability in the plane of z = h × rate](stability/{family}.png)", ""]
    for solver in members:
        lines += entry(solver, found[solver.name], stable[solver.name])
    return "\n".join(lines)


def entry(solver: Solver, found: Mapping[str, Any], stable: Mapping[str, Any]) -> Iterator[str]:
    """One solver."""
    yield f"## {solver.name}"
    yield ""
    yield solver.summary
    yield ""
    yield f"- {'; '.join(_orders(solver, found))}"
    more = f", {_count(solver.history, 'past value')}" if solver.history else ""
    noise = ", with noise" if found["stochastic"] else ""
    cost = _count(found["evaluations_per_step"], "evaluation")
    yield f"- predicts `{solver.prediction}`; {cost} a step{more}{noise}"
    if "none" not in stable:
        yield f"- stable on the real axis to −{_length(stable['real_interval'])}, on the imaginary one to ±" + _length(
            stable["imaginary_interval"]
        )
    if solver.limits:
        yield f"- the rule is {'; '.join(_limit(law) for law in solver.limits)}"
    if solver.erratum is not None:
        yield f"- short of its claim: {solver.erratum.what} See the [errata](../errata.md)."
    yield f"- {linked(solver.source)}"
    yield ""
    yield from _formula(solver)


def _orders(solver: Solver, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"order claimed {solver.order:g}"
    words = {"order_proof": "proved {:g}", "order_mixture": "measured on a mixture {:.2f}"}
    for check in found["checks"]:
        if check["name"] in words and check["value"] is not None:
            yield words[check["name"]].format(check["value"])
    yield from found["theory"]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _length(value: float | str) -> str:
    return "∞" if isinstance(value, str) or isinf(value) else f"{value:.4g}"


def _limit(law: Any) -> str:
    at = ", ".join(f"{key}={value!r}" for key, value in law.options.items())
    return f"`{law.parent}` at {at}" + (f" on equal steps in {law.uniform}" if law.uniform else "")


def _formula(solver: Solver) -> Iterator[str]:
    if solver.name in systems():
        yield from ("Its coefficients are small matrices: see [systems](../systems.md).", "")
        return
    formula = Formula.of(solver)
    if len(formula.latex) > LONGEST:
        count = len(formula.lines) + len(formula.weights)
        yield f"Its formula takes {count} lines; `diffode verify {solver.name} --report DIR` prints it."
    else:
        yield from ("$$", formula.latex, "$$")
        yield ""
        yield from (f"- ${symbol}$: {words}" for symbol, words in formula.where)
    yield ""


def beside(entries: Mapping[str, Entry]) -> str:
    """What is no step rule, kind by kind."""
    lines = ["# Beside step rules", ""]
    for kind, members in groupby(entries.values(), key=lambda entry: entry.kind):
        lines += [f"## {kind}s", "", KINDS[kind], ""]
        lines += [f"- `{e.thing.__module__}.{e.name}`: {e.summary} {linked(e.source)}." for e in members]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages(certificates(), study()).items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
