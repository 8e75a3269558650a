"""Processes that end with the one that started them, whatever ends that."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when *parent* ends, whose child it is: prctl(2).

    To be called after the fork, and after a change of user, which would take it back. Where the parent
    is gone already this process ends here.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
