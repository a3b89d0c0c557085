"""The orders of every registered solver: claimed, proved and measured.

Writes `results/orders.json` (all certificates), `results/orders.md` (the table), `results/orders.svg` (the figure),
and the orders that `diffode list` shows. A certificate is kept as long as its formula is the same, so that an
interrupted run goes on where it stopped.

    python -m analysis.orders [--again]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.progress import track

from diffode.analysis.census import side_by_side
from diffode.solvers import Solver, registry, verified
from diffode.solvers.registry import systems

RESULTS = Path(__file__).parent / "results"
CERTIFICATES = RESULTS / "orders.json"


def solvers() -> dict[str, Solver]:
    """All registered solvers by name, those for systems last."""
    return {**registry(), **systems()}


def study(again: bool = False) -> dict[str, dict[str, Any]]:
    """Certificates of all solvers by name; only those whose formula changed are made anew."""
    known: dict[str, dict[str, Any]] = {}
    if CERTIFICATES.is_file() and not again:
        known = {entry["solver"]: entry for entry in json.loads(CERTIFICATES.read_text(encoding="utf-8"))}
    missing = [
        name
        for name, solver in solvers().items()
        if known.get(name, {}).get("fingerprint") != verified.fingerprint(solver)
    ]
    done = side_by_side(missing, None, fast=False, workers=2)
    for name, entry in track(done, "verifying", total=len(missing), disable=not missing):
        known[name] = {**entry, "fingerprint": verified.fingerprint(solvers()[name])}
        _write(known)
    _write(known)
    return {name: known[name] for name in solvers()}


def _write(known: Mapping[str, dict[str, Any]]) -> None:
    entries = [known[name] for name in solvers() if name in known]
    RESULTS.mkdir(exist_ok=True)
    CERTIFICATES.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shipped(certificates: Mapping[str, dict[str, Any]]) -> dict[str, verified.Entry]:
    """What the package ships of the certificates, for `diffode list`."""
    return {
        name: {"order": entry["order"], "verdict": entry["verdict"], "fingerprint": entry["fingerprint"]}
        for name, entry in certificates.items()
    }


def table(certificates: Mapping[str, dict[str, Any]]) -> str:
    """The table in Markdown."""
    lines = [
        "# Orders: claimed, proved, measured",
        "",
        "Given an exact past. *Proved* holds for every process and every smooth model; *mixture* is the slope on a",
        "nonlinear mixture (the weak order where the rule draws noise), *Gaussian* the exact slope on Gaussian data,",
        "*started* the slope with the rule's own start and end. Made by `python -m analysis.orders`.",
        "",
        "| solver | family | claimed | proved | mixture | Gaussian | started | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, entry in certificates.items():
        checks = {check["name"]: check for check in entry["checks"]}
        cells = [_cell(checks.get(key)) for key in ("order_proof", "order_mixture", "order_gaussian", "order_started")]
        family = solvers()[name].family
        lines.append(f"| {name} | {family} | {entry['claimed_order']:g} | {' | '.join(cells)} | {entry['verdict']} |")
    return "\n".join([*lines, "", *_failures(certificates)])


def _cell(check: dict[str, Any] | None) -> str:
    if check is None or check["value"] is None:
        return "–"
    return f"{check['value']:g}" if check["name"] == "order_proof" else f"{check['value']:.2f}"


def _failures(certificates: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    failing = {name: entry for name, entry in certificates.items() if entry["verdict"] == "FAIL"}
    if failing:
        yield "Kept as published, and short of their claim:"
        yield ""
    for name, entry in failing.items():
        reason = next((check["detail"] for check in entry["checks"] if check["verdict"] == "FAIL"), "")
        yield f"- **{name}**: {reason}"


def figure(certificates: Mapping[str, dict[str, Any]], path: Path) -> None:
    """Claimed, proved and measured orders, one line a solver."""
    import matplotlib.pyplot as plt

    from diffode.analysis.style import look

    names = list(certificates)
    with look(), plt.rc_context({"svg.hashsalt": "orders"}):  # the same file on every run
        fig, ax = plt.subplots(figsize=(6.5, 0.14 * len(names) + 0.8))
        for key, marker, label in (("order_proof", "D", "proved"), ("order_mixture", "o", "mixture")):
            points = [
                (check["value"], row)
                for row, name in enumerate(names)
                for check in certificates[name]["checks"]
                if check["name"] == key and check["value"] is not None
            ]
            ax.plot(*zip(*points, strict=True), marker, fillstyle="none", linestyle="", markersize=4, label=label)
        claims = [certificates[name]["claimed_order"] for name in names]
        ax.plot(claims, range(len(names)), "|", label="claimed", markersize=9)
        ax.set_yticks(range(len(names)), names, fontsize=6)
        ax.set_xlabel("order")
        ax.set_ylim(len(names) - 0.3, -0.7)
        ax.legend(loc="lower right")
        fig.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(fig)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--again", action="store_true", help="verify every solver anew")
    certificates = study(parser.parse_args().again)
    verified.save(shipped(certificates))
    (RESULTS / "orders.md").write_text(table(certificates) + "\n", encoding="utf-8")
    figure(certificates, RESULTS / "orders.svg")
    failing = [name for name, entry in certificates.items() if entry["verdict"] == "FAIL"]
    short = ", ".join(failing) or "none"
    print(f"{len(certificates)} solvers; short of their claim: {short}; see {RESULTS / 'orders.md'}")


if __name__ == "__main__":
    main()
