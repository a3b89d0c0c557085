"""Deriving solvers: order conditions solved in symbols, and the solver files that come of it."""

from diffode.analysis.derivation.derived import Derivation
from diffode.analysis.derivation.families import FAMILIES, derive

__all__ = ["FAMILIES", "Derivation", "derive"]
