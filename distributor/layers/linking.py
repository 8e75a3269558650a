"""Link modes: files that many venvs share on disk (``hardlink``), or share until written (``reflink``).

The shared copies lie by the digest of their content below the host's cache. Each is compared, byte by
byte, with what was just verified before it is linked: a copy that somebody edited through one of its
names is put aside and made anew. Hard links share owner, mode and edits; that is why copying is the
default, and why files of mutable paths are never linked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from distributor.layers.staged_files import StagedFiles
from distributor.system.unnamed import give_name, unnamed_file
from manifests.artifact import MutablePath
from manifests.atomic_file import temporary_name

LINK_MODES = ("copy", "hardlink", "reflink")
_FICLONE = 0x40049409  # linux/fs.h, the same on x86-64 and aarch64
_SMALLEST = 1  # empty files hold no blocks, and would run into the limit of links to one file
_PIECE = 1024 * 1024
_Piece = memoryview | bytes
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM)


def sharing(
    mode: str, cache: Path, staged: Path, mutable: Sequence[MutablePath]
) -> tuple[Callable[[int, frozenset[str]], StagedFiles], str | None]:
    """Return what writes files into *staged* in this link *mode*, and why they are copied, if they are.

    The shared copies lie below *cache*, which is made where it lacks. Raises OSError.
    """
    if mode == "copy":
        return StagedFiles, None
    folder = cache / "shared-files"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    why = _why_not(mode, folder, staged)
    if why is not None:
        return StagedFiles, why
    return lambda root, hidden: SharedFiles(root, hidden, folder, mode, mutable), None


def forget_unused(cache: Path, *, dry_run: bool = False) -> int:
    """Remove shared copies that no venv holds any more. Return the bytes freed. Raises OSError."""
    freed = 0
    for path in (cache / "shared-files").glob("*/*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_nlink == 1:
                if not dry_run:
                    path.unlink()
                freed += status.st_blocks * 512
    return freed


class SharedFiles(StagedFiles):
    """Writes files as names, or clones, of shared copies. What is not shared yet is written and shared."""

    def __init__(
        self, root_fd: int, hidden: frozenset[str], folder: Path, mode: str, mutable: Sequence[MutablePath]
    ) -> None:
        super().__init__(root_fd, hidden)
        self._shared = folder
        self._clone = mode == "reflink"
        self._mutable = tuple(f"{item.path}/" for item in mutable)

    def _write(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        if f"{folder}/{name}/".startswith(self._mutable):
            super()._write(folder, name, mode, content)
        elif isinstance(content, tuple):
            self._write_short(folder, name, mode, content)
        else:
            self._write_long(folder, name, mode, content)

    def _write_short(self, folder: str, name: str, mode: int, content: tuple[memoryview, ...]) -> None:
        """Compare a file that is in memory as a whole; write it only where it is not shared yet."""
        size = sum(map(len, content))
        place = self._place(hashlib.sha256(b"".join(content)), mode)
        if size < _SMALLEST or not self._take(place, name, mode, size, content):
            super()._write(folder, name, mode, content)
            if size >= _SMALLEST:
                self._share(place, name, mode)

    def _write_long(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        """Write first, so that memory stays bounded, and then change the new file for a shared one."""
        digest = hashlib.sha256()
        super()._write(folder, name, mode, _hashed(content, digest))
        place = self._place(digest, mode)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
        spare = temporary_name()
        os.rename(name, spare, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        with os.fdopen(descriptor, "rb", buffering=0) as written:
            pieces = iter(lambda: written.read(_PIECE), b"")
            taken = self._take(place, name, mode, os.fstat(descriptor).st_size, pieces)
        if taken:
            os.unlink(spare, dir_fd=self._folder_fd)
            return
        os.rename(spare, name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        self._share(place, name, mode)

    def _place(self, digest: hashlib._Hash, mode: int) -> Path:
        key = f"{digest.hexdigest()}{'x' if mode & stat.S_IXUSR else ''}"
        return self._shared / key[:2] / key

    def _take(self, place: Path, name: str, mode: int, size: int, content: Iterable[_Piece]) -> bool:
        """Make *name* from the shared copy if that is sound. Return whether it was made."""
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if not _holds(descriptor, mode, size, content):
                place.unlink(missing_ok=True)
                return False
            if self._clone:
                return self._cloned(descriptor, name, mode)
            return self._linked(place, name)
        finally:
            os.close(descriptor)

    def _linked(self, place: Path, name: str) -> bool:
        try:
            os.link(place, name, dst_dir_fd=self._folder_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EMLINK:  # as many names as a file may have: begin a new copy
                place.unlink(missing_ok=True)
                return False
            raise
        return True

    def _cloned(self, source: int, name: str, mode: int) -> bool:
        descriptor = os.open(name, self._CREATE, mode, dir_fd=self._folder_fd)
        try:
            fcntl.ioctl(descriptor, _FICLONE, source)
        finally:
            os.close(descriptor)
        return True

    def _share(self, place: Path, name: str, mode: int) -> None:
        """Offer the file just written to others. Whoever is first wins; a full disk is no error."""
        with contextlib.suppress(OSError):
            place.parent.mkdir(mode=0o700, exist_ok=True)
            if not self._clone:
                os.link(name, place, src_dir_fd=self._folder_fd, follow_symlinks=False)
                return
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
            temporary = place.with_name(temporary_name())
            try:
                copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                try:
                    fcntl.ioctl(copy, _FICLONE, source)
                finally:
                    os.close(copy)
                temporary.replace(place)
            finally:
                os.close(source)
                temporary.unlink(missing_ok=True)


def _hashed(content: Iterable[memoryview], digest: hashlib._Hash) -> Iterator[memoryview]:
    for piece in content:
        digest.update(piece)
        yield piece


def _holds(descriptor: int, mode: int, size: int, content: Iterable[_Piece]) -> bool:
    """Whether the open file is a plain one of ours with this mode and this content."""
    status = os.fstat(descriptor)
    plain = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == mode
    if not plain or status.st_uid != os.geteuid() or status.st_size != size:
        return False
    return all(_read_exactly(descriptor, len(piece)) == piece for piece in content)


def _read_exactly(descriptor: int, count: int) -> bytes:
    data = os.read(descriptor, count)
    while len(data) < count and (more := os.read(descriptor, count - len(data))):
        data += more
    return data


def _why_not(mode: str, cache: Path, staged: Path) -> str | None:
    """Try the link *mode* from *cache* to *staged*; what a kill leaves of it is swept with that."""
    copy = staged / temporary_name()
    try:
        with unnamed_file(cache) as source:
            if mode == "hardlink":
                give_name(source, copy)
            else:
                with copy.open("xb") as writer:
                    fcntl.ioctl(writer.fileno(), _FICLONE, source.fileno())
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return f"no {mode} from {cache} to {staged.parent}: {os.strerror(error.errno)}"
    finally:
        copy.unlink(missing_ok=True)
    return None
