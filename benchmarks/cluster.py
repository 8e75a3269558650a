"""``python -m benchmarks.cluster``: the five services, all layers cold, on two workers against here.

A Dask scheduler and ``venvoy worker`` run on the loopback interface, as they would for weeks: their start is
not timed. Builds alternate; what is compared are whole ``venvoy build`` processes, by wall clock.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import SERVICES
from benchmarks.lab import ROOT, Lab, remove
from benchmarks.measure import Contender, Meter, Sample, race

_JOBS = 2
_BAR = 1.15
_START_SECONDS = 120.0


def main() -> int:
    """Run it and return the exit status: 0 bar met, 1 missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each (default 3)")
    parser.add_argument("--work", type=Path, default=ROOT / "var/bench", metavar="DIR", help="(var/bench)")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work = arguments.work.absolute()
    if arguments.address is not None:
        return _measure(work, arguments.runs, arguments.address)
    # The measuring process waits for all that it started: the cluster must not be its child.
    with _cluster(work) as address:
        command = [sys.executable, "-m", "benchmarks.cluster", "--work", work, "--runs", str(arguments.runs)]
        return subprocess.run([*command, "--address", address], cwd=ROOT, check=False).returncode


def _measure(work: Path, runs: int, address: str) -> int:
    lab = Lab(work, "nova", Meter(work / "logs"), lambda text: print(text, file=sys.stderr))
    lab.prepare_wheels(every_service=True)
    output = work / "cluster-out"

    def cold() -> None:
        lab.cold_cache()
        remove(output)

    def build(*options: str) -> Sample:
        return lab.build("--offline", *options, services=SERVICES, cache=work / "cold", output=output)

    here = Contender(name="here", reset=cold, run=lambda: build("--jobs", str(_JOBS)))
    there = Contender(name="cluster", reset=cold, run=lambda: build("--cluster", address))
    found = race([here, there], runs, work)
    walls = {name: [sample.wall for sample in series.samples] for name, series in found.items()}
    medians = {name: statistics.median(values) for name, values in walls.items()}
    ratio = medians["cluster"] / medians["here"]
    pairs = [two / one for one, two in zip(walls["here"], walls["cluster"], strict=True)]
    for name, values in walls.items():
        print(f"{name:<8} median {medians[name]:.1f} s of {', '.join(f'{value:.1f}' for value in values)}")
    print(f"ratio    {ratio:.2f} of medians, {statistics.median(pairs):.2f} of pairs; bar {_BAR}")
    return 0 if ratio <= _BAR else 1


@contextmanager
def _cluster(work: Path) -> Iterator[str]:
    work.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    log = work / "cluster.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
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
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
