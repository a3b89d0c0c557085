"""Plans: what is derived from the rows, single assignment, JSON, both ways to print, and what a rule may write."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffode as de
from diffode.analysis import amplification, prove_order
from diffode.backends import execute, get_backend
from diffode.plan import Combine, Dynamic, Evaluate, Linear, Normal, Plan, Row, Scaled, reads
from diffode.solvers import Solver, registry
from diffode.symbolic import symbolic_step
from diffode.trace import Memory, Step
from tests.strategies import plans, quieter

SOLVERS = list(registry().values())
GRIDS = {
    "edm": de.grids.karras(de.EDM(), 4),
    "between singular ends": de.TimeGrid(de.Flow(), t=[1.0, 0.7, 0.4, 0.1, 0.0]),
    "array": de.TimeGrid(de.VP(), t=np.array([[[0.9], [0.8]], [[0.5], [0.3]], [[0.1], [0.2]]])),
    "mpmath": de.TimeGrid(de.VP(), t=[mpmath.mpf(9) / 10, mpmath.mpf(1) / 3, mpmath.mpf(1) / 7]),
}
EDM = de.EDM()
HIGH, LOW = EDM.level(2.0), EDM.level(1.0)
SMALL = Plan(
    (
        Evaluate("d0", "x0", HIGH, "eps"),
        Normal("z0", "0:"),
        Combine("u0", ((1.0, "x0"), (-0.5, "d0"))),
        Evaluate("d1", "u0", LOW, "eps"),
        Combine("x1", ((1.0, "u0"), (0.25, "d1"), (0.1, "z0"))),
        Combine("m0", ((2.0, "d0"),)),
    ),
    ("x0", "p1"), ("x0", "x1"), (HIGH, LOW), Memory((("m0", HIGH),)), "small",
)  # fmt: skip

every = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)


@de.solver(order=1, prediction="eps")
def dimmed(step: Step) -> Linear:
    """Euler in σ, with a coefficient that depends on the state."""
    d = step.model(step.x, step.now)
    return step.x + (step.next.sigma - step.now.sigma) * (step.dynamic("quieter", quieter, step.x) * d)


# --- what is derived --------------------------------------------------------------------------------------


def test_a_small_plan_counted_by_hand() -> None:
    assert (SMALL.nfe, SMALL.is_linear, SMALL.is_deterministic) == (2, True, False)
    assert SMALL.last_use == {"x0": 2, "p1": -1, "d0": 5, "z0": 4, "u0": 4, "d1": 4, "x1": 6, "m0": 6}
    assert SMALL.kept == {"x1", "m0"}
    assert SMALL.peak_live == 5  # u0, d0, z0, d1 and x1, at row 4; x0, p1, d0, z0 and u0 come to no more before


@given(plans())
def test_facts_are_those_of_an_independent_count(plan: Plan) -> None:
    """Registers live from their row to the last that reads them, or to the end where they are kept."""
    rows, kinds = list(plan), [type(row).__name__ for row in plan]
    assert plan.nfe == kinds.count("Evaluate")
    assert plan.is_linear == ("Dynamic" not in kinds)
    assert plan.is_deterministic == (not {"Normal", "BrownianIncrement"} & set(kinds))
    assert [row.out for row in plan.noises] == [r.out for r in rows if r.out in {n.out for n in plan.noises}]
    kept = {plan.states[-1], *(name for name, _ in plan.memory.past), *(name for _, name in plan.memory.named)}
    born = dict.fromkeys(plan.inputs, -1) | {row.out: i for i, row in enumerate(rows)}
    dies = {n: max([born[n], *(i for i, row in enumerate(rows) if n in reads(row))]) for n in born}
    dies |= dict.fromkeys(kept, len(rows))
    assert (plan.kept, plan.last_use) == (kept, dies)
    alive = [sum(born[n] <= i <= dies[n] for n in born) for i in range(-1, len(rows))]
    alive[1] += sum(dies[n] == -1 for n in plan.inputs)  # an input that nobody reads is there until a row is done
    assert plan.peak_live == max(alive)


def test_head_is_what_comes_before_a_state() -> None:
    plan = de.compile("dpmpp_2m", EDM, GRIDS["edm"])
    for k in range(len(plan.states)):
        head = plan.head(k)
        assert (head.nfe, head.states, len(head.levels)) == (k, plan.states[: k + 1], k + 1)
        assert head.rows == plan.rows[: len(head)]
        assert not k or head.rows[-1].out == plan.states[k]


# --- single assignment ------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "twice": ({"rows": (*SMALL.rows, Normal("u0", "1:"))}, "u0 is defined a second time by row 6 (u0)"),
    "an input again": ({"rows": (Normal("x0", "1:"), *SMALL.rows)}, "x0 is defined a second time by row 0 (x0)"),
    "two inputs": ({"inputs": ("x0", "p1", "p1")}, "p1 is defined a second time by the inputs"),
    "too early": ({"rows": SMALL.rows[3:]}, "u0 is read by row 0 (d1), but not defined before"),
    "never": ({"rows": (*SMALL.rows, Combine("y", ((1.0, "w"),)))}, "w is read by row 6 (y)"),
    "itself": ({"rows": (*SMALL.rows, Combine("y", ((1.0, "y"),)))}, "y is read by row 6 (y)"),
    "no such coefficient": ({"rows": (*SMALL.rows, Combine("y", ((Scaled("c0"), "x1"),)))}, "c0 is read by row 6"),
    "no such state": ({"states": ("x0", "x2")}, "x2 is read by the states"),
    "no such memory": ({"memory": Memory((), (("v", "m9"),))}, "m9 is read by the memory"),
    "no such noise": (
        {"rows": (*SMALL.rows, de.compile("dpmpp_sde", EDM, GRIDS["edm"]).noises[-1])}, "is read by row 6",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_registers_are_defined_once_and_before_they_are_read(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(de.PlanError, match=re.escape(message)) as raised:
        replace(SMALL, **changes)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("small: register ")


def test_combinations_that_nobody_reads_go_but_evaluations_stay() -> None:
    @de.solver(order=1, prediction="eps")
    def wasteful(step: Step) -> Linear:
        step.model(step.x - 3 * step.model(step.x, step.now), step.next)
        step.memory["unread"] = 2 * step.x
        step.memory["unread"] = step.normal() * 1
        return 1 * step.x

    plan = wasteful.plan(GRIDS["edm"])
    assert plan.nfe == 8
    assert len(plan.noises) == 4
    assert not [row for row in plan if row.out.startswith("m")]


# --- dynamic coefficients ---------------------------------------------------------------------------------


def test_a_dynamic_row_runs_and_analyses_name_it() -> None:
    plan = dimmed.plan(GRIDS["edm"])
    assert not plan.is_linear
    assert "with dynamic rows" in str(plan)
    data = de.Gaussian(0.0, 1.0)
    out = de.sample(data.denoiser(EDM), dimmed, GRIDS["edm"], np.full((2, 1), 80.0))
    x = np.full((2, 1), 80.0)
    for s, t in zip(GRIDS["edm"].sigma, GRIDS["edm"].sigma[1:], strict=False):
        x = x + (t - s) * (1 / (1 + abs(x).max())) * (s * x / (1 + s * s))
    assert np.allclose(out.x, x, rtol=1e-13)
    analyses: dict[str, Callable[[], object]] = {
        "law": lambda: de.law(plan, data),
        "amplification": lambda: amplification(plan),
        "proof": lambda: prove_order(dimmed),
        "verify": lambda: de.verify(dimmed),
    }
    for name, analyse in analyses.items():
        with pytest.raises(de.PlanError, match="a linear plan, but row c0 of dimmed is the Dynamic row 'quieter'"):
            raise AssertionError(f"{name} gave {analyse()}")


def test_dynamic_coefficients_multiply_from_both_sides() -> None:
    c, x = Scaled("c0"), Linear({"x0": 2.0})
    expected = {"x0": Scaled("c0", 6.0)}
    ways = [3 * (c * x), 3 * (x * c), (c * 3) * x, np.float64(3) * c * x]
    assert [way.terms for way in ways] == [expected] * 4
    assert (-(c * x / 2)).terms == {"x0": Scaled("c0", -1.0)}
    many = (np.array([1.0, 2.0]) * (c * x)).terms["x0"]
    assert many.dynamic == "c0"
    assert many.factor.tolist() == [2.0, 4.0]
    for wrong in (lambda: c * x + x, lambda: (c * x) * Scaled("c1")):
        with pytest.raises(de.PlanError, match="in the function of"):
            wrong()


# --- equality and JSON ------------------------------------------------------------------------------------


def test_equality_is_of_every_entry() -> None:
    plan, again = (de.compile("dpmpp_2m", EDM, GRIDS["edm"]) for _ in range(2))
    assert plan == again
    assert plan != "plan"
    with pytest.raises(TypeError, match="unhashable"):
        hash(plan)
    x1 = next(row for row in plan.rows if row.out == "x1")
    (c, name), *others = x1.terms
    nudged = replace(x1, terms=((float(np.nextafter(c, 2.0)), name), *others))
    turned = replace(x1, terms=(*others, (c, name)))
    for row in (nudged, turned, replace(x1, terms=((mpmath.mpf(c), name), *others))):
        assert plan != replace(plan, rows=tuple(row if r is x1 else r for r in plan.rows))
    for change in (
        {"solver": "other"}, {"levels": plan.levels[1:]}, {"memory": None}, {"states": plan.states[1:]},
    ):  # fmt: skip
        assert plan != replace(plan, **change)


def _only_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@every
@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_json_brings_every_plan_back(solver: Solver, grid: de.TimeGrid) -> None:
    """Levels with λ = ±∞, arrays of levels and mpmath numbers too; and the plan that came back runs alike."""
    plan = de.compile(solver, grid.process, grid)
    text = plan.to_json()
    json.loads(text, parse_constant=_only_json)
    back = Plan.from_json(text)
    assert back == plan
    assert back.to_json() == text
    model = de.Gaussian([0.3, -0.2], 0.5).denoiser(grid.process)
    x = np.linspace(-2, 2, 4).reshape(2, 2)
    runs = [execute(get_backend("numpy"), p, model, [x], 1)[plan.states[-1]] for p in (plan, back)]
    assert np.array_equal(*runs)


@given(plans())
def test_json_brings_drawn_plans_back(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


NUMBERS = (-0.0, 1 / 3, 10**30, mpmath.mpf("-inf"), np.float32(0.1), np.int64(3))
MANY = (np.arange(3), np.float32([[0.1], [np.inf]]), np.zeros((0, 2)), np.array([True, False]))


@pytest.mark.parametrize("c", [*NUMBERS, *MANY], ids=repr)
def test_json_keeps_the_kind_of_a_number(c: Any) -> None:
    plan = replace(SMALL, rows=(*SMALL.rows, Combine("y", ((c, "x1"),))))
    back = Plan.from_json(plan.to_json()).rows[-1].terms[0][0]
    assert type(back) is type(c)
    assert repr(back) == repr(c)
    assert getattr(back, "dtype", None) == getattr(c, "dtype", None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Dynamic("c", "f", lambda x: x, ("x0",)), "define it at the top of a module"),
        (Combine("y", ((np.zeros(2, np.longdouble), "x0"),)), "the plan holds a ndarray"),
        (Combine("y", ((object(), "x0"),)), "which cannot be written as JSON"),
        (Combine("y", ((mpmath.mpc(1, 2), "x0"),)), "the plan holds a mpc"),
    ],
)
def test_json_says_what_it_cannot_keep(row: Row, message: str) -> None:
    with pytest.raises(de.PlanError, match=message):
        replace(SMALL, rows=(*SMALL.rows, row)).to_json()
    with pytest.raises(de.PlanError, match="the plan holds a NamedLevel"):
        symbolic_step(registry()["ddim"]).to_json()


@settings(max_examples=300)
@given(st.data())
def test_malformed_json_is_one_line(data: st.DataObject) -> None:
    """Whatever entry is taken out or replaced, what comes of it is a plan or one line that says it is none."""
    document = json.loads(dimmed.plan(GRIDS["edm"]).to_json())
    node, path = document, "document"
    while isinstance(node, (dict, list)) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        parent, key = node, data.draw(st.sampled_from(keys), label=path)
        node = node[key]
        if data.draw(st.booleans()):
            break
    if data.draw(st.booleans()):
        del parent[key]
    else:
        odd = '[null, 3, "x0", [], {}, {"row": "Plan"}, {"function": "os:none"}, {"mpf": ["x"]}, {"float": "?"}]'
        parent[key] = data.draw(st.sampled_from(json.loads(odd)))
    text = json.dumps(document)
    _read(text)
    _read(text[: data.draw(st.integers(0, len(text)))])


def _read(text: str) -> None:
    problem = "not a plan: "
    try:
        assert isinstance(Plan.from_json(text), Plan)
    except de.PlanError as error:
        problem = str(error)
    assert problem.startswith("not a plan: ")
    assert "\n" not in problem


# --- printing ---------------------------------------------------------------------------------------------


def width(text: str) -> int:
    """Columns of a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )  # fmt: skip


@de.solver(order=1, prediction="x0", history=1)
def worded(step: Step) -> Linear:
    """Every kind of row, under names of every width."""
    d = step.model(step.x, step.now, at=step.next, to=step.next, output="un_conditional")
    v = step.memory.get("速度", step.x)
    old = step.memory.get("v̂_1", step.x)
    step.memory["速度"], step.memory["v̂_1"] = v - 1e-7 * d, old + d
    c = step.dynamic("signal_to_noise%", quieter, d)
    return 2 * step.x - c * d + step.noise(step.now, step.next, moment=1) + v + step.normal("步")


def shown() -> list[Plan]:
    first = worded.plan(GRIDS["edm"])
    later = worded.plan(GRIDS["edm"], memory=first.memory)
    some = [solver.plan(grid) for solver in SOLVERS[::9] for grid in GRIDS.values()]
    return [SMALL, first, later, dimmed.plan(GRIDS["array"]), *some, symbolic_step(registry()["dpm_solver_3m"])]


@pytest.mark.parametrize("plan", shown(), ids=lambda plan: f"{plan.solver}-{len(plan)}")
def test_the_table_has_every_row_in_columns(plan: Plan) -> None:
    title, *lines = str(plan).split("\n")
    names = [*plan.inputs, *(row.out for row in plan.rows)]
    assert title.startswith(f"{plan.solver}: {len(plan.states) - 1} steps, {plan.nfe} evaluations")
    assert len(lines) == len(names)
    edge, places = 2 + max(map(width, names)), set()
    for name, line in zip(names, lines, strict=True):
        assert line == line.rstrip()
        assert width(line[: line.index(name) + len(name)]) == edge, line
        found = re.search(r"  (?=at t=|t=|dynamic$)", line)
        places |= {width(line[: found.start()])} if found else set()
    assert len(places) <= 1
    texts = dict(zip(names, lines, strict=True))
    assert all(name in texts[row.out].split(row.out, 1)[1] for row in plan for name in reads(row))


def test_places_stand_near_evaluations_where_sums_are_long() -> None:
    rows = [Evaluate(f"d{i}", "x0", HIGH, "eps") for i in range(3)]
    names = [row.out for row in rows] * 12
    long = Plan([*rows, Combine("x1", tuple((1 / 3, name) for name in names))], ("x0",), ("x0", "x1"), (HIGH, LOW))
    lines = str(long).splitlines()
    assert max(map(len, lines)) > 200
    assert {line.index("at t=") for line in lines if "at t=" in line} == {len("  d0  eps(x0)  ")}


@pytest.mark.parametrize("plan", shown(), ids=lambda plan: f"{plan.solver}-{len(plan)}")
def test_latex_has_every_register_and_balanced_braces(plan: Plan) -> None:
    latex = plan.latex()
    begin, *lines, end = latex.split("\n")
    assert (begin, end) == (r"\begin{aligned}", r"\end{aligned}")
    assert len(lines) == len(plan)
    assert latex.count(r"\left(") == latex.count(r"\right)")
    bare = re.sub(r"\\[{}]", "", latex)
    depth = np.cumsum([(c == "{") - (c == "}") for c in bare])
    assert depth.min() >= 0
    assert depth[-1] == 0
    for row, line in zip(plan.rows, lines, strict=True):
        for name in (row.out, *reads(row)):
            letter, word = name.partition("_")[::2] if "_" in name else (name.rstrip("0123456789"), name[1:])
            subscript = re.escape(word).replace("_", r"\\_")
            assert re.search(rf"{letter}_\{{(\\mathrm\{{)?{subscript}\}}", line), (name, line)


def test_latex_is_read_by_a_typesetter() -> None:
    """No double subscripts, no bare percent signs, no 1e-07, no inf."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    lines = [line for plan in shown() for line in plan.latex().split("\n")[1:-1]]
    for line in lines:
        assert not re.search(r"\de[-+]|(?<!\\)\binf|(?<!\\)%|nan", line), line
    for line in {re.sub(r"\d+", "1", line): line for line in lines}.values():  # all digits are one to it
        parser.parse("$" + re.sub("[^ -~]", "y", line.removesuffix(r"\\").replace("&", " ")) + "$")


# --- what a rule may write --------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Callable[[Step], Any], str]] = {
    "too far back": (lambda s: s.past(2), "step.past(2) was used, but the solver declares history=1"),
    "too early": (lambda s: s.past(1), "step.past(1) was used at step 0, where only 0 past values exist"),
    "no level": (lambda s: s.model(s.x, 0.5), "step.model needs a level (step.now, step.next, step.level(…)), not 0.5"),
    "no state": (lambda s: s.model(1.0, s.now), "step.model needs an expression made from step.x, not float"),
    "memory": (lambda s: s.memory.__setitem__("v", 1.0), "step.memory['v'] takes an expression, not float"),
    "store": (lambda s: s.store(None), "step.store takes an expression made from step.x, not NoneType"),
    "embed": (lambda s: s.embed(2), "step.embed takes an expression made from step.x, not int"),
    "dynamic": (lambda s: s.dynamic("f", abs, 1.0), "step.dynamic takes an expression made from step.x, not float"),
    "clock": (lambda s: s.noise(s.now, s.next, clock="sun"), "no clock named 'sun'; there are snr, rho2, sigma, lam"),
    "no stretch": (lambda s: s.noise(s.now, s.now), "has the variance 0.0 in the clock 'snr'; its levels must differ"),
    "not finite": (lambda s: s.x * float("nan"), "the coefficient of x0 is nan at step 0 (t=80.0 → "),
    "nothing": (lambda s: None, "the rule must return the new state, an expression made from step.x"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_rule_that_errs_is_told_so(case: str) -> None:
    wrong, message = MISTAKES[case]
    rule = de.solver(order=1, prediction="x0", history=1)(lambda step: wrong(step))
    with pytest.raises(de.SolverError, match=re.escape(message)) as raised:
        rule.plan(GRIDS["edm"])
    assert "\n" not in str(raised.value)


def test_expressions_stay_linear() -> None:
    x, d = Linear({"x0": 1.0}), Linear({"d0": 2.0})
    assert (sum([x, d, x], 0) / 2).terms == {"x0": 1.0, "d0": 1.0}
    assert (np.float64(3) * x - d).terms == {"x0": 3.0, "d0": -2.0}
    assert (np.ones((2, 1)) * x).terms["x0"].shape == (2, 1)
    odd = SimpleNamespace(x=x, d=d)
    for text in ("x * d", "x / d", "x + 1", "1 - x", "x ** 2", "2 / x", "x + None", "abs(x)", "x + numpy.ones(2)"):
        with pytest.raises(TypeError):
            eval(text, {"numpy": np}, vars(odd))
