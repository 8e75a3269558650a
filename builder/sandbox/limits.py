"""How much an untrusted build may use, and how to find out that it uses more."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.byte_size import parse_size
from manifests.console import size
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

_GIBIBYTE = 1024**3
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_FILES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class BuildLimits:
    """What one build may use: *time* in seconds, *memory* and *disk* in bytes, *processes*."""

    time: int = 3600
    memory: int = 8 * _GIBIBYTE
    disk: int = 16 * _GIBIBYTE
    processes: int = 1024

    @classmethod
    def parse(cls, text: str) -> BuildLimits:
        """Read ``time=900,memory=4G,disk=8G,processes=256``; what is left out keeps its default."""
        known = {field.name for field in fields(cls)}
        given: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, amount = part.partition("=")
            if name not in known or name in given:
                raise InvalidInput(
                    f"limit {part!r}: write for instance time=900,memory=4G,disk=8G,processes=256"
                )
            given[name] = parse_size(amount, what=f"limit {part!r}", least=1, thousand=1024)
        return replace(cls(), **given)

    def rlimits(self) -> list[str]:
        """Return a ``prlimit`` command line's beginning: what the kernel holds each process to."""
        bounds = {
            "core": 0,
            "data": self.memory,
            "fsize": self.disk,
            "nproc": self.processes,
        }
        return ["prlimit", *(f"--{name}={value}:{value}" for name, value in bounds.items()), "--"]


def excess(limits: BuildLimits, leader: int, folder: Path, log: Path) -> str | None:
    """Say in what the processes below *leader*, *folder* and *log* together exceed *limits*, or None.

    The kernel bounds each process and file; sums are looked at here, several times a second.
    """
    processes = list(descendants(leader))
    if len(processes) > limits.processes + 16:
        return f"started {len(processes)} processes, more than {limits.processes}"
    memory = sum(_resident(process) for process in processes)
    if memory > limits.memory:
        return f"took {size(memory)} of memory, more than {size(limits.memory)}"
    try:
        used = _used(folder) + log.stat().st_size
    except _TooMuch as reason:
        return str(reason)
    if used > limits.disk:
        return f"took {size(used)} of disk, more than {size(limits.disk)}"
    return None


class _TooMuch(Exception):
    """A tree that cannot even be looked through."""


def descendants(leader: int) -> Iterator[int]:
    """Yield *leader* and the processes that it and they started."""
    parents: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    fields_ = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                    parents.setdefault(int(fields_[1]), []).append(int(entry.name))
    pending = [leader]
    while pending:
        process = pending.pop()
        yield process
        pending += parents.get(process, [])


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0  # it ended just now


def _used(folder: Path) -> int:
    """Return the bytes below *folder*, whatever a hostile build put there. Follows no link."""
    total = count = 0
    pending = [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    count += 1
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * 512
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise _TooMuch("nested folders deeper than a path can be long") from None
            continue  # removed or closed just now: the next look sees what is left
        if count > _MOST_FILES:
            raise _TooMuch(f"made more than {_MOST_FILES} files")
    return total
