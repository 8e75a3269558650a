"""The packages of all releases: which versions of each, in which services, in which releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from distributor.site.names import page_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distributor.site.model import SiteModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A service that holds a version, and the runs of releases in which it does: first and last of each."""

    service: str
    spans: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageVersion:
    """One version of a package; ``current`` says that the newest release has it."""

    version: str
    uses: tuple[Use, ...]
    current: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package with all its versions, newest first."""

    name: str
    versions: tuple[PackageVersion, ...]

    @property
    def page(self) -> str:
        """Its page's path in the site."""
        return f"packages/{page_name(self.name)}.html"

    @property
    def services(self) -> list[str]:
        """Every service that holds any of its versions."""
        return sorted({use.service for version in self.versions for use in version.uses})


def all_packages(model: SiteModel) -> list[Package]:
    """Return every package of *model*, by name."""
    order = {release.name: number for number, release in enumerate(model.releases)}
    names = [release.name for release in model.releases]
    held: dict[str, dict[str, dict[str, set[int]]]] = {}
    for artifact in model.artifacts:
        numbers = {order[name] for name in artifact.releases}
        for name, version in artifact.contents.packages:
            services = held.setdefault(name, {}).setdefault(version, {})
            services.setdefault(artifact.service, set()).update(numbers)
    return [_package(name, held[name], names) for name in sorted(held)]


def _package(name: str, versions: Mapping[str, Mapping[str, set[int]]], names: Sequence[str]) -> Package:
    last = len(names) - 1
    return Package(
        name=name,
        versions=tuple(
            PackageVersion(
                version=version,
                uses=tuple(
                    Use(service=service, spans=tuple(_spans(versions[version][service], names)))
                    for service in sorted(versions[version])
                ),
                current=any(last in numbers for numbers in versions[version].values()),
            )
            for version in sorted(versions, key=_version_key, reverse=True)
        ),
    )


def _spans(numbers: Iterable[int], names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return runs of consecutive *numbers* as names of first and last release, and how many."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [(names[first], names[last], last - first + 1) for first, last in runs]


def _version_key(text: str) -> tuple[int, Version, str]:
    try:
        return 1, Version(text), text
    except InvalidVersion:
        return 0, Version("0"), text
