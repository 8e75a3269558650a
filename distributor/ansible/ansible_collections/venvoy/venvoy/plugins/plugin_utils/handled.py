# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Plays whose handlers have run on a host that may not know it yet: one small file each, on the controller.

When the acknowledging handler's turn comes, those of the services have run. That is noted here at once, and
taken out when the host has noted it. A play that is killed in between leaves its note, by which the next play
does not run the handlers again.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path

from ansible import constants
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.this_play import is_alive, this_play

_KEPT_SECONDS = 30 * 24 * 3600


class Handled:
    """The notes about *host*, as the inventory names it."""

    def __init__(self, host: str) -> None:
        digest = hashlib.sha256(host.encode("utf-8")).hexdigest()[:32]
        self._folder = Path(constants.config.get_config_value("ANSIBLE_HOME")) / "venvoy/handled" / digest

    def note(self) -> None:
        """Note that this play's handlers have run."""
        # Where it cannot be written the host alone knows, a little later: no reason to fail.
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._place(this_play()).write_text(this_play(), encoding="utf-8")

    def host_knows(self) -> None:
        """Take that back: the host has noted it, or something changes again."""
        with contextlib.suppress(OSError):
            self._place(this_play()).unlink(missing_ok=True)

    def died(self) -> list[str]:
        """Return the plays of this controller that died when their handlers had run.

        Several venvs may wait for the same play, so that its note stays, for a month.
        """
        found = []
        with contextlib.suppress(OSError):
            for note in sorted(self._folder.iterdir()):
                if time.time() - note.stat().st_mtime > _KEPT_SECONDS:
                    note.unlink(missing_ok=True)
                    continue
                run = note.read_text(encoding="utf-8")
                if run and not is_alive(run):
                    found.append(run)
        return found

    def _place(self, run: str) -> Path:
        return self._folder / hashlib.sha256(run.encode("utf-8")).hexdigest()[:32]
