"""Interrupting a scenario at each of its points, and telling whether it survived."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.preloaded import Done, Runner
from tests.faults.scenarios import Broken, Scenario, World, check_active
from tests.faults.tracing import FOLDERS, LOCKS, OPENS, SYNCS, Call, Record, fail, kill, points, read_log

KILLED = -9
_TRIES = 6
_FULL = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


@dataclass(frozen=True)
class Failure:
    """A point that was not survived, and how that showed."""

    call: Call
    what: str

    def __str__(self) -> str:
        return f"{self.call.name} {self.call.number} [{self.call.signature}]: {self.what}"


class Bench:
    """A scenario on one machine below *folder*, which can be set back to its beginning.

    *runner* runs the command; *reader* looks at what it did (another one where *runner* is sabotaged).
    """

    def __init__(
        self, scenario: Scenario, world: World, runner: Runner, reader: Runner | None = None
    ) -> None:
        self.scenario = scenario
        self.world = world
        self.reader = reader or runner
        self.settle: Callable[[], object] = lambda: None
        """What is done whenever the machine was set back: on a disk that loses power, a sync."""
        self._runner = runner
        self._scratch = world.kit.site.directory / "scratch" / scenario.name
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        self._template = self._scratch / "template"
        self.log = self._scratch / "log"
        self._begin()

    def _begin(self) -> None:
        shutil.rmtree(self.world.root, ignore_errors=True)
        self.world.root.mkdir()
        self.scenario.prepare(self.world, self.reader)
        shutil.copytree(self.world.root, self._template, symlinks=True)
        self.reset()  # so that folders are read in the same order as in every later run
        self.existing = [self.world.root, *self.world.root.rglob("*")]
        done = self._runner.run(self.arguments, Record(log=self.log))
        assert done.returncode == 0, done.stderr + done.stdout
        self.calls = read_log(self.log)
        self.points = points(self.calls, self.world.root)
        self.expected = self.scenario.outcome(self.world)
        self.check(last=True)

    @property
    def arguments(self) -> list[str]:
        return self.scenario.arguments(self.world)

    def reset(self) -> None:
        """Set the machine back to before the run."""
        if self.world.root.exists():
            shutil.rmtree(self.world.root)
        shutil.copytree(self._template, self.world.root, symlinks=True)
        self.settle()

    def check(self, *, last: bool = False) -> None:
        """Raise Broken unless a legal state is seen (with *last*: the last one), and the service starts."""
        scenario = self.scenario
        seen = scenario.look(self.world, self.reader, scenario.stages[0])
        if seen not in scenario.stages[-1:] and (last or seen not in scenario.stages):
            raise Broken(f"seen: {seen}")
        if scenario.active is not None:
            check_active(self.world, scenario.active)

    def kill(self, call: Call) -> Done:
        """Run until *call* and kill there. Raises Broken where that is not how it ended.

        How often a command looks at /proc, or shows on its lock that it lives, depends on who else runs
        just then. Where that moved the call's number, the run is recorded anew, and the call looked up.
        """
        wanted, why = call, ""
        for _ in range(_TRIES):
            done = self._runner.run(self.arguments, kill(self.log, wanted, self.calls))
            if done.returncode != KILLED:
                why = f"not killed by signal 9, but exit {done.returncode}: {done.stderr[-200:]}"
            elif (struck := read_log(self.log)[-1]).signature != call.signature:
                why = f"killed at another call: {struck.signature}"
            else:
                return done
            self.reset()
            wanted = self._recorded_again(call)
            self.reset()
        raise Broken(why)

    def _recorded_again(self, call: Call) -> Call:
        """Return *call* as a fresh record numbers it: the same one of those with its signature."""
        self._runner.run(self.arguments, Record(log=self.log))
        same = [item for item in self.points if item.signature == call.signature]
        again = [
            item for item in points(read_log(self.log), self.world.root) if item.signature == call.signature
        ]
        return again[min(same.index(call), len(again) - 1)] if again else call

    def fail(self, call: Call, error: int) -> Done:
        """Run with *error* as the answer to *call*."""
        return self._runner.run(self.arguments, fail(self.log, call, error))

    def rerun(self, trace: Record | None = None) -> None:
        """Run plainly. Raises Broken where that fails."""
        done = self._runner.run(self.arguments, trace)
        if done.returncode != 0:
            raise Broken(f"the rerun failed with {done.returncode}: {done.stderr[-300:]}")

    def finish(self) -> None:
        """Run plainly, and raise Broken unless all is as after an uninterrupted run."""
        self.rerun()
        self.check(last=True)
        self.compare()

    def compare(self) -> None:
        """Raise Broken naming what differs from an uninterrupted run's outcome."""
        found = self.scenario.outcome(self.world)
        if found != self.expected:
            names = found.keys() | self.expected.keys()
            differ = [name for name in sorted(names) if found.get(name, "") != self.expected.get(name, "")]
            more = [name for name in differ if name not in self.expected]
            less = [name for name in differ if name not in found]
            raise Broken(f"after the rerun: litter {more}, missing {less}, differing {differ}"[:600])


def sweep(bench: Bench, calls: Sequence[Call], one: Callable[[Bench, Call], None]) -> list[Failure]:
    """Do *one* at each of *calls*, each time from the beginning; return where it raised Broken."""
    failures = []
    for call in calls:
        bench.reset()
        try:
            one(bench, call)
        except Broken as broken:
            failures.append(Failure(call, str(broken)))
    return failures


def kill_and_rerun(bench: Bench, call: Call) -> None:
    """A killed run leaves a legal state, and a plain rerun makes it what it should be."""
    bench.kill(call)
    bench.check()
    bench.finish()


def errors_for(call: Call) -> tuple[int, ...]:
    """Return the errors that the kernel may give as the answer to *call*."""
    if call.name in LOCKS:
        return (errno.ENOLCK, errno.EIO)
    if call.name in OPENS:
        return (*_FULL, errno.EMFILE, errno.EROFS)
    if call.name in FOLDERS:
        return (*_FULL, errno.EROFS)
    return _FULL


def fail_and_rerun(bench: Bench, call: Call, error: int) -> None:
    """An error is told, or made good; nothing is left half-done, and a rerun completes."""
    done = bench.fail(call, error)
    if done.returncode == 0:
        if call.name in SYNCS:
            raise Broken(f"{errno.errorcode[error]} was swallowed: exit 0, and nothing says what is on disk")
        bench.check(last=True)
    else:
        _check_message(done, error)
        bench.check()
    bench.finish()


def _check_message(done: Done, error: int) -> None:
    name = errno.errorcode[error]
    lines = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    if done.returncode < 0:
        raise Broken(f"{name}: ended by signal {-done.returncode}")
    if "Traceback" in done.stderr:
        raise Broken(f"{name}: a traceback: {lines[-1]}")
    if len(lines) != 1 or not lines[0].startswith("venvoy: "):
        raise Broken(f"{name}: not one line of message: {lines}")


def report(failures: Sequence[Failure]) -> str:
    """Return the failures as the message of an assertion."""
    return "\n".join([f"{len(failures)} points were not survived:", *map(str, failures)])
