"""The five services, all layers cold, by two workers of a cluster and by two processes, in turn.

A Dask scheduler and ``venvoy worker`` run on the loopback interface, as they would for weeks: their start is
not timed. What is compared are whole ``venvoy build`` processes; the processor time of scheduler and workers
counts for the cluster. ``python -m benchmarks.cluster`` measures this alone, ``python -m benchmarks --only
cluster`` as one of the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import SERVICES, Plan, Row, against
from benchmarks.lab import ROOT, Lab, remove
from benchmarks.measure import BenchmarkError, Contender, Meter, Sample, Series, descendants, race

_JOBS = 2
_BAR = 1.15
_START_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
_CALM = {  # as docs/cluster.md has it for schedulers
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}
_HERE, _THERE = "here", "cluster"


def clusters(plan: Plan) -> None:
    """cluster: five services by two workers, against two processes."""
    if importlib.util.find_spec("distributed") is None:
        raise BenchmarkError("the figure 'cluster' needs distributed: pip install '.[cluster]'")
    file = plan.lab.work / "cluster.json"
    # A process of its own: this one waits for all that it started, and a cluster does not end.
    done = subprocess.run(_command(plan.lab.work, plan.runs, file), cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode not in (0, 1):
        raise BenchmarkError(f"the cluster could not be measured: see above, and {plan.lab.work}/cluster.log")
    series = {
        name: Series(samples=[Sample(**sample, output="") for sample in samples])
        for name, samples in json.loads(file.read_text(encoding="utf-8")).items()
    }
    plan.results.keep("cluster", series)
    plan.results.rows.append(_row(series))


def main() -> int:
    """Run it and return the exit status: 0 bar met, 1 missed, 2 not measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each (default 3)")
    parser.add_argument("--work", type=Path, default=ROOT / "var/bench", metavar="DIR", help="(var/bench)")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="write all samples (JSON)")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--pids", type=int, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work = arguments.work.absolute()
    try:
        if arguments.address is not None:
            series = _measure(work, arguments.runs, arguments.address, arguments.pids)
            return _report(series, arguments.samples)
        with _cluster(work) as (address, pids):
            more = ["--address", address, "--pids", *map(str, pids)]
            command = [*_command(work, arguments.runs, arguments.samples), *more]
            return subprocess.run(command, cwd=ROOT, check=False).returncode
    except (BenchmarkError, TimeoutError) as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2


def _command(work: Path, runs: int, samples: Path | None) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.cluster", "--work", str(work), "--runs", str(runs)]
    return command if samples is None else [*command, "--samples", str(samples.absolute())]


def _measure(work: Path, runs: int, address: str, pids: Sequence[int]) -> dict[str, Series]:
    lab = Lab(work, "nova", Meter(work / "logs"), lambda text: print(text, file=sys.stderr))
    lab.prepare_wheels(every_service=True)
    output = work / "cluster-out"

    def cold() -> None:
        lab.cold_cache()
        remove(output)

    def build(*options: str) -> Sample:
        return lab.build("--offline", *options, services=SERVICES, cache=work / "cold", output=output)

    def there() -> Sample:
        before = _processor_seconds(pids)
        sample = build("--cluster", address)
        return dataclasses.replace(sample, cpu=sample.cpu + _processor_seconds(pids) - before)

    return race(
        [
            Contender(name=_HERE, reset=cold, run=lambda: build("--jobs", str(_JOBS))),
            Contender(name=_THERE, reset=cold, run=there),
        ],
        runs,
        work,
    )


def _report(series: dict[str, Series], file: Path | None) -> int:
    """Print medians and ratios, write the samples where wanted, and return the exit status."""
    if file is not None:
        fields = ("wall", "cpu", "peak", "tree_peak")
        values = {
            name: [{field: getattr(sample, field) for field in fields} for sample in one.samples]
            for name, one in series.items()
        }
        file.write_text(json.dumps(values), encoding="utf-8")
    for name, one in series.items():
        walls = ", ".join(f"{sample.wall:.1f}" for sample in one.samples)
        cpus = ", ".join(f"{sample.cpu:.1f}" for sample in one.samples)
        print(f"{name:<8} median {one.wall:.1f} s of {walls}; CPU {one.cpu:.1f} s of {cpus}")
    pairs = [
        two.wall / one.wall for one, two in zip(series[_HERE].samples, series[_THERE].samples, strict=True)
    ]
    row = _row(series)
    ratios = f"{row.value:.2f} of medians, {statistics.median(pairs):.2f} of pairs, CPU {row.cpu_ratio:.2f}"
    print(f"ratio    {ratios}; bar {_BAR}: {row.verdict}")
    return 0 if row.value <= _BAR else 1


def _row(series: dict[str, Series]) -> Row:
    what = f"{len(SERVICES)} services by {_JOBS} workers of a cluster, against {_JOBS} processes"
    return dataclasses.replace(against("cluster", what, series, (_THERE, _HERE), (_BAR, _BAR)), aim=None)


def _processor_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of *pids*, all below them, and what ended there."""
    total = 0
    for pid in {process for root in pids for process in (root, *descendants(root))}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


@contextmanager
def _cluster(work: Path) -> Iterator[tuple[str, list[int]]]:
    """Give the scheduler's address and the processes that make the cluster up. Raises TimeoutError."""
    work.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    log = work / "cluster.log"
    environment = {**os.environ, **_CALM, "PYTHONPATH": str(ROOT)}
    scheduler = ["distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]
    worker = ["venvoy", "worker", address, "--jobs", str(_JOBS), "--cache", str(work / "cold")]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("wb") as output:
            for words in ([*scheduler, "--dashboard-address", "127.0.0.1:0"], worker):
                command = [sys.executable, "-m", *words]
                started.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
                    )
                )
        deadline = time.monotonic() + _START_SECONDS
        while log.read_bytes().count(b"Registered to") < _JOBS:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster did not start; see {log}")
            time.sleep(0.2)
        yield address, [process.pid for process in started]
    finally:
        for process in reversed(started):  # workers first, while there is somebody to say goodbye to
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
