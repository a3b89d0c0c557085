"""What a proof of order costs, for every solver of the registry: python benchmarks/proofs.py [NAME …]."""

from __future__ import annotations

import sys
import time

import diffode as de
from diffode.errors import PlanError


def main(names: list[str]) -> None:
    """CPU seconds of each proof and of its file, the longest last."""
    rows: list[tuple[float, float, str]] = []
    for name in names or de.list_solvers():
        start = time.process_time()
        try:
            proof = de.prove(name)
        except (ArithmeticError, PlanError):
            continue  # it draws noise
        proved = time.process_time()
        proof.to_json()
        rows.append((proved - start, time.process_time() - proved, f"{name}: order {proof.order}"))
    for seconds, writing, what in sorted(rows):
        print(f"{seconds:7.2f} s  file {writing:5.2f} s  {what}")


if __name__ == "__main__":
    main(sys.argv[1:])
