"""What changes from release to release, for the pages: by the packages that artifacts hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributor.site.model import Key, PinnedArtifact, Release


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageStep:
    """A package that has another version, came or went ("" for absent), and the services where it did."""

    name: str
    old: str
    new: str
    services: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReleaseStep:
    """From one release to the next."""

    old: Release
    new: Release

    @cached_property
    def changed(self) -> dict[Key, tuple[PinnedArtifact, PinnedArtifact]]:
        """Artifacts of both releases that are not the same, old and new."""
        return {
            key: (self.old.artifacts[key], artifact)
            for key, artifact in self.new.artifacts.items()
            if key in self.old.artifacts and self.old.artifacts[key] is not artifact
        }

    @cached_property
    def added(self) -> list[PinnedArtifact]:
        """Artifacts for services and targets that the old release has not."""
        return [item for key, item in self.new.artifacts.items() if key not in self.old.artifacts]

    @cached_property
    def removed(self) -> list[PinnedArtifact]:
        """Artifacts for services and targets that the new release has not."""
        return [item for key, item in self.old.artifacts.items() if key not in self.new.artifacts]

    @property
    def unchanged(self) -> int:
        """How many artifacts stay as they are."""
        return len(self.new.artifacts) - len(self.changed) - len(self.added)

    @property
    def growth(self) -> int:
        """How many bytes all tarballs together grow."""
        return self.new.length - self.old.length

    @cached_property
    def packages(self) -> list[PackageStep]:
        """The packages that differ in changed artifacts, each step of versions once."""
        found: dict[tuple[str, str, str], dict[str, None]] = {}
        for (service, _), (old, new) in self.changed.items():
            before, after = dict(old.contents.packages), dict(new.contents.packages)
            for name in before.keys() | after.keys():
                step = name, before.get(name, ""), after.get(name, "")
                if step[1] != step[2]:
                    found.setdefault(step, {})[service] = None
        return [
            PackageStep(name=name, old=old, new=new, services=tuple(sorted(services)))
            for (name, old, new), services in sorted(found.items())
        ]
