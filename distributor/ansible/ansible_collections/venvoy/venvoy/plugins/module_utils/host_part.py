# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Venvoy's host part on a host: found, or brought to a bare one with nothing but python3 and tar.

Its archive is pinned by checksum. It is unpacked beside where it shall stand, bound to an interpreter of
the host, and renamed into place: a host part that is there is a whole one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_TARGET = re.compile(r"cp(3)(\d+)(t?)-linux_(\w+)-glibc(\d+)\.(\d+)")
_READ = 1024 * 1024
_TIMEOUT = 120
NAMES = 16
"""How many digits of its digest name a host part's tree."""


TOOL_SPEC: dict[str, Any] = {
    "tool": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "target": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "src": {"type": "path"},
            "url": {"type": "str"},
        },
    },
    "tool_path": {"type": "path", "default": "/opt/venvoy"},
    "tool_archive": {"type": "path"},
}
"""The arguments of modules that bring the host part along."""


class HostPartError(Exception):
    """Why there is no host part; for whoever runs the play."""


class HostPart:
    """The host part below *place*, wanted as one of *archives* ({target, sha256, src or url})."""

    def __init__(self, place: str, archives: list[dict[str, Any]]) -> None:
        self.place = Path(place)
        self.archives = archives

    def find(self) -> str | None:
        """Return the command of a host part that is one of the wanted archives, or None."""
        for archive in self.archives:
            command = self._tree(archive) / "bin/venvoy"
            if os.access(command, os.X_OK):
                return str(command)
        if not self.archives:
            command = self.place / "current/bin/venvoy"
            return str(command) if os.access(command, os.X_OK) else shutil.which("venvoy")
        return None

    def choose(self) -> tuple[dict[str, Any], str]:
        """Return the archive that this host can run, and the interpreter to bind it to."""
        said = []
        for archive in self.archives:
            interpreter = _interpreter(archive["target"])
            if interpreter:
                return archive, interpreter
            said.append(archive["target"])
        if not said:
            raise HostPartError(
                "Venvoy is not on this host and no archive of it was named: set 'tool', or install it"
            )
        version = ".".join(map(str, sys.version_info[:2]))
        raise HostPartError(
            f"no archive of Venvoy fits this host (Python {version}, {os.uname().machine}); there are: "
            f"{', '.join(said)}"
        )

    def install(self, path: str, archive: dict[str, Any], interpreter: str) -> str:
        """Bring the archive at *path* into place and return its command. Safe to be killed, and at once."""
        self.place.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self._lock():
            there = self.find()
            if there:
                return there
            tree = self._tree(archive)
            staging = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=self.place))
            try:
                self.unpack(path, archive, interpreter, staging)
                _sync(self.place)
                staging.rename(tree)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            _bind(tree, interpreter)
            self._make_current(archive)
        return str(tree / "bin/venvoy")

    def unpack(self, path: str, archive: dict[str, Any], interpreter: str, folder: Path) -> str:
        """Unpack the verified archive at *path* into *folder*, bind it, and return its command."""
        with Path(path).open("rb") as stream:
            found = _digest(stream)
            if found != archive["sha256"]:
                raise HostPartError(
                    f"Venvoy's archive has sha256 {found}, not the pinned {archive['sha256']}"
                )
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode="r:gz") as tar:
                _extract(tar, folder)
        folder.chmod(0o755)
        _bind(folder, interpreter)
        command = str(folder / "bin/venvoy")
        _run([command, "--version"])
        return command

    def _tree(self, archive: dict[str, Any]) -> Path:
        return self.place / str(archive["sha256"])[:NAMES]

    def _make_current(self, archive: dict[str, Any]) -> None:
        """Flip the link for people, and remove what is older than the one before."""
        link, name = self.place / "current", self._tree(archive).name
        before = link.readlink().name if link.is_symlink() else ""
        temporary = self.place / f".current-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(name)
        temporary.replace(link)
        for entry in self.place.iterdir():
            is_ours = re.fullmatch(r"[0-9a-f]{16}", entry.name) or entry.name.startswith(".unpacking-")
            if is_ours and entry.name not in (name, before):
                shutil.rmtree(entry, ignore_errors=True)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.place / ".lock").open("w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _interpreter(target: str) -> str | None:
    """Return an interpreter of this host that runs what was built for *target*, or None."""
    match = _TARGET.fullmatch(target)
    if not match or match[4] != os.uname().machine:
        return None
    libc = re.fullmatch(r"glibc (\d+)\.(\d+).*", os.confstr("CS_GNU_LIBC_VERSION") or "")
    if not libc or (int(libc[1]), int(libc[2])) < (int(match[5]), int(match[6])):
        return None
    if sys.version_info[:2] == (int(match[1]), int(match[2])) and not match[3]:
        return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return shutil.which(f"python{match[1]}.{match[2]}{match[3]}")


def _sync(folder: Path) -> None:
    """Bring the file system of *folder* to disk; the whole machine's may take minutes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if getattr(ctypes.CDLL(None), "syncfs", lambda _: -1)(descriptor):
            os.sync()
    finally:
        os.close(descriptor)


def _bind(folder: Path, interpreter: str) -> None:
    _run([str(folder / "bin/venvoy-bind"), interpreter])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode:
        raise HostPartError(f"{command[0]}: {done.stderr.strip() or f'exit {done.returncode}'}")


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while True:
        chunk = stream.read(_READ)
        if not chunk:
            return digest.hexdigest()
        digest.update(chunk)


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack what the pinned digest vouches for; a second look costs nothing."""
    for member in tar:
        parts = member.name.split("/")
        if (
            member.name.startswith("/")
            or ".." in parts
            or not (member.isfile() or member.isdir() or member.issym())
        ):
            raise HostPartError(f"Venvoy's archive holds {member.name!r}, which does not belong there")
        member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
        member.mode &= 0o755
        if hasattr(tarfile, "data_filter"):
            tar.extract(member, folder, filter="data")
        else:
            tar.extract(member, folder)
