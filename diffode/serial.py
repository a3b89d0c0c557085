"""Plans as JSON and back, exactly; and equality, entry by entry.

Floats are written with the digits that bring them back; everything that JSON has no word for is an object with one
key: {"float": "inf"}, {"array": …}, {"scalar": …}, {"fraction": "1/3"}, {"mpf": […]}, {"sympy": …}, {"function": …},
{"row": …}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from math import isfinite
from operator import attrgetter
from typing import Any

import numpy as np

from diffode.errors import PlanError
from diffode.kinds import package_of
from diffode.plan import BrownianIncrement, Combine, Constant, Dynamic, Evaluate, Level, Normal, Plan, Scaled
from diffode.trace import Memory

FORMAT = "diffode-plan/1"

_CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (Evaluate, Combine, Constant, BrownianIncrement, Normal, Dynamic, Level, Scaled, Memory, Plan)
}


def dumps(plan: Plan) -> str:
    """The JSON text of a plan.

    Raises
    ------
    PlanError
        If something in the plan would not come back as it is: a `Dynamic` row's function that cannot be found again by
        its module and name, a number of a kind that has no words here.
    """
    return json.dumps({"format": FORMAT, "plan": _pack(plan)})


def loads(text: str) -> Plan:
    """The plan of a JSON text, which may name any function of an installed module: read only texts that you trust.

    Raises
    ------
    PlanError
        If the text is not a plan.
    """
    try:
        document = json.loads(text)
        if document.get("format") != FORMAT:
            raise PlanError(f"the format is {document.get('format')!r}, not {FORMAT!r}")
        plan = _unpack(document["plan"])
        if not isinstance(plan, Plan):
            raise PlanError(f"it holds a {type(plan).__name__}")
    except KeyError as problem:
        raise PlanError(f"not a plan: nothing is known of {problem}") from problem
    except (ValueError, AttributeError, TypeError, ImportError, RecursionError) as problem:
        raise PlanError(f"not a plan: {' '.join(str(problem).split())}") from problem
    return plan


def same(a: Any, b: Any) -> bool:
    """Equality of plans and of everything in them: types, numbers (arrays entry by entry), names."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    if isinstance(a, float) and isinstance(b, float):  # NumPy's among them
        return a == b
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
    if _CLASSES.get(type(value).__name__) is type(value):
        content = {f.name: _pack(getattr(value, f.name)) for f in fields(value) if f.compare}
        return {"row": type(value).__name__, **content}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return {"array": _pack(value.ravel().tolist()), "shape": list(value.shape), "dtype": value.dtype.name}
    if isinstance(value, np.generic):
        return {"scalar": _pack(np.asarray(value))}
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    package = package_of(value)
    number: Any = value
    if package == "mpmath" and isinstance(value, import_module(package).mpf):
        return {"mpf": [str(part) for part in number._mpf_]}
    if package == "sympy":
        text = import_module(package).srepr(value)
        if import_module(package).sympify(text) == value:  # not where a function of one's own is in it
            return {"sympy": text}
    if callable(value):
        return {"function": _name_of(value)}
    raise PlanError(f"the plan holds a {type(value).__name__}, {value!s:.40}, which cannot be written as JSON")


def _name_of(function: Callable[..., Any]) -> str:
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    try:
        found = _function(name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not function:
        raise PlanError(
            f"the function of a Dynamic row, {name}, cannot be found again by name; define it at the top of a module"
        )
    return name


def _function(name: str) -> Any:
    module, _, path = name.partition(":")
    return attrgetter(path)(import_module(module))


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
        return np.array(_unpack(content["array"]), dtype=content["dtype"]).reshape(content["shape"])
    if "scalar" in content:
        return _unpack(content["scalar"])[()]
    if "fraction" in content:
        return Fraction(content["fraction"])
    if "mpf" in content:
        sign, mantissa, exponent, bits = (int(part) for part in content["mpf"])
        return import_module("mpmath").make_mpf((sign, mantissa, exponent, bits))
    if "sympy" in content:
        return import_module("sympy").sympify(content["sympy"])
    return _function(content["function"])
