"""A build that installs into folders where others may rename: what a racing user must be able to use."""

from __future__ import annotations

import os
from pathlib import Path

import distributor.host.exclusive
import distributor.host.staging


def _anything_goes(_: Path) -> None:
    """Refuse nothing."""


for _module, _name in (
    (distributor.host.staging, "safe_parent"),
    (distributor.host.exclusive, "refuse_planted"),
):
    if not hasattr(_module, _name):
        os._exit(70)  # a control that no longer sabotages anything must not look like a good build
    setattr(_module, _name, _anything_goes)
