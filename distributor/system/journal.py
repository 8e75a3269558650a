"""One line in the system's journal for each switch of a venv or a link."""

from __future__ import annotations

import syslog


def note_switch(place: object, action: str, release: str, before: str | None, who: str) -> None:
    """Tell the journal (syslog(3)) what is active at *place* now, instead of what, and by whom.

    Never fails: on a host without a journal nobody reads it.
    """
    instead = f" instead of {before}" if before else ""
    syslog.openlog("venvoy", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_NOTICE, f"{action}: release {release} is active in {place}{instead}, by {who}")
    syslog.closelog()
