"""Interpreters for tests that run real ones; a missing one skips, saying which."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from manifests.interpreter import Interpreter, find_interpreter
from manifests.target import Target

if TYPE_CHECKING:
    from pathlib import Path

PYTHONS = ("cp310", "cp311", "cp312", "cp313")


def target_of(python: str = "cp311") -> Target:
    """Return the target of the machine's kind for *python*."""
    return Target.parse(f"{python}-linux_x86_64-glibc2.36")


@functools.cache
def _find(python: str) -> Interpreter | None:
    return find_interpreter(target_of(python))


def interpreter(python: str = "cp311") -> Interpreter:
    """Return an interpreter of *python*, or skip the test."""
    found = _find(python)
    if found is None:
        pytest.skip(f"no {target_of(python).python_name} on this machine")
    return found


def executable(python: str = "cp311") -> Path:
    """Return the path of an interpreter of *python*, or skip the test."""
    return interpreter(python).executable
