"""The system call that brings a whole file system to disk; Python has none for it."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sync_file_system(path: Path) -> None:
    """Bring everything on the file system of *path* to disk (syncfs).

    Raises OSError. What was written before a failure may be lost: throw it away, never sync again.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
