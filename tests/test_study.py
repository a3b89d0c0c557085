"""The studies in `analysis/`: what they wrote is about the formulas as they are now."""

from __future__ import annotations

import json

import pytest

from analysis import liars, orders
from diffode.solvers import verified

CERTIFICATES = {entry["solver"]: entry for entry in json.loads(orders.CERTIFICATES.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", orders.solvers())
def test_every_formula_is_in_the_table_as_it_is_now(name: str) -> None:
    """Fails where a formula changed after `python -m analysis.orders`: run it again."""
    solver = orders.solvers()[name]
    assert CERTIFICATES[name]["fingerprint"] == verified.fingerprint(solver)
    assert verified.verified_order(solver, verified.load()) == CERTIFICATES[name]["order"]


def test_verdicts_are_as_the_registry_declares() -> None:
    """A solver fails if and only if it is marked with an order that it reaches instead of its claim."""
    failing = {name for name, entry in CERTIFICATES.items() if entry["verdict"] == "FAIL"}
    assert failing == {name for name, solver in orders.solvers().items() if solver.reaches is not None}
    assert not [name for name, entry in CERTIFICATES.items() if entry["verdict"] == "INCONCLUSIVE"]


def test_the_table_is_that_of_the_certificates() -> None:
    ordered = {name: CERTIFICATES[name] for name in orders.solvers()}
    assert (orders.RESULTS / "orders.md").read_text(encoding="utf-8") == orders.table(ordered) + "\n"
    assert verified.load() == orders.shipped(ordered)


# --- methods of known order ---------------------------------------------------------------------------------

ENTRIES = json.loads(liars.VERDICTS.read_text(encoding="utf-8"))


def test_no_verdict_on_hundreds_of_methods_is_false() -> None:
    assert len(ENTRIES) >= 300
    assert not [e for e in ENTRIES if e["honest"] == "FAIL" or e["liar"] == "PASS"]
    assert (liars.RESULTS / "liars.md").read_text(encoding="utf-8") == liars.table(ENTRIES) + "\n"


@pytest.mark.parametrize("index", [3, 5, 8])
def test_a_method_is_judged_as_the_table_says(index: int) -> None:
    entry = ENTRIES[index]
    assert liars.verdicts(index, entry["seed"]) == entry
