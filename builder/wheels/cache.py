"""The wheel cache: the one place of the builder that wheels and sdists are written to.

Content-addressed, so that a name never stands for two contents and any number of processes may share
it without locks::

    wheels/<sha256[:2]>/<sha256>/<file name>    checked member by member when it came in
    sdists/<sha256[:2]>/<sha256>/<file name>
    built/<key>.json                            which wheel an sdist became; also its lock and log
    tmp/                                        half-written files and builds; swept after a day
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.caching.usage import use
from builder.wheels.check import check_wheel
from manifests.atomic_file import temporary_name, write_atomically
from manifests.documents import Sha256, canonical_json, parse_json, sha256_file
from manifests.errors import InvalidInput, StoreUnavailable, VerificationFailed
from manifests.fields import Fields

Content = Path | Iterable[bytes]
"""What can be added: a file, or portions of bytes."""

_CHUNK = 1024 * 1024
_STALE_SECONDS = 24 * 3600
_FORMAT = "1.0"
_FORMAT_MAJOR = 1
# The end of a zip's central directory: signature, four counts, its length and offset, comment length.
_END = struct.Struct("<4s4xHHIIH")
_MAX_COMMENT = 65535
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class CachedWheel:
    """A wheel in the cache: file name, digest, where it lies, bytes."""

    name: str
    sha256: Sha256
    path: Path
    size: int


class WheelCache:
    """The cache below *root*, which is made when something is added. Safe for many processes."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._wheels = str(self.root / "wheels")
        self._sdists = str(self.root / "sdists")
        self._swept = False

    def get(self, sha256: str, name: str, *, size: int | None = None) -> Path | None:
        """Return the path of a wheel, or None where it is absent, unreadable or has lost bytes.

        This is a cheap look (*size* if known, else the archive's own end mark). Whoever reads the
        wheel checks its digest, and calls ``discard`` where that differs.
        """
        path = _place(self._wheels, sha256, name)
        return Path(path) if _looks_whole(path, size, is_zip=True) and use(self.root, path) else None

    def get_sdist(self, sha256: str, name: str, *, size: int | None = None) -> Path | None:
        """Return the path of an sdist, or None where it is absent, unreadable or of another size."""
        path = _place(self._sdists, sha256, name)
        return Path(path) if _looks_whole(path, size, is_zip=False) and use(self.root, path) else None

    def add(self, content: Content, *, name: str, sha256: str | None, origin: str) -> CachedWheel:
        """Take in a wheel: hash while copying, check all members, then let it appear.

        *sha256* is the digest it must have, None where any is accepted; *origin* is for errors.
        Raises VerificationFailed for other bytes than promised or a wheel that is not whole, and
        StoreUnavailable where the disk fails.
        """
        with self._incoming(content, name, sha256, origin) as (path, digest, size):
            check_wheel(path, origin=origin)
            final = self._publish(path, self._wheels, digest)
        return CachedWheel(name=name, sha256=digest, path=final, size=size)

    def add_sdist(self, content: Content, *, name: str, sha256: str | None, origin: str) -> Path:
        """Take in an sdist or archive; return its path. Raises like ``add``; only the digest is checked."""
        with self._incoming(content, name, sha256, origin) as (path, digest, _):
            return self._publish(path, self._sdists, digest)

    def discard(self, sha256: str, name: str) -> None:
        """Remove a wheel whose bytes turned out to be wrong."""
        Path(_place(self._wheels, sha256, name)).unlink(missing_ok=True)

    def built(self, key: str) -> CachedWheel | None:
        """Return the wheel that the build *key* gave, or None where there is none (any more)."""
        path = self.built_path(key)
        try:
            top = Fields(parse_json(path.read_bytes(), what=str(path)), str(path))
            top.expect_format(_FORMAT_MAJOR)
            name, sha256, size = top.text("wheel"), top.sha256("sha256"), top.count("size")
        except (OSError, InvalidInput):
            return None  # built again; the cache is never the only copy of anything
        wheel = self.get(sha256, name, size=size)
        use(self.root, path)
        return None if wheel is None else CachedWheel(name=name, sha256=sha256, path=wheel, size=size)

    def note_built(self, key: str, wheel: CachedWheel) -> None:
        """Remember that the build *key* gave *wheel*. Raises StoreUnavailable."""
        value = {"format": _FORMAT, "wheel": wheel.name, "sha256": wheel.sha256, "size": wheel.size}
        with self._disk_errors(f"{wheel.name} was built, but"):
            write_atomically(self.built_path(key), canonical_json(value))

    def built_path(self, key: str, suffix: str = ".json") -> Path:
        """Return the path of a build's record, or of its lock or log; the folder exists afterwards."""
        folder = self.root / "built"
        with self._disk_errors("the build's record"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{key}{suffix}"

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """Give a fresh private folder on the cache's file system; it is removed at the end."""
        folder = self.root / "tmp" / temporary_name()
        with self._disk_errors("a temporary folder"):
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._sweep(folder.parent)
            folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove(folder)

    @contextmanager
    def _incoming(
        self, content: Content, name: str, sha256: str | None, origin: str
    ) -> Iterator[tuple[Path, Sha256, int]]:
        if "/" in name or name.startswith("."):
            raise VerificationFailed(f"{name!r} from {origin} is not a plain file name")
        with self.temporary_folder() as folder, self._disk_errors(name):
            path = folder / name
            digest, size = _copy(content, path)
            if sha256 is not None and digest != sha256:
                raise VerificationFailed(
                    f"{name} from {origin} has sha256 {digest}, the lock says {sha256}; "
                    "nothing of it was used: remove the wrong file, or lock again if the new one is meant"
                )
            yield path, digest, size

    def _publish(self, path: Path, root: str, digest: Sha256) -> Path:
        final = Path(_place(root, digest, path.name))
        final.parent.mkdir(parents=True, exist_ok=True)
        # Somebody may have added it meanwhile. A good file stays (it may be in use); one that rotted goes.
        there = _looks_whole(str(final), path.stat().st_size, is_zip=False) and use(self.root, final)
        if not there or sha256_file(final) != digest:
            path.replace(final)
        return final

    def _sweep(self, folder: Path) -> None:
        if self._swept:
            return
        self._swept = True
        oldest = time.time() - _STALE_SECONDS
        for name in os.listdir(folder):  # noqa: PTH208 - names only
            with contextlib.suppress(FileNotFoundError):  # its owner removed it just now
                if (folder / name).lstat().st_mtime < oldest:
                    _remove(folder / name)

    @contextmanager
    def _disk_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"{what} cannot be kept in the wheel cache {self.root}: {error.strerror or error}"
            ) from error


def _remove(folder: Path) -> None:
    """Remove a tree in which code of an sdist may have worked."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # deeper than Python can follow; coreutils' rm climbs
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, stdin=subprocess.DEVNULL)


def _place(root: str, sha256: str, name: str) -> str:
    return f"{root}/{sha256[:2]}/{sha256}/{name}"


def _looks_whole(path: str, size: int | None, *, is_zip: bool) -> bool:
    try:
        actual = os.stat(path).st_size  # noqa: PTH116 - asked for every locked wheel on every build
        if not os.access(path, os.R_OK):
            return False
        if size is not None or not is_zip:
            return actual == size or (size is None and actual > 0)
        return _has_its_end(path, actual)
    except OSError:
        return False


def _has_its_end(path: str, size: int) -> bool:
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - as above
        stream.seek(max(0, size - _END.size))
        tail = stream.read()
        if not tail.startswith(b"PK\x05\x06"):  # a comment may follow
            stream.seek(max(0, size - _END.size - _MAX_COMMENT))
            tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return False
    _, _, _, length, offset, _ = _END.unpack_from(tail, at)
    # Large archives keep these numbers elsewhere; then the mark itself has to do.
    return _UNKNOWN in (length, offset) or offset + length <= size - (len(tail) - at)


def _copy(content: Content, path: Path) -> tuple[Sha256, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("xb", buffering=0) as out:
        for chunk in _portions(content):
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[out.write(view) :]
            size += len(chunk)
        os.fchmod(out.fileno(), 0o644)
        os.fsync(out.fileno())
    return Sha256(digest.hexdigest()), size


def _portions(content: Content) -> Iterator[bytes]:
    if isinstance(content, Path):
        with content.open("rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    else:
        yield from content
