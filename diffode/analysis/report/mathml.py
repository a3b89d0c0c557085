r"""LaTeX to MathML, for the part of LaTeX in which `diffode.analysis.formula` writes.

Browsers draw MathML themselves, so that a formula needs no network, no font of its own and no script. What is not known
raises `LatexError`, and the page shows the LaTeX instead.
"""

from __future__ import annotations

import re
from html import escape

_LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ", "varepsilon": "ε", "epsilon": "ϵ", "eta": "η",
    "theta": "θ", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "varphi": "φ",
    "phi": "ϕ", "chi": "χ", "psi": "ψ", "omega": "ω", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "infty": "∞",
}  # fmt: skip
_OPERATORS = {
    "cdot": "·", "times": "×", "sim": "∼", "to": "→", "approx": "≈", "le": "≤", "ge": "≥", "ne": "≠", "in": "∈",
    "sum": "∑", "prod": "∏", "int": "∫", "ldots": "…", "pm": "±", "colon": ":",
}  # fmt: skip
_FUNCTIONS = ("log", "exp", "sin", "cos", "tan", "max", "min")
_ACCENTS = {"tilde": "~", "bar": "¯", "hat": "^", "dot": "˙"}
_SPACES = {",": "0.17em", ";": "0.28em", "!": "-0.17em", "quad": "1em", "qquad": "2em", " ": "0.25em"}
_BIG = {"Bigl": 1.8, "Bigr": 1.8, "bigl": 1.2, "bigr": 1.2}
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)


class LatexError(ValueError):
    """LaTeX that this renderer does not know."""


def mathml(latex: str, display: bool = False) -> str:
    r"""A `<math>` element for a formula, its LaTeX as the alternative text.

    Parameters
    ----------
    latex : str
        A formula, or several lines with "&" and "\\" as in `aligned`.
    display : bool
        Set apart, with large fractions.

    Raises
    ------
    LatexError
        If there is a command that is not known, or a bracket is not closed.

    Examples
    --------
    >>> mathml(r"x_{t}")
    '<math alttext="x_{t}"><msub><mi>x</mi><mi>t</mi></msub></math>'
    """
    body = latex.replace("\\begin{aligned}", "").replace("\\end{aligned}", "").strip()
    lines = [[_row(cell) for cell in line.split("&")] for line in re.split(r"\\\\\s*", body)]
    content = lines[0][0] if lines == [[lines[0][0]]] else _table(lines)
    mode = ' display="block"' if display else ""
    return f'<math{mode} alttext="{escape(latex)}">{content}</math>'


def _table(lines: list[list[str]]) -> str:
    rows = ("<mtr>" + "".join(f"<mtd>{cell}</mtd>" for cell in line) + "</mtr>" for line in lines)
    return f'<mtable displaystyle="true">{"".join(rows)}</mtable>'


def _row(latex: str) -> str:
    reader = _Reader(latex)
    content = reader.row()
    if reader.tokens:
        raise LatexError(f"a bracket too many in {latex!r}")
    return content


class _Reader:
    """A recursive descent through the tokens; every method gives MathML."""

    def __init__(self, latex: str) -> None:
        self.tokens = [token for token in _TOKEN.findall(latex)[::-1] if not token.isspace()]

    def row(self, end: str | None = None) -> str:
        """Everything up to a closing token, which is taken."""
        parts: list[str] = []
        while self.tokens:
            if self.tokens[-1] == end:
                self.tokens.pop()
                return _group(parts)
            if self.tokens[-1] in ("}", "\\right"):
                break
            parts.append(self.scripted(not parts))
        if end is not None:
            raise LatexError(f"{end} is missing")
        return _group(parts)

    def scripted(self, first: bool) -> str:
        """An atom with what stands below and above it."""
        base = self.atom(first)
        below = above = ""
        while self.tokens and self.tokens[-1] in ("_", "^"):
            if self.tokens.pop() == "_":
                below = self.atom(True)
            else:
                above = self.atom(True)
        if below and above:
            return f"<msubsup>{base}{below}{above}</msubsup>"
        if below or above:
            kind = "msub" if below else "msup"
            return f"<{kind}>{base}{below or above}</{kind}>"
        return base

    def atom(self, first: bool) -> str:
        if not self.tokens:
            raise LatexError("something is missing at the end")
        token = self.tokens.pop()
        if token == "{":
            return self.row("}")
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.startswith("\\"):
            return self.command(token[1:])
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token in "+-":
            form = ' form="prefix"' if first else ""
            return f"<mo{form}>{'−' if token == '-' else '+'}</mo>"
        fence = ' stretchy="false"' if token in "()[]/|" else ""
        return f"<mo{fence}>{escape(token)}</mo>"

    def command(self, name: str) -> str:
        if name in _LETTERS:
            return f"<mi>{_LETTERS[name]}</mi>"
        if name in _OPERATORS:
            return f"<mo>{_OPERATORS[name]}</mo>"
        if name in _FUNCTIONS:
            return f"<mi>{name}</mi>"
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"></mspace>'
        if name in _ACCENTS:
            return f'<mover accent="true">{self.atom(True)}<mo stretchy="false">{_ACCENTS[name]}</mo></mover>'
        if name in _BIG:
            return f'<mo minsize="{_BIG[name]}em" maxsize="{_BIG[name]}em">{self.tokens.pop()}</mo>'
        if name == "frac":
            return f"<mfrac>{self.atom(True)}{self.atom(True)}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.atom(True)}</msqrt>"
        if name == "left":
            return self.fenced()
        if name in ("text", "operatorname", "mathrm", "mathcal", "mathbf"):
            return self.words(name)
        raise LatexError(f"the command \\{name} is not known")

    def fenced(self) -> str:
        opening = self.tokens.pop()
        inside = self.row("\\right")
        closing = self.tokens.pop()
        return f"<mrow><mo>{opening}</mo>{inside}<mo>{closing}</mo></mrow>"

    def words(self, name: str) -> str:
        text = ""
        if self.tokens.pop() != "{":
            raise LatexError(f"\\{name} needs a group")
        while self.tokens and self.tokens[-1] != "}":
            text += self.tokens.pop()
        if not self.tokens:
            raise LatexError("} is missing")
        self.tokens.pop()
        if name == "text":
            return f"<mtext>{escape(text)}</mtext>"
        return f'<mi mathvariant="normal">{_STYLED.get((name, text)) or escape(text)}</mi>'


_STYLED = {("mathcal", "N"): "𝒩", ("mathbf", "1"): "𝟏"}


def _group(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"
