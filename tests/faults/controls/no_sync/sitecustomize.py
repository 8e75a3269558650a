"""A build that syncs nothing: what the fault tests must not let pass."""

from __future__ import annotations

import os

import distributor.system.syncing


def _nothing(_: object) -> None:
    """Pretend that it is on disk."""


for _module, _name in ((os, "fsync"), (os, "fdatasync"), (distributor.system.syncing, "sync_file_system")):
    if not hasattr(_module, _name):
        os._exit(70)  # a control that no longer sabotages anything must not look like a good build
    setattr(_module, _name, _nothing)
