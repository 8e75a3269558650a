# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Servers that have a Python inside, as uWSGI has: they cannot load a venv of another minor version."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Tuple  # noqa: UP035 - as below

Minor = Tuple[int, int]  # noqa: UP006 - evaluated by Python 3.8 too
_SERVER = "uwsgi"
_LIBRARY = re.compile(rb"libpython(\d)\.(\d+)t?\.so")
_TARGET = re.compile(r"cp(\d)(\d+)t?-")
_ELF = b"\x7fELF"


def unfit_servers(dest: str, target: str, servers: list[str]) -> list[str]:
    """Return what to warn of: servers whose Python is not of the minor version of *target*, at *dest*.

    Those that are named in *servers* are looked at. Without any it is each uWSGI in the venvs beside *dest*,
    unless one of them fits, since venvs of earlier releases stand there too. Where *dest* itself is the
    server's, it is the venvs beside it.
    """
    match = _TARGET.match(target)
    if not match:
        return []
    wanted = (int(match[1]), int(match[2]))
    if servers:
        found = [(server, python_inside(Path(server))) for server in servers]
        return [_said(server, minor, dest, wanted) for server, minor in found if minor not in (None, wanted)]
    venvs = _venvs_beside(Path(dest))
    if (Path(dest) / "bin" / _SERVER).exists():
        minors = {minor for minor in map(_minor_of, venvs) if minor}
        if not minors or wanted in minors:
            return []
        shown = ", ".join(_text(minor) for minor in sorted(minors))
        return [
            f"{_SERVER} in {dest} is for Python {_text(wanted)}, and all venvs beside it are for {shown}: "
            "it cannot load them"
        ]
    beside = [(str(venv / "bin" / _SERVER), python_inside(venv / "bin" / _SERVER)) for venv in venvs]
    known = [(server, minor) for server, minor in beside if minor]
    if wanted in dict(known).values():
        return []
    return [_said(server, minor, dest, wanted) for server, minor in known]


def python_inside(server: Path) -> Minor | None:
    """Return the minor version of the Python in *server*: of the library that it loads, else of its venv."""
    try:
        with server.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[:4] != _ELF:
                return None
            match = _LIBRARY.search(content)
            if match:
                return int(match[1]), int(match[2])
    except (OSError, ValueError):
        return None
    return _minor_of(server.parent.parent)


def _minor_of(venv: Path) -> Minor | None:
    try:
        if not (venv / "pyvenv.cfg").is_file():
            return None
        names = [re.fullmatch(r"python(\d)\.(\d+)t?", name) for name in _names(venv / "lib")]
    except OSError:
        return None
    minors = [(int(name[1]), int(name[2])) for name in names if name]
    return minors[0] if len(minors) == 1 else None


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _venvs_beside(dest: Path) -> list[Path]:
    try:
        return sorted(
            path
            for path in dest.parent.iterdir()
            if not path.name.startswith(".") and path != dest and not path.is_symlink() and path.is_dir()
        )
    except OSError:
        return []


def _said(server: str, minor: Minor | None, dest: str, wanted: Minor) -> str:
    return (
        f"{server} has Python {_text(minor or (0, 0))} inside, and {dest} is for Python {_text(wanted)}: "
        "it cannot load this venv; install it for the same Python"
    )


def _text(minor: Minor) -> str:
    return f"{minor[0]}.{minor[1]}"
