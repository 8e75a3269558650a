"""Adding a bundle to a store: payload first, metadata after it, the timestamp last."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.bundles.verified import VerifiedTarball
from distributor.stores.interface import Digest
from distributor.trust.roles import TIMESTAMP, metadata_path
from distributor.trust.trust import ARTIFACTS
from distributor.trust.tuf_client import METADATA
from manifests.documents import MAX_DOCUMENT_BYTES, Sha256
from manifests.errors import Refused

if TYPE_CHECKING:
    from distributor.bundles.store import BundleStore
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust
    from manifests.artifact import Artifact

_CHUNK = 1024 * 1024
Progress = Callable[[int, int], None]


def import_bundle(
    bundle: BundleStore, store: Store, trust: Trust, *, progress: Progress = lambda *_: None
) -> tuple[str, ...]:
    """Add all of *bundle* to *store*, payload first; return the paths that were not there.

    *trust* is that of the bundle, refreshed: metadata that does not verify is never copied. Tarballs are
    held to the manifests. Raises Refused where the store has other bytes, another root, a newer
    state, or artifacts for which the bundle lacks metadata; VerificationFailed; StoreUnavailable.
    """
    _check_same_site(bundle, store)
    _check_nothing_lost(bundle, store, trust)
    artifacts = {
        path: trust.published(path)
        for path in trust.entries(ARTIFACTS)
        if path.startswith("artifacts/") and bundle.size(path) is not None
    }
    payload = [path for path in bundle.objects if not path.startswith("metadata/")]
    total = sum(bundle.size(path) or 0 for path in payload)
    tarballs = {artifact.tarball_path: artifact for artifact in artifacts.values()}
    added = []
    done = 0
    for path in sorted(payload, key=lambda path: path not in tarballs):
        if _bring(bundle, store, trust, path, tarballs.get(path)):
            added.append(path)
        done += bundle.size(path) or 0
        progress(done, total)
    metadata = [path for path in bundle.objects if path.startswith("metadata/") and path != TIMESTAMP]
    for path in metadata:
        data = bundle.read(path, limit=MAX_DOCUMENT_BYTES)
        if store.write_if_absent(path, data):
            added.append(path)
        elif store.read(path, limit=MAX_DOCUMENT_BYTES) != data:
            raise Refused(f"{path} in {store.location} is another one: that store is of another site")
    if show_timestamp(bundle.read(TIMESTAMP, limit=MAX_DOCUMENT_BYTES), store):
        added.append(TIMESTAMP)
    return tuple(added)


def _bring(bundle: BundleStore, store: Store, trust: Trust, path: str, artifact: Artifact | None) -> bool:
    if artifact is None:
        return store.write_if_absent(path, trust.document(path))
    source = VerifiedTarball(bundle, artifact)
    if store.size(path) == artifact.length:
        return False
    with tempfile.NamedTemporaryFile(prefix="venvoy-import-") as spool:
        while chunk := source.read(_CHUNK):
            spool.write(chunk)
        source.finish()
        spool.flush()
        expect = Digest(artifact.length, Sha256(artifact.sha256))
        return store.write_if_absent(path, Path(spool.name), expect=expect)


def _check_same_site(bundle: BundleStore, store: Store) -> None:
    path = metadata_path("root", 1)
    theirs = store.read_versioned(path, limit=MAX_DOCUMENT_BYTES)
    if theirs is not None and theirs[0] != bundle.read(path, limit=MAX_DOCUMENT_BYTES):
        raise Refused(f"{store.location} is the store of another root than the bundle's")


def _check_nothing_lost(bundle: BundleStore, store: Store, trust: Trust) -> None:
    """Refuse a bundle that would show newer bins than *store* has, where it serves what those sign."""
    there = set(store.list(f"{METADATA}/"))
    roles = {path.rpartition("/")[2].partition(".")[2] for path in there}
    for role, version in trust.versions().items():
        path = metadata_path(role, version)
        if bundle.size(path) is None and path not in there and f"{role}.json" in roles:
            raise Refused(
                f"the bundle was exported for hosts: without {path}, {store.location} could no longer serve "
                "all that it holds; export it without --for-hosts"
            )


def _version(timestamp: bytes) -> int:
    return int(json.loads(timestamp)["signed"]["version"])


def show_timestamp(data: bytes, store: Store) -> bool:
    """Make *data* the timestamp of *store*, unless it is already. Raises Refused where that is newer."""
    for _ in range(10):
        found = store.read_versioned(TIMESTAMP, limit=MAX_DOCUMENT_BYTES)
        if found is not None and found[0] == data:
            return False
        if found is not None and _version(found[0]) >= _version(data):
            raise Refused(
                f"{store.location} is newer than what was to be added; its artifacts were, its metadata stays"
            )
        if store.replace_if_unchanged(TIMESTAMP, data, found[1] if found else None):
            return True
    raise Refused(f"{store.location} changes all the time; try again")
