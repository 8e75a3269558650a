#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The Ansible module that looks at a host: what lacks, and what its Python is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv_look
short_description: See which system packages lack, and what a host's Python is
version_added: "0.1.0"
author: The Venvoy authors (@venvoy)
description:
  - Asks dpkg or rpm once which of the packages are not installed, so that the package manager need only run
    where something lacks. Asks an interpreter what it is. Changes nothing.
extends_documentation_fragment:
  - venvoy.venvoy.attributes
attributes:
  check_mode:
    description: Nothing is changed.
options:
  packages:
    description: System packages that must be there.
    type: list
    elements: str
    default: []
  python:
    description: The interpreter to ask, a path or a name on C(PATH).
    type: str
"""

EXAMPLES = r"""
- name: See what lacks
  venvoy.venvoy.venv_look:
    packages: [libldap2, git]
    python: python3
  register: host
"""

RETURN = r"""
missing_packages:
  description: Those of O(packages) that are not installed.
  returned: success
  type: list
  elements: str
target:
  description: The target that artifacts for O(python) on this host are built for.
  returned: with python
  type: str
  sample: cp311-linux_x86_64-glibc2.36
executable:
  description: The path of O(python)'s base interpreter.
  returned: with python
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.venvoy.venvoy.plugins.module_utils.host_look import (
    LookError,
    missing_packages,
    target_of,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "python": {"type": "str"},
        },
        supports_check_mode=True,
    )
    found = {}
    try:
        found["missing_packages"] = missing_packages(module.params["packages"])
        if module.params["python"]:
            found["target"], found["executable"] = target_of(module.params["python"])
    except (LookError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
