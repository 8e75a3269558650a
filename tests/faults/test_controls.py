"""Negative controls: the sweeps and the model must fail on builds that are known to be wrong.

A test that cannot fail proves nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import PowerDisk, Unavailable
from tests.faults.order import Disk
from tests.faults.preloaded import Preloaded
from tests.faults.scenarios import SCENARIOS, Kit, World
from tests.faults.sweep import Bench, fail_and_rerun, kill_and_rerun, sweep
from tests.faults.test_power_cuts import Cutter
from tests.faults.tracing import LINKS, RENAMES, SYNCS, spread


@pytest.fixture(scope="module")
def no_sync(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    with Preloaded(tmp_path_factory.mktemp("runner"), control="no_sync") as server:
        yield server


@pytest.fixture(scope="module")
def in_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    with Preloaded(tmp_path_factory.mktemp("runner"), control="in_place") as server:
        yield server


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    with Preloaded(tmp_path_factory.mktemp("runner"), control="deaf") as server:
        yield server


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerDisk]:
    try:
        made = PowerDisk(tmp_path, "ext4")
    except Unavailable as why:
        pytest.skip(str(why))
    yield made
    made.remove()


def _bench(root: Path, kit: Kit, sabotaged: Preloaded, runner: Preloaded, name: str) -> Bench:
    return Bench(SCENARIOS[name], World(root=root / "world", kit=kit), sabotaged, runner)


@pytest.mark.parametrize(
    "name", ["fresh install", "link flip", "in-place exchange", "second trust refresh", "pin"]
)
def test_model_tells_a_build_without_syncs(
    strace: None, kit: Kit, no_sync: Preloaded, runner: Preloaded, quick: Path, name: str
) -> None:
    bench = _bench(quick, kit, no_sync, runner, name)
    assert not [call for call in bench.calls if call.name in ("fsync", "fdatasync", "syncfs")]
    model = Disk(bench.existing)
    model.play(bench.calls, bench.world.root)
    model.at_exit(bench.scenario.durable(bench.world))
    assert model.violations


def test_power_cuts_tell_a_build_without_syncs(
    strace: None, disk: PowerDisk, kit: Kit, no_sync: Preloaded, runner: Preloaded
) -> None:
    bench = _bench(disk.mount, kit, no_sync, runner, "link flip")
    switches = [index for index, call in enumerate(bench.points) if call.name in RENAMES | LINKS]
    after = bench.points[switches[-2] + 1 :]
    failures = sweep(bench, after, Cutter(disk).cut_then_finish)
    assert len(failures) == len(after)
    assert all("half a venv" in failure.what for failure in failures), failures


def test_kills_cannot_tell_a_build_without_syncs(
    strace: None, kit: Kit, no_sync: Preloaded, runner: Preloaded, quick: Path
) -> None:
    """This is why power cuts and the model are needed: a kill loses nothing of the page cache."""
    bench = _bench(quick, kit, no_sync, runner, "link flip")
    assert sweep(bench, spread(bench.points, 6), kill_and_rerun) == []


def test_errors_tell_a_build_that_does_not_hear_them(
    strace: None, kit: Kit, deaf: Preloaded, runner: Preloaded, quick: Path
) -> None:
    bench = _bench(quick, kit, deaf, runner, "link flip")
    syncs = [call for call in bench.points if call.name in SYNCS]
    failures = sweep(bench, syncs, lambda bench, call: fail_and_rerun(bench, call, errno.EIO))
    assert len(failures) == len(syncs) > 5
    assert all("EIO was swallowed" in failure.what for failure in failures), failures


def test_kills_tell_a_build_that_unpacks_in_place(
    strace: None, kit: Kit, in_place: Preloaded, runner: Preloaded, quick: Path
) -> None:
    bench = _bench(quick, kit, in_place, runner, "fresh install")
    inside = [call for call in bench.points if any("/host/demo-1/" in path for path in call.paths)]
    failures = sweep(bench, spread(inside, 12), kill_and_rerun)
    assert len(failures) >= 10  # the first and last of them leave nothing, or all
    assert all("half a venv" in failure.what for failure in failures), failures
