"""`verify` must FAIL every wrong solver, and pass the right ones they were made from."""

from __future__ import annotations

import pytest

import diffode as de
from tests.mutants import mutants

MUTANTS = mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_killed(mutant, record_property) -> None:  # type: ignore[no-untyped-def]
    certificate = de.verify(mutant.solver, stop_at_failure=True)
    record_property("killed_by", certificate.checks[-1].name)
    assert certificate.verdict == "FAIL", str(certificate)


def test_there_are_enough_mutants() -> None:
    assert len(MUTANTS) >= 20
