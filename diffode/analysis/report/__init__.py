"""The report of a solver: one HTML file that needs nothing but itself.

Formula (MathML), verdicts with their evidence, convergence, regions of stability, error against evaluations beside
published methods, trajectories, digits, coefficients and the rule's own source. Figures are inline SVG in CSS colours,
so that one file is right on light and dark screens, on paper and on a phone.
"""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

import diffode
from diffode.analysis import figures
from diffode.analysis.certificate import Certificate, Check
from diffode.analysis.formula import Formula, aligned
from diffode.analysis.report import sections
from diffode.analysis.report.evidence import TITLES, draw_tree, facts, failing_tree, headline, line, raised
from diffode.analysis.report.mathml import LatexError, mathml
from diffode.analysis.style import look, require_matplotlib, svg
from diffode.errors import DiffodeError
from diffode.process import VP, Process
from diffode.solvers import Solver, get_solver

__all__ = ["write_report"]


def write_report(certificate: Certificate, path: Path) -> Path:
    """Write the report of a certificate; the file is there whole or not at all.

    Parameters
    ----------
    certificate : Certificate
    path : Path
        The file, or a folder, in which the file gets the solver's name. Missing folders are made.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingExtra
        If matplotlib is not installed; nothing is written then.
    """
    require_matplotlib()
    path = Path(path)
    if path.is_dir():
        path = path / f"{_file_name(certificate.solver)}.html"
    with look():
        page = _page(certificate)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, page)
    return path


def _file_name(solver: str) -> str:
    return re.sub(r"[^\w.\-]+", "_", solver).strip("_")


def _replace(path: Path, text: str) -> None:
    """Write a file beside the one that is wanted, and give it its name when it is whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _page(certificate: Certificate) -> str:
    solver: Solver = certificate.subject.solver if certificate.subject else get_solver(certificate.solver)
    process: Process = certificate.subject.process if certificate.subject else VP()
    stochastic = bool(certificate.facts.get("stochastic", False))
    formula = Formula.of(solver)
    tree = failing_tree(certificate)
    folder = files("diffode.analysis.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters.update(math=_math, raised=raised)
    template = environment.from_string((folder / "template.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        version=diffode.__version__,
        css=Markup((folder / "style.css").read_text(encoding="utf-8")),
        zoom=Markup((folder / "zoom.js").read_text(encoding="utf-8")),
        certificate=certificate,
        solver=solver,
        source=_linked(solver.source),
        options=", ".join(f"{name}={value!r}" for name, value in solver.options.items()),
        headline=headline(certificate),
        facts=facts(certificate),
        tree=tree and {"name": tree[0], "text": raised(tree[1]), "svg": Markup(draw_tree(tree[0]))},
        checks=[line(check) for check in certificate.checks],
        formula=formula,
        equations=_display(formula.lines),
        weights=_display(formula.weights),
        convergence=[_convergence(check) for check in certificate.checks if _plotted(check)],
        stochastic=stochastic,
        stability=_guarded(lambda: sections.stability(solver)),
        comparison=_guarded(lambda: sections.comparison(solver, stochastic)),
        trajectories=_guarded(lambda: sections.trajectories(solver, stochastic)),
        digits=_guarded(lambda: sections.digits(solver, stochastic)),
        coefficients=_guarded(lambda: sections.coefficients(solver, process)),
        docstring=inspect.getdoc(solver.rule) or "",
        code=_source(solver),
    )


def _guarded(make: Callable[[], Any]) -> Any:
    """What a section shows, or the sentence that says why it cannot."""
    try:
        return make()
    except (DiffodeError, ArithmeticError) as problem:
        return {"problem": str(problem)}


def _math(latex: str) -> Markup:
    """A formula as MathML, or as LaTeX where it is not known how."""
    try:
        return Markup(mathml(latex))
    except LatexError:
        return Markup("<code>{}</code>").format(latex)


def _display(lines: tuple[str, ...]) -> Markup:
    if not lines:
        return Markup("")
    try:
        return Markup(mathml(aligned(lines), display=True))
    except LatexError:
        return Markup("<pre>{}</pre>").format(aligned(lines))


def _linked(source: str) -> Markup:
    """The source with arXiv numbers as links to read on, nothing that the page loads."""
    link = r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>'
    return Markup(re.sub(r"arXiv:(\d{4}\.\d{4,5})", link, str(escape(source))))


def _plotted(check: Check) -> bool:
    return check.slope is not None and len(check.slope.steps) > 1


def _convergence(check: Check) -> dict[str, Any]:
    slope = check.slope
    title = TITLES.get(check.name, check.name)
    drawing = figures.convergence(slope, check.expected) if slope else None
    return {
        "title": title,
        "verdict": check.verdict,
        "figure": Markup(svg(drawing, check.name, f"Convergence: {title}", f"slope {slope}")),
    }


def _source(solver: Solver) -> str:
    try:
        return inspect.getsource(solver.rule)
    except (OSError, TypeError):
        return ""
