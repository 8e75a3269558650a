"""A build that does not hear what the disk says when it is asked to sync, which no sweep may let pass."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import distributor.system.syncing


def _deaf(call: Callable[[Any], None]) -> Callable[[Any], None]:
    def calls(what: Any) -> None:
        with contextlib.suppress(OSError):
            call(what)

    return calls


for _module, _name in ((os, "fsync"), (os, "fdatasync"), (distributor.system.syncing, "sync_file_system")):
    if not hasattr(_module, _name):
        os._exit(70)  # a control that no longer sabotages anything must not look like a good build
    setattr(_module, _name, _deaf(getattr(_module, _name)))
