# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Notes on the host that the handlers of this play have run, by one plain command: no module is sent over."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.handled import Handled
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.this_play import this_play

_SPEC = {
    "state_dir": {"type": "path", "default": "/var/lib/venvoy"},
    "tool_path": {"type": "path", "default": "/opt/venvoy"},
}
# The host part that a role brought, or one of the host's own; where neither is, nothing can be owed.
_SCRIPT = 'if [ -x {command} ]; then exec {command} {arguments}; elif command -v venvoy >/dev/null; then \
exec venvoy {arguments}; else echo \'{{"changed": false, "acknowledged": []}}\'; fi'


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs ``venvoy acknowledge`` for the play that runs."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was acknowledged."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec=_SPEC)[1]
        handled = Handled(self._task.delegate_to or str((task_vars or {}).get("inventory_hostname")))
        if not self._task.check_mode:
            handled.note()
        result.update(self._acknowledge(options))
        if not (self._task.check_mode or result.get("failed")):
            handled.host_knows()
        return result

    def _acknowledge(self, options: dict[str, Any]) -> dict[str, Any]:
        words = ["acknowledge", "--run", this_play(), "--state", options["state_dir"], "--json"]
        script = _SCRIPT.format(
            command=shlex.quote(f"{options['tool_path']}/current/bin/venvoy"),
            arguments=shlex.join([*words, *(["--dry-run"] if self._task.check_mode else [])]),
        )
        done = self._low_level_execute_command(script)
        try:
            document: dict[str, Any] = json.loads(done["stdout"][done["stdout"].index("{") :])
        except ValueError:
            document = {"error": done["stderr"].strip() or f"venvoy ended with status {done['rc']}"}
        if done["rc"] or "error" in document:
            message = document.get("error") or done["stderr"].strip()
            return {"failed": True, "msg": message, "exit_code": done["rc"]}
        return document
