"""The TUF roles of a store: who signs what, where metadata lies, and how long it lasts.

::

    root ── snapshot, timestamp        online keys, with the publishing endpoint
     └──── targets                     offline; signs nothing but the delegations
            ├── artifacts              builders: artifacts/ patches/ sbom/ provenance/
            └── releases               release managers: pins/ channels/
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from distributor.trust.tuf_api import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from distributor.trust.tuf_client import METADATA
from manifests.documents import sha256_bytes
from manifests.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributor.trust.tuf_api import Signed, Signer

TIMESTAMP = f"{METADATA}/timestamp.json"
MAX_TIMESTAMP_BYTES = 16384
DELEGATED: dict[str, list[str]] = {
    "artifacts": ["artifacts/*/*", "patches/*/*", "sbom/*/*", "provenance/*/*"],
    "releases": ["pins/*", "channels/*"],
}
_LIFE = {"timestamp": timedelta(days=30), "root": timedelta(days=5 * 365)}
_DEFAULT_LIFE = timedelta(days=365)


def metadata_path(role: str, version: int) -> str:
    """Return where *version* of *role*'s metadata lies in a store."""
    return TIMESTAMP if role == "timestamp" else f"{METADATA}/{version}.{role}.json"


def expiry(role: str, now: datetime) -> datetime:
    """Return when metadata of *role* that is signed *now* expires."""
    return now.astimezone(timezone.utc).replace(microsecond=0) + _LIFE.get(role, _DEFAULT_LIFE)


def new_root(signers: Mapping[str, Signer], now: datetime) -> Root:
    """Return the first root: one key for each role, threshold one."""
    root = Root(version=1, expires=expiry("root", now), consistent_snapshot=True)
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(signers[role].public_key, role)
    return root


def new_targets(signers: Mapping[str, Signer], now: datetime) -> Targets:
    """Return the first top-level targets: only the delegations to builders and release managers."""
    keys = {signers[role].public_key.keyid: signers[role].public_key for role in DELEGATED}
    roles = {
        role: DelegatedRole(role, [signers[role].public_key.keyid], 1, terminating=True, paths=paths)
        for role, paths in DELEGATED.items()
    }
    return Targets(version=1, expires=expiry("targets", now), delegations=Delegations(keys, roles))


def new_snapshot(files: Mapping[str, bytes], now: datetime) -> Snapshot:
    """Return the first snapshot, of the metadata *files* by role."""
    meta = {f"{role}.json": meta_file(1, data) for role, data in files.items()}
    return Snapshot(version=1, expires=expiry("snapshot", now), meta=meta)


def new_timestamp(snapshot: bytes, now: datetime) -> Timestamp:
    """Return the first timestamp."""
    return Timestamp(version=1, expires=expiry("timestamp", now), snapshot_meta=meta_file(1, snapshot))


def meta_file(version: int, data: bytes) -> MetaFile:
    """Return what snapshot and timestamp say of metadata: length and hash too, against mixing."""
    return MetaFile(version, len(data), {"sha256": sha256_bytes(data)})


def sign(role: str, signed: Signed, signer: Signer, delegator: Root | Targets | None = None) -> bytes:
    """Return *signed* as a signed file of *role*.

    Where *delegator* is given, raises Refused unless it accepts the signature: nothing leaves here
    that hosts would refuse.
    """
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(signer)
    if delegator is not None:
        trusted = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not trusted.verified:
            raise Refused(
                f"the {role} key here is not enough for the store's {role} role "
                f"({len(trusted.signed)} of {trusted.threshold} signatures); use the keys that root names"
            )
    return metadata.to_bytes()
