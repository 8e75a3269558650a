"""The contents of a release: which packages each of its artifacts holds, in one small document.

It says nothing that the manifests do not say; it spares reading thousands of them where all releases of
a store are searched or shown. The pins of the release name its digest, so that release managers sign it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manifests.artifact import Artifact
from manifests.documents import Sha256, canonical_json, parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import is_unprintable, release_name, service_name
from manifests.target import Target

FORMAT_MAJOR = 1
FORMAT = "1.0"

Package = tuple[str, str]
"""A distribution's normalized name, and its version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactContents:
    """What one artifact holds: its packages, and its length in bytes, packed and not."""

    length: int
    unpacked: int
    packages: tuple[Package, ...]

    @classmethod
    def of(cls, artifact: Artifact) -> ArtifactContents:
        """Return the contents of *artifact*."""
        return cls(
            length=artifact.length,
            unpacked=artifact.unpacked_size,
            packages=tuple((layer.distribution, layer.version) for layer in artifact.layers if layer.wheel),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseContents:
    """The contents of *release*, by service and target."""

    release: str
    artifacts: Mapping[tuple[str, str], ArtifactContents]

    @classmethod
    def of(cls, release: str, artifacts: Iterable[Artifact]) -> ReleaseContents:
        """Return the contents of a *release* that consists of *artifacts*."""
        found = {(item.service, str(item.target)): ArtifactContents.of(item) for item in artifacts}
        return cls(release=release, artifacts=found)

    def to_json(self) -> bytes:
        """Return the canonical JSON of this document; each package stands in it once."""
        packages = sorted({package for item in self.artifacts.values() for package in item.packages})
        numbers = {package: number for number, package in enumerate(packages)}
        services: dict[str, dict[str, object]] = {}
        for (service, target), item in self.artifacts.items():
            services.setdefault(service, {})[target] = {
                "length": item.length,
                "unpacked": item.unpacked,
                "packages": [numbers[package] for package in item.packages],
            }
        return canonical_json(
            {"format": FORMAT, "release": self.release, "packages": packages, "services": services}
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str = "contents") -> ReleaseContents:
        """Read contents. Raises InvalidInput naming the field."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        packages = [_package(pair, f"{what}.packages") for pair in top.text_matrix("packages")]
        artifacts = {
            (service_name(service), str(Target.parse(target))): _contents(item, packages)
            for service, targets in top.object("services").items()
            for target, item in targets.items()
        }
        return cls(release=release_name(top.text("release")), artifacts=artifacts)


def contents_path(release: str, sha256: Sha256) -> str:
    """Return the store path of *release*'s contents, which have the digest *sha256* before compression."""
    return f"contents/{release_name(release)}-{sha256[:12]}.json.gz"


def _package(pair: tuple[str, ...], where: str) -> Package:
    if len(pair) != 2:
        raise InvalidInput(f"{where}: {pair!r} is not a name and a version")
    if any(is_unprintable(text) for text in pair):
        raise InvalidInput(f"{where}: control characters are not allowed")
    return pair[0], pair[1]


def _contents(item: Fields, packages: list[Package]) -> ArtifactContents:
    numbers = item.counts("packages")
    if numbers and max(numbers) >= len(packages):
        raise InvalidInput(f"{item.where}.packages: {max(numbers)} is no package's number")
    return ArtifactContents(
        length=item.count("length"),
        unpacked=item.count("unpacked"),
        packages=tuple(packages[number] for number in numbers),
    )
