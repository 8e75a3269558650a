"""A tree of files held as data: paths with modes and digests, contents in one spool."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from builder.layers.compression import FrameWriter
from manifests.documents import Sha256
from manifests.errors import InvalidInput, StoreUnavailable, VerificationFailed
from manifests.naming import safe_relative_path
from manifests.tar_format import directory_header, file_header, link_header, padding

_SPOOL_MEMORY = 48 * 1024 * 1024
_CHUNK = 1024 * 1024
_ELF_MAGIC = b"\x7fELF"
_MAX_PATH = 4000
_MAX_NAME = 255


@dataclass(frozen=True)
class TreeFile:
    """A file of the tree: its mode bit, and where its content lies in the spool."""

    executable: bool
    offset: int
    size: int
    sha256: Sha256


class Tree:
    """Files and relative links, by path from the venv's root.

    Contents beyond 48 MB go to an unnamed temporary file, so that memory stays bounded.
    """

    def __init__(self) -> None:
        self.files: dict[str, TreeFile] = {}
        self.links: dict[str, str] = {}
        self.elf_files: list[str] = []
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY)  # noqa: SIM115
        self._end = 0

    def add(self, path: str, content: bytes, *, executable: bool = False) -> TreeFile:
        """Add a file with all its content.

        Raises VerificationFailed where the path is unsafe, or taken by another content, and
        StoreUnavailable where the disk is full.
        """
        _check(path)
        with _spool_errors():
            self._spool.seek(self._end)
            self._spool.write(content)
        return self._note(path, len(content), hashlib.sha256(content).digest(), content[:4], executable)

    def add_stream(self, path: str, stream: BinaryIO, *, executable: bool) -> TreeFile:
        """Add a file of any size from *stream*. Raises as ``add`` does."""
        _check(path)
        digest, size, head = hashlib.sha256(), 0, b""
        with _spool_errors():
            self._spool.seek(self._end)
            while chunk := stream.read(_CHUNK):
                head = head or chunk[:4]
                digest.update(chunk)
                size += len(chunk)
                self._spool.write(chunk)
        return self._note(path, size, digest.digest(), head, executable)

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        entry = self.files[path]
        self._spool.seek(entry.offset)
        return self._spool.read(entry.size)

    def open(self, path: str) -> BinaryIO:
        """Return a file's content as a seekable stream, for readers that want only parts of it."""
        entry = self.files[path]
        return io.BufferedReader(_Part(self._spool, entry.offset, entry.size))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file's content in portions of at most 1 MiB."""
        entry = self.files[path]
        position, end = entry.offset, entry.offset + entry.size
        while position < end:
            self._spool.seek(position)
            chunk = self._spool.read(min(_CHUNK, end - position))
            position += len(chunk)
            yield chunk

    def write_to(self, writer: FrameWriter) -> int:
        """Write every member, sorted by path and with all parent directories; return how many."""
        directories = parents_of([*self.files, *self.links])
        everything = sorted([*directories, *self.files, *self.links])
        for path in everything:
            if path in directories:
                writer.write(directory_header(path))
            elif path in self.links:
                writer.write(link_header(path, self.links[path]))
            else:
                entry = self.files[path]
                writer.write(file_header(path, entry.size, executable=entry.executable))
                for chunk in self.chunks(path):
                    writer.write(chunk)
                writer.write(padding(entry.size))
        writer.close()
        return len(everything)

    def check_shape(self) -> None:
        """Raise VerificationFailed where a path is both a file and a directory."""
        both = parents_of(self.files) & self.files.keys()
        if both:
            raise VerificationFailed(f"{min(both)} is a file of the wheel, and a directory of it too")

    def close(self) -> None:
        """Drop all contents."""
        self._spool.close()

    def _note(self, path: str, size: int, digest: bytes, head: bytes, executable: bool) -> TreeFile:
        entry = TreeFile(executable, self._end, size, Sha256(digest.hex()))
        taken = self.files.setdefault(path, entry)
        if taken is not entry:
            if (taken.sha256, taken.executable) != (entry.sha256, executable):
                raise VerificationFailed(f"two files of the wheel install to {path}")
            return taken
        self._end += size
        if head == _ELF_MAGIC:
            self.elf_files.append(path)
        return entry


def _check(path: str) -> None:
    try:
        safe_relative_path(path, what="file")
    except InvalidInput as error:
        raise VerificationFailed(str(error)) from None
    if len(path) * 4 > _MAX_NAME:  # else no part of it can be too long, whatever its characters
        encoded = path.encode("utf-8")
        if len(encoded) > _MAX_PATH or max(map(len, encoded.split(b"/"))) > _MAX_NAME:
            raise VerificationFailed(f"{path[:80]!r}...: longer than file systems allow")


@contextmanager
def _spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write temporary files to {tempfile.gettempdir()}: {error.strerror}"
        ) from error


class _Part(io.RawIOBase):
    """A part of the spool, read as a file of its own."""

    def __init__(self, spool: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._spool, self._start, self._size, self._position = spool, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(self._size - self._position, 0))
        self._spool.seek(self._start + self._position)
        data = self._spool.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def parents_of(paths: Iterable[str]) -> set[str]:
    """Return every parent directory of *paths*."""
    seen: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in seen:
            seen.add(parent)
            parent = parent.rpartition("/")[0]
    return seen
