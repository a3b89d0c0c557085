r"""The steps of a plan as matrices: what is alive before a step, what after, and the linear map between.

Cut the rows of a plan after each state x_n. What is defined before the cut and read behind it is all that the rest of
the run knows: the state and the rule's memory, ξ_n. Between two cuts

    ξ_{n+1} = M_n ξ_n + N_n z_n,        z_n independent standard normals that no step before has seen,

exactly, for every linear plan: multistep, predictor–corrector, momentum, with noise or without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from diffode.analysis.stability.guided import Guidance
from diffode.brownian import factors
from diffode.kinds import divide
from diffode.plan import Combine, Evaluate, Level, Plan, Row
from diffode.prediction import basis

Slope = Callable[[str, Level, str | None], Any]
"""(prediction, level, branch) → ∂ prediction/∂x there, any arrays that broadcast against each other."""


@dataclass(frozen=True)
class StepMap:
    """One step.

    Attributes
    ----------
    before, after : tuple of str
        What is alive: the state first, then the registers that are read later, the newest first.
    matrix : ndarray, shape (…, after, before)
        M_n, for each entry of the slopes.
    noise : ndarray, shape (…, after, normals)
        N_n.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    matrix: np.ndarray
    noise: np.ndarray


def step_maps(plan: Plan, slope: Slope) -> list[StepMap]:
    """The matrices of all steps.

    Parameters
    ----------
    plan : Plan
        Linear.
    slope : callable
        What the model is; its own means are left out.
    """
    plan.require_linear("stability")
    weights = factors(plan)
    cuts, lives = _cuts(plan, weights)
    maps: list[StepMap] = []
    for n in range(len(plan.states) - 1):
        rows = plan.rows[cuts[n] + 1 : cuts[n + 1] + 1]
        fresh = sorted({f"z{k}" for row in rows for k in weights.get(row.out, {})} - set(lives[n]))
        known = (*lives[n], *fresh)
        columns = _pushed(rows, {name: _unit(len(known), j) for j, name in enumerate(known)}, weights, slope)
        table = np.stack(np.broadcast_arrays(*_aligned([columns[name] for name in lives[n + 1]], len(known))))
        table = np.moveaxis(table, (1, 0), (-1, -2)).astype(float)  # (…, after, before and normals)
        split = len(lives[n])
        maps.append(StepMap(lives[n], lives[n + 1], table[..., :split], table[..., split:]))
    batch = np.broadcast_shapes(*(m.matrix.shape[:-2] for m in maps))
    return [
        replace(
            m,
            matrix=np.broadcast_to(m.matrix, (*batch, *m.matrix.shape[-2:])),
            noise=np.broadcast_to(m.noise, (*batch, *m.noise.shape[-2:])),
        )
        for m in maps
    ]


def _unit(width: int, j: int) -> np.ndarray:
    column = np.zeros(width)
    column[j] = 1.0
    return column


def _pushed(
    rows: Sequence[Row], columns: dict[str, Any], weights: dict[str, dict[int, Any]], slope: Slope
) -> dict[str, Any]:
    """Every register as a combination of what is known, its coefficients along the first axis."""
    width = len(columns)
    for row in rows:
        if isinstance(row, Combine):
            terms = [(c, columns[name]) for c, name in row.terms]
            columns[row.out] = _sum(terms, width)
        elif isinstance(row, Evaluate):
            columns[row.out] = _sum([(slope(row.prediction, row.at or row.level, row.output), columns[row.x])], width)
        else:
            columns[row.out] = _sum([(w, columns[f"z{k}"]) for k, w in weights[row.out].items()], width)
    return columns


def _sum(terms: Sequence[tuple[Any, np.ndarray]], width: int) -> np.ndarray:
    """Σ c · column, where c may be an array: a column has shape (width, …)."""
    columns = _aligned([column for _, column in terms], width, max((np.ndim(c) for c, _ in terms), default=0))
    parts = [np.asarray(c) * column for (c, _), column in zip(terms, columns, strict=True)]
    return reduce(np.add, parts) if parts else np.zeros(width)


def _aligned(columns: Sequence[np.ndarray], width: int, batch: int = 0) -> list[np.ndarray]:
    """Columns with axes of length 1 put in, so that their batches broadcast."""
    batch = max([batch, *(column.ndim - 1 for column in columns)])
    return [u.reshape(width, *(1,) * (batch + 1 - u.ndim), *u.shape[1:]) for u in columns]


def _cuts(plan: Plan, weights: dict[str, dict[int, Any]]) -> tuple[list[int], list[tuple[str, ...]]]:
    """The row after which each state is there, and what is alive then."""
    born = dict.fromkeys(plan.inputs, -1) | {row.out: i for i, row in enumerate(plan.rows)}
    last = dict(plan.last_use)
    for i, row in enumerate(plan.rows):
        for k in weights.get(row.out, {}):
            born.setdefault(f"z{k}", i)
            last[f"z{k}"] = i
    newest = sorted(last, key=lambda name: -born[name])
    cuts = [born[state] for state in plan.states]
    return cuts, [
        (state, *(name for name in newest if born[name] <= cut < last[name] and name != state))
        for cut, state in zip(cuts, plan.states, strict=True)
    ]


# --- amplification ------------------------------------------------------------------------------------------


def scaled_steps(plan: Plan, maps: Sequence[StepMap], guidance: Guidance) -> list[tuple[np.ndarray, np.ndarray]]:
    """M_n and N_n with every register in its unit, filled up to one size: what is not remembered is 0.

    Parameters
    ----------
    plan : Plan
    maps : sequence of StepMap
        Its steps. What is not finite comes out where a state has no variance.
    guidance : Guidance
    """
    size = max(len(names) for m in maps for names in (m.before, m.after))
    units = _units(plan, maps, guidance)
    out: list[tuple[np.ndarray, np.ndarray]] = []
    with np.errstate(all="ignore"):
        for m in maps:
            before, after = (np.stack([units[name] for name in names], axis=-1) for names in (m.before, m.after))
            matrix = np.zeros((*m.matrix.shape[:-2], size, size))
            noise = np.zeros((*m.noise.shape[:-2], size, m.noise.shape[-1]))
            matrix[..., : len(m.after), : len(m.before)] = m.matrix * before[..., None, :] / after[..., :, None]
            noise[..., : len(m.after), :] = m.noise / after[..., :, None]
            out.append((matrix, noise))
    return out


def step_radii(plan: Plan, maps: Sequence[StepMap], guidance: Guidance) -> np.ndarray:
    """The spectral radius of every step, each register in its unit; shape (steps, …, d). See `scaled_steps`."""
    out: list[np.ndarray] = []
    for matrix, _ in scaled_steps(plan, maps, guidance):
        radius = np.max(abs(np.linalg.eigvals(np.where(np.isfinite(matrix), matrix, 0.0))), axis=-1)
        out.append(np.where(np.isfinite(matrix[..., 0, 0]), radius, np.nan))
    return np.array(out)


def _units(plan: Plan, maps: Sequence[StepMap], guidance: Guidance) -> dict[str, np.ndarray]:
    """√v for a state, as much for what predicts it, and the sum of its terms for what is combined of them."""
    states = dict(zip(plan.states, guidance.deviations(plan.levels), strict=True))
    units = {plan.inputs[0]: states[plan.states[0]]}
    for row in plan.rows:
        if row.out in states:
            units[row.out] = states[row.out]
        elif isinstance(row, Evaluate):
            level = row.at or row.level
            parts = zip(basis(row.prediction, level), (level.alpha, level.sigma), strict=True)
            weight = sum(divide(abs(q), own) for q, own in parts if q)
            units[row.out] = weight * guidance.deviations([level])[0]
        elif isinstance(row, Combine) and row.terms:
            units[row.out] = np.sum([abs(c) * units[name] for c, name in row.terms], axis=0)
        else:
            units[row.out] = np.ones_like(guidance.eigenvalues)
    for name in {name for m in maps for name in (*m.before, *m.after)} - set(units):
        units[name] = np.ones_like(guidance.eigenvalues)  # a normal that is used again
    return units
