#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""What ansible-doc shows of the action venv_acknowledge, which runs one command on the host."""

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
extends_documentation_fragment:
  - venvoy.venvoy.attributes
options:
  state_dir:
    description: Where Venvoy keeps what it remembers of the host.
    type: path
    default: /var/lib/venvoy
  tool_path:
    description: Where Venvoy's host parts stand.
    type: path
    default: /opt/venvoy
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
