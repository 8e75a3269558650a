"""One key replaced by a new one, where all that it takes is in one directory of keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distributor.places import private_directory, read_root
from distributor.publishing.initialisation import ROOT_FILE
from distributor.publishing.key_applying import apply_change
from distributor.publishing.key_change import read_change
from distributor.publishing.key_drafting import TOP, Edits, draft
from distributor.publishing.key_files import load_key
from distributor.publishing.key_listing import role_keys
from distributor.publishing.key_making import check_role, make_key
from distributor.publishing.keys import ROLES, exclusive_keys, key_files, key_path, load_signers
from distributor.publishing.metadata_writer import MetadataWriter
from manifests.atomic_file import sync_directory, write_atomically
from manifests.errors import InvalidInput, Refused, VenvoyError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust

_NEXT = "next"
_RETIRED = "retired"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotated:
    """The keyids that went and came, and the roles that were signed again."""

    old: str
    new: str
    signed_again: tuple[str, ...]


def rotate_key(store: Store, keys_dir: Path, role: str, *, keyid: str | None, now: datetime) -> Rotated:
    """Make a new key for *role* and let it count in *store* in place of *keyid*, or of the only one.

    The old key may be lost. An interrupted rotation is taken up where it was. Raises Refused where the keys
    of root or targets here are not enough, NotFound for a key that must sign again and is not here.
    """
    check_role(role)
    root = read_root(keys_dir / ROOT_FILE)
    taken_up = _take_up(store, keys_dir, role, root, now)
    if taken_up is not None:
        return taken_up
    trust = MetadataWriter(store, {}, root=root, state_dir=keys_dir / "seen", now=lambda: now).state().trust
    named = set(role_keys(trust, role).keyids)
    path = key_path(keys_dir, role, _NEXT)
    if path.exists():
        new = load_key(path).public_key
        if new.keyid in named:
            _retire(keys_dir, role, named)
            return Rotated(old="", new=new.keyid, signed_again=())
    else:
        new = load_key(make_key(keys_dir, role, label=_NEXT).private).public_key
    old = _old(named, role, keyid)
    edits = Edits(add=((role, new),), remove=((role, old),))
    signed_again = _change(store, keys_dir, trust, edits, root, now, pending=_pending(keys_dir, role))
    _retire(keys_dir, role, {*named, new.keyid} - {old})
    return Rotated(old=old, new=new.keyid, signed_again=signed_again)


def _pending(keys_dir: Path, role: str) -> Path:
    """Return where the change lies while it is applied: a root that is there already is not drafted again."""
    return keys_dir / f"rotation-{role}.json"


def _take_up(store: Store, keys_dir: Path, role: str, root: bytes, now: datetime) -> Rotated | None:
    """Finish the rotation that a killed run was about to apply, if there is one that still fits the store."""
    pending = _pending(keys_dir, role)
    if not pending.exists():
        return None
    change = read_change(pending)
    signers = load_signers(keys_dir, (), optional=ROLES)
    try:
        done = apply_change(store, change, signers, root=root, state_dir=keys_dir / "seen", now=now)
    except Refused:
        pending.unlink()  # the store has changed since, so that nothing of it was shown
        return None
    delegators = (
        (change.base_root, change.next_root)
        if role in TOP
        else (change.base_targets.signed, change.next_targets)
    )
    before, after = (set(item.get_delegated_role(role).keyids) for item in delegators)
    _retire(keys_dir, role, after)
    pending.unlink()
    return Rotated(old="".join(before - after), new="".join(after - before), signed_again=done.signed_again)


def renew_terms(store: Store, keys_dir: Path, roles: frozenset[str], *, now: datetime) -> None:
    """Sign root and targets, as far as they are in *roles*, for another term by the keys in *keys_dir*."""
    root = read_root(keys_dir / ROOT_FILE)
    trust = MetadataWriter(store, {}, root=root, state_dir=keys_dir / "seen", now=lambda: now).state().trust
    _change(store, keys_dir, trust, Edits(renew=roles), root, now)


def _old(named: set[str], role: str, keyid: str | None) -> str:
    found = [name for name in named if keyid is None or name.startswith(keyid)]
    if len(found) != 1:
        there = ", ".join(sorted(named))
        raise InvalidInput(f"which key of {role} shall go? Name one by --replace: {there}")
    return found[0]


def _change(  # noqa: PLR0913, PLR0917 - the facts of one change
    store: Store,
    keys_dir: Path,
    trust: Trust,
    edits: Edits,
    root: bytes,
    now: datetime,
    *,
    pending: Path | None = None,
) -> tuple[str, ...]:
    signers = load_signers(keys_dir, (), optional=ROLES)
    change, _ = draft(store, trust, edits, now).signed_by(signers)
    lacking = change.lacking()
    if lacking:
        raise Refused(
            f"the keys in {keys_dir} are not enough ({'; '.join(lacking)}): draft the change with "
            "'venvoy keys draft', have it signed where they are, and apply it"
        )
    if pending is not None:
        write_atomically(pending, change.to_json())
    done = apply_change(store, change, signers, root=root, state_dir=keys_dir / "seen", now=now)
    if pending is not None:
        pending.unlink()
    return done.signed_again


def _retire(keys_dir: Path, role: str, counting: set[str]) -> None:
    """Put away the keys of *role* that no longer count, and give the new one the plain name."""
    with exclusive_keys(keys_dir):
        for path in key_files(keys_dir).get(role, []):
            try:
                keyid = load_key(path).public_key.keyid if path.suffix == ".pem" else None
            except VenvoyError:
                continue  # what cannot be read is left where it is
            if keyid is not None and keyid not in counting:
                retired = private_directory(keys_dir / _RETIRED, tighten=True)
                path.rename(retired / f"{role}-{keyid[:12]}.pem")
                sync_directory(retired)
        new, plain = key_path(keys_dir, role, _NEXT), key_path(keys_dir, role)
        if new.exists() and not plain.exists():
            new.rename(plain)
        elif new.exists():
            new.rename(key_path(keys_dir, role, load_key(new).public_key.keyid[:12]))
        sync_directory(keys_dir)
