"""Renames that Python has no call for: exchange two names at once, or take a name only if it is free."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from distributor.siblings import staging_path
from manifests.errors import Refused

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
# What file systems answer that know renames, but not these (renameat2(2)).
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_BOUND = (errno.EXDEV, errno.EBUSY)


def exchange(first: Path, second: Path) -> None:
    """Swap two names atomically (RENAME_EXCHANGE). Raises OSError; Refused where it cannot be done."""
    _renameat2(first, second, _EXCHANGE)


def rename_if_free(source: Path, destination: Path) -> None:
    """Rename *source* to *destination* unless something stands there (RENAME_NOREPLACE).

    Raises FileExistsError where it does, other OSError, Refused where the file system cannot do it.
    """
    _renameat2(source, destination, _NOREPLACE)


def probe_exchange(destination: Path) -> str | None:
    """Return why *destination* cannot be exchanged with a sibling, or None where it can."""
    if destination.is_mount():
        return f"{destination} is a mount point"
    with _two_folders(destination) as (first, second):
        try:
            exchange(first, second)
        except Refused as error:
            return str(error)
    return None


@contextlib.contextmanager
def _two_folders(destination: Path) -> Iterator[tuple[Path, Path]]:
    pair = [staging_path(destination) for _ in range(2)]  # what a kill leaves of them is swept
    try:
        for path in pair:
            path.mkdir(mode=0o700)
        yield pair[0], pair[1]
    finally:
        for path in pair:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()


def _renameat2(source: Path, destination: Path, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        call = libc.renameat2
    except AttributeError:
        raise Refused("this C library has no renameat2") from None
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(destination), flags) == 0:
        return
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        raise Refused(f"the file system of {source.parent} cannot exchange directories")
    if number in _BOUND:
        raise Refused(f"{destination} cannot be renamed ({os.strerror(number)}): overlay or mount point")
    raise OSError(number, os.strerror(number), str(destination))
