"""Files without a name, which get one when they are complete: a kill leaves nothing of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from manifests.atomic_file import temporary_name

LEFTOVER_AGE = 24 * 3600.0
"""Seconds after which a temporary name, where there had to be one, is surely a killed run's."""
_PIECE = 1024 * 1024


def unnamed_file(folder: Path) -> IO[bytes]:
    """Return a new file without a name in *folder*, open for writing and reading. Raises OSError.

    Where the file system knows no such files (O_TMPFILE, open(2)), its name is removed at once.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        descriptor = os.open(folder, flags | os.O_TMPFILE, 0o600)
    except OSError:
        path = folder / temporary_name()
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        path.unlink()
    return os.fdopen(descriptor, "w+b")


def give_name(file: IO[bytes], path: Path) -> None:
    """Make the unnamed *file* visible as *path* unless something is there. Raises OSError."""
    file.flush()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A directory's descriptor makes Python call linkat, which follows /proc's link to the file.
        os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        return
    except FileNotFoundError:
        _copy(file, path)  # its name was removed: such a file gets none again
    finally:
        os.close(folder)


def _copy(file: IO[bytes], path: Path) -> None:
    temporary = path.with_name(temporary_name())
    position = file.tell()
    try:
        file.seek(0)
        with temporary.open("xb") as writer:
            shutil.copyfileobj(file, writer, _PIECE)
        temporary.chmod(0o600)
        temporary.replace(path)
    finally:
        file.seek(position)
        temporary.unlink(missing_ok=True)
