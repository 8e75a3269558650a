"""Who uses the cache right now, and when each entry was used last: what makes cleaning it safe.

A build says that it runs by holding a lock on a file of its own in ``running/``; the kernel drops it with
the process. An entry's time of last use is its modification time, set whenever it is looked up.
Looking up and removing take turns by a lock on ``cleaning``. So an entry that was not used since the
oldest running build began is used by none, and none can begin to while it is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.errors import StoreUnavailable

RUNNING = "running"
_CLEANING = "cleaning"


@contextmanager
def registered(root: Path) -> Iterator[None]:
    """Say that a build uses the cache at *root*, as long as the context lasts. Raises StoreUnavailable."""
    path = root / RUNNING / secrets.token_hex(8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with cleaning(root, exclusive=False):  # not between a look at who runs and a removal
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        raise StoreUnavailable(f"the cache {root} cannot be used: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def cleaning(root: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock by which those who look up (many) and those who remove (one) take turns."""
    descriptor = os.open(root / _CLEANING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def oldest_running(root: Path) -> float | None:
    """Return when the oldest running build began (seconds since the epoch); None where none runs.

    Call it under ``cleaning``. What a killed build left is swept.
    """
    began = []
    for path in (root / RUNNING).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if _is_held(descriptor):
                    began.append(os.fstat(descriptor).st_mtime)
                else:
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
    return min(began, default=None)


def use(root: Path, path: str | Path) -> bool:
    """Note that the entry at *path* is used now; False where it was removed meanwhile.

    A cache that may not be written to is not cleaned from here either.
    """
    try:
        with cleaning(root, exclusive=False):
            os.utime(path)
    except FileNotFoundError:
        return os.path.exists(path)  # noqa: PTH110 - asked for every locked wheel; no lock file, no cleaner
    except OSError:
        return True
    return True


def count_running(root: Path) -> int:
    """Return how many builds use the cache."""
    count = 0
    for path in (root / RUNNING).glob("*"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                count += _is_held(descriptor)
            finally:
                os.close(descriptor)
    return count


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
