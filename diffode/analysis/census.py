"""Certificates of many solvers: in several processes, and kept, so that nothing is done twice.

A certificate is kept under a digest of the solver's formula and of the code that judges it. An interrupted run loses
the solvers that it was at, and a formula that changed is verified anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing, suppress
from functools import cache, partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from diffode.analysis.verification import verify
from diffode.errors import DiffodeError, SolverError
from diffode.process import Process, named
from diffode.solvers import Solver, get_solver, registry, verified

Found = Mapping[str, Any]
"""A certificate as JSON has it."""

Progress = Callable[[str, int, int], None]
"""Called with the solver that was done, how many are, and how many there are."""


def certify(
    solvers: Iterable[str] | None = None,
    process: Process | str | None = None,
    *,
    fast: bool = True,
    workers: int = 1,
    folder: str | Path | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> dict[str, Found]:
    """Certificates of many solvers, as `verify` makes them.

    Parameters
    ----------
    solvers : iterable of str, optional
        Names or files; the whole registry by default.
    process : Process or str, optional
        Where they are measured; by default where `verify` does.
    fast : bool
        Whether to make only the checks that tell the order.
    workers : int
        Processes that work side by side. With more than one, a script of your own needs `if __name__ == "__main__":`.
    folder : str or Path, optional
        Where certificates are kept; `kept_in()` by default.
    again : bool
        Whether to make anew what is kept.
    progress : callable, optional

    Returns
    -------
    dict
        `Certificate.as_dict()` by name, in the order asked for.

    Raises
    ------
    DiffodeError
        If there is no such solver, or some could not be verified; the others are kept then.

    Examples
    --------
    >>> import tempfile
    >>> found = certify(["ddim", "dpmpp_2m"], folder=tempfile.mkdtemp())
    >>> [(name, entry["order"], entry["verdict"]) for name, entry in found.items()]
    [('ddim', 1.0, 'PASS'), ('dpmpp_2m', 2.0, 'PASS')]
    """
    if not isinstance(workers, int) or workers < 1:
        raise DiffodeError(f"certify: workers must be a positive whole number, not {workers!r}")
    names = list(registry() if solvers is None else [solvers] if isinstance(solvers, str) else solvers)
    where = named(process) if isinstance(process, str) else process
    at = kept_in() if folder is None else Path(folder)
    places = {name: _place(at, name, where, fast) for name in names}
    found: dict[str, Found] = {}
    for name, place in places.items():
        known = None if again or place is None else _read(place)
        if known is not None:
            found[name] = known
    missing = [name for name in names if name not in found]
    if progress is not None:
        progress("", len(found), len(names))
    with closing(side_by_side(missing, where, fast, workers)) as done:
        for name, entry in done:
            found[name] = entry
            if (place := places[name]) is not None:
                _write(place, entry)
            if progress is not None:
                progress(name, len(found), len(names))
    return {name: found[name] for name in names}


def side_by_side(
    names: Iterable[str], process: Process | None, fast: bool, workers: int
) -> Generator[tuple[str, dict[str, Any]]]:
    """Names with certificates, as they are done; DiffodeError at the end where some could not be made."""
    failed: dict[str, BaseException] = {}
    with closing(_results(list(names), process, fast, workers)) as done:
        for name, result in done:
            try:
                yield name, result()
            except (DiffodeError, ArithmeticError, TypeError, ValueError) as problem:
                failed[name] = problem
    if failed:
        raise DiffodeError("; ".join(f"{name}: {type(why).__name__}: {why}" for name, why in failed.items()))


def _results(
    names: list[str], process: Process | None, fast: bool, workers: int
) -> Generator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Names with what gives their certificates or raises.

    Where that is broken off, workers end at once: a solver that they are at can take long.
    """
    if workers == 1 or len(names) < 2:
        for name in names:
            yield name, partial(_entry, name, process, fast)
        return
    others = active_children()
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    )
    try:
        jobs: dict[Future[dict[str, Any]], str] = {pool.submit(_entry, name, process, fast): name for name in names}
        for job in as_completed(jobs):
            yield jobs[job], job.result
    except BaseException:
        for child in active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _entry(name: str, process: Process | None, fast: bool) -> dict[str, Any]:
    return verify(name, process, fast=fast).as_dict()


def as_declared(name: str, entry: Found) -> bool:
    """Whether a certificate says of a solver what it claims itself: PASS, or the order that its `reaches` admits.

    >>> as_declared("dpmpp_3m", {"verdict": "FAIL", "order": 2.0})
    True
    """
    reaches = get_solver(name).reaches
    return entry["verdict"] == "PASS" if reaches is None else entry["order"] == reaches


# --- what is kept -------------------------------------------------------------------------------------------


def kept_in() -> Path:
    """The folder of certificates: `diffode/certificates` in the user's cache, or what DIFFODE_CERTIFICATES says."""
    if own := os.environ.get("DIFFODE_CERTIFICATES"):
        return Path(own)
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(cache) if cache else Path.home() / ".cache") / "diffode" / "certificates"


def _place(folder: Path, name: str, process: Process | None, fast: bool) -> Path | None:
    """The file of a certificate; None for a rule that has no source."""
    solver = get_solver(name)
    try:
        formula = verified.fingerprint(solver)
    except SolverError:
        return None
    others = _named(solver.options.values())
    parts = (solver.name, repr(sorted(_claims(solver).items())), formula, *others, judges(), repr(process), str(fast))
    return folder / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.json"


def _named(options: Iterable[Any]) -> list[str]:
    """Digests of what options only name: the solver that a transform is built on, and files, as of statistics."""
    found: dict[str, str] = {}
    waiting = list(options)
    for value in waiting:
        if isinstance(value, Solver):
            waiting += value.options.values()
        elif isinstance(value, str) and value not in found:
            found[value] = ""
            if Path(value).is_file() and not value.endswith(".py"):  # a program counts by its code
                found[value] = hashlib.sha256(Path(value).read_bytes()).hexdigest()
            with suppress(SolverError):  # most words name no solver, and some solvers have no source
                base = get_solver(value)
                found[value] += verified.fingerprint(base)
                waiting += base.options.values()
    return [digest for digest in found.values() if digest]


def _claims(solver: Any) -> dict[str, Any]:
    names = ("order", "reaches", "history", "prediction", "exponential", "uniform", "strong_order", "stiff_order")
    return {name: getattr(solver, name) for name in names}


@cache
def judges() -> str:
    """A digest of the code that traces, measures and proves: a change there makes every certificate anew."""
    root = Path(__file__).parents[1]
    layers = [root / name for name in ("analysis", "backends", "models", "process", "grids", "statistics", "trace")]
    files = [*root.glob("*.py"), *(file for layer in layers for file in layer.rglob("*.py"))]
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(file.read_bytes())
    return found.hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept; None where nothing is, or what cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, entry: Found) -> None:
    """Keep a certificate, whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(entry, ensure_ascii=False), encoding="utf-8")
        draft.replace(path)
    except OSError as problem:
        raise DiffodeError(
            f"cannot keep a certificate in {path.parent}: {problem.strerror or problem}; name another folder by "
            "folder= or in DIFFODE_CERTIFICATES"
        ) from problem
