"""Reports: one file that needs nothing else, with everything the certificate says, written whole or not at all."""

from __future__ import annotations

import os
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffode.analysis import style
from diffode.analysis.certificate import Certificate, Check
from diffode.analysis.report import sections, write_report
from diffode.analysis.report.evidence import TITLES, draw_tree, failing_tree, headline
from diffode.analysis.slopes import fit
from diffode.errors import GridError, MissingExtra
from diffode.process import VP
from diffode.solvers import get_solver

VOID = {"meta", "br", "img", "link", "hr", "input"}
STEPS = (0.4, 0.2, 0.1, 0.05, 0.025)


def certificate(name: str, verdict: str = "PASS", detail: str = "order 2") -> Certificate:
    """A certificate of a few checks that were made elsewhere."""
    solver = get_solver(name)
    stochastic = "sde" in name
    slope = fit(STEPS, [h**2 * (1 + h) for h in STEPS], 1e-15)
    checks = [
        Check("consistency", "PASS", detail="one step integrates a constant data prediction exactly"),
        Check("order_mixture", verdict, slope.value, solver.order, slope.window, f"slope {slope} <&>", slope),
        Check("strong_order", "INCONCLUSIVE", None, 1.0, None, "no slope", fit(STEPS, [1e-20] * 5, 1e-15)),
    ]
    if not stochastic:
        checks.insert(1, Check("order_proof", verdict, 2, solver.order, detail=detail))
    facts = {
        "prediction": solver.prediction, "history": solver.history, "stochastic": stochastic,
        "coefficients": "17 coefficients enclosed by intervals",
    }  # fmt: skip
    subject = SimpleNamespace(solver=solver, process=VP())
    return Certificate(solver.name, solver.order, tuple(checks), repr(VP()), facts, subject)


FAILS = "order 2, not 3: fails the tree [λλ] at h^3: the quadrature Σ b c^2 is 1/6, should be 1/3; and more"
CERTIFICATES = {
    "dpmpp_3m": certificate("dpmpp_3m", "FAIL", FAILS),
    "dpmpp_2m_sde": certificate("dpmpp_2m_sde"),
}

each_report = pytest.mark.parametrize("name", CERTIFICATES)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reports")
    return {name: write_report(c, folder / f"{name}.html").read_text("utf-8") for name, c in CERTIFICATES.items()}


class Page(HTMLParser):
    """The elements of a page, and whether each one that opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "script" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.elements if found == tag]


@each_report
def test_every_element_closes_and_every_identifier_is_one_of_a_kind(pages: dict[str, str], name: str):
    page = Page(pages[name])
    assert not page.open
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.elements:
        for target in attributes.get("aria-labelledby", "").split():
            assert target in identifiers
        if attributes.get("href", attributes.get("xlink:href", "")).startswith("#"):
            assert attributes.get("href", attributes.get("xlink:href", ""))[1:] in identifiers


@each_report
def test_it_needs_nothing_but_itself(pages: dict[str, str], name: str):
    page = Page(pages[name])
    assert not page.all("link")
    assert not page.all("iframe")
    assert not [script for script in page.all("script") if "src" in script]
    for tag, attributes in page.elements:
        assert attributes.get("src", "data:").startswith("data:")
        for link in (attributes.get("href", ""), attributes.get("xlink:href", "")):
            assert not link or link[0] == "#" or tag == "a" or link.startswith("data:")
    assert not re.search(r"@import|url\((?!#)", pages[name])


@each_report
def test_it_says_everything_that_the_certificate_says(pages: dict[str, str], name: str):
    page, known = Page(pages[name]), CERTIFICATES[name]
    text = " ".join(page.text.split())
    assert headline(known) in text
    for check in known.checks:
        assert TITLES[check.name] in text
        assert re.sub(r"\^(\d)", r"\1", check.detail) in text
    for verdict in ("PASS", "FAIL", "INCONCLUSIVE"):
        count = sum(check.verdict == verdict for check in known.checks)
        assert pages[name].count(f'class="badge {verdict.lower()}"') >= count
    assert known.solver in text
    assert known.facts["coefficients"] in text
    assert "95 % interval" in text


@each_report
def test_formula_figures_images_and_source_are_there(pages: dict[str, str], name: str):
    page = Page(pages[name])
    formulas = [attributes["alttext"] for attributes in page.all("math")]
    assert any(r"x_{t} &=" in formula for formula in formulas)
    drawings = [attributes for attributes in page.all("svg") if "aria-labelledby" in attributes]
    assert len(drawings) == 4 + sum(check.slope is not None for check in CERTIFICATES[name].checks)
    assert len(page.all("title")) == 1 + len(drawings)
    assert [image["alt"] for image in page.all("img") if "24 handwritten digits" in image["alt"]]
    assert len(page.all("img")) == 2
    assert "def dpm_multistep(" in unescape(pages[name])
    assert "\\begin{aligned}" in pages[name]
    peers = sections.NOISY_PEERS if "sde" in name else sections.PEERS
    assert sum(peer in page.text for peer in peers if peer != name) >= 5


@pytest.mark.parametrize(
    ("proof", "mixture", "agreement", "words"),
    [
        ("PASS", "PASS", "PASS", "Proved to have order 2, as claimed; every measurement agrees."),
        ("PASS", "PASS", "FAIL", "Proof and measurement disagree: proved 2, measured 3."),
        ("INCONCLUSIVE", "PASS", "INCONCLUSIVE", "Measured only: order 2."),
    ],
)
def test_the_headline_says_what_the_order_rests_on(proof: str, mixture: str, agreement: str, words: str):
    checks = (
        Check("order_proof", proof, 2 if proof == "PASS" else None, 2),
        Check("order_mixture", mixture, 2.0, 2),
        Check("agreement", agreement, detail="proved 2, measured 3: they disagree, so one of them is wrong"),
    )
    known = Certificate("mine", 2, checks)
    assert words in headline(known)
    assert known.proved == (proof == "PASS")
    assert known.finding == ("verified 2" if proof == "PASS" else "measured only: 2")
    assert len(repr(known)) < 100


def test_the_tree_that_fails_is_drawn(pages: dict[str, str]):
    assert failing_tree(CERTIFICATES["dpmpp_3m"]) == (
        "[λλ]",
        "fails the tree [λλ] at h^3: the quadrature Σ b c^2 is 1/6, should be 1/3",
    )
    assert 'aria-label="rooted tree [λλ]"' in pages["dpmpp_3m"]
    assert "rooted tree" not in pages["dpmpp_2m_sde"].replace("all rooted trees", "")


@pytest.mark.parametrize(
    ("name", "full", "hollow", "edges"),
    [("τ", 1, 0, 0), ("[τ]", 2, 0, 1), ("[λλ]", 1, 2, 2), ("[λ[τ]τ]", 4, 1, 4), ("[δ[[λ]]]", 3, 2, 4)],
)
def test_trees_have_their_nodes_and_edges(name: str, full: int, hollow: int, edges: int):
    drawing = draw_tree(name)
    assert [drawing.count(mark) for mark in ('class="full"', 'class="open"', "<line")] == [full, hollow, edges]


@pytest.mark.parametrize("name", ["", "[", "[τ", "x", "ττ"])
def test_what_is_no_tree_is_refused(name: str):
    with pytest.raises(ValueError, match="tree"):
        draw_tree(name)


@each_report
def test_it_is_small_and_always_the_same(pages: dict[str, str], name: str, tmp_path: Path):
    again = write_report(CERTIFICATES[name], tmp_path)
    assert again == tmp_path / f"{name}.html"
    assert again.read_text("utf-8") == pages[name]
    assert again.stat().st_size < 2_000_000


def test_without_matplotlib_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"matplotlib is not installed.*diffode\[plot\]"):
        CERTIFICATES["dpmpp_3m"].to_html(tmp_path / "new" / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "report.html"
    file.write_text("the old one")

    def full(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_report(CERTIFICATES["dpmpp_3m"], file)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert file.read_text() == "the old one"


def test_a_section_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise GridError("the grid has <no> levels")

    for section in ("stability", "comparison", "trajectories", "digits", "coefficients"):
        monkeypatch.setattr(sections, section, refuse)
    page = write_report(CERTIFICATES["dpmpp_3m"], tmp_path / "report.html").read_text("utf-8")
    assert page.count("Not shown: the grid has &lt;no&gt; levels") == 5


def test_a_bare_certificate_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for section in ("comparison", "trajectories", "digits"):
        monkeypatch.setattr(sections, section, lambda *_: {"problem": "left out"})
    bare = Certificate("ddim", 1, ())
    assert "Claims order 1." in write_report(bare, tmp_path / "report.html").read_text("utf-8")
