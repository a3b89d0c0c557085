"""Plans as JSON and back, exactly; and equality, entry by entry.

Floats are written with the digits that bring them back; everything that JSON has no word for is an object with one
key: {"float": "inf"}, {"array": …}, {"fraction": "1/3"}, {"mpf": […]}, {"sympy": …}, {"row": …}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from math import isfinite
from typing import Any

import numpy as np

from diffode.errors import PlanError
from diffode.kinds import package_of
from diffode.plan import BrownianIncrement, Combine, Dynamic, Evaluate, Level, Normal, Plan, Scaled
from diffode.trace import Memory

FORMAT = "diffode-plan/1"

_CLASSES: dict[str, type] = {
    kind.__name__: kind for kind in (Evaluate, Combine, BrownianIncrement, Normal, Dynamic, Level, Scaled, Memory, Plan)
}


def dumps(plan: Plan) -> str:
    """The JSON text of a plan.

    Raises
    ------
    PlanError
        If a `Dynamic` row's function cannot be found again by its module and name.
    """
    return json.dumps({"format": FORMAT, "plan": _pack(plan)})


def loads(text: str) -> Plan:
    """The plan of a JSON text.

    Raises
    ------
    PlanError
        If the text is not a plan.
    """
    try:
        document = json.loads(text)
        if document.get("format") != FORMAT:
            raise PlanError(f"not a plan: the format is {document.get('format')!r}, not {FORMAT!r}")
        return _unpack(document["plan"])
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as problem:
        raise PlanError(f"not a plan: {problem}") from problem


def same(a: Any, b: Any) -> bool:
    """Equality of plans and of everything in them: types, numbers (arrays entry by entry), names."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.compare)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    return bool(a == b)


def _pack(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else {"float": repr(value)}
    if isinstance(value, (tuple, list)):
        return [_pack(item) for item in value]
    if is_dataclass(value):
        content = {f.name: _pack(getattr(value, f.name)) for f in fields(value) if f.compare}
        return {"row": type(value).__name__, **content}
    if isinstance(value, np.ndarray):
        return {"array": [_pack(item) for item in value.ravel().tolist()], "shape": list(value.shape)}
    if isinstance(value, np.floating):
        return _pack(float(value))
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    if package_of(value) == "mpmath":
        return {"mpf": [str(part) for part in value._mpf_]}
    if package_of(value) == "sympy":
        return {"sympy": import_module("sympy").srepr(value)}
    if callable(value):
        return {"function": _name_of(value)}
    raise PlanError(f"a {type(value).__name__} in the plan cannot be written as JSON")


def _name_of(function: Callable[..., Any]) -> str:
    name = f"{function.__module__}:{function.__qualname__}"
    if "<" in name:
        raise PlanError(
            f"the function of a Dynamic row, {name}, cannot be found again by name; define it at the top of a module"
        )
    return name


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item) for item in value)
    if not isinstance(value, dict):
        return value
    content: dict[str, Any] = dict(value)
    if "row" in content:
        kind = _CLASSES[content.pop("row")]
        return kind(**{name: _unpack(item) for name, item in content.items()})
    if "float" in content:
        return float(content["float"])
    if "array" in content:
        return np.array(_unpack(content["array"]), dtype=float).reshape(content["shape"])
    if "fraction" in content:
        return Fraction(content["fraction"])
    if "mpf" in content:
        sign, mantissa, exponent, bits = (int(part) for part in content["mpf"])
        return import_module("mpmath").make_mpf((sign, mantissa, exponent, bits))
    if "sympy" in content:
        return import_module("sympy").sympify(content["sympy"])
    module, _, name = content["function"].partition(":")
    return getattr(import_module(module), name)
