"""An artifact is a concatenation: skeleton, layers in order, end of archive."""

from __future__ import annotations

import hashlib
import mmap
import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from builder.layers.compression import Compression
from builder.layers.layer import LayerRecord
from manifests.artifact import Layer
from manifests.atomic_file import write_all
from manifests.documents import Sha256, sha256_bytes
from manifests.errors import VerificationFailed
from manifests.layout import END
from manifests.tar_format import END_OF_ARCHIVE


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
        with temporary.open("xb", buffering=0) as sink, _Copier(sink.fileno()) as copier:
            for part in parts:
                copier.layer(part)
            whole = copier.finish(end)
        temporary.chmod(0o644)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
    length = sum(layer.length for layer in layers)
    return Assembled(layers=layers, length=length, sha256=whole)


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


class _Copier:
    """Copies layers to one file while two threads hash: each layer for itself, and the whole.

    Nothing is held back: what a layer's digest says is known when all is copied, before the tarball
    gets its name.
    """

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._whole = hashlib.sha256()
        self._for_whole = ThreadPoolExecutor(1)
        self._for_layers = ThreadPoolExecutor(1)
        self._digests: list[tuple[Part, Future[str]]] = []

    def __enter__(self) -> _Copier:
        return self

    def __exit__(self, *_: object) -> None:
        self._for_whole.shutdown(cancel_futures=True)
        self._for_layers.shutdown(cancel_futures=True)

    def layer(self, part: Part) -> None:
        """Append one layer. Raises DamagedLayer where it cannot be read, OSError from the sink."""
        try:
            with part.blob.open("rb", buffering=0) as source:
                image = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # another builder found it damaged and is at work on it
            raise _damaged(part) from None
        self._for_whole.submit(self._whole.update, image)
        self._digests.append((part, self._for_layers.submit(_digest, image)))
        write_all(self._sink, image)

    def finish(self, end: bytes) -> Sha256:
        """Append the archive's end and return the whole's digest. Raises DamagedLayer."""
        write_all(self._sink, end)
        for part, digest in self._digests:
            if digest.result() != part.record.sha256:
                raise _damaged(part)
        self._for_whole.submit(self._whole.update, end).result()
        return Sha256(self._whole.hexdigest())


def _digest(image: mmap.mmap) -> str:
    return hashlib.sha256(image).hexdigest()


def _damaged(part: Part) -> DamagedLayer:
    return DamagedLayer(part.record.key, f"{part.record.distribution} {part.record.version}".rstrip())
