# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""What Ansible wants to know of each module: where it runs, and what it does in check and diff mode."""

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts into the modules' own pages, where they say nothing else."""

    DOCUMENTATION = r"""
options: {}
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
"""
