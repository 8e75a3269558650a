"""``python -m benchmarks``: measure, print a table, and write it down where wanted."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Plan, Results
from benchmarks.groups import ALL, NOT_QUICK, measure
from benchmarks.lab import ROOT, Lab
from benchmarks.measure import BenchmarkError, Meter


def main() -> int:
    """Run the benchmark and return the exit status: 0 all bars met, 1 some missed, 2 not measured."""
    arguments = _parser().parse_args()
    wanted = frozenset(
        arguments.only or [name for name in ALL if not (arguments.quick and name in NOT_QUICK)]
    )
    work = arguments.work.absolute()
    results = Results()
    try:
        meter = Meter(work / "logs")
        service = "keystone" if arguments.quick else "nova"
        plan = Plan(
            lab=Lab(work, service, meter, _note),
            wanted=wanted,
            runs=1 if arguments.quick else arguments.runs,
            quick=arguments.quick,
            load=os.getloadavg()[0],
            tmpfs=arguments.tmpfs.absolute(),
            note=_note,
            results=results,
        )
        try:
            measure(plan)
        finally:
            plan.lab.empty_trash()
    except BenchmarkError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    results.rows.sort(key=lambda row: ALL.index(row.figure))
    print(report.table(results.rows))
    for note in results.notes:
        print(note)
    if arguments.json:
        arguments.json.write_text(
            json.dumps(report.document(results, plan), indent=2) + "\n", encoding="utf-8"
        )
    if arguments.write_docs:
        page = report.page(results, plan)
        if arguments.only and arguments.write_docs.is_file():
            page = report.updated(arguments.write_docs.read_text(encoding="utf-8"), results, ALL)
        arguments.write_docs.write_text(page, encoding="utf-8")
    return 1 if any(row.verdict == "missed" for row in results.rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Venvoy beside its peers."
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each contender (default 3)")
    parser.add_argument("--only", nargs="+", choices=ALL, metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and all samples")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "var/bench", metavar="DIR", help="caches and scratch (var/bench)"
    )
    parser.add_argument(
        "--tmpfs",
        type=Path,
        default=Path("/dev/shm"),
        metavar="DIR",
        help="a file system in memory (/dev/shm)",
    )
    parser.add_argument("--quick", action="store_true", help="a small service, once, without the long races")
    parser.add_argument(
        "--write-docs",
        type=Path,
        nargs="?",
        const=ROOT / "docs/benchmarks.md",
        metavar="FILE",
        help="write the page (docs/benchmarks.md); with --only its rows for these alone",
    )
    return parser


def _note(text: str) -> None:
    sys.stderr.write(f"benchmarks: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
