"""What a host may believe of a store: releases, their pins, and the manifests that pins name.

A manifest counts only if release managers pinned it and builders signed it: a stolen builder key
pins nothing, and a pin of something unsigned by builders is refused.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from distributor.bundles.store import BundleStore
from distributor.places import private_directory
from distributor.trust.gzipped import decompress
from distributor.trust.remembered import RememberedStore
from distributor.trust.signed_entries import SignedEntries
from distributor.trust.tuf_api import Snapshot
from distributor.trust.tuf_client import NO_EXPIRY, TufClient
from distributor.trust.updater import Bins
from manifests import BUILT
from manifests.artifact import Artifact
from manifests.documents import Sha256, sha256_bytes
from manifests.errors import NotFound, VerificationFailed
from manifests.patches import PatchSet, leads_to, patch_document_path
from manifests.pins import ReleasePins, pins_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from distributor.stores.interface import ReadStore
    from distributor.trust.tuf_api import Signed, TargetFile, Targets
    from manifests.pins import Pin

ARTIFACTS = "artifacts"
RELEASES = "releases"
_LOAD = (ARTIFACTS, RELEASES)


class Trust:
    """The verified view of *store*, anchored in the bytes of *root* and nothing else.

    *state_dir* remembers, privately and for each store, what was seen, so that nothing older is
    accepted later. *now* replaces the clock; without *check_expiry* freshness is not asked for.
    Every method raises VerificationFailed, NotFound, StoreUnavailable, Locked, or HostUnsuitable where a
    local file cannot be used, and no other.
    """

    def __init__(
        self,
        store: ReadStore,
        state_dir: Path,
        root: bytes,
        *,
        now: datetime | None = None,
        check_expiry: bool = True,
    ) -> None:
        self._store = store
        bins = Bins.PARTIAL if isinstance(store, BundleStore) else Bins.SPARSE
        if isinstance(store, RememberedStore):
            bins = Bins.REMEMBERED
        self.directory = private_directory(state_dir / _directory_name(store.location), tighten=True)
        self._clock = now if check_expiry else NO_EXPIRY
        self._client = TufClient(store, self.directory, root, clock=self._clock, remember=True, bins=bins)

    @classmethod
    def remembered(cls, location: str, state_dir: Path, root: bytes) -> Trust:
        """Return the view of the store at *location* that this host verified last: not fresh, not younger."""
        return cls(
            RememberedStore(location, state_dir / _directory_name(location)),
            state_dir,
            root,
            check_expiry=False,
        )

    def refresh(self) -> None:
        """Fetch and verify the store's present state. Comes before everything else, once."""
        if self._clock is None:
            _check_clock()
        self._client.refresh(load=_LOAD)

    def releases(self) -> list[str]:
        """Return the names of all signed releases, sorted."""
        paths = self._client.targets_of(RELEASES)
        return sorted(
            path.removeprefix("pins/").removesuffix(".json") for path in paths if path.startswith("pins/")
        )

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*. Raises NotFound naming what there is."""
        path = pins_path(release)
        target = self._client.find(path)
        if target is None:
            names = ", ".join(self.releases()[-10:]) or "none"
            raise NotFound(
                f"release {release} is not signed in {self._store.location}; the last ones: {names}"
            )
        pins = ReleasePins.from_json(self._client.read(target), what=path)
        if pins.release != release:
            raise VerificationFailed(f"{path} in {self._store.location} holds pins of {pins.release}")
        return pins

    def manifest(self, pin: Pin) -> Artifact:
        """Return the manifest that *pin* names, signed by builders with the pin's digest."""
        target = self.entries(ARTIFACTS).get(pin.manifest)
        if target is None:
            raise VerificationFailed(
                f"{pin.manifest} is pinned, but no builder signed it in {self._store.location}; "
                "publish it, or pin what is published"
            )
        if (target.length, target.hashes.get("sha256")) != (pin.length, pin.sha256):
            raise VerificationFailed(
                f"{pin.manifest}: pins and builders name different bytes in {self._store.location}"
            )
        return self._artifact(target, pin)

    def published(self, path: str) -> Artifact:
        """Return the manifest that builders signed at *path*, pinned or not."""
        target = self.entries(ARTIFACTS).get(path)
        if target is None:
            raise NotFound(f"{path} is not published in {self._store.location}")
        return self._artifact(target, None)

    def patch_sets(self, artifact: Artifact, bases: Iterable[Sha256]) -> list[PatchSet]:
        """Return the signed patches to *artifact* from artifacts of the identities *bases*."""
        paths = {base: patch_document_path(artifact.service, artifact.stem, base) for base in bases}
        targets = self._client.find_all(paths.values())
        found = []
        for base, path in paths.items():
            target = targets.get(path)
            if target is None:
                continue
            plain = decompress(self._client.read(target), what=f"{path} in {self._store.location}")
            patches = PatchSet.from_json(plain, what=path)
            if leads_to(patches, artifact) and patches.base == base:
                found.append(patches)
        return found

    @property
    def location(self) -> str:
        """Where the store is, for messages."""
        return self._store.location

    def read(self, target: TargetFile, *, keep: bool = True) -> bytes:
        """Return the bytes of *target*, which something verified names. Raises as ``document`` does.

        Without *keep* they are not remembered here.
        """
        return self._client.read(target, keep=keep)

    def document(self, path: str) -> bytes:
        """Return the verified bytes of what is signed at *path*. Raises NotFound where nothing is."""
        target = self._client.find(path)
        if target is None:
            raise NotFound(f"{path} is not signed in {self._store.location}")
        return self._client.read(target)

    def entries(self, role: str) -> Mapping[str, TargetFile]:
        """Return all that *role* (``artifacts`` or ``releases``) signs, by path.

        Asking for a path reads the little metadata that answers for it; counting or iterating reads all.
        """
        return SignedEntries(self._client, role)

    def find_all(self, paths: Iterable[str]) -> dict[str, TargetFile]:
        """Return what is signed of *paths*, whoever signs it; many at once are cheaper than one by one."""
        return self._client.find_all(paths)

    def signed(self, role: str) -> Signed:
        """Return the trusted metadata of *role*, for whoever appends to it."""
        return self._client.signed(role)

    def bins(self, role: str) -> dict[str, Targets]:
        """Return the metadata of all bins of *role* that sign something, by name."""
        return self._client.bins(role)

    def versions(self) -> dict[str, int]:
        """Return the versions of snapshot and of all that it names: the signed state but its timestamp."""
        snapshot = self._client.signed("snapshot")
        if not isinstance(snapshot, Snapshot):
            raise TypeError("snapshot is none")
        named = {name.removesuffix(".json"): meta.version for name, meta in sorted(snapshot.meta.items())}
        return {"snapshot": snapshot.version, **named}

    def loaded(self, role: str) -> Signed:
        """Return the trusted metadata of *role*, which root or targets name, read if it was not yet."""
        return self._client.loaded(role)

    def responsible(self, path: str) -> tuple[str, Targets, str]:
        """Return the role that signs *path*, its metadata (version 0: none yet), and its delegator."""
        return self._client.responsible(path)

    def _artifact(self, target: TargetFile, pin: Pin | None) -> Artifact:
        path = target.path
        plain = decompress(self._client.read(target), what=f"{path} in {self._store.location}")
        artifact = Artifact.from_json(plain, what=path)
        if artifact.manifest_path != path or (
            pin is not None
            and (pin.service, pin.target, pin.version)
            != (artifact.service, str(artifact.target), artifact.version)
        ):
            raise VerificationFailed(
                f"{path} in {self._store.location} describes {artifact.service} {artifact.version} "
                f"for {artifact.target}, which is not what was asked for"
            )
        return artifact


def _directory_name(location: str) -> str:
    return sha256_bytes(location.encode())[:16]


def _check_clock() -> None:
    """Refuse a clock that must be wrong: one that is behind takes expired metadata for fresh."""
    now = datetime.now(timezone.utc)
    if now < datetime.fromisoformat(BUILT):
        raise VerificationFailed(
            f"this host's clock says {now:%Y-%m-%d %H:%M:%S UTC}, but this Venvoy was built on {BUILT[:10]}: "
            "set the clock, since freshness is judged by it"
        )
