"""The structures that `derive` knows."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.memory import momentum, reversible
from diffode.analysis.derivation.multistep import adams, exp_multistep, predictor_corrector
from diffode.analysis.derivation.stages import exp_rk, hybrid
from diffode.errors import SolverError, unknown


def derive(family: str, **options: Any) -> Derivation:
    """The formula of a structure: its order conditions, solved in symbols.

    Parameters
    ----------
    family : str
        "exp-multistep", "adams", "exp-rk", "hybrid", "predictor-corrector", "momentum" or "reversible".
    **options
        The family's own; see its function in this module.

    Returns
    -------
    Derivation
        `.coefficients` (SymPy), `.free`, `.latex()`, `.source()` (a solver file), `.solver`.

    Raises
    ------
    SolverError
        If the structure cannot have that order (the message says the bound), or its conditions have no solution (it
        says which).

    Examples
    --------
    >>> found = derive("exp-multistep", order=2, prediction="x0")
    >>> found.coefficients
    {'b_0': Phi(1, -h) + Phi(2, -h)/r_1, 'b_1': -Phi(2, -h)/r_1}
    >>> found.solver
    <solver exp_multistep_2: order 2, prediction 'x0'>
    """
    name = str(family).replace("_", "-")
    if name not in FAMILIES:
        raise SolverError(unknown("family", family, FAMILIES))
    known = [key for key in signature(FAMILIES[name]).parameters if key != "command"]
    for key in options:
        if key not in known:
            raise SolverError(f"{name}: {unknown('option', key, known)}")
    command = " ".join(["diffode derive", name, *(_spelt(key, value) for key, value in options.items())])
    return FAMILIES[name](command=command, **options)


def _spelt(key: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        value = ",".join(str(item) for item in value)
    return f"--{key} {value}"


FAMILIES: dict[str, Callable[..., Derivation]] = {
    "exp-multistep": exp_multistep,
    "adams": adams,
    "exp-rk": exp_rk,
    "hybrid": hybrid,
    "predictor-corrector": predictor_corrector,
    "momentum": momentum,
    "reversible": reversible,
}
