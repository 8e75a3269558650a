"""Where verified layers come from: the host's cache first, then a store.

A cached layer is verified each time it is used: nothing is believed because it lies here, so that the
cache needs no sync, and whatever is wrong in it is thrown away and fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from distributor.unnamed import LEFTOVER_AGE, give_name, unnamed_file
from manifests.artifact import Layer
from manifests.atomic_file import TEMPORARY_PREFIX
from manifests.errors import VerificationFailed

CACHE_LIMIT = 2 * 1024**3
"""Bytes that a cache keeps unless somebody asks for another limit."""

_IN_MEMORY = 8 * 1024 * 1024
_READ = 1024 * 1024


class LayerBytes(Protocol):
    """Where a layer's compressed bytes come from."""

    def __call__(self, layer: Layer) -> Iterator[bytes]:
        """Yield the bytes of *layer* in chunks; they are not trusted."""


@dataclass(frozen=True)
class OpenedLayer:
    """A layer's verified compressed bytes, and how many bytes were fetched for them."""

    file: IO[bytes]
    fetched: int


OpenLayer = Callable[[Layer, Path], OpenedLayer]
"""Called with a layer and a private directory for what does not fit into memory."""


def streamed(source: LayerBytes) -> OpenLayer:
    """Return layers straight from *source*."""

    def open_layer(layer: Layer, private: Path) -> OpenedLayer:
        return OpenedLayer(verified_bytes(layer, source(layer), private), layer.length)

    return open_layer


def through_cache(source: LayerBytes, cache: LayerCache) -> OpenLayer:
    """Return layers from *cache* where it has them, else from *source*, keeping them in *cache*."""

    def open_layer(layer: Layer, _: Path) -> OpenedLayer:
        found = cache.find(layer)
        if found is not None:
            return OpenedLayer(found, 0)
        held = verified_bytes(layer, source(layer), cache.folder(layer))
        cache.keep(layer, held)
        return OpenedLayer(held, layer.length)

    return open_layer


class LayerCache:
    """Compressed layers by their sha256 below *directory*, which is its owner's alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "fetched-layers"

    def folder(self, layer: Layer) -> Path:
        """Return the folder for *layer*, made if it lacks. Raises OSError."""
        folder = self._directory / layer.sha256[:2]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def has(self, layer: Layer) -> bool:
        """Say whether the layer seems to be here; whether it is right shows when it is used."""
        try:
            return self._path(layer).stat().st_size == layer.length
        except OSError:
            return False

    def find(self, layer: Layer) -> IO[bytes] | None:
        """Return the layer's verified bytes, or None; a damaged copy is removed."""
        path = self._path(layer)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        stream = os.fdopen(descriptor, "rb", buffering=0)
        try:
            held = _checked_copy(stream, layer)
        except (OSError, VerificationFailed):
            stream.close()
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the oldest unused goes first
        return held

    def keep(self, layer: Layer, held: IO[bytes]) -> None:
        """Keep a copy of the verified bytes; *held* is left at its start. A full disk is no error here."""
        path = self._path(layer)
        with contextlib.suppress(OSError):
            if isinstance(held, io.BytesIO):
                with unnamed_file(path.parent) as spool:
                    spool.write(held.getbuffer())
                    give_name(spool, path)
            else:
                give_name(held, path)

    def shrink(self, limit: int, *, dry_run: bool = False) -> int:
        """Remove the layers that were not used for longest until *limit* bytes stay. Return bytes freed."""
        entries = []
        oldest = time.time() - LEFTOVER_AGE
        for path in self._directory.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if not path.name.startswith(TEMPORARY_PREFIX):
                    entries.append((status.st_mtime_ns, status.st_size, path))
                elif status.st_mtime < oldest and not dry_run:
                    path.unlink()
        total = sum(size for _, size, _ in entries)
        freed = 0
        for _, size, path in sorted(entries):
            if total - freed <= limit:
                break
            if not dry_run:
                path.unlink(missing_ok=True)
            freed += size
        return freed

    def _path(self, layer: Layer) -> Path:
        return self._directory / layer.sha256[:2] / layer.sha256


def verified_bytes(layer: Layer, chunks: Iterator[bytes], private: Path) -> IO[bytes]:
    """Return the layer's compressed bytes as a file, after length and digest were found right.

    Raises VerificationFailed as soon as there are too many bytes, and for any other digest.
    """
    held: IO[bytes] = io.BytesIO() if layer.length <= _IN_MEMORY else unnamed_file(private)
    digest = hashlib.sha256()
    length = 0
    try:
        for chunk in chunks:
            length += len(chunk)
            if length > layer.length:
                raise VerificationFailed(f"more than the signed {layer.length} bytes")
            digest.update(chunk)
            held.write(chunk)
        if length != layer.length:
            raise VerificationFailed(f"{length} bytes instead of the signed {layer.length}")
        if digest.hexdigest() != layer.sha256:
            raise VerificationFailed(f"sha256 is {digest.hexdigest()}, signed was {layer.sha256}")
        held.seek(0)  # which also writes out what is buffered
    except BaseException:
        held.close()
        raise
    return held


def _checked_copy(stream: IO[bytes], layer: Layer) -> IO[bytes]:
    """Return what *stream* holds if it is *layer*: small ones as a copy, large ones the stream itself."""
    if layer.length <= _IN_MEMORY:
        with stream:
            data = stream.read(layer.length + 1)
        if len(data) != layer.length or hashlib.sha256(data).hexdigest() != layer.sha256:
            raise VerificationFailed("damaged in the cache")
        return io.BytesIO(data)
    digest = hashlib.sha256()
    while chunk := stream.read(_READ):
        digest.update(chunk)
    if digest.hexdigest() != layer.sha256:
        raise VerificationFailed("damaged in the cache")
    stream.seek(0)
    return stream
