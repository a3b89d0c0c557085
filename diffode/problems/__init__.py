"""Problems: data, a process, a model and starting states under one name, to try solvers on."""

from diffode.problems.base import Problem
from diffode.problems.digits import digits
from diffode.problems.named import gaussian, gaussian_4d, get_problem, list_problems, mixture_1d, mixture_2d

__all__ = ["Problem", "digits", "gaussian", "gaussian_4d", "get_problem", "list_problems", "mixture_1d", "mixture_2d"]
