"""Hosts on this machine: each sees a copy of its files through an overlay, and writes into memory alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


def why_not() -> str | None:
    """Return why there can be no such hosts here, or None."""
    if os.geteuid() != 0:
        return "hosts of their own need root, for overlay mounts and chroot"
    try:
        if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
            subprocess.run(["modprobe", "overlay"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "hosts of their own need the overlay file system"
    return None


@contextlib.contextmanager
def overlay_hosts(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Yield the root of each of *names*, made below *folder*. Raises CalledProcessError."""
    with contextlib.ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        _mount(stack, folder, "-t", "tmpfs", "-o", "size=4g,mode=0755", "tmpfs")
        roots = {}
        for name in names:
            upper, work, root = (folder / name / part for part in ("upper", "work", "root"))
            for path in (upper, work, root):
                path.mkdir(parents=True)
            _mount(
                stack, root, "-t", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", "overlay"
            )
            _mount(stack, root / "proc", "-t", "proc", "proc")
            _mount(stack, root / "dev", "--bind", "/dev")
            roots[name] = root
        yield roots


def _mount(stack: contextlib.ExitStack, place: Path, *what: str) -> None:
    subprocess.run(["mount", *what, str(place)], check=True, capture_output=True)
    stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=False, capture_output=True)
