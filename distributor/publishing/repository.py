"""The publishing side of a store: add artifacts and pins to what is signed there.

Payload first, metadata after it, the timestamp very last and by compare and swap: a reader sees the
old state or the new, and of two publishers the slower starts over from the faster one's result.
Nothing is appended to a state that does not verify: a tampered store is refused, not re-signed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from distributor.places import read_root
from distributor.publishing.built_files import BuiltFiles
from distributor.publishing.companions import store_companions
from distributor.publishing.contents import store_contents, with_contents
from distributor.publishing.initialisation import ROOT_FILE, initialise
from distributor.publishing.keys import load_signers
from distributor.publishing.metadata_writer import Change, MetadataWriter, expect
from distributor.publishing.payload import store_artifacts, store_document, store_patches, target_of
from distributor.publishing.prune_record import PrunedMeanwhile, expect_generation, settled_generation
from distributor.trust.roles import bin_delegations, is_bin
from distributor.trust.trust import Trust
from distributor.trust.tuf_api import Targets
from distributor.trust.updater import empty_bin
from manifests.artifact import Artifact
from manifests.documents import Sha256
from manifests.errors import InvalidInput, NotFound, Refused
from manifests.naming import artifact_directory
from manifests.pins import Pin, ReleasePins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from distributor.publishing.metadata_writer import Changes
    from distributor.publishing.patch_making import MadePatches
    from distributor.stores.interface import Store
    from distributor.trust.tuf_api import Signer, TargetFile

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


@dataclass(frozen=True, kw_only=True)
class PublishResult:
    """Manifests by store path: newly signed, and signed before with the same bytes."""

    published: tuple[str, ...]
    unchanged: tuple[str, ...]


def open_repository(
    store: Store, keys_dir: Path, roles: Sequence[str], *, optional: Sequence[str] = ()
) -> Repository:
    """Return the repository of *store* with the keys of *roles* and the root in *keys_dir*.

    Those of *optional* roles come along where they are there.

    What was seen of the store is remembered in ``seen`` there, so that a rolled back store is noticed.
    """
    signers = load_signers(keys_dir, roles, optional=optional)
    return Repository(store, signers, root=read_root(keys_dir / ROOT_FILE), state_dir=keys_dir / "seen")


class Repository:
    """A signed *store*, for whoever holds keys of it. *signers* are by role; *root* is the trust in it."""

    def __init__(
        self,
        store: Store,
        signers: Mapping[str, Sequence[Signer]],
        *,
        root: bytes,
        state_dir: Path,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.store = store
        self.writer = MetadataWriter(store, signers, root=root, state_dir=state_dir, now=now)

    @property
    def trust(self) -> Trust:
        """The verified present state."""
        return self.writer.state().trust

    def publish(
        self,
        artifacts: Sequence[BuiltFiles],
        patches: Sequence[MadePatches] = (),
        *,
        jobs: int = 1,
        moved: Callable[[int], None] = lambda _: None,
    ) -> PublishResult:
        """Store and sign *artifacts*, and *patches* to them. The same bytes again change nothing.

        *jobs* artifacts are uploaded at a time; *moved* is told of the bytes.

        Raises Refused for other bytes under a published name, VerificationFailed where a file is not
        what its manifest says or the store's state does not verify; then nothing of it is visible.
        """
        for last in (False, False, True):
            generation = settled_generation(self.store)
            stored = self._store(artifacts, patches, jobs, moved)
            try:
                added = self._sign(stored, lambda _, seen=generation: expect_generation(self.store, seen))  # type: ignore[misc]
            except PrunedMeanwhile:
                if last:
                    raise
            else:
                break
        return PublishResult(published=added, unchanged=tuple(sorted(set(stored) - set(added))))

    def _store(
        self,
        artifacts: Sequence[BuiltFiles],
        patches: Sequence[MadePatches],
        jobs: int,
        moved: Callable[[int], None],
    ) -> dict[str, TargetFile]:
        """Bring all files into the store, and return what is to be signed, by path."""
        trust = self.trust
        stored = store_artifacts(self.store, trust, artifacts, jobs=jobs, moved=moved)
        stored |= store_companions(
            self.store, trust, artifacts, lambda path: self.writer.signers(trust.responsible(path)[0])[0]
        )
        return stored | {made.document.document_path: store_patches(self.store, made) for made in patches}

    def pins_for(self, items: Sequence[Artifact | str]) -> list[Pin]:
        """Return a pin for each published artifact of *items*: artifacts, or stems that name them.

        Raises NotFound for what is not published, Refused where other bytes are published under the
        name of an artifact here.
        """
        trust = self.trust
        signed = trust.find_all(path for item in items for path in _manifest_paths(item))
        pins = []
        for item in items:
            paths = [path for path in _manifest_paths(item) if path in signed]
            if len(paths) != 1:
                name = item.stem if isinstance(item, Artifact) else item
                raise NotFound(
                    f"{name} is not published in {self.store.location}; run 'venvoy publish' first"
                )
            path = paths[0]
            artifact = trust.published(path)
            if isinstance(item, Artifact) and artifact.to_json() != item.to_json():
                raise Refused(f"{path} is published with another content than the one here; pin it by name")
            pins.append(_pin(artifact, signed[path]))
        return pins

    def pin(self, release: str, pins: Sequence[Pin], *, dry_run: bool = False) -> ReleasePins:
        """Sign *pins* as *release*; with *dry_run* only find out whether that can be done.

        The same pins again change nothing.

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
        trust = self.trust
        _expect_published(trust, pins)
        document, contents = with_contents(trust, document)
        data = document.to_json()
        target = target_of(document.path, data)
        self._refuse_changes({document.path: target}, trust.find_all([document.path]))
        if dry_run:
            return document
        store_contents(self.store, document, contents)
        store_document(self.store, document.path, data)
        # Again at the last moment: what nobody has pinned may be pruned.
        self._sign({document.path: target}, lambda trust: _expect_published(trust, pins))
        return document

    def releases(self) -> list[ReleasePins]:
        """Return all signed releases, by name."""
        trust = self.trust
        return [trust.pins(name) for name in trust.releases()]

    def renew(self) -> tuple[str, ...]:
        """Sign the present state again, for another term of snapshot and timestamp.

        Delegated roles and bins in the last third of their lives are signed again as well, where their keys
        are at hand; returns which.
        """
        renewed: list[str] = []

        def changes(trust: Trust) -> Changes:
            delegations = expect(trust.signed(Targets.type), Targets).delegations
            found: Changes = {}
            for role in (delegations.roles or ()) if delegations is not None else ():
                if self.writer.may_sign(role):
                    for name, body in (trust.bins(role) | {role: trust.loaded(role)}).items():
                        if self.writer.due(trust, name):
                            delegator = role if is_bin(name) else Targets.type
                            again = copy.deepcopy(expect(body, Targets))
                            found[name] = Change(body=again, delegator=delegator)
            renewed[:] = found
            return found

        self.writer.swap(changes)
        return tuple(renewed)

    def _sign(self, targets: Mapping[str, TargetFile], check: Callable[[Trust], None]) -> tuple[str, ...]:
        """Add *targets* to what is signed; return the paths that were not there before.

        *check* gets each state that is to be changed, and raises where that must not be.
        """
        added: list[str] = []

        def changes(trust: Trust) -> Changes | None:
            check(trust)
            signed = trust.find_all(targets)
            self._refuse_changes(targets, signed)
            added[:] = sorted(set(targets) - set(signed))
            return self._additions(trust, {path: targets[path] for path in added}) if added else None

        self.writer.swap(changes)
        return tuple(added)

    def _additions(self, trust: Trust, additions: Mapping[str, TargetFile]) -> Changes:
        """Return what signs *additions* too: the roles or bins that answer for their paths."""
        changes: Changes = {}
        parents: Changes = {}
        for path, target in additions.items():
            role, body, delegator = trust.responsible(path)
            bins = (
                bin_delegations(role, expect(trust.signed(delegator), Targets)) if not is_bin(role) else None
            )
            if bins is not None and bins.succinct_roles is not None:
                # A store from before there were bins: what it signs stays, what is added goes into bins.
                parent = parents.setdefault(role, Change(body=copy.deepcopy(body), delegator=delegator))
                parent.body.delegations = bins
                role, body, delegator = bins.succinct_roles.get_role_for_target(path), empty_bin(), role
            elif is_bin(role) and self.writer.due(trust, delegator) and delegator not in parents:
                again = copy.deepcopy(expect(trust.signed(delegator), Targets))
                parents[delegator] = Change(body=again, delegator=Targets.type)
            change = changes.setdefault(role, Change(body=copy.deepcopy(body), delegator=delegator))
            change.body.targets[path] = target
        return changes | parents

    def _refuse_changes(self, ours: Mapping[str, TargetFile], signed: Mapping[str, TargetFile]) -> None:
        for path, target in ours.items():
            theirs = signed.get(path)
            if theirs is not None and (theirs.length, theirs.hashes) != (target.length, target.hashes):
                raise Refused(
                    f"{path} is published in {self.store.location} with other content; published names "
                    "are never reused: choose another one"
                )


def _expect_published(trust: Trust, pins: Sequence[Pin]) -> None:
    """Raise NotFound unless builders signed all that *pins* name, just so."""
    signed = trust.find_all(pin.manifest for pin in pins)
    for pin in pins:
        entry = signed.get(pin.manifest)
        if entry is None or (entry.length, entry.hashes.get("sha256")) != (pin.length, pin.sha256):
            raise NotFound(f"{pin.manifest} is not published like that; run 'venvoy publish' first")


def _pin(artifact: Artifact, signed: TargetFile) -> Pin:
    return Pin(
        service=artifact.service,
        target=str(artifact.target),
        version=artifact.version,
        manifest=signed.path,
        length=signed.length,
        sha256=Sha256(signed.hashes["sha256"]),
    )


def _manifest_paths(item: Artifact | str) -> list[str]:
    """Return where the manifest of *item* may lie: a label does not say where its service's name ends."""
    if isinstance(item, Artifact):
        return [item.manifest_path]
    parts = item.split("-")
    names = ("-".join(parts[:count]) for count in range(1, len(parts)))
    return [f"{artifact_directory(name)}/{item}.json.gz" for name in names if name]
