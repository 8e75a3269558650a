"""Which packages a venv holds, and how that differs from another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from manifests.artifact import Artifact
from manifests.errors import InvalidInput
from manifests.layout import END, MANIFEST, SKELETON

_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info")


@dataclass(frozen=True, kw_only=True)
class PackageChanges:
    """Versions by distribution: those that come, those that go, and (old, new) of those that change."""

    added: dict[str, str]
    removed: dict[str, str]
    upgraded: dict[str, tuple[str, str]]

    def to_value(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {
            "added": self.added,
            "removed": self.removed,
            "upgraded": {name: list(versions) for name, versions in self.upgraded.items()},
        }


def packages_in(artifact: Artifact) -> dict[str, str]:
    """Return the version of each distribution in *artifact*."""
    return {
        layer.distribution: layer.version
        for layer in artifact.layers
        if layer.distribution not in (SKELETON, END)
    }


def installed_packages(venv: Path) -> dict[str, str]:
    """Return the version of each distribution that *venv* was installed with.

    Of a venv that another tool made, what its metadata directories are named; {} where nothing stands.
    """
    try:
        return packages_in(Artifact.from_json((venv / MANIFEST).read_bytes()))
    except (OSError, InvalidInput):
        found = [
            _DIST_INFO.fullmatch(path.name) for path in venv.glob("lib/python3*/site-packages/*.dist-info")
        ]
        return {re.sub(r"[-_.]+", "-", match["name"]).lower(): match["version"] for match in found if match}


def package_changes(before: dict[str, str], after: dict[str, str]) -> PackageChanges:
    """Return how *after* differs from *before*, sorted by name."""
    return PackageChanges(
        added={name: after[name] for name in sorted(after.keys() - before.keys())},
        removed={name: before[name] for name in sorted(before.keys() - after.keys())},
        upgraded={
            name: (before[name], after[name])
            for name in sorted(before.keys() & after.keys())
            if before[name] != after[name]
        },
    )


NO_CHANGES = PackageChanges(added={}, removed={}, upgraded={})
