# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Options of modules that bring Venvoy's host part along."""

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts into the modules' own pages."""

    DOCUMENTATION = r"""
options:
  tool:
    description:
      - Archives of Venvoy's host part, one for each target, as C(venvoy tool) builds them. The first that
        fits the host is brought to it unless it is there. Without any, a Venvoy that the host has is used.
    type: list
    elements: dict
    default: []
    suboptions:
      target:
        description: What it was built for, such as V(cp311-linux_x86_64-glibc2.36).
        type: str
        required: true
      sha256:
        description: The archive's digest.
        type: str
        required: true
      src:
        description: The archive on the controller.
        type: path
      url:
        description: Where the host itself fetches the archive.
        type: str
  tool_path:
    description: Where host parts stand.
    type: path
    default: /opt/venvoy
  tool_archive:
    description: An archive that was copied to the host. Set by the action plugin.
    type: path
"""
