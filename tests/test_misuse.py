"""Misuse that would go unnoticed: models that write to their input, lost steps, claims that make no sense."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.errors import DiffodeError, GridError, ModelError, PlanError, SolverError, UnusedNoise
from diffode.trace import Step


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_model_may_not_write_to_its_input(backend: str) -> None:
    x: Any = np.ones((2, 3))
    if backend == "torch":
        x = pytest.importorskip("torch").ones((2, 3))
    process = de.VP()

    def halved(x: Any, t: float) -> Any:
        x *= 0.5
        return x

    model = de.Denoiser(halved, process, prediction="eps")
    with pytest.raises(ModelError, match="step 0: the model changes its input in place"):
        de.sample(model, "dpmpp_2m", de.grids.karras(process, 4), x, backend=backend)


def test_steps_lost_in_rounding_are_refused() -> None:
    with pytest.raises(GridError, match="lost in rounding; remove one"):
        de.TimeGrid(de.VP(), t=[1.0, 0.5, 0.5 - 1e-16, 0.1])


def test_a_rule_may_not_end_the_program() -> None:
    @de.solver(order=1, prediction="x0")
    def leaving(step: Step) -> Any:
        raise SystemExit(0)

    with pytest.raises(SolverError, match="leaving: the rule ends the program"):
        de.verify(leaving)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"order": 1.5}, "order must be a whole number"),
        ({"order": 50}, "order must be a whole number from 1 to 20"),
        ({"strong_order": "zz"}, "strong_order must be a number"),
        ({"reaches": "q"}, "reaches must be a number"),
        ({"uniform": "zz"}, "uniform must be 'lam', 'rho', 't', 'sigma' or None"),
        ({"limits": ["ddim"]}, "limits must be made by limit"),
    ],
)
def test_claims_must_make_sense(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(SolverError, match=message):
        de.solver(**{"order": 1, "prediction": "x0", **claims})(lambda step: step.x)


@pytest.mark.parametrize("name", [None, 3, len])
def test_a_solver_is_a_name_or_a_solver(name: Any) -> None:
    with pytest.raises(SolverError, match="a solver is a name, a file or a solver itself"):
        de.get_solver(name)


def test_options_with_a_range_are_numbers() -> None:
    with pytest.raises(SolverError, match="eta must be a number, not 'a'"):
        de.get_solver("ddim(eta='a')")


def test_a_law_needs_a_plan() -> None:
    with pytest.raises(PlanError, match=r"made by de\.compile"):
        de.law("ddim", de.Gaussian(0.0, 1.0))  # type: ignore[arg-type]


def test_numbers_of_a_derivation_are_read_not_evaluated() -> None:
    with pytest.raises(SolverError, match="nodes must be a number"):
        de.derive("exp-rk", order=2, nodes="__import__('os').getcwd()")


def test_past_values_are_counted_from_one() -> None:
    @de.solver(order=1, prediction="x0", history=1)
    def backwards(step: Step) -> Any:
        return step.past(0)

    with pytest.raises(SolverError, match="counted from 1"):
        backwards.plan(de.grids.karras(de.EDM(), 3))


# --- what is not what it should be ---------------------------------------------------------------------------

PROCESS = de.VP()
GRID = de.grids.karras(PROCESS, 4)
MODEL = de.Gaussian([0.0, 0.0], [1.0, 1.0]).denoiser(PROCESS)
X = np.ones((3, 2))
CLOSED = de.sample(MODEL, "dpmpp_2m", GRID, X, open_end=True)
STATISTICS = de.ModelStatistics(*(np.arange(4.0) for _ in range(4)))
REST = de.TimeGrid(PROCESS, t=[PROCESS.t_min, PROCESS.t_min / 2])


def sampled(x: Any, **options: Any) -> Any:
    return de.sample(MODEL, "dpmpp_2m", GRID, x, **options)


def ruled(rule: Callable[[Any], Any], **claims: Any) -> Any:
    solver = de.solver(**{"order": 1, "prediction": "x0", **claims})(rule)
    return de.sample(MODEL, solver, GRID, X, noise=0)


def evaluated(step: Any, level: Any) -> Any:
    return step.x + step.model(step.x, level)


MISUSE: dict[str, tuple[Callable[[], Any], str]] = {
    # states
    "masked": (lambda: sampled(np.ma.masked_array(X, X > 2)), "x_T is a masked array.*give a plain array"),
    "int": (lambda: sampled(X.astype(int)), "x_T must hold floating-point numbers"),
    "half": (lambda: sampled(X.astype(np.float16)), "needs float32 or float64, not float16"),
    "memory": (lambda: sampled(X, memory=3), "memory is a int, not what a run leaves; give out.memory"),
    "sample": (lambda: sampled(X, memory=CLOSED), "memory is a Sample, not what a run leaves; give its .memory"),
    "batch": (
        lambda: de.sample(MODEL, "dpmpp_2m", REST, np.ones((4, 2)), memory=CLOSED.memory),
        r"memory holds arrays of shape \(3, 2\), but x_T has shape \(4, 2\)",
    ),
    # noise
    "seed": (lambda: sampled(X, seed=3), "there is no seed=; seeds and generators are given as noise=3"),
    "rng": (lambda: sampled(X, rng=3), "there is no rng=; .* noise=3"),
    "arrays": (lambda: sampled(X, noise=[X]), "dpmpp_2m draws no noise, but noise= holds 1 arrays; leave it out"),
    "words": (lambda: sampled(X, noise="abc"), "noise= takes a seed .* not 'abc'"),
    # processes, levels and grids
    **{
        f"{make.__name__}({name}={value!r})": (
            lambda make=make, name=name, value=value: make(**{name: value}),
            rf"{name}( must be a real number, not|=){' ' * isinstance(value, str)}{value!r}",
        )
        for make, name in ((de.VP, "beta_max"), (de.EDM, "sigma_max"), (de.VE, "sigma_max"), (de.Flow, "shift"),
                           (de.CosineVP, "s"))
        for value in ("a", float("inf"))
    },
    "level of a word": (lambda: PROCESS.level("a"), "level: t must be a real number, not 'a'"),
    "level of i": (lambda: PROCESS.level(lam=1j), "level: lam must be a real number, not 1j"),
    "grid of words": (lambda: de.TimeGrid(PROCESS, t=["a", "b"]), "grid: level: t must be a real number, not 'a'"),
    "grid of None": (lambda: de.TimeGrid(PROCESS, t=[1.0, None]), "grid: level: t must be a real number, not None"),
    "ragged grid": (lambda: de.TimeGrid(PROCESS, t=[1.0, [0.5, [1]]]), r"grid: t holds \[0.5, \[1\]\]"),
    "grid of no levels": (lambda: de.TimeGrid(PROCESS, levels=[1.0, 0.5]), "levels holds 1.0, not a level"),
    **{
        f"{name} of a word": (lambda make=make: make("vp", 5), r"must be a Process, as in de.process.named\('vp'\)")
        for name, make in de.grids.NAMES.items()
        if name != "power"
    },
    "betas": (lambda: de.VP.discrete(["a", "b"]), "betas: needs a flat table of numbers"),
    # data and models
    "ragged means": (lambda: de.GaussianMixture([1, 1], [[1, 2], [1]], 1), "means must be numbers, all rows of one"),
    "ragged stds": (lambda: de.GaussianMixture([1, 1], [1, 2], [[1, 1], 1]), "stds must be numbers, all rows of one"),
    "words as mean": (lambda: de.Gaussian("a", 1), "Gaussian: mean must be numbers"),
    "no process": (lambda: de.Denoiser(lambda x, t: x, None), "Denoiser: process must be a Process"),
    "process by name": (lambda: de.Gaussian(0.0, 1.0).denoiser(None), "denoiser: process must be a Process"),
    "time": (lambda: de.Denoiser(lambda x, t: x, PROCESS, time=3), "time must be callable"),
    "no states": (lambda: de.reference(MODEL, X[:0], GRID), r"x_T holds no state \(its shape is \(0, 2\)\)"),
    "None": (lambda: de.reference(MODEL, None, GRID), "x_T must be a NumPy array"),
    "no model": (lambda: de.reference("vp", X, GRID), "reference: needs a model, not 'vp'"),
    "no grid": (lambda: de.reference(MODEL, X, 4), "reference: grid must be a TimeGrid"),
    "tolerance": (lambda: de.reference(MODEL, X, GRID, "a"), "tolerance must be a number between 0 and 1, not 'a'"),
    # comparisons
    "no solvers": (lambda: de.compare([]), "compare: give at least one solver"),
    "model None": (lambda: de.compare(["ddim"], None), "compare: model is None; give a model, or leave it out"),
    "problem as model": (lambda: de.compare(["ddim"], "gaussian"), "name a problem as problem='gaussian'"),
    "two subjects": (lambda: de.compare(["ddim"], MODEL, problem="gaussian", x_T=X), "leave one out"),
    "budget": (lambda: de.compare(["ddim"], nfe=["a"], problem="gaussian"), "nfe holds 'a'; budgets are positive"),
    "grid name": (lambda: de.compare(["ddim"], problem="gaussian", grid="karra"), "did you mean 'karras'"),
    "grid of 3": (lambda: de.compare(["ddim"], problem="gaussian", grid=3), "grid must be a builder .* not 3"),
    # rules
    "i": (lambda: ruled(lambda step: 1j * evaluated(step, step.now)), "the coefficient of x0 is 1j .* real numbers"),
    "i of NumPy": (lambda: ruled(lambda step: np.complex128(1j) * step.x), "coefficients are real numbers"),
    "level of a rule": (
        lambda: ruled(lambda step: evaluated(step, step.level(t="a"))), "level: t must be a real number, not 'a'"
    ),
    "no level": (lambda: ruled(lambda step: evaluated(step, 0.5)), "step.model needs a level .* not 0.5"),
    "noise without levels": (lambda: ruled(lambda step: step.noise(1, 2)), "step.noise needs a level .* not 1"),
    "moment": (
        lambda: ruled(lambda step: step.noise(step.now, step.next, moment="a")), "moment is a power, .* not 'a'"
    ),
    "past of a word": (lambda: ruled(lambda step: step.past("a"), history=1), r"step.past\('a'\) .* counted from 1"),
    "empty memory": (lambda: ruled(lambda step: step.memory["v"]), r"it holds nothing; use step.memory.get\('v', def"),
    "no brackets": (lambda: de.solver(lambda step: step.x), r"write @solver\(order=…, prediction=…\) above the rule"),
    "no prediction": (lambda: de.solver(order=1), "order and prediction are always claimed"),
    # files
    **{
        f"folder of {kind}": (write, "cannot write nodir/x.*: there is no folder nodir; make it first")
        for kind, write in {
            "a fit": lambda: de.fit("mixture_2d", 4, samples=8).save("nodir/x.json"),
            "a fitted grid": lambda: de.fit("mixture_2d", 4, "grid", samples=8, nodes=9).save("nodir/x.json"),
            "a grid": lambda: de.grids.save(GRID, "nodir/x.json"),
            "a certificate": lambda: de.verify("ddim", fast=True).to_json("nodir/x.json"),
            "a proof": lambda: de.prove("ddim").to_json("nodir/x.json"),
            "statistics": lambda: STATISTICS.save("nodir/x.json"),
            "compressed statistics": lambda: STATISTICS.save("nodir/x.npz"),
        }.items()
    },
    # names
    "odd name": (lambda: de.get_solver("mine:rule"), "a file ends in .py, and its solver follows a colon"),
    "far from all": (lambda: de.get_solver("nosuch"), "no solver named 'nosuch'; see `diffode list`"),
    "three letters": (lambda: de.get_solver("ctm"), "no solver named 'ctm'; see `diffode list`"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_line_that_names_the_thing(case: str) -> None:
    do, says = MISUSE[case]
    with pytest.raises(DiffodeError, match=says) as caught:
        do()
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_no_state() -> None:
    with pytest.raises(ModelError, match="x_T is a matrix; give a plain array"):
        sampled(np.asmatrix(X))


@pytest.mark.filterwarnings("ignore:Sparse")
def test_tensors_without_plain_numbers_are_no_states() -> None:
    torch = pytest.importorskip("torch")
    x = torch.ones(3, 2)
    for state, says in (
        (x.to_sparse(), r"x_T is a sparse tensor .* give x_T.to_dense"),
        (x.to_sparse_csr(), "x_T is a sparse tensor"),
        (x.to("meta"), "x is on the device meta, which holds none"),
        (x.half(), "needs float32 or float64"),
    ):
        with pytest.raises(ModelError, match=says):
            sampled(state, backend="torch")
    model = de.Denoiser(lambda x, t: 0.5 * x, PROCESS)  # what is no exact model may take half precision
    assert de.sample(model, "ddim", GRID, x.half(), backend="torch").x.dtype == torch.float16


def test_noise_that_changes_nothing_is_said() -> None:
    with pytest.warns(UnusedNoise, match="dpmpp_2m draws no noise, so noise= changes nothing"):
        sampled(X, noise=3)


def test_a_comparison_takes_one_of_each_and_prints_as_a_table() -> None:
    rows = de.compare("ddim", nfe=4, problem="gaussian", grid="karras")
    assert rows == de.compare(["ddim"], nfe=[4], problem="gaussian")
    assert str(rows) == repr(rows)
    title, budgets, line = str(rows).splitlines()
    assert title.startswith("error on gaussian")
    assert [budgets.split(), line.split()] == [["4"], ["ddim", f"{rows[0].error:.2e}"]]


@pytest.mark.parametrize(
    "thing",
    [CLOSED, CLOSED.plan, MODEL, MODEL.data, GRID, PROCESS, de.prove("ddim"), de.Denoiser(lambda x, t: x, PROCESS)],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_shown_is_short(thing: Any) -> None:
    assert len(repr(thing)) < 120
    assert " at 0x" not in repr(thing)


def test_a_rule_that_leaves_phi_is_told_so() -> None:
    @de.solver(order=1, prediction="x0")
    def leaving(step: Step) -> Any:
        d = step.model(step.x, step.now)
        return step.next.sigma / step.now.sigma * step.x - step.next.alpha * math.expm1(-step.h) * d

    proof = de.verify(leaving)["order_proof"]
    assert proof.verdict == "INCONCLUSIVE"
    assert "use the functions of diffode.phi (not those of math)" in proof.detail


def test_a_start_is_not_blamed_for_what_the_rule_lacks() -> None:
    third = de.verify("dpmpp_3m")  # of order 2 from an exact past too
    assert "cost it" not in third["order_started"].detail
    assert "on equal steps in λ" in third["order_gaussian"].detail
    assert "an error in a state grows at most" in third["zero_stability"].detail
    assert "which cost it order" in de.verify("unipc_3")["order_started"].detail


def test_a_folder_named_like_a_file_is_no_file(tmp_path: Any) -> None:
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(SolverError, match=r"mine.py: is a folder, not a file"):
        de.get_solver(str(tmp_path / "mine.py"))


def test_a_colon_may_stand_in_the_path(tmp_path: Any) -> None:
    path = tmp_path / "a:b.py"
    path.write_text(
        "from diffode import solver\n\n@solver(order=1, prediction='x0')\ndef mine(step):\n    return step.x\n", "utf-8"
    )
    assert de.get_solver(str(path)).name == de.get_solver(f"{path}:mine").name == "mine"


def test_a_solver_in_a_file_may_be_an_option(tmp_path: Any) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from diffode import solver\n\n@solver(order=1, prediction='eps')\ndef mine(step):\n"
        "    e = step.model(step.x, step.now)\n    scale = step.next.alpha / step.now.alpha\n"
        "    return scale * step.x + (step.next.sigma - scale * step.now.sigma) * e\n", "utf-8",
    )  # fmt: skip
    one, two = (de.get_solver(f"unic(base='{name}', order=1)") for name in (f"{path}:mine", "ddim"))
    np.testing.assert_allclose(de.sample(MODEL, one, GRID, X).x, de.sample(MODEL, two, GRID, X).x, rtol=1e-12)
