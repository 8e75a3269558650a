"""What was measured, as a table for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.figures import Plan, Results, Row
from manifests import __version__

_HEAD = ("figure", "what", "ours", "peer", "result", "CPU", "bar", "aim", "")
_EXTRAS = ("boto3", "cryptography", "requests", "virtualenv", "pyelftools", "distributed")
_DOCS = """\
# Benchmarks

`make bench` (or `python -m benchmarks`) measures Venvoy beside its peers, in one run and in turns, and
writes this page with `--write-docs`. Figures are medians; "CPU" is the processor time of the whole
process tree, in the result's column as the ratio to the peer's. A result is to be at most the bar, at
best the aim. Ratios are of wall clocks where nothing else is said.

{environment}

{table}

{notes}
## What is measured

Everything is measured with the wheels of {service} (those of all services for `five-services`), all of
them in Venvoy's cache, in uv's, and in a flat directory for pip. What a run leaves is checked: uv's venv
and the artifact hold the same distributions with equal files and the same compiled modules; the
unpacked tree equals tar's to the bit; an installed venv passes `venvoy verify`.

- **cold-build**: `venvoy build` without any layer and output, against `uv venv --relocatable`,
  `uv pip install --compile-bytecode --no-deps`, `tar` and `zstd -3 -T0`.
- **rebuild**: one small pure wheel has another digest; all other layers are cached, the output is
  empty. Against the same pipeline of uv, and against `pip install --no-deps` and `venv-pack`.
- **five-services**: five services in one cold `venvoy build`, against building the layers of their
  distinct wheels and nothing else, in a process of its own, with as many workers.
- **cluster**: the same five services, layers cold, by two workers of a Dask cluster on the loopback interface
  that share the build's cache, and by two processes without a cluster. Processor time is that of the build,
  the scheduler and the workers, whose start is not timed.
- **unpack**: digests checked and all files written to tmpfs, timed in the process; `tar --zstd -xf`
  checks nothing.

Installs and commands that do nothing run from an environment like a host's: Venvoy with the extra `http`,
and nothing else.

- **install**: `venvoy install` on a host that has seen nothing of the store, from a directory store:
  trust, verification, unpacking, checks, syncs, receipt. Against `uv venv` and
  `uv pip install --compile-bytecode` from a warm cache on the same file system, which syncs nothing.
- **http**: the same fresh install, on tmpfs, from `serve-store`'s server on loopback; against the directory
  store, and against `curl` piped into `tar --zstd -x`, which verifies and checks nothing.
- **upgrade**: all bytes that cross the wire, counted by a relay (HTTP headers and signed metadata included),
  when a host that has the older release installs the newer one; against the chunks that casync would
  fetch for the uncompressed tar, and against `zstd -19 --long=31 --patch-from` of it, without any metadata.
- **unchanged**, **help**: processor time of commands that have nothing to do, {small} runs each.
- **size**: the tarball at the level of the cold build, against `tar` and `zstd -3` of uv's venv.
- **memory**: resident memory. An install's processes are added up (shared pages count for each; beside
  it the largest process); of a build the largest process counts (beside it the sum).
"""


def table(rows: Sequence[Row]) -> str:
    """Return the rows for a terminal."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    head = (*_HEAD[:-1], "verdict")
    lines = [head, ["---"] * len(head), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def document(results: Results, plan: Plan) -> dict[str, Any]:
    """Return everything as one JSON document."""
    rows = [
        {
            "figure": row.figure,
            "what": row.what,
            "ours": row.ours,
            "peer": row.peer,
            "value": round(row.value, 4),
            "unit": row.unit,
            "cpu_ratio": None if row.cpu_ratio is None else round(row.cpu_ratio, 4),
            "bar": row.bar,
            "aim": row.aim,
            "verdict": row.verdict,
        }
        for row in results.rows
    ]
    return {
        "environment": environment(plan),
        "service": plan.lab.service,
        "quick": plan.quick,
        "figures": rows,
        "notes": results.notes,
        "samples": results.samples,
    }


def page(results: Results, plan: Plan) -> str:
    """Return the documentation's page."""
    facts = "\n".join(f"- {name}: {value}" for name, value in environment(plan).items())
    notes = "".join(f"{note[0].upper()}{note[1:]}.\n" for note in results.notes)
    return _DOCS.format(
        environment=facts,
        table=markdown(results.rows),
        notes=f"{notes}\n" if notes else "",
        service=plan.lab.service,
        small=plan.small_runs,
    )


def updated(text: str, results: Results, order: Sequence[str]) -> str:
    """Return the page *text* with its rows of the figures in *results* replaced, in *order*.

    Facts and notes stay those of the run that wrote the page, with the day of this one beside them.
    """
    measured = sorted({row.figure for row in results.rows}, key=order.index)
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    mark = f"- {', '.join(measured)}: measured alone on "
    lines = [line for line in text.splitlines() if not line.startswith(mark)]
    head, rule = markdown([]).splitlines()
    first = lines.index(rule) + 1
    last = next(number for number, line in enumerate(lines) if number >= first and not line.startswith("|"))
    rows = [line for line in lines[first:last] if _figure(line) not in measured]
    rows += markdown(results.rows).splitlines()[2:]
    rows.sort(key=lambda line: order.index(_figure(line)))
    facts = [*lines[: first - 3], f"{mark}{day}", "", head, rule]
    return "\n".join([*facts, *rows, *lines[last:], ""])


def _figure(line: str) -> str:
    return line.split("|")[1].strip()


def environment(plan: Plan) -> dict[str, str]:
    """Return what the figures depend on; nothing that names a machine or a place."""
    lab = plan.lab
    extras = [name for name in _EXTRAS if _version(name)]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "load before": f"{plan.load:.1f} (other work; wall clocks suffer from it more than processor time)",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file systems": f"disk: {_file_system(lab.work)}; tmpfs: {_file_system(plan.tmpfs)}",
        "python": platform.python_version(),
        "Venvoy": f"{__version__}, with {', '.join(extras)}",
        "peers": ", ".join(
            [
                f"uv {_said(lab.tools['uv'])}",
                f"pip {_version('pip')}",
                f"venv-pack {_version('venv-pack')}",
                f"tar {_said(lab.tools['tar'])}",
                f"zstd {_said(lab.tools['zstd'])}",
            ]
        ),
        "runs": f"{plan.runs}, interleaved",
    }


def _cells(row: Row) -> tuple[str, ...]:
    cpu = "" if row.cpu_ratio is None else _limit(row.cpu_ratio, "x")
    aim = "hold" if row.aim is None else _limit(row.aim, row.unit)
    result = _limit(row.value, row.unit)
    return (
        row.figure,
        row.what,
        row.ours,
        row.peer,
        result,
        cpu,
        _limit(row.bar, row.unit),
        aim,
        row.verdict,
    )


def _limit(value: float, unit: str) -> str:
    if unit == "x":
        return f"1/{1 / value:.0f}" if value < 0.2 else f"{value:.2f}x"
    return f"{value:.0f} {unit}" if unit in ("MB", "kB") else f"{value:.2f} {unit}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds *path*."""
    real = str(path.resolve())
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mounted, this, *_ = line.split(" ")
        inside = real == mounted or real.startswith(f"{mounted.rstrip('/')}/")
        if inside and len(mounted) >= len(best):
            best, kind = mounted, this
    return kind


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _said(tool: Path) -> str:
    text = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    words = (word.strip("v,*") for word in text.replace("\n", " ").split())
    return next((word for word in words if word[:1].isdigit()), "")
