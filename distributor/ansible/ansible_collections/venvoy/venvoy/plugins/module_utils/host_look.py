# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""One look at a host: which packages of its distribution lack, and what its Python is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

_TIMEOUT = 60
_PROBE = (
    "import json, os, sys; print(json.dumps([sys.version_info[0], sys.version_info[1],"
    " getattr(sys, 'abiflags', ''), os.uname()[4], os.confstr('CS_GNU_LIBC_VERSION') or '',"
    " sys.implementation.name, os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)]))"
)
_ARCHITECTURE = re.compile(r":[a-z0-9-]+$")


class LookError(Exception):
    """Why the host cannot be looked at; for whoever runs the play."""


def missing_packages(names: list[str]) -> list[str]:
    """Return those of *names* that are not installed, by one question to dpkg or rpm.

    A name may be of a virtual package, or carry a version (C(name=1.2-3) for dpkg).
    """
    wanted = [name for name in names if name]
    if not wanted:
        return []
    if shutil.which("dpkg-query"):
        return _missing_for_dpkg(wanted)
    if shutil.which("rpm"):
        return _missing_for_rpm(wanted)
    raise LookError("neither dpkg nor rpm is on this host, so its packages are not known")


def target_of(python: str) -> tuple[str, str]:
    """Return the target that *python* (a path or a name) is of, and its base interpreter's path."""
    path = shutil.which(python)
    if path is None:
        raise LookError(f"there is no {python} on this host: install it, or set venv_python_executable")
    done = subprocess.run(
        [path, "-I", "-S", "-c", _PROBE], capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    try:
        major, minor, flags, machine, libc, kind, base = json.loads(done.stdout)
    except ValueError:
        raise LookError(f"{path} is not a usable Python: {done.stderr.strip()[-200:]}") from None
    glibc = re.match(r"glibc (\d+)\.(\d+)", libc)
    if kind != "cpython" or not glibc:
        raise LookError(f"{path} is {kind} on {libc or 'an unknown libc'}; needed is CPython on glibc")
    free_threaded = "t" if "t" in flags else ""
    return f"cp{major}{minor}{free_threaded}-linux_{machine}-glibc{glibc[1]}.{glibc[2]}", base


def _missing_for_dpkg(wanted: list[str]) -> list[str]:
    line = r"${Package}\t${db:Status-Status}\t${Version}\t${Provides}\n"
    installed: dict[str, str] = {}
    for row in _answer(["dpkg-query", "-W", "-f", line]).splitlines():
        name, status, version, provides = row.split("\t", 3)
        if status == "installed":
            installed[name] = version
            for provided in provides.split(","):
                installed.setdefault(provided.split("(")[0].strip(), "")
    missing = []
    for item in wanted:
        name, version = item.partition("=")[::2]
        found = installed.get(_ARCHITECTURE.sub("", name))
        if found is None or (version and found != version):
            missing.append(item)
    return missing


def _missing_for_rpm(wanted: list[str]) -> list[str]:
    done = subprocess.run(
        ["rpm", "-q", "--whatprovides", "--queryformat", "\n", "--", *wanted],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    said = f"{done.stdout}\n{done.stderr}"
    return [
        name
        for name in wanted
        if re.search(rf"(no package provides|not installed:?) {re.escape(name)}\b", said)
    ]


def _answer(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode:
        raise LookError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
