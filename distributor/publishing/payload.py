"""Payload goes into a store before anything is signed: tarball first, then its manifest."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from distributor.publishing.built_files import read_manifest
from distributor.stores.interface import Digest
from distributor.trust.gzipped import compress, decompress
from distributor.trust.trust import ARTIFACTS
from distributor.trust.tuf_api import TargetFile
from manifests.documents import MAX_DOCUMENT_BYTES, sha256_bytes
from manifests.errors import NotFound, Refused, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributor.publishing.built_files import BuiltFiles
    from distributor.publishing.patch_making import MadePatches
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust


def target_of(path: str, data: bytes) -> TargetFile:
    """Return what is to be signed of *data* at *path*."""
    return TargetFile(len(data), {"sha256": sha256_bytes(data)}, path)


def store_artifacts(
    store: Store,
    trust: Trust,
    artifacts: Sequence[BuiltFiles],
    *,
    jobs: int = 1,
    moved: Callable[[int], None] = lambda _: None,
) -> dict[str, TargetFile]:
    """Bring both files of all *artifacts* into *store*, where they are not yet: *jobs* at a time.

    Returns what to sign, by path. *moved* is told of the bytes, one thread at a time. Raises
    VerificationFailed where the files are not what the manifest says, or the store's copies are damaged;
    Refused where other bytes stand under these names.
    """
    signed = trust.entries(ARTIFACTS)
    stored: dict[str, TargetFile] = {}
    new = []
    for built in artifacts:
        path = built.artifact.manifest_path
        _check_manifest(built)
        if path in signed:
            stored[path] = _confirm(store, trust, built, signed[path])
        else:
            new.append(built)
    if jobs <= 1 or len(new) <= 1:
        return stored | {built.artifact.manifest_path: _bring(store, built, moved) for built in new}
    one = threading.Lock()

    def counted(count: int) -> None:
        with one:
            moved(count)

    with ThreadPoolExecutor(min(jobs, len(new)), thread_name_prefix="publish") as pool:
        futures = {built.artifact.manifest_path: pool.submit(_bring, store, built, counted) for built in new}
        try:
            return stored | {path: future.result() for path, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_manifest(built: BuiltFiles) -> None:
    if read_manifest(built.manifest) != built.artifact.to_json():
        raise VerificationFailed(f"{built.manifest} is not the canonical manifest of {built.artifact.stem}")


def _bring(store: Store, built: BuiltFiles, moved: Callable[[int], None]) -> TargetFile:
    artifact = built.artifact
    plain = artifact.to_json()
    expect = Digest(artifact.length, artifact.sha256)
    if not store.write_if_absent(artifact.tarball_path, built.tarball, expect=expect, moved=moved):
        _compare(store, artifact.tarball_path, expect)
    packed = compress(plain)
    if not store.write_if_absent(artifact.manifest_path, packed):
        # Other versions of zlib pack otherwise; what is stored stands if it means the same.
        packed = store.read(artifact.manifest_path, limit=MAX_DOCUMENT_BYTES)
        what = f"{artifact.manifest_path} in {store.location}"
        if decompress(packed, what=what) != plain:
            raise other_bytes(artifact.manifest_path, store)
    return target_of(artifact.manifest_path, packed)


def store_patches(store: Store, made: MadePatches) -> TargetFile:
    """Bring a set of patches into *store*, file first, and return what to sign.

    Raises Refused where other bytes stand under these names.
    """
    document = made.document
    expect = Digest(document.length, document.sha256)
    if not store.write_if_absent(document.file_path, made.file, expect=expect):
        _compare(store, document.file_path, expect)
    packed = compress(document.to_json())
    store_document(store, document.document_path, packed)
    return target_of(document.document_path, packed)


def store_document(store: Store, path: str, data: bytes) -> None:
    """Put *data* at *path*, or find it there. Raises Refused where other bytes stand there."""
    if store.write_if_absent(path, data):
        return
    if store.size(path) != len(data) or store.read(path, limit=len(data)) != data:
        raise other_bytes(path, store)


def _confirm(store: Store, trust: Trust, built: BuiltFiles, signed: TargetFile) -> TargetFile:
    """Check that what is published is this artifact, and put back files that the store lost."""
    artifact = built.artifact
    path = artifact.manifest_path
    packed = compress(artifact.to_json())
    if store.size(path) is None and target_of(path, packed).hashes == signed.hashes:
        store.write_if_absent(path, packed)
    if trust.published(path).to_json() != artifact.to_json():
        raise Refused(
            f"{path} is published in {store.location} with other content; published names are never "
            "reused: build from inputs that differ, or keep what is published"
        )
    store.write_if_absent(
        artifact.tarball_path, built.tarball, expect=Digest(artifact.length, artifact.sha256)
    )
    if store.size(artifact.tarball_path) != artifact.length:
        raise VerificationFailed(
            f"{artifact.tarball_path} in {store.location} is damaged; remove it and publish again"
        )
    return signed


def _compare(store: Store, path: str, expect: Digest) -> None:
    """Accept what an interrupted publish left at *path* if it is ours to the bit."""
    if store.size(path) != expect.length:
        raise other_bytes(path, store)
    digest = hashlib.sha256()
    try:
        for chunk in store.stream(path, offset=0, length=expect.length):
            digest.update(chunk)
    except NotFound:
        raise other_bytes(path, store) from None
    if digest.hexdigest() != expect.sha256:
        raise other_bytes(path, store)


def other_bytes(path: str, store: Store) -> Refused:
    """Return the error for unsigned bytes at *path* that are not ours."""
    return Refused(
        f"{path} lies in {store.location} with other content, unsigned: remove it if it is the rest of "
        "an interrupted publish; otherwise find out who put it there"
    )
