"""Set up a store: keys, root, delegations, first snapshot and timestamp. Safe to run again.

The timestamp comes last: a store without one is no store yet, and a rerun completes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuf.api.serialization import DeserializationError

from distributor.publishing.keys import exclusive_keys, leavings, load_signers, make_keys
from distributor.trust.roles import (
    DELEGATED,
    TIMESTAMP,
    metadata_path,
    new_delegate,
    new_root,
    new_snapshot,
    new_targets,
    new_timestamp,
    sign,
)
from distributor.trust.tuf_api import Metadata, Root, Targets
from distributor.trust.tuf_client import METADATA
from manifests.atomic_file import sync_directory, write_atomically
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import InvalidInput, Refused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from distributor.stores.interface import Store
    from distributor.trust.tuf_api import Signed, Signer

ROOT_FILE = "root.json"


def initialise(store: Store, keys_dir: Path, *, now: datetime) -> bytes:
    """Make *store* a signed store with the keys in *keys_dir*; return its root metadata.

    Keys and root are made if absent and reused if present. A store that is complete and of this root
    is left alone; a half-made one is completed. Raises Refused for a store of another root, or one
    that lost its timestamp, StoreUnavailable or OSError where the disk fails.
    """
    root_file = keys_dir / ROOT_FILE
    root = _read_root_file(root_file)
    if root is None:
        if any(True for _ in store.list(f"{METADATA}/")):
            raise Refused(
                f"{store.location} is a signed store already, and {keys_dir} holds no {ROOT_FILE} of it; "
                "give its keys with --keys, or choose an empty store"
            )
        root = _make_root(keys_dir, now)
    else:
        _settle(keys_dir)
    _complete(store, keys_dir, root, now)
    return root


def _read_root_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error


def _make_root(keys_dir: Path, now: datetime) -> bytes:
    with exclusive_keys(keys_dir):
        made = _read_root_file(keys_dir / ROOT_FILE)
        if made is not None:
            return made  # by another run, while we waited
        make_keys(keys_dir)
        signers = load_signers(keys_dir, ("root", "targets", "snapshot", "timestamp"))
        root = new_root(signers, now)
        data = sign("root", root, signers["root"], root)
        write_atomically(keys_dir / ROOT_FILE, data)
        sync_directory(keys_dir.parent)
    return data


def _settle(keys_dir: Path) -> None:
    """Bring to disk, and sweep, what a run left that was killed when the keys were complete."""
    if leavings(keys_dir):
        with exclusive_keys(keys_dir):
            pass  # the sweep comes with the lock
    sync_directory(keys_dir)
    sync_directory(keys_dir.parent)


def _complete(store: Store, keys_dir: Path, root_data: bytes, now: datetime) -> None:
    root = _parse_root(root_data, keys_dir)
    root_path = metadata_path("root", root.version)
    stored = store.read_versioned(root_path, limit=MAX_DOCUMENT_BYTES)
    listed = list(store.list(f"{METADATA}/"))
    if listed and (stored is None or stored[0] != root_data):
        raise Refused(
            f"{store.location} is the store of another root than {keys_dir / ROOT_FILE}; "
            "give its own keys with --keys, or choose an empty store"
        )
    if TIMESTAMP in listed:
        store.write_if_absent(TIMESTAMP, b"")  # it is there: this makes it durable, whoever wrote it
        return
    first = {metadata_path(role, 1) for role in ("root", "targets", "snapshot", *DELEGATED)}
    if not set(listed) <= first:
        raise Refused(
            f"{store.location} lost its {TIMESTAMP}; restore it from a copy: making a new one would "
            "present an old state as the present one"
        )
    store.write_if_absent(root_path, root_data)
    signers = load_signers(keys_dir, ("targets", "snapshot", "timestamp", *DELEGATED))
    files = _first_targets(store, root, signers, now)
    snapshot = _first(store, root, "snapshot", new_snapshot(files, now), signers)
    timestamp = sign("timestamp", new_timestamp(snapshot, now), signers["timestamp"], root)
    # Where another run was faster, its timestamp stands: it is of the same root.
    store.replace_if_unchanged(TIMESTAMP, timestamp, None)


def _first_targets(
    store: Store, root: Root, signers: Mapping[str, Sequence[Signer]], now: datetime
) -> dict[str, bytes]:
    """Return the first metadata of targets and of the roles that it delegates to."""
    files = {"targets": _first(store, root, "targets", new_targets(signers, now), signers)}
    delegator = Metadata[Targets].from_bytes(files["targets"]).signed
    for role in DELEGATED:
        files[role] = _first(store, delegator, role, new_delegate(role, delegator, now), signers)
    return files


def _first(
    store: Store,
    delegator: Root | Targets,
    role: str,
    signed: Signed,
    signers: Mapping[str, Sequence[Signer]],
) -> bytes:
    """Store version 1 of *role*, or return the one of an interrupted run if our keys signed it."""
    path = metadata_path(role, 1)
    data = sign(role, signed, signers[role], delegator)
    if store.write_if_absent(path, data):
        return data
    data = store.read(path, limit=MAX_DOCUMENT_BYTES)
    try:
        metadata: Metadata[Any] = Metadata[Any].from_bytes(data)
        signed_by_us = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except DeserializationError:
        signed_by_us = None
    if not signed_by_us or metadata.signed.version != 1:
        raise Refused(f"{path} in {store.location} was not signed with these keys; choose an empty store")
    return data


def _parse_root(data: bytes, keys_dir: Path) -> Root:
    try:
        metadata = Metadata[Root].from_bytes(data)
    except DeserializationError:
        metadata = None
    if metadata is None or metadata.signed.type != "root":
        raise InvalidInput(f"{keys_dir / ROOT_FILE} is not root metadata; restore it from a copy") from None
    return metadata.signed
