"""Publishing with patches: what is published becomes cheap to get for hosts that have an earlier release."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from distributor.layers.cache import piece_of, verified_bytes
from distributor.layers.unpack import tar_bytes
from distributor.publishing.built_files import BuiltFiles
from distributor.publishing.patch_bases import default_bases, pinned
from distributor.publishing.patch_making import MadePatches, TarBytes, can_make_patches, make_patches
from distributor.publishing.repository import PublishResult, Repository
from distributor.stores.interface import CHUNK_SIZE, Store
from distributor.trust.trust import ARTIFACTS
from manifests.artifact import Artifact, Layer
from manifests.documents import sha256_bytes
from manifests.errors import VerificationFailed
from manifests.patches import patch_document_path

Progress = Callable[[str, int, int], None]
"""Called with ``patch SERVICE``, the patches made for it and how many there will be; or with ``upload``, the
bytes that were sent and how many there are.
"""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What came of it. *patches* are the new sets of patches, by path, with their lengths in bytes."""

    result: PublishResult
    patches: dict[str, int]
    notes: tuple[str, ...] = ()


def publish(  # noqa: PLR0913 - what, where to, from what on, and how
    repository: Repository,
    store: Store,
    built: Sequence[BuiltFiles],
    *,
    patch_from: Sequence[str] | None = None,
    jobs: int = 2,
    progress: Progress = lambda *_: None,
) -> Published:
    """Publish *built*, with patches from what the releases *patch_from* pin for the same services.

    Without *patch_from*, new artifacts get patches from what hosts have now: see ``default_bases``.
    Raises what Repository.publish does, NotFound for a release that is not signed, HostUnsuitable
    where patches that were asked for cannot be made here.
    """
    with ExitStack() as stack:
        made = []
        pairs, notes = _wanted(repository, built, patch_from)
        for old, new in pairs:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="venvoy-patches-")))
            patches = make_patches(
                old,
                _in_store(store, old),
                new.artifact,
                _in_file(new),
                folder,
                jobs=jobs,
                progress=lambda done, total, name=new.artifact.service: progress(
                    f"patch {name}", done, total
                ),  # type: ignore[misc]
            )
            if patches is not None:
                made.append(patches)
        total = sum(item.artifact.length for item in built)
        done = 0

        def moved(count: int) -> None:
            nonlocal done
            done += count
            progress("upload", done, total)

        result = repository.publish(built, made, jobs=jobs, moved=moved)
    return Published(result=result, patches=_lengths(made, result), notes=notes)


def _lengths(made: Sequence[MadePatches], result: PublishResult) -> dict[str, int]:
    documents = {item.document.document_path: item.document.length for item in made}
    return {path: length for path, length in documents.items() if path in result.published}


def _wanted(
    repository: Repository, built: Sequence[BuiltFiles], releases: Sequence[str] | None
) -> tuple[list[tuple[Artifact, BuiltFiles]], tuple[str, ...]]:
    """Return old and new of each artifact that is to get patches, and why some that could get none."""
    if releases is not None and not releases:
        return [], ()
    trust = repository.trust
    signed = trust.entries(ARTIFACTS)
    pairs: dict[str, tuple[Artifact, BuiltFiles]] = {}
    for item in built:
        new = item.artifact
        if releases is None and new.manifest_path in signed:
            continue  # it was published before, with or without patches
        if releases is None:
            bases = default_bases(trust, new)
        else:
            bases = [old for release in releases for old in pinned(trust.pins(release), trust, new)]
        for old in bases:
            path = patch_document_path(new.service, new.stem, old.identity)
            if old.identity != new.identity and path not in signed:
                pairs[path] = old, item
    if releases is None and pairs and not can_make_patches():
        return [], ("no patches were made: that needs 'backports.zstd' (before Python 3.14)",)
    return list(pairs.values()), ()


def _in_store(store: Store, artifact: Artifact) -> TarBytes:
    def read(layer: Layer) -> bytes:
        piece = piece_of(artifact, layer)
        chunks = store.stream(piece.path, offset=piece.offset, length=piece.length)
        with verified_bytes(piece, chunks, Path(tempfile.gettempdir())) as packed:
            return _checked(tar_bytes(packed, layer, artifact.compression)(layer.tar_length), layer)

    return read


def _in_file(built: BuiltFiles) -> TarBytes:
    def read(layer: Layer) -> bytes:
        with built.tarball.open("rb") as stream:
            stream.seek(layer.offset)
            chunks = iter(
                lambda: stream.read(min(CHUNK_SIZE, layer.offset + layer.length - stream.tell())), b""
            )
            with verified_bytes(layer, chunks, Path(tempfile.gettempdir())) as packed:
                unpack = tar_bytes(packed, layer, built.artifact.compression)
                return _checked(unpack(layer.tar_length), layer)

    return read


def _checked(data: bytes, layer: Layer) -> bytes:
    if sha256_bytes(data) != layer.tar_sha256:
        raise VerificationFailed(f"layer {layer.distribution}: not the tar bytes that the manifest names")
    return data
