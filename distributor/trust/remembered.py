"""What was verified on this host before, as a store: for when the real one is down or has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributor.trust.tuf_client import METADATA
from manifests.errors import NotFound, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributor.stores.interface import ReadStore


class RememberedStore:
    """Reads what python-tuf kept in *directory* of the store at *location*.

    It serves the timestamp alone: from there on python-tuf finds in its own cache what the timestamp
    names, and checks every signature and version of it again.
    """

    def __init__(self, location: str, directory: Path) -> None:
        self.location = location
        self._directory = directory

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the timestamp; see ReadStore."""
        if path != f"{METADATA}/timestamp.json":
            raise NotFound(f"{path} of {self.location} was never verified on this host")
        try:
            data = (self._directory / "timestamp.json").read_bytes()
        except FileNotFoundError:
            raise NotFound(f"nothing of {self.location} was verified on this host") from None
        except OSError as error:
            raise StoreUnavailable(f"{self._directory / 'timestamp.json'}: {error.strerror}") from error
        if len(data) > limit:
            raise VerificationFailed(f"{self._directory / 'timestamp.json'} is larger than it may be")
        return data

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Raise StoreUnavailable: no payload is kept here."""
        raise StoreUnavailable(f"{path} ({length} bytes from {offset}) is only in {self.location}")


if TYPE_CHECKING:
    _: type[ReadStore] = RememberedStore
