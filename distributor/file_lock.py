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


@contextlib.contextmanager
def hold_lock(path: Path, *, what: str, timeout: float = 60.0) -> Iterator[None]:
    """Hold the exclusive lock file *path*, which is created but never removed.

    Waits up to *timeout* seconds, then raises Locked naming *what*. Raises OSError where the file
    cannot be opened. Not reentrant.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Locked(
                        f"{what} is in use by another process (lock {path}); try again when it is done"
                    ) from None
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        yield
    finally:
        os.close(descriptor)
