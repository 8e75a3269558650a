"""The one way to write a file that must never be seen half-written, nor lost once it was seen."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
"""How temporary names begin. Whoever owns a directory may sweep such leftovers of killed writers."""


def temporary_name() -> str:
    """Return a fresh name that no other writer, and no crashed one, uses."""
    return f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"


def write_atomically(
    path: Path, data: bytes, *, mode: int = 0o644, sync: bool = True, temporary: Path | None = None
) -> None:
    """Replace the file at *path* by *data*: a reader, or a crash, sees the old file or the new one.

    *mode* holds whatever the umask is. With *sync* the data is on disk before the name shows it, and
    the name is on disk on return. The parent must exist. *temporary* is a fresh name beside *path*, where
    those of this module would not be swept. Raises OSError, and then leaves no temporary file behind;
    never retry after a failed sync.
    """
    temporary = temporary or path.with_name(temporary_name())
    replaced = False
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            write_all(descriptor, data)
            os.fchmod(descriptor, mode)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        replaced = True
    finally:
        if not replaced:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    if sync:
        sync_directory(path.parent)


def write_all(descriptor: int, data: bytes | mmap.mmap) -> None:
    """Write all of *data* to *descriptor*; one ``write`` may take less than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_file(path: Path) -> None:
    """Bring the content of the file *path* to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Bring the names in the directory *path* to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
