"""A build that syncs nothing: what the fault tests must not let pass."""

from __future__ import annotations

import os

import distributor.syncing


def _nothing(_: object) -> None:
    """Pretend that it is on disk."""


os.fsync = _nothing
os.fdatasync = _nothing
distributor.syncing.sync_file_system = _nothing
