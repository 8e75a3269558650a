"""What was found, in lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from distributor.audit.finding import Held, HeldByHost

_SHOWN = 3


def held_lines(found: Sequence[Held], targets_of: dict[tuple[str, str], int]) -> list[str]:
    """Return *found* as lines: package and version, below it each service with its releases.

    *targets_of* counts the targets of each release and service, to leave out targets where all are meant.
    """
    lines = []
    groups: dict[tuple[str, str], dict[str, dict[str, list[str]]]] = {}
    for item in found:
        services = groups.setdefault((item.package, item.version), {})
        services.setdefault(item.service, {}).setdefault(item.release, []).append(item.target)
    for package, version in sorted(groups, key=lambda pair: (pair[0], _version(pair[1]))):
        lines.append(f"{package} {version}")
        services = groups[package, version]
        width = max(map(len, services))
        for service in sorted(services):
            by_release = services[service]
            partial = sorted(
                {
                    target
                    for release, targets in by_release.items()
                    if len(targets) < targets_of[release, service]
                    for target in targets
                }
            )
            note = f" for {', '.join(partial)}" if partial else ""
            lines.append(f"  {service:<{width}}  {_span(list(by_release))}{note}")
    return lines


def host_lines(found: Sequence[HeldByHost]) -> list[str]:
    """Return what hosts hold as a table of lines."""
    rows = [
        (
            item.venv.host,
            f"{item.package} {item.version}",
            item.venv.service,
            item.venv.release,
            item.venv.path,
        )
        for item in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]


def _span(releases: list[str]) -> str:
    """Return the names of *releases*, of many the first and last with their number."""
    if len(releases) <= _SHOWN:
        return ", ".join(releases)
    return f"{releases[0]} .. {releases[-1]} ({len(releases)} releases)"


def _version(text: str) -> tuple[int, Version, str]:
    try:
        return 1, Version(text), text
    except InvalidVersion:
        return 0, Version("0"), text
