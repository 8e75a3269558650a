"""Releases out of a store, believed only through its signed metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from manifests.artifact import Artifact, Layer
from manifests.pins import Pin, ReleasePins

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from distributor.trust import Trust
    from manifests.errors import VenvoyError


class ReleaseSource(Protocol):
    """Verified releases and the bytes of their artifacts."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know of how the answers came about."""

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""

    def layer(self, artifact: Artifact, layer: Layer) -> Iterator[bytes]:
        """Yield a layer's bytes, unverified."""


class StoreReleases:
    """What an install needs of a store. Metadata is refreshed once, on first use.

    Where the store is down, or its metadata has expired, what was verified on this host before still
    counts: its signatures, versions and digests are checked again, its freshness is not. Anything else
    that is wrong with the store is an error. *allow_expired* takes expired metadata of the store too.
    """

    def __init__(self, store: ReadStore, state: Path, root: bytes, *, allow_expired: bool = False) -> None:
        from distributor.trust import Trust
        from manifests.errors import MetadataExpired, NotFound, StoreUnavailable

        self._store = store
        self._failure: VenvoyError | None = None
        self._trust = Trust(store, state, root, check_expiry=not allow_expired)
        try:
            self._trust.refresh()
        except (MetadataExpired, NotFound, StoreUnavailable) as error:
            self._failure = error
            self._trust = _remembered(store.location, state, root, error)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why something older was used, if it was."""
        if self._failure is None:
            return ()
        return (f"{self._failure}\nwent on with what was verified on this host before",)

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""
        from manifests.errors import NotFound

        try:
            return self._trust.pins(release)
        except NotFound as missing:
            raise self._failure or missing from None

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""
        from manifests.errors import NotFound

        try:
            return self._trust.manifest(pin)
        except NotFound as missing:
            raise self._failure or missing from None

    def layer(self, artifact: Artifact, layer: Layer) -> Iterator[bytes]:
        """Yield a layer's bytes, unverified."""
        return self._store.stream(artifact.tarball_path, offset=layer.offset, length=layer.length)


def _remembered(location: str, state: Path, root: bytes, failure: VenvoyError) -> Trust:
    from distributor.trust import Trust
    from manifests.errors import NotFound

    trust = Trust.remembered(location, state, root)
    try:
        trust.refresh()
    except NotFound:
        raise failure from None
    return trust
