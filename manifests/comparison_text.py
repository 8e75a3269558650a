"""A comparison for people: on a terminal, and as Markdown for release notes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from manifests.comparison import ArtifactChange, ComparedPackage, Comparison, FileChange, PackageChange
from manifests.comparison_value import shared_changes
from manifests.console import size

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~])")
_SIGN = {True: "+", False: "-"}


def comparison_text(comparison: Comparison) -> str:
    """Return *comparison* as lines for a terminal."""
    lines = [f"{comparison.old} -> {comparison.new}: {summary(comparison)}"]
    for change in comparison.changes:
        lines += ["", f"{change.service} for {change.target}: {_versions(change)}"]
        lines += [f"  host must now offer: {item}" for item in _needs(change)]
        if change.crosses_barrier:
            lines.append("  going back passes a rollback barrier: databases do not roll back")
        lines += _columns([_package_row(item) for item in change.packages]) if _is_both(change) else []
        lines += [f"  {line}" for line in _file_lines(change.files or ())]
    return "\n".join(lines)


def comparison_markdown(comparison: Comparison) -> str:
    """Return *comparison* as Markdown (GitHub's tables), for release notes."""
    lines = [f"## Changes from {_escaped(comparison.old)} to {_escaped(comparison.new)}", ""]
    lines += [f"{summary(comparison)}.", ""]
    changes = comparison.changes
    lines += _section(
        "Services",
        ("Service", "Target", "From", "To", "Download", "Change"),
        [_service_row(change) for change in changes],
    )
    barriers = dict.fromkeys(change.service for change in changes if change.crosses_barrier)
    if barriers:
        names = _escaped(", ".join(barriers))
        lines += [f"**Going back passes a rollback barrier of {names}: databases do not roll back.**", ""]
    lines += _section(
        "Packages",
        ("Package", "From", "To", "Licence", "In"),
        [
            (*_package_row(item.change)[:3], _licence(item.change), ", ".join(item.services))
            for item in shared_changes(changes)
        ],
    )
    lines += _section(
        "Hosts must now offer",
        ("Service", "Target", "Need"),
        [(change.service, change.target, need) for change in changes for need in _needs(change)],
    )
    for change in changes:
        if change.files:
            lines += [f"### Files of {_escaped(change.service)} for {_escaped(change.target)}", "", "```text"]
            lines += [line.replace("```", "'''") for line in _file_lines(change.files)]
            lines += ["```", ""]
    return "\n".join(lines).rstrip()


def summary(comparison: Comparison) -> str:
    """Return how much differs, in a few words."""
    counts = {"changed": 0, "new": 0, "gone": 0}
    for change in comparison.changes:
        counts["new" if change.old is None else "gone" if change.new is None else "changed"] += 1
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    parts.append(f"{len(comparison.unchanged)} unchanged")
    return f"{', '.join(parts)} (services x targets)"


def growth(count: int) -> str:
    """Return a difference of bytes with its sign."""
    return f"{_SIGN[count >= 0]}{size(abs(count))}"


def _is_both(change: ArtifactChange) -> bool:
    return change.old is not None and change.new is not None


def _versions(change: ArtifactChange) -> str:
    if change.old is None and change.new is not None:
        return f"new, {change.new.version}, {size(change.new.length)}"
    if change.new is None and change.old is not None:
        return f"gone, was {change.old.version}"
    if change.old is None or change.new is None:
        return ""
    old, new = change.old.version, change.new.version
    versions = f"{old} -> {new}" if old != new else f"{new}, rebuilt"
    return f"{versions}, {size(change.new.length)} ({growth(change.growth)})"


def _package_row(change: PackageChange) -> tuple[str, ...]:
    return (change.name, _version(change.old), _version(change.new), growth(change.growth), _licence(change))


def _service_row(change: ArtifactChange) -> tuple[str, ...]:
    old, new = change.old, change.new
    return (
        change.service,
        change.target,
        old.version if old else "—",
        new.version if new else "—",
        size(new.length) if new else "—",
        growth(change.growth),
    )


def _version(package: ComparedPackage | None) -> str:
    return package.version if package else "—"


def _licence(change: PackageChange) -> str:
    if change.licence_changes and change.old and change.new:
        return f"{change.old.licence} -> {change.new.licence}"
    side = change.new or change.old
    return side.licence if side else ""


def _needs(change: ArtifactChange) -> list[str]:
    return [
        f"{item.name} {', '.join(item.asks_more)}".rstrip()
        for item in change.needs
        if item.asks_more is not None
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    name, old, new, grown = (max(len(row[column]) for row in rows) for column in range(4))
    return [
        f"  {row[0]:<{name}}  {row[1]:>{old}} -> {row[2]:<{new}}  {row[3]:>{grown}}  {row[4]}".rstrip()
        for row in rows
    ]


def _file_lines(files: Iterable[FileChange]) -> list[str]:
    return [f"{'+' if not item.old else '-' if not item.new else '~'} {item.path}" for item in files]


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a heading with a table below it, or nothing where there are no rows."""
    lines = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
    if len(lines) == 2:
        return []
    return [f"### {title}", "", *(f"| {' | '.join(row)} |" for row in lines), ""]


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)
