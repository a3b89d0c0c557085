"""Tables of orders in the docs that people wrote: what they state is what is proved or claimed and tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffode.analysis.order.proof import prove_order
from diffode.solvers import get_solver

DOCS = Path(__file__).parent.parent / "docs"


def rows(page: str, columns: int) -> list[tuple[list[str], list[str]]]:
    """The rows of a page's tables of so many columns that begin with names of solvers: the names, the other cells."""
    found: list[tuple[list[str], list[str]]] = []
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == columns:
            found.append((re.findall(r"`(\w+)`", cells[0]), cells[1:]))
    return found


PSEUDO = [
    (name.replace("_k", f"_{k}"), [k if cell == "k" else int(cell) for cell in cells[1:]])
    for names, cells in rows("momentum.md", 5)
    for name in names
    for k in ((3, 4) if "_k" in name else (0,))
]


@pytest.mark.parametrize(("name", "orders"), PSEUDO)
def test_orders_of_pseudo_numerical_methods(name: str, orders: list[int]) -> None:
    """On equal steps in ρ, in t, and on irregular ones."""
    grids = [("uniform", "rho"), ("uniform", "t"), ("rough", "lam")]
    assert [prove_order(get_solver(name), 5, *grid).order for grid in grids] == orders


NOISY = [(name, *cells[1:]) for names, cells in rows("stochastic.md", 4) for name in names]


@pytest.mark.parametrize(("name", "weak", "strong"), NOISY)
def test_orders_of_solvers_that_draw_noise(name: str, weak: str, strong: str) -> None:
    rule = get_solver(name)
    assert rule.order == (int(weak) if weak.isdigit() else get_solver(rule.options["base"]).order)
    assert (rule.strong_order or 0) == (int(strong) if strong.isdigit() else 0)


def test_there_are_tables() -> None:
    assert len(PSEUDO) >= 10
    assert len(NOISY) >= 20
