"""A bundle: part of a store in one plain tar file, read in place.

Members are plain files under the store's own paths. Nothing in it is trusted for being in it: signed
metadata decides, as with every store. The open descriptor is kept, so that one file is read throughout.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.stores.interface import CHUNK_SIZE, object_parts
from manifests.documents import sha256_bytes
from manifests.errors import InvalidInput, NotFound, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import ReadStore

TOOL = "tool/"
"""The folder of what a bare host starts from; see ``distributor.bundles.tool``."""

_MOST_MEMBERS = 100_000


def bundle_location(root: bytes) -> str:
    """Return how hosts remember bundles of the site with this *root*: all of them as one store.

    An older bundle after a newer one then shows itself as a rollback.
    """
    return f"bundle:{sha256_bytes(root)[:16]}"


def open_bundle(path: Path, root: bytes) -> BundleStore:
    """Return the bundle at *path*, read under the trust of *root*. Raises as BundleStore does."""
    return BundleStore(path, bundle_location(root))


class BundleStore:
    """Reads the bundle at *path*. *location* names what hosts remember of it."""

    def __init__(self, path: Path, location: str) -> None:
        self.location = location
        self._path = path
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"there is no bundle {path}") from None
        except OSError as error:
            raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            self._members = self._index()
        except BaseException:
            self._file.close()
            raise

    @property
    def objects(self) -> list[str]:
        """The paths of all objects, sorted; what only a bare host needs is none."""
        return sorted(path for path in self._members if not path.startswith(TOOL))

    def size(self, path: str) -> int | None:
        """Return the object's length, or None where there is none."""
        found = self._members.get(path)
        return None if found is None else found[1]

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object; see ReadStore."""
        _, size = self._find(path)
        if size > limit:
            raise VerificationFailed(f"{path} in {self._path} is larger than the {limit} bytes it may have")
        return b"".join(self.stream(path, offset=0, length=size))

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range; see ReadStore."""
        start, size = self._find(path)
        if offset + length > size:
            raise StoreUnavailable(f"{path} in {self._path} ends at byte {size}, expected {offset + length}")
        position, end = start + offset, start + offset + length
        while position < end:
            chunk = os.pread(self._file.fileno(), min(CHUNK_SIZE, end - position), position)
            if not chunk:
                raise StoreUnavailable(f"{self._path} was cut while it was read")
            position += len(chunk)
            yield chunk

    def _find(self, path: str) -> tuple[int, int]:
        try:
            return self._members[path]
        except KeyError:
            raise NotFound(f"{path} is not in the bundle {self._path}") from None

    def _index(self) -> dict[str, tuple[int, int]]:
        """Return where each object lies; the headers are read, and nothing is unpacked."""
        found: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                for member in archive:
                    self._add(member, found)
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise VerificationFailed(f"{self._path} is not a whole bundle: {error}") from None
        if not found:
            raise VerificationFailed(f"{self._path} is not a bundle: it holds nothing")
        return found

    def _add(self, member: tarfile.TarInfo, found: dict[str, tuple[int, int]]) -> None:
        name = member.name
        try:
            object_parts(name)
        except InvalidInput as error:
            raise VerificationFailed(f"{self._path}: {error}") from None
        if not member.isreg() or member.issparse() or name in found or len(found) >= _MOST_MEMBERS:
            raise VerificationFailed(f"{self._path}: {name} is not a plain file that stands there once")
        if member.offset_data + member.size > self._size:
            raise VerificationFailed(f"{self._path} ends in the middle of {name}; copy it again")
        found[name] = member.offset_data, member.size


if TYPE_CHECKING:
    _: type[ReadStore] = BundleStore
