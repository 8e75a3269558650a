"""The table of services and releases: which version of each, and where it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributor.site.model import PinnedArtifact, Release, SiteModel

COLUMNS = 8
"""How many of the newest releases the overview shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Targets that have the same version of a service in a release; ``targets`` is () where all have."""

    version: str
    page: str
    targets: tuple[str, ...]
    changed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A service, and its groups in each of the releases shown."""

    service: str
    cells: tuple[tuple[Group, ...], ...]


def columns(model: SiteModel) -> list[Release]:
    """Return the releases that the overview shows, newest first: the newest, and those of channels."""
    newest = {release.name for release in model.releases[-COLUMNS:]}
    wanted = newest | {channel.release for channel in model.channels}
    return [release for release in reversed(model.releases) if release.name in wanted]


def rows(model: SiteModel, shown: Sequence[Release]) -> list[Row]:
    """Return a row for each service that any of the releases *shown* has."""
    services = sorted({service for release in shown for service in release.services})
    before = {release.name: model.before(release) for release in shown}
    return [
        Row(
            service=service,
            cells=tuple(_cell(service, release, before[release.name]) for release in shown),
        )
        for service in services
    ]


def _cell(service: str, release: Release, before: Release | None) -> tuple[Group, ...]:
    mine = {key[1]: item for key, item in release.artifacts.items() if key[0] == service}
    groups: dict[tuple[str, bool], list[PinnedArtifact]] = {}
    for target, artifact in sorted(mine.items()):
        old = before.artifacts.get((service, target)) if before is not None else artifact
        groups.setdefault((artifact.version, old is not artifact), []).append(artifact)
    return tuple(
        Group(
            version=version,
            page=items[0].page if len(items) == 1 else f"{release.page}#{service}",
            targets=tuple(item.target for item in items) if len(groups) > 1 else (),
            changed=changed,
        )
        for (version, changed), items in groups.items()
    )
