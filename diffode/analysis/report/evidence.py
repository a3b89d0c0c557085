"""What a certificate says, in words and pictures for a page: its headline, its checks, the tree that fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from markupsafe import Markup, escape

from diffode.analysis.certificate import Certificate, Check

MEANINGS = {
    "consistency": "One step on a network whose output is constant: it may err at O(h²), and no worse.",
    "order_proof": "The order conditions of all rooted trees, as identities in power series: what is proved holds for "
    "every smooth problem and every process.",
    "stiff_order": "The order that is left when the linear part is large; of the last order the weights at z = 0.",
    "zero_stability": "Small errors in the state, and in what the rule remembers, must not grow as h → 0.",
    "order_gaussian": "The exact error on Gaussian data, without one sample: the worst over eigenvalues of the "
    "covariance from 0.0001 to 4.",
    "order_mixture": "The error on a nonlinear mixture, from an exact past: it shows what no linear test can see.",
    "order_started": "The rule as it is shipped, with its own first and last steps: reported beside the claim.",
    "agreement": "Proof and measurement must say the same; where they do not, one of them is wrong.",
    "weak_order": "The exact mean and deviation of what the rule puts out on Gaussian data.",
    "strong_order": "The distance to a fine path of the same Brownian motion.",
}
"""Each check in plain words."""

TITLES = {
    "consistency": "Consistency", "order_proof": "Proof of order", "zero_stability": "Zero-stability",
    "order_gaussian": "Order on Gaussian data", "order_mixture": "Order on a mixture",
    "order_started": "Order as shipped", "agreement": "Agreement of proof and measurement",
    "weak_order": "Weak order", "strong_order": "Strong order", "stiff_order": "Stiff order",
}  # fmt: skip

_FOUND = {
    "order_proof": "proved", "zero_stability": "radius", "agreement": "gap", "consistency": "local order",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One check as the page shows it."""

    name: str
    title: str
    meaning: str
    verdict: str
    found: str
    value: str
    wanted: str
    evidence: tuple[str, ...]
    detail: Markup


def line(check: Check) -> Line:
    """A check as the page shows it."""
    value = check.value
    shown = "" if value is None or not isfinite(value) else _rounded(value, 0 if check.name == "order_proof" else 2)
    wanted = "" if check.expected is None or check.name == "agreement" else f"{check.expected:g}"
    bound = {"consistency": "at least", "zero_stability": "at most"}.get(check.name, "claimed")
    return Line(
        check.name, TITLES.get(check.name, check.name.replace("_", " ")), MEANINGS.get(check.name, ""), check.verdict,
        _FOUND.get(check.name, "slope"), shown, f"{bound} {wanted}" if wanted and shown else "", _evidence(check),
        raised(check.detail),
    )  # fmt: skip


def raised(text: str) -> Markup:
    """Text in HTML, its powers raised: h^3 as h³."""
    return Markup(re.sub(r"\^(-?\d+(?:\.\d+)?)", r"<sup>\1</sup>", str(escape(text))))


def _rounded(value: float, places: int) -> str:
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")  # + 0.0: no minus before a zero


def _evidence(check: Check) -> tuple[str, ...]:
    slope = check.slope
    if slope is None:
        return ()
    if not isfinite(slope.value):
        return (f"{len(slope.steps)} step sizes", f"floor {slope.floor:.0e}")
    low, high = slope.window
    return (f"95 % interval ± {slope.interval:.2f}", f"window h = {low:.3g} … {high:.3g}", f"floor {slope.floor:.0e}")


def headline(certificate: Certificate) -> str:
    """The verdict in one sentence, and in another that proof and measurement disagree, where they do."""
    split = certificate.disagreement
    return _verdict(certificate) + (f" Proof and measurement disagree: {split.partition(':')[0]}." if split else "")


def _verdict(certificate: Certificate) -> str:
    claim, found = f"{certificate.claimed_order:g}", {check.name: check for check in certificate.checks}
    proof = found.get("order_proof")
    if proof is not None and proof.verdict == "FAIL" and proof.value is not None:
        return f"Claims order {claim}; proved to have order {proof.value:g}."
    for verdict, words in (("FAIL", "fails"), ("INCONCLUSIVE", "left open:")):
        named = [TITLES.get(check.name, check.name).lower() for check in certificate.checks if check.verdict == verdict]
        if named:
            only = certificate.order if proof is not None and not certificate.proved else None
            measured = "" if only is None else f" Measured only: order {only:g}."
            return f"Claims order {claim}; {words} {_listed(named)}.{measured}"
    if proof is not None:
        return f"Proved to have order {certificate.order:g}, as claimed; every measurement agrees."
    measured = certificate.order
    return f"Claims order {claim}." if measured is None else f"Measured to have weak order {measured:g}, as claimed."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# --- the tree that fails ------------------------------------------------------------------------------------


def failing_tree(certificate: Certificate) -> tuple[str, str] | None:
    """The name and the sentence of the first tree whose condition the rule misses."""
    for check in certificate.checks:
        named = re.search(r"the tree ([\[\]τλδ]+)", check.detail)
        if check.name == "order_proof" and check.verdict == "FAIL" and named:
            sentence = check.detail[check.detail.index("fails the tree") :].partition(";")[0]
            return named[1], sentence
    return None


@dataclass(frozen=True)
class _Node:
    """A node of a rooted tree: its mark, and what grows on it."""

    mark: str
    children: tuple[_Node, ...] = ()

    @property
    def width(self) -> float:
        return max(1.0, sum(child.width for child in self.children))

    @property
    def height(self) -> int:
        return 1 + max((child.height for child in self.children), default=0)


def draw_tree(name: str) -> str:
    """A rooted tree from its bracket name, as an SVG element: nodes filled, λ-leaves open, δ-leaves as squares.

    >>> draw_tree("[λτ]").count("<circle")
    3
    """
    node, rest = _parse(name)
    if rest:
        raise ValueError(f"{name!r} is not the name of a tree")
    unit, pad = 44.0, 18.0
    width, height = node.width * unit + 2 * pad - unit / 2, (node.height - 1) * unit + 2 * pad
    marks: list[str] = []
    lines: list[str] = []
    _place(node, pad + (node.width - 0.5) * unit / 2, height - pad, unit, marks, lines)
    return (
        f'<svg class="tree" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="rooted tree {name}">{"".join(lines)}{"".join(marks)}</svg>'
    )


def _parse(name: str) -> tuple[_Node, str]:
    if name[:1] in ("τ", "λ", "δ"):
        return _Node(name[0]), name[1:]
    if name[:1] != "[":
        raise ValueError(f"{name!r} does not begin a tree")
    rest, children = name[1:], list[_Node]()
    while rest and rest[0] != "]":
        child, rest = _parse(rest)
        children.append(child)
    if not rest:
        raise ValueError(f"{name!r} does not close: no tree")
    return _Node("τ", tuple(children)), rest[1:]


def _place(node: _Node, x: float, y: float, unit: float, marks: list[str], lines: list[str]) -> None:
    """Draw a node at a place, and its children above it."""
    left = x - sum(child.width for child in node.children) * unit / 2
    for child in node.children:
        at = left + child.width * unit / 2
        left += child.width * unit
        lines.append(f'<line x1="{x:g}" y1="{y:g}" x2="{at:g}" y2="{y - unit:g}"/>')
        _place(child, at, y - unit, unit, marks, lines)
    if node.mark == "δ":
        marks.append(f'<rect class="open" x="{x - 6:g}" y="{y - 6:g}" width="12" height="12"/>')
    else:
        marks.append(f'<circle class="{"open" if node.mark == "λ" else "full"}" cx="{x:g}" cy="{y:g}" r="7"/>')
    if node.mark != "τ":
        marks.append(f'<text x="{x:g}" y="{y - 10:g}">{node.mark}</text>')


def facts(certificate: Certificate) -> list[tuple[str, Any]]:
    """What there is to know of a solver before its checks."""
    known = certificate.facts
    rows: list[tuple[str, Any]] = [("order claimed", f"{certificate.claimed_order:g}")]
    label = "order verified" if certificate.order is None or certificate.proved else "order measured"
    rows.append((label, "open" if certificate.order is None else f"{certificate.order:g}"))
    names = {"prediction": "prediction", "history": "past values", "evaluations_per_step": "calls per step"}
    rows += [(label, known[key]) for key, label in names.items() if key in known]
    if "stochastic" in known:
        rows.append(("kind", "stochastic" if known["stochastic"] else "deterministic"))
    return [(label, value) for label, value in rows if value != ""]
