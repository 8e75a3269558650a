"""The plain files of a directory store, in the order of their objects' paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from manifests.atomic_file import TEMPORARY_PREFIX


def walk(folder: Path, *, leftovers: bool = False) -> Iterator[Path]:
    """Yield plain files below *folder* in the order of their paths: objects, or writers' leftovers."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((_sort_key(entry), entry) for entry in entries)
    except FileNotFoundError:
        return
    for key, entry in found:
        hidden = entry.name.startswith(TEMPORARY_PREFIX if leftovers else ".")
        if key.endswith("/") and not entry.name.startswith("."):
            yield from walk(Path(entry.path), leftovers=leftovers)
        elif entry.is_file(follow_symlinks=False) and hidden == leftovers:
            yield Path(entry.path)


def _sort_key(entry: os.DirEntry[str]) -> str:
    # A folder sorts as it stands in its objects' paths: "a-b/x" comes before "a/x".
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
