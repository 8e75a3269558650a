"""SIGKILL at random instants of a bigger install with two workers: they die too, and a rerun repairs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.faults.conftest import BigSite, Figure
from tests.faults.keystone import NoKeystone, find_or_build
from tests.faults.preloaded import Preloaded

GATE, ALL = 12, 200
_PATIENCE = 3
_LONGEST_DEATH = 10.0
"""A worker dies at once, unless it is waiting for a slow disk just then."""


@pytest.mark.parametrize("count", [GATE, pytest.param(ALL, marks=pytest.mark.slow)])
def test_kill_at_random_instants(
    big: BigSite, runner: Preloaded, quick: Path, figure: Figure, count: int
) -> None:
    dest = quick / "host" / "big"
    _kill_at_random(runner, dest, big.install(dest, quick / "state", "--jobs", "2"), count, figure)


@pytest.mark.slow
def test_kill_keystone_at_random_instants(
    runner: Preloaded, quick: Path, tmp_path: Path, figure: Figure
) -> None:
    try:
        keystone = find_or_build(tmp_path)
    except NoKeystone as why:
        pytest.skip(str(why))
    dest = quick / "host" / "keystone"
    _kill_at_random(runner, dest, keystone.install(dest, quick / "state"), ALL, figure)


def test_random_kills_tell_a_build_that_unpacks_in_place(
    big: BigSite, runner: Preloaded, quick: Path, tmp_path: Path, figure: Figure
) -> None:
    """A control: such a build leaves half a venv under the real name."""
    dest = quick / "host" / "big"
    arguments = big.install(dest, quick / "state", "--jobs", "2")
    with (
        Preloaded(tmp_path / "runner", control="in_place") as sabotaged,
        pytest.raises(AssertionError, match=r"half a venv|has no receipt"),
    ):
        _kill_at_random(sabotaged, dest, arguments, 20, figure, reader=runner)


def _kill_at_random(
    runner: Preloaded,
    dest: Path,
    arguments: list[str],
    count: int,
    figure: Figure,
    reader: Preloaded | None = None,
) -> None:
    """Kill *count* runs. Every second rerun follows at once; before the others the state is looked at.

    A run that was faster than the kill does not count. How long one takes is measured again and again, since
    others use this machine too.
    """
    chance = random.Random(count)
    verify = ["verify", str(dest)]
    whole = runner.run(arguments)
    assert whole.returncode == 0, whole.stderr
    files = _files(dest)
    deaths, killed, met, rounds = [], 0, 0, 0
    seconds = whole.seconds
    while killed < count:
        rounds += 1
        assert rounds <= _PATIENCE * count
        shutil.rmtree(dest.parent)
        running = runner.start(arguments)
        running.go()
        time.sleep(chance.uniform(0, seconds))
        workers = _children(running.pid)
        os.kill(running.pid, signal.SIGKILL)
        started = time.monotonic()
        if rounds % 2 and dest.exists():
            assert (reader or runner).run(verify).returncode == 0, "half a venv under the real name"
        again = runner.start(arguments)  # at once: it may not meet a writer that still lives
        again.go()
        deaths.append(_gone(workers, started))
        met += bool(workers)
        killed += running.wait().returncode == -signal.SIGKILL
        done = again.wait()
        assert done.returncode == 0, done.stderr
        seconds = done.seconds
        assert runner.run(verify).returncode == 0
        assert _files(dest) == files
        left = sorted(entry.name for entry in dest.parent.iterdir())
        assert left == [f".{dest.name}.venvoy-lock", dest.name]
    figure(
        f"{killed} of {rounds} killed in a run of some {seconds:.2f} s ({len(files)} files), "
        f"{met} with workers, which lived on for {max(deaths) * 1000:.0f} ms at most"
    )


def _files(venv: Path) -> list[str]:
    return sorted(str(path.relative_to(venv)) for path in venv.rglob("*"))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _gone(workers: list[int], started: float) -> float:
    """Wait until all are dead; return how long after *started* that was."""
    while any(map(_lives, workers)):
        assert time.monotonic() - started < _LONGEST_DEATH, "a worker outlived its parent"
        time.sleep(0.001)
    return time.monotonic() - started


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
