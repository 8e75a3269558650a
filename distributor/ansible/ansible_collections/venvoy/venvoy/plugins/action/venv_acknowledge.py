# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's part of venv_acknowledge: whose handlers have run."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.handled import Handled
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.this_play import this_play


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module for the play that runs."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        handled = Handled(self._task.delegate_to or str((task_vars or {}).get("inventory_hostname")))
        if not self._task.check_mode:
            handled.note()
        result.update(
            self._execute_module(
                module_name="venvoy.venvoy.venv_acknowledge",
                module_args={**self._task.args, "run": this_play()},
                task_vars=task_vars,
            )
        )
        if not (self._task.check_mode or result.get("failed") or result.get("unreachable")):
            handled.host_knows()
        return result
