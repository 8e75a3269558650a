"""Which releases and hosts hold what a requirement means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.release_order import in_order
from manifests.searching import Search, Wanted

if TYPE_CHECKING:
    from distributor.audit.contents import ContentsReader
    from distributor.audit.hosts import HostVenv
    from manifests.contents import ArtifactContents
    from manifests.documents import Sha256
    from manifests.pins import ReleasePins


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A package that an artifact of a release holds. ``artifact`` is the artifact's label."""

    package: str
    version: str
    release: str
    service: str
    target: str
    artifact: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldByHost:
    """A package that a host has in a venv."""

    package: str
    version: str
    venv: HostVenv


class Finder:
    """Looks for *wanted* in releases, then in hosts that installed some."""

    def __init__(self, reader: ContentsReader, wanted: Sequence[Wanted]) -> None:
        self._reader = reader
        self._search = Search(wanted)
        self.known: dict[tuple[str, Sha256], ArtifactContents] = {}
        """What the artifacts of all releases that were looked at hold."""

    def in_releases(self, releases: Iterable[ReleasePins]) -> list[Held]:
        """Return what *releases* hold of it, oldest release first."""
        by_name = {pins.release: pins for pins in releases}
        found = []
        for name in in_order(by_name):
            pins = by_name[name]
            contents = self._reader.contents(pins).artifacts
            for pin in sorted(pins.pins, key=lambda pin: (pin.service, pin.target)):
                here = contents[pin.service, pin.target]
                self.known[pin.service, pin.sha256] = here
                label = pin.manifest.rpartition("/")[2].removesuffix(".json.gz")
                found += [
                    Held(
                        package=package,
                        version=version,
                        release=name,
                        service=pin.service,
                        target=pin.target,
                        artifact=label,
                    )
                    for package, version in self._search.hits(here.packages)
                ]
        return found

    def in_venvs(self, venvs: Iterable[HostVenv]) -> list[HeldByHost]:
        """Return what *venvs* hold of it; those whose contents nobody knows are left out."""
        return [
            HeldByHost(package=package, version=version, venv=venv)
            for venv in venvs
            if venv.contents is not None
            for package, version in self._search.hits(venv.contents.packages)
        ]
