#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The Ansible module that builds a venv's artifact on the build host, once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv_build
short_description: Build and publish a virtual environment's artifact, once for each target
version_added: "0.1.0"
author: The Venvoy authors (@venvoy)
description:
  - Resolves requirements, builds an artifact of them, publishes and pins it in a store on the build host.
  - However many hosts, batches and plays ask, equal inputs are built once. Those that ask meanwhile wait.
  - Branches of git repositories become commits when they are resolved, and stay those until O(rebuild).
extends_documentation_fragment:
  - venvoy.venvoy.attributes
attributes:
  check_mode:
    description: Says whether a build would be made.
options:
  service:
    description: What the venv is for.
    type: str
    required: true
  target:
    description: What to build for, such as V(cp311-linux_x86_64-glibc2.36).
    type: str
    required: true
  python:
    description: The interpreter on the build host that compiles, a path or a name on C(PATH).
    type: str
    required: true
  inputs:
    description: What to build from, as M(venvoy.venvoy.venv_plan) returns it.
    type: dict
    required: true
  allow_overlap:
    description: Patterns of paths that two packages may own with different bytes.
    type: list
    elements: str
    default: []
  rebuild:
    description: Resolve and build again, once in each play.
    type: bool
    default: false
  upgrade:
    description: Take the newest versions that fit, instead of those of the build before.
    type: bool
    default: false
  ask_only:
    description: Only say whether it was built already.
    type: bool
    default: false
  store:
    description: The folder of the store, which is made where it lacks.
    type: path
    required: true
  keys:
    description: The folder of the keys that sign for the store.
    type: path
    required: true
  work:
    description: The folder of specs, locks, records and caches.
    type: path
    required: true
  builder:
    description: The venv that Venvoy is installed in, with all that building needs.
    type: path
    required: true
  builder_packages:
    description: What to install into O(builder) where it lacks.
    type: list
    elements: str
    default: []
  wheels:
    description: Folders and addresses of wheels that are taken before others.
    type: list
    elements: str
    default: []
  read_pip_configuration:
    description: Take indexes from C(/etc/pip.conf) where nothing else names them.
    type: bool
    default: true
  owner:
    description: To whom the store shall belong.
    type: str
  group:
    description: To which group the store shall belong.
    type: str
  run:
    description: Which play asks. Set by the action plugin.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Build keystone's venv
  venvoy.venvoy.venv_build:
    service: keystone
    target: "{{ host.target }}"
    python: python3.11
    inputs: "{{ wanted.plan.build }}"
    store: /var/www/repo/venvoy
    keys: /etc/venvoy/keys
    work: /var/lib/venvoy-build
    builder: /openstack/venvs/wheel-builder
  delegate_to: repo1
"""

RETURN = r"""
release:
  description: The release that pins the artifact.
  returned: when it is built
  type: str
artifact:
  description: The identity of the artifact.
  returned: when it is built
  type: str
builds:
  description: How often it was built from these inputs.
  returned: when it is built
  type: int
built:
  description: Whether it is there to be fetched.
  returned: success
  type: bool
root_content:
  description: The trusted root of the store.
  returned: when it is built
  type: str
"""

import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.venvoy.venvoy.plugins.module_utils.build_once import (
    BuildError,
    BuildOnce,
    Places,
    Wanted,
    give_away,
)


def _spec() -> dict[str, Any]:
    text, path, flag = {"type": "str"}, {"type": "path", "required": True}, {"type": "bool", "default": False}
    texts = {"type": "list", "elements": "str", "default": []}
    return {
        "service": {"type": "str", "required": True},
        "target": {"type": "str", "required": True},
        "python": {"type": "str", "required": True},
        "inputs": {"type": "dict", "required": True},
        "allow_overlap": texts,
        "rebuild": flag,
        "upgrade": flag,
        "ask_only": flag,
        "store": path,
        "keys": path,
        "work": path,
        "builder": path,
        "builder_packages": texts,
        "wheels": texts,
        "read_pip_configuration": {"type": "bool", "default": True},
        "owner": text,
        "group": text,
        "run": {"type": "str", "default": ""},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_spec(), supports_check_mode=True)
    params = module.params
    wanted = Wanted(
        service=params["service"],
        target=params["target"],
        python=shutil.which(params["python"]) or params["python"],
        inputs=params["inputs"],
        run=params["run"],
        rebuild=params["rebuild"],
        upgrade=params["upgrade"],
        allow_overlap=params["allow_overlap"],
    )
    places = Places(
        store=params["store"],
        keys=params["keys"],
        work=Path(params["work"]),
        builder=Path(params["builder"]),
        builder_packages=params["builder_packages"],
        wheels=params["wheels"],
        read_pip_configuration=params["read_pip_configuration"],
    )
    build = BuildOnce(wanted, places)
    record, changed = build.known(), False
    try:
        if record is None and not params["ask_only"] and not module.check_mode:
            record, changed = build.run()
            give_away(params["store"], params["owner"], params["group"])
        if record is None:
            module.exit_json(changed=not params["ask_only"], built=False)
        root = (Path(params["keys"]) / "root.json").read_text(encoding="utf-8")
    except (BuildError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, built=True, root_content=root, **(record or {}))


if __name__ == "__main__":
    main()
