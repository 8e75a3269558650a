"""Who sees to it that builds get done: takes the next one, runs its commands, notes what came of it.

What a build has become is in the database before anybody hears of it. Whatever is killed, the service or a
command, a build that was accepted is begun again: layers are cached, artifacts are a function of their
inputs, and publishing shows all of an artifact or nothing, so that going on is the same as starting over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from manifests.errors import HostUnsuitable, Locked, StoreUnavailable, VenvoyError
from service.running.child import Child, Outcome
from service.running.plan import build_environment
from service.running.workspace import Workspace
from service.state.build import Build, State

if TYPE_CHECKING:
    from service.running.board import Board
    from service.running.logs import Logs
    from service.running.plan import Plan
    from service.state.builds import Builds

_LOGGER = logging.getLogger("venvoy.service")
# Unsuitable is a host too whose processes are killed, and a cluster whose workers are yet to come.
_TRY_AGAIN = (HostUnsuitable.exit_code, Locked.exit_code, StoreUnavailable.exit_code)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_LOOK_SECONDS = 30.0
_RECOVERED = "the service was ended while it worked on this; it goes on"


@dataclass(kw_only=True)
class Tally:
    """What the foreman has seen since the service began, for its metrics."""

    finished: dict[State, int] = field(default_factory=dict)
    killed: int = 0
    retried: int = 0
    seconds: float = 0.0


class Foreman:
    """Runs up to *workers* builds at a time, each for *timeout* seconds at most, *attempts* times."""

    def __init__(  # noqa: PLR0913 - what it works with, and how
        self,
        builds: Builds,
        logs: Logs,
        board: Board,
        plan: Plan,
        *,
        workers: int = 1,
        attempts: int = 5,
        timeout: float = 6 * 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._builds = builds
        self._logs = logs
        self._board = board
        self._plan = plan
        self._workers = workers
        self._attempts = attempts
        self._timeout = timeout
        self._clock = clock
        self._wake = asyncio.Event()
        self._running: dict[str, Child | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.tally = Tally()

    @property
    def running(self) -> int:
        """How many builds are at work."""
        return len(self._running)

    def wake(self) -> None:
        """Look for work: something was added."""
        self._wake.set()

    async def work(self) -> None:
        """Begin what waits, until the task is cancelled."""
        while not self._stopping:
            self._wake.clear()
            try:
                self._begin()
                pause = self._pause()
            except StoreUnavailable as error:  # a full disk, most likely: it may be mended
                _LOGGER.warning("%s", error)
                pause = _LONGEST_PAUSE
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def cancel(self, build_id: str) -> None:
        """End the command that works on a build that was cancelled."""
        if child := self._running.get(build_id):
            await child.end()

    async def stop(self, grace: float) -> None:
        """Begin nothing more, wait *grace* seconds for what is at work, end the rest: it goes on later."""
        self._stopping = True
        if self._tasks and grace > 0:
            await asyncio.wait(self._tasks, timeout=grace)
        await asyncio.gather(*(child.end() for child in self._running.values() if child))
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self) -> None:
        while len(self._running) < self._workers and (build := self._builds.claim()) is not None:
            self._running[build.id] = None
            task = asyncio.create_task(self._run(build))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _pause(self) -> float:
        if len(self._running) >= self._workers:
            return _LOOK_SECONDS
        moment = self._builds.next_time()
        return _LOOK_SECONDS if moment is None else min(_LOOK_SECONDS, max(0.01, moment - self._clock()))

    async def _run(self, build: Build) -> None:
        started = time.monotonic()
        try:
            await asyncio.wait_for(self._steps(build), self._timeout)
        except asyncio.TimeoutError:
            if child := self._running.get(build.id):
                await child.end()
            self._finish(build, State.FAILED, f"it took longer than {self._timeout:g} s", 1)
        except VenvoyError as error:
            self._again_or_fail(build, str(error), error.exit_code)
        except OSError as error:
            self._again_or_fail(
                build, f"cannot start a command: {error.strerror}", StoreUnavailable.exit_code
            )
        except Exception as error:  # a defect of ours must not leave a build at work for ever
            _LOGGER.exception("build %s", build.id)
            self._finish(build, State.FAILED, f"unexpected: {type(error).__name__}: {error}", 1)
        finally:
            self.tally.seconds += time.monotonic() - started
            del self._running[build.id]
            self._board.advance(build.id, None)
            self._wake.set()

    async def _steps(self, build: Build) -> None:
        self._board.changed(build.id)
        workspace = Workspace(self._plan.workspaces, build.id)
        spec = await asyncio.to_thread(workspace.prepare, build, self._builds.content)
        self._say(build, f"building release {build.release}")
        arguments = self._plan.build_command(build, workspace, spec)
        outcome = await self._command(build, workspace, arguments, build_environment())
        if outcome.code != 0:
            self._ended_badly(build, outcome)
            return
        result = await asyncio.to_thread(workspace.result, outcome.document)
        for artifact in result["artifacts"]:
            self._say(build, f"{artifact['status']} {artifact['tarball']}")
        build = self._builds.built(build.id, result)
        self._board.advance(build.id, None)
        if build.state is State.PUBLISHING:
            await self._publish(build, workspace)
        else:
            self._count(State.BUILT)
            self._say(build, "done")

    async def _publish(self, build: Build, workspace: Workspace) -> None:
        arguments = self._plan.publish_command(workspace)
        outcome = await self._command(build, workspace, arguments, dict(os.environ))
        if outcome.code != 0:
            self._ended_badly(build, outcome)
            return
        for path in outcome.document.get("published", []):
            self._say(build, f"published {path}")
        self._finish(build, State.PUBLISHED)

    async def _command(
        self, build: Build, workspace: Workspace, arguments: list[str], environment: dict[str, str]
    ) -> Outcome:
        child = await Child.start(
            arguments,
            folder=workspace.folder,
            environment=environment,
            say=lambda line: self._say(build, line),
            progress=lambda progress: self._board.advance(build.id, progress),
        )
        self._running[build.id] = child
        if self._builds.get(build.id).cancel or self._stopping:  # it was, while the command began
            await child.end()
        return await child.outcome()

    def _ended_badly(self, build: Build, outcome: Outcome) -> None:
        if outcome.code < 0:
            self.tally.killed += 1
            self._again_or_fail(build, f"its worker was ended by signal {-outcome.code}", 1, again=True)
        else:
            said = outcome.document.get("error")
            error = said if isinstance(said, str) else f"its worker ended with status {outcome.code}"
            again = outcome.code == 130  # interrupted by somebody
            self._again_or_fail(build, error, outcome.code, again=again)

    def _again_or_fail(self, build: Build, error: str, code: int, *, again: bool = False) -> None:
        """Decide what an end without a result means."""
        build = self._builds.get(build.id)
        if build.cancel:
            self._finish(build, State.CANCELLED, "cancelled", code)
        elif self._stopping:
            self._say(build, _RECOVERED)
            self._builds.requeue(build.id, counts=False)
        elif (again or code in _TRY_AGAIN) and build.attempts + 1 < self._attempts:
            self.tally.retried += 1
            wait = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**build.attempts)
            self._say(build, f"{error}; trying again in {wait:g} s")
            self._builds.requeue(build.id, wait=wait, error=error, counts=True)
        else:
            self._finish(build, State.FAILED, error, code)
        self._board.changed(build.id)

    def _finish(self, build: Build, state: State, error: str | None = None, code: int | None = None) -> None:
        self._say(build, error or "done")
        self._builds.finish(build.id, state, error=error, exit_code=code)
        self._count(state)
        self._board.changed(build.id)

    def _count(self, state: State) -> None:
        self.tally.finished[state] = self.tally.finished.get(state, 0) + 1

    def _say(self, build: Build, text: str) -> None:
        # A log that cannot be written must not end a build that could be.
        with contextlib.suppress(StoreUnavailable):
            self._logs.say(build.id, text)
        self._board.changed(build.id)
