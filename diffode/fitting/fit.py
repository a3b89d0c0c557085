"""`fit`: one call for everything that can be fitted to a model; each kind of fit stands in a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from diffode.errors import DiffodeError, unknown

WHAT: dict[str, str] = {
    "coefficients": "diffode.fitting.coefficients:fit_coefficients",
    "grid": "diffode.fitting.grids:fit_grid",
}
"""What can be fitted → module:function, called as function(target, nfe, **options)."""


def fit(target: Any, nfe: int, what: str = "coefficients", **options: Any) -> Any:
    """Coefficients or a grid fitted to a model: a solver of the registry's kind, with where it comes from.

    Parameters
    ----------
    target : Model, Problem, str, GaussianMixture or array_like
        What is to be sampled: a model (with `x_T=` to start from), a problem of `diffode.problems` or its name, data
        whose denoiser is exact, or the covariance eigenvalues of Gaussian data ("power:2", an array).
    nfe : int
        Evaluations of the model for one sample.
    what : {"coefficients", "grid"}
    **options
        `method=`, `seed=` and all others of `diffode.fitting.coefficients.fit_coefficients` or of
        `diffode.fitting.grids.fit_grid`.

    Returns
    -------
    Fit or SearchedGrid
        `.solver`, `.grid`, `.provenance`, `.save(path)`.

    Raises
    ------
    DiffodeError
        If there is no such kind of fit, or the target cannot be sampled.

    Examples
    --------
    >>> fit("power:2", nfe=8, what="coefficient")
    Traceback (most recent call last):
    diffode.errors.DiffodeError: fit: no kind of fit named 'coefficient'; did you mean 'coefficients'?
    """
    function = function_of(what, WHAT, "kind of fit")
    if isinstance(nfe, bool) or not isinstance(nfe, int) or nfe < 1:
        raise DiffodeError(f"fit: nfe must be a whole number of at least 1, not {nfe!r}")
    return function(target, nfe, **options)


def function_of(name: str, table: Mapping[str, str], kind: str) -> Callable[..., Any]:
    """The function of a name in a table of module:function.

    Raises
    ------
    DiffodeError
        If the table has no such name, with the nearest.
    """
    if name not in table:
        raise DiffodeError(f"fit: {unknown(kind, name, table)}")
    module, _, function = table[name].partition(":")
    return getattr(import_module(module), function)
