"""The last step of a switch: what the host wrote while it went on comes along.

A service may write a mutable file between the merge and the switch; that write lands in the tree that
is being replaced. So the new tree carries a note of what was merged, written and synced before the
switch, and removed when late writes were carried over. While the note stands the switch is not
finished, and the next run, whatever it is asked for, finishes it first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from distributor.host.mutable import Merged, catch_up
from distributor.host.mutable_paths import mutable_paths_of
from distributor.siblings import litter, previous_paths
from manifests.artifact import MutablePath
from manifests.atomic_file import sync_directory
from manifests.documents import canonical_json, parse_json
from manifests.errors import HostUnsuitable, InvalidInput
from manifests.fields import Fields
from manifests.layout import HANDOVER

_FORMAT = "1.0"
_MAJOR = 1


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A switch that a killed run had begun: where the replaced tree lies, and what was carried over."""

    replaced: Path | None
    kept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Note:
    """The inode of the tree that is replaced, and the marks of the files that were merged from it."""

    inode: int
    marks: dict[str, tuple[int, int, int]]


def announce(staged: Path, live: Path, merged: Merged) -> None:
    """Note in *staged*, before it is brought to disk, what was merged from *live*. Raises OSError."""
    # Names as the file system has them, and numbers beyond what JSON holds exactly: both as text.
    value = {
        "format": _FORMAT,
        "inode": str(live.lstat().st_ino),
        "marks": {
            quote(os.fsencode(path)): [str(number) for number in mark] for path, mark in merged.marks.items()
        },
    }
    note = staged / HANDOVER
    note.write_bytes(canonical_json(value))
    note.chmod(0o644)


def is_unfinished(destination: Path) -> bool:
    """Say whether the switch to the tree at *destination* lacks its last step."""
    return (destination / HANDOVER).exists()


def replaced_tree(destination: Path, announced: Path | None = None) -> Path | None:
    """Return the tree beside *destination* that the note in *announced* (default: there) names, or None."""
    note = _read((announced or destination) / HANDOVER)
    if note is None:
        return None
    beside = (*litter(destination), *previous_paths(destination))
    return next((path for path in beside if path.lstat().st_ino == note.inode), None)


def finish(
    destination: Path, mutable: tuple[MutablePath, ...] | None = None, *, close: bool = True
) -> Finished | None:
    """Carry over late writes into *destination* and remove the note. None where there is no note.

    *mutable* are its mutable paths, where the caller knows them. Unless it is to *close* the switch, the
    note stays, for who has yet to tell of it. The caller holds the lock. Raises HostUnsuitable from the
    disk, VerificationFailed where the tree's own manifest is damaged.
    """
    path = destination / HANDOVER
    note = _read(path)
    if note is None:
        path.unlink(missing_ok=True)
        return None
    replaced = replaced_tree(destination)
    merged = Merged(marks=note.marks)
    try:
        sync_directory(destination.parent)  # the switch itself may be a killed run's, and not on disk yet
        if replaced is not None:
            paths = mutable_paths_of(destination) if mutable is None else mutable
            catch_up(replaced, destination, paths, merged)
        if close:
            close_switch(destination)
    except OSError as error:
        raise HostUnsuitable(
            f"{destination} was switched, but what the host wrote meanwhile was not all carried over: "
            f"{error.strerror} ({error.filename or path}); run it again when that is mended"
        ) from error
    return Finished(replaced=replaced, kept=tuple(sorted(merged.kept)))


def close_switch(destination: Path) -> None:
    """Remove the note: late writes are carried over, and who asked was told. Raises OSError."""
    path = destination / HANDOVER
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def _read(path: Path) -> _Note | None:
    """Return the note, or None where there is none; it was synced whole before its tree was shown."""
    try:
        fields = Fields(parse_json(path.read_bytes(), what=str(path)), str(path))
        fields.expect_format(_MAJOR)
        marks = {
            os.fsdecode(unquote_to_bytes(name)): tuple(int(number) for number in numbers)
            for name, numbers in fields.object("marks").text_lists().items()
        }
        return _Note(
            inode=int(fields.text("inode")), marks={name: _mark(mark) for name, mark in marks.items()}
        )
    except (FileNotFoundError, NotADirectoryError, InvalidInput, ValueError):
        return None


def _mark(numbers: tuple[int, ...]) -> tuple[int, int, int]:
    time, size, inode = numbers
    return time, size, inode
