"""Plans on guided Gaussian data: what an error in one state comes to in another, by matrices and by running."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from diffode.analysis.stability.guided import Guidance
from diffode.analysis.stability.steps import StepMap, step_maps
from diffode.analysis.stochastic import noise_level
from diffode.backends import execute, get_backend
from diffode.errors import PlanError
from diffode.grids import TimeGrid
from diffode.plan import Combine, Constant, Plan, Row
from diffode.process import EDM
from diffode.sampling import compile
from diffode.solvers import Solver, get_solver


@dataclass(frozen=True)
class Run:
    """A plan on guided Gaussian data.

    Attributes
    ----------
    plan : Plan
    guidance : Guidance
    tau : float
        Noise level of the rule.
    """

    plan: Plan
    guidance: Guidance
    tau: float = 0.0

    @staticmethod
    def of(solver: str | Solver | Plan, guidance: Guidance, grid: TimeGrid) -> Run:
        """Compile, and look how noisy the rule is."""
        plan = solver if isinstance(solver, Plan) else compile(solver, grid.process, grid)
        if len(plan.inputs) != 1:
            raise PlanError(
                f"stability: the plan continues an earlier run ({len(plan.inputs)} inputs); compile the whole"
            )
        if plan.levels != grid.levels:
            raise PlanError("stability: the plan belongs to another grid; give the one it was compiled on")
        if any(np.ndim(level.lam) for level in grid.levels):
            raise PlanError("stability needs one level for all entries, not an array of levels")
        tau = 0.0
        if not plan.is_deterministic:
            tau = noise_level(get_solver(plan.solver if isinstance(solver, Plan) else solver), EDM())
        return Run(plan, guidance, tau)

    def maps(self, scale: Any) -> list[StepMap]:
        """The matrices of all steps at scales that broadcast against the eigenvalues."""
        return step_maps(
            self.plan, lambda prediction, level, output: self.guidance.slope(prediction, level, scale, output)
        )

    @cached_property
    def units(self) -> np.ndarray:
        """√v at every level, shape (levels, d)."""
        return self.guidance.deviations(self.plan.levels)

    def gains(self, scale: Any) -> np.ndarray:
        """∂x_n/∂x_i in units of √v, shape (levels, levels, …, d); 0 for i > n, NaN where it is not judged."""
        maps = self.maps(scale)
        count, batch = len(maps) + 1, np.broadcast_shapes(*(m.matrix.shape[:-2] for m in maps))
        out = np.zeros((count, count, *batch))
        response = np.zeros((*batch, 1, count))
        with np.errstate(over="ignore", invalid="ignore"):
            for n in range(count):
                response[..., 0, n] = 1.0
                out[:, n] = np.moveaxis(response[..., 0, :], -1, 0)
                if n < len(maps):
                    response = maps[n].matrix @ response
            return out * self._scaled(len(batch))

    @property
    def first(self) -> int:
        """The first state that is judged: not pure noise, where an infinitely broad law has no guided flow."""
        return int(not self.plan.levels[0].alpha and self.guidance.unconditional is None)

    def _scaled(self, dimensions: int) -> np.ndarray:
        """√v_i/√v_n; NaN for a start without signal, and for an end without noise in a direction without variance."""
        units = np.where(self.units > 0, self.units, np.nan)
        units[: self.first] = np.nan
        ratio = units[:, None] / units[None]
        return ratio.reshape(*ratio.shape[:2], *(1,) * (dimensions - 1), ratio.shape[-1])

    def exact(self, scale: Any) -> np.ndarray:
        """The same of the exact guided flow."""
        flow = self.guidance.flow(self.plan.levels, scale, self.tau)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.exp(flow[None] - flow[:, None])

    def ratios(self, scales: np.ndarray) -> np.ndarray:
        """|gain|/max(1, exact), shape (levels, levels, scales, d); 0 where it is not judged, ∞ where not finite."""
        w = np.asarray(scales, dtype=float)[:, None]
        allowed = self.exact(w)
        found = abs(self.gains(w)) / np.where(allowed > 1, allowed, 1.0)
        return np.where(np.isnan(self._scaled(2)), 0.0, np.where(np.isnan(found), inf, found))

    def excess(self, scales: np.ndarray) -> np.ndarray:
        """The largest ratio at each scale."""
        return np.max(self.ratios(scales), axis=(0, 1, 3))

    def measured(self, scale: float) -> np.ndarray:
        """`ratios` at one scale, found by running the plan with a kick in every state; shape (levels, levels, d)."""
        plan, count = kicked_plan(self.plan), len(self.units)
        still = np.zeros((count, self.units.shape[1]))  # entry i of the batch is kicked in state i alone
        kicks = [np.where(np.arange(count)[:, None] == i, self.units[i], still) for i in range(count)]
        model, noise = self.guidance.model(plan.levels[0].process, scale), [still] * len(plan.noises)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            done = execute(get_backend("numpy"), plan, model, [still, *kicks], noise, keep=plan.states)
            sizes = np.stack([abs(done[state]) for state in plan.states], axis=1) / self.units
        return np.where(np.isnan(self._scaled(1)), 0.0, sizes / np.maximum(1.0, self.exact(scale)))


def kicked_plan(plan: Plan) -> Plan:
    """The plan with one more input for each state, which is added to the state as soon as it is there; no constants."""
    rows: list[Row] = []
    kicks = {state: f"kick{i}" for i, state in enumerate(plan.states)}

    def kicked(state: str) -> Combine:
        return Combine(state, ((1.0, f"{state}~"), (1.0, kicks[state])))

    start = plan.states[0]
    rows.append(kicked(start))
    for row in plan.rows:
        if row.out in kicks and isinstance(row, Combine):
            rows += [Combine(f"{row.out}~", row.terms), kicked(row.out)]
        elif isinstance(row, Constant):
            rows.append(Combine(row.out, ()))
        else:
            rows.append(row)
    inputs = (f"{start}~", *plan.inputs[1:], *kicks.values())
    return Plan(tuple(rows), inputs, plan.states, plan.levels, plan.memory, plan.solver)


def first_true(holds: Callable[[np.ndarray], np.ndarray], points: np.ndarray, chunk: int, width: float = 1e-7) -> float:
    """The smallest number at which something holds: between two points, then enclosed; ∞ where at none."""
    low = 0.0
    for k in range(0, len(points), chunk):
        part = points[k : k + chunk]
        found = holds(part)
        if found.any():
            j = int(np.argmax(found))
            low, high = (part[j - 1] if j else low), part[j]
            break
        low = part[-1]
    else:
        return inf
    while high - low > width * high:
        inner = np.linspace(low, high, 10)[1:-1]
        found = np.append(holds(inner), True)
        j = int(np.argmax(found))
        low, high = (inner[j - 1] if j else low), (inner[j] if j < len(inner) else high)
    return float(high)
