"""What stands at a destination, and how a complete staged tree takes its place.

A free name is taken by rename. A directory is exchanged (RENAME_EXCHANGE), so that the name always
leads to a whole tree; the old one then lies at the staged name and is put aside under a name of its
own until ``gc``. A kill between the two leaves it at the staged name: the sweep knows it by the
receipt of the new tree, which names what it replaced.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distributor.host.history import became_active
from distributor.siblings import previous_path, previous_paths
from manifests.artifact import MutablePath
from manifests.errors import Refused
from manifests.receipt import Receipt, read_receipt


class Place(enum.Enum):
    """What stands at a destination."""

    FREE = "free"
    PREPARED = "prepared"  # a directory that holds nothing but mutable paths
    VENV = "venv"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The destination as it is found: its kind, and its receipt where it has one."""

    place: Place
    receipt: Receipt | None = None


def examine(destination: Path, mutable: tuple[MutablePath, ...], *, adopt: bool = False) -> Standing:
    """Say what stands at *destination*. Raises Refused for what an install must not replace.

    To *adopt* means that a venv which another tool made may be replaced.
    """
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise Refused(f"{destination} is not a directory; a venv must be a real one: choose another --dest")
    if not destination.exists():
        return Standing(place=Place.FREE)
    receipt = read_receipt(destination)
    if receipt is not None:
        return Standing(place=Place.VENV, receipt=receipt)
    foreign = next(_foreign(destination, mutable), None)
    if foreign is not None:
        is_venv = (destination / "pyvenv.cfg").is_file() and (destination / "bin").is_dir()
        if is_venv and adopt:
            return Standing(place=Place.VENV)
        hint = "; a venv that another tool made can be taken over with --adopt" if is_venv else ""
        raise Refused(
            f"{destination} has no receipt of Venvoy and holds {foreign}, which is no mutable path: "
            f"move it away first{hint}"
        )
    return Standing(place=Place.PREPARED if any(destination.iterdir()) else Place.FREE)


def activate(staged: Path, destination: Path, standing: Standing, *, atomic: bool = True) -> Path | None:
    """Put *staged* in the place of *destination*; return where the replaced tree lies now, if there is one.

    Without *atomic*, two renames do where an exchange cannot. Raises OSError, Refused.
    """
    from distributor.system.renaming import exchange
    from manifests.atomic_file import sync_directory

    parent = destination.parent
    if standing.place is Place.FREE:
        try:
            if destination.exists():
                staged.rename(destination)  # an empty directory: rename replaces nothing else
            else:
                _rename_new(staged, destination)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise Refused(
                    f"{destination} was filled by somebody else meanwhile; nothing changed"
                ) from None
            raise
        sync_directory(parent)
        return None
    aside = previous_path(destination)
    if atomic:
        exchange(staged, destination)
        sync_directory(parent)
        staged.rename(aside)
    else:
        destination.rename(aside)
        try:
            staged.rename(destination)
        except BaseException:
            aside.rename(destination)  # as it was: whoever comes next must find the host's files
            raise
    sync_directory(parent)
    return aside


def _rename_new(staged: Path, destination: Path) -> None:
    from distributor.system.renaming import rename_if_free

    try:
        rename_if_free(staged, destination)
    except Refused:  # a file system without RENAME_NOREPLACE: the lock keeps our own kind away
        staged.rename(destination)


def previous_trees(destination: Path) -> list[tuple[Path, Receipt]]:
    """Return the replaced trees of *destination* that are whole, the last one replaced first."""
    found = []
    for path in previous_paths(destination):
        receipt = None if path.is_symlink() else read_receipt(path)
        if receipt is not None and receipt.destination == str(destination):
            found.append((path, receipt))
    active = read_receipt(destination)
    return sorted(found, key=lambda item: became_active(item[1], active), reverse=True)


def rescue(destination: Path, staged: Path) -> bool:
    """Put a replaced tree aside that a killed switch left at a staged name. Return whether it was one."""
    from distributor.host.handover import replaced_tree

    active = read_receipt(destination)
    left = read_receipt(staged)
    known = active is not None and left is not None and active.replaced == left.install_id
    if not known and replaced_tree(destination) != staged:
        return False
    staged.rename(previous_path(destination))
    return True


def _foreign(destination: Path, mutable: tuple[MutablePath, ...]) -> Iterator[str]:
    """Yield what stands in *destination* outside of mutable paths and the directories that lead there."""
    paths = [item.path for item in mutable]
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(destination / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in paths:
                    continue
                leads = any(item.startswith(f"{path}/") for item in paths)
                if leads and entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield path
