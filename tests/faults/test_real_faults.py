"""Disks and limits that really run out, in whole processes: no injected answer, but the kernel's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import BigSite, Figure
from tests.faults.preloaded import Done, Preloaded, WholeProcess
from tests.faults.scenarios import Kit, World
from tests.small_site import litter

_FEW_FILES = 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Give a function that mounts a disk in memory with the options given, or again with others."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if disk.is_mount() else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *again, str(disk)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr}")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


def told(done: Done) -> str:
    """Return the one line in which a run told why it failed."""
    lines = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert done.returncode == 4, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("venvoy: cannot change ")
    return lines[0]


def still_old(runner: Preloaded, dest: Path) -> None:
    """Assert that release 1.0.0 runs, is whole, and has nothing beside it."""
    assert runner.run(["verify", str(dest)]).returncode == 0
    done = subprocess.run([dest / "bin/demo-manage"], capture_output=True, text=True, check=True)
    assert done.stdout == "demo 1.0.0\n"
    assert litter(dest.parent) == []


def limited(option: str, arguments: list[str]) -> Done:
    """Run the command line under a limit of util-linux's ``prlimit``."""
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed (util-linux)")
    return WholeProcess(before=("prlimit", option)).run(arguments)


@pytest.fixture
def world(tmp_path: Path, kit: Kit) -> World:
    return World(root=tmp_path / "disk", kit=kit)


def test_a_disk_without_room_for_one_more_file(
    small_disk: Callable[[str], Path], world: World, kit: Kit, runner: Preloaded, tmp_path: Path
) -> None:
    disk = small_disk("size=64m,mode=755")
    apart = World(root=tmp_path / "apart", kit=kit)  # the state lies on another disk
    arguments = ["--state", str(apart.state)]
    assert runner.run([*world.install("1.0.0", "demo"), *arguments]).returncode == 0
    have = sum(1 for _ in disk.rglob("*"))
    small_disk(f"nr_inodes={have + _FEW_FILES}")
    done = runner.run([*world.install("2.0.0", "demo"), *arguments])
    assert "No space left on device" in told(done)
    still_old(runner, world.host / "demo")
    small_disk("nr_inodes=0")
    assert runner.run([*world.install("2.0.0", "demo"), *arguments]).returncode == 0


def test_a_disk_that_turned_read_only(
    small_disk: Callable[[str], Path], world: World, kit: Kit, runner: Preloaded, tmp_path: Path
) -> None:
    small_disk("size=64m,mode=755")
    apart = ["--state", str(tmp_path / "state")]
    assert runner.run([*world.install("1.0.0", "demo"), *apart]).returncode == 0
    small_disk("ro")
    for arguments in (
        [*world.install("2.0.0", "demo"), *apart],
        ["rollback", str(world.host / "demo")],
        ["hold", str(world.host / "demo")],
    ):
        done = runner.run(arguments)
        assert done.returncode in (4, 5), done.stderr
        assert "Traceback" not in done.stderr
    assert "Read-only file system" in told(runner.run([*world.install("2.0.0", "demo"), *apart]))
    assert runner.run([*world.install("1.0.0", "demo"), *apart]).returncode == 0  # unchanged
    small_disk("rw")
    still_old(runner, world.host / "demo")


@pytest.mark.parametrize("limit", [100, 2_000, 20_000])
def test_files_that_may_not_grow_are_written_in_part_and_never_kept(
    kit: Kit, tmp_path: Path, runner: Preloaded, limit: int
) -> None:
    """A write gives less than it was asked for, and the next one fails (EFBIG)."""
    world = World(root=tmp_path, kit=kit)
    assert runner.run(world.install("1.0.0", "demo")).returncode == 0
    done = limited(f"--fsize={limit}:{limit}", world.install("2.0.0", "demo"))
    if done.returncode != 0:
        assert "Traceback" not in done.stderr
        assert "File too large" in done.stderr.splitlines()[-1]
        still_old(runner, world.host / "demo")
    assert runner.run(world.install("2.0.0", "demo")).returncode == 0
    assert runner.run(["verify", str(world.host / "demo")]).returncode == 0


@pytest.mark.parametrize("limits", [range(9, 26, 4), pytest.param(range(6, 41), marks=pytest.mark.slow)])
def test_too_few_descriptors(
    kit: Kit, tmp_path: Path, runner: Preloaded, figure: Figure, limits: range
) -> None:
    world = World(root=tmp_path, kit=kit)
    failed = 0
    for limit in limits:
        shutil.rmtree(world.host, ignore_errors=True)
        assert runner.run(world.install("1.0.0", "demo")).returncode == 0
        done = limited(f"--nofile={limit}:{limit}", world.install("2.0.0", "demo"))
        if done.returncode != 0:
            failed += 1
            assert "Traceback" not in done.stderr, f"{limit}: {done.stderr}"
            assert "Too many open files" in done.stderr.splitlines()[-1], f"{limit}: {done.stderr}"
            still_old(runner, world.host / "demo")
        assert runner.run(world.install("2.0.0", "demo")).returncode == 0
        assert runner.run(["verify", str(world.host / "demo")]).returncode == 0
    figure(f"{len(limits)} limits, {failed} too low")
    assert failed


@pytest.mark.parametrize("gone", ["staging", "parent", "state"])
def test_a_directory_that_vanishes_under_an_install(
    big: BigSite, runner: Preloaded, quick: Path, gone: str
) -> None:
    host, state = quick / "host", quick / "state"
    host.mkdir()
    arguments = big.install(host / "big", state, "--jobs", "1")
    running = runner.start(arguments)
    running.go()
    deadline = time.monotonic() + 20
    while not (found := list(host.glob(".big.venvoy-*/lib"))):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(running.pid, signal.SIGSTOP)
    shutil.rmtree({"staging": found[0].parent, "parent": host, "state": state}[gone])
    os.kill(running.pid, signal.SIGCONT)
    done = running.wait()
    if gone != "state":  # what is remembered may be made again
        assert "No such file or directory" in told(done)
    assert "Traceback" not in done.stderr
    assert runner.run(arguments).returncode == 0
    assert runner.run(["verify", str(host / "big")]).returncode == 0
    assert litter(host) == []
