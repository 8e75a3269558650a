"""Releases out of a store, believed only through its signed metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from manifests.artifact import Artifact, Layer
from manifests.pins import Pin, ReleasePins

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore


class ReleaseSource(Protocol):
    """Verified releases and the bytes of their artifacts."""

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""

    def layer(self, artifact: Artifact, layer: Layer) -> Iterator[bytes]:
        """Yield a layer's bytes, unverified."""


class StoreReleases:
    """What an install needs of a store. Metadata is refreshed once, on first use."""

    def __init__(self, store: ReadStore, state: Path, root: bytes) -> None:
        from distributor.trust import Trust

        self._store = store
        self._trust = Trust(store, state, root)
        self._trust.refresh()

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""
        return self._trust.pins(release)

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""
        return self._trust.manifest(pin)

    def layer(self, artifact: Artifact, layer: Layer) -> Iterator[bytes]:
        """Yield a layer's bytes, unverified."""
        return self._store.stream(artifact.tarball_path, offset=layer.offset, length=layer.length)
