#!/usr/bin/python
# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""What ansible-doc shows of the action venv_plan, which runs on the controller alone."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv_plan
short_description: Read the variables of python_venv_build
version_added: "0.1.0"
author: The Venvoy authors (@venvoy)
description:
  - Reads every C(venv_) variable of the host, as the role P(venvoy.venvoy.python_venv#role) documents them,
    into what to build and to install. Variables whose values cannot be followed fail by name.
  - Runs on the controller. No host is touched.
  - Warns, once, of each C(*_venv_enabled) variable that is set, since none has an effect.
extends_documentation_fragment:
  - venvoy.venvoy.attributes
attributes:
  check_mode:
    description: Nothing is changed.
"""

EXAMPLES = r"""
- name: Read what is wanted
  venvoy.venvoy.venv_plan:
  register: wanted
"""

RETURN = r"""
plan:
  description: What to build and to install.
  returned: success
  type: dict
"""
