"""Patches on a host: new layers from old ones that are at hand, for a fraction of their bytes.

Old layers come from the host's cache, or are rebuilt from a venv that is installed here. Whatever goes
wrong, the layer itself is fetched: the result is always the bytes that the manifest names.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from distributor.layers.cache import (
    Fetch,
    LayerCache,
    OpenedLayer,
    OpenLayer,
    Piece,
    verified_bytes,
)
from distributor.layers.rebuilding import rebuild_into, rebuild_layer
from distributor.layers.unpack import tar_bytes
from distributor.siblings import previous_paths
from distributor.system.unnamed import unnamed_file
from manifests.artifact import Artifact, Layer
from manifests.documents import Sha256
from manifests.errors import InvalidInput, NotFound, StoreUnavailable, VerificationFailed
from manifests.layout import MANIFEST
from manifests.patches import MEMORY_LIMIT, Patch, PatchSet, needed_memory
from manifests.receipt import read_receipt

_PIECE = 1024 * 1024
_IN_MEMORY = 8 * 1024 * 1024
_MAX_WINDOW = 128 * 1024 * 1024
_MOST_BASES = 32


@dataclass(frozen=True, kw_only=True)
class Base:
    """An artifact that is installed in *tree*: what patches may be applied to."""

    artifact: Artifact
    tree: Path

    def layer(self, tar_sha256: Sha256) -> Layer | None:
        """Return the layer with these tar bytes, if it has one."""
        return next((layer for layer in self.artifact.layers if layer.tar_sha256 == tar_sha256), None)


def find_bases(destination: Path) -> list[Base]:
    """Return the artifacts at *destination*, kept for rollback there, or installed beside it."""
    beside = destination.parent.iterdir() if destination.parent.is_dir() else ()
    found: dict[str, Base] = {}
    for tree in (destination, *previous_paths(destination), *sorted(beside)):
        receipt = read_receipt(tree)
        if receipt is None or receipt.identity in found or len(found) == _MOST_BASES:
            continue
        try:
            artifact = Artifact.from_json((tree / MANIFEST).read_bytes(), what=str(tree / MANIFEST))
        except (OSError, InvalidInput):
            continue
        if artifact.identity == receipt.identity:
            found[receipt.identity] = Base(artifact=artifact, tree=tree)
    return list(found.values())


def rebuilt(bases: Sequence[Base], other: OpenLayer) -> OpenLayer:
    """Return layers that a venv here holds too from its files; all others from *other*."""
    owners = {layer.tar_sha256: (base, layer) for base in bases for layer in base.artifact.layers}

    def open_layer(layer: Layer, private: Path) -> OpenedLayer:
        base, same = owners.get(layer.tar_sha256, (None, layer))
        if base is None:
            return other(layer, private)
        held: IO[bytes] = io.BytesIO() if same.tar_length <= _IN_MEMORY else unnamed_file(private)
        if rebuild_into(held, base.tree, base.artifact, same):
            return OpenedLayer(held, 0, plain=True)
        held.close()
        return other(layer, private)

    return open_layer


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The patch by which a layer comes: in which set it lies, and what it is applied to."""

    patch: Patch
    origin: PatchSet
    base: Base


def best_patches(sets: Iterable[PatchSet], bases: Sequence[Base], artifact: Artifact) -> dict[Sha256, Chosen]:
    """Return the smallest patch to each layer of *artifact*, where it is smaller than the layer."""
    by_identity = {base.artifact.identity: base for base in bases}
    lengths = {layer.tar_sha256: layer.length for layer in artifact.layers}
    best: dict[Sha256, Chosen] = {}
    for found in sets:
        if found.base not in by_identity:
            continue
        for patch in found.patches:
            known = best.get(patch.layer)
            if patch.length < (known.patch.length if known else lengths.get(patch.layer, 0)):
                best[patch.layer] = Chosen(patch=patch, origin=found, base=by_identity[found.base])
    return best


def together(best: Mapping[Sha256, Chosen], fetch: Fetch, private: Path) -> Fetch:
    """Return *fetch*, but for the sets of which most patches are wanted: those come in one request each.

    Where that fails, their patches are fetched one by one.
    """
    wanted: dict[str, list[Chosen]] = {}
    for chosen in best.values():
        wanted.setdefault(chosen.origin.file_path, []).append(chosen)
    held: dict[str, IO[bytes]] = {}
    for path, group in wanted.items():
        origin = group[0].origin
        if len(group) > 1 and 2 * sum(chosen.patch.length for chosen in group) >= origin.length:
            with contextlib.suppress(NotFound, StoreUnavailable, VerificationFailed):
                held[path] = fetch(Piece(path, 0, origin.length, origin.sha256), private)

    def fetch_part(piece: Piece, private: Path) -> IO[bytes]:
        whole = held.get(piece.path)
        if whole is None:
            return fetch(piece, private)
        if isinstance(whole, io.BytesIO):
            data = bytes(whole.getbuffer()[piece.offset : piece.offset + piece.length])
        else:  # which forked processes share: its position is nobody's
            data = os.pread(whole.fileno(), piece.length, piece.offset)
        return verified_bytes(piece, iter((data,)), private)

    return fetch_part


def patched(best: Mapping[Sha256, Chosen], fetch: Fetch, cache: LayerCache, other: OpenLayer) -> OpenLayer:
    """Return layers by way of the *best* patch to them, where there is one; else from *other*."""

    def open_layer(layer: Layer, private: Path) -> OpenedLayer:
        chosen = best.get(layer.tar_sha256)
        if chosen is None:
            return other(layer, private)
        patch = chosen.patch
        try:
            base = _base_bytes(chosen.base, patch, layer, cache)
            if base is None:
                return other(layer, private)
            piece = Piece(chosen.origin.file_path, patch.offset, patch.length, patch.sha256)
            with fetch(piece, private) as packed:
                data = packed.read()
            return OpenedLayer(apply_patch(data, base, layer, private), patch.length, plain=True)
        except (NotFound, StoreUnavailable, VerificationFailed):
            return other(layer, private)

    return open_layer


def _base_bytes(base: Base, patch: Patch, layer: Layer, cache: LayerCache) -> bytes | None:
    old = base.layer(patch.base)
    if old is None or needed_memory(old.tar_length, layer.tar_length) > MEMORY_LIMIT:
        return None
    opened = cache.find(old)
    if opened is not None:
        with opened.file as file:
            read = _plain_reader(opened, file, old, base.artifact.compression)
            data = _read_all(read, old.tar_length)
        if hashlib.sha256(data).hexdigest() == old.tar_sha256:
            return data
    return rebuild_layer(base.tree, base.artifact, old)


def _plain_reader(
    opened: OpenedLayer, file: IO[bytes], layer: Layer, compression: str
) -> Callable[[int], bytes]:
    return file.read if opened.plain else tar_bytes(file, layer, compression)


def _read_all(read: Callable[[int], bytes], length: int) -> bytes:
    parts = []
    while length > 0 and (part := read(min(_PIECE, length))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def apply_patch(patch: bytes, base: bytes, layer: Layer, private: Path) -> IO[bytes]:
    """Return the layer's tar bytes. Raises VerificationFailed for anything but the signed ones."""
    prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    unpacker = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=_MAX_WINDOW)
    held: IO[bytes] = io.BytesIO() if layer.tar_length <= _IN_MEMORY else unnamed_file(private)
    digest = hashlib.sha256()
    length = 0
    try:
        with unpacker.stream_reader(patch) as reader:
            while part := reader.read(_PIECE):
                length += len(part)
                if length > layer.tar_length:
                    raise VerificationFailed(f"a patch gives more than {layer.tar_length} bytes")
                digest.update(part)
                held.write(part)
        if digest.hexdigest() != layer.tar_sha256:
            raise VerificationFailed("a patch gives other bytes than the signed ones")
        held.seek(0)
    except zstandard.ZstdError as error:
        held.close()
        raise VerificationFailed(f"a patch is not valid zstd: {error}") from None
    except BaseException:
        held.close()
        raise
    return held
