"""Compressing tar streams as runs of independent frames, so that any frame's start is a valid start.

zstd frames (RFC 8878) are the rule. gzip members (RFC 1952) serve hosts that have no zstd.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import zstandard

from manifests.documents import Sha256
from manifests.errors import InvalidInput

FRAME_SIZE = 8 * 1024 * 1024
"""Bytes before compression in one frame: bounds the memory of writer and reader alike."""

_LEVELS = {"zstd": range(1, 20), "gzip": range(1, 10)}


@dataclass(frozen=True)
class Compression:
    """A compressor with its level. ``identity`` names everything that decides the output bytes."""

    kind: str = "zstd"
    level: int = 7

    def __post_init__(self) -> None:
        levels = _LEVELS.get(self.kind)
        if levels is None:
            raise InvalidInput(f"compression {self.kind!r} is not known; use zstd or gzip")
        if self.level not in levels:
            raise InvalidInput(f"{self.kind} level {self.level}: use {levels.start} to {levels.stop - 1}")

    @property
    def identity(self) -> str:
        """Compressor, its library's version and level, for layer keys."""
        if self.kind == "zstd":
            version = ".".join(str(number) for number in zstandard.ZSTD_VERSION)
        else:
            version = zlib.ZLIB_RUNTIME_VERSION
        return f"{self.kind}-{version}-level{self.level}"

    def frame_compressor(self) -> Callable[[bytes], bytes]:
        """Return a function that compresses one frame."""
        if self.kind == "zstd":
            return zstandard.ZstdCompressor(level=self.level, write_content_size=True).compress
        return self._gzip_member

    def _gzip_member(self, data: bytes) -> bytes:
        member = zlib.compressobj(self.level, wbits=31)  # a gzip header without name or time
        return member.compress(data) + member.flush()


class FrameWriter:
    """Takes tar bytes in any portions, writes frames to *sink*, and keeps both digests."""

    def __init__(self, sink: IO[bytes], compression: Compression) -> None:
        self._sink = sink
        self._compress = compression.frame_compressor()
        self._pending = bytearray()
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self.tar_length = 0
        self.length = 0

    def write(self, data: bytes) -> None:
        """Append *data*; full frames go to the sink at once."""
        self._pending += data
        while len(self._pending) >= FRAME_SIZE:
            self._flush(bytes(memoryview(self._pending)[:FRAME_SIZE]))
            del self._pending[:FRAME_SIZE]

    def close(self) -> None:
        """Write what is left."""
        if self._pending:
            self._flush(bytes(self._pending))
            self._pending.clear()

    @property
    def sha256(self) -> Sha256:
        """Digest of the compressed bytes so far."""
        return Sha256(self._packed.hexdigest())

    @property
    def tar_sha256(self) -> Sha256:
        """Digest of the tar bytes so far."""
        return Sha256(self._plain.hexdigest())

    def _flush(self, frame: bytes) -> None:
        self._plain.update(frame)
        self.tar_length += len(frame)
        packed = self._compress(frame)
        self._packed.update(packed)
        self.length += len(packed)
        self._sink.write(packed)
