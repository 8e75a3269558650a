"""Two stages of forked workers: what the first brings, the second works on, while more is brought.

The stages are joined by a pipe of task numbers, written as soon as a task can begin; whoever is free
takes the next one. So the network is never waited for by who could unpack, nor the other way round.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distributor.system.workers import INDEX_BYTES, QUEUE_BYTES, Send, Worker, collect, indexes, start

Ready = Callable[[int, int], None]
"""Called by who brings with the number of a task that can begin now, and the bytes that came for it."""

_MOST_BRINGERS = 4


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is brought before it is worked on: ``bring(number, ready)`` for each of *loads* loads."""

    loads: int
    bring: Callable[[int, Ready], None]
    brought: Callable[[int], None]
    """Called here with the bytes that came."""


def can_fork(tasks: int, jobs: int) -> bool:
    """Say whether stages can run side by side: several jobs, no threads, not too many tasks."""
    return jobs > 1 and threading.active_count() == 1 and tasks * INDEX_BYTES <= QUEUE_BYTES


def run_pipeline(
    ahead: Ahead,
    order: Sequence[int],
    task: Callable[[int], Any],
    done: Callable[[int, Any], None],
    *,
    jobs: int,
) -> None:
    """Call ``task(index)`` for those of *order*, which can begin, and for those that *ahead* brings.

    In *jobs* processes, this one included, while others bring. ``done(index, result)`` is called here
    for each task. Raises as ``run_tasks`` does. ``can_fork`` must have been asked.
    """
    loads, feeder = os.pipe()
    waiting, ready = os.pipe()
    workers: list[Worker] = []
    open_ends = {loads, feeder, waiting, ready}

    def close(end: int) -> None:
        open_ends.discard(end)
        os.close(end)

    def work(send: Send) -> None:
        os.close(ready)  # else the pipe would never end
        for index in indexes(waiting):
            send({"index": index, "result": task(index)})

    def bring(send: Send) -> None:
        def can_begin(index: int, count: int) -> None:
            os.write(ready, index.to_bytes(INDEX_BYTES, "little"))
            send({"brought": count})

        for number in indexes(loads):
            ahead.bring(number, can_begin)

    def taken(report: dict[str, Any]) -> None:
        if "brought" in report:
            ahead.brought(report["brought"])
        else:
            done(report["index"], report["result"])

    try:
        os.write(ready, b"".join(index.to_bytes(INDEX_BYTES, "little") for index in order))
        os.write(feeder, b"".join(number.to_bytes(INDEX_BYTES, "little") for number in range(ahead.loads)))
        close(feeder)
        for _ in range(min(_MOST_BRINGERS, ahead.loads)):
            workers.append(start(bring, workers))
        for _ in range(jobs - 1):
            workers.append(start(work, workers))
        close(ready)
        # A description of its own: the others' reads must go on to block.
        own = os.open(f"/proc/self/fd/{waiting}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        open_ends.add(own)
        _work_here(own, workers, taken, lambda index: done(index, task(index)))
        collect(workers, taken, wait=True)
    finally:
        for end in open_ends:
            os.close(end)
        for worker in workers:
            worker.end()


def _work_here(
    waiting: int,
    workers: Sequence[Worker],
    taken: Callable[[dict[str, Any]], None],
    work: Callable[[int], None],
) -> None:
    """Take part in the second stage until nothing more comes, and take reports meanwhile."""
    while True:
        active = [worker.reports for worker in workers if not worker.ended]
        readable, _, _ = select.select([waiting, *active], [], [])
        collect(workers, taken, wait=False)
        if waiting not in readable:
            continue
        try:
            data = os.read(waiting, INDEX_BYTES)
        except BlockingIOError:
            continue  # another worker was faster
        if not data:
            return
        work(int.from_bytes(data, "little"))
