"""A destination's history: one line for each switch."""

from __future__ import annotations

import datetime
import os

from manifests.receipt import Switch


def new_switch(action: str, release: str, identity: str, note: str | None = None) -> Switch:
    """Return a line of history for what is done now, by the user who does it."""
    who = os.environ.get("SUDO_USER") or str(os.getuid())
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Switch(when=now, who=who, action=action, release=release, identity=identity, note=note)
