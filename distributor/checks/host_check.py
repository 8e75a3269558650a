"""Does the artifact fit this host? Asked before a byte of it is fetched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from distributor.checks.host_libraries import missing_libraries
from manifests.artifact import Artifact
from manifests.errors import HostUnsuitable, NotFound
from manifests.interpreter import Interpreter, find_interpreter
from manifests.pins import Pin
from manifests.target import Target

_RESERVE = 16 * 1024 * 1024


def choose_pin(pins: Sequence[Pin], python: Path | None) -> tuple[Pin, Interpreter]:
    """Return the pin for the best target that this host can run, and the interpreter for it.

    *python* overrides the search. Raises HostUnsuitable saying why each target does not fit; NotFound
    where there is but one target and its interpreter lacks.
    """
    if len(pins) == 1:
        return pins[0], choose_interpreter(Target.parse(pins[0].target), python)
    problems = []
    for pin in sorted(pins, key=lambda pin: _preference(Target.parse(pin.target)), reverse=True):
        target = Target.parse(pin.target)
        try:
            interpreter = choose_interpreter(target, python)
        except (HostUnsuitable, NotFound) as error:
            problems.append(f"{target}: {error}")
            continue
        if interpreter.is_native(target) and target.libc_version <= interpreter.libc_version:
            return pin, interpreter
        problems.append(f"{target}: this host is {interpreter}")
    raise HostUnsuitable("no pinned target fits this host:\n" + "\n".join(problems))


def _preference(target: Target) -> tuple[object, ...]:
    return target.python, target.libc_version, str(target)


def choose_interpreter(target: Target, explicit: Path | None) -> Interpreter:
    """Return the host's interpreter for *target*. Raises NotFound saying what to install."""
    found = find_interpreter(target, explicit)
    if found is None:
        raise NotFound(f"no {target.python_name} on this host: install it, or name one with --python")
    return found


def check_needs(artifact: Artifact, interpreter: Interpreter) -> None:
    """Raise HostUnsuitable naming every need that the host does not meet, both sides of each."""
    needs = artifact.needs
    problems = []
    if interpreter.machine != needs.machine:
        problems.append(
            f"needs machine {needs.machine}, {interpreter.executable} is for {interpreter.machine}"
        )
    if interpreter.libc != needs.libc:
        problems.append(f"needs {needs.libc}, {interpreter.executable} uses {interpreter.libc}")
    elif _numbers(needs.libc_version) > interpreter.libc_version:
        have = ".".join(map(str, interpreter.libc_version))
        problems.append(f"needs {needs.libc} >= {needs.libc_version}, this host has {have}")
    problems += missing_libraries(needs.libraries, needs.machine)
    if problems:
        raise HostUnsuitable(f"{artifact.stem} does not fit this host: " + "; ".join(problems))


def check_space(artifact: Artifact, directory: Path) -> None:
    """Raise HostUnsuitable where the file system of *directory* has not enough room."""
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    # Half a block a file is lost on average; the tar's headers and padding already count more than that.
    needed = artifact.unpacked_size + _RESERVE
    if free < needed:
        raise HostUnsuitable(
            f"{directory} has {free // 2**20} MB free, {artifact.service} needs {needed // 2**20} MB"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
