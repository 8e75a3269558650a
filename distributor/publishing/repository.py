"""The publishing side of a store: add artifacts and pins to what is signed there.

Payload first, metadata after it, the timestamp very last and by compare and swap: a reader sees the
old state or the new, and of two publishers the slower starts over from the faster one's result.
Nothing is appended to a state that does not verify: a tampered store is refused, not re-signed.
"""

from __future__ import annotations

import copy
import random
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypeVar

from distributor.places import read_root
from distributor.publishing.built_files import BuiltFiles
from distributor.publishing.companions import store_companions
from distributor.publishing.contents import store_contents, with_contents
from distributor.publishing.frozen_store import FrozenStore
from distributor.publishing.initialisation import ROOT_FILE, initialise
from distributor.publishing.keys import load_signers
from distributor.publishing.payload import store_artifact, store_document, store_patches, target_of
from distributor.trust.roles import MAX_TIMESTAMP_BYTES, TIMESTAMP, expiry, meta_file, metadata_path, sign
from distributor.trust.trust import ARTIFACTS, RELEASES, Trust
from distributor.trust.tuf_api import Root, Snapshot, Targets, Timestamp
from manifests.artifact import Artifact
from manifests.documents import Sha256
from manifests.errors import InvalidInput, Locked, NotFound, Refused, StoreUnavailable, VerificationFailed
from manifests.pins import Pin, ReleasePins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from distributor.publishing.patch_making import MadePatches
    from distributor.stores.interface import Store
    from distributor.trust.tuf_api import Signed, Signer, TargetFile

__all__ = [
    "PIN_ROLES",
    "PUBLISH_ROLES",
    "BuiltFiles",
    "PublishResult",
    "Repository",
    "initialise",
    "open_repository",
]

PUBLISH_ROLES = ("artifacts", "snapshot", "timestamp")
PIN_ROLES = ("releases", "snapshot", "timestamp")
RENEW_ROLES = ("snapshot", "timestamp")
_Kind = TypeVar("_Kind", Root, Snapshot, Targets, Timestamp)
_ATTEMPTS = 50
_FREE_VERSIONS = 1000


@dataclass(frozen=True, kw_only=True)
class PublishResult:
    """Manifests by store path: newly signed, and signed before with the same bytes."""

    published: tuple[str, ...]
    unchanged: tuple[str, ...]


def open_repository(store: Store, keys_dir: Path, roles: Sequence[str]) -> Repository:
    """Return the repository of *store* with the keys of *roles* and the root in *keys_dir*.

    What was seen of the store is remembered in ``seen`` there, so that a rolled back store is noticed.
    """
    signers = load_signers(keys_dir, roles)
    return Repository(store, signers, root=read_root(keys_dir / ROOT_FILE), state_dir=keys_dir / "seen")


class Repository:
    """A signed store, for whoever holds keys of it. *signers* are by role; *root* is the trust in it."""

    def __init__(
        self,
        store: Store,
        signers: Mapping[str, Signer],
        *,
        root: bytes,
        state_dir: Path,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._store = store
        self._signers = signers
        self._root = root
        self._state_dir = state_dir
        self._now = now

    @property
    def trust(self) -> Trust:
        """The verified present state."""
        return self._state().trust

    def publish(self, artifacts: Sequence[BuiltFiles], patches: Sequence[MadePatches] = ()) -> PublishResult:
        """Store and sign *artifacts*, and *patches* to them. The same bytes again change nothing.

        Raises Refused for other bytes under a published name, VerificationFailed where a file is not
        what its manifest says or the store's state does not verify; then nothing of it is visible.
        """
        trust = self._state().trust
        stored = {
            built.artifact.manifest_path: store_artifact(self._store, trust, built) for built in artifacts
        }
        stored |= store_companions(self._store, trust, artifacts, self._signer(ARTIFACTS))
        stored |= {made.document.document_path: store_patches(self._store, made) for made in patches}
        added = self._sign(ARTIFACTS, stored)
        return PublishResult(published=added, unchanged=tuple(sorted(set(stored) - set(added))))

    def pins_for(self, items: Sequence[Artifact | str]) -> list[Pin]:
        """Return a pin for each published artifact of *items*: artifacts, or stems that name them.

        Raises NotFound for what is not published, Refused where other bytes are published under the
        name of an artifact here.
        """
        trust = self._state().trust
        signed = trust.entries(ARTIFACTS)
        pins = []
        for item in items:
            path = _manifest_path(item, signed, self._store.location)
            artifact = trust.published(path)
            if isinstance(item, Artifact) and artifact.to_json() != item.to_json():
                raise Refused(f"{path} is published with another content than the one here; pin it by name")
            pins.append(_pin(artifact, signed[path]))
        return pins

    def pin(self, release: str, pins: Sequence[Pin]) -> ReleasePins:
        """Sign *pins* as *release*. The same pins again change nothing.

        Raises Refused where the release is pinned to something else, NotFound for a pin of something
        that builders did not sign.
        """
        document = ReleasePins(release=release, pins=tuple(pins))
        if len({(pin.service, pin.target) for pin in pins}) != len(pins):
            raise InvalidInput(
                f"release {release}: two artifacts for one service and target; name one of them"
            )
        if not pins:
            raise InvalidInput(f"release {release}: nothing to pin is named")
        trust = self._state().trust
        for pin in pins:
            entry = trust.entries(ARTIFACTS).get(pin.manifest)
            if entry is None or (entry.length, entry.hashes.get("sha256")) != (pin.length, pin.sha256):
                raise NotFound(f"{pin.manifest} is not published like that; run 'venvoy publish' first")
        document, contents = with_contents(trust, document)
        data = document.to_json()
        target = target_of(document.path, data)
        self._refuse_changes({document.path: target}, trust.entries(RELEASES))
        store_contents(self._store, document, contents)
        store_document(self._store, document.path, data)
        self._sign(RELEASES, {document.path: target})
        return document

    def releases(self) -> list[ReleasePins]:
        """Return all signed releases, by name."""
        trust = self._state().trust
        return [trust.pins(name) for name in trust.releases()]

    def renew(self) -> None:
        """Sign the present state again, for another term of snapshot and timestamp."""
        self._swap(lambda _: {}, role=None)

    def _sign(self, role: str, targets: Mapping[str, TargetFile]) -> tuple[str, ...]:
        """Add *targets* to *role*; return the paths that were not there before."""

        def missing(signed: Mapping[str, TargetFile]) -> dict[str, TargetFile]:
            self._refuse_changes(targets, signed)
            return {path: target for path, target in targets.items() if path not in signed}

        return tuple(sorted(self._swap(missing, role=role)))

    def _refuse_changes(self, ours: Mapping[str, TargetFile], signed: Mapping[str, TargetFile]) -> None:
        for path, target in ours.items():
            theirs = signed.get(path)
            if theirs is not None and (theirs.length, theirs.hashes) != (target.length, target.hashes):
                raise Refused(
                    f"{path} is published in {self._store.location} with other content; published names "
                    "are never reused: choose another one"
                )

    def _swap(
        self, missing: Callable[[Mapping[str, TargetFile]], dict[str, TargetFile]], *, role: str | None
    ) -> dict[str, TargetFile]:
        """Write new metadata on top of the present state until nobody else was faster."""
        for attempt in range(_ATTEMPTS):
            state = self._state()
            additions = missing(state.trust.entries(role)) if role is not None else {}
            if role is not None and not additions:
                return additions
            timestamp = self._write_metadata(state, role, additions)
            if self._store.replace_if_unchanged(TIMESTAMP, timestamp, state.version):
                # Read it back as a host would, and remember it.
                self._state()
                return additions
            time.sleep(random.uniform(0, 0.02 * min(attempt + 1, 10)))  # noqa: S311 - only spreads retries
        raise Locked(f"other publishers to {self._store.location} were faster {_ATTEMPTS} times; try again")

    def _write_metadata(self, state: _State, role: str | None, additions: Mapping[str, TargetFile]) -> bytes:
        """Write *role* with *additions* and a snapshot of it; return the timestamp that shows them."""
        now = self._now()
        root = _expect(state.trust.signed("root"), Root)
        snapshot = copy.deepcopy(_expect(state.trust.signed("snapshot"), Snapshot))
        if role is not None:
            targets = copy.deepcopy(_expect(state.trust.signed(role), Targets))
            targets.targets.update(additions)
            targets.expires = expiry(role, now)
            delegator = _expect(state.trust.signed("targets"), Targets)
            data = self._write_next(role, targets, delegator)
            snapshot.meta[f"{role}.json"] = meta_file(targets.version, data)
        snapshot.expires = expiry("snapshot", now)
        data = self._write_next("snapshot", snapshot, root)
        timestamp = copy.deepcopy(_expect(state.trust.signed("timestamp"), Timestamp))
        timestamp.version += 1
        timestamp.expires = expiry("timestamp", now)
        timestamp.snapshot_meta = meta_file(snapshot.version, data)
        return sign("timestamp", timestamp, self._signer("timestamp"), root)

    def _write_next(self, role: str, signed: Signed, delegator: Root | Targets) -> bytes:
        """Sign and store the next version of *role* that nobody took, be it a loser or a dead writer."""
        for _ in range(_FREE_VERSIONS):
            signed.version += 1
            data = sign(role, signed, self._signer(role), delegator)
            if self._store.write_if_absent(metadata_path(role, signed.version), data):
                return data
        raise StoreUnavailable(
            f"{self._store.location} holds {_FREE_VERSIONS} unused versions of {role}; remove those above "
            f"{signed.version - _FREE_VERSIONS}"
        )

    def _signer(self, role: str) -> Signer:
        try:
            return self._signers[role]
        except KeyError:
            raise NotFound(f"the key of role {role} is needed and was not loaded") from None

    def _state(self) -> _State:
        """Return the verified present state, and the token of the very timestamp that was verified.

        Expiry is not asked for: publishing is what ends it.
        """
        for attempt in range(_ATTEMPTS):
            found = self._store.read_versioned(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES)
            if found is None:
                raise NotFound(f"{self._store.location} is not a signed store; 'venvoy init' makes one")
            data, version = found
            trust = Trust(FrozenStore(self._store, data), self._state_dir, self._root, check_expiry=False)
            try:
                trust.refresh()
            except VerificationFailed:
                # A publisher next to us may have remembered a newer state than the one just read.
                present = self._store.read_versioned(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES)
                if attempt + 1 < _ATTEMPTS and present is not None and present[1] != version:
                    continue
                raise
            return _State(trust=trust, version=version)
        raise Locked(f"{self._store.location} changes all the time; try again")


@dataclass(frozen=True, kw_only=True)
class _State:
    trust: Trust
    version: str


def _pin(artifact: Artifact, signed: TargetFile) -> Pin:
    return Pin(
        service=artifact.service,
        target=str(artifact.target),
        version=artifact.version,
        manifest=signed.path,
        length=signed.length,
        sha256=Sha256(signed.hashes["sha256"]),
    )


def _manifest_path(item: Artifact | str, signed: Mapping[str, TargetFile], location: str) -> str:
    """Return the store path of the published manifest that *item* is or names."""
    if isinstance(item, Artifact):
        paths = [item.manifest_path] if item.manifest_path in signed else []
        item = item.stem
    else:
        paths = [path for path in signed if path.rpartition("/")[2] == f"{item}.json.gz"]
    if len(paths) != 1:
        raise NotFound(f"{item} is not published in {location}; run 'venvoy publish' first")
    return paths[0]


def _expect(signed: Signed, kind: type[_Kind]) -> _Kind:
    if not isinstance(signed, kind):
        raise TypeError(f"expected metadata of kind {kind.__name__}, found {type(signed).__name__}")
    return signed
