"""Locks between processes: flock, which the kernel drops when its owner dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from manifests.errors import Locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05
_BEAT_SECONDS = 1.0


class HeldLock:
    """A lock that is held. Its owner shows that it makes progress by ``beat``."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._next = 0.0

    def beat(self) -> None:
        """Tell those who wait that work goes on; cheap enough to call often."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _BEAT_SECONDS
            os.utime(self._descriptor)


@contextlib.contextmanager
def hold_lock(path: Path, *, what: str, timeout: float = 60.0) -> Iterator[HeldLock]:
    """Hold the exclusive lock file *path*, which is created but never removed.

    Waits as long as the owner makes progress, and up to *timeout* seconds since its last sign; then
    raises Locked naming *what*. A dead owner holds nothing. Raises OSError where the file cannot be
    opened. Not reentrant.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        seen = os.fstat(descriptor).st_mtime_ns
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                sign = os.fstat(descriptor).st_mtime_ns
                if sign != seen:
                    seen, deadline = sign, time.monotonic() + timeout
                if time.monotonic() >= deadline:
                    raise Locked(
                        f"{what} is in use by another process, which has made no progress for {timeout:g} s "
                        f"(lock {path}); try again when it is done"
                    ) from None
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        yield HeldLock(descriptor)
    finally:
        os.close(descriptor)
