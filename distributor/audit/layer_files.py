"""The files of an artifact's layers, read out of its tarball and verified."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.layers.cache import piece_of, verified_bytes
from distributor.layers.tar_reader import read_members
from distributor.layers.unpack import tar_bytes
from distributor.stores.interface import CHUNK_SIZE
from manifests.errors import StoreUnavailable
from manifests.layout import INDEX_DIRECTORY

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from manifests.artifact import Artifact, Layer

ReadChunks = Callable[["Layer"], Iterator[bytes]]
"""Returns a layer's packed bytes, unverified."""


def in_store(store: ReadStore, artifact: Artifact) -> ReadChunks:
    """Return how to read the layers of *artifact* out of *store*."""
    return lambda layer: store.stream(artifact.tarball_path, offset=layer.offset, length=layer.length)


def in_file(tarball: Path) -> ReadChunks:
    """Return how to read the layers of the *tarball*."""

    def chunks(layer: Layer) -> Iterator[bytes]:
        try:
            with tarball.open("rb") as stream:
                stream.seek(layer.offset)
                end = layer.offset + layer.length
                while data := stream.read(min(CHUNK_SIZE, end - stream.tell())):
                    yield data
        except OSError as error:
            raise StoreUnavailable(f"cannot read {tarball}: {error.strerror}") from error

    return chunks


def layer_files(artifact: Artifact, names: Iterable[str], chunks: ReadChunks) -> dict[str, str]:
    """Return the files of the distributions *names*, by path: mode, size and sha256, or a link's target.

    Compiled files, RECORD and the layers' indexes are left out: they follow from the others. Raises
    VerificationFailed where the bytes are not those of the manifest.
    """
    wanted = set(names)
    sink = _Digests()
    for layer in artifact.layers:
        if layer.distribution in wanted:
            packed = verified_bytes(piece_of(artifact, layer), chunks(layer), Path(tempfile.gettempdir()))
            with packed:
                read = tar_bytes(packed, layer, artifact.compression)
                read_members(read, layer.tar_length, layer.members, sink)
    return {path: what for path, what in sink.found.items() if not follows_from_others(path)}


def follows_from_others(path: str) -> bool:
    """Say whether the file at *path* is made of other files of its package."""
    return path.endswith((".pyc", ".dist-info/RECORD")) or path.startswith(f"{INDEX_DIRECTORY}/")


class _Digests:
    """Takes members and keeps what tells their contents apart."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def directory(self, path: str) -> None:
        """Take a directory: it is no difference."""

    def link(self, path: str, target: str) -> None:
        """Take a link."""
        self.found[path] = f"-> {target}"

    def file(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        """Take a file."""
        digest, size = hashlib.sha256(), 0
        for part in content:
            digest.update(part)
            size += len(part)
        path = f"{folder}/{name}" if folder else name
        self.found[path] = file_text(executable=mode == 0o755, size=size, sha256=digest.hexdigest())


def file_text(*, executable: bool, size: int, sha256: str) -> str:
    """Return what tells a file from another, as one string."""
    return f"{'x ' if executable else ''}{size} bytes, sha256 {sha256}"
