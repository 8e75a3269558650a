"""The Ansible collection's own facts."""

from __future__ import annotations

import re
from pathlib import Path

import manifests

COLLECTION = Path(__file__).parents[2] / "distributor/ansible/ansible_collections/venvoy/venvoy"


def test_collection_has_the_version_of_the_project() -> None:
    version = re.search(r"^version: (\S+)", (COLLECTION / "galaxy.yml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert version[1] == manifests.__version__
