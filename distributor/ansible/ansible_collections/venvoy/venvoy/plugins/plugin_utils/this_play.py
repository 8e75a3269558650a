# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Which run of ansible-playbook this is: the same in each of its tasks and handlers."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_play() -> str:
    """Return a name for the running ansible-playbook: host, process and when that was started.

    Action plugins run in workers, whose parent it is.
    """
    parent = os.getppid()
    return f"{socket.gethostname()}:{parent}:{_started(parent)}"


def is_alive(play: str) -> bool:
    """Whether the *play* of that name, of this machine, still runs."""
    process, started = play.split(":")[1:]
    return bool(started) and _started(int(process)) == started


def _started(process: int) -> str:
    """Return the process's start time in clock ticks since boot; empty where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        # The name in brackets may hold anything; what follows its last bracket is plain.
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
