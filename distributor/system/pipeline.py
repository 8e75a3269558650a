"""Forked workers of two kinds: some bring what others need not wait for, the others do what can begin.

Who brings something goes on to work on it at once, while it is at hand: nothing is written down, read
and checked again to hand it over. So the network is never waited for by who could unpack, nor the
other way round.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from distributor.system.workers import INDEX_BYTES, QUEUE_BYTES, Send, Worker, collect, indexes, start

Came = Callable[[int], None]
"""Called by who brings with the bytes that came."""

_MOST_BRINGERS = 4


class Task(Protocol):
    """What is done for a number, with what was brought for it, if anything was. Its result must be JSON."""

    def __call__(self, index: int, brought: IO[bytes] | None = None, /) -> Any:
        """Return the result; *brought* is the callee's to close."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is brought before it is worked on: ``bring(number, came)`` for each of *loads* loads.

    It returns the numbers of tasks that can begin then, each with what was brought for it.
    """

    loads: int
    bring: Callable[[int, Came], Iterable[tuple[int, IO[bytes]]]]
    brought: Callable[[int], None]
    """Called here with the bytes that came."""


def can_fork(tasks: int, jobs: int) -> bool:
    """Say whether workers can run side by side: several jobs, no threads, not too many tasks."""
    return jobs > 1 and threading.active_count() == 1 and tasks * INDEX_BYTES <= QUEUE_BYTES


def run_pipeline(
    ahead: Ahead, order: Sequence[int], task: Task, done: Callable[[int, Any], None], *, jobs: int
) -> None:
    """Call ``task(index)`` for those of *order*, which can begin, and for those that *ahead* brings.

    *order* is worked on in *jobs* processes, this one included, while others bring and work on that.
    ``done(index, result)`` is called here for each task. Raises as ``run_tasks`` does. ``can_fork``
    must have been asked.
    """
    loads, feeder = os.pipe()
    waiting, ready = os.pipe()
    workers: list[Worker] = []
    open_ends = {loads, feeder, waiting, ready}

    def close(end: int) -> None:
        open_ends.discard(end)
        os.close(end)

    def work(send: Send) -> None:
        for index in indexes(waiting):
            send({"index": index, "result": task(index)})

    def bring(send: Send) -> None:
        for number in indexes(loads):
            for index, brought in ahead.bring(number, lambda count: send({"brought": count})):
                send({"index": index, "result": task(index, brought)})

    def taken(report: dict[str, Any]) -> None:
        if "brought" in report:
            ahead.brought(report["brought"])
        else:
            done(report["index"], report["result"])

    try:
        os.write(ready, b"".join(index.to_bytes(INDEX_BYTES, "little") for index in order))
        close(ready)
        os.write(feeder, b"".join(number.to_bytes(INDEX_BYTES, "little") for number in range(ahead.loads)))
        close(feeder)
        for _ in range(min(_MOST_BRINGERS, ahead.loads)):
            workers.append(start(bring, workers))
        for _ in range(min(jobs, len(order)) - 1):
            workers.append(start(work, workers))
        for index in indexes(waiting):
            done(index, task(index))
            collect(workers, taken, wait=False)
        collect(workers, taken, wait=True)
    finally:
        for end in open_ends:
            os.close(end)
        for worker in workers:
            worker.end()
