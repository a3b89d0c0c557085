r"""Pseudo-numerical methods: the weights of classical methods, on DDIM's step in place of Euler's.

Where a classical method goes from s to t by x + (t − s) k, these go by

    transfer(e) = (α_t/α_s) x + α_t (ρ_t − ρ_s) e

with e the same average of network outputs as the classical one of slopes. The weights are those of equal steps in a
variable, mostly t, but an exact step weighs ε with dρ. On equal steps in ρ the methods are the classical ones for
dy/dρ = ε, of their full order; on equal steps in another variable, where the steps in ρ change smoothly, all of them
are of second order at most; on steps of irregular ratio those with a past are of first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from diffode import phi
from diffode.errors import SolverError
from diffode.kinds import Number
from diffode.plan import Level, Linear
from diffode.prediction import change
from diffode.solvers.adams import deis
from diffode.solvers.base import Erratum, limit, solver
from diffode.solvers.exponential import order_here, taylor
from diffode.solvers.momentum import weights
from diffode.solvers.tableaux import HEUN2, RK4, TABLEAUX, Tableau
from diffode.trace import Step

_PNDM = "arXiv:2202.09778"
_NAMES = {"t": "t", "rho": "rho", "lambda": "lam", "sigma": "sigma"}
"""What a level calls each variable."""


def _total(weights: Sequence[Number], values: Sequence[Linear]) -> Linear:
    return sum((c * value for c, value in zip(weights, values, strict=True) if c != 0), Linear({}))


def _adams(step: Step, value: Linear, order: int) -> Linear:
    """Adams–Bashforth on equal steps: the average of the value at `now` and those before it."""
    return _total(weights(order, Fraction(1)), [value, *(step.past(k) for k in range(1, order))])


def _between(step: Step, variable: str, c: Number) -> Level:
    """The level at the share c of the step in a variable."""
    if variable not in _NAMES:
        name = step.tracer.rule.name
        raise SolverError(f"{name}: no variable named {variable!r}; there are {', '.join(_NAMES)}")
    if c in (0, 1):
        return step.next if c else step.now
    key = _NAMES[variable]
    start, end = getattr(step.now, key), getattr(step.next, key)
    return step.level(**{key: start + phi.literal(c, start) * (end - start)})


def _pseudo(step: Step, table: Tableau, variable: str) -> Linear:
    """One step of `pseudo_runge_kutta`."""
    outputs: list[Linear] = []
    for row, c in zip(table.a, table.c, strict=True):
        level = _between(step, variable, c)
        x = taylor(step, "eps", [_total([a / c for a in row], outputs)], level) if c else step.x
        outputs.append(step.model(x, level))
    return taylor(step, "eps", [_total(table.b, outputs)])


def _explicit(tableau: str) -> Tableau:
    if tableau not in TABLEAUX:
        raise SolverError(f"pseudo_runge_kutta: no tableau named {tableau!r}; there are {', '.join(TABLEAUX)}")
    return TABLEAUX[tableau]


def _order_in(order: int, variable: str) -> int:
    """Weights of equal steps in another variable than ρ leave second order at most."""
    return order if variable == "rho" else min(order, 2)


@solver(
    order=lambda tableau, variable: _order_in(_explicit(tableau).order, variable),
    prediction="eps",
    exponential=True,
    source=f"{_PNDM}, eq. (12) and Algorithm 2",
    limits=[limit("heun", tableau="heun"), limit("rk4", variable="rho"), limit("ddim", tableau="euler")],
)
def pseudo_runge_kutta(step: Step, tableau: str = "rk4", variable: str = "t") -> Linear:
    r"""A Runge–Kutta method with DDIM's transfer between its stages.

        X_i = transfer_{s → s + c_i h}(Σ_j (a_ij/c_i) ε_j),    x_t = transfer_{s → t}(Σ_i b_i ε_i)

    With the tableau of Kutta's method it is PRK, with Heun's PIE, which is Heun's method in ρ.

    Parameters
    ----------
    tableau : str
        A name in `TABLEAUX`.
    variable : {"t", "rho", "lambda", "sigma"}
        Where c_i is measured; in ρ it is the Runge–Kutta method itself.
    """
    return _pseudo(step, _explicit(tableau), variable)


WARMUPS = ("prk", "pie", "ramp")


@solver(
    order=lambda order, variable: _order_in(order, variable),
    prediction="eps",
    history=lambda order: order - 1,
    exponential=True,
    uniform=lambda order, variable: None if order == 1 else _NAMES.get(variable),
    source=f"{_PNDM}, Algorithm 2",
    ranges={"order": (1, 12)},
    limits=[
        limit("ddim", order=1),
        limit("ghvb_4", warmup="ramp"),
        limit("deis_rhoab_2", uniform="rho", order=3, warmup="ramp"),
        limit("lms", uniform="rho", warmup="ramp"),
    ],
)
def pndm(
    step: Step,
    order: int = 4,
    warmup: str = "prk",
    variable: str = "t",
    lower_order_final: bool | str = False,
) -> Linear:
    r"""Pseudo linear multistep: the Adams–Bashforth average of the last ε, moved by DDIM's transfer.

        x_t = transfer(Σ_j a_j ε_{n−j}),    a = (55, −59, 37, −9)/24 for four values

    F-PNDM warms up by PRK and S-PNDM by PIE, whose first evaluations become the past; iPNDM by Adams–Bashforth of
    lower order. The PLMS of the diffusers library takes one step of PIE and then Adams–Bashforth of growing order.

    Parameters
    ----------
    order : int
        How many values are averaged.
    warmup : {"prk", "pie", "ramp"}
        All steps without a whole past by PRK; the first by PIE; all by Adams–Bashforth of the order at hand.
    variable : {"t", "rho", "lambda", "sigma"}
        In which the steps are equal: it is what the claim is for, and where PRK has its half steps. In ρ the order is
        whole, in others 2 at most.
    lower_order_final : bool or {"last", "early", "derived"}
        See `order_here`.
    """
    if warmup not in WARMUPS:
        raise SolverError(f"{step.tracer.rule.name}: no warmup {warmup!r}; there are {', '.join(WARMUPS)}")
    if step.starting and (warmup == "prk" or (warmup == "pie" and not step.depth)):
        return _pseudo(step, RK4 if warmup == "prk" else HEUN2, variable)
    d = step.model(step.x, step.now)
    return taylor(step, "eps", [_adams(step, d, order_here(step, order, lower_order_final))])


def _slips(order: int) -> Erratum:
    more = "" if order == 3 else ", the sign of a term of T_2, and the ratio in the last difference"
    return Erratum(f"Wrong in the weights: a bracket of T_1{more}.", f"ipndm_v_{order}")


@solver(
    order=lambda order: order,
    reaches=lambda order: 2 if order > 2 else None,
    erratum=lambda order: _slips(order) if order > 2 else None,
    prediction="eps",
    history=lambda order: order - 1,
    exponential=lambda order: order < 4,
    uniform=lambda order: "t" if order == 4 else None,
    source="diff-sampler, ipndm_v_sampler; ComfyUI, sample_ipndm_v",
    ranges={"order": (1, 4)},
    limits=[limit("ddim", order=1), limit("deis_rhoab_1", order=2), limit("deis_rhoab_2", uniform="rho", order=3)],
)
def ipndm_v_published(step: Step, order: int = 4) -> Linear:
    r"""Adams–Bashforth on unequal steps in ρ as the official code has it, with its three slips.

    With h_0 the step, h_1, h_2, … those before it and E_k the k-th divided difference of ε times the last k steps back,

        x_t = transfer(ε + h_0/(2 h_1) E_1 + T_1 E_2 + T_2 E_3),

        T_1 = ½ (1 − p q)           for ½ (1 − p) q,                   p = h_0/(3 (h_0 + h_1))
        T_2 = (½ (1 − p) + w) r     for (½ (1 − p) − w) r,             w = (1 − 3p/2) h_0/(6 (h_0 + h_1 + h_2))
        E_3 ends in h_1/h_2 ε_3     where it should in h_2/h_3 ε_3.

    The first leaves three values with order 2. The last makes the weights of four values add up to another number than
    1 unless h_1/h_2 = h_2/h_3: on steps of irregular ratio they are not consistent, on smooth ones of order 2, and on
    equal steps in ρ of order 3.

    Parameters
    ----------
    order : {1, 2, 3, 4}
    """
    d = step.model(step.x, step.now)
    count = min(order, step.depth + 1)
    rho = [step.next.rho, step.now.rho, *(step.past_level(k).rho for k in range(1, count))]
    h = [b - a for a, b in zip(rho[1:], rho, strict=False)]
    e = [d, *(step.past(k) for k in range(1, count))]
    along, scale = (step.next.alpha / step.now.alpha) * step.x, step.next.alpha * h[0]
    mean = d + h[0] / (2 * h[1]) * (e[0] - e[1]) if count > 1 else d
    if count < 3:
        return along + scale * mean
    p, back = h[0] / (3 * (h[0] + h[1])), h[1] / h[2]
    q = h[0] * (h[0] + h[1]) / (h[1] * (h[1] + h[2]))
    mean = mean + (1 - p * q) / 2 * (e[0] - e[1] - back * (e[1] - e[2]))
    if count > 3:
        whole = h[0] + h[1] + h[2]
        w = (1 - 3 * p / 2) * h[0] / (6 * whole)
        r = q * whole / (h[1] + h[2] + h[3])
        bend = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
        third = e[0] - e[1] - (back + bend) * (e[1] - e[2]) + bend * (h[2] / h[3] * e[2] - back * e[3])
        mean = mean + ((1 - p) / 2 + w) * r * third
    return along + scale * mean


@solver(
    order=lambda order: order,
    prediction="eps",
    history=lambda order: order - 1,
    uniform="t",
    source=f"{_PNDM}, section 3.3 (FON)",
    ranges={"order": (1, 12), "difference": (0.0, 1.0)},
    limits=[limit("euler_t", order=1)],
)
def fon(step: Step, order: int = 4, stages: str = "own", difference: float = 0.0) -> Linear:
    r"""The classical fourth-order numerical method on dx/dt, which PNDM is compared with: RK4, then Adams–Bashforth.

        x_t = x_s + (t − s) Σ_j a_j k_{n−j},    k = (α′/α) x + α ρ′ ε

    Parameters
    ----------
    order : int
        How many slopes are averaged.
    stages : {"own", "first"}
        "first": the slopes of all stages of RK4 are taken at the x and t of the first, with their own ε, as in the
        official code, which leaves the warm-up of first order.
    difference : float
        Take k from a DDIM step over so much of t, as the official code does (1/1000 of the whole), in place of the
        derivative.
    """
    if stages not in ("own", "first"):
        raise SolverError(f"{step.tracer.rule.name}: no stages {stages!r}; there are own, first")

    def slope(x: Linear, level: Level) -> Linear:
        e = step.model(x, level)
        if stages == "first":
            x, level = step.x, step.now
        return _rate(step, x, e, level, difference)

    delta = step.next.t - step.now.t
    slopes = [slope(step.x, step.now)]
    step.store(slopes[0])
    if not step.starting:
        return step.x + delta * _adams(step, slopes[0], order)
    for row, c in zip(RK4.a[1:], RK4.c[1:], strict=True):
        slopes.append(slope(step.x + delta * _total(row, slopes), _between(step, "t", c)))
    return step.x + delta * _total(RK4.b, slopes)


def _rate(step: Step, x: Linear, e: Linear, level: Level, difference: float) -> Linear:
    """dx/dt of the probability flow, or its difference quotient along DDIM."""
    if not difference:
        a, b = change("eps", "velocity", level)
        return a * x + b * e
    near = step.level(t=level.t - difference)
    ratio = near.alpha / level.alpha
    return ((1 - ratio) / difference) * x + (near.alpha * (level.rho - near.rho) / difference) * e


prk = pseudo_runge_kutta.configure("prk", source=f"{_PNDM}, eq. (12)")
pie = pseudo_runge_kutta.configure("pie", tableau="heun", source=f"{_PNDM}, appendix: pseudo improved Euler")
f_pndm = pndm.configure("f_pndm", source=f"{_PNDM}, Algorithm 2 (F-PNDM)")
s_pndm = pndm.configure("s_pndm", order=2, warmup="pie", source=f"{_PNDM}, Algorithm 2 (S-PNDM)")
plms = pndm.configure("plms", warmup="pie", source="the diffusers library, PNDMScheduler(skip_prk_steps=True)")
ipndm_2, ipndm_3, ipndm_4 = (
    pndm.configure(
        f"ipndm_{k}", order=k, warmup="ramp", variable="rho", source="arXiv:2204.13902, iPNDM; official code"
    )
    for k in range(2, 5)
)
ipndm_v_3, ipndm_v_4 = (
    deis.configure(f"ipndm_v_{k}", degree=k - 1, variable="rho", source="diff-sampler, ipndm_v, with the right weights")
    for k in (3, 4)
)
ipndm_v_published_3 = ipndm_v_published.configure("ipndm_v_published_3", order=3)
fon_published = fon.configure("fon_published", stages="first", source="official code, runner/method.py, gen_fon")
