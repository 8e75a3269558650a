"""A build in which everybody has the lock: what the tests of many at once must not let pass."""

from __future__ import annotations

import fcntl
import os

if not hasattr(fcntl, "flock"):
    os._exit(70)  # a control that no longer sabotages anything must not look like a good build
fcntl.flock = lambda *_: None
