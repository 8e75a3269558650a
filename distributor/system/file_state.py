"""Copying a file with all that the host gave it: owner, mode, times, ACLs, attributes, labels."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

_IGNORED = (errno.ENOTSUP, errno.ENODATA, errno.EINVAL)


def copy_entry(source: Path, destination: Path) -> None:
    """Copy a regular file or symbolic link, content and state. The destination must not exist.

    Raises OSError.
    """
    if source.is_symlink():
        destination.symlink_to(source.readlink())
    else:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as reader, destination.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1024 * 1024)
    copy_state(source, destination)


def copy_state(source: Path, destination: Path) -> None:
    """Give *destination* the owner, mode, extended attributes (ACLs, labels) and times of *source*.

    Raises OSError, but not where the file system of one of them has no such attributes.
    """
    status = source.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    have = destination.lstat()
    if (status.st_uid, status.st_gid) != (have.st_uid, have.st_gid):
        os.chown(destination, status.st_uid, status.st_gid, follow_symlinks=False)
    if not is_link:
        destination.chmod(stat.S_IMODE(status.st_mode))
    _copy_attributes(source, destination)
    os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_attributes(source: Path, destination: Path) -> None:
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno in _IGNORED:
            return
        raise
    for name in names:
        value = os.getxattr(source, name, follow_symlinks=False)
        with contextlib.suppress(OSError):
            if os.getxattr(destination, name, follow_symlinks=False) == value:
                continue
        try:
            os.setxattr(destination, name, value, follow_symlinks=False)
        except OSError as error:
            # Without privilege (trusted.*, security.*) the kernel's own default stays.
            if error.errno not in (*_IGNORED, errno.EPERM):
                raise
