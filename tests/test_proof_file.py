"""Proofs in files: `checker.py`, which knows nothing of diffode, accepts what is true and rejects what was changed."""

from __future__ import annotations

import ast
import copy
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import diffode as de
from diffode.analysis.order import checker
from diffode.analysis.order.proof import prove
from diffode.errors import PlanError
from diffode.trace import Step

CHECKER = Path(checker.__file__)


@cache
def document(name: str) -> str:
    return prove(name).to_json()


def accepted(proof: Any) -> bool:
    try:
        checker.check(proof)
    except Exception:
        return False
    return True


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every number, word and list of a document is."""
    if isinstance(value, (dict, list)):
        if isinstance(value, list):
            yield path
        for k, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, k))
    else:
        yield path


def changed(value: Any, draw: random.Random) -> Any:
    """Something else of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draw.choice([-1, 1, checker.P if value > 9 else 2])
    if isinstance(value, str):
        return value + "x"
    return value[:-1] if value else [1]


def corrupted(proof: Any, path: tuple[Any, ...], draw: random.Random) -> Any:
    proof = copy.deepcopy(proof)
    place = proof
    for k in path[:-1]:
        place = place[k]
    place[path[-1]] = changed(place[path[-1]], draw)
    return proof


def field(path: tuple[Any, ...]) -> str:
    return "/".join(k for k in path if isinstance(k, str))


# one step, several steps, a corrector, a velocity on equal steps in ρ, δ-leaves and velocities
EVERY_KIND = ("ddim", "dpmpp_2m", "unipc_1", "ghvb_1.5", "heun_t")


@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_change_of_any_field_is_rejected(name: str) -> None:
    proof, draw = json.loads(document(name)), random.Random(name)
    assert accepted(proof)
    paths: dict[str, list[tuple[Any, ...]]] = {}
    for path in leaves(proof):
        paths.setdefault(field(path), []).append(path)
    tried = [p for places in paths.values() for p in draw.sample(places, min(len(places), 12))]
    survived = [path for path in tried if accepted(corrupted(proof, path, draw))]
    assert not survived
    assert len(set(map(field, tried))) == len(proof) - 1 + len(proof["run"])  # every field was changed
    for place in (proof, proof["run"]):
        for key in list(place):
            lost = place.pop(key)
            assert not accepted(proof)
            place[key] = lost
        place["extra"] = 1
        assert not accepted(proof)
        del place["extra"]
    assert accepted(proof)


@pytest.mark.parametrize(("name", "order"), [("dpmpp_3m", 2), ("dpmpp_3m_corrected", 3), ("unipc_2", 3)])
def test_the_checker_finds_the_order(name: str, order: int) -> None:
    sentence = checker.check(json.loads(document(name)))
    assert sentence.startswith(f"{name} has order {order} on rough steps in lam;")


def test_a_past_that_was_made_up_is_rejected() -> None:
    """States ahead are no inputs, and what is given is given as an input."""
    proof = json.loads(document("ddim"))
    ahead = copy.deepcopy(proof)
    run = ahead["run"]
    run["inputs"].append(["future", "exact", run["past"] + 1])
    run["states"][0] = "future"
    run["residuals"][0] = [[0] * len(entry) for entry in run["residuals"][0]]
    with pytest.raises(ValueError, match="lies ahead"):
        checker.check(ahead)
    inside = copy.deepcopy(proof)
    inside["run"]["rows"].append(["more", "exact", 0])
    with pytest.raises(ValueError, match="out of place"):
        checker.check(inside)


def test_an_order_that_was_not_reached_cannot_be_claimed() -> None:
    """The table of the published third-order method with the residuals of the corrected one."""
    wrong, right = json.loads(document("dpmpp_3m")), json.loads(document("dpmpp_3m_corrected"))
    assert not accepted({**wrong, "order": 3})
    wrong["run"]["residuals"] = right["run"]["residuals"]
    assert not accepted({**wrong, "order": 3})
    # nor can the table of one method stand under the name of another: its process is drawn from the name
    assert not accepted({**right, "solver": "dpmpp_3m"})


def test_the_checker_is_a_short_program_of_its_own(tmp_path: Path) -> None:
    text = CHECKER.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    imported = {
        name.name.partition(".")[0] if isinstance(node, ast.Import) else (node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert imported <= sys.stdlib_module_names
    good, bad, other = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "other.json"
    good.write_text(document("dpmpp_2m"), encoding="utf-8")
    bad.write_text(document("dpmpp_2m").replace('"order": 2', '"order": 3'), encoding="utf-8")
    other.write_text("no JSON", encoding="utf-8")
    for path, code, words in ((good, 0, "accepted: dpmpp_2m has order 2"), (bad, 1, "rejected"), (other, 2, "cannot")):
        # -I: without the folder of the checker, the user's site or anything of the environment
        done = subprocess.run([sys.executable, "-I", str(CHECKER), str(path)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.startswith(words)
        assert len(done.stdout.splitlines()) == 1


def test_rounded_coefficients_stand_in_no_file() -> None:
    @de.solver(order=2, prediction="eps")
    def rounded(step: Step) -> Any:
        d = step.model(step.x, step.now)
        delta = step.next.rho - step.now.rho
        x = (step.next.alpha / step.now.alpha) * step.x + step.next.alpha * delta * d
        weight = 0.4999999999999
        slope = (1 - weight) * d + weight * step.model(x, step.next)
        return (step.next.alpha / step.now.alpha) * step.x + step.next.alpha * delta * slope

    proof = prove(rounded)
    assert proof.order == 2
    with pytest.raises(PlanError, match="write them as fractions"):
        proof.to_json()


def test_a_certificate_carries_its_proof(tmp_path: Path) -> None:
    certificate = de.verify("ddim")
    proof = certificate["order_proof"].proof
    assert proof is not None
    assert json.loads(certificate.to_json())["checks"][1]["proof"]["order"] == 1
    assert proof.to_json(tmp_path / "proof.json") == (tmp_path / "proof.json").read_text(encoding="utf-8")
    assert accepted(json.loads(proof.to_json()))
