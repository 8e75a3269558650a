"""A store as large as sites get: metadata of 18,000 artifacts, of which one release's are real."""

from __future__ import annotations

import copy
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from distributor.publishing.contents import store_contents
from distributor.publishing.keys import load_signers
from distributor.publishing.metadata_writer import Change, MetadataWriter
from distributor.publishing.payload import target_of
from distributor.trust.tuf_api import TargetFile
from manifests.contents import ArtifactContents, ReleaseContents
from manifests.documents import Sha256, sha256_bytes
from manifests.naming import artifact_stem
from manifests.pins import Pin, ReleasePins
from tests.distributor.artifacts import Site, build_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributor.trust.trust import Trust

TARGETS = tuple(f"cp3{minor}-linux_x86_64-glibc2.36" for minor in (10, 11, 12))
_PACKAGES = 136


class ScaleSite(Site):
    """*releases* of *services*, each on three targets; every release has artifacts of its own.

    Each artifact has a manifest, a bill of materials, provenance, and a patch from the release before it:
    four signed paths. The last release is built, published and pinned; the others are metadata.
    """

    def __init__(self, directory: Path, *, releases: int = 200, services: int = 30) -> None:
        super().__init__(directory)
        self.names = [f"service-{number:02}" for number in range(services)]
        self.releases = [f"2026.{number}.0" for number in range(releases)]
        signers = load_signers(self.keys, ("artifacts", "releases", "snapshot", "timestamp"))
        writer = MetadataWriter(
            self.store,
            signers,
            root=self.root,
            state_dir=self.keys / "seen",
            now=lambda: datetime.now(timezone.utc),
        )
        writer.swap(self._all)
        self.last = self.releases[-1]
        built = [
            build_artifact(self.build, name, self.last, layers=20, target=target)
            for name in self.names
            for target in TARGETS
        ]
        self.publish(*built)
        self.real = built
        self.pin(self.last, *built)

    def _all(self, trust: Trust) -> dict[str, Change]:
        changes: dict[str, Change] = {}
        releases: Any = copy.deepcopy(trust.signed("releases"))
        for release in self.releases[:-1]:
            pins = []
            for name in self.names:
                for target in TARGETS:
                    pin = self._pin(release, name, target)
                    pins.append(pin)
                    for path in self._paths(pin):
                        role, body, delegator = trust.responsible(path)
                        if role not in changes:
                            changes[role] = Change(body=copy.deepcopy(body), delegator=delegator)
                        entry = TargetFile(pin.length, {"sha256": sha256_bytes(path.encode())}, path)
                        changes[role].body.targets[path] = entry
            document = self._stored(release, pins)
            releases.targets[document.path] = target_of(document.path, document.to_json())
        changes["releases"] = Change(body=releases, delegator="targets")
        return changes

    def _pin(self, release: str, name: str, target: str) -> Pin:
        identity = sha256_bytes(f"{release} {name} {target}".encode())
        manifest = f"artifacts/{name}/{artifact_stem(name, release, target, identity)}.json.gz"
        return Pin(
            service=name,
            target=target,
            version=release,
            manifest=manifest,
            length=30_000,
            sha256=sha256_bytes(manifest.encode()),
        )

    def _paths(self, pin: Pin) -> Iterator[str]:
        stem = pin.manifest.rpartition("/")[2].removesuffix(".json.gz")
        yield pin.manifest
        yield f"sbom/{pin.service}/{stem}.cdx.json"
        yield f"provenance/{pin.service}/{stem}.intoto.json"
        yield f"patches/{pin.service}/{stem}-from-{pin.sha256[:12]}.json.gz"

    def _stored(self, release: str, pins: list[Pin]) -> ReleasePins:
        """Store the pins of *release* and their contents, and return the pins."""
        number = self.releases.index(release)
        packages = tuple((f"package-{index:03}", f"{index}.{number}") for index in range(_PACKAGES))
        contents = ReleaseContents(
            release=release,
            artifacts={
                (pin.service, pin.target): ArtifactContents(
                    length=75_000_000, unpacked=300_000_000, packages=packages
                )
                for pin in pins
            },
        )
        document = ReleasePins(
            release=release,
            pins=tuple(pins),
            contents=Sha256(sha256_bytes(contents.to_json())),
            barriers={},
        )
        store_contents(self.store, document, contents)
        self.store.write_if_absent(document.path, document.to_json())
        return document
