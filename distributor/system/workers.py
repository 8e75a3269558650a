"""A few forked workers that share a queue of numbered tasks.

Processes rather than threads: unpacking makes some 100,000 short system calls, and handing the
interpreter's lock back and forth round each costs a third of the time (measured: 0.54 s with two
threads, 0.44 s with two processes, for 20,000 files).

Workers inherit the caller's locks (flock belongs to the open file), so a lock is free only when the
last worker is gone; and they die with the caller, whatever kills it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from manifests import errors
from manifests.errors import VenvoyError
from manifests.parent_death import end_with_parent

INDEX_BYTES = 4
"""An index in a pipe, little endian."""
QUEUE_BYTES = 32 * 1024
"""Below a pipe's capacity (64 KB): filling it never blocks. What is beyond is done here, last."""

Send = Callable[[dict[str, Any]], None]
"""Sends a report to the process that forked this one."""


def run_tasks(
    order: Sequence[int], task: Callable[[int], Any], done: Callable[[int, Any], None], *, jobs: int
) -> None:
    """Call ``task(index)`` for each index of *order*, in up to *jobs* processes, this one included.

    ``done(index, result)`` is called here for each; results of workers travel as JSON. The first
    error ends all workers and is raised here with its type (VenvoyError, OSError; else RuntimeError).
    """
    # A process with threads cannot be forked safely; it works alone.
    if jobs <= 1 or len(order) <= 1 or threading.active_count() > 1:
        for index in order:
            done(index, task(index))
        return
    queue, feeder = os.pipe()
    workers: list[Worker] = []
    try:
        # Reading a fixed few bytes from a pipe is atomic: the kernel is the scheduler.
        every = b"".join(index.to_bytes(INDEX_BYTES, "little") for index in order)
        now, late = every[:QUEUE_BYTES], every[QUEUE_BYTES:]
        os.write(feeder, now)
        os.close(feeder)
        feeder = -1

        def serve(send: Send) -> None:
            for index in indexes(queue):
                send({"index": index, "result": task(index)})

        def taken(report: dict[str, Any]) -> None:
            done(report["index"], report["result"])

        for _ in range(min(jobs, len(order)) - 1):
            workers.append(start(serve, workers))
        for index in indexes(queue):
            done(index, task(index))
            collect(workers, taken, wait=False)
        for position in range(0, len(late), INDEX_BYTES):
            index = int.from_bytes(late[position : position + INDEX_BYTES], "little")
            done(index, task(index))
        collect(workers, taken, wait=True)
    finally:
        if feeder >= 0:
            os.close(feeder)
        os.close(queue)
        for worker in workers:
            worker.end()


class Worker:
    """A child and the pipe on which it reports: lines of JSON, one a task and one at the end."""

    def __init__(self, pid: int, reports: int) -> None:
        self.pid = pid
        self.reports = reports
        self.ended = False
        self._partial = b""

    def lines(self) -> list[bytes]:
        """Return the whole lines that are there; an empty one says that the pipe has ended."""
        data = os.read(self.reports, 65536)
        *lines, self._partial = (self._partial + data).split(b"\n")
        return lines if data else [b""]

    def end(self) -> None:
        """Make sure that the child is gone."""
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.ended = True
        os.close(self.reports)


def start(serve: Callable[[Send], None], others: Sequence[Worker]) -> Worker:
    """Fork a worker that runs *serve* and ends; *serve* gets what sends its reports.

    The worker dies with this process, and what *serve* raises is its last report.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Worker(pid, reading)
    try:
        end_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
        os.close(reading)
        for other in others:
            os.close(other.reports)
        _serve(serve, lambda report: _send(writing, report))
    finally:
        os._exit(0)


def _serve(serve: Callable[[Send], None], send: Send) -> None:
    try:
        serve(send)
        send({"end": True})
    except OSError as error:
        send({"errno": error.errno, "message": error.strerror, "path": _text(error.filename)})
    except BaseException as error:  # noqa: BLE001 - the caller raises it again
        send({"error": type(error).__name__, "message": str(error)})


def indexes(queue: int) -> Iterator[int]:
    """Yield the indexes that this process gets of those that are written to the pipe *queue*."""
    while data := os.read(queue, INDEX_BYTES):
        yield int.from_bytes(data, "little")


def _send(writing: int, report: dict[str, Any]) -> None:
    view = memoryview(json.dumps(report).encode("ascii") + b"\n")
    while view:
        view = view[os.write(writing, view) :]


def collect(workers: Sequence[Worker], taken: Callable[[dict[str, Any]], None], *, wait: bool) -> None:
    """Hand the reports that are there to *taken*; with *wait*, until every worker has ended.

    Raises what a worker raised.
    """
    while active := [worker for worker in workers if not worker.ended]:
        ready, _, _ = select.select([worker.reports for worker in active], [], [], None if wait else 0)
        if not ready:
            return
        for worker in active:
            if worker.reports in ready:
                for line in worker.lines():
                    _take(worker, line, taken)


def _take(worker: Worker, line: bytes, taken: Callable[[dict[str, Any]], None]) -> None:
    report: dict[str, Any] = json.loads(line) if line else {}
    if report and not {"errno", "error", "end"} & report.keys():
        taken(report)
        return
    _, status = os.waitpid(worker.pid, 0)
    worker.ended = True
    if "errno" in report:
        raise OSError(report["errno"], report["message"], report["path"])
    if "error" in report:
        kind = getattr(errors, report["error"], None)
        if isinstance(kind, type) and issubclass(kind, VenvoyError):
            raise kind(report["message"])
        raise RuntimeError(f"{report['error']} in a worker: {report['message']}")
    if "end" not in report:
        raise VenvoyError(f"a worker was killed (status {status}); is there enough memory? Try --jobs 1")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
