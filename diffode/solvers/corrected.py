r"""UniC as the corrector of any solver, and correctors in other variables: Adams–Moulton on whatever predicts.

The base takes its step to x̃_t. The network is evaluated there, and the step is taken again, from x_s through the last
values and the new one:

    x_t = ratio·x_s + Σ_j w_j m_j,    the m_j at λ_t (predicted), λ_s, λ_{s−1}, …

In PEC mode the value at x̃_t is what the base finds at the beginning of its next step, so that correcting costs no
evaluation. On UniP that is UniPC; on Euler's method in ρ with the trapezoidal rule in ρ it is Heun's in PECE mode.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffode.errors import SolverError
from diffode.plan import Level, Linear
from diffode.prediction import change
from diffode.solvers.adams import deis_rhoab_2, deis_tab_2, through
from diffode.solvers.base import Erratum, Solver, limit, solver
from diffode.solvers.exponential import interpolate, noise, order_here
from diffode.solvers.first_order import ddim
from diffode.solvers.multistep import dpmpp_2m, dpmpp_3m, exponential_adams
from diffode.solvers.pseudo import ipndm_3
from diffode.solvers.runge_kutta import euler
from diffode.solvers.singlestep import dpmpp_2s, dpmpp_3s
from diffode.solvers.stochastic_adams import sa_predictor_sde
from diffode.solvers.transforms import resolved
from diffode.solvers.unipc import correct, unip_1, unip_2, unip_3
from diffode.trace import Step

MODES = ("PEC", "PECE")
VARIABLES = ("lambda", "rho", "t")


def _order(base: str | Solver, order: int) -> float:
    """One more than the base's, but no more than the corrector's; with noise the weak order is 2 at most."""
    rule = resolved(base)
    found = min(rule.order + 1, order + 1)
    return min(found, 2) if rule.options.get("tau") else found


def _reaches(base: str | Solver, order: int) -> float | None:
    """Of a base that misses its own claim."""
    missed = resolved(base).reaches
    return missed + 1 if missed is not None and missed + 1 < _order(base, order) else None


def _erratum(base: str | Solver, order: int) -> Erratum | None:
    """The base's, put right under the same corrector."""
    slip = resolved(base).erratum
    if slip is None or _reaches(base, order) is None:
        return None
    return replace(slip, right=f"unic(base={slip.right!r}, order={order})" if slip.right else "")


def given(step: Step, d: Linear | None = None, seen: list[Linear] | None = None) -> Step:
    """The step, with d for the first evaluation of its own state; `seen` gets the value that the rule found there."""
    kind, found = type(step), [] if seen is None else seen

    def model(self: Step, x: Linear, level: Level, *more: Any, **named: Any) -> Linear:
        if found or level is not self.now or x.terms.keys() != self.x.terms.keys() or more or named:
            return kind.model(self, x, level, *more, **named)
        found.append(kind.model(self, x, level) if d is None else d)
        if d is not None:
            self.store(d)
        return found[0]

    return type("Given", (kind,), {"model": model})(**vars(step))


@solver(
    order=_order,
    reaches=_reaches,
    erratum=_erratum,
    strong_order=lambda base: resolved(base).strong_order,
    prediction=lambda base: resolved(base).prediction,
    history=lambda base, order: max(resolved(base).history, order - 1),
    exponential=lambda base: resolved(base).exponential,
    uniform=lambda base: resolved(base).uniform,
    source="arXiv:2302.04867, Algorithm 1 and section 3.2: UniC after any solver",
    ranges={"order": (1, 12)},
    limits=[
        limit("unipc_1", base=unip_1, order=1),
        limit("unipc_2", base=unip_2),
        limit("unipc_3", base=unip_3, order=3),
        limit("exponential_pece", base=exponential_adams.configure(order=2), variant="exact", mode="PECE"),
        limit("heun", base=euler, order=1, variable="rho", mode="PECE"),
        limit(
            "sa_solver(predictor=2, corrector=3, tau=0.7, final='predict', lower_order_final=False)",
            base=sa_predictor_sde.configure(predictor=2, tau=0.7, lower_order_final=False),
        ),
    ],
)
def unic(
    step: Step,
    base: Any = dpmpp_2m,
    order: int = 2,
    variant: str = "bh2",
    variable: str = "lambda",
    mode: str = "PEC",
) -> Linear:
    r"""UniC-p after the step of any other solver: one order more, at most p + 1, for no evaluation.

        x̃_t = base,    x_t = ratio·x_s + Σ_j w_j m_j,    the m_j at λ_t (predicted), λ_s, λ_{s−1}, …

    The base is one that evaluates the network at the beginning of its step, in the data or the noise prediction, of
    one step or many; its noise is that of an option `tau`. Steps for which the base is of full order and too few values
    are known are left uncorrected, as is the last step in PEC mode.

    Parameters
    ----------
    base : str or Solver
        The predictor, or its name.
    order : int
        p: the corrector weighs the new value, the one at the beginning, and p − 1 earlier ones.
    variant : {"bh1", "bh2", "exact", "vary_coeff"}
        See `unipc`; for the corrector in λ.
    variable : {"lambda", "rho", "t"}
        What the corrector's polynomial is in; in ρ and t for bases that predict the noise.
    mode : {"PEC", "PECE"}
        Whether the base goes on from the value at the predicted point, or evaluates anew at the corrected one.
    """
    rule = resolved(base)
    _check(step, rule, variable, mode)
    if step.now.singular or step.next.singular:
        if "d" in step.memory and step.singular:
            return _to_the_end(step, step.memory.pop("d", Linear({})))
        return rule(step)
    seen = list[Linear]()
    inner = given(step, step.memory.pop("d", Linear({})) if "d" in step.memory else None, seen)
    predicted = rule(inner)
    step.stored = inner.stored
    values, levels = _latest(step, rule, order, seen)
    _refuse_other_noise(step, rule, predicted)
    if step.last and mode == "PEC":
        return predicted
    whole = not rule.history or rule.options.get("start") == "exact"
    if whole and len(values) < min(order, rule.order):
        return predicted
    new = step.model(predicted, step.next)
    if mode == "PEC":
        step.memory["d"] = new
    elif "d" in step.memory:
        del step.memory["d"]  # a base with a corrector of its own has left it
    tau = rule.options.get("tau", 0.0)
    if variable != "lambda":
        return through(step, variable, "exact", [new, *values], [step.next, *levels], step.next)
    if not tau:
        return correct(step, rule.prediction, variant, values, levels, new)
    added = noise(step, step.now, step.next, rule.prediction, tau)
    return interpolate(step, rule.prediction, [new, *values], [step.next, *levels], tau=tau) + added


def _check(step: Step, rule: Solver, variable: str, mode: str) -> None:
    name = step.tracer.rule.name
    if mode not in MODES or variable not in VARIABLES:
        raise SolverError(f"{name}: mode is one of {MODES} and variable one of {VARIABLES}, not {mode!r}, {variable!r}")
    if rule.prediction not in (("x0", "eps") if variable == "lambda" else ("eps",)):
        weighed = "data or noise" if variable == "lambda" else "noise"
        raise SolverError(
            f"{name}: the corrector in {variable} weighs {weighed} predictions, but {rule.name} asks for "
            f"{rule.prediction!r}; take another base"
        )
    if rule.options.get("start") == "derived":
        raise SolverError(f"{name}: {rule.name} has start='derived', which cannot be corrected; take 'ramp' or 'exact'")


def _to_the_end(step: Step, d: Linear) -> Linear:
    """The exact one-step formula at an infinite h, with the value that is known."""
    a, b = change(step.tracer.rule.prediction, "x0", step.now)
    ratio = step.next.sigma / step.now.sigma
    return ratio * step.x + (step.next.alpha - step.now.alpha * ratio) * (a * step.x + b * d)


def _latest(step: Step, rule: Solver, order: int, seen: list[Linear]) -> tuple[list[Linear], list[Level]]:
    """The values that the corrector of this step weighs besides the new one, newest first, and their levels."""
    if not seen:
        raise SolverError(
            f"{step.tracer.rule.name}: {rule.name} does not evaluate the network at its own state at the beginning of "
            "its step, which the corrector needs; take another base"
        )
    names = [f"value {k} of {rule.name}" for k in range(1, order)]
    values = [seen[0], *(step.memory[name] for name in names if name in step.memory)]
    for name, value in zip(names, values, strict=False):
        step.memory[name] = value
    count = min(order_here(step, order, rule.options.get("lower_order_final", False)), len(values))
    return values[:count], [step.now, *map(step.past_level, range(1, count))]


def _refuse_other_noise(step: Step, rule: Solver, predicted: Linear) -> None:
    drawn = {*step.tracer.increments.values(), *step.tracer.normals.values()} & {*predicted.terms}
    if drawn and not rule.options.get("tau"):
        raise SolverError(
            f"{step.tracer.rule.name}: {rule.name} draws noise that is not that of a level tau, which its corrector "
            "would lose; take a base without noise or with an option tau"
        )


_UNIC = "arXiv:2302.04867, section 3.2: UniC"


def _after(name: str, base: Solver, order: int, **options: Any) -> Solver:
    return unic.configure(name, base=base, order=order, source=f"{_UNIC} on {base.source}", **options)


ddim_unic = _after("ddim_unic", ddim, 1)
dpmpp_2s_unic = _after("dpmpp_2s_unic", dpmpp_2s, 2)
dpmpp_3s_unic = _after("dpmpp_3s_unic", dpmpp_3s, 3)
dpmpp_3m_unic = _after("dpmpp_3m_unic", dpmpp_3m, 3)
deis_rhoab_2_unic = _after("deis_rhoab_2_unic", deis_rhoab_2, 3)
ipndm_3_unic = _after("ipndm_3_unic", ipndm_3, 3)
deis_rhoab_2_rhoam = _after("deis_rhoab_2_rhoam", deis_rhoab_2, 3, variable="rho")
deis_tab_2_tam = _after("deis_tab_2_tam", deis_tab_2, 3, variable="t")
heun_pc = unic.configure(
    "heun_pc", base=euler, order=1, variable="rho", source="Euler's method and the trapezoidal rule in ρ, PEC mode"
)
