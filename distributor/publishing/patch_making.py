"""Patches for a publisher: what changed between two artifacts, layer by layer, as small as zstd makes it.

Both a fast and a thorough level are tried, since with long matches either may win. Needs a zstd that
takes a prefix: Python 3.14's own, or its backport.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import zstandard

from distributor.system.workers import run_tasks
from manifests.artifact import Artifact, Layer
from manifests.documents import Sha256, sha256_bytes, sha256_file
from manifests.errors import HostUnsuitable, VerificationFailed
from manifests.patches import MEMORY_LIMIT, Patch, PatchSet, needed_memory

LEVELS = (9, 19)
_WORTH = 0.9  # of the layer's own length: what saves less is not published
_MAX_WINDOW_LOG = 27  # hosts refuse larger windows
_MIN_WINDOW_LOG = 10

TarBytes = Callable[[Layer], bytes]
"""Returns a layer's tar bytes, verified."""


@dataclass(frozen=True, kw_only=True)
class MadePatches:
    """A set of patches, and the file that holds them."""

    document: PatchSet
    file: Path


def make_patches(  # noqa: PLR0913 - two artifacts, their bytes, and how
    old: Artifact,
    old_bytes: TarBytes,
    new: Artifact,
    new_bytes: TarBytes,
    folder: Path,
    *,
    jobs: int = 2,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> MadePatches | None:
    """Make the patches from *old* to *new* in *folder*, or return None where there is nothing to save.

    Raises HostUnsuitable without a zstd for prefixes, VerificationFailed for damaged artifacts.
    """
    zstd = _prefix_zstd()
    pairs = _pairs(old, new)
    results: dict[int, int] = {}

    def make(index: int) -> int:
        before, after = pairs[index]
        base, target = old_bytes(before), new_bytes(after)
        smallest = min((_compress(zstd, base, target, level) for level in LEVELS), key=len)
        if len(smallest) > after.length * _WORTH:
            return 0
        _check(smallest, base, target, after)
        (folder / str(index)).write_bytes(smallest)
        return len(smallest)

    def made(index: int, length: int) -> None:
        results[index] = length
        progress(len(results), len(pairs))

    order = sorted(range(len(pairs)), key=lambda index: -pairs[index][1].tar_length)
    run_tasks(order, make, made, jobs=jobs)
    useful = [index for index in range(len(pairs)) if results[index]]
    return _joined(old, new, [(pairs[index], folder / str(index)) for index in useful], folder)


def _pairs(old: Artifact, new: Artifact) -> list[tuple[Layer, Layer]]:
    """Return old and new of each layer that changed, where a host may hold both in memory."""
    before = {layer.distribution: layer for layer in old.layers}
    same = {layer.tar_sha256 for layer in old.layers}
    pairs = [
        (before[layer.distribution], layer)
        for layer in new.layers
        if layer.tar_sha256 not in same and layer.distribution in before
    ]
    return [(a, b) for a, b in pairs if needed_memory(a.tar_length, b.tar_length) <= MEMORY_LIMIT]


def _compress(zstd: ModuleType, base: bytes, target: bytes, level: int) -> bytes:
    parameter = zstd.CompressionParameter
    window = (len(base) + len(target)).bit_length()
    options = {
        parameter.compression_level: level,
        parameter.window_log: max(_MIN_WINDOW_LOG, min(window, _MAX_WINDOW_LOG)),
        parameter.enable_long_distance_matching: 1,
    }
    prefix = zstd.ZstdDict(base, is_raw=True).as_prefix if base else None
    compressor: Any = zstd.ZstdCompressor(options=options, zstd_dict=prefix)
    compressor.set_pledged_input_size(len(target))
    packed: bytes = compressor.compress(target, mode=compressor.FLUSH_FRAME)
    return packed


def _check(patch: bytes, base: bytes, target: bytes, layer: Layer) -> None:
    """Apply the patch as a host will: two implementations must agree before anybody relies on it."""
    prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    unpacker = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=2**_MAX_WINDOW_LOG)
    if unpacker.decompress(patch, max_output_size=len(target)) != target:
        raise VerificationFailed(f"the patch of {layer.distribution} does not give the new layer")


def _joined(
    old: Artifact, new: Artifact, made: Sequence[tuple[tuple[Layer, Layer], Path]], folder: Path
) -> MadePatches | None:
    if not made:
        return None
    file = folder / "patches"
    patches = []
    with file.open("wb") as stream:
        for (before, after), path in made:
            data = path.read_bytes()
            patches.append(
                Patch(
                    layer=after.tar_sha256,
                    base=before.tar_sha256,
                    base_length=before.tar_length,
                    offset=stream.tell(),
                    length=len(data),
                    sha256=sha256_bytes(data),
                )
            )
            stream.write(data)
            path.unlink()
    document = PatchSet(
        service=new.service,
        stem=new.stem,
        artifact=new.identity,
        base=old.identity,
        length=file.stat().st_size,
        sha256=Sha256(sha256_file(file)),
        patches=tuple(patches),
    )
    return MadePatches(document=document, file=file)


def can_make_patches() -> bool:
    """Say whether there is a zstd here that takes a prefix."""
    try:
        _prefix_zstd()
    except HostUnsuitable:
        return False
    return True


def _prefix_zstd() -> ModuleType:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise HostUnsuitable("making patches needs 'backports.zstd' (before Python 3.14): install venvoy[sign]")
