"""Liars by the hundred: methods whose true order is known by construction, and what `verify` says of them.

Every method is made by moving along the null space of the order conditions (the order stays) or off it (the order falls
to a known one), and is verified twice: with its true order for a claim, which must PASS, and with one more, which must
FAIL. Writes `results/liars.json` and `results/liars.md`; an interrupted run goes on where it stopped.

    python -m analysis.liars [--count 320] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

from rich.progress import track
from scipy.stats import beta

import diffode as de
from diffode import phi, solver
from diffode.plan import Level, Linear
from diffode.solvers import Solver
from diffode.solvers.exponential import interpolate, noise
from diffode.solvers.runge_kutta import Tableau, runge_kutta
from diffode.trace import Step

RESULTS = Path(__file__).parent / "results"
VERDICTS = RESULTS / "liars.json"


@dataclass(frozen=True)
class Subject:
    """A method, its family, and the order that it has by construction."""

    name: str
    family: str
    solver: Solver
    order: int

    def claiming(self, order: int) -> Solver:
        """The same rule with another claim."""
        return replace(self.solver, name=self.name, claims={**self.solver.claims, "order": order})


def divided_difference(values: list[Linear], levels: list[Level], h: Any) -> Linear:
    """h^q D[λ_0, …, λ_q], which annihilates polynomials of degree below q and no other."""
    nodes = [(level.lam - levels[0].lam) / h for level in levels]
    total: Linear = Linear({})
    for j, value in enumerate(values):
        weight: Any = 1
        for i, node in enumerate(nodes):
            if i != j:
                weight = weight * (nodes[j] - node)
        total = total + value / weight
    return total


def _known(step: Step, d: Linear, count: int) -> tuple[list[Linear], list[Level]]:
    values = [d, *(step.past(k) for k in range(1, count))]
    return values, [step.now, *(step.past_level(k) for k in range(1, count))]


@solver(order=1, prediction="x0", history=lambda nodes, width: max(nodes, width + 1) - 1, exponential=True)
def multistep(step: Step, nodes: int = 2, width: int = 2, shift: float = 0.1) -> Linear:
    """Exponential Adams on `nodes` values, plus shift·h times a divided difference of order `width`."""
    d = step.model(step.x, step.now)
    count = min(max(nodes, width + 1), step.depth + 1)
    values, levels = _known(step, d, count)
    n = min(nodes, count)
    result = interpolate(step, "x0", values[:n], levels[:n])
    if count <= width:
        return result
    wide = divided_difference(values[: width + 1], levels[: width + 1], step.h)
    return result + (shift * step.next.alpha * step.h) * wide


@solver(order=1, prediction="x0", history=lambda nodes, corrector: max(nodes, corrector - 1) - 1, exponential=True)
def predictor_corrector(step: Step, nodes: int = 2, corrector: int = 3, shift: float = 0.0) -> Linear:
    """A predictor on `nodes` values, a corrector on `corrector` of them with the predicted one, and shift·h·(D̃ − D)."""
    d = step.model(step.x, step.now)
    values, levels = _known(step, d, step.depth + 1)
    n = min(nodes, len(values))
    ahead = step.model(interpolate(step, "x0", values[:n], levels[:n]), step.next)
    m = min(corrector - 1, len(values))
    result = interpolate(step, "x0", [ahead, *values[:m]], [step.next, *levels[:m]])
    return result + (shift * step.next.alpha * step.h) * (ahead - d)


@solver(order=1, prediction="x0", strong_order=1.0)
def noisy(step: Step, r: float = 0.5, shift: float = 0.0, louder: float = 0.0, power: int = 1) -> Linear:
    """The two-stage SDE-DPM-Solver++ with its second weight moved, or its noise off by a power of h."""
    now, after, h = step.now, step.next, step.h
    middle = step.level(lam=now.lam + r * h)
    d = step.model(step.x, now)

    def move(d: Linear, b: Level) -> Linear:
        return interpolate(step, "x0", [d], [now], b, tau=1.0) + noise(step, now, b, "x0", 1.0)

    slope = (1 / (2 * r) + shift) * (step.model(move(d, middle), middle) - d)
    off = louder * phi.sqrt(h) * h**power
    return move(d + slope, after) + (off * after.sigma) * step.noise(now, after, clock=2.0)


# --- Runge–Kutta methods: b in or off the null space of the conditions ---------------------------------------


def _elementary(a: list[list[Fraction]]) -> dict[int, list[tuple[list[Fraction], Fraction]]]:
    """Φ(t) and 1/γ(t) of all rooted trees with 1 to 4 nodes, by number of nodes."""
    size = len(a)
    one = [Fraction(1)] * size

    def through(x: list[Fraction]) -> list[Fraction]:
        return [sum((a[i][j] * x[j] for j in range(i)), Fraction(0)) for i in range(size)]

    def times(x: list[Fraction], y: list[Fraction]) -> list[Fraction]:
        return [p * q for p, q in zip(x, y, strict=True)]

    c = through(one)
    c2, ac = times(c, c), through(c)
    four = [(times(c, c2), 4), (times(c, ac), 8), (through(c2), 12), (through(ac), 24)]
    by_size = {1: [(one, 1)], 2: [(c, 2)], 3: [(c2, 3), (ac, 6)], 4: four}
    return {n: [(x, Fraction(1, gamma)) for x, gamma in trees] for n, trees in by_size.items()}


def _solved(rows: list[list[Fraction]], right: list[Fraction], random: Random) -> list[Fraction] | None:
    """A solution of a rational system, its free unknowns drawn; None where there is none."""
    from sympy import Matrix, Rational

    system = Matrix([[Rational(v.numerator, v.denominator) for v in row] for row in rows])
    wanted = Matrix([Rational(v.numerator, v.denominator) for v in right])
    if system.rank() < system.row_join(wanted).rank():
        return None
    free: Any = system.nullspace()
    particular: Any = system.pinv() * wanted
    for vector in free:
        particular = particular + Rational(random.randint(-6, 6), 12) * vector
    return [Fraction(int(v.p), int(v.q)) for v in particular]


def runge_kutta_method(random: Random, name: str) -> Subject | None:
    """A random explicit tableau of 2 to 5 stages whose weights solve all conditions to an order drawn."""
    size = random.randint(2, 5)
    a = [[Fraction(random.randint(-4, 8), 8) for _ in range(i)] for i in range(size)]
    if not all(0 <= sum(row) <= 1 for row in a):
        return None  # nodes outside the step
    trees = _elementary([row + [Fraction(0)] * (size - len(row)) for row in a])
    aim = random.randint(1, 3)
    kept = [pair for n in range(1, aim + 1) for pair in trees[n]]
    b = _solved([x for x, _ in kept], [wanted for _, wanted in kept], random)
    if b is None or max(map(abs, b)) > 6:
        return None
    order = 0
    for n in range(1, 5):
        if any(sum(p * q for p, q in zip(b, x, strict=True)) != wanted for x, wanted in trees[n]):
            break
        order = n
    variable = random.choice(["rho", "lambda"])
    tableau = Tableau(tuple(map(tuple, a)), tuple(b), order, name)
    rule = runge_kutta.configure(name, tableau=tableau, variable=variable)
    return Subject(name, "Runge–Kutta", rule, order)


# --- the others ------------------------------------------------------------------------------------------------


def _shift(random: Random) -> float:
    return random.choice((-1, 1)) * random.randint(4, 20) / 32


def multistep_method(random: Random, name: str) -> Subject:
    """An order from 1 to 4 by the number of nodes, and a difference that keeps it or costs it."""
    nodes, width = random.randint(1, 4), random.randint(1, 4)
    rule = multistep.configure(name, nodes=nodes, width=width, shift=_shift(random))
    return Subject(name, "multistep", rule, min(nodes, width))


def predictor_corrector_method(random: Random, name: str) -> Subject:
    """The corrector's order where the predictor is at most one behind."""
    nodes = random.randint(1, 3)
    corrector = random.randint(2, nodes + 2)
    shift = random.choice((0.0, 0.0, _shift(random)))
    order = 1 if shift else min(nodes + 1, corrector)
    rule = predictor_corrector.configure(name, nodes=nodes, corrector=corrector, shift=shift)
    return Subject(name, "predictor–corrector", rule, order)


def noisy_method(random: Random, name: str) -> Subject:
    """Weak order 2, or 1 where a weight is moved or the noise is off by O(h)."""
    shift, louder = random.choice(((0.0, 0.0), (_shift(random), 0.0), (0.0, _shift(random))))
    rule = noisy.configure(name, r=random.randint(3, 8) / 8, shift=shift, louder=louder)
    return Subject(name, "with noise", rule, 1 if shift or louder else 2)


MAKERS: tuple[Callable[[Random, str], Subject | None], ...] = (
    multistep_method,
    runge_kutta_method,
    predictor_corrector_method,
    noisy_method,
)


def subject(index: int, seed: int) -> Subject:
    """The method of a number: the families in turn."""
    random = Random(f"{seed}-{index}")
    while True:
        made = MAKERS[index % len(MAKERS)](random, f"method_{index}")
        if made is not None:
            return made


# --- the study --------------------------------------------------------------------------------------------------


def verdicts(index: int, seed: int) -> dict[str, Any]:
    """What verify says of the method's true order, and of one more."""
    made = subject(index, seed)
    honest = de.verify(made.claiming(made.order))
    liar = de.verify(made.claiming(made.order + 1), stop_at_failure=True)
    options = {key: str(value) for key, value in made.solver.options.items()}
    return {
        "index": index, "seed": seed, "family": made.family, "order": made.order, "options": options,
        "honest": honest.verdict, "liar": liar.verdict,
        "why": next((f"{c.name}: {c.detail}" for c in honest.checks if c.verdict != "PASS"), ""),
    }  # fmt: skip


def study(count: int, seed: int) -> list[dict[str, Any]]:
    """The verdicts of so many methods; those that are known are kept."""
    known: dict[int, dict[str, Any]] = {}
    if VERDICTS.is_file():
        entries = json.loads(VERDICTS.read_text(encoding="utf-8"))
        known = {entry["index"]: entry for entry in entries if entry["seed"] == seed}
    missing = [index for index in range(count) if index not in known]
    with ProcessPoolExecutor(max_workers=2) as pool:
        jobs = [pool.submit(verdicts, index, seed) for index in missing]
        for done, job in enumerate(track(as_completed(jobs), "liars", total=len(jobs), disable=not jobs)):
            entry = job.result()
            known[entry["index"]] = entry
            if done % 10 == 0:
                _write(known)
    _write(known)
    return [known[index] for index in range(count)]


def _write(known: Mapping[int, dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(known[index], ensure_ascii=False) for index in sorted(known))
    VERDICTS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def bound(misses: int, trials: int) -> float:
    """The one-sided 95 % bound on a rate (Clopper and Pearson)."""
    return float(beta.ppf(0.95, misses + 1, trials - misses)) if misses < trials else 1.0


def table(entries: list[dict[str, Any]]) -> str:
    """What went wrong, by family."""
    lines = [
        "# Liars: what `verify` says of methods whose order is known",
        "",
        "Each method is verified with its true order for a claim (a FAIL would be false) and with one more (a PASS",
        "would be false). Bounds are one-sided, 95 %. Made by `python -m analysis.liars`.",
        "",
        "| family | methods | false FAIL | false PASS | left open, true claim | left open, false claim |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    families = list(dict.fromkeys(entry["family"] for entry in entries))
    for family in [*families, "all"]:
        part = [entry for entry in entries if family in (entry["family"], "all")]
        failed, passed = (sum(e[who] == what for e in part) for who, what in (("honest", "FAIL"), ("liar", "PASS")))
        left = [sum(e[who] == "INCONCLUSIVE" for e in part) for who in ("honest", "liar")]
        rates = [f"{n} (below {bound(n, len(part)):.1%})" for n in (failed, passed)]
        lines.append(f"| {family} | {len(part)} | {' | '.join([*rates, *map(str, left)])} |")
    wrong = [e for e in entries if e["honest"] != "PASS" or e["liar"] != "FAIL"]
    told = (
        f"- {e['family']}, order {e['order']}, {e['options']}: {e['honest']}/{e['liar']}; {e['why']}" for e in wrong
    )
    return "\n".join([*lines, "", *told])


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=320, help="how many methods")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    text = table(study(arguments.count, arguments.seed))
    (RESULTS / "liars.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
