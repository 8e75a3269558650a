"""Bundles: a release with its artifacts and trust in one file, for sites without a network.

A bundle holds signed metadata, pins, manifests and tarballs as a store does, and is verified as one:
signatures, versions, digests. Freshness is not asked for, since a file on a shelf has none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from distributor.bundles.store import BundleStore
from distributor.stores.interface import Digest
from distributor.trust.roles import TIMESTAMP, metadata_path
from distributor.trust.trust import ARTIFACTS, RELEASES, Trust
from manifests.atomic_file import TEMPORARY_PREFIX, sync_directory, temporary_name
from manifests.documents import MAX_DOCUMENT_BYTES, Sha256, sha256_bytes
from manifests.errors import NotFound, Refused, VerificationFailed
from manifests.pins import pins_path

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore, Store
    from manifests.artifact import Artifact

Progress = Callable[[int, int], None]
_CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a bundle holds: artifacts by their labels, and its length in bytes."""

    artifacts: tuple[str, ...]
    length: int


def bundle_location(root: bytes) -> str:
    """Return how hosts remember bundles of the site with this *root*: all of them as one store.

    An older bundle after a newer one then shows itself as a rollback.
    """
    return f"bundle:{sha256_bytes(root)[:16]}"


def open_bundle(path: Path, root: bytes) -> BundleStore:
    """Return the bundle at *path*, read under the trust of *root*. Raises as BundleStore does."""
    return BundleStore(path, bundle_location(root))


def export_bundle(  # noqa: PLR0913 - what, whence, whither
    store: ReadStore,
    trust: Trust,
    release: str,
    services: Sequence[str],
    output: Path,
    *,
    progress: Progress = lambda *_: None,
) -> Exported:
    """Write what *release* pins for *services* (none named: all), verified, to the new file *output*.

    *trust* is refreshed. The same state gives the same bytes. Raises NotFound for what is not pinned,
    VerificationFailed for damaged artifacts, StoreUnavailable; OSError from the disk.
    """
    pins = trust.pins(release)
    missing = set(services) - {pin.service for pin in pins.pins}
    if missing:
        raise NotFound(f"release {release} has no {', '.join(sorted(missing))}")
    chosen = [pin for pin in pins.pins if not services or pin.service in services]
    artifacts = [trust.manifest(pin) for pin in chosen]
    total = sum(artifact.length for artifact in artifacts)
    for path in output.parent.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
    temporary = output.with_name(temporary_name())
    done = 0

    def copied(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    try:
        with temporary.open("xb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, data in _documents(store, trust, release, [pin.manifest for pin in chosen]):
                    _add(archive, name, len(data), io.BytesIO(data))
                for artifact in artifacts:
                    reader = _Verified(store, artifact, copied)
                    _add(archive, artifact.tarball_path, artifact.length, reader)
                    reader.finish()
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(output.parent)
    return Exported(artifacts=tuple(artifact.stem for artifact in artifacts), length=output.stat().st_size)


def _documents(
    store: ReadStore, trust: Trust, release: str, manifests: Iterable[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield all but the tarballs: each was verified when *trust* read it, or is again when it is used."""
    root = trust.signed("root")
    for version in range(1, root.version + 1):
        path = metadata_path("root", version)
        yield path, store.read(path, limit=MAX_DOCUMENT_BYTES)
    for role in ("snapshot", "targets", ARTIFACTS, RELEASES):
        path = metadata_path(role, trust.signed(role).version)
        yield path, store.read(path, limit=MAX_DOCUMENT_BYTES)
    yield TIMESTAMP, store.read(TIMESTAMP, limit=MAX_DOCUMENT_BYTES)
    yield pins_path(release), trust.document(pins_path(release))
    for path in manifests:
        yield path, trust.document(path)


def _add(archive: tarfile.TarFile, name: str, size: int, content: io.IOBase) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    archive.addfile(info, cast("IO[bytes]", content))


class _Verified(io.RawIOBase):
    """A tarball as a file that is hashed while it is copied."""

    def __init__(self, store: ReadStore, artifact: Artifact, copied: Callable[[int], None]) -> None:
        super().__init__()
        self._artifact = artifact
        self._chunks = store.stream(artifact.tarball_path, offset=0, length=artifact.length)
        self._digest = hashlib.sha256()
        self._rest = b""
        self._copied = copied

    def read(self, size: int = -1) -> bytes:
        """Return *size* bytes, or what is left."""
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._digest.update(chunk)
            self._copied(len(chunk))
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def finish(self) -> None:
        """Raise VerificationFailed unless the bytes were those of the manifest."""
        if self._digest.hexdigest() != self._artifact.sha256:
            raise VerificationFailed(
                f"{self._artifact.tarball_path} is damaged in the store; publish it again, then export"
            )


def import_bundle(bundle: BundleStore, store: Store, trust: Trust, *, progress: Progress) -> tuple[str, ...]:
    """Add all of *bundle* to *store*, payload first; return the paths that were not there.

    *trust* is that of the bundle, refreshed: metadata that does not verify is never copied. Tarballs are
    held to the manifests. Raises Refused where the store has other bytes, another root, or a newer
    state; VerificationFailed; StoreUnavailable.
    """
    _check_same_site(bundle, store)
    artifacts = {
        path: trust.published(path) for path in trust.entries(ARTIFACTS) if bundle.size(path) is not None
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
    if _show(bundle, store):
        added.append(TIMESTAMP)
    return tuple(added)


def _bring(bundle: BundleStore, store: Store, trust: Trust, path: str, artifact: Artifact | None) -> bool:
    if artifact is None:
        return store.write_if_absent(path, trust.document(path))
    source = _Verified(bundle, artifact, lambda _: None)
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


def _version(timestamp: bytes) -> int:
    return int(json.loads(timestamp)["signed"]["version"])


def _show(bundle: BundleStore, store: Store) -> bool:
    """Replace the timestamp, unless the store's is the same or newer. Raises Refused where it is newer."""
    data = bundle.read(TIMESTAMP, limit=MAX_DOCUMENT_BYTES)
    for _ in range(10):
        found = store.read_versioned(TIMESTAMP, limit=MAX_DOCUMENT_BYTES)
        if found is not None and found[0] == data:
            return False
        if found is not None and _version(found[0]) >= _version(data):
            raise Refused(
                f"{store.location} is newer than the bundle; its artifacts were added, its metadata stays"
            )
        if store.replace_if_unchanged(TIMESTAMP, data, found[1] if found else None):
            return True
    raise Refused(f"{store.location} changes all the time; try again")
