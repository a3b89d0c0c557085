"""Stiff order: the conditions tell the methods of the literature apart, and a stiff equation agrees with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.fft import dst, idst

from diffode.analysis.order.fixed_point import probe
from diffode.analysis.order.proof import prove_order
from diffode.analysis.order.stiff import shapes, stiff_order
from diffode.analysis.slopes import fit
from diffode.backends import execute, get_backend
from diffode.errors import PlanError
from diffode.plan import Evaluate, Level
from diffode.solvers import Solver, get_solver, registry

# --- the conditions -----------------------------------------------------------------------------------------


def test_there_is_a_condition_for_each_rooted_tree() -> None:
    """1, 1, 2, 4, 9, 20, 48: Luan and Ostermann (2013), Table 1."""
    assert [len(shapes(p)) for p in range(1, 8)] == [1, 1, 2, 4, 9, 20, 48]


@pytest.mark.parametrize(
    ("name", "strong", "weakened"),
    [
        ("lawson_rk4", 0, 1),
        ("etd3", 2, 2),
        ("etd4", 2, 2),
        ("krogstad", 3, 3),
        ("friedli", 3, 3),
        ("strehmel_weiner", 3, 3),
        ("hochbruck_ostermann", 3, 4),
        ("luan_ostermann", 4, 5),
    ],
)
def test_methods_of_the_literature(name: str, strong: int, weakened: int) -> None:
    found = stiff_order(get_solver(name))
    assert (found.strong, found.weakened) == (strong, weakened), [str(c) for c in found.conditions]


CLAIMED = [s for s in registry().values() if s.stiff_order is not None]


@pytest.mark.parametrize("rule", CLAIMED, ids=lambda s: s.name)
def test_the_stiff_order_is_the_claim_neither_less_nor_more(rule: Solver) -> None:
    for prediction in ("x0", "eps"):
        found = stiff_order(rule.configure(rule.name, prediction=prediction))
        assert found.weakened == rule.stiff_order, [str(c) for c in found.conditions]


@pytest.mark.parametrize("past", [1, 5])
def test_generalised_lawson_has_the_orders_that_it_claims(past: int) -> None:
    rule = get_solver(f"generalised_lawson(past={past})")
    assert (stiff_order(rule).weakened, prove_order(rule).order) == (rule.stiff_order, rule.order)


def has_stiff_order(rule: Solver) -> bool:
    plan = probe(rule)
    by_time = rule.options.get("variable") == "t" or rule.options.get("inner", "lambda") != "lambda"
    # the conditions are for g(t, u) with one t; told another one, the network has terms that they lack
    elsewhere = any(isinstance(row, Evaluate) and row.at for row in plan.rows)
    return rule.exponential and plan.is_deterministic and not plan.memory.named and not by_time and not elsewhere


JUDGED = [s for s in registry().values() if has_stiff_order(s)]


@pytest.mark.parametrize("rule", JUDGED, ids=lambda s: s.name)
def test_no_method_of_the_registry_has_more_stiff_order_than_classical(rule: Solver) -> None:
    found = stiff_order(rule)
    assert found.strong <= found.weakened <= rule.true_order
    assert found.strong >= 1
    assert found.failures


@pytest.mark.parametrize("prediction", ["x0", "eps"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_exponential_adams_keeps_its_whole_order(order: int, prediction: str) -> None:
    rule = get_solver(f"exponential_adams(order={order}, prediction={prediction!r})")
    assert stiff_order(rule).strong == order


def test_polynomials_in_another_variable_lose_it() -> None:
    """DEIS on ρ has classical order 3 and stiff order 1; on λ it has both."""
    assert (stiff_order(get_solver("deis_rhoab_2")).strong, stiff_order(get_solver("deis_lambdaab_2")).strong) == (1, 3)


def test_rules_without_stiff_order_say_why() -> None:
    for name, why in {
        "heun": "not declared exponential",
        "ddpm": "draws noise",
        "unipc_2": "keeps more",
        "deis": "reads t",
        "ddim_inversion": "tells the network another level",
    }.items():
        with pytest.raises(PlanError, match=why):
            stiff_order(get_solver(name))


# --- a stiff equation ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Modes:
    """λ = a_k t: one exponent for each eigenvalue −a_k, so that a solver in λ is a method for the whole operator."""

    rates: np.ndarray

    def at(self, t: float) -> Level:
        return self.level(lam=self.rates * t)

    def level(self, t: Any = None, *, lam: Any = None, sigma: Any = None, rho: Any = None) -> Level:
        return Level(lam[0] / self.rates[0], np.ones_like(lam), np.exp(-lam), lam, self)


@dataclass(frozen=True)
class Heat:
    """u_t = u_xx + 1/(1 + u²) + f on (0, 1) with u = x(1 − x) e^t (Hochbruck and Ostermann, 2005, example 6.1).

    Finite differences on 199 points, which are exact for this u; in sine modes. The network says g/a_k.
    """

    modes: Modes
    x: np.ndarray
    start: float

    def predict(self, state: Any, level: Level, *_: Any, **__: Any) -> np.ndarray:
        t = self.start + float(level.lam[0] / self.modes.rates[0])
        u, bump = idst(state, type=1), self.x * (1 - self.x)
        exact = bump * np.exp(t)
        source = exact + 2 * np.exp(t) - 1 / (1 + exact**2)
        return dst(1 / (1 + u * u) + source, type=1) / self.modes.rates


def heat_error(rule: Solver, steps: int, size: int = 199) -> float:
    """The largest error at t = 1."""
    x = np.arange(1, size + 1) / (size + 1)
    modes = Modes(4 * (size + 1) ** 2 * np.sin(np.arange(1, size + 1) * np.pi / (2 * (size + 1))) ** 2)
    state = dst(x * (1 - x), type=1)[None]
    grid = Steps(modes, (modes.at(0.0), modes.at(1 / steps)))
    plan = rule.plan(grid, open_end=True)
    for n in range(steps):
        state = execute(get_backend("numpy"), plan, Heat(modes, x, n / steps), [state])[plan.states[-1]]
    return float(np.max(abs(idst(state, type=1)[0] - x * (1 - x) * np.e)))


@dataclass(frozen=True)
class Steps:
    """A grid of ready-made levels."""

    process: Modes
    levels: tuple[Level, ...]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lawson_rk4", 0.8, 1.5),
        ("etd4", 2.0, 3.3),
        ("krogstad", 2.9, 4.4),
        ("hochbruck_ostermann", 3.6, 4.4),
        ("luan_ostermann", 4.6, 5.6),
    ],
)
def test_the_heat_equation_shows_the_stiff_order(name: str, low: float, high: float) -> None:
    counts = (4, 8, 16, 32, 64)
    slope = fit([1 / n for n in counts], [heat_error(get_solver(name), n) for n in counts], 1e-14)
    assert low < slope.value < high, slope
