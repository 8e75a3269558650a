"""Which files of a role are looked at, and what its variables hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from venvoy_lint.tasks import plain

_PARTS = ("defaults", "vars", "tasks", "handlers", "templates", "meta", "tests", "playbooks", "examples")
_YAML = (".yml", ".yaml")
# Notes say what once was; vendored roles and environments are somebody else's.
_LEFT_OUT = ("releasenotes", "doc", "docs", ".git", ".tox", ".ansible", "node_modules", "changelogs")
_DEFINITION = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)\s*:", re.MULTILINE)


def is_template(path: Path) -> bool:
    """Say whether *path* is rendered by Ansible as a whole."""
    return path.suffix == ".j2" or ".j2." in path.name or "templates" in path.parts


def is_watched(path: Path) -> bool:
    """Say whether rules look at *path*: YAML and templates, but no release notes and no documentation."""
    if any(part in _LEFT_OUT for part in path.parts[:-1]):
        return False
    return path.suffix in _YAML or is_template(path)


def role_of(path: Path) -> Path | None:
    """Return the role that *path* belongs to: the nearest folder above one of a role's own."""
    for folder in path.absolute().parents:
        if folder.name in _PARTS and any((folder.parent / part).is_dir() for part in ("tasks", "defaults")):
            return folder.parent
    return None


def files_of(role: Path) -> Iterator[Path]:
    """Walk a role. Links are not followed: `tests/roles/ROLE` often leads back to the role itself."""
    for part in _PARTS:
        if (role / part).is_symlink():
            continue
        for folder, folders, names in os.walk(role / part, followlinks=False):
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            for name in sorted(names):
                path = Path(folder, name)
                if is_watched(path.relative_to(role)) and not path.is_symlink():
                    yield path


def _variable_files(role: Path) -> Iterator[Path]:
    for part in ("defaults", "vars"):
        for path in sorted((role / part).rglob("*")):
            if path.suffix in _YAML and path.is_file():
                yield path


def defined_names(role: Path, pattern: re.Pattern[str]) -> dict[str, str]:
    """Return the variables in *role*'s defaults and vars that *pattern* matches, each with its place."""
    found: dict[str, str] = {}
    for path in _variable_files(role):
        text = path.read_text(encoding="utf-8", errors="replace")
        for definition in _DEFINITION.finditer(text):
            if pattern.fullmatch(definition[1]):
                line = text.count("\n", 0, definition.start()) + 1
                found.setdefault(definition[1], f"{path.relative_to(role)}:{line}")
    return found


def value_of(role: Path, name: str) -> str | None:
    """Return the text of variable *name* in *role*'s defaults and vars; None if it is not there."""
    for path in _variable_files(role):
        try:
            root = yaml.compose(path.read_text(encoding="utf-8", errors="replace"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError):
            continue
        if isinstance(root, yaml.MappingNode):
            for key, value in root.value:
                if plain(key) == name:
                    return plain(value)
    return None
