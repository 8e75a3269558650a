"""The power goes at every call: a real journal is replayed, and what comes back is old or new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Figure
from tests.faults.disks import PowerDisk, Unavailable
from tests.faults.preloaded import Preloaded
from tests.faults.scenarios import SCENARIOS, Broken, Kit, World
from tests.faults.sweep import Bench, report, sweep
from tests.faults.tracing import Call, spread

GATE = 8
_BACK = 4


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PowerDisk]:
    try:
        made = PowerDisk(tmp_path_factory.mktemp(request.param), request.param)
    except Unavailable as why:
        pytest.skip(str(why))
    yield made
    made.remove()


def _bench(disk: PowerDisk, kit: Kit, runner: Preloaded, name: str) -> Bench:
    made = Bench(SCENARIOS[name], World(root=disk.mount / "world", kit=kit), runner)
    made.settle = disk.settle
    return made


class Cutter:
    """Kills at a call, cuts the power, and looks; then finishes, cuts again, and looks again."""

    def __init__(self, disk: PowerDisk) -> None:
        self._disk = disk

    def cut_then_finish(self, bench: Bench, call: Call) -> None:
        self._disk.settle()
        bench.kill(call)
        self._disk.neighbour()
        self._disk.cut()
        bench.check()
        bench.finish()

    def finish_then_cut(self, bench: Bench, call: Call) -> None:
        """Also what the rerun found ready must be on disk when it says that all is done."""
        self._disk.settle()
        bench.kill(call)
        bench.rerun()
        self._disk.cut()
        bench.check(last=True)
        bench.finish()  # what was only put away may lie about again; the next run puts it away


def _sweep(bench: Bench, disk: PowerDisk, calls: list[Call], figure: Figure) -> None:
    cutter = Cutter(disk)
    failures = sweep(bench, calls, cutter.cut_then_finish)
    # A rerun after an early kill is a run like any other; the last points are the interesting ones.
    last = bench.points[-_BACK:]
    failures += sweep(bench, last, cutter.finish_then_cut)
    figure(f"{len(calls)} + {len(last)} of {len(bench.points)} points, {len(failures)} not survived")
    assert not failures, report(failures)


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
def test_power_cut_at_points_of_an_install(
    strace: None, disk: PowerDisk, kit: Kit, runner: Preloaded, figure: Figure
) -> None:
    bench = _bench(disk, kit, runner, "link flip")
    _sweep(bench, disk, spread(bench.points, GATE), figure)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_power_cut_at_every_point(
    strace: None, disk: PowerDisk, kit: Kit, runner: Preloaded, figure: Figure, name: str
) -> None:
    bench = _bench(disk, kit, runner, name)
    _sweep(bench, disk, bench.points, figure)


def test_a_cut_loses_what_was_not_synced(disk: PowerDisk) -> None:
    """The disk itself is tested: data that nobody synced is lost, though a neighbour syncs its own."""
    written = disk.mount / "written"
    Path(written).write_bytes(b"x" * 10_000)
    disk.neighbour()
    disk.cut()
    if written.exists() and written.read_bytes() == b"x" * 10_000:
        raise Broken("nothing was lost: this disk proves nothing")
