"""Nothing is shown before it is on disk, and nothing is left unsynced at exit 0: by model, in no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Figure, MakeBench
from tests.faults.order import Disk
from tests.faults.preloaded import WholeProcess
from tests.faults.scenarios import SCENARIOS, Broken
from tests.faults.sweep import Bench
from tests.faults.tracing import FOLDERS, LINKS, RENAMES, Record, points, read_log

GATE = ("fresh install", "link flip", "second trust refresh")


def _violations(bench: Bench) -> list[str]:
    disk = Disk(bench.existing)
    disk.play(bench.calls, bench.world.root)
    disk.at_exit(bench.scenario.durable(bench.world))
    return disk.violations


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_shown_before_it_is_on_disk(bench: MakeBench, figure: Figure, name: str) -> None:
    made = bench(name)
    violations = _violations(made)
    figure(f"{len(made.calls)} calls, {len(violations)} out of order")
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(
    "name",
    [name if name in GATE else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS],
)
def test_a_rerun_leaves_on_disk_what_a_killed_run_left_in_memory(bench: MakeBench, name: str) -> None:
    """Its exit 0 is a promise too, though all that it finds was made by the run that was killed."""
    made = bench(name)
    # Folders count in stores: those of an install are in its staged tree, which is swept.
    switches = [
        i
        for i, call in enumerate(made.points)
        if call.name in RENAMES | LINKS or (call.name in FOLDERS and "/store" in call.paths[0])
    ]
    violations = []
    for call in made.points[switches[0] + 1 :] if switches else []:
        if call.name not in ("fsync", "syncfs") and call.name not in RENAMES:
            continue
        made.reset()
        made.kill(call)
        disk = Disk(made.existing)
        disk.play(made.calls[: made.calls.index(call)], made.world.root)
        disk.violations.clear()
        try:
            made.rerun(Record(log=made.log))
        except Broken as broken:
            violations.append(f"killed at {call.signature}: {broken}")
            continue
        disk.play(read_log(made.log), made.world.root)
        disk.at_exit(made.scenario.durable(made.world))
        violations += [f"killed at {call.signature}, rerun: {text}" for text in disk.violations]
    assert not violations, "\n".join(violations)


def test_the_whole_command_makes_the_calls_that_are_swept(
    bench: MakeBench, tmp_path: Path, figure: Figure
) -> None:
    """The preloaded runs of the sweeps are the real thing: the same calls, in the same order."""
    made = bench("fresh install")
    made.reset()
    log = tmp_path / "log"
    done = WholeProcess().run(made.arguments, Record(log=log, follow=True))
    assert done.returncode == 0, done.stderr
    whole = points(read_log(log), made.world.root)
    assert [call.signature for call in whole] == [call.signature for call in made.points]
    figure(f"{len(whole)} calls alike")


def test_two_workers_keep_the_order_too(bench: MakeBench, tmp_path: Path) -> None:
    made = bench("fresh install")
    arguments = ["2" if part == "1" else part for part in made.arguments]
    assert arguments[arguments.index("--jobs") + 1] == "2"
    workers = 0
    for attempt in range(20):  # few layers: now and then one worker has taken them all
        made.reset()
        log = tmp_path / f"log-{attempt}"
        done = WholeProcess().run(arguments, Record(log=log, follow=True))
        assert done.returncode == 0, done.stderr
        disk = Disk(made.existing)
        calls = read_log(log)
        disk.play(calls, made.world.root)
        disk.at_exit(made.scenario.durable(made.world))
        assert not disk.violations, "\n".join(disk.violations)
        workers = len({call.thread for call in points(calls, made.world.root)})
        if workers == 2:
            break
    assert workers == 2
