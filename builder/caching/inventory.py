"""What lies in the cache: entries with their sizes and when they were used last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = ("wheels", "sdists", "layers", "built")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Files that come and go together. *used* is in seconds since the epoch, *size* in bytes on disk."""

    kind: str
    name: str
    paths: tuple[Path, ...]
    size: int
    used: float


def entries(root: Path) -> list[Entry]:
    """Return all entries of the cache at *root*; what vanishes meanwhile is left out."""
    found: list[Entry] = []
    for kind in ("wheels", "sdists"):
        for folder in _folders(root / kind):
            found += _entry(kind, folder.name, _files(folder))
    for prefix in _subfolders(root / "layers"):
        if prefix.name != "tmp":
            for key, paths in _by_stem(_files(prefix)).items():
                found += _entry("layers", key, paths)
    for key, paths in _by_stem(_files(root / "built")).items():
        found += _entry("built", key, [path for path in paths if path.suffix != ".lock"])
    return found


def leftovers(root: Path) -> list[Entry]:
    """Return what half-done work left, or works on: everything below the ``tmp`` folders."""
    found: list[Entry] = []
    for folder in (root / "tmp", root / "layers/tmp"):
        for path in _children(folder):
            with contextlib.suppress(OSError):
                used = path.lstat().st_mtime
                found.append(
                    Entry(kind="tmp", name=path.name, paths=(path,), size=_tree_size(path), used=used)
                )
    return found


def last_used(entry: Entry) -> float | None:
    """Return when *entry* was used last, as of now; None where it is gone."""
    times = []
    for path in entry.paths:
        with contextlib.suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times, default=None)


def _entry(kind: str, name: str, paths: Iterable[Path]) -> Iterator[Entry]:
    present, size, used = [], 0, 0.0
    for path in paths:
        with contextlib.suppress(OSError):
            facts = path.lstat()
            present.append(path)
            size += facts.st_blocks * 512
            used = max(used, facts.st_mtime)
    if present:
        yield Entry(kind=kind, name=name, paths=tuple(present), size=size, used=used)


def _tree_size(path: Path) -> int:
    total = path.lstat().st_blocks * 512
    if path.is_dir() and not path.is_symlink():
        for parent, _, names in os.walk(path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(parent, name).lstat().st_blocks * 512
    return total


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.stem, []).append(path)
    return groups


def _folders(root: Path) -> Iterator[Path]:
    for prefix in _subfolders(root):
        yield from _subfolders(prefix)


def _subfolders(root: Path) -> list[Path]:
    return [path for path in _children(root) if path.is_dir() and not path.is_symlink()]


def _files(root: Path) -> list[Path]:
    return [path for path in _children(root) if not path.is_dir()]


def _children(root: Path) -> list[Path]:
    try:
        return sorted(root.iterdir())
    except OSError:
        return []
