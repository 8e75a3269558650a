"""Signed metadata of a store, replaced as a whole: read what is there, verify it, write what follows it.

New metadata lies beside the old under the next free version; the timestamp, which shows it, comes very
last and by compare and swap. Nothing is written on top of a state that does not verify.
"""

from __future__ import annotations

import contextlib
import copy
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from distributor.publishing.frozen_store import FrozenStore
from distributor.stores.bulk import in_bulk
from distributor.trust.roles import (
    MAX_TIMESTAMP_BYTES,
    TIMESTAMP,
    expiry,
    is_due,
    meta_file,
    metadata_path,
    sign,
    signer_of,
)
from distributor.trust.trust import Trust
from distributor.trust.tuf_api import Metadata, Root, Snapshot, Targets, Timestamp
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import Locked, NotFound, Refused, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from distributor.stores.interface import Store
    from distributor.trust.tuf_api import Signed, Signer

_Kind = TypeVar("_Kind", Root, Snapshot, Targets, Timestamp)
_ATTEMPTS = 50
_FREE_VERSIONS = 1000
_MANY = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A verified state, and the token of the very timestamp that was verified."""

    trust: Trust
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """New content of one role: *body*, with the version that it follows, and who delegates to it.

    Where it was *signed* elsewhere, *body* has its own version already, and these bytes are written.
    """

    body: Targets
    delegator: str
    signed: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What was signed elsewhere, by the keys of root and targets, and follows what is there."""

    root: Metadata[Root] | None = None
    targets: Metadata[Targets] | None = None


Changes = dict[str, "Change"]
"""By role. What delegates to another role of the same change comes after it."""

_NOTHING = Given()


class MetadataWriter:
    """Writes the metadata of *store* with *signers*, by role; *root* is the trust in what is there.

    What is *hidden* of the store is not there for it.
    """

    def __init__(  # noqa: PLR0913 - a store, the keys, what is trusted and remembered, and when
        self,
        store: Store,
        signers: Mapping[str, Sequence[Signer]],
        *,
        root: bytes,
        state_dir: Path,
        now: Callable[[], datetime],
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self._store = store
        self._signers = signers
        self._root = root
        self._state_dir = state_dir
        self._now = now
        self._hidden = hidden

    def state(self) -> State:
        """Return the verified present state. Expiry is not asked for: publishing is what ends it.

        Raises NotFound where there is no signed store, VerificationFailed, StoreUnavailable, Locked.
        """
        for attempt in range(_ATTEMPTS):
            found = self._store.read_versioned(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES)
            if found is None:
                raise NotFound(f"{self._store.location} is not a signed store; 'venvoy init' makes one")
            data, version = found
            trust = Trust(
                FrozenStore(self._store, data, self._hidden), self._state_dir, self._root, check_expiry=False
            )
            try:
                trust.refresh()
            except VerificationFailed:
                # A publisher next to us may have remembered a newer state than the one just read.
                present = self._store.read_versioned(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES)
                if attempt + 1 < _ATTEMPTS and present is not None and present[1] != version:
                    continue
                raise
            return State(trust=trust, version=version)
        raise Locked(f"{self._store.location} changes all the time; try again")

    def swap(self, changes: Callable[[Trust], Changes | None]) -> bool:
        """Write the *changes* to the present state, starting over until nobody else was faster.

        *changes* gets the trust in that state. Where it returns None nothing is written, and False returned.
        """
        for attempt in range(_ATTEMPTS):
            state = self.state()
            wanted = changes(state.trust)
            if wanted is None:
                return False
            timestamp = self.write(state.trust, wanted)
            if self._store.replace_if_unchanged(TIMESTAMP, timestamp, state.version):
                # Read it back as a host would, and remember it.
                self.state()
                return True
            time.sleep(random.uniform(0, 0.02 * min(attempt + 1, 10)))  # noqa: S311 - only spreads retries
        raise Locked(f"other publishers to {self._store.location} were faster {_ATTEMPTS} times; try again")

    def signers(self, role: str) -> Sequence[Signer]:
        """Return the keys at hand that sign *role*. Raises NotFound where none was loaded."""
        signers = self._signers.get(signer_of(role))
        if not signers:
            raise NotFound(f"the key of role {signer_of(role)} is needed and was not loaded")
        return signers

    def may_sign(self, role: str) -> bool:
        """Say whether keys of *role* are at hand."""
        return bool(self._signers.get(signer_of(role)))

    def due(self, trust: Trust, role: str) -> bool:
        """Say whether *role* should be signed anew, being in the last third of its life."""
        return is_due(role, trust.signed(role).expires, self._now())

    def write(self, trust: Trust, changes: Changes, given: Given = _NOTHING) -> bytes:
        """Write *changes* to the state of *trust*, and a snapshot of them.

        Returns the timestamp that shows them. A root of *given* counts already, but is not written.
        """
        now = self._now()
        root = old_root = expect(trust.signed("root"), Root)
        targets = expect(trust.signed("targets"), Targets)
        if given.root is not None:
            root = given.root.signed
        if given.targets is not None:
            targets = given.targets.signed
        snapshot = copy.deepcopy(expect(trust.signed("snapshot"), Snapshot))
        with self._together(len(changes)):
            for role, change in changes.items():
                changed = changes.get(change.delegator)
                delegator = changed.body if changed else targets
                if changed is None and change.delegator != Targets.type:
                    delegator = expect(trust.signed(change.delegator), Targets)
                if change.signed is None:
                    change.body.expires = expiry(role, now)
                    data = self._write_next(role, change.body, delegator)
                else:
                    data = change.signed
                    self.write_given(metadata_path(role, change.body.version), data)
                snapshot.meta[f"{role}.json"] = meta_file(change.body.version, data, role=role)
        if given.targets is not None:
            data = given.targets.to_bytes()
            self.write_given(metadata_path("targets", targets.version), data)
            snapshot.meta["targets.json"] = meta_file(targets.version, data)
        snapshot.expires = expiry("snapshot", now)
        data = self._write_next("snapshot", snapshot, root, old_root)
        timestamp = copy.deepcopy(expect(trust.signed("timestamp"), Timestamp))
        timestamp.version += 1
        timestamp.expires = expiry("timestamp", now)
        timestamp.snapshot_meta = meta_file(snapshot.version, data)
        return sign("timestamp", timestamp, self.signers("timestamp"), root, old_root)

    def _together(self, count: int) -> contextlib.AbstractContextManager[None]:
        """Return a block at whose end *count* pieces of metadata are on disk: many at once, few one by one.

        Nothing names them before. An empty one that a power cut leaves is a version that is taken.
        """
        return in_bulk(self._store) if count >= _MANY else contextlib.nullcontext()

    def write_given(self, path: str, data: bytes) -> None:
        """Store what was signed elsewhere at *path*. Raises Refused where something else is there."""
        if not self._store.write_if_absent(path, data):
            if self._store.read(path, limit=MAX_DOCUMENT_BYTES) == data:
                return
            raise Refused(f"{path} is in {self._store.location} with other content: draft the change again")

    def _write_next(
        self, role: str, signed: Signed, delegator: Root | Targets, before: Root | None = None
    ) -> bytes:
        """Sign and store the next version of *role* that nobody took, be it a loser or a dead writer."""
        for _ in range(_FREE_VERSIONS):
            signed.version += 1
            data = sign(role, signed, self.signers(role), delegator, before)
            if self._store.write_if_absent(metadata_path(role, signed.version), data):
                return data
        raise StoreUnavailable(
            f"{self._store.location} holds {_FREE_VERSIONS} unused versions of {role}; remove those above "
            f"{signed.version - _FREE_VERSIONS}"
        )


def expect(signed: Signed, kind: type[_Kind]) -> _Kind:
    """Return *signed*, which is metadata of *kind*."""
    if not isinstance(signed, kind):
        raise TypeError(f"expected metadata of kind {kind.__name__}, found {type(signed).__name__}")
    return signed
