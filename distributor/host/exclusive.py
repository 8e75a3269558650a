"""One at a time: who changes a destination holds its lock, and first puts right what a killed run left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import HostUnsuitable, Refused

if TYPE_CHECKING:
    from distributor.host.handover import Finished
    from distributor.system.file_lock import HeldLock

LOCK_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Exclusive:
    """The lock that is held, and the switch of a killed run that was finished under it, if there was one."""

    lock: HeldLock
    finished: Finished | None


@contextlib.contextmanager
def exclusive(destination: Path, *, close: bool = True) -> Iterator[Exclusive]:
    """Hold the destination's lock, with the leavings of killed runs swept and their switch finished.

    Unless it is to *close* that switch, the caller tells of it and closes it. Raises Locked, Refused for a
    parent where others may plant names, OSError.
    """
    from distributor.host.handover import finish
    from distributor.host.staging import safe_parent, sweep
    from distributor.siblings import lock_path
    from distributor.system.file_lock import hold_lock

    safe_parent(destination)
    with hold_lock(lock_path(destination), what=str(destination), timeout=LOCK_SECONDS) as lock:
        sweep(destination)
        yield Exclusive(lock=lock, finished=finish(destination, close=close))


def refuse_planted(destination: Path) -> None:
    """Where others may create names, what stands at the destination must be root's or ours."""
    if os.path.lexists(destination) and destination.parent.stat().st_mode & 0o022:
        owner = destination.lstat().st_uid
        if owner not in (0, os.geteuid()):
            raise Refused(f"{destination} belongs to user {owner}, in a directory that others may write to")


@contextlib.contextmanager
def as_host_errors(destination: Path) -> Iterator[None]:
    """Say what the host's file system refused, in one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or destination
        raise HostUnsuitable(
            f"cannot change {destination}: {error.strerror} ({where}); it is as before"
        ) from error
