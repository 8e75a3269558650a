# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's part of venv_artifact: who is told, and the host part's archive where a host lacks it."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.venvoy.venvoy.plugins.module_utils.host_part import NAMES
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.handled import Handled
from ansible_collections.venvoy.venvoy.plugins.plugin_utils.this_play import this_play

_MODULE = "venvoy.venvoy.venv_artifact"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module; where it finds no host part, copies the archive over and runs it again."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        handled = Handled(self._task.delegate_to or str((task_vars or {}).get("inventory_hostname")))
        if not self._task.check_mode:
            handled.host_knows()  # what is told from here on is news
        arguments = {**self._task.args, "run": this_play(), "handled": handled.died()}
        _refuse_passwords([arguments.get("store"), *(arguments.get("mirrors") or [])])
        try:
            lacking = self._lacking()
            if lacking is not None:
                arguments["tool_archive"] = self._copy(lacking)
            done = self._run_module(arguments, task_vars)
            wanted = done.pop("tool_wanted", None)
            if wanted is not None and not done.get("failed"):
                done = self._run_module({**arguments, "tool_archive": self._copy(wanted)}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        result.update(done)
        return result

    def _run_module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module(
            module_name=_MODULE, module_args=arguments, task_vars=task_vars
        )
        return done

    def _lacking(self) -> dict[str, Any] | None:
        """Return the archive that the module would ask for, where one plain command can tell."""
        archives, place = self._task.args.get("tool") or [], self._task.args.get("tool_path", "/opt/venvoy")
        if len(archives) != 1 or not archives[0].get("src") or not str(place).startswith("/"):
            return None
        archive: dict[str, Any] = archives[0]
        command = f"{place}/{str(archive.get('sha256'))[:NAMES]}/bin/venvoy"
        return archive if self._low_level_execute_command(f"test -x {shlex.quote(command)}")["rc"] else None

    def _copy(self, archive: dict[str, Any]) -> str:
        """Copy the archive to the host's temporary folder and return where it lies there."""
        if not archive.get("src"):
            raise AnsibleActionFail(
                f"Venvoy's archive for {archive['target']} has neither src nor url: one must say where it is"
            )
        source = self._find_needle("files", archive["src"])
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        place: str = self._connection._shell.join_path(self._connection._shell.tmpdir, "venvoy-host.tar.gz")
        self._transfer_file(source, place)
        self._fixup_perms2((self._connection._shell.tmpdir, place))
        return place


def _refuse_passwords(locations: list[str | None]) -> None:
    """Refuse locations that hold a password: arguments are logged on both sides."""
    for location in locations:
        if location and "@" in (urlsplit(location).netloc or ""):
            raise AnsibleActionFail(
                "a store's location must not hold a user or a password: put them into the task's environment"
            )
