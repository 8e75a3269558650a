# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the variables of python_venv_build on the controller; see plugin_utils/drop_in.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.drop_in import VariableError, plan


class _Variables(Mapping[str, Any]):
    """The variables of a host. Only those that are read are templated: some take longer than all the rest."""

    def __init__(self, known: Mapping[str, Any], template: Callable[[Any], Any]) -> None:
        self._known = known
        self._template = template
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._read:
            self._read[name] = self._template(self._known[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Returns what to build and to install. No host is touched."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        try:
            result["plan"] = plan(_Variables(known, self._templar.template))
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
