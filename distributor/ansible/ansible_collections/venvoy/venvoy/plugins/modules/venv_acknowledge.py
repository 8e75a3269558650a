#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The Ansible module that notes that a play's handlers have run."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv_acknowledge
short_description: Note that handlers have acted on changed virtual environments
version_added: "0.1.0"
author: The Venvoy authors (@venvoy)
description:
  - What O(venvoy.venvoy.venv_artifact#module:notify) asked for stays owed in the receipt of each venv, and is
    reported again by each run, until this module has run in the same play. It belongs into a handler of the
    same topic, behind those of the service.
  - It looks at every venv of the host, since a handler runs once for all tasks that notified it. What another
    play was told is left alone.
attributes:
  check_mode:
    description: Reports exactly what a run would change.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  platform:
    description: Where it runs.
    support: full
    platforms: posix
options:
  state_dir:
    description: Where Venvoy keeps what it remembers of the host.
    type: path
    default: /var/lib/venvoy
  tool_path:
    description: Where Venvoy's host parts stand.
    type: path
    default: /opt/venvoy
  run:
    description: Which play's handlers have run. Set by the action plugin.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Note that the services were restarted
  venvoy.venvoy.venv_acknowledge:
  listen: venv changed
"""

RETURN = r"""
acknowledged:
  description: The venvs whose notifications are no longer owed, with their topics.
  returned: success
  type: list
  elements: dict
  sample: [{"destination": "/openstack/venvs/keystone-2026.1.0", "notify": ["venv changed"]}]
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.venvoy.venvoy.plugins.module_utils.host_part import HostPart


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "default": "/var/lib/venvoy"},
            "tool_path": {"type": "path", "default": "/opt/venvoy"},
            "run": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    command = HostPart(params["tool_path"], []).find()
    if command is None:
        module.exit_json(changed=False, acknowledged=[])
    arguments = [command, "acknowledge", "--run", params["run"], "--state", params["state_dir"], "--json"]
    code, out, err = module.run_command([*arguments, *(["--dry-run"] if module.check_mode else [])])
    try:
        document = json.loads(out)
    except ValueError:
        document = {"error": err.strip() or f"{command} ended with status {code}"}
    if code or "error" in document:
        module.fail_json(msg=document.get("error", err.strip()), exit_code=code)
    module.exit_json(**document)


if __name__ == "__main__":
    main()
