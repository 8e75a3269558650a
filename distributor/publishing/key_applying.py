"""Bringing a signed change of keys into a store: what the new keys must sign again, and in which order.

A root counts as soon as it is in the store. So where the old online keys are at hand, snapshot and timestamp
are signed by old and new ones and shown first, and the root comes last: at no instant does a host find
something that does not verify. Where they are lost or stolen the root comes first, and hosts that come
before the timestamp follows are refused, for that instant.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributor.publishing.metadata_writer import Change, Given, MetadataWriter, expect
from distributor.trust.roles import TIMESTAMP, bin_delegations, metadata_path, new_delegate
from distributor.trust.tuf_api import Metadata, Root, Snapshot, Targets, Timestamp
from distributor.trust.updater import family
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import Locked, Refused, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from distributor.publishing.key_change import KeyChange
    from distributor.publishing.metadata_writer import Changes, State
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust
    from distributor.trust.tuf_api import DelegatedRole, Signer

_ATTEMPTS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What was done: whether anything changed, and which roles were signed again."""

    changed: bool
    signed_again: tuple[str, ...]


def apply_change(  # noqa: PLR0913 - a store, a change, the keys, and what is trusted and remembered
    store: Store,
    change: KeyChange,
    signers: Mapping[str, Sequence[Signer]],
    *,
    root: bytes,
    state_dir: Path,
    now: datetime,
) -> Applied:
    """Bring *change* into *store*. Safe to repeat, and after an interruption.

    Raises VerificationFailed where it does not start from *root*, Refused where signatures lack or the store
    has changed since it was drafted, NotFound for a key that must sign again and is not at hand.
    """
    change.verify(root)
    lacking = change.lacking()
    if lacking:
        raise Refused("the change is not signed by enough: " + "; ".join(lacking))
    with tempfile.TemporaryDirectory(prefix="venvoy-keys-") as folder:
        root_path = metadata_path("root", change.next_root.version)
        there = change.root is not None and store.size(root_path) is not None
        plain = MetadataWriter(store, signers, root=root, state_dir=state_dir, now=lambda: now)
        if _is_applied(plain, change, there=there):
            return Applied(changed=False, signed_again=())
        # A root that is there already, and a timestamp that does not follow it yet: we were interrupted.
        writer = plain
        if there:
            hidden = frozenset({root_path})
            writer = MetadataWriter(
                store, signers, root=root, state_dir=Path(folder), now=lambda: now, hidden=hidden
            )
        for _ in range(_ATTEMPTS):
            state = writer.state()
            _check_base(state.trust, change)
            changes = _signed_again(state.trust, change)
            if _show(store, writer, state, change, changes):
                plain.state()
                return Applied(changed=True, signed_again=tuple(changes))
    raise Locked(f"other publishers to {store.location} were faster {_ATTEMPTS} times; try again")


def _is_applied(writer: MetadataWriter, change: KeyChange, *, there: bool) -> bool:
    if change.root is not None and not there:
        return False
    try:
        trust = writer.state().trust
    except VerificationFailed:
        if there:
            return False
        raise
    targets = expect(trust.signed("targets"), Targets)
    return targets.version == change.next_targets.version and targets == change.next_targets


def _check_base(trust: Trust, change: KeyChange) -> None:
    found = trust.signed("root").version, trust.signed("targets").version
    wanted = change.base_root.version, change.base_targets.signed.version
    if found != wanted:
        raise Refused(
            f"the change starts from root {wanted[0]} and targets {wanted[1]}, the store has {found[0]} and "
            f"{found[1]}: draft it again"
        )


def _show(store: Store, writer: MetadataWriter, state: State, change: KeyChange, changes: Changes) -> bool:
    """Write everything in the right order; return False where somebody else was faster."""
    root_path = metadata_path("root", change.next_root.version)
    online = change.targets is not None or any(
        _keys(change.base_root, role) != _keys(change.next_root, role) for role in ("snapshot", "timestamp")
    )
    if not online:
        if change.root is not None:
            writer.write_given(root_path, change.root.to_bytes())
        return True
    timestamp = writer.write(state.trust, changes, Given(root=change.root, targets=change.targets))
    first = change.root is not None and not _old_keys_accept(store, change, timestamp)
    if change.root is not None and first:
        writer.write_given(root_path, change.root.to_bytes())
    if not store.replace_if_unchanged(TIMESTAMP, timestamp, state.version):
        return False
    if change.root is not None and not first:
        writer.write_given(root_path, change.root.to_bytes())
    return True


def _old_keys_accept(store: Store, change: KeyChange, data: bytes) -> bool:
    """Say whether hosts that know the present root accept the timestamp *data*, and what it shows."""
    timestamp = Metadata[Timestamp].from_bytes(data)
    path = metadata_path("snapshot", timestamp.signed.snapshot_meta.version)
    snapshot = Metadata[Snapshot].from_bytes(store.read(path, limit=MAX_DOCUMENT_BYTES))
    shown: list[tuple[str, Metadata[Any]]] = [("timestamp", timestamp), ("snapshot", snapshot)]
    if change.targets is not None:
        shown.append(("targets", change.targets))
    return all(
        change.base_root.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified
        for role, metadata in shown
    )


def _keys(delegator: Root | Targets, role: str) -> tuple[list[str], int]:
    named = delegator.get_delegated_role(role)
    return sorted(named.keyids), named.threshold


def _signed_again(trust: Trust, change: KeyChange) -> Changes:
    """Return the delegated roles whose signatures or delegations no longer do, bins first."""
    if change.targets is None:
        return {}
    before, after = change.base_targets.signed, change.next_targets
    old, new = ((t.delegations.roles or {}) if t.delegations else {} for t in (before, after))
    changes: Changes = {}
    for role in new:
        if role not in old:
            changes |= _taken_over(trust, role, after, new[role])
        elif _keys(before, role) != _keys(after, role):
            withdrawn = set(old[role].keyids) - set(new[role].keyids)
            stricter = new[role].threshold > old[role].threshold
            changes |= _again(trust, role, after, all_of_it=bool(withdrawn) or stricter)
    return changes


def _again(trust: Trust, role: str, after: Targets, *, all_of_it: bool) -> Changes:
    """Return *role* with its bins, where it has any; those need new signatures only with *all_of_it*."""
    body = copy.deepcopy(expect(trust.signed(role), Targets))
    changes: Changes = {}
    if body.delegations is not None:
        body.delegations = bin_delegations(role, after)
        if all_of_it:
            # As they were read, not copied: there are many, and this state is looked at no more.
            changes = {name: Change(body=found, delegator=role) for name, found in trust.bins(role).items()}
    if all_of_it or body.delegations is not None:
        changes[role] = Change(body=body, delegator=Targets.type)
    return changes


def _taken_over(trust: Trust, role: str, after: Targets, named: DelegatedRole) -> Changes:
    """Return the first metadata of *role*, a service's own, with what was signed for that service so far."""
    parent = new_delegate(role, after, after.expires)
    parent.version = 0
    succinct = parent.delegations.succinct_roles if parent.delegations is not None else None
    bins: Changes = {}
    for path, target in trust.entries(family(role)).items():
        if named.is_delegated_path(path) and succinct is not None:
            name = succinct.get_role_for_target(path)
            if name not in bins:
                body = Targets()
                body.version = 0
                bins[name] = Change(body=body, delegator=role)
            bins[name].body.targets[path] = target
    return {**bins, role: Change(body=parent, delegator=Targets.type)}
