"""What a store can do, graded: ask for the least that a task needs.

::

    ReadStore                read, stream               hosts
    └── WriteStore           write_if_absent, size,     publishers
                             read_versioned,
                             replace_if_unchanged
    ListStore                list
    PruneStore               delete, sweep              prune
    Store                    all of them

Objects are named by plain relative paths without hidden parts. Every method raises StoreUnavailable
when the store or the network fails, and InvalidInput for a name that cannot be an object's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from manifests.errors import InvalidInput
from manifests.naming import safe_relative_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from manifests.documents import Sha256

CHUNK_SIZE = 1024 * 1024


@dataclass(frozen=True)
class Digest:
    """What an object's bytes must be."""

    length: int
    sha256: Sha256


class ReadStore(Protocol):
    """Objects that can be read."""

    @property
    def location(self) -> str:
        """The store's name for people and for caches. Never holds a secret."""

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object *path*.

        Raises NotFound where there is none, VerificationFailed where it is larger than *limit*.
        """

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield exactly *length* bytes from *offset* on, in chunks of at most ``CHUNK_SIZE``.

        Raises, while iterating, NotFound, or StoreUnavailable where the object ends before.
        """


class WriteStore(ReadStore, Protocol):
    """Objects that can be added, and a few that can be replaced."""

    def write_if_absent(
        self,
        path: str,
        source: Path | bytes,
        *,
        expect: Digest | None = None,
        moved: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Store *source* as *path* and return True, or return False if an object is there already.

        Either way the object is durable on return: who was killed may have left it just visible.
        The object is durable before it is visible, and never visible in part. Where *expect* is given
        the bytes are hashed while they are copied: raises VerificationFailed, with nothing visible,
        where they are not the expected ones; NotFound where *source* is no file. *moved* is told of the
        bytes that are read, perhaps by several threads.
        """

    def size(self, path: str) -> int | None:
        """Return the object's length, or None where there is none."""

    def read_versioned(self, path: str, *, limit: int) -> tuple[bytes, str] | None:
        """Return the object and a token of its present state, or None where there is none."""

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        """Put *data* at *path* if its state is still *version* (None: absent). Return whether it was."""


class ListStore(Protocol):
    """Objects that can be listed."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every object's path that begins with *prefix* (a plain string prefix), sorted."""


class PruneStore(Protocol):
    """Objects that can be removed."""

    def delete(self, path: str) -> None:
        """Remove *path*. That it is gone already is no error."""

    def sweep(self) -> int:
        """Remove what writers that were killed over a day ago left. Return how many pieces."""


class Store(WriteStore, ListStore, PruneStore, Protocol):
    """A store that can do everything."""


def object_parts(path: str) -> list[str]:
    """Return the parts of an object's *path*. Raises InvalidInput for what no store may name.

    Parts that begin with a dot are the store's own: temporary files and locks.
    """
    parts = safe_relative_path(path, what="object path").split("/")
    if any(part.startswith(".") for part in parts):
        raise InvalidInput(f"object path: {path!r} has a hidden part; a store keeps those for itself")
    return parts
