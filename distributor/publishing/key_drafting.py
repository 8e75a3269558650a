"""From what shall change to the next root and targets, unsigned; and what changes, in words."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributor.publishing.key_change import KeyChange
from distributor.publishing.metadata_writer import expect
from distributor.trust.roles import DELEGATED, expiry, metadata_path
from distributor.trust.tuf_api import DelegatedRole, Metadata, Root, Targets
from distributor.trust.tuf_client import METADATA
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import InvalidInput, NotFound
from manifests.naming import service_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust
    from distributor.trust.tuf_api import Key, Role

TOP = ("root", "targets", "snapshot", "timestamp")
_VERSION = re.compile(rf"{METADATA}/(\d+)\.targets\.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Edits:
    """What shall change: keys that come and go by role, thresholds by role, and terms that start anew.

    Keys to remove are named by the beginning of their keyid.
    """

    add: tuple[tuple[str, Key], ...] = ()
    remove: tuple[tuple[str, str], ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    renew: frozenset[str] = frozenset()

    @property
    def roles(self) -> set[str]:
        """The roles whose keys or thresholds change."""
        return {role for role, _ in (*self.add, *self.remove)} | set(self.thresholds)


def draft(store: Store, trust: Trust, edits: Edits, now: datetime) -> KeyChange:
    """Return the change of *store*, whose present state *trust* is, that *edits* describe.

    Raises InvalidInput for what cannot be, NotFound for keys and roles that are not there.
    """
    root, targets = expect(trust.signed("root"), Root), expect(trust.signed("targets"), Targets)
    after = _Next(root, targets)
    for role in edits.renew:
        after.renewed(role)
    for role, key in edits.add:
        _add(after.names(role), role, key)
    for role, keyid in edits.remove:
        _remove(after.names(role), role, keyid)
    for role, threshold in edits.thresholds.items():
        _role(after.names(role), role).threshold = threshold
    for role in edits.roles:
        named = _role(after.names(role), role)
        if not 1 <= named.threshold <= len(named.keyids):
            keys = f"{len(named.keyids)} key{'s' if len(named.keyids) != 1 else ''}"
            raise InvalidInput(f"{role} would have {keys} and the threshold {named.threshold}")
    if "targets" in edits.roles:
        after.renewed("targets")  # its new keys have to sign it
    if after.root is None and after.targets is None:
        raise InvalidInput("nothing to change is named: --add, --remove, --threshold or --renew")
    if after.root is not None:
        after.root.version += 1
        after.root.expires = expiry("root", now)
    if after.targets is not None:
        after.targets.version = _free_version(store, targets.version)
        after.targets.expires = expiry("targets", now)
    return KeyChange(
        roots=tuple(_read(store, "root", version) for version in range(1, root.version + 1)),
        base_targets=_read(store, "targets", targets.version),
        root=Metadata(after.root) if after.root is not None else None,
        targets=Metadata(after.targets) if after.targets is not None else None,
    )


class _Next:
    """What follows *root* and *targets*: a copy of each, made when it is to change."""

    def __init__(self, root: Root, targets: Targets) -> None:
        self._before = root, targets
        self.root: Root | None = None
        self.targets: Targets | None = None

    def names(self, role: str) -> Root | Targets:
        """Return the one that names the keys of *role*, to be changed."""
        return self.renewed("root" if role in TOP else "targets")

    def renewed(self, role: str) -> Root | Targets:
        """Return the next *role*, to be changed."""
        if role == "root":
            self.root = self.root or copy.deepcopy(self._before[0])
            return self.root
        if role == "targets":
            self.targets = self.targets or copy.deepcopy(self._before[1])
            return self.targets
        raise InvalidInput(f"{role} is no role to draft a new term for: 'venvoy renew' signs it")


def describe(change: KeyChange) -> list[str]:
    """Return what *change* changes, in words, for who is asked to sign it."""
    lines = []
    pairs: list[tuple[str, Root | Targets, Root | Targets]] = []
    if change.root is not None:
        pairs.append(("root", change.base_root, change.next_root))
    if change.targets is not None:
        pairs.append(("targets", change.base_targets.signed, change.next_targets))
    for name, before, after in pairs:
        lines.append(f"{name} {before.version} -> {after.version}, until {after.expires:%Y-%m-%d}")
        old, new = _roles(before), _roles(after)
        for role in sorted(old.keys() | new.keys()):
            lines += _differences(role, old.get(role), new.get(role))
    return lines


def _differences(role: str, old: _Named | None, new: _Named | None) -> list[str]:
    if old is None and new is not None:
        return [
            f"  new role {role}, threshold {new.threshold}, for {', '.join(new.paths)}",
            *(f"  {role}: key {keyid} comes" for keyid in new.keyids),
        ]
    if new is None or old is None:
        return [f"  role {role} goes"]
    lines = [f"  {role}: key {keyid} comes" for keyid in new.keyids if keyid not in old.keyids]
    lines += [f"  {role}: key {keyid} goes" for keyid in old.keyids if keyid not in new.keyids]
    if old.threshold != new.threshold:
        lines.append(f"  {role}: threshold {old.threshold} -> {new.threshold}")
    if old.paths != new.paths:
        lines.append(f"  {role}: signs {', '.join(new.paths)} in place of {', '.join(old.paths)}")
    return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    keyids: tuple[str, ...]
    threshold: int
    paths: tuple[str, ...]


def _roles(signed: Root | Targets) -> dict[str, _Named]:
    roles: Mapping[str, Role]
    if isinstance(signed, Root):
        roles = signed.roles
    else:
        roles = (signed.delegations.roles or {}) if signed.delegations is not None else {}
    return {
        name: _Named(
            keyids=tuple(role.keyids),
            threshold=role.threshold,
            paths=tuple(getattr(role, "paths", None) or ()),
        )
        for name, role in roles.items()
    }


def _add(signed: Root | Targets, role: str, key: Key) -> None:
    if isinstance(signed, Targets) and role not in _roles(signed):
        _add_service(signed, role, key)
    named = _role(signed, role)
    if key.keyid not in named.keyids:
        signed.add_key(key, role)


def _add_service(signed: Targets, role: str, key: Key) -> None:
    """Delegate the paths of one service to a role of its own, which comes before the one for all."""
    family, dot, service = role.partition(".")
    if family != "artifacts" or not dot or signed.delegations is None or signed.delegations.roles is None:
        raise NotFound(f"there is no role {role}; for the builder of one service: artifacts.SERVICE")
    paths = [path.replace("/*/", f"/{service_name(service)}/") for path in DELEGATED[family]]
    made = DelegatedRole(role, [key.keyid], 1, terminating=True, paths=paths)
    signed.delegations.roles = {role: made, **signed.delegations.roles}
    signed.delegations.keys[key.keyid] = key


def _remove(signed: Root | Targets, role: str, prefix: str) -> None:
    named = _role(signed, role)
    keyids = [keyid for keyid in named.keyids if keyid.startswith(prefix)]
    if len(keyids) != 1:
        raise NotFound(f"{role} has {len(keyids)} keys that begin with {prefix!r}; there are: {named.keyids}")
    signed.revoke_key(keyids[0], role)


def _role(signed: Root | Targets, role: str):  # type: ignore[no-untyped-def]
    if signed is None or role not in _roles(signed):
        raise NotFound(f"there is no role {role}")
    return signed.get_delegated_role(role)


def _free_version(store: Store, present: int) -> int:
    """Return a version that no abandoned change took."""
    numbers = [int(match[1]) for path in store.list(f"{METADATA}/") if (match := _VERSION.fullmatch(path))]
    return max([present, *numbers]) + 1


def _read(store: Store, role: str, version: int) -> Metadata[Any]:
    return Metadata.from_bytes(store.read(metadata_path(role, version), limit=MAX_DOCUMENT_BYTES))
