"""A tarball that is hashed while somebody reads it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from manifests.errors import VerificationFailed

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from manifests.artifact import Artifact


class VerifiedTarball(io.RawIOBase):
    """A tarball as a file that is hashed while it is copied."""

    def __init__(
        self, store: ReadStore, artifact: Artifact, copied: Callable[[int], None] = lambda _: None
    ) -> None:
        super().__init__()
        self._artifact = artifact
        self._chunks = store.stream(artifact.tarball_path, offset=0, length=artifact.length)
        self._digest = hashlib.sha256()
        self._rest = b""
        self._copied = copied

    def read(self, size: int = -1) -> bytes:
        """Return *size* bytes, or what is left."""
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._digest.update(chunk)
            self._copied(len(chunk))
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def finish(self) -> None:
        """Raise VerificationFailed unless the bytes were those of the manifest."""
        if self._digest.hexdigest() != self._artifact.sha256:
            raise VerificationFailed(
                f"{self._artifact.tarball_path} is damaged in the store; publish it again, then export"
            )
