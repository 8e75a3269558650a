"""An artifact is a concatenation: skeleton, layers in order, end of archive."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from builder.compression import Compression
from builder.layer import LayerRecord
from builder.tar_format import END_OF_ARCHIVE
from manifests.artifact import Layer
from manifests.documents import Sha256, sha256_bytes
from manifests.errors import VerificationFailed
from manifests.layout import END

_CHUNK = 4 * 1024 * 1024


class DamagedLayer(VerificationFailed):
    """A cached layer's bytes are not those that were cached; it must be built again."""

    def __init__(self, key: Sha256, label: str) -> None:
        super().__init__(f"the cached layer of {label} is damaged")
        self.key = key


@dataclass(frozen=True, kw_only=True)
class Part:
    """One layer as it goes in: its facts, its bytes on disk, and the wheel that it came from."""

    record: LayerRecord
    blob: Path
    wheel: str
    wheel_sha256: Sha256 | None


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """The tarball's table of contents."""

    layers: tuple[Layer, ...]
    length: int
    sha256: Sha256


def assemble(parts: Sequence[Part], compression: Compression, destination: Path) -> Assembled:
    """Write the tarball of *parts* to *destination*, complete or not at all.

    Every layer's digest is checked as it is copied. Raises DamagedLayer for the first that fails or
    cannot be read, OSError where the disk of *destination* fails.
    """
    end = end_of_archive(compression)
    layers = table_of_contents(parts, end)
    temporary = destination.with_name(f".{destination.name}.{secrets.token_hex(8)}.tmp")
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb", buffering=0) as sink, ThreadPoolExecutor(1) as beside:
            whole = hashlib.sha256()
            for part in parts:
                _copy(part, sink.fileno(), whole, beside)
            whole.update(end)
            sink.write(end)
        temporary.chmod(0o644)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
    length = sum(layer.length for layer in layers)
    return Assembled(layers=layers, length=length, sha256=Sha256(whole.hexdigest()))


def end_of_archive(compression: Compression) -> bytes:
    """Return the last frame of every tarball."""
    return compression.frame_compressor()(END_OF_ARCHIVE)


def table_of_contents(parts: Sequence[Part], end: bytes) -> tuple[Layer, ...]:
    """Return where each layer lies in the tarball, the end of the archive included."""
    layers = []
    offset = 0
    for part in parts:
        record = part.record
        layers.append(
            Layer(
                distribution=record.distribution,
                version=record.version,
                wheel=part.wheel,
                wheel_sha256=part.wheel_sha256,
                offset=offset,
                length=record.length,
                sha256=record.sha256,
                tar_length=record.tar_length,
                tar_sha256=record.tar_sha256,
                members=record.members,
            )
        )
        offset += record.length
    layers.append(
        Layer(
            distribution=END,
            version="",
            wheel="",
            wheel_sha256=None,
            offset=offset,
            length=len(end),
            sha256=sha256_bytes(end),
            tar_length=len(END_OF_ARCHIVE),
            tar_sha256=sha256_bytes(END_OF_ARCHIVE),
            members=0,
        )
    )
    return tuple(layers)


def _copy(part: Part, sink: int, whole: hashlib._Hash, beside: ThreadPoolExecutor) -> None:
    """Copy one layer; the whole tarball's digest grows in a second thread meanwhile."""
    damaged = DamagedLayer(part.record.key, f"{part.record.distribution} {part.record.version}".rstrip())
    own = hashlib.sha256()
    try:
        source = part.blob.open("rb", buffering=0)
    except OSError:  # another builder found it damaged and is at work on it
        raise damaged from None
    with source:
        while chunk := source.read(_CHUNK):
            pending = beside.submit(whole.update, chunk)
            own.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(sink, view) :]
            pending.result()
    if own.hexdigest() != part.record.sha256:
        raise damaged
