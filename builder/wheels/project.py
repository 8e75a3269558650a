"""What a project says of its own build: ``[build-system]`` of ``pyproject.toml`` (PEP 517, PEP 518)."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from manifests.errors import HostUnsuitable, InvalidInput, VerificationFailed
from manifests.strict_toml import load_toml

_LEGACY = "setuptools.build_meta:__legacy__"
_MAX_ANSWER = 256 * 1024
_MAX_REQUIREMENTS = 1000


@dataclass(frozen=True, kw_only=True)
class BuildSystem:
    """A project's build backend, where it lies in the project (PEP 517), and what it needs."""

    requires: tuple[str, ...] = ("setuptools>=40.8.0",)
    backend: str = _LEGACY
    backend_path: tuple[str, ...] = ()


def read_build_system(project: Path, *, what: str) -> BuildSystem:
    """Return how *project* (a folder; *what* names it in errors) wants to be built.

    Call it before foreign code ran in the folder. Raises VerificationFailed, HostUnsuitable.
    """
    path = project / "pyproject.toml"
    if not path.is_file():
        if not (project / "setup.py").is_file():
            raise HostUnsuitable(f"{what} has neither pyproject.toml nor setup.py: it is no Python project")
        return BuildSystem()
    try:
        table = load_toml(path.read_bytes(), what="pyproject.toml")[0].get("build-system")
    except (InvalidInput, OSError) as error:
        raise VerificationFailed(f"{what} cannot be built: {error}") from None
    if table is None:
        return BuildSystem()
    if not isinstance(table, dict):
        raise VerificationFailed(f"{what} cannot be built: [build-system] is no table")
    backend = table.get("build-backend", _LEGACY)
    if not isinstance(backend, str):
        raise VerificationFailed(f"{what} cannot be built: build-backend is no string")
    return BuildSystem(
        requires=checked_requirements(table.get("requires"), what=what),
        backend=backend,
        backend_path=tuple(_texts(table.get("backend-path", []), what)),
    )


def read_answer(path: Path, *, what: str) -> tuple[str, ...]:
    """Return the requirements that foreign code wrote to *path*, which it may have made anything.

    Raises VerificationFailed.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("not a regular file")
            data = os.read(descriptor, _MAX_ANSWER)
        finally:
            os.close(descriptor)
        return checked_requirements(json.loads(data), what=what)
    except (OSError, ValueError, RecursionError) as error:
        raise VerificationFailed(f"{what}: what its build backend asks for cannot be read: {error}") from None


def checked_requirements(value: Any, *, what: str) -> tuple[str, ...]:
    """Return a list of requirements (PEP 508) as it may be handed to pip.

    Options and URLs are refused: pip would build what a URL leads to, outside of the sandbox.
    """
    result = []
    for text in _texts(value, what):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            raise VerificationFailed(f"{what}: {text[:80]!r} is no requirement to build it with") from None
        if requirement.url is not None:
            raise VerificationFailed(
                f"{what} wants to be built with {requirement.name} from a URL; "
                "add a wheel of it to a source of wheels instead"
            )
        result.append(str(requirement))
    return tuple(result)


def _texts(value: Any, what: str) -> Sequence[str]:
    if (
        not isinstance(value, list)
        or len(value) > _MAX_REQUIREMENTS
        or not all(isinstance(text, str) for text in value)
    ):
        raise VerificationFailed(f"{what} cannot be built: [build-system] lacks a list of strings")
    return value
