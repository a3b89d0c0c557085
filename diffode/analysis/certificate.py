"""Certificates: what was checked of a solver, with the evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffode.analysis.slopes import Slope, Verdict
from diffode.errors import placed

if TYPE_CHECKING:
    from diffode.analysis.order.proof import OrderProof


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes
    ----------
    name : str
        "consistency", "order_proof", "zero_stability", "order_gaussian", "order_mixture", "order_started", "agreement",
        "weak_order" or "strong_order".
    verdict : {"PASS", "FAIL", "INCONCLUSIVE"}
    value, expected : float or None
        What was found and what the claim asks for.
    window : (float, float) or None
        Smallest and largest step size of a measured slope.
    detail : str
        One sentence.
    slope : Slope or None
        The measurement behind it, for plots.
    proof : OrderProof or None
        The proof behind it.
    """

    name: str
    verdict: Verdict
    value: float | None = None
    expected: float | None = None
    window: tuple[float, float] | None = None
    detail: str = ""
    slope: Slope | None = None
    proof: OrderProof | None = None

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON has it."""
        known = {
            "name": self.name,
            "verdict": self.verdict,
            "value": _finite(self.value),
            "expected": _finite(self.expected),
            "window": [_finite(w) for w in self.window] if self.window else None,
            "detail": self.detail,
        }
        return known if self.proof is None else {**known, "proof": self.proof.as_dict()}


def _finite(x: float | None) -> float | None:
    return None if x is None or not isfinite(x) else float(x)


@dataclass(frozen=True, repr=False)
class Certificate:
    """The truth about a solver, as far as it was looked into.

    Attributes
    ----------
    solver : str
    claimed_order : float
    checks : tuple of Check
    process : str
        The process of the measurements; a proof holds for every process.
    facts : mapping
        What else a report shows: prediction, history, evaluations per step, source.
    """

    solver: str
    claimed_order: float
    checks: tuple[Check, ...]
    process: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    subject: Any = field(default=None, compare=False, repr=False)

    @property
    def verdict(self) -> Verdict:
        """FAIL if any check fails, INCONCLUSIVE if any is and none fails, else PASS."""
        verdicts = {check.verdict for check in self.checks}
        return "FAIL" if "FAIL" in verdicts else "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts else "PASS"

    @property
    def order(self) -> float | None:
        """The verified order: the proved one, or the measured weak order of a rule with noise; None if open."""
        found = self._telling
        return None if found is None or found.value is None else float(round(found.value))

    @property
    def _telling(self) -> Check | None:
        """The check that the order is taken from."""
        for name in ("order_proof", "order_mixture"):
            for check in self.checks:
                if check.name == name and check.value is not None and check.verdict != "INCONCLUSIVE":
                    return check
        return None

    @property
    def proved(self) -> bool:
        """Whether `order` is proved, and not only measured."""
        return self._telling is not None and self._telling.name == "order_proof"

    @property
    def finding(self) -> str:
        """The order in words, and what it rests on: "verified 2", "measured only: 2" or "verified: open"."""
        if self.order is None:
            return "verified: open"
        return f"{'verified' if self.proved else 'measured only:'} {self.order:g}"

    @property
    def disagreement(self) -> str:
        """What proof and measurement say where they contradict each other; else nothing."""
        return next(
            (check.detail for check in self.checks if check.name == "agreement" and check.verdict == "FAIL"), ""
        )

    def __getitem__(self, name: str) -> Check:
        """The check of a name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"{self.solver}: there is no check {name!r}; there are {', '.join(c.name for c in self.checks)}")

    def as_dict(self) -> dict[str, Any]:
        """The certificate as JSON has it."""
        return {
            "solver": self.solver,
            "claimed_order": float(self.claimed_order),
            "verdict": self.verdict,
            "order": self.order,
            "process": self.process,
            **self.facts,
            "checks": [check.as_dict() for check in self.checks],
        }

    def portable(self) -> Certificate:
        """The same without the rule itself, which does not travel between processes: verdicts, slopes and facts."""
        return replace(self, subject=None, checks=tuple(replace(check, proof=None) for check in self.checks))

    def to_json(self, path: str | Path | None = None) -> str:
        """The certificate as JSON text; written to a file if one is named."""
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False)
        if path is not None:
            placed(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_html(self, path: str | Path) -> Path:
        """A self-contained report, written to a file.

        Raises
        ------
        MissingExtra
            If matplotlib is not installed.
        """
        from diffode.analysis.report import write_report

        return write_report(self, Path(path))

    def __repr__(self) -> str:
        return f"<certificate of {self.solver}: {self.verdict}, claimed order {self.claimed_order:g}, {self.finding}>"

    def __str__(self) -> str:
        lines = [f"{self.solver}: {self.verdict} (claimed order {self.claimed_order:g}, {self.finding})"]
        for check in self.checks:
            value = "" if check.value is None else f"{check.value:.2f}"
            lines.append(f"  {check.name:15} {check.verdict:12} {value:>6}  {check.detail}")
        return "\n".join(lines)
