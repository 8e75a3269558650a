# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the variables of python_venv_build on the controller; see plugin_utils/drop_in.py."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.drop_in import VariableError, plan, toggles

_PREFIX = "venv_"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Returns what to build and to install. No host is touched."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        names = [name for name in known if name.startswith(_PREFIX)]
        variables = {name: self._templar.template(known[name]) for name in names}
        variables.update(dict.fromkeys(toggles(known)))
        try:
            result["plan"] = plan(variables)
        except VariableError as error:
            raise AnsibleActionFail(str(error)) from None
        found = result["plan"]["toggles"]
        if found:
            # Ansible shows equal warnings once, however many hosts and roles raise them.
            result["warnings"] = [
                f"{name} has no effect: services are always installed into virtual environments; remove it"
                for name in found
            ]
        result["changed"] = False
        return result
