"""Small real disks that lose power: loop devices with ext4 or xfs, shut down without a last flush."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN; Python has no name for it."""
_NO_LOG_FLUSH = 2
_HELD_SECONDS = 120.0
_SIZES = {"ext4": 192 * 1024 * 1024, "xfs": 320 * 1024 * 1024}


class Unavailable(Exception):
    """No such disk can be had here, and why."""


class PowerDisk:
    """A file system of *kind* in an image below *folder*, mounted at ``mount``."""

    def __init__(self, folder: Path, kind: str) -> None:
        if os.geteuid() != 0:
            raise Unavailable("needs root to mount a disk")
        if shutil.which(f"mkfs.{kind}", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise Unavailable(f"mkfs.{kind} is not installed: .ci/install-system-packages brings it")
        self.mount = folder / "mount"
        self.mount.mkdir(parents=True)
        image = folder / "image"
        with image.open("wb") as stream:
            stream.truncate(_SIZES[kind])
        _command(f"mkfs.{kind}", "-q", str(image))
        self._device = _command("losetup", "--find", "--show", str(image)).strip()
        try:
            self.plug_in()
        except Unavailable:
            self._detach()
            raise

    def plug_in(self) -> None:
        """Mount, replaying the journal as after a real power cut.

        A process that made a mount namespace of its own meanwhile (a sandbox) holds the old mount there,
        and then the kernel gives back what was shut down. That is waited for.
        """
        deadline = time.monotonic() + _HELD_SECONDS
        while True:
            _command("mount", self._device, str(self.mount))
            try:
                with (self.mount / "alive").open("wb") as probe:  # a folder may still be read from memory
                    os.fsync(probe.fileno())
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            else:
                return
            _command("umount", str(self.mount))
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.mount} is held by another mount namespace")
            time.sleep(0.2)

    def settle(self) -> None:
        """Bring everything to disk."""
        _command("sync", "--file-system", str(self.mount))

    def neighbour(self) -> None:
        """Let another process sync a file of its own: it commits the journal, with all names in it.

        Without it a power cut loses the whole last transaction, which looks atomic and is luck.
        """
        _command(
            *("dd", "if=/dev/zero", f"of={self.mount / 'neighbour'}", "bs=4096", "count=1", "conv=fsync"),
            "status=none",
        )

    def cut(self) -> None:
        """Lose power: what is not on disk is gone. Then come back."""
        descriptor = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, array.array("I", [_NO_LOG_FLUSH]))
        finally:
            os.close(descriptor)
        _command("umount", str(self.mount))
        self.plug_in()

    def remove(self) -> None:
        """Unmount and free the loop device."""
        _command("umount", str(self.mount))
        self._detach()

    def _detach(self) -> None:
        _command("losetup", "--detach", self._device)


def _command(*command: str) -> str:
    done = _run(command)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PATH": path},
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
