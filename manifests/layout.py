"""Where things stand inside an installed venv; builder writes them, distributor reads them."""

from __future__ import annotations

PRIVATE = ".venvoy"
"""Everything of ours that is not part of the venv proper."""

INDEX_DIRECTORY = f"{PRIVATE}/layers"
"""One index a layer: its files with kinds, sizes and digests."""

SKELETON_INDEX = f"{INDEX_DIRECTORY}/_skeleton.json"
"""Distribution names never start with an underscore, so this one is free."""

TEMPLATES = f"{PRIVATE}/templates"
"""Activation scripts that must hold the venv's path; install fills them into ``bin``."""

PREFIX_PLACEHOLDER = "/@venvoy-prefix@"
NAME_PLACEHOLDER = "venvoy-env-name"

RECEIPT = f"{PRIVATE}/receipt.json"
MANIFEST = f"{PRIVATE}/manifest.json"


def index_path(distribution: str) -> str:
    """Return the path of *distribution*'s layer index."""
    return f"{INDEX_DIRECTORY}/{distribution}.json"
