"""A destination's history: one line for each switch."""

from __future__ import annotations

import datetime
import os
import pwd
from pathlib import Path

from distributor.system.journal import note_switch
from manifests.receipt import Receipt, Switch


def new_switch(
    action: str, release: str, identity: str, note: str | None = None, *, before: str | None
) -> Switch:
    """Return a line of history for what is done now, by the user who does it, after release *before*."""
    return Switch(
        when=now(), who=user(), action=action, release=release, identity=identity, note=note, before=before
    )


def tell_journal(place: Path, switch: Switch) -> None:
    """Note in the system's journal that *switch* happened at *place*."""
    note_switch(place, switch.action, switch.release, switch.before, switch.who)


def now() -> str:
    """Return the present time, UTC, in ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def user() -> str:
    """Return who does this: the name of the user, or of the one behind sudo; a number where none is known."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def became_active(receipt: Receipt, active: Receipt | None) -> tuple[str, int]:
    """Return what orders a destination's trees by when they became active: the time, then the place.

    *active* is the receipt of the tree that stands there now. A tree that was made ready for a switch
    that did not happen has it in its history already, and the active one has not: it does not count.
    """
    history = receipt.history
    if active is not None and history and history[-1] not in active.history:
        history = history[:-1]
    return history[-1].when if history else receipt.installed_at, len(history)
