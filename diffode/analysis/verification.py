"""Verification: every check that applies to a solver, put together in a certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

from diffode.analysis.certificate import Certificate, Check
from diffode.analysis.convergence import order_gaussian, order_mixture, order_started
from diffode.analysis.order.fixed_point import probe
from diffode.analysis.order.proof import OrderProof, prove_order
from diffode.analysis.slopes import MARGIN, Slope
from diffode.analysis.soundness import consistency, zero_stability
from diffode.analysis.stochastic import has_level, strong_order, w2_order, weak_order, weak_order_mixture
from diffode.analysis.systems import measured_order
from diffode.errors import BranchError, DiffodeError, PlanError, SolverError
from diffode.grids import quadratic, uniform_lambda
from diffode.kinds import LETTERS
from diffode.plan import Evaluate, Normal, Plan
from diffode.process import CLD, EDM, VP, LinearSystem, Process, named
from diffode.solvers import Solver, get_solver
from diffode.solvers.registry import SYSTEMS

Progress = Callable[[str, int, int], None]
"""Called with the name of the next check, how many are done, and how many there are."""


FAST = ("consistency", "order_proof", "stiff_order", "zero_stability", "order_mixture")
"""The checks that tell the order: what `fast=True` keeps."""


@dataclass(frozen=True)
class _Subject:
    """What is verified, and on which process."""

    solver: Solver
    process: Process

    @property
    def variable(self) -> str:
        return self.solver.uniform or "lam"

    @property
    def spacing(self) -> str:
        return "uniform" if self.solver.uniform else "rough"


def verify(
    solver: str | Solver,
    process: Process | str | None = None,
    progress: Progress | None = None,
    stop_at_failure: bool = False,
    fast: bool = False,
) -> Certificate:
    """The truth about a solver: order proved and measured, stability at h = 0, exact errors on Gaussian data.

    Parameters
    ----------
    solver : str or Solver
        A name, a solver, or a file ("path/to/file.py", "file.py:name").
    process : Process or str, optional
        Where it is measured; VP by default. What is proved holds for every process. A rule for systems is measured
        only, on CLD by default; give one of your own a `LinearSystem`.
    progress : callable, optional
        Told the name of each check before it runs.
    stop_at_failure : bool
        Whether to leave out the checks after the first that fails.
    fast : bool
        Whether to make only the checks that tell the order (`FAST`), and to leave out what is proved besides.

    Returns
    -------
    Certificate
        `.verdict`, `.checks`, `.order`, `.to_json()`, `.to_html(path)`.

    Raises
    ------
    SolverError
        If there is no such solver, or its rule cannot be traced.

    Examples
    --------
    >>> import diffode as de
    >>> certificate = de.verify("ddim")
    >>> certificate.verdict, certificate.order, certificate["order_proof"].verdict
    ('PASS', 1.0, 'PASS')
    """
    chosen = get_solver(solver)
    if not chosen.order:
        raise SolverError(
            f"verify: {chosen.name} claims no order, as coefficients fitted to one number of steps do, and there "
            "is nothing to verify; measure it on a problem instead (fit.provenance has what it reaches)"
        )
    where = named(process) if isinstance(process, str) else process or (CLD() if chosen.family in SYSTEMS else VP())
    if isinstance(where, LinearSystem):
        return _of_system(chosen, where, progress)
    subject = _Subject(chosen, where)
    plan = probe(chosen)
    plan.require_linear("verification")
    chosen.plan(uniform_lambda(where, chosen.history + 2))  # a process that cannot serve the rule says so here
    checks: list[Check] = []
    planned = [(name, run) for name, run in _checks(subject, plan.is_deterministic, checks) if not fast or name in FAST]
    for done, (name, run) in enumerate(planned):
        if progress is not None:
            progress(name, done, len(planned))
        checks.append(_guarded(name, run, chosen))
        if stop_at_failure and checks[-1].verdict == "FAIL":
            break
    if plan.is_deterministic and len(checks) == len(planned):
        checks.append(_agreement(checks))
    facts = {
        "prediction": chosen.prediction,
        "history": chosen.history,
        "evaluations_per_step": evaluations_per_step(chosen),
        "stochastic": not plan.is_deterministic,
        "source": chosen.source,
        "summary": chosen.summary,
        "theory": [] if fast else theory(chosen),
        "coefficients": "not compared with exact ones (fast)" if fast else _coefficients(chosen, where),
    }
    return Certificate(chosen.name, chosen.order, tuple(checks), repr(where), facts, subject)


def _of_system(solver: Solver, process: LinearSystem, progress: Progress | None) -> Certificate:
    """A rule for systems: its order is measured, on a mixture or in law, and there is no proof."""
    plan = solver.plan(quadratic(process, solver.history + 2, start=0.5, end=0.25))
    name = "order_mixture" if plan.is_deterministic else "order_gaussian"
    if progress is not None:
        progress(name, 0, 1)
    what = "given an exact past" if plan.is_deterministic else "in law"
    check = _measured(name, measured_order(solver, process), solver, what)
    facts = {
        "prediction": solver.prediction,
        "history": solver.history,
        "evaluations_per_step": _in_the_last_step(plan),
        "stochastic": not plan.is_deterministic,
        "source": solver.source,
        "summary": solver.summary,
        "theory": [],
        "coefficients": "not compared with exact ones: R is known in floats",
    }
    return Certificate(solver.name, solver.order, (check,), repr(process), facts, _Subject(solver, process))


def _coefficients(solver: Solver, process: Process) -> str:
    """How far float coefficients are from the exact ones, on a few equal steps in λ."""
    from diffode.analysis.enclosure import coefficient_error

    try:
        return str(coefficient_error(solver, uniform_lambda(process, solver.history + 3)))
    except (DiffodeError, ArithmeticError, TypeError, ValueError) as problem:
        return f"not compared with exact ones: {problem}"


def theory(solver: Solver) -> list[str]:
    """What is proved besides the classical order: the stiff order, or the weak and strong orders of a rule with noise.

    >>> from diffode.solvers import get_solver
    >>> theory(get_solver("dpmpp_3m_corrected"))
    ['stiff order 3; fails Σ b c^3/6 = φ_4 at order 4']
    """
    from diffode.analysis.order.stiff import stiff_order
    from diffode.analysis.order.strong import strong_conditions
    from diffode.analysis.order.weak import weak_conditions

    proofs: tuple[Callable[[Solver], object], ...] = (stiff_order,) if solver.exponential else ()
    if not probe(solver).is_deterministic:
        proofs = (weak_conditions, strong_conditions)
    found: list[str] = []
    for prove in proofs:
        with suppress(DiffodeError, ArithmeticError, TypeError):  # what the conditions are not about is measured only
            found.append(str(prove(solver)))
    return found


def evaluations_per_step(solver: Solver) -> int:
    """Evaluations that one step in the middle of a run takes."""
    return _in_the_last_step(probe(solver))


def _in_the_last_step(plan: Plan) -> int:
    last = max((row.step for row in plan.rows if isinstance(row, Evaluate)), default=0)
    return sum(isinstance(row, Evaluate) and row.step == last for row in plan.rows)


def _checks(subject: _Subject, deterministic: bool, checks: list[Check]) -> Iterator[tuple[str, Callable[[], Check]]]:
    solver, process = subject.solver, subject.process
    yield "consistency", lambda: consistency(solver, process)
    if deterministic:
        yield "order_proof", lambda: _proof(subject)
    if solver.stiff_order is not None:
        yield "stiff_order", lambda: _stiff(solver, solver.stiff_order)
    yield "zero_stability", lambda: zero_stability(solver, process)
    if deterministic:
        yield (
            "order_gaussian",
            lambda: _measured(
                "order_gaussian",
                order_gaussian(solver, process, subject.variable),
                solver,
                f"on equal steps in {LETTERS[subject.variable]}",
            ),
        )
        yield "order_mixture", lambda: _mixture(subject)
        yield "order_started", lambda: _started(order_started(solver, process), solver, checks)
        return
    yield "order_gaussian", lambda: _measured("order_gaussian", w2_order(solver, process), solver, "exact W2 distance")
    yield (
        "order_mixture",
        lambda: _measured(
            "order_mixture", weak_order_mixture(solver, process), solver, "law after one step, by quadrature"
        ),
    )
    yield "weak_order", lambda: _measured("weak_order", weak_order(solver, process), solver, "exact mean and deviation")
    if solver.strong_order is not None or _follows_a_path(solver):
        yield "strong_order", lambda: _strong(subject)


def _follows_a_path(solver: Solver) -> bool:
    """Whether there is a strong order: the noise is of the Brownian path, and at one level."""
    return not any(isinstance(row, Normal) for row in probe(solver).noises) and has_level(solver, EDM())


def _guarded(name: str, run: Callable[[], Check], solver: Solver) -> Check:
    """A check that cannot be made is inconclusive, and says why; a rule that cannot be traced is an error."""
    try:
        return run()
    except BranchError as problem:
        return Check(name, "INCONCLUSIVE", detail=str(problem))
    except SolverError:
        raise
    except (DiffodeError, ArithmeticError, TypeError) as problem:
        if isinstance(problem, TypeError) and name != "order_proof":
            raise
        return Check(name, "INCONCLUSIVE", None, solver.order, detail=f"{problem}")


# --- one check each -----------------------------------------------------------------------------------------


def _proof(subject: _Subject) -> Check:
    solver = subject.solver
    proof = prove_order(solver, spacing=subject.spacing, variable=subject.variable)
    where = f" on equal steps in {LETTERS[subject.variable]}" if solver.uniform else ""
    if proof.order >= solver.order:
        stays = any(missed.power <= proof.order for missed in proof.failures)
        above = "" if not proof.complete or proof.order == solver.order else f"; the rule has order {proof.order}"
        beyond = (
            f"; {'what does not grow' if stays else 'the next order'} {proof.failures[0]}" if proof.failures else ""
        )
        detail = f"order {proof.order}{where}: {proof.grounds}{above}{beyond}"
        return Check("order_proof", "PASS", proof.order, solver.order, detail=detail, proof=proof)
    reason = str(proof.failures[0])
    gentler = _gentler(solver, proof)
    detail = f"order {proof.order}{where}, not {solver.order:g}: {reason}{gentler}"
    return Check("order_proof", "FAIL", proof.order, solver.order, detail=detail, proof=proof)


def _stiff(solver: Solver, claim: float | None) -> Check:
    """The stiff order in the weakened form against the claim."""
    from diffode.analysis.order.stiff import stiff_order

    found = stiff_order(solver)
    verdict = "PASS" if claim is not None and found.weakened >= claim else "FAIL"
    return Check("stiff_order", verdict, found.weakened, claim, detail=str(found))


def _gentler(solver: Solver, found: OrderProof) -> str:
    """Whether a rule that misses its order on rough grids has it on smooth or on uniform ones."""
    for spacing in ("smooth", "uniform"):
        for variable in ("lam", "rho", "t"):
            if found.spacing == spacing and found.variable == variable:
                continue
            try:
                proof = prove_order(solver, spacing=spacing, variable=variable)
            except (PlanError, ArithmeticError):
                continue
            if proof.order >= solver.order:
                steps = "smoothly varying" if spacing == "smooth" else "equal"
                hint = f" (declare uniform={variable!r})" if spacing == "uniform" else ""
                return f"; it has order {proof.order} on {steps} steps in {LETTERS[variable]} only{hint}"
    return ""


def _measured(name: str, slope: Slope, solver: Solver, what: str = "") -> Check:
    verdict = slope.judge(solver.order)
    text = f"slope {slope}" + (f", {what}" if what else "")
    if verdict == "PASS" and slope.value > solver.order + 0.5:
        text += "; steeper than claimed"
        text += " (common on a linear problem)" if name == "order_gaussian" else ": worth a look"
    if isfinite(slope.value):
        text += f"; h from {slope.window[1]:.3g} to {slope.window[0]:.3g}, floor {slope.floor:.0e}"
    window = slope.window if isfinite(slope.value) else None
    return Check(name, verdict, slope.value, solver.order, window, text, slope)


def _mixture(subject: _Subject) -> Check:
    solver, process = subject.solver, subject.process
    check = _measured("order_mixture", order_mixture(solver, process, subject.spacing, subject.variable), solver)
    if check.verdict == "PASS" or solver.uniform:
        return check
    for spacing in ("smooth", "uniform"):
        slope = order_mixture(solver, process, spacing, "lam")
        if slope.judge(solver.order) == "PASS":
            note = f"{check.detail}; on {spacing} grids in λ the slope is {slope}"
            return Check(check.name, check.verdict, check.value, check.expected, check.window, note, check.slope)
    return check


def _started(slope: Slope, solver: Solver, checks: list[Check]) -> Check:
    """The rule as shipped is held to converging; its order is reported beside what it has from an exact past."""
    converges = isfinite(slope.value) and slope.value >= 1 - MARGIN
    window = slope.window if isfinite(slope.value) else None
    detail = f"slope {slope} with the rule's own start and end"
    found = [check.value for check in checks if check.name in ("order_proof", "order_mixture")]
    known = (round(value) for value in found if value is not None and isfinite(value))
    true_order = min([solver.true_order, *known])
    starts = solver.history or probe(solver).memory.named
    if starts and converges and slope.value < true_order - MARGIN:
        detail += f", which cost it order {true_order:g}"
    verdict = "PASS" if converges else "INCONCLUSIVE" if not isfinite(slope.value) else "FAIL"
    return Check("order_started", verdict, slope.value, None, window, detail, slope)


def _strong(subject: _Subject) -> Check:
    solver = subject.solver
    slope = strong_order(solver, subject.process)
    claim = solver.strong_order if solver.strong_order is not None else 0.5
    verdict = slope.judge(claim)
    source = "claimed" if solver.strong_order is not None else "not claimed; held to 0.5"
    detail = f"slope {slope} against a fine path of the same Brownian motion ({source})"
    return Check("strong_order", verdict, slope.value, claim, slope.window, detail, slope)


def _agreement(checks: list[Check]) -> Check:
    """Proof and measurement must say the same; where they do not, one of them is wrong."""
    found = {check.name: check for check in checks}
    proof, mixture = found["order_proof"], found["order_mixture"]
    if proof.value is None or mixture.value is None or not isfinite(mixture.value):
        return Check("agreement", "INCONCLUSIVE", detail="proof or measurement is missing")
    interval = mixture.slope.interval if mixture.slope else 0.0
    gap = mixture.value - proof.value
    detail = f"proved {proof.value:g}, measured {mixture.value:.2f} on the mixture"
    beyond = proof.expected is not None and proof.value > proof.expected
    if -MARGIN - interval <= gap and (gap <= 0.5 + interval or beyond):
        return Check("agreement", "PASS", gap, 0.0, None, detail)
    return Check("agreement", "FAIL", gap, 0.0, None, detail + ": they disagree, so one of them is wrong")
