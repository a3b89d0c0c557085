"""Systems: critically damped Langevin diffusion, its exact model, gDDIM, and the laws of what it puts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import diffode as de
from diffode import phi
from diffode.analysis.systems import law, marginal, measured_order
from diffode.expressions import Matrix
from diffode.plan import Combine, Evaluate, Linear, Plan, defines
from diffode.process import LinearSystem
from diffode.solvers.registry import systems
from tests.strategies import Strategy, mixtures, powers

MIXTURE = de.GaussianMixture([0.5, 0.3, 0.2], [[1.5, 0.0], [-1.0, 1.2], [0.0, -1.6]], [0.3, 0.5, 0.2])
RULES = sorted(systems())
OTHERS = (de.CLD(), de.CLD(beta=2.0, slope=3.0, m_inv=1.5, vv0=0.3), de.CLD(jitter=1e-6))


@st.composite
def langevin(draw: Any) -> de.CLD:
    """CLD with parameters drawn; without jitter as often as not."""
    m_inv, vv0 = draw(powers(0.5, 10.0)), draw(powers(0.01, 1.0))
    jitter = draw(st.one_of(st.just(0.0), powers(1e-8, 1e-3).map(lambda share: share * vv0 / m_inv)))
    return de.CLD(draw(powers(1.0, 6.0)), draw(st.one_of(st.just(0.0), powers(0.1, 4.0))), m_inv, vv0, jitter)


def spans(least: float = 0.05) -> Strategy:
    """Two times, the later first, apart by `least` or more."""
    pairs = st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)).map(lambda pair: (max(pair), min(pair)))
    return pairs.filter(lambda pair: pair[0] - pair[1] >= least)


def dense(matrix: Matrix) -> np.ndarray:
    return np.array(matrix.rows, dtype=float)


def states(count: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, d)) * [[[1.0], [0.5]]]


def sizes(plan: Plan) -> float:
    """The largest coefficient of a plan: what its rounding is measured by."""
    return max(abs(float(c)) for row in plan.rows if isinstance(row, Combine) for c, _ in row.terms)


# --- the process ------------------------------------------------------------------------------------------


@given(langevin(), spans())
def test_the_flow_of_the_drift(process: de.CLD, span: tuple[float, float]) -> None:
    s, t = span
    b = process.integrated_beta(t) - process.integrated_beta(s)
    exact = expm(dense(process.drift(0.0)) / process.beta * b)
    np.testing.assert_allclose(dense(process.transition(s, t)), exact, rtol=1e-11, atol=1e-12 * np.abs(exact).max())


@given(langevin(), spans())
def test_covariance_grows_by_the_noise_of_the_path(process: de.CLD, span: tuple[float, float]) -> None:
    """Σ_s = Ψ Σ_t Ψᵀ + ∫ Ψ G Gᵀ Ψᵀ from t to the later s."""
    s, t = span

    def fresh(at: np.ndarray) -> list[Any]:
        flow = process.transition(at, s)
        return (flow @ process.diffusion(at) @ flow.T).entries

    flow = process.transition(t, s)
    grown = flow @ process.covariance(t) @ flow.T + Matrix.of(phi.integral(fresh, t, s))
    np.testing.assert_allclose(dense(grown), dense(process.covariance(s)), rtol=1e-12, atol=1e-13)


@given(langevin(), st.floats(1e-4, 1.0))
def test_r_and_the_cholesky_factor_are_roots(process: de.CLD, t: float) -> None:
    sigma = dense(process.covariance(t))
    for root in (dense(process.factor(t)), dense(process.cholesky(t))):
        np.testing.assert_allclose(root @ root.T, sigma, rtol=1e-11, atol=1e-12 * np.abs(sigma).max())
    assert dense(process.cholesky(t))[0, 1] == 0 != dense(process.factor(t))[0, 1]


@pytest.mark.parametrize("span", [(1.0, 1e-3), (0.5, 0.02)])
@pytest.mark.parametrize("process", OTHERS, ids=["default", "other", "jitter"])
def test_r_solves_its_equation(process: de.CLD, span: tuple[float, float]) -> None:
    """R′ = F R + ½ G Gᵀ R^{−T}, from the earlier time to the later one in an independent code."""
    s, t = span

    def slope(at: float, r: np.ndarray) -> np.ndarray:
        root = r.reshape(2, 2)
        return (dense(process.drift(at)) @ root + 0.5 * dense(process.diffusion(at)) @ np.linalg.inv(root).T).ravel()

    start = dense(process.factor(t)).ravel()
    found = solve_ivp(slope, (t, s), start, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(found, dense(process.factor(s)).ravel(), atol=1e-8)


@settings(max_examples=30)
@given(langevin(), st.floats(1e-4, 1.0))
def test_a_level_is_the_same_by_all_its_names(process: de.CLD, t: float) -> None:
    level = process.level(t)
    assert level.alpha == pytest.approx(process.transition(0.0, t).rows[0][0], rel=1e-13)
    assert level.sigma**2 == pytest.approx(process.covariance(t).rows[0][0], rel=1e-13)
    for name in ("lam", "sigma", "rho"):
        assert process.level(**{name: getattr(level, name)}).t == pytest.approx(t, rel=1e-8)
    h = 1e-6 * t
    inside = t + h <= 1.0
    if inside:
        slope = (process.lam(t + h) - process.lam(t - h)) / (2 * h)
        assert process.dlam(t) == pytest.approx(slope, rel=1e-5)


@settings(max_examples=30)
@given(langevin(), spans(0.1))
def test_the_reverse_flow_without_noise_and_with_all_of_it(process: de.CLD, span: tuple[float, float]) -> None:
    s, t = span
    still, none = (dense(m) for m in process.reverse(s, t, 0.0))
    np.testing.assert_allclose(still, dense(process.factor(t) @ process.factor(s).inverse()), atol=1e-12)
    np.testing.assert_allclose(none, 0.0, atol=1e-14)
    full, spread = (dense(m) for m in process.reverse(s, t, 1.0))
    back = process.covariance(t) @ process.transition(t, s).T @ process.covariance(s).inverse()
    np.testing.assert_allclose(full, dense(back), rtol=1e-9, atol=1e-11)
    left = process.covariance(t) - back @ process.covariance(s) @ back.T
    np.testing.assert_allclose(spread, dense(left), atol=1e-12)


@pytest.mark.parametrize("lam", [0.3, 0.7, 1.6])
@pytest.mark.parametrize("process", OTHERS, ids=["default", "other", "jitter"])
def test_the_reverse_flow_solves_its_equations(process: de.CLD, lam: float) -> None:
    """Those of Ψ̂ and P, in an independent code."""
    s, t = 0.9, 0.15

    def slope(at: float, y: np.ndarray) -> np.ndarray:
        flow, p = y[:4].reshape(2, 2), y[4:].reshape(2, 2)
        noise = dense(process.diffusion(at))
        f = dense(process.drift(at)) + 0.5 * (1 + lam**2) * noise @ np.linalg.inv(dense(process.covariance(at)))
        return np.concatenate([(f @ flow).ravel(), (f @ p + p @ f.T - lam**2 * noise).ravel()])

    start = np.concatenate([np.eye(2).ravel(), np.zeros(4)])
    found = solve_ivp(slope, (s, t), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1].reshape(2, 2, 2)
    for made, exact in zip(process.reverse(s, t, lam), found, strict=True):
        np.testing.assert_allclose(dense(made), exact, atol=1e-8)


# --- the exact model --------------------------------------------------------------------------------------


def independent_score(data: de.GaussianMixture, process: de.CLD, u: np.ndarray, t: float) -> np.ndarray:
    """The score of the mixture of joint Gaussians of (x, v), one dense matrix per component."""
    d, first, sigma = data.dimension, dense(process.transition(0.0, t))[:, 0], dense(process.covariance(t))
    logs, scores = [], []
    for k, mean in enumerate(data.means):
        basis = np.eye(d) if data.bases is None else data.bases[k]
        own = basis @ np.diag(np.broadcast_to(data.eigenvalues[k], (d,))) @ basis.T
        spread = np.kron(np.outer(first, first), own) + np.kron(sigma, np.eye(d))
        away = u.reshape(len(u), -1) - np.kron(first, mean)
        pulled = np.linalg.solve(spread, away.T).T
        logs.append(np.log(data.weights[k]) - 0.5 * (np.sum(away * pulled, 1) + np.linalg.slogdet(spread)[1]))
        scores.append(-pulled)
    weights = np.exp(np.array(logs) - np.max(logs, axis=0))
    return np.einsum("kn,kni->ni", weights / weights.sum(0), np.array(scores)).reshape(u.shape)


@settings(max_examples=30)
@given(st.data(), langevin(), st.floats(0.02, 1.0))
def test_the_exact_score(data: Any, process: de.CLD, t: float) -> None:
    mixture = data.draw(mixtures())
    u = states(4, mixture.dimension)
    found = mixture.denoiser(process)(u, t)
    np.testing.assert_allclose(found, independent_score(mixture, process, u, t), rtol=1e-6, atol=1e-6)


@settings(max_examples=30)
@given(
    langevin(), st.floats(0.02, 1.0), st.sampled_from(["eps", "x0", "score"]), st.sampled_from(["eps", "x0", "score"])
)
def test_predictions_tell_the_same(process: de.CLD, t: float, source: str, target: str) -> None:
    exact, level, u = MIXTURE.denoiser(process), process.level(t), states(3, 2)
    network = de.Denoiser(lambda x, time: exact.predict(x, process.level(float(time)), source), process, source)
    wanted = exact.predict(u, level, target)
    root = max(np.linalg.cond(dense(process.factor(t))), np.linalg.cond(dense(process.transition(0.0, t))))
    np.testing.assert_allclose(network.predict(u, level, target), wanted, atol=1e-12 * root**2 * np.abs(wanted).max())


@given(langevin(), st.floats(0.02, 1.0))
def test_the_data_prediction_has_no_velocity(process: de.CLD, t: float) -> None:
    d = MIXTURE.denoiser(process).predict(states(3, 2), process.level(t), "x0")
    flow = dense(process.transition(0.0, t))
    assert np.abs(d[:, 1]).max() <= 1e-12 * np.linalg.cond(flow) * np.abs(np.linalg.inv(flow)).max() * 10
    assert np.abs(d[:, 0]).max() > 0.01


# --- running ----------------------------------------------------------------------------------------------


def grid(process: de.Process, n: int, start: float = 1.0, end: float = 0.05) -> de.TimeGrid:
    return de.grids.quadratic(process, n, start=start, end=end)


@pytest.mark.parametrize("name", RULES)
def test_a_run_is_its_exact_law(name: str) -> None:
    """Unit states and unit noises, run through the plan, give the affine map that the exact law pushes forward."""
    process, data = de.CLD(jitter=1e-6), de.Gaussian([0.3, -1.0], [0.25, 0.01])
    times = grid(process, 5)
    plan = de.compile(name, process, times)
    width = 2 + len(plan.noises)
    inputs = np.zeros((width + 1, 2, 2))
    inputs[0, 0], inputs[1, 1] = 1.0, 1.0
    noises = [np.zeros((width + 1, 2)) for _ in plan.noises]
    for k, noise in enumerate(noises):
        noise[2 + k] = 1.0
    out = de.sample(data.denoiser(process), name, times, inputs, noise=noises or None).x
    offset, gains = out[-1], out[:-1] - out[-1]
    first, found = marginal(law(plan, data).spectrum, times[0]), law(plan, data)
    mean = offset + np.einsum("iad,id->ad", gains[:2], first.mean)
    spread = np.einsum("iad,ijd,jcd->acd", gains[:2], first.covariance, gains[:2])
    spread = spread + np.einsum("kad,kcd->acd", gains[2:], gains[2:])
    scale = sizes(plan) ** 2
    np.testing.assert_allclose(found.mean, mean, atol=1e-13 * scale)
    np.testing.assert_allclose(found.covariance, spread, atol=1e-13 * scale)


@pytest.mark.parametrize("name", RULES)
def test_torch_json_and_the_count(name: str) -> None:
    process = de.CLD()
    times, u, model = grid(process, 4), states(3, 2), MIXTURE.denoiser(process)
    plan = de.compile(name, process, times)
    noise = None if plan.is_deterministic else 7
    here = de.sample(model, name, times, u, noise=noise)
    there = de.sample(model, name, times, torch.tensor(u), backend="torch", noise=noise)
    np.testing.assert_allclose(there.x.numpy(), here.x, rtol=1e-10, atol=1e-10)
    assert here.x.shape == u.shape
    assert len(here.trajectory) == 5
    assert Plan.from_json(plan.to_json()) == plan
    assert here.nfe == sum(isinstance(row, Evaluate) for row in plan) == (8 if "pc" in name else 4)
    assert all(register in str(plan) for row in plan for register in defines(row))
    assert "dv_{0}" in plan.latex()


@pytest.mark.parametrize("name", RULES)
def test_a_continued_run_is_one_run(name: str) -> None:
    process = de.CLD()
    times, u, model = grid(process, 6), states(3, 2), MIXTURE.denoiser(process)
    if not de.compile(name, process, times).is_deterministic:
        name = f"{name}(lam=0.0)"
    first = de.sample(model, name, de.TimeGrid(process, times.t[:4]), u, open_end=True)
    rest = de.sample(model, name, de.TimeGrid(process, times.t[3:]), first.x, memory=first.memory)
    np.testing.assert_array_equal(rest.x, de.sample(model, name, times, u).x)


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


# --- misuse -----------------------------------------------------------------------------------------------


@de.solver(order=1, prediction="eps")
def half_a_state(step: Any) -> Linear:
    """A rule that asks for the system and returns one component."""
    return step.system and step.x[0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: de.compile("ddim", de.CLD(), grid(de.CLD(), 3)), "ddim is a rule for one state"),
        (lambda: de.compile("dpmpp_2m", de.CLD(), grid(de.CLD(), 3)), "take one that is made for systems"),
        (lambda: de.compile("gddim", de.VP(), grid(de.VP(), 3)), "VP.* has one state"),
        (
            lambda: de.compile("momentum(base='gddim_2')", de.CLD(), grid(de.CLD(), 3)),
            "on a system step.x is a vector",
        ),
        (lambda: de.compile(half_a_state, de.CLD(), grid(de.CLD(), 3)), "must return the new state, a vector"),
        (lambda: de.compile("gddim", de.CLD(), grid(de.CLD(), 3), factor="Q"), "no factor 'Q'; there are R and L"),
        (lambda: de.compile("gddim", de.CLD(), de.grids.quadratic(de.CLD(), 3, final="zero")), "inside"),
        (lambda: de.compile("gddim", de.CLD(), grid(de.CLD(), 3), terms=-1), "outside its range"),
        (lambda: de.CLD(vv0=0.0), "needs 0 < vv0"),
        (lambda: de.CLD(jitter=1.0), "jitter"),
        (lambda: de.CLD(m_inv=-1.0), "m_inv=-1.0"),
        (lambda: de.CLD(beta="4"), "beta must be a real number"),
        (lambda: de.CLD(jitter=1e-6).level(lam=30.0), "outside"),
        (lambda: de.law(de.compile("gddim", de.CLD(), grid(de.CLD(), 3)), de.Gaussian(0.0, 1.0)), "moves a system"),
        (lambda: law(de.compile("ddim", de.VP(), grid(de.VP(), 3)), de.Gaussian(0.0, 1.0)), "moves one state"),
        (lambda: law(de.compile("gddim", de.CLD(), grid(de.CLD(), 3)), MIXTURE), "mixture"),
        (lambda: MIXTURE.denoiser(de.CLD())(np.zeros((4, 2)), 0.5), "positions and velocities"),
        (lambda: MIXTURE.denoiser(de.CLD()).predict(states(2, 2), de.CLD().level(0.5), "v"), "not 'v'"),
        (
            lambda: de.sample(MIXTURE.denoiser(de.CLD()), "gddim", grid(de.CLD(), 3), np.zeros((4, 3, 2))),
            "2 components",
        ),
    ],
)
def test_errors_name_the_remedy(call: Any, says: str) -> None:
    with pytest.raises(de.DiffodeError, match=says):
        call()


def test_matrices_of_other_sizes_have_no_inverse() -> None:
    with pytest.raises(de.PlanError, match="two components"):
        Matrix(((1.0,),)).inverse()


def test_a_plan_of_a_system_has_all_components_at_each_level() -> None:
    plan = de.compile("gddim", de.CLD(), grid(de.CLD(), 3))
    assert [plan.state(k) for k in range(4)] == [(f"x{k}", f"xv{k}") for k in range(4)]
    assert plan.head(2).state(-1) == ("x2", "xv2")
    assert plan.head(2).nfe == 2
    with pytest.raises(de.PlanError, match="have other components"):
        Plan(plan.rows, plan.inputs, plan.states, plan.levels, None, "short", plan.beside[:-1])
