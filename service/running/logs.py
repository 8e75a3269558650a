"""Logs of builds: one JSON object a line, ``{"time": SECONDS, "text": TEXT}``, one file a build.

A position is an offset in bytes, always at the beginning of a line, so that a reader who comes back goes
on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_LOG_BYTES = 16 * 1024 * 1024
_MAX_TEXT = 4000
_READ_BYTES = 256 * 1024
_SURROGATES = "replace"


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line, when it was said (seconds since 1970), and the position behind it."""

    position: int
    time: float
    text: str


class Logs:
    """The logs in *directory*, which is made where it lacks."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, build_id: str) -> Path:
        """Return where the log of a build lies."""
        return self._directory / f"{build_id}.jsonl"

    def say(self, build_id: str, text: str) -> None:
        """Add a line. A log that is too long says so once and takes no more. Raises StoreUnavailable."""
        path = self.path(build_id)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                length = os.fstat(descriptor).st_size
                if length >= MAX_LOG_BYTES:
                    return
                if length and os.pread(descriptor, 1, length - 1) != b"\n":
                    os.write(descriptor, b"\n")  # a line that a power cut broke off
                os.write(descriptor, self._line(text))
                if os.fstat(descriptor).st_size >= MAX_LOG_BYTES:
                    os.write(descriptor, self._line("(the log ends here: it is too long)"))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreUnavailable(f"cannot write the log {path}: {error.strerror}") from error

    def read(self, build_id: str, position: int = 0) -> list[LogLine]:
        """Return some lines from *position* on; none where there are no more. Raises StoreUnavailable."""
        try:
            with self.path(build_id).open("rb") as stream:
                stream.seek(position)
                data = stream.read(_READ_BYTES)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreUnavailable(f"cannot read the log of {build_id}: {error.strerror}") from error
        lines = []
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            position += len(line)
            with contextlib.suppress(ValueError, KeyError, TypeError):
                value = json.loads(line)
                lines.append(LogLine(position=position, time=float(value["time"]), text=str(value["text"])))
        return lines

    def remove(self, build_id: str) -> bool:
        """Forget the log of a build; return whether there was one."""
        try:
            self.path(build_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def _line(self, text: str) -> bytes:
        shown = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " ..."
        value = {"time": round(self._clock(), 3), "text": shown.encode("utf-8", _SURROGATES).decode()}
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
