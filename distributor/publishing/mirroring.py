"""Mirroring: bring one store to the state of another, verified, so that both can stand behind one address.

Payload goes first, metadata after it, the timestamp last. Where several copies serve readers side by side,
all of them get payload and metadata before the first one gets the timestamp (*show*): a reader who meets
another copy at each request then finds what any timestamp names on every copy.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.bundles.importing import show_timestamp
from distributor.publishing.frozen_store import FrozenStore
from distributor.publishing.metadata_pruning import replaced
from distributor.publishing.pruning import FAMILIES
from distributor.stores.interface import Digest
from distributor.trust.gzipped import decompress
from distributor.trust.roles import MAX_TIMESTAMP_BYTES, TIMESTAMP, metadata_path
from distributor.trust.trust import ARTIFACTS, RELEASES, Trust
from manifests.artifact import Artifact
from manifests.contents import contents_path
from manifests.documents import MAX_DOCUMENT_BYTES, Sha256, sha256_bytes
from manifests.errors import Refused, VerificationFailed
from manifests.patches import PatchSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributor.stores.interface import ReadStore, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored:
    """Paths that were added and removed, and whether the copy shows the source's state now."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    shown: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Object:
    """An object of the source: verified *data*, or where it is large the *digest* to hold it to."""

    path: str
    data: bytes | None = None
    digest: Digest | None = None


def mirror(  # noqa: PLR0913 - whence, by what trust, whither, and how
    source: ReadStore,
    root: bytes,
    state_dir: Path,
    copy: Store,
    *,
    show: bool = True,
    remove: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Mirrored:
    """Bring *copy* to the state of *source*; without *show* all but its timestamp.

    With *remove* payload goes that the source does not sign (any more), once the new state is shown, and
    metadata that was replaced, but for the last few versions.
    Nothing that does not verify against *root* is copied. Raises VerificationFailed, Refused where the
    copy belongs to another site or is newer, StoreUnavailable.
    """
    timestamp = source.read(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES)
    trust = Trust(FrozenStore(source, timestamp), state_dir, root)
    trust.refresh()
    payload = list(_payload(source, trust))
    metadata = list(_metadata(source, trust))
    _check_same_site(metadata, copy)
    added = []
    for count, item in enumerate([*payload, *metadata]):
        if _bring(source, item, copy):
            added.append(item.path)
        progress(count + 1, len(payload) + len(metadata))
    if not show:
        return Mirrored(added=tuple(added), removed=(), shown=False)
    if show_timestamp(timestamp, copy):
        added.append(TIMESTAMP)
    removed = []
    if remove:
        removed = [*_stale(copy, {item.path for item in payload}), *replaced(copy, trust)]
    for path in removed:
        copy.delete(path)
    return Mirrored(added=tuple(added), removed=tuple(removed), shown=True)


def _payload(source: ReadStore, trust: Trust) -> Iterator[_Object]:
    """Yield all that the metadata names, directly or through a document: files before what names them."""
    for path in trust.entries(ARTIFACTS):
        data = trust.document(path)
        if path.startswith("artifacts/"):
            artifact = trust.published(path)
            yield _Object(path=artifact.tarball_path, digest=_digest(artifact))
        elif path.startswith("patches/"):
            patches = PatchSet.from_json(decompress(data, what=path), what=path)
            yield _Object(path=patches.file_path, digest=Digest(patches.length, patches.sha256))
        yield _Object(path=path, data=data)
    for path in trust.entries(RELEASES):
        yield _Object(path=path, data=trust.document(path))
    for release in trust.releases():
        pins = trust.pins(release)
        if pins.contents is not None:
            path = contents_path(release, pins.contents)
            data = source.read(path, limit=MAX_DOCUMENT_BYTES)
            if sha256_bytes(decompress(data, what=path)) != pins.contents:
                raise VerificationFailed(f"{path} in {source.location} is not what its release names")
            yield _Object(path=path, data=data)


def _metadata(source: ReadStore, trust: Trust) -> Iterator[_Object]:
    """Yield all metadata but the timestamp: every root, and the present version of the rest."""
    for version in range(1, trust.signed("root").version + 1):
        path = metadata_path("root", version)
        yield _Object(path=path, data=source.read(path, limit=MAX_DOCUMENT_BYTES))
    for role, version in trust.versions().items():
        path = metadata_path(role, version)
        yield _Object(path=path, data=source.read(path, limit=MAX_DOCUMENT_BYTES))


def _digest(artifact: Artifact) -> Digest:
    return Digest(artifact.length, Sha256(artifact.sha256))


def _bring(source: ReadStore, item: _Object, copy: Store) -> bool:
    """Put *item* into *copy*; return whether it was not there. Raises Refused where other bytes are."""
    if item.digest is not None:
        if copy.size(item.path) == item.digest.length:
            return False
        with tempfile.NamedTemporaryFile(prefix="venvoy-mirror-") as spool:
            for chunk in source.stream(item.path, offset=0, length=item.digest.length):
                spool.write(chunk)
            spool.flush()
            if copy.write_if_absent(item.path, Path(spool.name), expect=item.digest):
                return True
        raise _other(item.path, copy)
    data = item.data or b""
    if copy.write_if_absent(item.path, data):
        return True
    if copy.size(item.path) != len(data) or copy.read(item.path, limit=len(data)) != data:
        raise _other(item.path, copy)
    return False


def _other(path: str, copy: Store) -> Refused:
    return Refused(
        f"{path} in {copy.location} has other bytes than the source's: remove it if it is the rest of an "
        "interrupted copy; otherwise that store is another one's"
    )


def _check_same_site(metadata: list[_Object], copy: Store) -> None:
    first = metadata[0]
    theirs = copy.read_versioned(first.path, limit=MAX_DOCUMENT_BYTES)
    if theirs is not None and theirs[0] != first.data:
        raise Refused(f"{copy.location} is the store of another root: a copy begins empty")


def _stale(copy: Store, wanted: set[str]) -> Iterator[str]:
    for family in FAMILIES:
        for path in copy.list(f"{family}/"):
            if path not in wanted:
                yield path
