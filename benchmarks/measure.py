"""Runs a command and says what it cost: wall clock, processor time of the whole process tree, memory.

The measuring process is a subreaper (prctl(2)): helpers that outlive their parent, as compile servers
do for an instant, are adopted and reaped here, so that no processor time gets lost.
"""

from __future__ import annotations

import ctypes
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distributor.system.syncing import sync_file_system

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 30.0
_SAMPLE_SECONDS = 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchmarkError(Exception):
    """Something did not work, so there is nothing to time."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one run cost. ``peak`` is of the largest process, ``tree_peak`` of all together, in bytes.

    ``tree_peak`` counts pages that processes share once for each; it is 0 where nobody watched.
    """

    wall: float
    cpu: float
    peak: int
    tree_peak: int
    output: str


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do a job: undo it (not timed), do it (timed), see that it was done (not timed)."""

    name: str
    run: Callable[[], Sample]
    reset: Callable[[], object] = lambda: None
    check: Callable[[Sample], object] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Series:
    """The samples of one contender."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median of the wall clock."""
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Median of the processor time."""
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def least_cpu(self) -> float:
        """The least processor time: what is left when other load is taken away."""
        return min(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> int:
        """The largest process of all runs."""
        return max(sample.peak for sample in self.samples)


class Meter:
    """Starts processes, one job at a time. Not for a process that has other children."""

    def __init__(self, logs: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise BenchmarkError("the kernel does not let this process adopt its grandchildren")
        logs.mkdir(parents=True, exist_ok=True)
        self._output = logs / "output.log"
        self._errors = logs / "errors.log"

    def run(
        self, command: Sequence[str | Path], environment: Mapping[str, str], *, watch: bool = False
    ) -> Sample:
        """Run *command* to its end and return its cost. Raises BenchmarkError where it fails."""
        watcher = _Watcher() if watch else None
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            started = time.perf_counter()
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=dict(environment),
            )
            if watcher is not None:
                watcher.start()
            status, wall, cpu, peak = _reap(process.pid, started)
            process.returncode = os.waitstatus_to_exitcode(status)
        tree_peak = watcher.stop() if watcher is not None else 0
        if process.returncode != 0:
            tail = self._errors.read_text(errors="replace").strip().splitlines()[-8:]
            raise BenchmarkError(
                "\n".join([f"{command[0]} ... ended with status {process.returncode}:", *tail])
            )
        text = self._output.read_text(errors="replace")
        return Sample(wall=wall, cpu=cpu, peak=peak, tree_peak=tree_peak, output=text)


def race(contenders: Sequence[Contender], runs: int, place: Path) -> dict[str, Series]:
    """Run all *contenders* in turn (A B A B), *runs* times; *place* is synced before each, untimed."""
    series = {contender.name: Series() for contender in contenders}
    for _ in range(runs):
        for contender in contenders:
            contender.reset()
            sync_file_system(place)
            sample = contender.run()
            contender.check(sample)
            series[contender.name].samples.append(sample)
    return series


def _reap(main: int, started: float) -> tuple[int, float, float, int]:
    """Wait for *main* and then for what it left; return its status, wall, and all of their CPU and peak."""
    status, wall, cpu, peak = 0, 0.0, 0.0, 0
    deadline = None
    while True:
        try:
            pid, ended, usage = os.wait4(-1, 0 if deadline is None else os.WNOHANG)
        except ChildProcessError:
            return status, wall, cpu, peak
        if pid == 0:
            if deadline is not None and time.monotonic() > deadline:
                _kill_children()
                raise BenchmarkError("a benchmark left processes that do not end")
            time.sleep(0.001)
            continue
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss * 1024)
        if pid == main:
            wall = time.perf_counter() - started
            status, deadline = ended, time.monotonic() + _PATIENCE


def _kill_children() -> None:
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)


class _Watcher(threading.Thread):
    """Samples the resident memory of all descendants. It takes processor time: watched runs are not timed."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._peak = 0

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, sum(_resident(pid) for pid in descendants(os.getpid())))

    def stop(self) -> int:
        """End sampling and return the largest sum."""
        self._ended.set()
        self.join()
        return self._peak


def descendants(root: int) -> list[int]:
    """Return all processes that *root* and those below it started."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                # Behind the name in brackets, which may hold anything: state and parent.
                fields = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(place.name))
    found = []
    pending = [root]
    while pending:
        children = parents.get(pending.pop(), [])
        found += children
        pending += children
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
