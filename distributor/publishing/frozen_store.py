"""A store whose timestamp stands still while it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributor.trust.roles import TIMESTAMP
from manifests.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import ReadStore


class FrozenStore:
    """A store whose timestamp is the one that was read: what is verified is what is replaced.

    What is *hidden* of it is not there.
    """

    def __init__(self, store: ReadStore, timestamp: bytes, hidden: frozenset[str] = frozenset()) -> None:
        self._hidden = hidden
        self._store = store
        self._timestamp = timestamp
        self.location = store.location

    def read(self, path: str, *, limit: int) -> bytes:
        """Return an object; see ReadStore."""
        if path in self._hidden:
            raise NotFound(f"{path} of {self.location} is passed over")
        return self._timestamp if path == TIMESTAMP else self._store.read(path, limit=limit)

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield a byte range; see ReadStore."""
        return self._store.stream(path, offset=offset, length=length)
