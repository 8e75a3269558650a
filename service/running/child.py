"""One ``venvoy`` command as a child process: what it says while it works, what it printed, how it ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import manifests
from manifests.console import PROGRESS
from service.running import leash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FRONT_DOOR = Path(manifests.__file__).parents[1] / "venvoy.py"
_LINE_BYTES = 1024 * 1024
_OUTPUT_BYTES = 64 * 1024 * 1024
_INTERRUPT_SECONDS = 10.0
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a build is: *done* of *total* in a *stage* (wheels, layers, patch), *note* was the last."""

    stage: str
    done: int
    total: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended: its exit status (negative: the signal that ended it) and its JSON document."""

    code: int
    document: dict[str, Any]


class Child:
    """A running command. *say* takes lines for the log, *progress* how far it is."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        say: Callable[[str], None],
        progress: Callable[[Progress], None],
    ) -> None:
        self._process = process
        self._say = say
        self._progress = progress

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        progress: Callable[[Progress], None],
    ) -> Child:
        """Start ``venvoy ARGUMENTS --json`` in *folder*, in a process group of its own. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid())),
            *(sys.executable, str(_FRONT_DOOR), *arguments, "--json"),
            cwd=folder,
            env={**environment, PROGRESS: "json", "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        return cls(process, say, progress)

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return self._process.pid

    async def outcome(self) -> Outcome:
        """Wait for the end."""
        output = asyncio.create_task(self._read_output())
        errors = asyncio.create_task(self._read_errors())
        code = await self._process.wait()
        # Grandchildren may hold the pipes open after it: they are of no use without it.
        self._signal(signal.SIGKILL)
        await asyncio.wait({output, errors}, timeout=_DRAIN_SECONDS)
        for task in (output, errors):
            task.cancel()
        text = output.result() if output.done() and not output.cancelled() else b""
        return Outcome(code=code, document=_document(text))

    async def end(self) -> None:
        """Interrupt it as Ctrl-C would; kill it if that does not help."""
        self._signal(signal.SIGINT)
        try:
            await asyncio.wait_for(self._process.wait(), _INTERRUPT_SECONDS)
        except asyncio.TimeoutError:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    async def _read_output(self) -> bytes:
        if self._process.stdout is None:
            return b""
        data = bytearray()
        while chunk := await self._process.stdout.read(65536):
            if len(data) <= _OUTPUT_BYTES:
                data += chunk
        return bytes(data)

    async def _read_errors(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line beyond the limit: what was read of it is dropped
                self._say("(a line too long to show)")
                continue
            if not line:
                return
            self._take(line.decode("utf-8", "replace").rstrip("\r\n"))

    def _take(self, line: str) -> None:
        """Tell progress from what people shall read."""
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        match value:
            case {"line": str(text)}:
                self._say(text)
            case {"stage": str(stage), "done": int(done), "total": int(total), "note": str(note)}:
                self._progress(Progress(stage=stage, done=done, total=total, note=note))
            case _:
                self._say(line)


def _document(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
