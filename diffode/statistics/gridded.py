"""Statistics on a grid of λ, as they are estimated from a model; their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diffode.errors import SolverError, placed, unknown
from diffode.kinds import Number, package_of
from diffode.statistics.closed import Growth, Statistics

SUFFIXES = (".json", ".npz")
FORMAT = "diffode-statistics/1"

_SLACK = 1e-6
"""How far a λ may lie outside the statistics, or beside their knots, in units of the steps: rounding of levels."""


@dataclass(frozen=True, eq=False)
class ModelStatistics(Statistics):
    """Statistics on a grid of λ, per coordinate, as they are estimated from a model.

    Parameters
    ----------
    lam : array_like, shape (n + 1,)
        Increasing, at least four.
    l, s, b : array_like, shape (n + 1, …)
        The rest of the shape is that of one sample, or broadcasts against it; () is one number for all coordinates.
    integration : {"spline", "published"}
        Between the knots l, s and e^{−S} b are cubic splines, and integrals are exact to rounding. "published" is the
        official code: trapezoids on the grid, whose levels all must be knots (`snapped`).
    provenance : mapping
        Where the statistics come from; kept in the file.

    Raises
    ------
    SolverError
        If shapes do not fit, λ does not increase, or a number is not finite.

    Examples
    --------
    >>> from diffode.statistics import GaussianStatistics
    >>> lam = np.linspace(-2, 2, 41)
    >>> l = 1 / (1 + 0.25 * np.exp(2 * lam))
    >>> found = ModelStatistics(lam, l, 0 * l, 0 * l)
    >>> found
    <statistics on 41 values of λ from -2 to 2, one for all coordinates, spline>
    >>> known = GaussianStatistics(0.25)
    >>> abs(found.growth(-1.0, 1.0).linear / known.growth(-1.0, 1.0).linear - 1) < 1e-6
    True
    """

    lam: np.ndarray
    l: np.ndarray  # noqa: E741 as the paper has it
    s: np.ndarray
    b: np.ndarray
    integration: str = "spline"
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name in ("lam", "l", "s", "b"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if self.lam.ndim != 1 or len(self.lam) < 4 or np.any(np.diff(self.lam) <= 0):
            raise SolverError(
                f"ModelStatistics: lam must be at least four numbers that increase, not of shape {self.lam.shape}"
            )
        for name in ("l", "s", "b"):
            shape = getattr(self, name).shape
            if shape != self.l.shape or shape[:1] != self.lam.shape:
                raise SolverError(
                    f"ModelStatistics: l, s and b must have one shape ({len(self.lam)}, …), one entry for each λ, but "
                    f"{name} has shape {shape}"
                )
        if self.integration not in _CURVES:
            raise SolverError(f"ModelStatistics: {unknown('integration', self.integration, _CURVES)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """What one value of l broadcasts like: the shape of a sample, or ()."""
        return self.l.shape[1:]

    @property
    def biased(self) -> bool:
        return bool(np.any(self.b))

    def __repr__(self) -> str:
        whose = f"for coordinates of shape {self.shape}" if self.shape else "one for all coordinates"
        ends = f"{self.lam[0]:g} to {self.lam[-1]:g}"
        return f"<statistics on {len(self.lam)} values of λ from {ends}, {whose}, {self.integration}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: what it is made of, and not the curves, which are made again."""
        return ModelStatistics, (self.lam, self.l, self.s, self.b, self.integration, dict(self.provenance))

    def snapped(self, lam: Any) -> np.ndarray:
        """The knots nearest to some λ: where "published" statistics are known.

        Parameters
        ----------
        lam : array_like, shape (m,)

        Returns
        -------
        ndarray, shape (m,)
        """
        return self.lam[np.argmin(abs(self.lam - np.asarray(lam, dtype=float)[:, None]), axis=1)]

    # --- between the knots ---

    @cached_property
    def _curves(self) -> _Curves:
        return _CURVES[self.integration](self)

    def linear(self, lam: Number) -> Number:
        return _plain(self._curves.l(self._inside(lam)))

    def growth(self, start: Number, lam: Number) -> Growth:
        return Growth(*map(_plain, self._growth(self._inside(start), self._inside(lam))))

    def _growth(self, start: float, lam: Any) -> Growth:
        c = self._curves
        bias = np.exp(c.S(start)) * (c.B(lam) - c.B(start))
        return Growth(np.exp(c.L(lam) - c.L(start)), np.exp(c.S(lam) - c.S(start)), bias)

    def moments(self, start: Number, end: Number, highest: int) -> list[Number]:
        a, b = self._inside(start), self._inside(end)
        nodes, weights = self._curves.rule(min(a, b), max(a, b))
        linear, slope, bias = self._growth(a, nodes)
        column = (-1,) + (1,) * len(self.shape)
        density = (linear * slope) * np.reshape(weights if b > a else -weights, column)
        u = np.reshape(nodes - a, column)
        powers = [np.sum(density * u**k, axis=0) for k in range(highest + 1)]
        return [_plain(total) for total in (*powers, np.sum(density * bias, axis=0))]

    def _inside(self, lam: Number) -> float:
        if package_of(lam) != "float":
            raise SolverError(
                "ModelStatistics: statistics on a grid of λ are known in floats, at one level for all samples, not at "
                f"{type(lam).__name__}s; ConstantStatistics and GaussianStatistics serve every kind of number"
            )
        slack = _SLACK * (self.lam[-1] - self.lam[0]) / (len(self.lam) - 1)
        if not self.lam[0] - slack <= lam <= self.lam[-1] + slack:
            raise SolverError(
                f"ModelStatistics: λ={lam:.6g} is outside the statistics, which are known from λ={self.lam[0]:.6g} to "
                f"{self.lam[-1]:.6g}; estimate them on a larger range, or start and end the grid inside"
            )
        return float(min(max(lam, self.lam[0]), self.lam[-1]))

    # --- out and in ---

    def save(self, path: str | Path) -> None:
        """Write the statistics to a file: JSON, or NumPy's .npz where the name ends so.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        SolverError
            If the name ends in neither.
        """
        arrays = {name: getattr(self, name) for name in ("lam", "l", "s", "b")}
        words = {"format": FORMAT, "integration": self.integration, "provenance": dict(self.provenance)}
        if _suffix(path) == ".npz":
            np.savez_compressed(placed(path), allow_pickle=False, words=np.array(json.dumps(words)), **arrays)
            return
        lists = {name: values.tolist() for name, values in arrays.items()}
        placed(path).write_text(json.dumps({**words, **lists}, ensure_ascii=False) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> ModelStatistics:
        """The statistics that `save` wrote.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        SolverError
            If there is no such file, or it holds something else.
        """
        read = _read_arrays if _suffix(path) == ".npz" else _read_text
        try:
            words, arrays = read(Path(path))
            if words.get("format") != FORMAT:
                raise SolverError(f"{path}: the format is {words.get('format')!r}, not {FORMAT!r}")
            return ModelStatistics(**arrays, integration=words["integration"], provenance=words["provenance"])
        except OSError as problem:
            raise SolverError(f"{path}: cannot read statistics ({problem.strerror or problem})") from None
        except (KeyError, ValueError, AttributeError, TypeError, EOFError, BadZipFile) as problem:
            if isinstance(problem, SolverError):
                raise
            raise SolverError(f"{path}: holds no statistics that `save` wrote ({problem})") from problem


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise SolverError(f"statistics stand in files named {' or '.join(SUFFIXES)}, not in {str(path)!r}")
    return suffix


def _read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as stored:
        return json.loads(str(stored["words"])), {name: stored[name] for name in ("lam", "l", "s", "b")}


def _read_text(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content, {name: content[name] for name in ("lam", "l", "s", "b")}


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise SolverError(f"ModelStatistics: {name} must be an array of numbers, not {values!r:.60}") from None
    if not np.all(np.isfinite(array)):
        raise SolverError(f"ModelStatistics: {name} must be finite, but it holds NaN or ∞")
    return array


def _plain(value: Any) -> Number:
    """A number where there is one for all coordinates, so that a plan stays one of numbers."""
    return float(np.reshape(value, ())) if np.size(value) == 1 else value


# --- integration --------------------------------------------------------------------------------------------

Curve = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class _Curves:
    """l and the integrals L, S, B as functions of λ, and a rule: the nodes and weights of an integral between two λ."""

    l: Curve  # noqa: E741
    L: Curve
    S: Curve
    B: Curve
    rule: Callable[[float, float], tuple[np.ndarray, np.ndarray]]


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def _splines(known: ModelStatistics) -> _Curves:
    """Cubic splines and their antiderivatives; integrals of them by Gauss's rule between the knots."""
    from scipy.interpolate import CubicSpline  # 0.1 s, which `diffode --help` need not wait for

    lam = known.lam
    line = CubicSpline(lam, known.l)
    S = CubicSpline(lam, known.s).antiderivative()
    B = CubicSpline(lam, np.exp(-S(lam)) * known.b).antiderivative()

    def rule(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
        ends = np.array([a, *lam[(lam > a) & (lam < b)], b])
        half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
        return (middle[:, None] + half[:, None] * _NODES).ravel(), (half[:, None] * _WEIGHTS).ravel()

    return _Curves(line, line.antiderivative(), S, B, rule)


def _trapezoids(known: ModelStatistics) -> _Curves:
    """The official code: sums on the grid, where alone all is known."""
    lam = known.lam
    S = _summed(lam, known.s)
    B = _summed(lam, np.exp(-S) * known.b)

    def index(at: Any) -> Any:
        found = np.argmin(abs(lam - np.asarray(at)[..., None]), axis=-1)
        if np.any(abs(lam[found] - at) > _SLACK * (lam[-1] - lam[0]) / (len(lam) - 1)):
            raise SolverError(
                f"ModelStatistics: λ={at:.6g} is no knot of statistics with integration='published'; build the grid of "
                "statistics.snapped(lam), or take integration='spline'"
            )
        return found

    def rule(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
        nodes = lam[index(a) : index(b) + 1]
        gaps = np.diff(nodes, prepend=nodes[:1], append=nodes[-1:])
        return nodes, (gaps[1:] + gaps[:-1]) / 2

    def curve(values: np.ndarray) -> Curve:
        return lambda at: values[index(at)]

    return _Curves(curve(known.l), curve(_summed(lam, known.l)), curve(S), curve(B), rule)


def _summed(lam: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The integral from the first λ to each, by trapezoids."""
    gaps = np.reshape(np.diff(lam) / 2, (-1,) + (1,) * (values.ndim - 1))
    return np.concatenate([0 * values[:1], np.cumsum(gaps * (values[1:] + values[:-1]), axis=0)])


_CURVES: dict[str, Callable[[ModelStatistics], _Curves]] = {"spline": _splines, "published": _trapezoids}
