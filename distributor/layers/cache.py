"""Where verified layers come from: the host's cache first, then a store.

A cached layer is verified each time it is used: nothing is believed because it lies here, so that the
cache needs no sync, and whatever is wrong in it is thrown away and fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import zstandard

from distributor.system.unnamed import LEFTOVER_AGE, give_name, unnamed_file
from manifests.artifact import Artifact, Layer
from manifests.atomic_file import TEMPORARY_PREFIX
from manifests.documents import Sha256
from manifests.errors import VerificationFailed

CACHE_LIMIT = 2 * 1024**3
"""Bytes that a cache keeps unless somebody asks for another limit."""

_IN_MEMORY = 8 * 1024 * 1024
_READ = 1024 * 1024
_QUICK = 1  # how hard to compress what is kept here only


class Expected(Protocol):
    """What bytes must be: a layer of a manifest, or a piece of an object."""

    @property
    def length(self) -> int:
        """How many there are."""

    @property
    def sha256(self) -> Sha256:
        """Their digest."""


@dataclass(frozen=True)
class Piece:
    """A range of an object in a store, and what its bytes must be."""

    path: str
    offset: int
    length: int
    sha256: Sha256


@dataclass(frozen=True)
class OpenedLayer:
    """A layer's verified bytes, and how many were fetched for them. *plain* ones are not compressed."""

    file: IO[bytes]
    fetched: int
    plain: bool = False


OpenLayer = Callable[[Layer, Path], OpenedLayer]
"""Called with a layer and a private directory for what does not fit into memory."""

Fetch = Callable[[Piece, Path], IO[bytes]]
"""Returns the verified bytes of a piece. Raises VerificationFailed, NotFound, StoreUnavailable."""


def piece_of(artifact: Artifact, layer: Layer) -> Piece:
    """Return where *layer* lies in the store."""
    return Piece(artifact.tarball_path, layer.offset, layer.length, layer.sha256)


def fetched(artifact: Artifact, fetch: Fetch) -> OpenLayer:
    """Return layers of *artifact* straight from a store."""

    def open_layer(layer: Layer, private: Path) -> OpenedLayer:
        return OpenedLayer(fetch(piece_of(artifact, layer), private), layer.length)

    return open_layer


def through_cache(open_other: OpenLayer, cache: LayerCache) -> OpenLayer:
    """Return layers from *cache* where it has them, else from *open_other*, keeping them in *cache*."""

    def open_layer(layer: Layer, _: Path) -> OpenedLayer:
        found = cache.find(layer)
        if found is not None:
            return found
        opened = open_other(layer, cache.folder(layer))
        cache.keep(layer, opened)
        return opened

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
        return any(path.is_file() for path in (self._path(layer), self._plain_path(layer)))

    def find(self, layer: Layer) -> OpenedLayer | None:
        """Return the layer's verified bytes, or None; a damaged copy is removed."""
        packed = _opened(self._path(layer), lambda stream: _checked_copy(stream, layer))
        if packed is not None:
            return OpenedLayer(packed, 0)
        plain = _opened(self._plain_path(layer), lambda stream: _unpacked(stream, layer, self.folder(layer)))
        return None if plain is None else OpenedLayer(plain, 0, plain=True)

    def keep(self, layer: Layer, opened: OpenedLayer) -> None:
        """Keep a copy of the verified bytes; its file is left at its start. A full disk is no error here."""
        path = self._plain_path(layer) if opened.plain else self._path(layer)
        held = opened.file
        with contextlib.suppress(OSError):
            self.folder(layer)
            if not opened.plain and not isinstance(held, io.BytesIO):
                give_name(held, path)
                return
            with unnamed_file(path.parent) as spool:
                if opened.plain:
                    zstandard.ZstdCompressor(level=_QUICK).copy_stream(held, spool, size=layer.tar_length)
                else:
                    shutil.copyfileobj(held, spool, _READ)
                give_name(spool, path)
        held.seek(0)

    def shrink(self, limit: int, *, dry_run: bool = False) -> int:
        """Remove the layers that were not used for longest until *limit* bytes stay. Return bytes freed."""
        entries = []
        oldest = time.time() - LEFTOVER_AGE
        for path, status in self._files():
            if not os.path.basename(path).startswith(TEMPORARY_PREFIX):  # noqa: PTH119 - a text, for speed
                entries.append((status.st_mtime_ns, status.st_size, path))
            elif status.st_mtime < oldest and not dry_run:
                Path(path).unlink(missing_ok=True)
        total = sum(size for _, size, _ in entries)
        freed = 0
        for _, size, path in sorted(entries):
            if total - freed <= limit:
                break
            if not dry_run:
                Path(path).unlink(missing_ok=True)
            freed += size
        return freed

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield what the folders hold, as far as nobody removes it meanwhile."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as folders:
            for folder in folders:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    for entry in os.scandir(folder):
                        with contextlib.suppress(FileNotFoundError):
                            yield entry.path, entry.stat(follow_symlinks=False)

    def _path(self, layer: Layer) -> Path:
        return self._directory / layer.sha256[:2] / layer.sha256

    def _plain_path(self, layer: Layer) -> Path:
        """Where a layer lies that came by a patch: its own compressed bytes were never here."""
        return self._directory / layer.sha256[:2] / f"{layer.tar_sha256}.tar"


def _opened(path: Path, check: Callable[[IO[bytes]], IO[bytes]]) -> IO[bytes] | None:
    """Return what *check* makes of the file, or None; a file that does not pass is removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    stream = os.fdopen(descriptor, "rb", buffering=0)
    try:
        held = check(stream)
    except (OSError, VerificationFailed, zstandard.ZstdError):
        stream.close()
        path.unlink(missing_ok=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest unused goes first
    return held


def _unpacked(stream: IO[bytes], layer: Layer, private: Path) -> IO[bytes]:
    """Return the tar bytes that *stream* holds compressed, if they are the layer's."""
    wanted = Piece("", 0, layer.tar_length, layer.tar_sha256)
    with stream, zstandard.ZstdDecompressor().stream_reader(stream) as reader:
        return verified_bytes(wanted, iter(lambda: reader.read(_READ), b""), private)


def cut(chunks: Iterator[bytes]) -> Callable[[int], Iterator[bytes]]:
    """Return what yields the next so many bytes of *chunks*, each time it is called."""
    rest = b""

    def take(length: int) -> Iterator[bytes]:
        nonlocal rest
        while length > 0:
            part = rest or next(chunks, b"")
            if not part:
                return
            rest = part[length:]
            length -= len(part) - len(rest)
            yield part[: len(part) - len(rest)]

    return take


def verified_bytes(layer: Expected, chunks: Iterator[bytes], private: Path) -> IO[bytes]:
    """Return the bytes of *chunks* as a file, after length and digest were found right.

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
