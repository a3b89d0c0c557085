"""Analysis: what can be known of a solver from its plan.

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "certificate": ("Certificate", "Check"),
    "comparison": ("compare",),
    "convergence": ("order_gaussian", "order_mixture", "order_started"),
    "derivation": ("Derivation", "derive"),
    "derivation.gridding": ("GridOptimum", "optimize_grid"),
    "derivation.optimizing": ("Optimum", "optimize"),
    "endpoint": ("Reference", "reference"),
    "explanation": ("Explanation", "explain"),
    "inversion": ("condition", "invert", "undo"),
    "moments": ("Law", "amplification", "law"),
    "order.stiff": ("StiffOrder", "stiff_order"),
    "order.strong": ("StrongOrder", "strong_conditions"),
    "order.weak": ("WeakOrder", "weak_conditions"),
    "order.proof": ("OrderProof", "prove_order"),
    "recovery": ("Recovered", "recover"),
    "slopes": ("Slope",),
    "soundness": ("consistency", "zero_stability"),
    "stability": ("Recursion", "Region"),
    "stochastic": ("noise_level", "strong_order", "weak_order", "weak_order_mixture"),
    "stability.barrier": ("Barrier", "guidance_barrier"),
    "stability.mean_square": ("MeanSquare", "mean_square", "second_moments"),
    "stability.schedule": ("AmplificationMap", "GuidanceLimit", "amplification_map", "guidance_limit"),
    "verification": ("evaluations_per_step", "verify"),
}
_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'diffode.analysis' has no attribute {name!r}")
    value = getattr(import_module(f"diffode.analysis.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
