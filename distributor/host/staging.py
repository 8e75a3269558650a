"""Staging: a private, fresh sibling of the destination, and the sweep of what killed runs left."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from distributor.host.activation import rescue
from distributor.host.handover import replaced_tree
from distributor.siblings import litter, previous_paths, staging_path
from manifests.atomic_file import TEMPORARY_PREFIX
from manifests.errors import HostUnsuitable, Refused
from manifests.layout import PRIVATE

_PROBED_MODES = (0o644, 0o755)


@contextlib.contextmanager
def staging_directory(destination: Path) -> Iterator[Path]:
    """Yield a fresh 0700 directory beside *destination*; what is left of it at the end is removed.

    Raises OSError, HostUnsuitable for a parent whose default ACL would change modes.
    """
    path = staging_path(destination)
    path.mkdir(mode=0o700)
    ours = path.lstat().st_ino
    try:
        _check_modes(path)
        yield path
    finally:
        # After a switch the name is free, or holds the replaced tree: neither is ours to remove.
        if os.path.lexists(path) and path.lstat().st_ino == ours:
            shutil.rmtree(path)


def sweep(destination: Path) -> None:
    """Remove what killed runs left beside *destination*; a replaced tree among it is put aside.

    The caller holds the destination's lock, so that no living run owns any of it. Raises OSError.
    """
    left = litter(destination)
    if left and not os.path.lexists(destination):
        _put_back(destination, left)
    for path in left:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        elif not rescue(destination, path):
            shutil.rmtree(path)
    for venv in (destination, *previous_paths(destination)):
        for path in (venv / PRIVATE).glob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)


def _put_back(destination: Path, left: list[Path]) -> None:
    """Give the replaced tree its name again, where a switch by two renames was killed between them."""
    for staged in left:
        replaced = replaced_tree(destination, staged)
        if replaced is not None:
            replaced.rename(destination)
            return


def safe_parent(destination: Path) -> None:
    """Create the destination's parent where it lacks; refuse one in which others may plant names."""
    parent = destination.parent
    parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    status = parent.stat()
    open_to_others = stat.S_IMODE(status.st_mode) & 0o022
    trusted = status.st_uid in (0, os.geteuid())
    if not trusted or (open_to_others and not status.st_mode & stat.S_ISVTX):
        raise Refused(
            f"{parent} can be written by others, who could swap what is installed: "
            f"'chown root {parent} && chmod 755 {parent}', or choose another destination"
        )


def _check_modes(directory: Path) -> None:
    """Refuse a parent whose default ACL would change the modes of every file created here."""
    umask = os.umask(0o022)
    try:
        for mode in _PROBED_MODES:
            probe = directory / f"probe-{mode:o}"
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            try:
                found = stat.S_IMODE(os.fstat(descriptor).st_mode)
            finally:
                os.close(descriptor)
                probe.unlink()
            if found != mode:
                raise HostUnsuitable(
                    f"files created in {directory.parent} get mode {found:o} instead of {mode:o}: "
                    f"remove its default ACL ('setfacl -k {directory.parent}')"
                )
    finally:
        os.umask(umask)
