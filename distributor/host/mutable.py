"""Paths that belong to the host (``etc`` and the like) through upgrades and rollbacks.

Wheels ship defaults there too, so the merge is per file, of three states: the old artifact's pristine
copy, what lives on the host, and the new artifact's file.

===========  ============  ==========  =====================================================
pristine     live          new         what stands afterwards
===========  ============  ==========  =====================================================
any          absent        any         the new one, if there is one
absent       present       absent      the live one: the host's own file
equal        equal         any         the new one (or none: an unmodified default goes)
any          changed       = pristine  the live one
any          changed       absent      the live one
any          changed       changed     policy ``keep``: live, the new one as ``X.venvoy-new``;
                                       policy ``new``: new, the live one as ``X.venvoy-old``
===========  ============  ==========  =====================================================

Whatever stands keeps the live file's owner, mode, attributes and labels; directories keep theirs.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distributor.system.file_state import copy_entry, copy_state
from manifests.artifact import MutablePath
from manifests.atomic_file import sync_directory, sync_file, temporary_name
from manifests.errors import Refused
from manifests.layout import PRISTINE, PRIVATE

NEW_SUFFIX = ".venvoy-new"
OLD_SUFFIX = ".venvoy-old"


@dataclass
class Merged:
    """What a merge did, as sorted relative paths."""

    kept: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    marks: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Each live file as it was when it was read: what has another mark later was written meanwhile."""


def keep_pristine(staged: Path, mutable: Sequence[MutablePath]) -> None:
    """Copy the artifact's own files below mutable paths to where later merges find them. Raises OSError."""
    for item in mutable:
        source, copy = staged / item.path, staged / PRISTINE / item.path
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True, dirs_exist_ok=True)
        elif source.is_symlink() or source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy_entry(source, copy)


def merge(live: Path, staged: Path, mutable: Sequence[MutablePath]) -> Merged:
    """Carry the host's files of *live* into *staged*, a complete new tree with its pristine copies.

    *live* is only read. Raises Refused for what cannot be carried, OSError from the disk.
    """
    merged = Merged()
    for item in mutable:
        _merge_path(live, staged, item, merged)
    for name in ("kept", "replaced", "removed", "aside", "skipped"):
        getattr(merged, name).sort()
    return merged


def carry_over(live: Path, staged: Path, paths: Sequence[str]) -> None:
    """Copy *paths* of *live*, which nobody declared mutable, into *staged* as they are.

    What is missing there stays as the artifact has it. Raises Refused where the new artifact has a
    directory in a file's place or the other way round, OSError from the disk.
    """
    for path in paths:
        source, place = live / path, staged / path
        if not source.is_symlink() and not source.is_file():
            continue
        try:
            if _lexists(place) and place.is_dir() and not place.is_symlink():
                raise IsADirectoryError
            _replace(source, place)
        except (IsADirectoryError, NotADirectoryError, FileExistsError):
            raise Refused(
                f"{source} cannot be carried over: the new artifact is of another shape there; move it away"
            ) from None


def catch_up(replaced: Path, destination: Path, mutable: Sequence[MutablePath], merged: Merged) -> None:
    """Carry over what the host wrote between the merge and the switch; it lies in *replaced* now.

    Safe to repeat: a file that was written again since the switch is newer, and stays. Raises OSError.
    """
    for item in mutable:
        for path in _entries(replaced, item.path):
            source, place = replaced / path, destination / path
            if source.is_dir() and not source.is_symlink():
                _catch_up_directory(source, place)
            elif (source.is_symlink() or source.is_file()) and merged.marks.get(path) != _mark(source):
                if _lexists(place) and place.lstat().st_mtime_ns > source.lstat().st_mtime_ns:
                    continue
                _catch_up_file(source, place, destination / PRIVATE / temporary_name())
                merged.kept.append(path)


def _catch_up_directory(source: Path, place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        return
    if _lexists(place):
        _set_aside(place, place.with_name(place.name + NEW_SUFFIX))
    place.mkdir()
    copy_state(source, place)
    sync_directory(place.parent)


def _catch_up_file(source: Path, place: Path, temporary: Path) -> None:
    """Replace *place* by a copy; *temporary* lies where an interrupted run's leavings are swept."""
    if place.is_dir() and not place.is_symlink():
        place = place.with_name(place.name + OLD_SUFFIX)
    copy_entry(source, temporary)
    if not temporary.is_symlink():
        sync_file(temporary)
    temporary.replace(place)
    sync_directory(place.parent)


def _mark(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _merge_path(live: Path, staged: Path, item: MutablePath, merged: Merged) -> None:
    directories = []
    for path in _entries(live, item.path):
        source = live / path
        if source.is_dir() and not source.is_symlink():
            directories.append(path)
            _make_directory(staged, path, merged)
        elif source.is_symlink() or source.is_file():
            merged.marks[path] = _mark(source)
            _merge_file(live, staged, path, item.policy, merged)
        else:
            merged.skipped.append(path)  # sockets and pipes are made again by who uses them
    if directories or _lexists(live / item.path):
        _match_parents(live, staged, item.path)
    # Last, and deepest first: files made in a directory change its times.
    for path in reversed(directories):
        copy_state(live / path, staged / path)


def _merge_file(live: Path, staged: Path, path: str, policy: str, merged: Merged) -> None:
    source, new = live / path, staged / path
    pristine, fresh = live / PRISTINE / path, staged / PRISTINE / path
    unmodified = same(source, pristine)
    if _lexists(new) and new.is_dir() and not new.is_symlink():
        raise Refused(f"{source} is a file, but the new artifact has a directory there: move it away first")
    if unmodified and _lexists(fresh):
        copy_owner_state(source, new)
        if not same(source, new):
            merged.replaced.append(path)
    elif unmodified:
        merged.removed.append(path)
    elif same(source, new):
        copy_owner_state(source, new)
        merged.kept.append(path)
    elif not _lexists(fresh) or same(pristine, fresh) or policy == "keep":
        if _lexists(new) and not same(pristine, fresh):
            _set_aside(new, new.with_name(new.name + NEW_SUFFIX))
            merged.aside.append(path + NEW_SUFFIX)
        _replace(source, new)
        merged.kept.append(path)
    else:
        _replace(source, new.with_name(new.name + OLD_SUFFIX))
        copy_owner_state(source, new)
        merged.replaced.append(path)
        merged.aside.append(path + OLD_SUFFIX)


def same(first: Path, second: Path) -> bool:
    """Say whether both exist with the same kind and content; state does not count."""
    if not _lexists(first) or not _lexists(second):
        return False
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and first.readlink() == second.readlink()
    return first.is_file() and second.is_file() and filecmp.cmp(first, second, shallow=False)


def copy_owner_state(source: Path, destination: Path) -> None:
    """Give the new file what the host decided for the old one; its time stays its own."""
    if source.is_symlink() != destination.is_symlink():
        return
    status = destination.lstat()
    same_content = same(source, destination)
    copy_state(source, destination)
    if not same_content:
        os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _entries(live: Path, path: str) -> Iterator[str]:
    """Yield *path* and all below it, parents first; links are not followed."""
    start = live / path
    if not _lexists(start):
        return
    yield path
    if start.is_dir() and not start.is_symlink():
        with os.scandir(start) as found:
            names = sorted(entry.name for entry in found)
        for name in names:
            yield from _entries(live, f"{path}/{name}")


def _make_directory(staged: Path, path: str, merged: Merged) -> None:
    place = staged / path
    if _lexists(place) and (place.is_symlink() or not place.is_dir()):
        _set_aside(place, place.with_name(place.name + NEW_SUFFIX))
        merged.aside.append(path + NEW_SUFFIX)
    place.mkdir(parents=True, exist_ok=True)


def _match_parents(live: Path, staged: Path, path: str) -> None:
    """Parents of a mutable path that only the host has (``etc`` of ``etc/nova``) keep their state too."""
    parent = Path(path).parent
    while str(parent) != ".":
        if (live / parent).is_dir():
            copy_state(live / parent, staged / parent)
        parent = parent.parent


def _replace(source: Path, destination: Path) -> None:
    destination.unlink(missing_ok=True)
    destination.parent.mkdir(parents=True, exist_ok=True)
    copy_entry(source, destination)


def _set_aside(source: Path, destination: Path) -> None:
    destination.unlink(missing_ok=True)
    source.rename(destination)


def _lexists(path: Path) -> bool:
    return os.path.lexists(path)
