"""gDDIM: orders, one step on a point mass, and the rules for one state that it is without coupling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis.systems import law, measured_order
from diffode.expressions import Matrix
from diffode.plan import Combine
from diffode.process import LinearSystem
from tests.systems import MIXTURE, OTHERS, dense, grid, langevin, sizes, spans, states

# --- order ------------------------------------------------------------------------------------------------


VARIANTS = [
    *(de.get_solver("gddim").configure(degree=q) for q in range(4)),
    *(de.get_solver("gddim").configure(degree=q, factor="L") for q in (0, 2)),
    *(de.get_solver("gddim").configure(degree=q, corrector=True) for q in range(3)),
    de.get_solver("gddim_sde"),
    *(de.get_solver("euler_system").configure(lam=lam) for lam in (0.0, 1.0)),
]


@pytest.mark.parametrize("solver", VARIANTS, ids=lambda solver: solver.name)
def test_order(solver: de.Solver) -> None:
    """On a mixture given an exact past, or in law where noise is drawn; and no more than the claim."""
    slope = measured_order(solver)
    assert abs(slope.value - solver.order) < 0.05
    assert slope.judge(solver.order + 1) == "FAIL"


@pytest.mark.parametrize("solver", [VARIANTS[1], VARIANTS[3], VARIANTS[8]], ids=lambda solver: solver.name)
def test_order_where_beta_grows(solver: de.Solver) -> None:
    assert abs(measured_order(solver, OTHERS[1]).value - solver.order) < 0.1


def test_the_measurement_tells_a_wrong_weight() -> None:
    """A step of order 2 whose weights are those of order 1 is seen."""

    @de.solver(order=2, prediction="eps", history=1)
    def lame(step: Any) -> Any:
        return de.get_solver("gddim").rule(step, degree=0)

    assert measured_order(lame).judge(2) == "FAIL"


# --- one step ---------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    langevin(),
    spans(0.1),
    st.floats(-2.0, 2.0),
    st.sampled_from(["gddim", "gddim_pc_2", "gddim_sde"]),
    st.floats(0.0, 2.0),
)
def test_a_point_mass_takes_one_step(
    process: de.CLD, span: tuple[float, float], point: float, name: str, lam: float
) -> None:
    plan = de.compile(name, process, de.TimeGrid(process, span), **({"lam": lam} if name == "gddim_sde" else {}))
    out = law(plan, de.Gaussian(point, 0.0))
    scale = max(1.0, sizes(plan)) ** 2
    np.testing.assert_allclose(out.mean, out.exact.mean, atol=1e-12 * scale)
    np.testing.assert_allclose(out.covariance, out.exact.covariance, atol=1e-12 * scale)


@settings(max_examples=30)
@given(langevin(), spans(0.1), st.floats(-2.0, 2.0))
def test_with_the_cholesky_factor_it_does_not(process: de.CLD, span: tuple[float, float], point: float) -> None:
    """In law: the covariance misses that of the process by far more than rounding, whatever the point."""
    plan = de.compile("gddim", process, de.TimeGrid(process, span), factor="L")
    out = law(plan, de.Gaussian(point, 0.0))
    gap = np.abs(out.covariance - out.exact.covariance).max()
    assert gap > 1e-3 * np.abs(out.exact.covariance).max()


@settings(max_examples=30)
@given(langevin(), spans(0.1), st.integers(1, 3))
def test_weights_add_up_to_those_of_a_constant(process: de.CLD, span: tuple[float, float], degree: int) -> None:
    """Σ_j C_j = R_t − Ψ R_s: the integrals of any degree, and the closed form of none."""
    s, t = span
    times = de.TimeGrid(process, np.linspace(min(1.0, s + 0.3 * (s - t)) if s < 1 else s, t, degree + 2))
    plan = de.compile("gddim", process, times, degree=degree)
    row = next(row for row in plan.rows if isinstance(row, Combine) and row.out == plan.states[-1])
    total = sum(c for c, name in row.terms if name.startswith("d") and not name.startswith("dv"))
    a, b = times.t[-2], times.t[-1]
    closed = dense(process.factor(b) - process.transition(a, b) @ process.factor(a))[0, 0]
    biggest = max(abs(float(c)) for c, _ in row.terms)
    assert total == pytest.approx(closed, abs=1e-11 * biggest)


# --- the limit: a process without coupling ----------------------------------------------------------------


@dataclass(frozen=True)
class Pair(LinearSystem):
    """Two variance-preserving processes side by side, the data in the first: R is diagonal, gDDIM is DDIM in each."""

    one: ClassVar[de.VP] = de.VP()
    two: ClassVar[de.VP] = de.VP(0.5, 8.0)

    def _diagonal(self, first: Any, second: Any) -> Matrix:
        return Matrix(((first, 0 * first), (0 * second, second)))

    def drift(self, t: Any) -> Matrix:
        return self._diagonal(self.one.f(t), self.two.f(t))

    def diffusion(self, t: Any) -> Matrix:
        return self._diagonal(self.one.g2(t), self.two.g2(t))

    def transition(self, s: Any, t: Any) -> Matrix:
        return self._diagonal(self.one.alpha(t) / self.one.alpha(s), self.two.alpha(t) / self.two.alpha(s))

    def covariance(self, t: Any) -> Matrix:
        return self._diagonal(self.one.sigma(t) ** 2, self.two.sigma(t) ** 2)

    def factor(self, t: Any) -> Matrix:
        return self._diagonal(self.one.sigma(t), self.two.sigma(t))

    def log_alpha(self, t: Any) -> Any:
        return self.one.log_alpha(t)

    def log_sigma(self, t: Any) -> Any:
        return self.one.log_sigma(t)

    def lam(self, t: Any) -> Any:
        return self.one.lam(t)

    def f(self, t: Any) -> Any:
        return self.one.f(t)

    def dlam(self, t: Any) -> Any:
        return self.one.dlam(t)

    def t_of_lam(self, lam: Any) -> Any:
        return self.one.t_of_lam(lam)

    def log_alpha_of_lam(self, lam: Any) -> Any:
        return self.one.log_alpha_of_lam(lam)

    def lam_of_sigma(self, sigma: Any) -> Any:
        return self.one.lam_of_sigma(sigma)


@settings(max_examples=10)
@given(langevin())
def test_without_noise_the_stochastic_step_is_the_deterministic_one(process: de.CLD) -> None:
    times, u, model = grid(process, 4), states(3, 2), MIXTURE.denoiser(process)
    still = de.sample(model, "gddim_sde", times, u, lam=0.0)
    np.testing.assert_allclose(still.x, de.sample(model, "gddim", times, u).x, rtol=1e-8, atol=1e-8)


@settings(max_examples=30)
@given(st.integers(0, 3), st.integers(2, 6), st.sampled_from("RL"))
def test_without_coupling_gddim_is_tab_deis(degree: int, n: int, factor: str) -> None:
    pair, u = Pair(), states(3, 2)
    both = de.sample(MIXTURE.denoiser(pair), "gddim", grid(pair, n), u, degree=degree, factor=factor)
    alone = de.sample(MIXTURE.denoiser(pair.one), f"deis_tab_{degree}", grid(pair.one, n), u[:, 0])
    np.testing.assert_allclose(both.x[:, 0], alone.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("lam", "name", "options"),
    [(0.0, "ddim", {}), (1.0, "ddim", {"eta": 1.0}), (0.6, "sde_dpmpp_1", {"tau": 0.6})],
)
def test_without_coupling_its_stochastic_steps_are_known(lam: float, name: str, options: dict[str, float]) -> None:
    pair, data = Pair(), de.Gaussian([0.3, -1.0], [0.25, 0.01])
    both = law(de.compile("gddim_sde", pair, grid(pair, 5), lam=lam), data).position
    alone = de.law(de.compile(name, pair.one, grid(pair.one, 5), **options), data)
    np.testing.assert_allclose(both.mean, alone.mean, rtol=1e-10)
    np.testing.assert_allclose(both.variance, alone.variance, rtol=1e-10)
