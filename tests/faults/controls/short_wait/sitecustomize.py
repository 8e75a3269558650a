"""A build that waits one second for an owner without progress, instead of minutes."""

from __future__ import annotations

import os

import distributor.host.exclusive

if not hasattr(distributor.host.exclusive, "LOCK_SECONDS"):
    os._exit(70)
distributor.host.exclusive.LOCK_SECONDS = 1.0
