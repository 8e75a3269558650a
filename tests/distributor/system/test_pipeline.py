"""Workers of two kinds: everything is done once, whatever comes first, and errors end all of it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributor.system.pipeline import Ahead, run_pipeline
from manifests.errors import StoreUnavailable, VenvoyError, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from distributor.system.pipeline import Came


def run(
    loads: list[list[int]], order: list[int], *, jobs: int = 3, slow: float = 0.0
) -> tuple[list[int], int]:
    """Run tasks that return ten times their number; return their results and the bytes that came."""
    came = 0

    def bring(number: int, came: Came) -> Iterator[tuple[int, IO[bytes]]]:
        for index in loads[number]:
            time.sleep(slow)
            came(100)
            yield index, io.BytesIO(b"%d" % (index * 10))

    def task(index: int, brought: IO[bytes] | None = None) -> int:
        assert (brought is not None) == (index not in order)
        return index * 10 if brought is None else int(brought.read())

    def brought(count: int) -> None:
        nonlocal came
        came += count

    results: dict[int, int] = {}

    def done(index: int, result: int) -> None:
        assert index not in results
        results[index] = result

    run_pipeline(
        Ahead(loads=len(loads), bring=bring, brought=brought),
        order,
        task,
        done,
        jobs=jobs,
    )
    assert all(result == index * 10 for index, result in results.items())
    return sorted(results), came


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("slow", [0.0, 0.02])
def test_every_task_is_done_once(jobs: int, slow: float) -> None:
    loads = [[0, 1, 2], [5], [8, 9]]
    assert run(loads, [3, 4, 6, 7], jobs=jobs, slow=slow) == (list(range(10)), 600)


def test_nothing_is_at_hand_or_nothing_is_to_come() -> None:
    assert run([[0], [1], [2], [3], [4]], []) == ([0, 1, 2, 3, 4], 500)
    assert run([[]], [0, 1]) == ([0, 1], 0)


def test_two_thousand_tasks() -> None:
    assert run([list(range(1000, 2000))], list(range(1000))) == (list(range(2000)), 100_000)


def test_work_begins_before_all_is_there(tmp_path: Path) -> None:
    """The second load comes only when the first one's task has been done."""
    mark = tmp_path / "done"

    def bring(number: int, _: Came) -> list[tuple[int, IO[bytes]]]:
        if number == 1:
            deadline = time.monotonic() + 20
            while not mark.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        return [(number, io.BytesIO())]

    def task(index: int, _: IO[bytes] | None = None) -> int:
        if index == 0:
            mark.touch()
        return index

    finished: list[int] = []
    run_pipeline(
        Ahead(loads=2, bring=bring, brought=lambda _: None),
        [],
        task,
        lambda index, _: finished.append(index),
        jobs=2,
    )
    assert sorted(finished) == [0, 1]


def children() -> set[int]:
    """Return the children of this process, also those that are over and not waited for."""
    tasks = Path("/proc/self/task")
    return {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}


@pytest.mark.parametrize("stage", ["bring", "task"])
def test_an_error_ends_everything(stage: str) -> None:
    def bring(number: int, _: Came) -> Iterator[tuple[int, IO[bytes]]]:
        if stage == "bring" and number == 1:
            raise StoreUnavailable("the wire is cut")
        yield number, io.BytesIO()
        if number == 0:
            time.sleep(60)

    def task(index: int, _: IO[bytes] | None = None) -> int:
        if stage == "task" and index == 1:
            raise VerificationFailed("wrong bytes")
        return index

    others = children()  # of other tests
    started = time.monotonic()
    with pytest.raises(VenvoyError, match=r"cut|wrong"):
        run_pipeline(Ahead(loads=3, bring=bring, brought=lambda _: None), [], task, lambda *_: None, jobs=2)
    assert time.monotonic() - started < 20
    assert children() <= others


def test_a_killed_bringer_is_an_error() -> None:
    def bring(number: int, _: Came) -> list[tuple[int, IO[bytes]]]:
        os.kill(os.getpid(), 9)
        return []

    def task(index: int, _: IO[bytes] | None = None) -> int:
        return index

    with pytest.raises(VenvoyError, match="was killed"):
        run_pipeline(Ahead(loads=2, bring=bring, brought=lambda _: None), [5], task, lambda *_: None, jobs=2)


def test_where_it_can_be_used() -> None:
    """In a process of its own: here other tests may have left threads."""
    code = (
        "import threading\n"
        "from distributor.system.pipeline import can_fork\n"
        "print(can_fork(100, 2), can_fork(100, 1), can_fork(100_000, 2))\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(can_fork(100, 2))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input="", capture_output=True, text=True, check=True)
    assert done.stdout == "True False False\nFalse\n"
