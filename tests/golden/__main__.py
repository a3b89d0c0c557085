"""`python -m tests.golden FOLDER [--skip-missing] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.golden.cases import FormatError, read_folder
from tests.golden.runner import Summary, compare_file

SHOWN = 20
"""How many missed cases are spelled out for each file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; the exit code is 1 where a case misses its tolerance, 2 where a solver is missing, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden", description="Compare diffode with published trajectories."
    )
    parser.add_argument("folder", type=Path, help="where the golden files are")
    parser.add_argument("--skip-missing", action="store_true", help="do not mind cases of solvers that diffode lacks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there")
    asked = parser.parse_args(arguments)
    try:
        summaries = [_show(compare_file(file)) for file in read_folder(asked.folder)]
    except FormatError as problem:
        print(problem, file=sys.stderr)
        return 2
    if asked.json is not None:
        asked.json.write_text(json.dumps([_record(summary) for summary in summaries], indent=2) + "\n")
    if any(summary.count("missed") for summary in summaries):
        return 1
    return 2 if any(summary.count("missing") for summary in summaries) and not asked.skip_missing else 0


def _record(summary: Summary) -> dict[str, object]:
    return {
        "source": summary.source,
        "cases": len(summary.results),
        "matched": summary.count("matched"),
        "missing": summary.count("missing"),
        "worst": summary.worst,
    }


def _show(summary: Summary) -> Summary:
    worst = "-" if summary.worst is None else f"{summary.worst:.1e}"
    matched, missing = summary.count("matched"), summary.count("missing")
    print(
        f"{summary.source:20} {len(summary.results):5} cases {matched:5} matched {missing:5} missing  worst {worst}",
        flush=True,
    )
    missed = [result for result in summary.results if result.verdict == "missed"]
    for result in missed[:SHOWN]:
        print(f"  MISSED {result.id}: {result.reason}")
    if len(missed) > SHOWN:
        print(f"  … and {len(missed) - SHOWN} more")
    return summary


if __name__ == "__main__":
    sys.exit(main())
