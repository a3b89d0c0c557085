"""The gallery and the errata are what the registry, the study of orders and the catalogue say now."""

from __future__ import annotations

import json

import pytest

from analysis import errata, gallery, orders
from diffode.catalogue import catalogue
from diffode.solvers import verified

CERTIFICATES = errata.certificates()
STABILITY = json.loads(gallery.STABILITY.read_text(encoding="utf-8"))
FAMILIES = gallery.families()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_its_page(family: str) -> None:
    """Fails where a formula or a claim changed after `python -m analysis.orders` and `python -m analysis.gallery`."""
    made = gallery.family_page(family, FAMILIES[family], CERTIFICATES, STABILITY)
    assert (gallery.FOLDER / f"{family}.md").read_text(encoding="utf-8") == made


def test_stability_is_that_of_the_formulas() -> None:
    now = {name: verified.fingerprint(solver) for name, solver in orders.solvers().items()}
    assert {name: known["fingerprint"] for name, known in STABILITY.items()} == now


def test_no_page_is_left_over_or_missing() -> None:
    pages = {path.name for path in gallery.FOLDER.glob("*.md")}
    assert pages == {"README.md", "beside.md", *(f"{family}.md" for family in FAMILIES)}


def test_front_pages_and_errata() -> None:
    def written(name: str) -> str:
        return (gallery.FOLDER / name).read_text(encoding="utf-8")

    assert written("README.md") == gallery.index()
    assert written("beside.md") == gallery.beside(catalogue())
    assert errata.PAGE.read_text(encoding="utf-8") == errata.page(CERTIFICATES)


def test_every_solver_short_of_its_claim_is_an_erratum() -> None:
    rows = errata.page(CERTIFICATES).splitlines()
    listed = {row.split("`")[1] for row in rows if row.startswith("| `")}
    assert listed == {name for name, entry in CERTIFICATES.items() if entry["verdict"] == "FAIL"}
