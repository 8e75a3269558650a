"""The names that an install uses beside its destination, all of them dot-names.

``.NAME.venvoy-lock`` the lock, never removed; ``.NAME.venvoy-<16 hex>`` staging trees and new links;
``.NAME.venvoy-old-<16 hex>`` replaced trees, kept until ``gc``; ``.NAME.venvoy-link`` where a link led
before, with ``-untold`` while nobody was told of its last line. Random names: a crashed run's leavings
are never taken for one's own.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

_RANDOM = re.compile(r"[0-9a-f]{16}")


def lock_path(destination: Path) -> Path:
    """Return the lock file that all who change *destination* share."""
    return destination.parent / f".{destination.name}.venvoy-lock"


def staging_path(destination: Path) -> Path:
    """Return a fresh name for what shall take *destination*'s place, tree or link."""
    return destination.parent / f".{destination.name}.venvoy-{secrets.token_hex(8)}"


def previous_path(destination: Path) -> Path:
    """Return a fresh name for a tree that *destination* gave its place up to."""
    return destination.parent / f".{destination.name}.venvoy-old-{secrets.token_hex(8)}"


def link_record(link: Path) -> Path:
    """Return the file that holds where *link* led."""
    return link.parent / f".{link.name}.venvoy-link"


def untold_record(link: Path) -> Path:
    """Return the name of the same file while nobody was told of its last line."""
    return link.parent / f".{link.name}.venvoy-link-untold"


def litter(destination: Path) -> list[Path]:
    """Return what killed runs left beside *destination*. Nothing where the parent does not exist."""
    return _named(destination, f".{destination.name}.venvoy-")


def previous_paths(destination: Path) -> list[Path]:
    """Return the names of replaced trees beside *destination*."""
    return _named(destination, f".{destination.name}.venvoy-old-")


def link_target(link: Path, venv: Path) -> str:
    """Return what *link* to *venv* shall hold: a bare name where both lie in one folder."""
    return os.path.relpath(venv, link.parent) if venv.parent == link.parent else str(venv)


def leads_to(link: Path, venv: Path) -> bool:
    """Say whether *link* is a link to *venv* already, spelled as ours are."""
    return link.is_symlink() and str(link.readlink()) == link_target(link, venv)


def _named(destination: Path, prefix: str) -> list[Path]:
    try:
        names = os.listdir(destination.parent)  # noqa: PTH208 - names are all that is wanted
    except FileNotFoundError:
        return []
    start = len(prefix)
    return [
        destination.parent / name
        for name in sorted(names)
        if name.startswith(prefix) and _RANDOM.fullmatch(name[start:])
    ]
