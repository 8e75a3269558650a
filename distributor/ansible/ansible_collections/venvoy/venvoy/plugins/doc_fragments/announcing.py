# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Options of modules whose changes are told to facts and handlers."""

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts into the modules' own pages."""

    DOCUMENTATION = r"""
options:
  facts:
    description: Options of an INI file of facts to set when the venv changes.
    type: list
    elements: dict
    default: []
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
  facts_file:
    description: The file that O(facts) go to.
    type: path
    default: /etc/ansible/facts.d/venvoy.fact
  artifact_facts:
    description: Options that become the artifact's identity, as C(section/option).
    type: list
    elements: str
    default: []
  notify:
    description:
      - Topics that handlers shall act on when the venv changes. They are returned as RV(notify), now and by
        later runs, until M(venvoy.venvoy.venv_acknowledge) says that the handlers have run.
    type: list
    elements: str
    default: []
  state_dir:
    description: Where trusted metadata is remembered and layers are kept.
    type: path
    default: /var/lib/venvoy
  run:
    description: Which play this is. Set by the action plugin.
    type: str
    default: ""
  handled:
    description: Plays that died when their handlers had run already. Set by the action plugin.
    type: list
    elements: str
    default: []

"""
