"""`fit`: one call for everything that can be fitted to a model; each kind of fit stands in a module of its own."""

from __future__ import annotations

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
    target : Model, Problem, GaussianMixture or spectrum
        What is to be sampled: a model (with `x_T=` to start from), a problem of `diffode.problems`, data whose denoiser
        is exact, or the covariance eigenvalues of Gaussian data.
    nfe : int
        Evaluations of the model for one sample.
    what : {"coefficients", "grid"}
    **options
        `method=`, `seed=` and all others of `diffode.fitting.coefficients.fit_coefficients` or of
        `diffode.fitting.grids.fit_grid`.

    Returns
    -------
    Fit
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
    if what not in WHAT:
        raise DiffodeError(f"fit: {unknown('kind of fit', what, WHAT)}")
    if isinstance(nfe, bool) or not isinstance(nfe, int) or nfe < 1:
        raise DiffodeError(f"fit: nfe must be a whole number of at least 1, not {nfe!r}")
    module, _, function = WHAT[what].partition(":")
    return getattr(import_module(module), function)(target, nfe, **options)
