"""The TUF roles of a store: who signs what, where metadata lies, and how long it lasts.

::

    root ── snapshot, timestamp        online keys, with the publishing endpoint
     └──── targets                     offline; signs nothing but the delegations
            ├── artifacts              builders: artifacts/ patches/ sbom/ provenance/
            │    └── artifacts.bin-XXX      hashed bins, by the same keys; each comes with its first entry
            └── releases               release managers: pins/ channels/

A bin holds what the sha256 of its paths assigns to it. With 1,024 of them a host reads a few kilobytes
of 18,000 artifacts, and the snapshot, which names each bin's version, stays below 50 KB.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from distributor.trust.canonical import file_bytes, signed_bytes
from distributor.trust.tuf_api import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    Targets,
    Timestamp,
)
from distributor.trust.tuf_client import METADATA
from manifests.documents import sha256_bytes
from manifests.errors import Refused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distributor.trust.tuf_api import Signed, Signer

TIMESTAMP = f"{METADATA}/timestamp.json"
MAX_TIMESTAMP_BYTES = 16384
DELEGATED: dict[str, list[str]] = {
    "artifacts": ["artifacts/*/*", "patches/*/*", "sbom/*/*", "provenance/*/*"],
    "releases": ["pins/*", "channels/*"],
}
BIN_BITS = 10
_BIN = ".bin"
_LONG = timedelta(days=5 * 365)
_LIFE = {"timestamp": timedelta(days=30), "root": _LONG}
_DEFAULT_LIFE = timedelta(days=365)


def metadata_path(role: str, version: int) -> str:
    """Return where *version* of *role*'s metadata lies in a store."""
    return TIMESTAMP if role == "timestamp" else f"{METADATA}/{version}.{role}.json"


def life(role: str) -> timedelta:
    """Return how long metadata of *role* lasts.

    Bins last as long as the root: that they are the present ones, the snapshot says, whose life is shorter.
    """
    return _LONG if is_bin(role) else _LIFE.get(role, _DEFAULT_LIFE)


def expiry(role: str, now: datetime) -> datetime:
    """Return when metadata of *role* that is signed *now* expires."""
    return now.astimezone(timezone.utc).replace(microsecond=0) + life(role)


def is_due(role: str, expires: datetime, now: datetime) -> bool:
    """Say whether less than a third of the life of *role* is left."""
    return expires - now < life(role) / 3


def is_bin(role: str) -> bool:
    """Say whether *role* is a hashed bin."""
    return f"{_BIN}-" in role


def signer_of(role: str) -> str:
    """Return the role whose keys sign *role*: those of a bin are its delegator's."""
    return role.partition(f"{_BIN}-")[0]


def bins_of(role: str, keyids: Sequence[str], threshold: int) -> SuccinctRoles:
    """Return the delegation of *role* to its bins, which the same keys sign."""
    return SuccinctRoles(list(keyids), threshold, BIN_BITS, f"{role}{_BIN}")


def new_root(signers: Mapping[str, Sequence[Signer]], now: datetime) -> Root:
    """Return the first root: the keys of each role, threshold one."""
    root = Root(version=1, expires=expiry("root", now), consistent_snapshot=True)
    for role in ("root", "targets", "snapshot", "timestamp"):
        for signer in signers[role]:
            root.add_key(signer.public_key, role)
    return root


def new_targets(signers: Mapping[str, Sequence[Signer]], now: datetime) -> Targets:
    """Return the first top-level targets: only the delegations to builders and release managers."""
    public = {
        role: {signer.public_key.keyid: signer.public_key for signer in signers[role]} for role in DELEGATED
    }
    keys = {keyid: key for mine in public.values() for keyid, key in mine.items()}
    roles = {
        role: DelegatedRole(role, list(public[role]), 1, terminating=True, paths=paths)
        for role, paths in DELEGATED.items()
    }
    return Targets(version=1, expires=expiry("targets", now), delegations=Delegations(keys, roles))


def new_delegate(role: str, delegator: Targets, now: datetime) -> Targets:
    """Return the first metadata of *role*, to which *delegator* delegates: empty, with bins for artifacts."""
    return Targets(version=1, expires=expiry(role, now), delegations=bin_delegations(role, delegator))


def bin_delegations(role: str, delegator: Targets) -> Delegations | None:
    """Return how *role* delegates to bins, by the keys and the threshold that *delegator* names for it."""
    if role.partition(".")[0] != "artifacts":
        return None
    names = delegator.get_delegated_role(role)
    keys = {keyid: delegator.get_key(keyid) for keyid in names.keyids}
    return Delegations(keys, succinct_roles=bins_of(role, list(keys), names.threshold))


def new_snapshot(files: Mapping[str, bytes], now: datetime) -> Snapshot:
    """Return the first snapshot, of the metadata *files* by role."""
    meta = {f"{role}.json": meta_file(1, data) for role, data in files.items()}
    return Snapshot(version=1, expires=expiry("snapshot", now), meta=meta)


def new_timestamp(snapshot: bytes, now: datetime) -> Timestamp:
    """Return the first timestamp."""
    return Timestamp(version=1, expires=expiry("timestamp", now), snapshot_meta=meta_file(1, snapshot))


def meta_file(version: int, data: bytes, *, role: str = "") -> MetaFile:
    """Return what snapshot and timestamp say of metadata: length and hash too, against mixing.

    Of a bin only the version: there are many, each host reads all that the snapshot says, and who could
    sign another bin of that version could sign the next one as well.
    """
    if is_bin(role):
        return MetaFile(version)
    return MetaFile(version, len(data), {"sha256": sha256_bytes(data)})


def sign(
    role: str,
    signed: Signed,
    signers: Sequence[Signer],
    delegator: Root | Targets,
    before: Root | Targets | None = None,
) -> bytes:
    """Return *signed* as a file of *role*, signed by those of *signers* whom *delegator* or *before* names.

    Raises Refused unless *delegator* accepts the signatures: nothing leaves here that hosts would refuse.
    *before* is the delegator whose keys are being replaced: where they are at hand, it accepts them too.
    """
    metadata: Metadata[Any] = Metadata(signed)
    payload = signed_bytes(signed)
    delegators = [delegator] if before is None else [delegator, before]
    add_signatures(metadata, role, signers, *delegators, payload=payload)
    trusted = delegator.get_verification_result(role, payload, metadata.signatures)
    if not trusted.verified:
        keys = signer_of(role)
        raise Refused(
            f"the {keys} key here is not enough for the store's {keys} role "
            f"({len(trusted.signed)} of {trusted.threshold} signatures); use the keys that root names"
            + (", or let each manager sign: --propose, 'venvoy countersign'" if keys == "releases" else "")
        )
    return file_bytes(metadata, payload)


def add_signatures(
    metadata: Metadata[Any],
    role: str,
    signers: Sequence[Signer],
    *delegators: Root | Targets,
    payload: bytes,
) -> list[str]:
    """Sign *metadata* of *role* by those of *signers* whom a delegator names; return their keyids.

    *payload* is its signed bytes, which take long. Raises StoreUnavailable where a token or key service
    does not sign.
    """
    named = {keyid for delegator in delegators for keyid in delegator.get_delegated_role(role).keyids}
    done = []
    for signer in signers:
        keyid = signer.public_key.keyid
        if keyid in named:
            try:
                metadata.signatures[keyid] = signer.sign(payload)
            except Exception as error:
                raise StoreUnavailable(f"key {keyid[:12]} of {role} does not sign: {error}") from error
            done.append(keyid)
    return done
