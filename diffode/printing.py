"""Plans and formulas for reading: an aligned table for the terminal, LaTeX for a paper."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from rich.cells import cell_len

from diffode.kinds import Number, package_of, shown
from diffode.plan import (
    BrownianIncrement,
    Combine,
    Constant,
    Dynamic,
    Evaluate,
    Level,
    Normal,
    Plan,
    Row,
    Scaled,
    defines,
    reads,
)

_TITLE = "{solver}{of} {steps} steps, {nfe} evaluations, {kind}, {live} arrays at once"

_FAR = 60
"""Columns; where a sum of registers is longer, what is said of evaluations stands near them, not beyond the sum."""


def table(plan: Plan) -> str:
    """The rows as aligned lines: register, what it is, and for an evaluation where.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    str
    """
    noise = "deterministic" if plan.is_deterministic else "stochastic"
    title = _TITLE.format(
        solver=plan.solver, of=":" if plan.solver else "", steps=len(plan.states) - 1, nfe=plan.nfe,
        kind=noise if plan.is_linear else f"{noise}, with dynamic rows", live=plan.peak_live,
    )  # fmt: skip
    lines = [(name, "input", "") for name in plan.inputs] + [_line(row) for row in plan.rows]
    name_width = max(cell_len(name) for name, _, _ in lines)
    text_width = max(cell_len(text) for _, text, _ in lines)
    if text_width > _FAR:
        text_width = max((cell_len(text) for _, text, where in lines if where), default=0)
    body = [
        f"  {' ' * (name_width - cell_len(name))}{name}  {text}{' ' * (text_width - cell_len(text))}  {where}".rstrip()
        for name, text, where in lines
    ]
    return "\n".join([title, *body])


def _line(row: Row) -> tuple[str, str, str]:
    if isinstance(row, Evaluate):
        extra = f" to {place(row.to)}" if row.to else ""
        extra += f" told {place(row.at)}" if row.at else ""
        branch = f"[{row.output}]" if row.output else ""
        extra += ", rejected" if row.rejected else ""
        asked = f"{row.prediction}{branch}({', '.join(reads(row))})"
        return ", ".join(defines(row)), asked, f"at {place(row.level)}{extra}"
    if isinstance(row, Constant):
        return row.out, "1 in every entry", ""
    if isinstance(row, Combine):
        return row.out, _sum(row), ""
    if isinstance(row, BrownianIncrement):
        moment = f", moment {row.moment}" if row.moment else ""
        return row.out, f"Brownian increment ({row.clock}{moment})", f"{place(row.a)} → {place(row.b)}"
    if isinstance(row, Normal):
        return row.out, f"normal {row.key}", ""
    return row.out, f"{row.name}({', '.join(row.inputs)})", "dynamic"


def place(level: Level) -> str:
    """A level in a few characters."""
    return f"t={number(level.t)} (λ={number(level.lam)})"


def number(c: Number) -> str:
    """A number in a few characters; an array by its extremes."""
    if isinstance(c, np.ndarray):
        return shown(c)
    if package_of(c) == "float":
        return f"{float(c):.6g}"
    if package_of(c) == "mpmath":
        return str(c.context.nstr(c, 12))
    return f"({c})" if package_of(c) == "sympy" and c.is_Add else str(c)


def _coefficient(c: Number | Scaled) -> str:
    return f"{number(c.factor)}·{c.dynamic}" if isinstance(c, Scaled) else number(c)


def _sum(row: Combine) -> str:
    text = ""
    for c, name in row.terms:
        factor = _coefficient(c)
        if factor.startswith("-"):
            text += f" − {factor[1:]} {name}" if text else f"−{factor[1:]} {name}"
        else:
            text += f" + {factor} {name}" if text else f"{factor} {name}"
    return text or "0"


def latex(plan: Plan) -> str:
    r"""The rows as an `aligned` environment, one line each.

    Parameters
    ----------
    plan : Plan
        With SymPy coefficients the lines are the formula of the paper; with floats, its values.

    Returns
    -------
    str
    """
    lines = [_latex_line(row) for row in plan.rows]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _latex_line(row: Row) -> str:
    out = ",\\, ".join(map(_latex_register, defines(row)))
    if isinstance(row, Evaluate):
        symbol = {"x0": r"\hat x_0", "eps": r"\hat\varepsilon", "score": "s", "velocity": "u", "v": r"\hat v"}
        name = f"{{{symbol[row.prediction]}}}^{{{_latex_word(row.output)}}}" if row.output else symbol[row.prediction]
        places = {"t": row.level, r"t_{\mathrm{to}}": row.to, r"t_{\mathrm{told}}": row.at}
        where = ",\\, ".join(f"{t}={_latex_number(level.t)}" for t, level in places.items() if level)
        state = ",\\, ".join(map(_latex_register, reads(row)))
        return f"{out} &= {name}({state};\\, {where})"
    if isinstance(row, BrownianIncrement):
        return (
            f"{out} &\\sim \\mathcal{{N}}(0, I) \\text{{ over }} [{_latex_number(row.a.t)}, {_latex_number(row.b.t)}]"
        )
    if isinstance(row, Normal):
        return f"{out} &\\sim \\mathcal{{N}}(0, I)"
    if isinstance(row, Constant):
        return rf"{out} &= \mathbf{{1}}"
    if isinstance(row, Dynamic):
        inputs = ", ".join(_latex_register(name) for name in row.inputs)
        return f"{out} &= {_latex_word(row.name)}({inputs})"
    return f"{out} &= {_latex_sum(row)}"


def _latex_sum(row: Combine) -> str:
    text = ""
    for c, name in row.terms:
        factor = (
            f"{_latex_number(c.factor)}\\,{_latex_register(c.dynamic)}" if isinstance(c, Scaled) else _latex_number(c)
        )
        sign = " - " if factor.startswith("-") else " + "
        text += f"{sign}{factor.removeprefix('-')}" if text else factor
        text += f"\\,{_latex_register(name)}"
    return text or "0"


def _latex_number(c: Any) -> str:
    if package_of(c) == "sympy":
        from sympy import latex as sympy_latex

        text = str(sympy_latex(c))
        return rf"\left({text}\right)" if c.is_Add else text
    text = re.sub(r"e([+-]\d+)", lambda power: rf"\cdot 10^{{{int(power[1])}}}", number(c))
    return text.replace("inf", r"\infty").replace("…", r"\ldots")


def _latex_register(name: str) -> str:
    """d0 as d_{0}; what a rule named itself, as in q_velocity, upright below its letter."""
    letter, own, word = name.partition("_")
    if own:
        return rf"{letter}_{{{_latex_word(word)}}}"
    letters = name.rstrip("0123456789")
    return f"{letters}_{{{name[len(letters) :]}}}" if letters != name else name


def _latex_word(word: str) -> str:
    special = {"\\": r"\backslash ", "~": r"\sim ", "^": r"\hat{}", **{c: f"\\{c}" for c in "_#$%&{}"}}
    return rf"\mathrm{{{''.join(special.get(c, c) for c in word)}}}"
