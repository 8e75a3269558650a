"""A build that waits one second for an owner without progress, instead of minutes."""

from __future__ import annotations

import os

import distributor.install

if not hasattr(distributor.install, "LOCK_SECONDS"):
    os._exit(70)
distributor.install.LOCK_SECONDS = 1.0
