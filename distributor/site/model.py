"""What the pages show: releases in order, the artifacts that they pin, and where channels point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from manifests.channels import Move
from manifests.contents import ArtifactContents
from manifests.documents import Sha256

Key = tuple[str, str]
"""A service and a target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """A channel: the release that it means now, and how it came there, newest move first."""

    name: str
    release: str
    moves: tuple[Move, ...]


@dataclass(frozen=True, kw_only=True)
class PinnedArtifact:
    """An artifact that releases pin: by its label, with the path and digest of its stored manifest."""

    label: str
    service: str
    target: str
    version: str
    manifest: str
    manifest_sha256: Sha256
    manifest_length: int
    contents: ArtifactContents
    releases: list[str] = field(default_factory=list)

    @property
    def page(self) -> str:
        """Its page's path in the site."""
        return f"artifacts/{self.service}/{self.label}.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A release: what it pins, by service and target."""

    name: str
    artifacts: Mapping[Key, PinnedArtifact]

    @property
    def page(self) -> str:
        """Its page's path in the site."""
        return f"releases/{self.name}.html"

    @property
    def services(self) -> list[str]:
        """Its services, sorted."""
        return sorted({service for service, _ in self.artifacts})

    @property
    def targets(self) -> list[str]:
        """Its targets, sorted."""
        return sorted({target for _, target in self.artifacts})

    @property
    def length(self) -> int:
        """Bytes of all its tarballs."""
        return sum(item.contents.length for item in self.artifacts.values())


@dataclass(frozen=True, kw_only=True)
class SiteModel:
    """Everything that is shown. ``releases`` are in order, oldest first; ``store`` is what hosts name."""

    store: str
    releases: Sequence[Release]
    channels: Sequence[Channel] = ()

    @cached_property
    def artifacts(self) -> list[PinnedArtifact]:
        """Every artifact once, by service, then in the order of releases."""
        found = {
            item.manifest_sha256: item for release in self.releases for item in release.artifacts.values()
        }
        return sorted(found.values(), key=lambda item: item.service)

    @cached_property
    def services(self) -> list[str]:
        """Every service of any release, sorted."""
        return sorted({item.service for item in self.artifacts})

    @cached_property
    def targets(self) -> list[str]:
        """Every target of any release, sorted."""
        return sorted({item.target for item in self.artifacts})

    @cached_property
    def channels_of(self) -> Mapping[str, list[str]]:
        """The names of the channels that point to each release."""
        found: dict[str, list[str]] = {}
        for channel in self.channels:
            found.setdefault(channel.release, []).append(channel.name)
        return found

    def before(self, release: Release) -> Release | None:
        """Return the release before *release*, None for the first."""
        index = self.releases.index(release)
        return self.releases[index - 1] if index else None
