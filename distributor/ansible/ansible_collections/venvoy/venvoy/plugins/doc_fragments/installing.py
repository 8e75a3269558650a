# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Options of an install: where artifacts come from, and how they are laid out on the host."""

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts into the modules' own pages."""

    DOCUMENTATION = r"""
options:
  store:
    description: The artifact store, a directory or an address (C(https:), C(s3:)).
    type: str
  mirrors:
    description: Other places of the same store, asked in order where it does not answer.
    type: list
    elements: str
    default: []
  bundle:
    description: A bundle on the host that is read instead of a store.
    type: path
  root:
    description: Where the trusted C(root.json) lies on the host.
    type: path
    default: /etc/venvoy/root.json
  root_content:
    description:
      - What O(root) must hold. It is written where it lacks or differs; trust never comes from the store.
    type: str
  python:
    description:
      - The interpreter to bind to, a path or a name on C(PATH). By default the one that fits the artifact.
    type: str
  target:
    description: Which target's artifact, where a release pins several and the host could run more than one.
    type: str
  checks:
    description: Health checks in the staged tree before the switch, beside those of the artifact.
    type: dict
    suboptions:
      imports:
        description: Modules to import.
        type: list
        elements: str
        default: []
      commands:
        description: Argument lists; the first word is looked for in the venv first.
        type: list
        elements: list
        default: []
      timeout:
        description: Seconds for each.
        type: int
        default: 60
      user:
        description: Who runs them.
        type: str
  servers:
    description:
      - Programs with a Python inside that load this venv, such as C(bin/uwsgi) of a venv. One whose Python is
        of another minor version than that of the venv cannot, and is warned of.
      - By default each uWSGI in the venvs beside O(dest), unless one of them fits. Where O(dest) itself has a
        uWSGI, the venvs beside it are looked at.
    type: list
    elements: path
    default: []
  preserve:
    description:
      - Paths in the venv that belong to the host beside the artifact's mutable paths, with their policies.
        V(keep) keeps a file that both changed, V(new) takes the artifact's and puts the host's beside it as
        C(NAME.venvoy-old).
    type: dict
    default: {}
  files:
    description: Text files to write into the venv beside the artifact's, by relative path.
    type: dict
    default: {}
  link_packages:
    description:
      - Packages of the distribution whose modules are linked into the venv, beside those that the artifact
        names.
    type: list
    elements: str
    default: []
  carry_over:
    description: Bring local changes along that nobody declared.
    type: bool
    default: false
  adopt:
    description: Take over a venv that another tool made at the destination.
    type: bool
    default: false
  repair:
    description: Unpack again what is there already. Always a change.
    type: bool
    default: false
  force:
    description: With O(state=rolled_back), go back although the release warns against it.
    type: bool
    default: false
  non_atomic:
    description: Where directories cannot be exchanged, replace by two renames with a gap.
    type: bool
    default: false
  allow_expired:
    description: Accept expired metadata for this reason, which goes into the history.
    type: str
  jobs:
    description: Worker processes.
    type: int
    default: 2
"""
