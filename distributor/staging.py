"""Staging: a private, fresh sibling of the destination, and the sweep of what killed runs left."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from manifests.errors import HostUnsuitable, Refused

_MARK = ".venvoy-"
_PROBED_MODES = (0o644, 0o755)


def lock_path(destination: Path) -> Path:
    """Return the lock file that installs of *destination* share; it is never removed."""
    return destination.parent / f".{destination.name}.venvoy-lock"


@contextlib.contextmanager
def staging_directory(destination: Path) -> Iterator[Path]:
    """Yield a fresh 0700 directory beside *destination*; what is left of it at the end is removed.

    The caller holds the destination's lock, so that all older staging directories are litter of
    killed runs: they are swept first. Raises OSError, HostUnsuitable for a parent whose default ACL
    would change modes.
    """
    sweep(destination)
    path = destination.parent / f".{destination.name}{_MARK}{secrets.token_hex(8)}"
    path.mkdir(mode=0o700)
    try:
        _check_modes(path)
        yield path
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def sweep(destination: Path) -> int:
    """Remove staging directories and temporary links of killed runs; return how many there were."""
    prefix = f".{destination.name}{_MARK}"
    count = 0
    with os.scandir(destination.parent) as entries:
        litter = [
            entry
            for entry in entries
            if entry.name.startswith(prefix) and len(entry.name) == len(prefix) + 16
        ]
    for entry in litter:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink(missing_ok=True)
        count += 1
    return count


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


def flip_link(link: Path, target: Path) -> bool:
    """Make *link* point to *target* by one rename. Returns False if it did already.

    Raises Refused where something that is no link stands there, OSError where the disk fails.
    """
    wanted = os.path.relpath(target, link.parent) if target.parent == link.parent else str(target)
    with contextlib.suppress(FileNotFoundError):
        if not link.is_symlink():
            link.stat()
            raise Refused(f"{link} is no symbolic link; move it away, or choose another --link")
        if str(link.readlink()) == wanted:
            return False
    temporary = link.parent / f".{link.name}{_MARK}{secrets.token_hex(8)}"
    try:
        temporary.symlink_to(wanted)
        temporary.replace(link)
    finally:
        temporary.unlink(missing_ok=True)
    return True


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
