"""Solvers: step rules by family, what they claim, and how they are found."""

from diffode.solvers.base import Limit, Solver, limit, solver
from diffode.solvers.registry import get_solver, list_solvers, load_file, register, registry

__all__ = ["Limit", "Solver", "get_solver", "limit", "list_solvers", "load_file", "register", "registry", "solver"]
