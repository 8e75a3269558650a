"""Many installers at once, some of them killed: each artifact is unpacked once, and nobody waits long."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import BigSite, Figure
from tests.faults.helpers import Helper
from tests.faults.preloaded import Done, Preloaded, Running
from tests.faults.scenarios import Kit, World

_LONGEST_WAIT = 60.0
_KILLED = 0.25


@pytest.mark.parametrize("services", [1, 4])
@pytest.mark.parametrize(
    ("installers", "rounds"), [(6, 5), pytest.param(20, 50, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_many_installers_at_once(
    big: BigSite,
    runner: Preloaded,
    quick: Path,
    figure: Figure,
    installers: int,
    rounds: int,
    services: int,
) -> None:
    longest, killed = _rounds(big, runner, quick, installers, rounds, services)
    assert longest < _LONGEST_WAIT
    figure(f"{rounds} rounds of {installers}, {killed} killed, the longest run {longest:.1f} s")


def test_many_at_once_tell_a_build_without_locks(
    big: BigSite, runner: Preloaded, quick: Path, tmp_path: Path
) -> None:
    """A control."""
    with Preloaded(tmp_path / "runner", control="unlocked") as sabotaged, pytest.raises(AssertionError):
        _rounds(big, sabotaged, quick, 6, 10, 1)


def _rounds(
    big: BigSite, runner: Preloaded, quick: Path, installers: int, rounds: int, services: int
) -> tuple[float, int]:
    """Run *rounds* of *installers* at once, some of them killed; return the longest run and the deaths."""
    chance = random.Random(installers * 10 + services)
    longest, killed = 0.0, 0
    names = big.services[:services]
    for _ in range(rounds):
        runs: list[tuple[str, Running]] = []
        for index in range(installers):
            name = names[index % services]
            runs.append(
                (name, runner.start(big.install_service(name, quick / "host" / name, quick / "state")))
            )
        doomed = chance.sample(range(installers), int(installers * _KILLED))
        for _, running in runs:
            running.go()
        for index in doomed:
            time.sleep(chance.uniform(0, 0.02))
            os.kill(runs[index][1].pid, signal.SIGKILL)
        ends = [(name, running.wait()) for name, running in runs]
        longest = max(longest, *(done.seconds for _, done in ends))
        killed += sum(done.returncode < 0 for _, done in ends)
        for name in names:
            _check_round([done for owner, done in ends if owner == name])
            # Killed ones may have been the last: a plain run sweeps after them.
            done = runner.run(big.install_service(name, quick / "host" / name, quick / "state"))
            assert done.returncode == 0, done.stderr
            assert runner.run(["verify", str(quick / "host" / name)]).returncode == 0
        locks = [f".{name}.venvoy-lock" for name in names]
        assert sorted(entry.name for entry in (quick / "host").iterdir()) == sorted([*names, *locks])
        shutil.rmtree(quick / "host")
    return longest, killed


def _check_round(ends: list[Done]) -> None:
    survivors = [done for done in ends if done.returncode >= 0]
    assert [done.returncode for done in survivors] == [0] * len(survivors), [d.stderr for d in survivors]
    changed = sum(json.loads(done.stdout)["changed"] for done in survivors)
    # One that is killed after its rename has done the work of all.
    assert changed == 1 or (changed == 0 and len(survivors) < len(ends))


def test_owner_that_is_stopped_is_waited_for(big: BigSite, runner: Preloaded, quick: Path) -> None:
    dest = quick / "host" / "big"
    owner, waiter = _stopped_owner(big, runner, runner, quick)
    try:
        time.sleep(1.5)
        assert Path(f"/proc/{waiter.pid}/stat").read_text().rpartition(")")[2].split()[0] in "SR"
        assert not dest.exists()
    finally:
        os.kill(owner.pid, signal.SIGCONT)
    assert [json.loads(run.wait().stdout)["changed"] for run in (owner, waiter)] == [True, False]
    assert runner.run(["verify", str(dest)]).returncode == 0


def test_owner_that_dies_blocks_nobody(big: BigSite, runner: Preloaded, quick: Path, figure: Figure) -> None:
    owner, waiter = _stopped_owner(big, runner, runner, quick)
    time.sleep(0.3)
    died = time.monotonic()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert json.loads(waiter.wait().stdout)["changed"] is True
    waited = time.monotonic() - died
    figure(f"the waiter was done {waited:.2f} s after the owner's death")
    assert waited < 20
    assert runner.run(["verify", str(quick / "host" / "big")]).returncode == 0


def test_owner_without_progress_is_given_up_by_name(
    big: BigSite, runner: Preloaded, quick: Path, tmp_path: Path
) -> None:
    with Preloaded(tmp_path / "runner", control="short_wait") as impatient:
        owner, waiter = _stopped_owner(big, runner, impatient, quick)
        try:
            done = waiter.wait()
        finally:
            os.kill(owner.pid, signal.SIGCONT)
        assert done.returncode == 6
        assert ".big.venvoy-lock" in done.stderr
    assert owner.wait().returncode == 0


def _stopped_owner(
    big: BigSite, runner: Preloaded, second: Preloaded, quick: Path
) -> tuple[Running, Running]:
    """Stop an installer in the middle of its work, and let another one wait for it."""
    host = quick / "host"
    host.mkdir(exist_ok=True)
    arguments = big.install(host / "big", quick / "state", "--jobs", "1", "--json")
    owner = runner.start(arguments)
    owner.go()
    _until(lambda: any(path.is_dir() for path in host.glob(".big.venvoy-*/lib")))
    os.kill(owner.pid, signal.SIGSTOP)
    assert not (host / "big").exists()
    waiter = second.start(arguments)
    waiter.go()
    return owner, waiter


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("flips", "opens"), [(60, 20_000), pytest.param(1000, 1_000_000, marks=pytest.mark.slow)]
)
def test_readers_of_a_flipping_link_miss_nothing(
    kit: Kit, runner: Preloaded, quick: Path, figure: Figure, flips: int, opens: int
) -> None:
    world = World(root=quick, kit=kit)
    link = world.host / "demo"
    both = [world.install(f"{n}.0.0", f"demo-{n}", "--link", str(link)) for n in (1, 2)]

    def flip(index: int) -> Done:
        return runner.run(both[index % 2])

    _read_while(flip, [link], flips, opens, figure)


@pytest.mark.parametrize(
    ("flips", "opens"), [(20, 20_000), pytest.param(1000, 1_000_000, marks=pytest.mark.slow)]
)
def test_readers_of_an_exchanged_venv_miss_nothing(
    kit: Kit, runner: Preloaded, quick: Path, figure: Figure, flips: int, opens: int
) -> None:
    world = World(root=quick, kit=kit)

    def flip(index: int) -> Done:
        if index % 10 == 9:
            runner.run(["gc", str(world.host), "--keep", "0"])
        return runner.run(world.install(f"{index % 2 + 1}.0.0", "demo"))

    _read_while(flip, [world.host / "demo"], flips, opens, figure)


def test_readers_tell_a_switch_with_a_gap(kit: Kit, runner: Preloaded, quick: Path, figure: Figure) -> None:
    """A control: with --non-atomic there is an instant without a tree, and readers see it."""
    world = World(root=quick, kit=kit)

    def flip(index: int) -> Done:
        return runner.run(world.install(f"{index % 2 + 1}.0.0", "demo", "--non-atomic"))

    for _ in range(10):  # a reader that gets little of a busy processor may miss all of them
        try:
            _read_while(flip, [world.host / "demo"], 40, 1000, figure)
        except AssertionError:
            return
    pytest.fail("400 gaps, and no reader met one")


def _read_while(
    flip: Callable[[int], Done], names: list[Path], flips: int, opens: int, figure: Figure
) -> None:
    for index in (0, 1):
        assert flip(index).returncode == 0
    with Helper("reading", *names) as reader:
        for index in range(flips):
            done = flip(index)
            assert done.returncode == 0, done.stderr
        reader.until("opens", opens)
        found = reader.stop()
    figure(
        f"{found['opens']} opens during {flips} switches: {found['missing']} ENOENT, {found['mixed']} mixed"
    )
    assert (found["missing"], found["mixed"]) == (0, 0)
    assert found["versions"] == 2
