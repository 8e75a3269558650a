#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The Ansible module that sets facts in an INI file."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv_facts
short_description: Set facts about virtual environments that pip made
version_added: "0.1.0"
author: The Venvoy authors (@venvoy)
description:
  - Sets options of an INI file of facts that several tools share. M(venvoy.venvoy.venv_artifact) does so by
    itself; this is for a venv that pip had to make.
extends_documentation_fragment:
  - venvoy.venvoy.attributes
options:
  path:
    description: The file.
    type: path
    required: true
  facts:
    description: Options to set.
    type: list
    elements: dict
    required: true
    suboptions:
      section:
        description: The section.
        type: str
        required: true
      option:
        description: The option.
        type: str
        required: true
      value:
        description: The value. Booleans become C(True) and C(False).
        type: raw
        required: true
"""

EXAMPLES = r"""
- name: Say how keystone was installed
  venvoy.venvoy.venv_facts:
    path: /etc/ansible/facts.d/openstack_ansible.fact
    facts:
      - section: keystone
        option: venv_install_tool
        value: pip
"""

RETURN = r""" # """

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.venvoy.venvoy.plugins.module_utils.ini_facts import with_facts


def main() -> None:
    """Run the module."""
    fact = {
        "section": {"type": "str", "required": True},
        "option": {"type": "str", "required": True},
        "value": {"type": "raw", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "facts": {"type": "list", "elements": "dict", "required": True, "options": fact},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    facts = [{key: str(value) for key, value in item.items()} for item in module.params["facts"]]
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = with_facts(before, facts)
        if after != before and not module.check_mode:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=module.tmpdir)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(after)
            Path(temporary).chmod(0o644)
            module.atomic_move(temporary, str(path))
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"{path}: {error}")
    module.exit_json(changed=after != before)


if __name__ == "__main__":
    main()
