"""Where things stand inside an installed venv; builder writes them, distributor reads them."""

from __future__ import annotations

PRIVATE = ".venvoy"
"""Everything of ours that is not part of the venv proper."""

INDEX_DIRECTORY = f"{PRIVATE}/layers"
"""One index a layer: its files with kinds, sizes and digests."""

SKELETON = "_skeleton"
END = "_end"
"""The first and the last layer. Distribution names never start with an underscore, so these are free."""

SKELETON_INDEX = f"{INDEX_DIRECTORY}/{SKELETON}.json"

TEMPLATES = f"{PRIVATE}/templates"
"""Activation scripts that must hold the venv's path; install fills them into ``bin``."""

PREFIX_PLACEHOLDER = "/@venvoy-prefix@"
NAME_PLACEHOLDER = "venvoy-env-name"

RECEIPT = f"{PRIVATE}/receipt.json"
MANIFEST = f"{PRIVATE}/manifest.json"
PRISTINE = f"{PRIVATE}/pristine"
"""The artifact's own files of mutable paths, as they came."""
HANDOVER = f"{PRIVATE}/merge.json"
"""While it stands, what the host wrote during the switch has not been carried over yet."""


_OF_THE_VENV = (PRIVATE, "pyvenv.cfg", "lib64", "bin/python", "bin/python3")


def belongs_to_venv(path: str, python_name: str) -> bool:
    """Say whether *path* is private to Venvoy or written when the venv is bound: no wheel may own it."""
    return any(path == own or path.startswith(f"{own}/") for own in (*_OF_THE_VENV, f"bin/{python_name}"))


def index_path(distribution: str) -> str:
    """Return the path of *distribution*'s layer index."""
    return f"{INDEX_DIRECTORY}/{distribution}.json"
