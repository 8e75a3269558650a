"""A store in a directory: the embedded default, also shared over NFS or served by any web server.

Every path is walked from the root's descriptor without following symbolic links, so that a link
planted in a shared tree leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.stores.copying import checked_chunks, read_up_to
from distributor.stores.interface import CHUNK_SIZE, Digest, object_parts
from distributor.stores.walking import walk
from distributor.system.file_lock import hold_lock
from distributor.system.syncing import sync_file_system
from manifests.atomic_file import sync_directory, temporary_name, write_all
from manifests.documents import MAX_DOCUMENT_BYTES, sha256_bytes
from manifests.errors import NotFound, Refused, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributor.stores.interface import Store

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IMMUTABLE_TIME = 315_619_200  # 1980-01-02, as within artifacts
_LEFTOVER_AGE = 24 * 3600.0


class DirectoryStore:
    """The store in the directory *root*, which is made by the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._on_disk: set[str] = set()  # folders whose names are on disk; "" is the root
        self._together = False
        self.location = f"file://{self._root}"

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object; see ReadStore."""
        with self._errors(path), self._open(path) as descriptor:
            if os.fstat(descriptor).st_size > limit:
                raise _too_large(path, self.location, limit)
            data = b"".join(read_up_to(descriptor, limit + 1))
        if len(data) > limit:
            raise _too_large(path, self.location, limit)
        return data

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range; see ReadStore."""
        with self._errors(path), self._open(path) as descriptor:
            end = offset + length
            while offset < end:
                chunk = os.pread(descriptor, min(CHUNK_SIZE, end - offset), offset)
                if not chunk:
                    raise StoreUnavailable(
                        f"{path} in {self.location} ends at byte {offset}, expected {end}; "
                        "its copy is incomplete"
                    )
                offset += len(chunk)
                yield chunk

    def size(self, path: str) -> int | None:
        """Return the object's length or None; see WriteStore."""
        try:
            with self._errors(path), self._open(path) as descriptor:
                return os.fstat(descriptor).st_size
        except NotFound:
            return None

    def write_if_absent(
        self,
        path: str,
        source: Path | bytes,
        *,
        expect: Digest | None = None,
        moved: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Add an object unless one is there; see WriteStore."""
        if self.size(path) is not None:
            self._settle(path)
            return False
        with (
            self._errors(path),
            self._parent(path, create=True) as (parent, name),
            self._temporary(parent, source, expect, moved) as (descriptor, temporary),
        ):
            made = self._link(parent, temporary, name, descriptor)
            if made:  # web servers make entity tags of it: on all copies of a store one and the same
                os.utime(descriptor, (_IMMUTABLE_TIME, _IMMUTABLE_TIME))
            return made

    def read_versioned(self, path: str, *, limit: int) -> tuple[bytes, str] | None:
        """Return the object and the sha256 of its content; see WriteStore."""
        try:
            data = self.read(path, limit=limit)
        except NotFound:
            return None
        return data, sha256_bytes(data)

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        """Compare and swap under the store's lock; see WriteStore."""
        with (
            self._errors(path),
            self._parent(path, create=True) as (parent, name),
            hold_lock(self._root / ".lock", what=f"store {self.location}"),
        ):
            if self._version(path) != version:
                return False
            with self._temporary(parent, data, None) as (descriptor, temporary):
                if version is None:
                    return self._link(parent, temporary, name, descriptor)
                os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
                self._sync(parent)
                return True

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths that begin with *prefix*; see ListStore."""
        folder = prefix.rpartition("/")[0]
        start = self._root.joinpath(*object_parts(folder)) if folder else self._root
        with self._errors(prefix):
            for path in walk(start):
                relative = path.relative_to(self._root).as_posix()
                if relative.startswith(prefix):
                    yield relative

    def delete(self, path: str) -> None:
        """Remove an object; see PruneStore."""
        with contextlib.suppress(NotFound), self._errors(path), self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
            os.fsync(parent)

    def sweep(self) -> int:
        """Remove temporary files that nobody wrote to for a day; see PruneStore."""
        oldest = time.time() - _LEFTOVER_AGE
        swept = 0
        with self._errors(""):
            for path in walk(self._root, leftovers=True):
                with contextlib.suppress(FileNotFoundError):
                    if path.lstat().st_mtime < oldest:
                        path.unlink()
                        swept += 1
        return swept

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Sync what this block writes at its end, not each: until then a power cut may leave it empty."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            with self._errors(""), contextlib.suppress(FileNotFoundError):  # nothing was written yet
                sync_file_system(self._root)

    @contextlib.contextmanager
    def open_object(self, path: str) -> Iterator[int]:
        """Give a descriptor of the object *path*, for who serves it; see ReadStore for what is raised.

        Errors of the block are its own, and pass.
        """
        with contextlib.ExitStack() as stack:
            with self._errors(path):
                descriptor = stack.enter_context(self._open(path))
            yield descriptor

    def _settle(self, path: str) -> None:
        """Bring the names that lead to *path* to disk."""
        with self._errors(path):
            for folder in reversed(Path(path).parents):
                with self._parent(str(folder / "_")) as (descriptor, _):
                    os.fsync(descriptor)
            sync_directory(self._root.parent)

    def _version(self, path: str) -> str | None:
        try:
            with self._errors(path), self._open(path) as descriptor:
                return sha256_bytes(b"".join(read_up_to(descriptor, MAX_DOCUMENT_BYTES)))
        except NotFound:
            return None

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Translate what the operating system says, while iterating too."""
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{path} is not in the store {self.location}") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(
                    f"{path} in {self.location} runs through a symbolic link or a file; "
                    "a store holds plain files in plain folders"
                ) from None
            raise StoreUnavailable(f"{path} in {self.location}: {error.strerror}") from error

    @contextlib.contextmanager
    def _open(self, path: str) -> Iterator[int]:
        with self._parent(path) as (parent, name):
            descriptor = os.open(name, _READ, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Refused(f"{path} in {self.location} is not a plain file")
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Give the descriptor of the object's folder, and the object's name in it."""
        *folders, name = object_parts(path)
        if create and not self._root.is_dir():
            self._root.mkdir(parents=True, exist_ok=True)
            self._root.chmod(0o755)
        if create and "" not in self._on_disk:
            sync_directory(self._root.parent)
            self._on_disk.add("")
        # The root itself may be a link: that is the operator's choice.
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for depth, folder in enumerate(folders, start=1):
                made = create and _make_directory(folder, descriptor)
                below = os.open(folder, _DIRECTORY, dir_fd=descriptor)
                if made:
                    os.fchmod(below, 0o755)
                # One that was there may be of a killed run, which did not get to this.
                place = "/".join(folders[:depth])
                if create and place not in self._on_disk:
                    os.fsync(descriptor)
                    self._on_disk.add(place)
                os.close(descriptor)
                descriptor = below
            yield descriptor, name
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _temporary(
        self,
        parent: int,
        source: Path | bytes,
        expect: Digest | None,
        moved: Callable[[int], None] = lambda _: None,
    ) -> Iterator[tuple[int, str]]:
        """Give a durable copy of *source* under a temporary name, which is gone afterwards."""
        name = temporary_name()
        try:
            descriptor = os.open(name, _CREATE, 0o600, dir_fd=parent)
            try:
                for chunk in checked_chunks(source, expect, moved):
                    write_all(descriptor, chunk)
                os.fchmod(descriptor, 0o644)
                self._sync(descriptor)
                yield descriptor, name
            finally:
                os.close(descriptor)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)

    def _link(self, parent: int, temporary: str, name: str, descriptor: int) -> bool:
        """Give the temporary file its final name unless that is taken."""
        try:
            os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
            made = True
        except FileExistsError:
            # An NFS server may have made the link and lost its answer: then the file has two names.
            made = os.fstat(descriptor).st_nlink == 2
        # Also for a loser: it goes on as if the object were there, so the name must be on disk.
        self._sync(parent)
        return made

    def _sync(self, descriptor: int) -> None:
        if not self._together:
            os.fsync(descriptor)


def _make_directory(name: str, parent: int) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _too_large(path: str, location: str, limit: int) -> VerificationFailed:
    return VerificationFailed(f"{path} in {location} is larger than the {limit} bytes it may have")


if TYPE_CHECKING:
    _: type[Store] = DirectoryStore
