"""What a golden file holds: cases, the data distributions of its problems, and forward processes by name.

A file is JSON, plain or compressed by xz or gzip; FORMAT.md describes it.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

import diffode as de

SUFFIXES = {".json": open, ".json.xz": lzma.open, ".json.gz": gzip.open}


class FormatError(ValueError):
    """A file or a folder that is not golden data; the message says what is wrong with it."""


@dataclass(frozen=True)
class Case:
    """One published run, and what surrounds it in its file."""

    record: dict[str, Any]
    data: de.GaussianMixture
    tolerance: dict[str, float]

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def solver(self) -> str:
        return self.record["solver"]

    @property
    def options(self) -> dict[str, Any]:
        return self.record["options"]

    @property
    def grid(self) -> dict[str, Any]:
        return self.record["grid"]

    @property
    def process(self) -> str:
        return self.record["process"]["id"]

    @property
    def nfe(self) -> int:
        return self.record["nfe"]

    @property
    def extra(self) -> dict[str, Any]:
        return self.record.get("extra", {})

    @cached_property
    def x_init(self) -> np.ndarray:
        return np.array(self.record["x_init"], dtype=float)

    @cached_property
    def x_final(self) -> np.ndarray:
        return np.array(self.record["x_final"], dtype=float)

    @cached_property
    def eval_labels(self) -> np.ndarray | None:
        labels = self.record["eval_labels"]
        return None if labels is None else np.array(labels, dtype=float)

    @cached_property
    def noise(self) -> list[np.ndarray]:
        """The draws in call order; empty where none are stored."""
        return [np.array(draw, dtype=float) for draw in self.record.get("noise") or ()]


@dataclass(frozen=True)
class File:
    """A golden file.

    Attributes
    ----------
    name : str
        Its name without the suffix.
    repository : str
        Whose code was run, "owner/name".
    cases : tuple of Case
    """

    name: str
    repository: str
    cases: tuple[Case, ...]


def read_folder(folder: Path) -> Iterator[File]:
    """The golden files of a folder, in the order of their names.

    Raises
    ------
    FormatError
        If the folder does not exist, holds no golden file, or one of its files is damaged.
    """
    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder")
    paths = {path.name: path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}")}
    if not paths:
        raise FormatError(f"{folder}: holds no golden file (*.json, *.json.xz, *.json.gz)")
    for name in sorted(paths):
        yield read(paths[name])


def read(path: Path) -> File:
    """One golden file."""
    suffix = next(s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(s))
    try:
        with SUFFIXES[suffix](path, "rt", encoding="utf-8") as stream:
            content = json.load(stream)
        if content["format"] != "diffode-golden/1":
            raise FormatError(f"{path}: format {content['format']!r} is not diffode-golden/1")
        problems = {name: _data(problem) for name, problem in content["problems"].items()}
        tolerance = {key: content["tolerance"][key] for key in ("rel", "abs")}
        cases = tuple(Case(record, problems[record["problem"]], tolerance) for record in content["cases"])
        return File(path.name.removesuffix(suffix), content["source"]["repo"], cases)
    except (OSError, EOFError, lzma.LZMAError, json.JSONDecodeError, KeyError, TypeError) as problem:
        raise FormatError(f"{path}: not a golden file ({type(problem).__name__}: {problem})") from problem


def _data(problem: dict[str, Any]) -> de.GaussianMixture:
    """The mixture Σ_k w_k N(mean_k, Q diag(e_k) Qᵀ) of a problem."""
    basis, eigenvalues = np.array(problem["Q"]), np.array(problem["cov_eigenvalues"])
    if np.array_equal(basis, np.eye(len(basis))):
        return de.GaussianMixture(problem["weights"], problem["means"], np.sqrt(eigenvalues))
    covariances = np.einsum("ia,ka,ja->kij", basis, eigenvalues, basis)
    return de.GaussianMixture(problem["weights"], problem["means"], covariances)


@cache
def process(name: str) -> de.Process:
    """The forward process that a case names, with the time of continuous labels (t = (n + 1)/1000 for tables)."""
    if name == "vp_sd":
        return de.VP.scaled_linear(0.00085, 0.012, 1000)
    if name == "vp_ddpm":
        return de.VP.discrete(np.linspace(1e-4, 2e-2, 1000).tolist())
    return {"vp_linear": de.VP(0.1, 20.0), "vp_cosine": de.VP.cosine(0.008), "ve": de.EDM(), "rf": de.Flow()}[name]
