"""diffode: derive and verify solvers for diffusion models.

A solver is a formula that is written once and read many ways: run on arrays, proved in series, drawn as a stability
region, pushed through a Gaussian exactly. Start with `diffode.sample`, `diffode.verify`, or `diffode new my_solver.py`.

Everything is imported when it is first used, so that `import diffode` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "diffode.errors": (
        "BranchError", "DiffodeError", "GridError", "MissingExtra", "ModelError", "PlanError", "ProcessError",
        "SolverError",
    ),
    "diffode.process": (
        "CLD", "EDM", "VE", "VP", "Affine", "CosineVP", "DiscreteVP", "Flow", "MeanReverting", "Process", "SubVP",
    ),
    "diffode.grids": ("TimeGrid",),
    "diffode.models": (
        "AdaptiveGuidance", "AnalyticalFirstStep", "Anchored", "ConsistencyMap", "Denoiser", "DynamicThreshold",
        "FlowMap", "Gaussian", "GaussianMap", "GaussianMixture", "Guided", "LinearGuidance", "Model", "PointCloud",
        "ProjectedGuidance", "ReusedOutputs", "TimeShifted", "integer_time", "scaled_time",
    ),
    "diffode.plan": ("Level", "Plan"),
    "diffode.statistics": ("ConstantStatistics", "GaussianStatistics", "ModelStatistics"),
    "diffode.solvers": ("Solver", "get_solver", "list_solvers", "solver"),
    "diffode.sampling": ("Sample", "compile", "sample"),
    "diffode.adaptive.sampling": ("sample_adaptive",),
    "diffode.adaptive.skipping": ("sada",),
    "diffode.adaptive.time_shift": ("time_shift",),
    "diffode.analysis.census": ("certify",),
    "diffode.analysis.comparison": ("compare",),
    "diffode.analysis.derivation": ("derive",),
    "diffode.analysis.derivation.gridding": ("optimize_grid",),
    "diffode.analysis.derivation.optimizing": ("optimize",),
    "diffode.analysis.inversion": ("invert", "undo"),
    "diffode.analysis.moments": ("law",),
    "diffode.analysis.order.proof": ("prove",),
    "diffode.analysis.explanation": ("explain",),
    "diffode.analysis.endpoint": ("reference",),
    "diffode.analysis.recovery": ("recover",),
    "diffode.analysis.stability": ("stability",),
    "diffode.analysis.stability.schedule": ("guidance_limit",),
    "diffode.analysis.verification": ("verify",),
    "diffode.fitting.fit": ("fit",),
    "diffode.fitting.guidance": ("fit_linear_guidance",),
    "diffode.fitting.statistics": ("fit_statistics",),
    "diffode.runners.denoising_mcmc": ("denoising_mcmc",),
    "diffode.runners.picard": ("sample_picard",),
}  # fmt: skip
_HOME = {name: module for module, names in _WHERE.items() for name in names}
_MODULES = (
    "adaptive",
    "analysis",
    "backends",
    "grids",
    "models",
    "phi",
    "prediction",
    "problems",
    "process",
    "solvers",
)

# computed, so that no name is written a second time; pyright asks for a literal list
__all__ = [*sorted(_HOME), *_MODULES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(f"diffode.{name}")
    else:
        raise AttributeError(f"module 'diffode' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


if TYPE_CHECKING:
    from diffode import adaptive as adaptive
    from diffode import analysis as analysis
    from diffode import backends as backends
    from diffode import grids as grids
    from diffode import models as models
    from diffode import phi as phi
    from diffode import prediction as prediction
    from diffode import process as process
    from diffode import solvers as solvers
