r"""Singlestep DPM-Solver and DPM-Solver++ of orders 2 and 3: exponential Runge–Kutta methods in λ.

Stages sit at λ_s + r h. Both predictions are one formula (see `diffode.solvers.exponential`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffode import phi
from diffode.kinds import Number, package_of
from diffode.plan import Level, Linear
from diffode.solvers.base import Erratum, limit, solver
from diffode.solvers.exponential import taylor
from diffode.solvers.first_order import ancestral
from diffode.trace import Step


def _inner(step: Step, r: Number, spacing: str, b: Level) -> tuple[Level, Number]:
    """The stage at the fraction r of the way to b in λ, t or √t, with its fraction in λ."""
    now = step.now
    h = b.lam - now.lam
    if spacing == "lambda":
        return step.level(lam=now.lam + r * h), r
    if spacing == "t":
        level = step.level(t=now.t + r * (b.t - now.t))
    else:
        root = phi.sqrt(now.t) + r * (phi.sqrt(b.t) - phi.sqrt(now.t))
        level = step.level(t=root * root)
    return level, (level.lam - now.lam) / h


Pair = tuple[Linear, Callable[[], Linear] | None]
"""The state after a step, and what makes the embedded result of one order less, where there is one."""


def _second(step: Step, prediction: str, kind: str, r: Number, spacing: str, d: Linear, b: Level) -> Pair:
    middle, r = _inner(step, r, spacing, b)
    d1 = step.model(taylor(step, prediction, [d], middle), middle)
    return _sloped(step, prediction, kind, d, (d1 - d) / r, b), lambda: taylor(step, prediction, [d], b)


def _sloped(step: Step, prediction: str, kind: str, d: Linear, slope: Linear, b: Level) -> Linear:
    """The step of order 2 with a slope."""
    return taylor(step, prediction, [d, slope] if kind == "taylor" else [d + slope / 2], b)


def _third(step: Step, prediction: str, kind: str, r: Sequence[Number], spacing: str, d: Linear, b: Level) -> Pair:
    (first, r1), (second, r2) = _inner(step, r[0], spacing, b), _inner(step, r[1], spacing, b)
    d1 = step.model(taylor(step, prediction, [d], first), first)
    slope1 = (d1 - d) / r1
    if kind == "midpoint":
        x2 = taylor(step, prediction, [d + r2 * slope1 / 2], second)
    else:
        x2 = taylor(step, prediction, [d, r2 * slope1], second)
    d2 = step.model(x2, second)
    slope2 = (d2 - d) / r2
    derivatives = [d, slope2]
    if kind == "taylor":
        derivatives = [d, (r2 * slope1 - r1 * slope2) / (r2 - r1), 2 * (slope2 - slope1) / (r2 - r1)]
    return taylor(step, prediction, derivatives, b), lambda: _sloped(step, prediction, kind, d, slope1, b)


def shifted(step: Step, level: Level, by: Number, cleaner: bool) -> tuple[Level, Number]:
    """A level so far in λ to the cleaner or the noisier side, but not outside the process, and how far it is."""
    process = step.tracer.grid.process
    if hasattr(process, "domain") and package_of(by) != "sympy":  # the processes of proofs have no ends, nor do symbols
        end = process.lam(phi.constant(process.domain[0 if cleaner else 1], level.lam))
        whole = end - level.lam if cleaner else level.lam - end
        room = phi.choose(whole > 0, lambda: whole, lambda: 0.0 * level.lam)
        by = phi.choose(by > room, lambda: room, lambda: by)
    return step.level(lam=level.lam + by if cleaner else level.lam - by), by


def _ancestral(step: Step, eta: float, advance: Callable[[Level], Pair], floor: Level | None = None) -> Linear:
    r"""A deterministic step to a level below `next`, and the noise that leads up from there.

        x_t = (α_t/α_d) x_d + v z,    v² = σ_t² − α_t² ρ_d² = η² σ_t² (1 − e^{−2h})

    Parameters
    ----------
    step : Step
    eta : float
        Share of the noise.
    advance : callable
        The deterministic step to a level, with its embedded result.
    floor : Level, optional
        Below which d is not put.
    """
    if not eta:
        result, lower = advance(step.next)
        if lower is not None:
            step.embed(lambda new: lower())
        return result
    after = step.next
    drop = -0.5 * phi.log1p(eta * eta * phi.expm1(-2 * step.h))
    if floor is not None:
        room = floor.lam - after.lam
        drop = phi.choose(drop > room, lambda: room, lambda: drop)
    below, drop = shifted(step, after, drop, cleaner=True)
    deviation = after.sigma * phi.sqrt(-phi.expm1(-2 * drop))
    (result, lower), up = advance(below), after.alpha / below.alpha
    noise = deviation * step.noise(step.now, after, clock="snr")
    if lower is not None:
        step.embed(lambda new: up * lower() + noise)
    return up * result + noise


@solver(
    order=2,
    strong_order=lambda eta: 1.0 if eta else None,
    prediction=lambda prediction: prediction,
    exponential=True,
    source="arXiv:2206.00927, Algorithm 1 and 4 (noise prediction); arXiv:2211.01095, Algorithm 1 (data prediction)",
    ranges={"r1": (1e-6, 1.0), "eta": (0.0, 1.0)},
    limits=[limit("dpm2", r1=0.5, prediction="eps")],
)
def singlestep_2(
    step: Step,
    r1: float = 0.5,
    prediction: str = "eps",
    kind: str = "dpmsolver",
    inner: str = "lambda",
    eta: float = 0.0,
) -> Linear:
    r"""DPM-Solver-2 and DPM-Solver++(2S), with a free inner node.

        u   = the first-order step to λ_s + r_1 h,    Δ = (m(u) − m_0)/r_1
        x_t = ratio·x_s − gain·z φ_1(z) (m_0 + Δ/2)                      kind="dpmsolver"
        x_t = ratio·x_s − gain·z (φ_1(z) m_0 + φ_2(z) Δ)                 kind="taylor"

    Parameters
    ----------
    r1 : float
        Inner node, 0 < r1 ≤ 1.
    prediction : {"eps", "x0"}
    kind : {"dpmsolver", "taylor"}
    inner : {"lambda", "t", "sqrt_t"}
        The variable in which r1 is measured; the official code takes it from the outer grid.
    eta : float
        Share of ancestral noise: all of the above to a level below `next`, then noise up to it (k-diffusion).
    """
    d = step.model(step.x, step.now)
    return _ancestral(step, eta, lambda b: _second(step, prediction, kind, r1, inner, d, b))


def _erratum(r2: float, prediction: str) -> Erratum | None:
    if abs(r2 - 2 / 3) < 1e-12:
        return None
    right = "dpm_solver_3" if prediction == "eps" else "dpmpp_3s"
    return Erratum("The last inner point is not at two thirds of the step, which its weights are for.", right)


@solver(
    order=3,
    reaches=lambda r2: None if abs(r2 - 2 / 3) < 1e-12 else 2,
    erratum=_erratum,
    prediction=lambda prediction: prediction,
    exponential=True,
    source="arXiv:2206.00927, Algorithm 2 and 5 (noise prediction); official code (data prediction)",
    ranges={"r1": (1e-6, 1.0), "r2": (1e-6, 1.0)},
)
def singlestep_3(
    step: Step,
    r1: float = 1 / 3,
    r2: float = 2 / 3,
    prediction: str = "eps",
    kind: str = "dpmsolver",
    inner: str = "lambda",
) -> Linear:
    r"""DPM-Solver-3 and DPM-Solver++(3S). Of third order for r_2 = 2/3 alone.

        u_1 = the first-order step to λ_s + r_1 h,    Δ_1 = (m(u_1) − m_0)/r_1
        u_2 = the step to λ_s + r_2 h with slope Δ_1, Δ_2 = (m(u_2) − m_0)/r_2
        x_t = ratio·x_s − gain·z (φ_1(z) m_0 + φ_2(z) Δ_2)                          kind="dpmsolver"
        x_t = ratio·x_s − gain·z (φ_1(z) m_0 + φ_2(z) m_1 + φ_3(z) m_2)             kind="taylor"

    where m_1 and m_2 belong to the quadratic through all three values.

    Parameters
    ----------
    r1, r2 : float
        Inner nodes.
    prediction : {"eps", "x0"}
    kind : {"dpmsolver", "taylor"}
    inner : {"lambda", "t", "sqrt_t"}
        The variable in which the nodes are measured; anything but λ costs the third order.
    """
    d = step.model(step.x, step.now)
    return _ancestral(step, 0.0, lambda b: _third(step, prediction, kind, (r1, r2), inner, d, b))


_NODES: dict[int, tuple[float, ...]] = {1: (), 2: (0.5,), 3: (1 / 3, 2 / 3)}


@solver(
    order=lambda orders: min(orders),
    strong_order=lambda eta: 1.0 if eta else None,
    prediction=lambda prediction: prediction,
    exponential=True,
    source="arXiv:2206.00927, section 3.4 (DPM-Solver-fast); official code, method='singlestep'",
    ranges={"eta": (0.0, 1.0)},
    limits=[
        limit("ddim", orders=(1,)),
        limit("dpm_solver_2", orders=(2,)),
        limit("dpm_solver_3", orders=(3,)),
    ],
)
def singlestep_mixed(
    step: Step,
    orders: tuple[int, ...] = (3,),
    prediction: str = "eps",
    kind: str = "dpmsolver",
    inner: str = "lambda",
    nodes: tuple[tuple[float, ...], ...] = (),
    eta: float = 0.0,
) -> Linear:
    r"""Singlestep DPM-Solver with an order for each step, as DPM-Solver-fast spends a budget of evaluations.

    Parameters
    ----------
    orders : tuple of int
        Order of step 0, 1, …; the last one goes on. `fast_orders` makes them from a budget.
    prediction : {"eps", "x0"}
    kind : {"dpmsolver", "taylor", "midpoint"}
        "midpoint" is "dpmsolver" with φ_1/2 for the weight of Δ_1 in the second stage too, as diffusers has it.
    inner : {"lambda", "t", "sqrt_t"}
    nodes : tuple of tuples
        The inner nodes of step 0, 1, …, where they are not 1/2 and 1/3, 2/3.
    eta : float
        Share of ancestral noise, as in `singlestep_2`, but never from below the last level of the grid (k-diffusion).
    """
    d = step.model(step.x, step.now)
    order = orders[min(step.index, len(orders) - 1)]
    r = nodes[step.index] if step.index < len(nodes) else _NODES[order]

    def advance(b: Level) -> Pair:
        if order == 1:
            return taylor(step, prediction, [d], b), None
        if order == 2:
            return _second(step, prediction, kind, r[0], inner, d, b)
        return _third(step, prediction, kind, r, inner, d, b)

    return _ancestral(step, eta, advance, step.grid[-1])


def fast_orders(nfe: int, order: int = 3) -> tuple[int, ...]:
    """The orders by which DPM-Solver-fast spends `nfe` evaluations: as many full steps as fit, then lower ones.

    >>> fast_orders(10), fast_orders(9), fast_orders(5, order=2)
    ((3, 3, 3, 1), (3, 3, 2, 1), (2, 2, 1))
    """
    if order == 2:
        return (2,) * (nfe // 2) + (1,) * (nfe % 2)
    full = nfe // 3
    return (3,) * (full - 1) + (2, 1) if nfe % 3 == 0 else (3,) * full + (nfe % 3,)


@solver(
    order=2,
    strong_order=lambda eta: 1.0 if eta else None,
    prediction="x0",
    exponential=lambda eta: eta in (0.0, 1.0),
    source="arXiv:2211.01095, appendix B; k-diffusion, sample_dpmpp_sde",
    ranges={"r": (1e-6, 1.0), "eta": (0.0, 1.0)},
    limits=[limit("dpmpp_2s", eta=0.0)],
)
def dpmpp_sde(step: Step, r: float = 0.5, eta: float = 1.0, clock: str = "snr") -> Linear:
    r"""The two-stage SDE-DPM-Solver++: a midpoint method whose stage and step share one Brownian path.

        u   = the ancestral step to λ_s + r h,    D̄ = (1 − 1/(2r)) D(x_s) + D(u)/(2r)
        x_t = the ancestral step to λ_t with D̄

    The increment over the stage is part of the increment over the step. With two independent draws, as ports often have
    it, the weak order falls to 1.

    Parameters
    ----------
    r : float
        Inner node.
    eta : float
        Share of the noise; 0 is DPM-Solver++(2S).
    clock : str
        Clock of the path; k-diffusion's Brownian tree runs in "sigma".
    """
    now, after = step.now, step.next
    middle = step.level(lam=now.lam + r * step.h)
    d = step.model(step.x, now)
    u = ancestral(step, step.x, d, now, middle, eta, clock)
    d = d + (step.model(u, middle) - d) / (2 * r)
    return ancestral(step, step.x, d, now, after, eta, clock)


_NOISE, _PP = "arXiv:2206.00927", "arXiv:2211.01095"

dpm_solver_1 = singlestep_mixed.configure("dpm_solver_1", orders=(1,), source=f"{_NOISE}, eq. (3.7)")
dpm_solver_2 = singlestep_2.configure("dpm_solver_2", source=f"{_NOISE}, Algorithm 1")
dpm_solver_3 = singlestep_3.configure("dpm_solver_3", source=f"{_NOISE}, Algorithm 2")
dpmpp_2s = singlestep_2.configure("dpmpp_2s", prediction="x0", source=f"{_PP}, Algorithm 1")
dpmpp_3s = singlestep_3.configure("dpmpp_3s", prediction="x0", source=f"{_PP}, official code")
dpm_solver_3_time_uniform = singlestep_3.configure(
    "dpm_solver_3_time_uniform", inner="t", source="official code, method='singlestep', skip_type='time_uniform'"
)
dpm2 = singlestep_2.configure("dpm2", source="k-diffusion, sample_dpm_2 (its midpoint is geometric in σ)")
