"""A comparison as plain data for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from manifests.comparison import ArtifactChange, ComparedArtifact, ComparedPackage, Comparison, PackageChange


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedChange:
    """The same change of a package in several artifacts: which services, on how many targets."""

    change: PackageChange
    services: tuple[str, ...]


def shared_changes(changes: Iterable[ArtifactChange]) -> list[SharedChange]:
    """Return the package changes of artifacts that both sides have, each change of version once."""
    found: dict[tuple[str, str, str], tuple[PackageChange, dict[str, None]]] = {}
    for artifact in changes:
        if artifact.old is None or artifact.new is None:
            continue
        for change in artifact.packages:
            key = change.name, _version(change.old), _version(change.new)
            found.setdefault(key, (change, {}))[1][artifact.service] = None
    return [
        SharedChange(change=change, services=tuple(services))
        for _, (change, services) in sorted(found.items(), key=lambda item: item[0])
    ]


def comparison_value(comparison: Comparison) -> dict[str, Any]:
    """Return *comparison* as plain JSON data; sizes are in bytes."""
    return {
        "old": comparison.old,
        "new": comparison.new,
        "unchanged": [{"service": service, "target": target} for service, target in comparison.unchanged],
        "artifacts": [_artifact_change(change) for change in comparison.changes],
    }


def _artifact_change(change: ArtifactChange) -> dict[str, Any]:
    value: dict[str, Any] = {
        "service": change.service,
        "target": change.target,
        "old": _artifact(change.old),
        "new": _artifact(change.new),
        "packages": [
            {"name": item.name, "old": _package(item.old), "new": _package(item.new)}
            for item in change.packages
        ],
        "needs": [{"name": item.name, "old": item.old, "new": item.new} for item in change.needs],
    }
    if change.files is not None:
        value["files"] = [
            {"path": item.path, "old": item.old or None, "new": item.new or None} for item in change.files
        ]
    return value


def _artifact(artifact: ComparedArtifact | None) -> dict[str, Any] | None:
    if artifact is None:
        return None
    return {
        "artifact": artifact.label,
        "version": artifact.version,
        "length": artifact.length,
        "unpacked": artifact.unpacked,
        "rollback_barrier": artifact.rollback_barrier,
    }


def _package(package: ComparedPackage | None) -> dict[str, Any] | None:
    if package is None:
        return None
    return {
        "version": package.version,
        "wheel_sha256": package.wheel_sha256,
        "length": package.length,
        "unpacked": package.unpacked,
        "licence": package.licence,
    }


def _version(package: ComparedPackage | None) -> str:
    return package.version if package else ""
