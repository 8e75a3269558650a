"""Removing a venv: its tree, the trees that it replaced and the link to it; the host's own files stay.

What the host changed or added below mutable paths (configuration, keys) is left at the destination,
which then holds nothing else. A later install takes such a place over. A kill leaves the venv or what
shall stay of it, and litter that the next run sweeps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from distributor.host.exclusive import exclusive
from distributor.host.mutable import merge
from distributor.host.mutable_paths import mutable_paths_of
from distributor.host.packages import installed_packages
from distributor.siblings import leads_to, litter, previous_paths, staging_path
from distributor.system.renaming import exchange
from distributor.system.syncing import sync_file_system
from manifests.atomic_file import sync_directory
from manifests.errors import Refused
from manifests.receipt import Receipt, read_receipt


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What went: the receipt of the venv (None: there was none), its packages, and what was kept of it."""

    changed: bool
    receipt: Receipt | None = None
    packages: dict[str, str]
    kept: tuple[str, ...] = ()


def remove(destination: Path, link: Path | None = None, *, dry_run: bool = False) -> Removed:
    """Remove the venv at *destination*, and *link* if it leads there.

    Raises Refused where something else than a venv of ours stands there, Locked, OSError.
    """
    if not destination.parent.is_dir() or not (_left(destination) or _link_goes(link, destination)):
        return Removed(changed=False, packages={})
    if dry_run:
        return _survey(destination)
    with exclusive(destination):
        before = _survey(destination)
        if _link_goes(link, destination) and link is not None:
            link.unlink()
            sync_directory(link.parent)
        kept = _take_away(destination) if before.receipt is not None else ()
        for path in previous_paths(destination):
            _discard(destination, path)
    return Removed(changed=True, receipt=before.receipt, packages=before.packages, kept=kept)


def _survey(destination: Path) -> Removed:
    receipt = read_receipt(destination)
    if receipt is None and destination.is_dir() and (destination / "pyvenv.cfg").exists():
        raise Refused(f"{destination} has no receipt of Venvoy: another tool made it, so remove it by hand")
    return Removed(changed=True, receipt=receipt, packages=installed_packages(destination) if receipt else {})


def _left(destination: Path) -> bool:
    """Whether anything of a venv stands there; what only holds the host's own files does not count."""
    if read_receipt(destination) is not None or (destination / "pyvenv.cfg").exists():
        return True
    return bool(litter(destination) or previous_paths(destination))


def _link_goes(link: Path | None, destination: Path) -> bool:
    return link is not None and leads_to(link, destination)


def _take_away(destination: Path) -> tuple[str, ...]:
    """Exchange the tree with what stays of it, or rename it away where nothing does."""
    rest = staging_path(destination)
    rest.mkdir(mode=0o700)
    try:
        mutable = mutable_paths_of(destination)
        kept = merge(destination, rest, mutable).kept
        if kept:
            _drop_empty(rest)
            rest.chmod(0o755)
            sync_file_system(rest)
            exchange(rest, destination)
        else:
            shutil.rmtree(rest)
            destination.rename(rest)
        sync_directory(destination.parent)
    finally:
        if rest.exists():
            shutil.rmtree(rest)
    return tuple(sorted(kept))


def _drop_empty(folder: Path) -> None:
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(place).rmdir()


def _discard(destination: Path, path: Path) -> None:
    doomed = staging_path(destination)
    path.rename(doomed)  # a kill half-way leaves litter, never half a tree that looks like one
    shutil.rmtree(doomed)
