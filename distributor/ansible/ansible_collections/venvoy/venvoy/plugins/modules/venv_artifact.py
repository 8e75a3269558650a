#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The Ansible module that installs, rolls back, removes or verifies one prebuilt venv."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv_artifact
short_description: Install a prebuilt virtual environment, whole or not at all
version_added: "0.1.0"
author: The Venvoy authors (@venvoy)
description:
  - Fetches the artifact that a release pins for a service, verifies it against signed metadata, unpacks it
    beside its destination, binds it to an interpreter of the host, checks it and renames it into place.
  - Interrupted at any instant, the host has the old venv or the new one; the next run goes on. It waits for a
    run that is still at work on the destination, such as that of a play that was killed.
  - Facts and notifications are owed in the venv's receipt from the instant of the switch on, until they were
    written and acknowledged by M(venvoy.venvoy.venv_acknowledge). A play that finds some reports a change.
  - Brings Venvoy's host part to hosts that have nothing but python3 and tar.
notes:
  - Proxies, C(REQUESTS_CA_BUNDLE) and credentials of stores (C(AWS_ACCESS_KEY_ID)) come from the task's
    C(environment). Locations with a password in them are refused.
  - In check mode nothing on the host changes, and all return values but RV(fetched_bytes), RV(replaced),
    RV(kept) and RV(aside) are those of the run that follows.
extends_documentation_fragment:
  - venvoy.venvoy.announcing
  - venvoy.venvoy.host_part
  - venvoy.venvoy.installing
  - venvoy.venvoy.attributes
attributes:
  diff_mode:
    description: Shows the packages that are added, removed and upgraded.
    support: full
options:
  service:
    description: The service, as the release names it. Needed for O(state=present).
    type: str
  dest:
    description: Where the venv stands.
    type: path
    required: true
  state:
    description:
      - V(present) installs what O(release) or O(channel) pins.
      - V(absent) removes the venv, what it replaced and O(link). Files below mutable paths that the host
        changed or added stay.
      - V(rolled_back) makes the tree that was active before active again, or that of O(release). It needs no
        store. A database is not rolled back with it.
      - V(verified) reads every file and fails if one is not as it was installed. It changes nothing.
    type: str
    choices: [present, absent, rolled_back, verified]
    default: present
  release:
    description: The release that pins the artifact, or to which to go back.
    type: str
  channel:
    description: The channel whose release is installed.
    type: str
  link:
    description: A symbolic link to flip to the venv when it is complete.
    type: path
"""

EXAMPLES = r"""
- name: Install keystone
  venvoy.venvoy.venv_artifact:
    service: keystone
    release: 2026.1.0
    store: https://repo.example/venvoy
    root_content: "{{ lookup('ansible.builtin.file', 'root.json') }}"
    dest: /openstack/venvs/keystone-2026.1.0
    link: /openstack/venvs/keystone
    tool:
      - target: cp311-linux_x86_64-glibc2.36
        sha256: "{{ venvoy_sha256 }}"
        src: venvoy-host-0.1.0-cp311-linux_x86_64-glibc2.36.tar.gz

- name: Go back
  venvoy.venvoy.venv_artifact:
    dest: /openstack/venvs/keystone
    state: rolled_back
"""

RETURN = r"""
release:
  description: The release that is installed.
  returned: success
  type: str
version:
  description: The service's version.
  returned: when a venv is there
  type: str
artifact:
  description: The identity of the artifact, the digest of all that it was made from.
  returned: when a venv is there
  type: str
real_path:
  description: The venv's physical path, from which long-running services should be started.
  returned: with state present
  type: str
packages:
  description: Packages that were C(added), C(removed) and C(upgraded) (old and new version).
  returned: when the venv changed
  type: dict
  sample: {"added": {}, "removed": {}, "upgraded": {"keystone": ["29.0.1", "29.0.2"]}}
facts:
  description: The facts that were written.
  returned: with states present and rolled_back
  type: list
  elements: str
notify:
  description: The topics that handlers have to act on.
  returned: with states present and rolled_back
  type: list
  elements: str
restart_pids:
  description: Processes that run from the tree that is replaced.
  returned: with state present
  type: list
  elements: int
local_changes:
  description: Files that differ from the artifact though nobody declared them mutable.
  returned: with state present
  type: list
  elements: str
fetched_bytes:
  description: How much came over the network or from the store.
  returned: with state present, not in check mode
  type: int
replaced:
  description: Where the tree lies that was replaced.
  returned: when one was, not in check mode
  type: str
kept:
  description: Files of the host that were carried over.
  returned: not in check mode
  type: list
  elements: str
aside:
  description: Files that were put beside their successors, to be looked at.
  returned: not in check mode
  type: list
  elements: str
notes:
  description: What else to know, such as mirrors that were passed over.
  returned: with state present
  type: list
  elements: str
tool_installed:
  description: Whether Venvoy's host part was brought to the host.
  returned: always
  type: bool
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.venvoy.venvoy.plugins.module_utils.embedding import unfit_servers
from ansible_collections.venvoy.venvoy.plugins.module_utils.host_part import (
    TOOL_SPEC,
    HostPart,
    HostPartError,
)
from ansible_collections.venvoy.venvoy.plugins.module_utils.venvoy_command import (
    ANNOUNCING_SPEC,
    INSTALLING_SPEC,
    VERBS,
    ArgumentError,
    arguments_of,
    diff_of,
    role_request,
)

_ONLY_AFTERWARDS = ("fetched_bytes", "replaced", "kept", "aside")


def find_tool(module: AnsibleModule) -> tuple[str, bool]:
    """Return Venvoy's command, and whether it had to be brought here.

    Ends the module where the archive must be copied first.
    """
    part = HostPart(module.params["tool_path"], module.params["tool"])
    try:
        command = part.find()
        if command:
            return command, False
        archive, interpreter = part.choose()
        path = module.params["tool_archive"]
        if not path:
            if not archive.get("url"):
                module.exit_json(tool_wanted=archive, changed=False)
            # Hosts compile what modules import, at each run.
            from ansible.module_utils.urls import fetch_file

            path = fetch_file(module, archive["url"])
        if module.check_mode:
            folder = Path(tempfile.mkdtemp(dir=module.tmpdir))
            return part.unpack(path, archive, interpreter, folder), True
        return part.install(path, archive, interpreter), True
    except (HostPartError, OSError) as error:
        module.fail_json(msg=str(error))
        raise


def write_root(module: AnsibleModule) -> tuple[str, bool]:
    """Return where the trusted root lies, and whether it had to be written."""
    path, content = module.params["root"], module.params["root_content"]
    if content is None:
        return path, False
    data = content.encode("utf-8")
    try:
        if Path(path).read_bytes() == data:
            return path, False
    except FileNotFoundError:
        pass
    except OSError as error:
        module.fail_json(msg=f"cannot read {path}: {error.strerror}")
    descriptor, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    if module.check_mode:
        return temporary, True
    Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    Path(temporary).chmod(0o644)
    module.atomic_move(temporary, path)
    return path, True


def run_venvoy(module: AnsibleModule, command: str, root: str) -> dict[str, Any]:
    """Run Venvoy and return its document. Ends the module with what it says is wrong."""
    state = module.params["state"]
    data = role_request(module.params) if state in ("present", "rolled_back") else None
    try:
        given = arguments_of(module.params, root, dry_run=module.check_mode)
    except ArgumentError as error:
        module.fail_json(msg=str(error))
    arguments = [command, VERBS[state], *given, "--json"]
    code, out, err = module.run_command(arguments, data=data)
    try:
        document: dict[str, Any] = json.loads(out)
    except ValueError:
        document = {"error": err.strip() or f"{command} ended with status {code}"}
    if code and state == "verified" and "clean" in document:
        wrong = [name for name in ("altered", "missing", "added", "modes", "binding") if document[name]]
        shown = "; ".join(f"{name}: {', '.join(document[name][:5])}" for name in wrong)
        module.fail_json(msg=f"{module.params['dest']} is not what was installed: {shown}", **document)
    if code or "error" in document:
        module.fail_json(msg=document.get("error", err.strip()), exit_code=code)
    return document


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str"},
            "dest": {"type": "path", "required": True},
            "state": {"type": "str", "choices": list(VERBS), "default": "present"},
            "release": {"type": "str"},
            "channel": {"type": "str"},
            "link": {"type": "path"},
            **INSTALLING_SPEC,
            **ANNOUNCING_SPEC,
            **TOOL_SPEC,
        },
        mutually_exclusive=[("release", "channel")],
        required_if=[("state", "present", ["service"]), ("state", "present", ["release", "channel"], True)],
        supports_check_mode=True,
    )
    command, brought = find_tool(module)
    root, root_written = write_root(module) if module.params["state"] == "present" else ("", False)
    document = run_venvoy(module, command, root)
    if module.check_mode:
        document = {key: value for key, value in document.items() if key not in _ONLY_AFTERWARDS}
    if module.params["state"] in ("present", "rolled_back"):
        for warning in unfit_servers(
            module.params["dest"], str(document.get("target")), module.params["servers"]
        ):
            module.warn(warning)
    changed = bool(document.pop("changed", False)) or brought or root_written
    module.exit_json(
        changed=changed, tool_installed=brought, diff=diff_of(document, module.params["dest"]), **document
    )


if __name__ == "__main__":
    main()
